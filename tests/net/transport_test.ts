/** Connections over sockets of other makers: ones that do less than they should, or something else. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { BodyError, BodyIter, ConnectionClosedError } from "@degu/degu/base";
import { Connection, type Socket } from "@degu/degu/client";
import { PreambleReader } from "@degu/internal/net/preamble_reader.ts";
import { Transport } from "@degu/internal/net/transport.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { PieceSource } from "@degu/testing/streams.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

/** A socket that behaves but for what is given. */
function socketWith(faults: Partial<Socket>): { socket: Socket; inner: RecordingSocket } {
  const inner = new RecordingSocket();
  const socket: Socket = {
    read: (into) => inner.read(into),
    write: (bytes) => inner.write(bytes),
    close: () => inner.close(),
    ...faults,
  };
  return { socket, inner };
}

Deno.test("a socket that claims a count that can't be is an error, and is closed", async (t) => {
  for (const count of [-1, 0.5, NaN, Infinity, 2 ** 40]) {
    await t.step(`a read of ${count} bytes`, async () => {
      const { socket, inner } = socketWith({ read: () => Promise.resolve(count) });
      using conn = new Connection(socket, null);
      await assertRejects(() => within(conn.get("/"), "the request rejects", 1));
      assertEquals([conn.closed, inner.closings], [true, 1]);
    });
  }
  for (const count of [-1, 0, 0.5, NaN, Infinity, 2 ** 40]) {
    await t.step(`a write of ${count} bytes`, async () => {
      const { socket, inner } = socketWith({ write: () => Promise.resolve(count) });
      using conn = new Connection(socket, null);
      const error = await rejectionOf(conn.put("/", {}, latin1("hello")), "the request rejects");
      assertInstanceOf(error, BodyError);
      assertStringIncludes(error.message, `claims to have written ${count} of`);
      assertEquals([conn.closed, inner.closings], [true, 1]);
    });
  }
});

Deno.test("a socket that throws instead of rejecting is an error like any other", async () => {
  const failure = new Error("thrown");
  const fail = () => {
    throw failure;
  };
  for (const faults of [{ read: fail }, { write: fail }]) {
    const { socket, inner } = socketWith(faults);
    using conn = new Connection(socket, null);
    const requesting = conn.get("/");
    inner.end();
    await assertRejects(() => within(requesting, "the request rejects", 1));
    assertEquals(conn.closed, true);
  }
});

Deno.test("a socket whose close() throws is closed all the same", async () => {
  const { socket, inner } = socketWith({
    close: () => {
      inner.close();
      throw new Error("closed already");
    },
  });
  const conn = new Connection(socket, null);
  const error = rejectionOf(conn.get("/"), "a request that waits");
  conn.close();
  conn.close();
  assertInstanceOf(await error, ConnectionClosedError);
  assertEquals([conn.closed, inner.closings], [true, 1]);
});

Deno.test("bytes that a socket gives after close() are not taken", async () => {
  const answer = latin1("HTTP/1.1 200 OK\r\n\r\n");
  for (const isSent of [false, true]) {
    const late = Promise.withResolvers<void>();
    const { socket, inner } = socketWith({
      read: async (into) => {
        await late.promise;
        into.set(answer);
        return answer.length;
      },
      close: () => late.resolve(),
    });
    const conn = new Connection(socket, null);
    const written = inner.written();
    const error = rejectionOf(conn.get("/"), "a request that waits");
    if (isSent) await written;
    conn.close();
    assertInstanceOf(await error, ConnectionClosedError);
  }
});

Deno.test("a read that claims a count that can't be, once the request is sent, is an error", async () => {
  for (const count of [-1, 0.5, NaN, 65537, 2 ** 40]) {
    const late = Promise.withResolvers<number>();
    const { socket, inner } = socketWith({ read: () => late.promise });
    using conn = new Connection(socket, null);
    const written = inner.written();
    const error = rejectionOf(conn.get("/"), `${count}`);
    await written;
    late.resolve(count);
    assertInstanceOf(await within(error, "the request rejects", 1), Error);
    assertEquals([conn.closed, inner.closings], [true, 1]);
  }
});

Deno.test("a socket is closed exactly once, whatever happens", async () => {
  const socket = new RecordingSocket();
  const conn = new Connection(socket, null);
  const written = socket.written();
  const error = rejectionOf(conn.get("/"), "nonsense");
  await written;
  socket.give("NONSENSE\r\n\r\n");
  await error;
  conn.close();
  conn[Symbol.dispose]();
  assertEquals(socket.closings, 1);
});

