import { FakeTime } from "@std/testing/time";
import { assertEquals } from "@std/assert";
import { pause } from "@degu/internal/base/pause.ts";

Deno.test("a pause takes its time", async () => {
  using time = new FakeTime();
  let over = false;
  const pausing = pause(1000, new AbortController().signal).then(() => over = true);
  time.tick(999);
  await Promise.resolve();
  assertEquals(over, false);
  time.tick(1);
  await pausing;
});

Deno.test("a signal ends a pause, even an endless one, and leaves no timer", async () => {
  const stop = new AbortController();
  const pausing = [pause(1e6, stop.signal), pause(Infinity, stop.signal)];
  stop.abort();
  const other = new AbortController().signal;
  await Promise.all([...pausing, pause(1e6, stop.signal), pause(1e6, other, stop.signal)]);
});
