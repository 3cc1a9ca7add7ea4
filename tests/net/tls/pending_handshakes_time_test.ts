/** How long a handshake may take, and what becomes of one that ends too late. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import process from "node:process";
import { DeguError } from "@degu/degu/base";
import {
  type PendingHandshake,
  PendingHandshakes,
} from "@degu/internal/net/tls/pending_handshakes.ts";

const TIMEOUT = 0.2;

/** A handshake that goes on forever. */
function never(): Promise<{ close(): void }> {
  return new Promise(() => {});
}

/** Waits for the end of a handshake; returns after how many milliseconds it came. */
async function timeOf(handshake: PendingHandshake): Promise<number> {
  const message = "the TLS handshake took over 0.2 s";
  await assertRejects(() => handshake.race(never()), Deno.errors.TimedOut, message);
  assert(!handshake.isCut, "a peer that takes too long is at fault");
  return performance.now() - handshake.since;
}

function assertInTime(milliseconds: number): void {
  assert(milliseconds >= TIMEOUT * 1000 - 1, `only ${milliseconds} ms`);
  assert(milliseconds < TIMEOUT * 1000 + 1000, `${milliseconds} ms`);
}

Deno.test("each handshake may take the whole time, whenever others began or ended", async () => {
  // A connection keeps the process alive, and here is none.
  const keepAlive = setTimeout(() => {}, 10_000);
  const pending = new PendingHandshakes(TIMEOUT);
  const ended = pending.add(() => false);
  const oldest = pending.add(() => false);
  pending.delete(ended);
  const oldestEnds = timeOf(oldest);
  await new Promise((resolve) => setTimeout(resolve, TIMEOUT * 500));
  const newer = pending.add(() => false);
  assertInTime(await oldestEnds);
  assertInTime(await timeOf(newer));
  // No timer is left, as the sanitizers of the test check, and the next one starts another.
  assertInTime(await timeOf(pending.add(() => false)));
  clearTimeout(keepAlive);
});

Deno.test("without a limit, or once all were closed, no timer is left", async () => {
  const unlimited = new PendingHandshakes(null);
  unlimited.delete(unlimited.add(() => false));
  const pending = new PendingHandshakes(3600);
  const handshake = pending.add(() => false);
  const end = assertRejects(() => handshake.race(never()), DeguError, "the server closed");
  pending.close();
  await end;
  assert(handshake.isCut);
});

Deno.test("a time-out longer than a timer can wait is kept, too", async () => {
  const pending = new PendingHandshakes(2 ** 31);
  const handshake = pending.add(() => false);
  const socket = { close: () => {} };
  assertEquals(await handshake.race(Promise.resolve(socket)), socket);
  pending.close();
});

Deno.test("a time-out that is over before its timer is started is kept, without a warning of the platform", async () => {
  const warnings: Error[] = [];
  const listen = (warning: Error) => void warnings.push(warning);
  process.on("warning", listen);
  const keepAlive = setTimeout(() => {}, 10_000);
  const handshake = new PendingHandshakes(1e-9).add(() => false);
  await assertRejects(() => handshake.race(never()), Deno.errors.TimedOut);
  clearTimeout(keepAlive);
  process.off("warning", listen);
  assertEquals(warnings, []);
});

Deno.test("a connection whose handshake succeeds after it was ended is closed", async () => {
  const pending = new PendingHandshakes(null);
  const handshake = pending.add(() => false);
  const attempt = Promise.withResolvers<{ close(): void }>();
  const closed = Promise.withResolvers<void>();
  const result = handshake.race(attempt.promise);
  pending.close();
  await assertRejects(() => result, DeguError);
  attempt.resolve({ close: closed.resolve });
  await closed.promise;
});
