/**
 * Bare line feeds and carriage returns are refused as soon as they are read, however the bytes
 * arrive.
 */

import { Connection } from "@degu/degu/client";
import type { ProtocolError, ProtocolErrorCode } from "@degu/degu/base";
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RawPeer, waitForTick } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { assertEquals, assertInstanceOf } from "@std/assert";

const NEXT = "GET /next HTTP/1.1\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const CHUNKS = "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";

/** The sent bytes, up to the deciding one, and the complete response. */
const REQUESTS: readonly (readonly [sent: string, received: string])[] = [
  ["GET / HTTP/1.1\n", formatErrorResponse(400)],
  ["GET / HTTP/1.1\rx", formatErrorResponse(400)],
  ["GET / HTTP/1.1\r\r", formatErrorResponse(400)],
  ["GET /\n", formatErrorResponse(400)],
  ["GET / HTTP/1.0\n", formatErrorResponse(400)],
  ["BREW / HTTP/1.1\n", formatErrorResponse(400)],
  ["GET / HTTP/1.1\r\nhost: a\n", formatErrorResponse(400)],
  ["GET / HTTP/1.1\r\nhost: a\rb", formatErrorResponse(400)],
  ["GET / HTTP/1.1\r\na\n", formatErrorResponse(400)],
  ["GET / HTTP/1.1\r\n\n", formatErrorResponse(400)],
  ["GET / HTTP/1.1\r\n\r\r", formatErrorResponse(400)],
  // The method and version were valid in the line before.
  ["BREW / HTTP/1.1\r\na: b\n", formatErrorResponse(501)],
  ["GET / HTTP/1.0\r\na: b\n", formatErrorResponse(505)],
  // Bytes with this start are not HTTP.
  ["GET\n", ""],
  ["\n", ""],
  ["\r\n", ""],
  [`${NEXT}\r\n`, OK],
  [`${NEXT}GET / HTTP/1.1\n`, OK + formatErrorResponse(400)],
  [`${CHUNKS}5\n`, formatErrorResponse(400)],
  [`${CHUNKS}5\rx`, formatErrorResponse(400)],
  [`${CHUNKS}5;a=b\n`, formatErrorResponse(400)],
  [`${CHUNKS}1\r\nx\r\n0\n`, formatErrorResponse(400)],
  [`GET /?${"a".repeat(32700)}\n`, formatErrorResponse(400)],
  [`GET /?${"a".repeat(32761)}\n`, formatErrorResponse(400)],
  [`GET /?${"a".repeat(32762)}\n`, formatErrorResponse(431)],
  [`GET /?${"a".repeat(33000)}\n`, formatErrorResponse(431)],
];

Deno.test("a server refuses a bare line feed or carriage return as soon as it reads it", async (t) => {
  await using serving = serve(async ({ body }) => {
    await body?.bytes();
    return [200, "OK", {}, null];
  }, { timeout: null });
  await testEachRow(t, REQUESTS, async (sent, received) => {
    // Bytes that follow in the same piece have no effect.
    for (const rest of ["", `\r\n\r\n${NEXT}`]) {
      using peer = await RawPeer.connect(serving.address);
      await peer.send(sent + rest);
      assertEquals((await peer.readToEnd()).received, received, JSON.stringify(rest));
    }
    const single = sent.length < 1000 ? sent.length : 1;
    for (let at = sent.length - single; at < sent.length; at++) {
      using peer = await RawPeer.connect(serving.address);
      await peer.send(sent.slice(0, at));
      await waitForTick();
      await peer.send(sent.slice(at)).catch(() => {});
      const ending = await peer.readToEnd();
      assertEquals(ending.received, received, `split at ${at}`);
    }
  });
  assertEquals([serving.logger.messagesOf("warn"), serving.logger.messagesOf("error")], [[], []]);
});

Deno.test("each refusal of a bare line end has a line in the log", async () => {
  for (
    const [sent, code] of [["GET / HTTP/1.1\n", "unknown protocol"], ["\r\n", "no request begins"]]
  ) {
    await using serving = serve(() => [200, "OK", {}, null], { timeout: null });
    using peer = await RawPeer.connect(serving.address);
    await peer.send(sent!);
    await peer.readToEnd();
    const [line = ""] = await serving.logger.waitFor("info");
    assertEquals(line.includes(code!), true, line);
  }
});

const RESPONSES: readonly (readonly [sent: string, code: ProtocolErrorCode])[] = [
  ["HTTP/1.1 200 OK\n", "BAD_REASON"],
  ["HTTP/1.1 200 OK\rx", "BAD_REASON"],
  ["HTTP/1.1 20\n", "BAD_STATUS_LINE"],
  ["HTTP/1.0 200 OK\n", "BAD_STATUS_LINE"],
  ["HTTP/1.1 200 OK\r\na: b\n", "BAD_HEADER_VALUE"],
  ["HTTP/1.1 200 OK\r\na: b\r\r", "BAD_HEADER_VALUE"],
  ["HTTP/1.1 200 OK\r\na\n", "BAD_HEADER_NAME"],
  ["HTTP/1.1 200 OK\r\n\n", "BAD_HEADER_NAME"],
];
const CHUNKED = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const BODIES: readonly (readonly [sent: string, code: ProtocolErrorCode])[] = [
  [`${CHUNKED}5\n`, "BAD_CHUNK_LINE"],
  [`${CHUNKED}5\rx`, "BAD_CHUNK_LINE"],
  [`${CHUNKED}5;a=b\n`, "BAD_CHUNK_EXTENSION"],
];

Deno.test("a client rejects a bare line feed or carriage return as soon as it reads it, with the code of its line", async (t) => {
  await testEachRow(t, [...RESPONSES, ...BODIES], async (sent, code) => {
    for (const pieces of [[sent], [...sent], [`${sent}\r\n\r\n: b\r\n\r\n`]]) {
      const socket = new RecordingSocket();
      using conn = new Connection(socket, null);
      const nextWrite = socket.waitForWrite();
      const reading = catchRejection(
        conn.get("/").then((response) => response.bytes()),
        "a response",
      );
      await nextWrite;
      for (const piece of pieces) socket.receive(piece);
      const error = await reading;
      assertInstanceOf(error, Error);
      assertEquals((error as ProtocolError).code, code);
      assertEquals(conn.closed, true);
    }
  });
});
