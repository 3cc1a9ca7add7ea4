/**
 * Bytes that are discarded after the last response, so that a reset can't destroy the response.
 * docs/security.md has the limits.
 */
import { linger } from "@degu/internal/net/server/lingering.ts";
import { Transport } from "@degu/internal/net/transport/transport.ts";
import type { Socket } from "@degu/degu/base";
import { readStatedNumber } from "@degu/testing/stated.ts";
import { assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";

const ROW = "bytes discarded after the last response +";

/**
 * Ends a connection whose peer sends this many bytes more, and then ends its side or waits forever.
 */
function lingerWith(bytes: number, endsSide = true) {
  const state = { read: 0, sawEnd: false, isClosed: false };
  const waiting = Promise.withResolvers<number | null>();
  waiting.promise.catch(() => {});
  const socket: Socket = {
    read(into) {
      const count = Math.min(into.length, bytes - state.read);
      state.read += count;
      if (count > 0) return Promise.resolve(count);
      state.sawEnd = endsSide;
      return endsSide ? Promise.resolve(null) : waiting.promise;
    },
    write: (bytes) => Promise.resolve(bytes.length),
    close() {
      state.isClosed = true;
      waiting.reject(new Deno.errors.BadResource("closed"));
    },
  };
  const transport = new Transport(socket, null, () => {});
  return { transport, seen: state, end: () => linger(transport, socket) };
}

async function runMicrotasks(): Promise<void> {
  for (let microtask = 0; microtask < 100; microtask++) await null;
}

Deno.test("later bytes of a peer are discarded up to the limit of docs/security.md, and no more are read", async () => {
  const limit = 2 ** 20 *
    await readStatedNumber("docs/security.md", new RegExp(`${ROW}\\| (\\d+) MiB`));
  for (const [bytes, sawEnd] of [[limit - 1, true], [limit, false], [limit + 1, false]] as const) {
    const { transport, seen: state, end } = lingerWith(bytes);
    await end();
    assertEquals(state.sawEnd, sawEnd, `${bytes} bytes`);
    assertEquals(state.read, Math.min(bytes, limit));
    transport.close();
  }
});

Deno.test("when the server has stopped reading, the peer has 0.2 seconds to read the response, also without TLS", async () => {
  using time = new FakeTime();
  const { transport, end } = lingerWith(2 ** 21);
  let hasEnded = false;
  const lingering = end().then(() => hasEnded = true);
  for (let elapsed = 0; elapsed < 200; elapsed += 20) {
    await runMicrotasks();
    assertEquals(hasEnded, false, `after ${elapsed} ms`);
    time.tick(20);
  }
  await lingering;
  transport.close();
});

Deno.test("a server waits for a peer that neither ends nor reads as long as docs/security.md says, to the millisecond", async () => {
  const seconds = await readStatedNumber(
    "docs/security.md",
    new RegExp(`${ROW}\\| \\d+ MiB or (\\d+) s`),
  );
  using time = new FakeTime();
  const { seen: state, end } = lingerWith(1000, false);
  const lingering = end();
  await runMicrotasks();
  time.tick(seconds * 1000 - 1);
  await runMicrotasks();
  assertEquals(state, { read: 1000, sawEnd: false, isClosed: false });
  time.tick(1);
  await lingering;
  assertEquals(state.isClosed, true);
});
