/** Connections over foreign sockets that misbehave, and closing a connection at any moment. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { Body, BodyError, ConnectionClosedError } from "@degu/degu/base";
import { Connection, type Socket } from "@degu/degu/client";
import { connect } from "@degu/testing/connected.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { eachRow } from "@degu/testing/rows.ts";
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

Deno.test("a socket that reports an impossible count is an error, and is closed", async (t) => {
  for (const count of [-1, 0.5, NaN, 65537, Infinity, 2 ** 40]) {
    for (const isSent of [false, true]) {
      await t.step(`a read of ${count} bytes, after the request was sent: ${isSent}`, async () => {
        const late = Promise.withResolvers<number>();
        const { socket, inner } = socketWith({ read: () => late.promise });
        using conn = new Connection(socket, null);
        const written = inner.written();
        if (!isSent) late.resolve(count);
        const error = rejectionOf(conn.get("/"), `${count}`);
        if (isSent) await written;
        late.resolve(count);
        assertInstanceOf(await within(error, "the request rejects"), Error);
        assertEquals([conn.closed, inner.closings], [true, 1]);
      });
    }
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
    await assertRejects(() => within(requesting, "the request rejects"));
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

Deno.test("close() ends a request over a socket that never ends its reads", async () => {
  const { socket } = socketWith({
    read: () => new Promise<never>(() => {}),
    write(bytes) {
      conn.close();
      return Promise.resolve(bytes.length);
    },
  });
  const conn = new Connection(socket, null);
  const error = await within(rejectionOf(conn.get("/"), "a request"), "it rejects");
  assertInstanceOf(error, ConnectionClosedError);
});

Deno.test("bytes that a socket returns after close() are discarded", async () => {
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

Deno.test("a connection releases the memory that relaying a body needed", async (t) => {
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
  await eachRow(t, Object.entries(bodies), async (_kind, parts) => {
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
    assertEquals(offered, [2 ** 11]);
  });
});

Deno.test("close() ends a request whose body waits for its source, and cancels the source", async () => {
  using ends = await connect();
  const cancelled = Promise.withResolvers<void>();
  const stream = new ReadableStream<Uint8Array>({ cancel: () => cancelled.resolve() });
  const responding = rejectionOf(ends.conn.post("/", {}, new Body(stream, 5)), "the request");
  await ends.peer.readPreamble();
  ends.conn.close();
  assertInstanceOf(await responding, ConnectionClosedError);
  await within(cancelled.promise, "the source is canceled");
});

Deno.test("a connection that is closed while a read completes never returns stale bytes of its buffer", async () => {
  const response = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r";
  for (let turns = 0; turns < 60; turns++) {
    const sent = Promise.withResolvers<void>();
    const pieces = [response, "\n5", "\r\nwo", "rld\r", "\n0\r", "\n\r", "\n"];
    const socket: Socket = {
      async read(into) {
        await sent.promise;
        const piece = pieces.shift();
        if (piece === undefined) return null;
        const { written } = new TextEncoder().encodeInto(piece, into);
        if (written < piece.length) pieces.unshift(piece.slice(written));
        return written;
      },
      write(bytes) {
        sent.resolve();
        return Promise.resolve(bytes.length);
      },
      close() {},
    };
    using conn = new Connection(socket, null, undefined, null);
    const { body } = await conn.get("/");
    const seen: string[] = [];
    const reading = (async () => {
      if (body === null || !body.chunked) return;
      for await (const [, data] of body) seen.push(new TextDecoder().decode(data));
    })().catch((error) => assertInstanceOf(error, ConnectionClosedError));
    for (let turn = 0; turn < turns; turn++) await null;
    conn.close();
    await reading;
    assert("helloworld".startsWith(seen.join("")), `after ${turns} turns: ${seen}`);
  }
});
