/** The timer under every time-out. */
import { assert, assertEquals } from "@std/assert";
import { Deadline } from "@degu/internal/net/deadline.ts";

const TIMEOUT = 0.2;

function seconds(count: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, count * 1000));
}

/** Runs a scenario; resolves to the seconds from its last start to the end, or to null where it does not expire in time. */
async function expiry(
  run: (deadline: Deadline) => Promise<void> | void,
  timeout: number | null = TIMEOUT,
): Promise<number | null> {
  const expired = Promise.withResolvers<number | null>();
  let count = 0;
  const deadline = new Deadline(timeout, () => {
    count++;
    expired.resolve(performance.now());
  });
  await run(deadline);
  const start = performance.now();
  const timer = setTimeout(() => expired.resolve(null), TIMEOUT * 2000);
  const end = await expired.promise;
  clearTimeout(timer);
  // It fires once only.
  await seconds(TIMEOUT * 0.5);
  assert(count <= 1, `it fired ${count} times`);
  deadline.close();
  return end === null ? null : (end - start) / 1000;
}

Deno.test("a wait expires between 1.0 and 1.25 times the time-out, whenever it began", async () => {
  const offsets = [0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.11, 0.13];
  const elapsed = await Promise.all(offsets.map((offset) =>
    expiry(async (deadline) => {
      await seconds(offset);
      deadline.start();
    })
  ));
  for (const [i, time] of elapsed.entries()) {
    assert(time !== null && time >= TIMEOUT - 0.001, `offset ${offsets[i]}: ${time} s`);
    // What is above 1.25 times is the machine's other work.
    assert(time < TIMEOUT * 1.25 + 0.15, `offset ${offsets[i]}: ${time} s`);
  }
});

Deno.test("a wait that has ended, never began, or has no bound does not expire", async () => {
  const none = await Promise.all([
    expiry(() => {}),
    expiry((deadline) => {
      deadline.start();
      deadline.stop();
    }),
    expiry(async (deadline) => {
      deadline.start();
      await seconds(TIMEOUT * 0.6);
      deadline.stop();
    }),
    expiry((deadline) => {
      deadline.start();
      deadline.close();
    }),
    expiry((deadline) => {
      deadline.start();
      deadline.stop();
      deadline.close();
    }, null),
    expiry((deadline) => deadline.start(), null),
  ]);
  assertEquals(none, new Array(6).fill(null));
});

Deno.test("a wait that begins again has its whole time again", async () => {
  const time = await expiry(async (deadline) => {
    deadline.start();
    for (let i = 0; i < 4; i++) {
      await seconds(TIMEOUT * 0.5);
      deadline.start();
    }
  });
  assert(time !== null && time >= TIMEOUT - 0.001, `${time} s`);
});
