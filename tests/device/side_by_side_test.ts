/** Which of several addresses is connected to, and when each is tried. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { type Address, TlsError } from "../../base.ts";
import { mostTelling, reachFirst, STAGGER_MILLISECONDS } from "../../device/side_by_side.ts";
import { within } from "../support/raw_peer.ts";

/** What an attempt ends with, when it is told to. */
class Attempt {
  readonly begun = performance.now();
  readonly outcome = Promise.withResolvers<Socket>();

  constructor(readonly signal: AbortSignal) {
    signal.addEventListener("abort", () => this.outcome.reject(signal.reason));
  }
}

class Socket {
  closed = false;

  close(): void {
    this.closed = true;
  }
}

/** Attempts at addresses with the ports 1, 2, 3 …, each of which waits to be told its end. */
class Attempts {
  readonly all: Attempt[] = [];
  readonly ports: number[] = [];
  #changed = Promise.withResolvers<void>();

  readonly attempt = async ([, port]: Address, signal: AbortSignal): Promise<Socket> => {
    const attempt = new Attempt(signal);
    this.ports.push(port as number);
    this.all.push(attempt);
    this.#changed.resolve();
    return await attempt.outcome.promise;
  };

  async waitFor(count: number): Promise<Attempt> {
    while (this.all.length < count) {
      await within(this.#changed.promise, `${count} attempts`);
      this.#changed = Promise.withResolvers();
    }
    return this.all[count - 1]!;
  }
}

const addresses = (count: number): Address[] =>
  Array.from({ length: count }, (_, index) => ["127.0.0.1", index + 1]);

Deno.test("the next address is tried 250 ms later, and the first that answers is taken", async () => {
  const attempts = new Attempts();
  const reaching = reachFirst(addresses(3), attempts.attempt, undefined);
  const first = await attempts.waitFor(1);
  const second = await attempts.waitFor(2);
  const gap = second.begun - first.begun;
  assert(gap > STAGGER_MILLISECONDS - 5, `${gap} ms`);
  const socket = new Socket();
  second.outcome.resolve(socket);
  const reached = await reaching;
  assertStrictEquals(reached.socket, socket);
  assertEquals(reached.address, ["127.0.0.1", 2]);
  assertEquals([socket.closed, first.signal.aborted], [false, true]);
  assertEquals(attempts.ports, [1, 2]);
});

Deno.test("the next address is tried at once where one fails", async () => {
  const attempts = new Attempts();
  const begun = performance.now();
  const reaching = reachFirst(addresses(4), attempts.attempt, undefined);
  for (const count of [1, 2, 3]) {
    (await attempts.waitFor(count)).outcome.reject(new Error(`failure ${count}`));
  }
  (await attempts.waitFor(4)).outcome.resolve(new Socket());
  assertEquals((await reaching).address, ["127.0.0.1", 4]);
  const took = performance.now() - begun;
  assert(took < 2 * STAGGER_MILLISECONDS, `${took} ms, so they waited`);
});

Deno.test("one that answers too late is closed", async () => {
  const sockets = [new Socket(), new Socket()];
  const late = Promise.withResolvers<void>();
  const attempt = async ([, port]: Address): Promise<Socket> => {
    if (port === 1) await late.promise;
    else late.resolve();
    return sockets[Number(port) - 1]!;
  };
  const { address } = await reachFirst(addresses(2), attempt, undefined);
  assertEquals(address, ["127.0.0.1", 2]);
  assertEquals(sockets.map(({ closed }) => closed), [true, false]);
});

Deno.test("a signal ends all attempts with its reason", async () => {
  const attempts = new Attempts();
  const controller = new AbortController();
  const reaching = reachFirst(addresses(3), attempts.attempt, controller.signal);
  await attempts.waitFor(2);
  const reason = new Error("enough");
  controller.abort(reason);
  assertStrictEquals(await assertRejects(() => reaching), reason);
  assertEquals(attempts.all.map(({ signal }) => signal.aborted), [true, true]);
  await assertRejects(() => reachFirst(addresses(3), attempts.attempt, controller.signal));
  assertEquals(attempts.all.length, 2);
});

Deno.test("where all fail, the error that says most is thrown, with all of them", async () => {
  const refused = new Deno.errors.ConnectionRefused("refused");
  const stranger = new TlsError("UNTRUSTED", "a stranger");
  const alert = new TlsError("REFUSED_BY_PEER", "an alert");
  const timedOut = new Deno.errors.TimedOut("too long");
  const unreachable = Object.assign(new Error("no route"), { code: "EHOSTUNREACH" });
  const denied = new Deno.errors.NotCapable("no --allow-net");
  const rows: [errors: Error[], best: Error][] = [
    [[refused], refused],
    [[timedOut, refused], refused],
    [[unreachable, timedOut], timedOut],
    [[unreachable], unreachable],
    [[refused, stranger, timedOut], stranger],
    [[stranger, alert], alert],
    [[refused, denied], denied],
  ];
  for (const [errors, best] of rows) {
    const failing = [...errors];
    const attempt = () => Promise.reject(failing.shift());
    const error = await assertRejects(
      () => reachFirst(addresses(errors.length), attempt, undefined),
      Error,
      best.message,
    );
    assertStrictEquals(error.constructor, best.constructor);
    assertEquals((error as { code?: unknown }).code, (best as { code?: unknown }).code);
    assertInstanceOf(error.cause, AggregateError);
    assertEquals(error.cause.errors, errors);
  }
  assertEquals(mostTelling(["text"]).message, "text");
});