Deno.test("everything works over a socket that gives and takes a byte at a time", async () => {
  const socket = new RecordingSocket({ perRead: 1, perWrite: 1 });
  using conn = new Connection(socket, { host: "a" });
  for (let i = 0; i < 3; i++) {
    const written = socket.written();
    const responding = conn.put("/", {}, new BodyIter([latin1("he"), latin1("llo")], 5));
    await written;
    socket.give("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nworld\r\n0\r\n\r\n");
    assertEquals(await (await responding).body?.text(), "world");
  }
  const request = "PUT / HTTP/1.1\r\ncontent-length: 5\r\nhost: a\r\n\r\nhello";
  assertEquals(socket.writes.join(""), request.repeat(3));
  assert(socket.writes.every((piece) => piece.length === 1));
});

Deno.test("a pair of web streams is a socket as good as any", async () => {
  const up = new TransformStream<Uint8Array, Uint8Array>();
  const down = new TransformStream<Uint8Array, Uint8Array>();
  const reader = down.readable.getReader();
  const writer = up.writable.getWriter();
  let rest = new Uint8Array(0);
  const socket: Socket = {
    async read(into) {
      if (rest.length === 0) {
        const { done, value } = await reader.read();
        if (done) return null;
        rest = Uint8Array.from(value);
      }
      const count = Math.min(into.length, rest.length);
      into.set(rest.subarray(0, count));
      rest = rest.subarray(count);
      return count;
    },
    async write(bytes) {
      await writer.write(bytes.slice());
      return bytes.length;
    },
    close() {
      reader.cancel().catch(() => {});
      writer.abort().catch(() => {});
    },
  };
  using conn = new Connection(socket, null);
  const responding = conn.get("/");
  const peer = up.readable.getReader();
  assertEquals(new TextDecoder().decode((await peer.read()).value), "GET / HTTP/1.1\r\n\r\n");
  await down.writable.getWriter().write(
    latin1("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"),
  );
  assertEquals(await (await responding).body?.text(), "hello");
});

Deno.test("a connection gives the memory back that a body took on its way to another", async (t) => {
  const length = 2 ** 23;
  const large = new Uint8Array(length);
  const bodies = {
    "a length": [`content-length: ${length}\r\n\r\n`, large],
    "chunks": [
      "transfer-encoding: chunked\r\n\r\n",
      `${length.toString(16)}\r\n`,
      large,
      "\r\n0\r\n\r\n",
    ],
  };
  for (const [kind, parts] of Object.entries(bodies)) {
    await t.step(kind, async () => {
      const pieces = ["HTTP/1.1 200 OK\r\n", ...parts, "HTTP/1.1 204 No Content\r\n\r\n"];
      const source = new PieceSource(
        pieces.map((piece) => typeof piece === "string" ? latin1(piece) : piece),
      );
      const offered: number[] = [];
      let isSent = Promise.withResolvers<void>();
      const { socket } = socketWith({
        async read(into) {
          offered.push(into.length);
          await isSent.promise;
          return source.read(into);
        },
        write(bytes) {
          isSent.resolve();
          return Promise.resolve(bytes.length);
        },
      });
      using conn = new Connection(socket, null);
      const { body } = await conn.get("/");
      await body!.writeTo({ pieceBytes: 2 ** 21, write: () => Promise.resolve() });
      assertEquals(Math.max(...offered), 2 ** 21);
      isSent = Promise.withResolvers();
      offered.length = 0;
      assertEquals((await conn.get("/")).status, 204);
      assertEquals(offered, [2 ** 16]);
    });
  }
});

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

function manual(): { socket: ManualSocket; transport: Transport } {
  const socket = new ManualSocket();
  return { socket, transport: new Transport(socket, null) };
}

Deno.test("drain() waits for a read that is under way before it reads itself", async () => {
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

Deno.test("drain() ends once more was dropped than it may drop", async () => {
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
    const remove = transport.addCloseListener(() => calls.push("removed"));
    transport.addCloseListener((error) => calls.push(["last", error]));
    remove();
    transport.close(failure);
    transport.close(new Error("again"));
    assertEquals(calls, [["first", failure, true], ["last", failure]]);
    assertStrictEquals(transport.failure, failure);
    assertEquals(socket.closings, 1);
  }
});

Deno.test("closeOn() closes with the reason of a signal, also of one that is aborted already", () => {
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

Deno.test("a connection that is closed leaves no listener on a signal", () => {
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

Deno.test("watch() issues no read while one is under way, nor after close()", async () => {
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

Deno.test("bytes that a read gives after close() are not taken, and nothing is written", async () => {
  const { socket, transport } = manual();
  const reading = rejectionOf(transport.read(new Uint8Array(10)), "the read");
  transport.close();
  socket.reads[0]!.resolve(5);
  assertInstanceOf(await reading, ConnectionClosedError);
  await assertRejects(() => transport.read(new Uint8Array(10)), ConnectionClosedError);
  assertThrows(() => transport.beginWrite(latin1("hello")), ConnectionClosedError);
  assertEquals([socket.reads.length, socket.writes], [1, 0]);
});

Deno.test("failureOf() gives the connection's own error once it is closed, and keeps the first", () => {
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
