/**
 * Headers over sockets: lines of one name (RFC 9110 §5.3), `set-cookie`, which is no list, and ranges
 * (RFC 9110 §14.2, §15.3.7).
 */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import {
  BodyIter,
  type BodyOut,
  ContentRange,
  type HeadersToSend,
  type Method,
  ProtocolError,
  Range,
} from "@degu/degu/base";
import { connect, readSentRequest, requestWith } from "@degu/testing/connected.ts";
import { connectThrough } from "@degu/testing/proxies.ts";
import { exchange } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { createFetch, ProxyApp, reply, wrapApp } from "@degu/degu";
import { callApp, mkreq } from "@degu/degu/misc";
import type { App } from "@degu/degu/server";
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

Deno.test("set-cookie is sent as a line for each item of a list, or one for a text", async () => {
  const rows: readonly (readonly [HeadersToSend["set-cookie"], lines: string])[] = [
    [
      ["a=1; expires=Wed, 21 Oct 2026", "b=2"],
      "set-cookie: a=1; expires=Wed, 21 Oct 2026\r\nset-cookie: b=2\r\n",
    ],
    [["a=1"], "set-cookie: a=1\r\n"],
    ["a=1, b=2", "set-cookie: a=1, b=2\r\n"],
    [[], ""],
    [undefined, ""],
  ];
  for (const [value, lines] of rows) {
    await using serving = serve(() => [204, "No Content", { "set-cookie": value }, null]);
    const { received } = await exchange(serving.address, "GET / HTTP/1.1\r\n\r\n");
    assertEquals(received, `HTTP/1.1 204 No Content\r\n${lines}\r\n`);
    using pair = await connect();
    const responding = pair.conn.get("/", { "set-cookie": value });
    assertEquals(
      await pair.peer.respond("HTTP/1.1 204 No Content\r\n\r\n"),
      `GET / HTTP/1.1\r\n${lines}\r\n`,
    );
    await responding;
  }
});

Deno.test("ProxyApp forwards each set-cookie as its own line, and joined lines of other names", async () => {
  await using pair = await connectThrough();
  await pair.clientPeer.send(
    "GET / HTTP/1.1\r\ncookie: a=1\r\ncookie: b=2\r\naccept: a\r\naccept: b\r\n\r\n",
  );
  const cookies = "set-cookie: a=1; expires=Wed, 21 Oct 2026\r\nset-cookie: b=2\r\n";
  const peer = await pair.upstream.accept();
  assertEquals(
    await peer.respond(`HTTP/1.1 204 No Content\r\n${cookies}vary: a\r\nvary: b\r\n\r\n`),
    "GET / HTTP/1.1\r\naccept: a, b\r\ncookie: a=1; b=2\r\n\r\n",
  );
  assertEquals(
    await pair.clientPeer.readPreamble(),
    `HTTP/1.1 204 No Content\r\n${cookies}vary: a, b\r\n\r\n`,
  );
});

// ───────────────────────── ranges

Deno.test("a client requests one range, and can't request several", async () => {
  using pair = await connect();
  const sentRequest = await readSentRequest(pair, pair.conn.get("/", { range: new Range(2, 5) }));
  assertEquals(sentRequest, "GET / HTTP/1.1\r\nrange: bytes=2-4\r\n\r\n");
  const requesting = requestWith(pair.conn, "GET", "/", { range: "bytes=0-1,3-4" }, null);
  assertInstanceOf(await catchRejection(requesting, "several"), TypeError);
  pair.conn.close();
  await pair.peer.assertClosedSilently();
});

