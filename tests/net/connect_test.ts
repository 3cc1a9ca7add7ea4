/** Attempts with a time limit, and joined signals. */
import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { bounded, connectSocket } from "@degu/internal/net/connect.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { turnOfEventLoop } from "@degu/testing/raw_peer.ts";

const reason = new Error("changed my mind");

/** A signal that counts its listeners. */
function counted() {
  const controller = new AbortController();
  const { signal } = controller;
  let listeners = 0;
  const add = signal.addEventListener.bind(signal) as typeof signal.addEventListener;
  const remove = signal.removeEventListener.bind(signal) as typeof signal.removeEventListener;
  Object.assign(signal, {
    addEventListener: (...args: Parameters<typeof add>) => (listeners++, add(...args)),
    removeEventListener: (...args: Parameters<typeof remove>) => (listeners--, remove(...args)),
  });
  return { signal, abort: () => controller.abort(reason), listeners: () => listeners };
}

/** Something that can be closed, and how often it was. */
function closable() {
  return {
    closed: 0,
    close() {
      this.closed++;
    },
  };
}

Deno.test("an attempt that exceeds its time limit is a TimedOut, and its result is closed", async () => {
  const late = Promise.withResolvers<ReturnType<typeof closable>>();
  let seen: AbortSignal | undefined;
  let rejected;
  {
    using time = new FakeTime();
    const attempt = bounded("trying", { timeout: 2.5, signal: undefined }, (signal) => {
      seen = signal;
      return late.promise;
    });
    rejected = assertRejects(() => attempt, Deno.errors.TimedOut, "trying took over 2.5 s");
    time.tick(2500);
    assert(!seen?.aborted);
    time.tick(625);
    // The timer is cleared in the time in which it was set.
    await rejected;
  }
  assert(seen?.aborted);
  const thing = closable();
  late.resolve(thing);
  await turnOfEventLoop();
  assertEquals(thing.closed, 1);
});

Deno.test("a result that comes too late and can't be closed ends nothing else", async () => {
  const late = Promise.withResolvers<{ close(): void }>();
  const { signal, abort } = counted();
  const attempt = bounded("trying", { timeout: null, signal }, () => late.promise);
  abort();
  assertStrictEquals(await rejectionOf(attempt, "aborted"), reason);
  const close = () => {
    throw new Error("it was closed by other code");
  };
  late.resolve({ close });
  // A rejection that nobody handles would fail the test here.
  await turnOfEventLoop();
});

Deno.test("an abort at the moment at which a socket is connected leaves no socket open", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const address = ["127.0.0.1", listener.addr.port] as const;
  for (let round = 0; round < 20; round++) {
    const { signal, abort } = counted();
    const connecting = connectSocket(address, { timeout: 10, signal });
    setTimeout(abort, 1);
    // The socket is connected, and the timer due, when the event loop next turns.
    const until = performance.now() + 3;
    while (performance.now() < until);
    await connecting.then((socket) => socket.close(), () => {});
    using peer = await listener.accept();
    await peer.read(new Uint8Array(1)).catch(() => {});
  }
});
