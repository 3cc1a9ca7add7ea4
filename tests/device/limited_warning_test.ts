/** Warnings that a peer causes: all are counted, few are logged. */
import { assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { LimitedWarning } from "@degu/internal/device/invite.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

function setUp() {
  const time = new FakeTime();
  const logger = new RecordingLogger();
  const warning = new LimitedWarning(logger, (last, count) => `${last} ${count}`);
  return {
    time,
    warning,
    logged: () => logger.at("warn"),
    [Symbol.dispose]: () => {
      warning.stop();
      time.restore();
    },
  };
}

Deno.test("the first event is logged at once, those of the next second together", () => {
  using setup = setUp();
  const { time, warning, logged } = setup;
  warning.add("a");
  assertEquals(logged(), ["a 1"]);
  for (const last of ["b", "c", "d"]) warning.add(last);
  time.tick(999);
  assertEquals(logged(), ["a 1"]);
  time.tick(1);
  assertEquals(logged(), ["a 1", "d 4"]);
});

Deno.test("a quiet second is not logged, and the event after it is logged at once", () => {
  using setup = setUp();
  const { time, warning, logged } = setup;
  warning.add("a");
  time.tick(5000);
  assertEquals(logged(), ["a 1"]);
  warning.add("b");
  assertEquals(logged(), ["a 1", "b 2"]);
});

Deno.test("a flood is logged once a second", () => {
  using setup = setUp();
  const { time, warning, logged } = setup;
  for (let i = 0; i < 100; i++) {
    warning.add("x");
    time.tick(100);
  }
  const texts = logged();
  assertEquals([texts.length, texts.at(0), texts.at(-1)], [11, "x 1", "x 100"]);
});

Deno.test("nothing is logged after stop, whether pending or added later", () => {
  using setup = setUp();
  const { time, warning, logged } = setup;
  warning.add("a");
  warning.add("b");
  warning.stop();
  warning.add("c");
  time.tick(5000);
  assertEquals(logged(), ["a 1"]);
});
