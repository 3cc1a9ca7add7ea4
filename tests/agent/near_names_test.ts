import { assertEquals } from "@std/assert";
import { nearNames } from "@degu/internal/agent/near_names.ts";

const NAMES = ["camera", "camera-2", "laptop", "annas-phone", "nas"];

Deno.test("names that differ in few letters, or are longer, are similar; the most similar is first", () => {
  const rows = [
    ["camera", ["camera", "camera-2"]],
    ["camrea", ["camera"]],
    ["Camera", ["camera", "camera-2"]],
    ["cam", ["camera", "camera-2"]],
    ["laptpo", ["laptop"]],
    ["lapto", ["laptop"]],
    ["xlaptop", ["laptop"]],
    ["anas-phone", ["annas-phone"]],
    ["nsa", ["nas"]],
    ["", []],
    ["printer", []],
    ["phone", []],
  ] as const;
  for (const [typed, near] of rows) assertEquals(nearNames(typed, NAMES), [...near], typed);
});

Deno.test("at most three names are shown", () => {
  const many = Array.from({ length: 9 }, (_, i) => `camera-${i}`);
  assertEquals(nearNames("camera", many).length, 3);
});
