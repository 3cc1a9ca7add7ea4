/** The timer behind every timeout. */
import { assert, assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import fc from "fast-check";
import { Deadline, keepTimers, keepTimersForNext } from "@degu/internal/net/deadline.ts";

/** Seconds. */
const TIMEOUT = 8;

/** A deadline in fake time, and the milliseconds at which it expired. */
function startDeadline(timeout: number | null = TIMEOUT) {
  const time = new FakeTime(0);
  const expired: number[] = [];
  const deadline = new Deadline(timeout, () => expired.push(time.now));
  return {
    time,
    deadline,
    expired,
    [Symbol.dispose]() {
      deadline.close();
      time.restore();
    },
  };
}

Deno.test("a wait expires after 1.0 to 1.25 times the timeout, whenever it began", () => {
  const offsets = fc.integer({ min: 0, max: 3 * TIMEOUT * 1000 });
  fc.assert(fc.property(offsets, fc.boolean(), (offset, isWriting) => {
    using it = startDeadline();
    it.time.tick(offset);
    it.deadline.start(isWriting ? it.deadline.writing : it.deadline.reading);
    it.time.tick(TIMEOUT * 1000 - 1);
    assertEquals(it.expired, [], "before its time is over");
    it.time.tick(TIMEOUT * 1000 * 0.25 + 1);
    assertEquals(it.expired.length, 1, "after 1.25 times its time");
    it.time.tick(TIMEOUT * 1000 * 10);
    assertEquals(it.expired.length, 1, "it fires once");
  }));
});

Deno.test("two waits have separate limits, and both end when the first one expires", () => {
  using it = startDeadline();
  it.deadline.start(it.deadline.reading);
  it.time.tick(TIMEOUT * 500);
  it.deadline.start(it.deadline.writing);
  it.time.tick(TIMEOUT * 750);
  assertEquals(it.expired.length, 1);
  assert(!it.deadline.isReading);
  it.time.tick(TIMEOUT * 10_000);
  assertEquals(it.expired.length, 1);
});

Deno.test("a wait that has ended, never began, or has no limit does not expire", () => {
  const cases: ((deadline: Deadline, time: FakeTime) => void)[] = [
    () => {},
    (deadline) => {
      deadline.start();
      deadline.stop();
    },
    (deadline, time) => {
      deadline.start();
      time.tick(TIMEOUT * 999);
      deadline.stop();
    },
    (deadline) => {
      deadline.start();
      deadline.close();
    },
    (deadline) => {
      deadline.close();
      deadline.start();
    },
  ];
  for (const timeout of [TIMEOUT, null]) {
    for (const [i, run] of cases.entries()) {
      using it = startDeadline(timeout);
      run(it.deadline, it.time);
      it.time.tick(TIMEOUT * 10_000);
      assertEquals(it.expired, [], `case ${i}, ${timeout} s`);
    }
  }
  using it = startDeadline(null);
  it.deadline.start();
  it.time.tick(TIMEOUT * 10_000);
  assertEquals(it.expired, []);
});

Deno.test("a wait that begins again has its full time again", () => {
  using it = startDeadline();
  for (let i = 0; i < 10; i++) {
    it.deadline.start();
    assert(it.deadline.isReading);
    it.time.tick(TIMEOUT * 999);
  }
  assertEquals(it.expired, []);
  it.time.tick(TIMEOUT * 1000 * 0.25 + TIMEOUT);
  assertEquals(it.expired.length, 1);
});

Deno.test("a timeout that exceeds the engine's longest timer does not expire at once", () => {
  using it = startDeadline(1e12);
  it.deadline.start();
  it.time.tick(2 ** 31);
  assertEquals(it.expired, []);
});

/** The intervals that are running, in fake time. */
function watchTimers() {
  const time = new FakeTime(0);
  const { setInterval, clearInterval } = globalThis;
  const running = new Set<unknown>();
  globalThis.setInterval = ((tick: () => void, milliseconds: number) => {
    const id = setInterval(tick, milliseconds);
    running.add(id);
    return id;
  }) as typeof setInterval;
  globalThis.clearInterval = (id) => {
    running.delete(id);
    clearInterval(id);
  };
  return {
    time,
    running,
    [Symbol.dispose]() {
      Object.assign(globalThis, { setInterval, clearInterval });
      time.restore();
    },
  };
}

Deno.test("deadlines with the same timeout share a timer, which ends with the last of them", () => {
  using it = watchTimers();
  const { time, running } = it;
  const expired: string[] = [];
  const [first, second] = ["first", "second"].map((name) =>
    new Deadline(TIMEOUT, () => {
      expired.push(name);
      (name === "first" ? first! : second!).close();
    })
  );
  const other = new Deadline(TIMEOUT * 2, () => {});
  assertEquals(running.size, 2);
  other.close();
  first!.start();
  time.tick(TIMEOUT * 625);
  second!.start();
  time.tick(TIMEOUT * 625);
  assertEquals([expired, running.size], [["first"], 1]);
  time.tick(TIMEOUT * 625);
  assertEquals([expired, running.size], [["first", "second"], 0]);
  second!.close();
  const later = new Deadline(TIMEOUT, () => {});
  assertEquals(running.size, 1);
  later.close();
  assertEquals(running.size, 0);
});

Deno.test("kept timers run on for a moment after their last deadline", () => {
  using it = watchTimers();
  const { time, running } = it;
  const [stop, stopOther] = [keepTimers(), keepTimers()];
  const tick = TIMEOUT * 125;
  const expired: number[] = [];
  for (let count = 0; count < 3; count++) {
    const deadline = new Deadline(TIMEOUT, () => expired.push(time.now));
    deadline.start();
    deadline.close();
  }
  assertEquals(running.size, 1);
  time.tick(tick);
  assertEquals(running.size, 0);
  const deadline = new Deadline(TIMEOUT, () => expired.push(time.now));
  deadline.start();
  time.tick(tick * 9);
  assertEquals([expired.length, running.size], [1, 1]);
  deadline.close();
  stop();
  assertEquals(running.size, 1);
  stopOther();
  assertEquals(running.size, 0);
});

Deno.test("timers that are kept for the next wait run on for a few turns, and end if none has begun", async () => {
  using it = watchTimers();
  const { running } = it;
  const wait = () => {
    const release = keepTimersForNext();
    new Deadline(TIMEOUT, () => {}).close();
    return release();
  };
  const ended = wait();
  const [timer] = running;
  for (let turn = 0; turn < 7; turn++) await null;
  const endedAgain = wait();
  assertEquals([...running], [timer]);
  await ended;
  assertEquals([...running], [timer]);
  await endedAgain;
  assertEquals(running.size, 0);
});
