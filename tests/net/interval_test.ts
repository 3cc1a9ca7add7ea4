/** A timer in the background. */
import { assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { startInterval } from "@degu/internal/net/deadline.ts";
import { runScript } from "@degu/testing/processes.ts";

Deno.test("an interval calls repeatedly until it is cleared", () => {
  using time = new FakeTime();
  let calls = 0;
  const interval = startInterval(() => calls++, 100);
  time.tick(99);
  assertEquals(calls, 0);
  time.tick(1);
  assertEquals(calls, 1);
  time.tick(1000);
  assertEquals(calls, 11);
  clearInterval(interval);
  time.tick(1000);
  assertEquals(calls, 11);
});

Deno.test("an interval does not keep the process alive, with or without Node's modules", async () => {
  for (const first of ["", 'import "node:timers";']) {
    const script = `${first}
      import { startInterval } from "./net/deadline.ts";
      startInterval(() => {}, 1_000_000);
      console.log("end");`;
    assertEquals(await runScript(script, ["--no-check"], {}), "end\n");
  }
});