Deno.test("a server reads an open-ended range as the range up to the largest position, and a proxy sends it on in that form", async () => {
  const app: App = ({ headers: { range } }) => [206, "Partial Content", {}, `${range}`];
  await using serving = serve(app);
  await using proxy = serve(new ProxyApp(serving.makeClient()));
  for (const address of [serving.address, proxy.address]) {
    const rows = [["bytes=5-", 5], ["bytes=0-", 0], [
      `bytes=${2 ** 53 - 2}-`,
      2 ** 53 - 2,
    ]] as const;
    for (const [range, start] of rows) {
      const request = `GET / HTTP/1.1\r\nrange: ${range}\r\nconnection: close\r\n\r\n`;
      for (const pieces of [[request], [...request]]) {
        const { received } = await exchange(address, ...pieces);
        assert(received.endsWith(`\r\n\r\nbytes=${start}-${2 ** 53 - 2}`), received);
      }
    }
    const refused = `GET / HTTP/1.1\r\nrange: bytes=${2 ** 53 - 1}-\r\n\r\n`;
    assertEquals((await exchange(address, refused)).received, formatErrorResponse(400));
  }
  const fetch = createFetch(proxy.makeClient());
  assertEquals(
    await (await fetch("/", { headers: { range: "bytes=7-" } })).text(),
    `bytes=7-${2 ** 53 - 2}`,
  );
});

Deno.test("a 206 whose content-range contradicts the length of its body is refused when it is received", async () => {
  const rows: [method: Method, headers: string, body: string, problem: string | null][] = [
    ["GET", "content-range: bytes 0-4/9|content-length: 5", "hello", null],
    ["HEAD", "content-range: bytes 0-4/9|content-length: 5", "", null],
    ["GET", "content-length: 3", "hel", null],
    ["GET", "content-range: bytes 0-4/9|content-length: 3", "hel", "5 bytes, and the body has 3"],
    ["GET", "content-length: 6|content-range: bytes 0-4/9", "hello!", "and the body has 6"],
    ["GET", "content-range: bytes 0-4/9|content-length: 0", "", "and the body has 0"],
    ["HEAD", "content-range: bytes 0-4/9|content-length: 9", "", "and the body has 9"],
  ];
  for (const [method, headers, body, problem] of rows) {
    using pair = await connect();
    const asking = pair.conn.request(method, "/");
    await pair.peer.readPreamble();
    const lines = headers.replace("|", "\r\n");
    await pair.peer.send(`HTTP/1.1 206 Partial Content\r\n${lines}\r\n\r\n${body}`);
    if (problem === null) assertEquals(await (await asking).text(), body);
    else {
      const error = await assertRejects(() => asking, ProtocolError, problem);
      assertEquals(error.code, "CONFLICTING_HEADERS");
    }
  }
});

Deno.test("a 206 whose content-range contradicts the length of its body is refused when it is sent", async () => {
  const range = new ContentRange(0, 5, 9);
  const headers = { "content-range": range };
  const rows: [body: BodyOut | (() => BodyOut), isRefused: boolean][] = [
    ["hello", false],
    [() => new BodyIter([encodeLatin1("hello")], 5), false],
    ["hell", true],
    [new Uint8Array(6), true],
    [new Blob(["hello!"]), true],
    [() => new BodyIter([encodeLatin1("hi")], 2), true],
    [null, true],
    ["", true],
  ];
  for (const [body, isRefused] of rows) {
    const app: App = () => reply(206, typeof body === "function" ? body() : body, headers);
    await using serving = serve(wrapApp(app, (next) => next()));
    for (const method of ["GET", "HEAD"] as const) {
      if (method === "HEAD" && body === null) continue; // The length isn't announced.
      const { status } = await serving.makeClient().request(method, "/");
      assertEquals(status, isRefused ? 500 : 206, `${method} ${body}`);
      if (!isRefused) continue;
      const problem = 'headers["content-range"]: must be the range of the body: "bytes 0-4/9" is';
      assertStringIncludes((await serving.logger.waitFor("error")).at(-1)!, problem);
    }
    if (isRefused) {
      await assertRejects(
        () => callApp(app, mkreq("GET", "/")),
        RangeError,
      );
    }
  }
  const ok: App = () => reply(200, "hi", headers);
  assertEquals((await callApp(ok, mkreq("GET", "/"))).status, 200);
});
