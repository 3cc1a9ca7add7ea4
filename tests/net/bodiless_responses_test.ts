/** Responses that have no body whatever their headers announce (RFC 9112 §6.3, RFC 9110 §6.4.1). */
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Method } from "@degu/degu/base";
import { ConnectionClosedError } from "@degu/degu/base";
import { connect } from "@degu/testing/connected.ts";
import { assertProtocolRejection } from "@degu/testing/expectations.ts";
import { connectThrough } from "@degu/testing/proxies.ts";
import { waitForTick } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";

const FORGED = "HTTP/1.1 200 Forged\r\ncontent-length: 0\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/** Responses, whether another response can follow, and the framing headers that remain. */
const ROWS: readonly (readonly [
  lines: string,
  method: Method,
  isReused: boolean,
  headers: Record<string, unknown>,
])[] = [
  ["204 No Content", "GET", true, {}],
  ["204 No Content\r\ncontent-length: 0", "GET", true, {}],
  ["204 No Content\r\ncontent-length: 00", "PUT", true, {}],
  [`204 No Content\r\ncontent-length: ${FORGED.length}`, "GET", false, {}],
  ["204 No Content\r\ncontent-length: 5", "HEAD", false, {}],
  ["204 No Content\r\ntransfer-encoding: chunked", "GET", false, {}],
  ["204 No Content\r\ntransfer-encoding: chunked", "DELETE", false, {}],
  ["304 Not Modified", "GET", true, {}],
  ["304 Not Modified\r\ncontent-length: 0", "GET", true, { "content-length": 0 }],
  [`304 Not Modified\r\ncontent-length: 43`, "GET", true, { "content-length": 43 }],
  ["304 Not Modified\r\ntransfer-encoding: chunked", "GET", true, {
    "transfer-encoding": "chunked",
  }],
  ["200 OK\r\ncontent-length: 43", "HEAD", true, { "content-length": 43 }],
  ["200 OK\r\ntransfer-encoding: chunked", "HEAD", true, { "transfer-encoding": "chunked" }],
  ["205 Reset Content", "GET", false, {}],
  ["205 Reset Content\r\ncontent-length: 0", "POST", true, {}],
];

Deno.test("204 and 304 have no body whatever their headers announce; after a 204 with content, or a 205 without framing, the connection is closed", async (t) => {
  await testEachRow(t, ROWS, async (lines, method, isReused, headers) => {
    using pair = await connect();
    const responding = pair.conn.request(method, "/", {}, null);
    await pair.peer.respond(`HTTP/1.1 ${lines}\r\n\r\n`);
    const response = await responding;
    assertEquals(response.body, null);
    assertEquals({ ...response.headers }, headers);
    assertEquals(pair.conn.closed, !isReused);
    if (isReused) {
      assertEquals((await pair.answer(OK)).status, 200);
    } else {
      await pair.peer.assertClosedSilently();
      const error = await assertRejects(() => pair.conn.get("/"), ConnectionClosedError);
      assert(!error.message.includes("had connection: close"), error.message);
    }
  });
});

Deno.test("bytes after a response without a body are never the next response", async (t) => {
  await testEachRow(t, ROWS, async (lines, method, isReused, _headers) => {
    for (const isOnePiece of [true, false]) {
      using pair = await connect();
      const responding = pair.conn.request(method, "/", {}, null);
      const preamble = `HTTP/1.1 ${lines}\r\n\r\n`;
      await pair.peer.respond(isOnePiece ? preamble + FORGED : preamble);
      assertEquals((await responding).body, null);
      if (!isReused) {
        await assertRejects(() => pair.conn.get("/"), ConnectionClosedError);
        continue;
      }
      if (!isOnePiece) await pair.peer.send(FORGED);
      await waitForTick();
      await assertProtocolRejection(pair.conn.get("/"), ["EXCESS_BYTES"], "the next request");
    }
  });
});

Deno.test("a 205 with a length or chunks has the announced body", async () => {
  for (
    const framing of [
      "content-length: 2\r\n\r\nhi",
      "transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ]
  ) {
    using pair = await connect();
    const response = await pair.answer(`HTTP/1.1 205 Reset Content\r\n${framing}`);
    assertEquals(await response.text(), "hi");
    assertEquals((await pair.answer(OK)).status, 200);
  }
});

Deno.test("ProxyApp forwards a 204 that announces content without these headers", async () => {
  await using pair = await connectThrough();
  for (
    const framing of [
      "content-length: 5\r\n\r\nhello",
      "transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ]
  ) {
    await pair.clientPeer.send("GET / HTTP/1.1\r\n\r\n");
    await pair.upstream.respond(`HTTP/1.1 204 No Content\r\nx: y\r\n${framing}`);
    assertEquals(await pair.clientPeer.readPreamble(), "HTTP/1.1 204 No Content\r\nx: y\r\n\r\n");
  }
});
