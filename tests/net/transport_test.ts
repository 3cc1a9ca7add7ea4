/** A socket with a buffer: what is read and written when it closes, and what is reported. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { ConnectionClosedError } from "@degu/degu/base";
import type { Socket } from "@degu/degu/client";
import { PreambleReader } from "@degu/internal/net/preamble_reader.ts";
import { Transport } from "@degu/internal/net/transport.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

/** A socket whose reads and writes the test settles; it fails the test if two reads are under way. */
class ManualSocket implements Socket {
  reads: PromiseWithResolvers<number | null>[] = [];
  writes = 0;
  closings = 0;
  #busy = false;

  async read(): Promise<number | null> {
    assert(!this.#busy, "a socket has one read at a time");
    this.#busy = true;
    const read = Promise.withResolvers<number | null>();
    this.reads.push(read);
    try {
      return await read.promise;
    } finally {
      this.#busy = false;
    }
  }

  write(bytes: Uint8Array): Promise<number> {
    this.writes++;
    return Promise.resolve(bytes.length);
  }

  close(): void {
    this.closings++;
  }
}

function manual(timeout: number | null = null): { socket: ManualSocket; transport: Transport } {
  const socket = new ManualSocket();
  return { socket, transport: new Transport(socket, timeout) };
}

Deno.test("drain() waits for a pending read before it reads itself", async () => {
  const { socket, transport } = manual();
  const abandoned = transport.read(new Uint8Array(10));
  transport.abandonRead();
  const draining = transport.drain(1000);
  await turnOfEventLoop();
  assertEquals(socket.reads.length, 1);
  socket.reads[0]!.resolve(7);
  assertEquals(await abandoned, 7);
  await turnOfEventLoop();
  assertEquals(socket.reads.length, 2);
  socket.reads[1]!.resolve(null);
  assertEquals(await draining, true);
});

Deno.test("drain() ends when more was dropped than its limit", async () => {
  const { socket, transport } = manual();
  const draining = transport.drain(100);
  for (const i of [0, 1]) {
    await turnOfEventLoop();
    socket.reads[i]!.resolve(60);
  }
  assertEquals(await draining, false);
  assertEquals(socket.reads.length, 2);
});

Deno.test("close() calls each listener once, in order, with the failure", () => {
  for (const failure of [null, new Error("broken")]) {
    const { socket, transport } = manual();
    const calls: unknown[] = [];
    transport.addCloseListener((error) => calls.push(["first", error, transport.closed]));
    transport.addCloseListener((error) => calls.push(["last", error]));
    transport.close(failure);
    transport.close(new Error("again"));
    assertEquals(calls, [["first", failure, true], ["last", failure]]);
    assertStrictEquals(transport.failure, failure);
    assertEquals(socket.closings, 1);
  }
});

Deno.test("closeOn() closes with the reason of a signal, even one that is already aborted", () => {
  const reason = new Error("stopped");
  const before = manual();
  before.transport.closeOn(AbortSignal.abort(reason));
  const controller = new AbortController();
  const after = manual();
  after.transport.closeOn(controller.signal);
  assertEquals([before.transport.closed, after.transport.closed], [true, false]);
  controller.abort(reason);
  for (const { transport } of [before, after]) assertStrictEquals(transport.failure, reason);
});

Deno.test("a listener that is added after the close is called at once", () => {
  const { transport } = manual();
  const failure = new Error("broken");
  transport.close(failure);
  const seen: unknown[] = [];
  transport.addCloseListener((reason) => seen.push(reason));
  assertEquals(seen, [failure]);
});

Deno.test("a closed connection leaves no listener on a signal", () => {
  const { signal } = new AbortController();
  const listeners = new Set<unknown>();
  const add = signal.addEventListener.bind(signal);
  signal.addEventListener = (type: string, listener: EventListener) => {
    listeners.add(listener);
    add(type, listener);
  };
  signal.removeEventListener = (_type: string, listener: unknown) => listeners.delete(listener);
  const { transport } = manual();
  transport.closeOn(signal);
  assertEquals(listeners.size, 1);
  transport.close();
  assertEquals(listeners.size, 0);
});

Deno.test("watch() starts no read while one is pending, or after close()", async () => {
  const watching = async (begin: (transport: Transport) => void) => {
    const { socket, transport } = manual();
    begin(transport);
    const before = socket.reads.length;
    transport.watch(() => {});
    await turnOfEventLoop();
    const issued = socket.reads.length - before;
    for (const read of socket.reads) read.resolve(null);
    return issued;
  };
  const ignore = () => {};
  assertEquals(await watching(ignore), 1);
  assertEquals(await watching((transport) => transport.close()), 0);
  assertEquals(await watching((transport) => transport.watch(ignore)), 0);
  assertEquals(await watching((transport) => transport.read(new Uint8Array(1))), 0);
  assertEquals(
    await watching((transport) => void new PreambleReader(transport).beginReceive().catch(ignore)),
    0,
  );
});

Deno.test("watch() reports the peer's end and a broken connection, but no bytes", async () => {
  for (const end of [null, new Error("reset"), 5]) {
    const { socket, transport } = manual();
    let reported = 0;
    transport.watch(() => reported++);
    if (end instanceof Error) socket.reads[0]!.reject(end);
    else socket.reads[0]!.resolve(end);
    await turnOfEventLoop();
    assertEquals(reported, end === 5 ? 0 : 1, `${end}`);
  }
});

Deno.test("bytes that a read returns after close() are discarded, and nothing is written", async () => {
  const { socket, transport } = manual();
  const reading = rejectionOf(transport.read(new Uint8Array(10)), "the read");
  transport.close();
  socket.reads[0]!.resolve(5);
  assertInstanceOf(await reading, ConnectionClosedError);
  await assertRejects(() => transport.read(new Uint8Array(10)), ConnectionClosedError);
  assertThrows(() => transport.beginWrite(latin1("hello")), ConnectionClosedError);
  assertEquals([socket.reads.length, socket.writes], [1, 0]);
});

Deno.test("failureOf() returns the connection's own error after it was closed, and keeps the first one", () => {
  const [first, second] = [new Error("first"), new Error("second")];
  const { transport } = manual();
  assertStrictEquals(transport.failureOf(second, false), second);
  assertEquals(transport.failure, null);
  assertStrictEquals(transport.failureOf(first, true), first);
  assertStrictEquals(transport.failureOf(second, true), second);
  assertStrictEquals(transport.failure, first);
  transport.close(second);
  assertStrictEquals(transport.failureOf(second, true), first);

  const closed = manual().transport;
  closed.close();
  assertInstanceOf(closed.failureOf(first, true), ConnectionClosedError);
  assertEquals(closed.failure, null);
});

Deno.test("a read and a write have a time limit while they are pending", async () => {
  const { socket, transport } = manual(1000);
  const { deadline } = transport;
  const first = transport.read(new Uint8Array(10));
  assert(deadline.isReading);
  socket.reads[0]!.resolve(3);
  assertEquals(await first, 3);
  assert(!deadline.isReading);
  const second = transport.read(new Uint8Array(10));
  transport.abandonRead();
  assert(!deadline.isReading);
  socket.reads[1]!.resolve(null);
  assertEquals(await second, null);
  const writing = transport.beginWrite(latin1("hello"));
  assert(deadline.writing.since >= 0);
  assertEquals(await writing, 5);
  transport.endWrite();
  assertEquals(deadline.writing.since, -1);
  transport.close();
});

Deno.test("a peer that exceeds the time limit breaks the connection", async () => {
  const { socket, transport } = manual(0.01);
  const reading = rejectionOf(transport.read(new Uint8Array(1)), "the read");
  const closed = new Promise<unknown>((resolve) => transport.addCloseListener(resolve));
  // The time-out alone keeps no program running.
  const failure = await within(closed, "the time-out");
  assertInstanceOf(failure, Deno.errors.TimedOut);
  socket.reads[0]!.resolve(null);
  assertStrictEquals(await reading, failure);
  assertEquals(socket.closings, 1);
});

Deno.test("a read waits for a read-ahead, and gets its bytes or its end", async () => {
  for (const count of [3, null]) {
    const { socket, transport } = manual();
    transport.readAhead(false);
    const reading = transport.read(new Uint8Array(10));
    await turnOfEventLoop();
    assertEquals(socket.reads.length, 1);
    socket.reads[0]!.resolve(count);
    if (count === null) {
      await turnOfEventLoop();
      socket.reads[1]!.resolve(null);
    }
    assertEquals(await reading, count);
    assertEquals(transport.reader.buffered, 0);
  }
});

Deno.test("a failed read breaks the connection, and so does a failed read-ahead", async () => {
  for (const ahead of [false, true]) {
    const { socket, transport } = manual();
    const failure = new Error("broken");
    if (ahead) transport.readAhead(false);
    const reading = rejectionOf(transport.read(new Uint8Array(10)), "the read");
    socket.reads[0]!.reject(failure);
    assertStrictEquals(await reading, failure);
    assertStrictEquals(transport.failure, failure);
  }
});

Deno.test("the peer can be watched again after a read has ended", async () => {
  for (const end of [3, new Error("broken")]) {
    const { socket, transport } = manual();
    const reading = transport.read(new Uint8Array(10)).catch(() => {});
    if (end instanceof Error) socket.reads[0]!.reject(end);
    else socket.reads[0]!.resolve(end);
    await reading;
    let reported = false;
    transport.watch(() => reported = true);
    assertEquals(socket.reads.length, 2);
    socket.reads[1]!.resolve(null);
    await turnOfEventLoop();
    assert(reported);
  }
});

Deno.test("the time since the last arrival restarts with each read, or is infinite", async () => {
  const { socket, transport } = manual();
  transport.forgetArrival();
  assertEquals(transport.sinceArrival, Infinity);
  const reading = transport.read(new Uint8Array(10));
  socket.reads[0]!.resolve(1);
  await reading;
  assert(Math.abs(transport.sinceArrival) < 60_000);
  transport.forgetArrival();
  transport.noteArrival();
  assert(Math.abs(transport.sinceArrival) < 60_000);
});

Deno.test("drain() also drops what has already arrived", async () => {
  const { socket, transport } = manual();
  transport.readAhead(false);
  socket.reads[0]!.resolve(60);
  await turnOfEventLoop();
  assertEquals(transport.reader.buffered, 60);
  assertEquals(await transport.drain(50), false);
  assertEquals([transport.reader.buffered, socket.reads.length], [0, 1]);
});

Deno.test("closeWrite() closes the write side of a socket that has one", async () => {
  let ended = 0;
  const socket = Object.assign(new ManualSocket(), {
    closeWrite: () => Promise.resolve(void ended++),
  });
  await new Transport(socket, null).closeWrite();
  assertEquals(ended, 1);
  await manual().transport.closeWrite();
});
