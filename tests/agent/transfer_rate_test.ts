/** How fast something is moved. */
import { assertEquals } from "@std/assert";
import { TransferRate } from "@degu/internal/agent/transfer_rate.ts";

Deno.test("a rate covers the last five seconds, and is unknown at first", () => {
  const rate = new TransferRate(0);
  rate.note(299, 1000);
  assertEquals(rate.bytesPerSecond, null);
  rate.note(500, 1000);
  assertEquals(rate.bytesPerSecond, 2000);
  for (let at = 1000; at <= 20_000; at += 100) rate.note(at, 1000);
  assertEquals(rate.bytesPerSecond, 0);
  for (let at = 20_100; at <= 30_000; at += 100) rate.note(at, 1000 + (at - 20_000));
  assertEquals(rate.bytesPerSecond, 1000);
});
