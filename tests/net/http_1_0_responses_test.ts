/** Responses of HTTP/1.0: a client reads them, and doesn't use their connection again. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ConnectionClosedError } from "@degu/degu/base";
import { Client, ConnectionPool } from "@degu/degu/client";
import { connect } from "@degu/testing/connected.ts";
import { assertProtocolRejection } from "@degu/testing/expectations.ts";
import { connectThrough } from "@degu/testing/proxies.ts";
import { RawServer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";

const FORGED = "HTTP/1.1 200 Forged\r\ncontent-length: 6\r\n\r\nforged";

Deno.test("a response of HTTP/1.0 is read, and its connection is closed, also with keep-alive", async (t) => {
  const rows: readonly (readonly [lines: string, body: string | null])[] = [
    ["200 OK\r\ncontent-length: 5\r\n\r\nhello", "hello"],
    ["200 OK\r\nConnection: Keep-Alive\r\ncontent-length: 5\r\n\r\nhello", "hello"],
    [
      "200 OK\r\nconnection: keep-alive\r\nkeep-alive: timeout=5\r\ncontent-length: 0\r\n\r\n",
      null,
    ],
    ["204 No Content\r\nconnection: keep-alive\r\n\r\n", null],
    ["304 Not Modified\r\ncontent-length: 5\r\n\r\n", null],
    ["404 File not found\r\ncontent-length: 2\r\n\r\nno", "no"],
    ["205 Reset Content\r\n\r\n", null],
  ];
  await testEachRow(t, rows, async (lines, expected) => {
    for (const suffix of ["", FORGED]) {
      using pair = await connect();
      const { body } = await pair.answer(`HTTP/1.0 ${lines}${suffix}`);
      assertEquals(body === null ? null : await body.text(), expected);
      assertEquals(pair.conn.closed, true);
      await pair.peer.assertClosedSilently();
      const error = await assertRejects(() => pair.conn.get("/"), ConnectionClosedError);
      assert(!error.message.includes("had connection: close"), error.message);
    }
  });
});

Deno.test("a response of HTTP/1.0 with transfer-encoding, and another version, are refused", async (t) => {
  const rows: readonly (readonly [bytes: string, code: string])[] = [
    ["HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "BAD_TRANSFER_ENCODING"],
    ["HTTP/1.0 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n0\r\n\r\n", "BAD_TRANSFER_ENCODING"],
    ["HTTP/1.0 204 OK\r\ntransfer-encoding: chunked\r\n\r\n", "BAD_TRANSFER_ENCODING"],
    ["HTTP/1.0 200 OK\r\ntransfer-encoding: identity\r\n\r\n", "BAD_TRANSFER_ENCODING"],
    [
      "HTTP/1.0 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
      "CONFLICTING_HEADERS",
    ],
    ["HTTP/1.2 200 OK\r\ncontent-length: 0\r\n\r\n", "BAD_STATUS_LINE"],
    ["HTTP/0.9 200 OK\r\ncontent-length: 0\r\n\r\n", "BAD_STATUS_LINE"],
    ["HTTP/1 200 OK\r\ncontent-length: 0\r\n\r\n", "BAD_STATUS_LINE"],
    ["HTTP/1.00 200 OK\r\ncontent-length: 0\r\n\r\n", "BAD_STATUS_LINE"],
    ["http/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", "BAD_STATUS_LINE"],
    ["ICY 200 OK\r\n\r\n", "BAD_STATUS_LINE"],
  ];
  for (const [bytes, code] of rows) {
    await t.step(JSON.stringify(bytes), async () => {
      using pair = await connect();
      await assertProtocolRejection(pair.answer(bytes), [code], bytes);
      assertEquals(pair.conn.closed, true);
    });
  }
});

Deno.test("a pool makes a new connection after a response of HTTP/1.0", async () => {
  using server = new RawServer();
  await using pool = new ConnectionPool(new Client(server.address, { host: null, timeout: 60 }));
  for (const version of ["1.0", "1.0", "1.1"]) {
    const lines = "connection: keep-alive\r\ncontent-length: 5\r\n\r\nhello";
    const bytes = `HTTP/${version} 200 OK\r\n${lines}`;
    const [response] = await Promise.all([pool.get("/"), server.respond(bytes)]);
    assertEquals(await response.text(), "hello");
  }
});

Deno.test("ProxyApp forwards a response of HTTP/1.0 as one of HTTP/1.1, and keeps the client's connection", async () => {
  await using pair = await connectThrough();
  for (let i = 0; i < 2; i++) {
    await pair.clientPeer.send("GET / HTTP/1.1\r\n\r\n");
    await pair.upstream.respond(
      "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\nkeep-alive: 5\r\ncontent-length: 5\r\n\r\nhello",
    );
    const expected = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    assertEquals(await pair.clientPeer.readExactly(expected.length), expected);
  }
});
