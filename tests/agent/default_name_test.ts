import { assert, assertEquals } from "@std/assert";
import { defaultName } from "@degu/internal/agent/default_name.ts";
import { isDeviceName } from "@degu/internal/device/device_name.ts";

Deno.test("the name of a machine is converted to a valid name", () => {
  const rows = [
    ["laptop", "laptop"],
    ["laptop.example.com", "laptop"],
    ["Annas MacBook", "Annas-MacBook"],
    ["Jürgens-Büro", "Jurgens-Buro"],
    ["-x_1-", "x_1"],
    ["_.local", "device"],
    ["", "device"],
    ["東京", "device"],
    ["a".repeat(62) + "-b", "a".repeat(62)],
    ["a".repeat(80), "a".repeat(63)],
    // It would be taken for an id.
    ["a".repeat(52), "device"],
  ] as const;
  for (const [hostname, expected] of rows) {
    const name = defaultName(hostname);
    assertEquals(name, expected, hostname);
    assert(isDeviceName(name), name);
  }
});
