/** The bytes that a client's connection accepts as a response, and the errors for other bytes. */
import {
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { EmptyPreambleError, ProtocolError } from "@degu/degu/base";
import { Client, Connection } from "@degu/degu/client";
import { type App, Server } from "@degu/degu/server";
import { connect } from "@degu/testing/connected.ts";
import { catchRejection, formatLabel } from "@degu/testing/expectations.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { type Portions, RecordingSocket } from "@degu/testing/recording_socket.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { receiveResponse } from "../fuzz/received.ts";

const lengthResponse = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: y\r\n\r\nhello";
const chunkedResponse =
  "HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n3;k=v\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
const bareResponse = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nx: y\r\n\r\n";

/** Makes a request over a socket of the test, which returns these bytes as the response. */
async function respondWith(bytes: string, portions?: Portions) {
  const socket = new RecordingSocket(portions);
  const conn = new Connection(socket, null);
  const nextWrite = socket.waitForWrite();
  const responding = conn.get("/");
  await nextWrite;
  socket.receive(bytes);
  return { socket, conn, responding, [Symbol.dispose]: () => conn.close() };
}

Deno.test("a response is parsed the same byte by byte; a response that is cut after any byte is an error, and closes the connection", async (t) => {
  for (const bytes of [lengthResponse, chunkedResponse, bareResponse]) {
    await t.step(formatLabel(bytes), async () => {
      using wholePair = await connect();
      const expected = await receiveResponse(await wholePair.answer(bytes));
      using slow = await respondWith(bytes, { perRead: 1 });
      assertEquals(await slow.responding.then(receiveResponse), expected);
      const preambleEnd = bytes.indexOf("\r\n\r\n") + 4;
      for (let at = 0; at < bytes.length; at++) {
        using pair = await connect();
        const responding = catchRejection(
          pair.conn.get("/").then(receiveResponse),
          `cut after ${at} bytes`,
        );
        await pair.peer.respond(bytes.slice(0, at));
        await pair.peer.closeWrite();
        const error = await responding;
        assertInstanceOf(error, ProtocolError);
        const code = at < preambleEnd ? "PREAMBLE_INCOMPLETE" : "BODY_INCOMPLETE";
        assertEquals(error.code, at === 0 ? "EMPTY_PREAMBLE" : code, `cut after ${at} bytes`);
        assertEquals(error instanceof EmptyPreambleError, at === 0);
        assertEquals(pair.conn.closed, true);
        await pair.peer.assertClosedSilently();
      }
    });
  }
});

Deno.test("only a reset, an abort and a broken pipe before a response mean that the peer has left", async (t) => {
  const { ConnectionReset, ConnectionAborted, BrokenPipe, TimedOut, BadResource, Interrupted } =
    Deno.errors;
  const peerErrors = [ConnectionReset, ConnectionAborted, BrokenPipe].map((Class) =>
    new Class("x")
  );
  const otherErrors = [TimedOut, BadResource, Interrupted, Error].map((Class) =>
    new Class("reset")
  );
  for (const failure of [...peerErrors, ...otherErrors, "ConnectionReset"]) {
    await t.step(Deno.inspect(failure).split("\n")[0]!, async () => {
      for (const isSent of [false, true]) {
        const socket = new RecordingSocket();
        if (!isSent) socket.fail(failure);
        using conn = new Connection(socket, null);
        const nextWrite = socket.waitForWrite();
        const result = conn.get("/").catch((error) => error);
        if (isSent) await nextWrite.then(() => socket.fail(failure));
        const error = await result;
        if (peerErrors.includes(failure as Error)) assertInstanceOf(error, EmptyPreambleError);
        else assertStrictEquals(error, failure);
        assertEquals([conn.closed, socket.closeCount], [true, 1]);
      }
    });
  }
});

Deno.test("an error of the socket in a body is passed on unchanged, and closes the connection", async () => {
  const failure = new Error("the cable was cut");
  using exchange = await respondWith("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe");
  const { socket, conn } = exchange;
  const { body } = await exchange.responding;
  const readError = catchRejection(body!.read(), "a read in the body");
  socket.fail(failure);
  assertStrictEquals(await readError, failure);
  assertEquals(conn.closed, true);
});

Deno.test("an invalid first byte of a response is an error at once, without waiting for the rest", async () => {
  for (let byte = 0; byte < 256; byte++) {
    const first = String.fromCharCode(byte);
    if ("H\r".includes(first)) continue;
    using exchange = await respondWith(first);
    const handshakeFailure = catchRejection(
      exchange.responding,
      `a response that begins with ${formatLabel(first)}`,
    );
    const error = await withTimeout(handshakeFailure, `an error for ${formatLabel(first)}`);
    assertInstanceOf(error, ProtocolError);
    assertEquals(error.code, "BAD_STATUS_LINE");
    assertEquals(error.message.includes("TLS"), byte === 0x15 || byte === 0x16);
    assertEquals(exchange.conn.closed, true);
  }
});

Deno.test("if a plain server refuses a request, the client's error refers to the server's log, which has the reason", async () => {
  const logger = new RecordingLogger();
  const app: App = { onConnect: () => false, handle: () => [200, "OK", {}, null] };
  await using server = await Server.start(["127.0.0.1", 0], app, { logger });
  using connection = await new Client(server.address).connect();
  const error = await assertRejects(() => connection.get("/"), EmptyPreambleError);
  const label = "the server closed the connection before it sent a response";
  assertEquals(error.message, `${label}; see the server's log, from level info on`);
  assertMatch(logger.messagesOf("info")[0] ?? "", /refused by onConnect$/);
});
