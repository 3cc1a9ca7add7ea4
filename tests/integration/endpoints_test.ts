/**
 * Every kind of endpoint, conversations over one request, also with other programs, and responses
 * whose body is the body of the request.
 */
import {
  Body,
  BodyIter,
  type BodyOut,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
  ConnectionError,
  formatAddress,
  makeOutputFromInput,
  Range,
  type Response as AppResponse,
} from "@degu/degu/base";
import type { App } from "@degu/degu/server";
import { createTempDir } from "@degu/testing/directories.ts";
import { endpointKinds, plainKinds } from "../net/endpoints.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertInstanceOf, assertMatch } from "@std/assert";
import { Client, createFetch, ProxyApp, wrapApp } from "@degu/degu";
import { ConnectionPool } from "@degu/degu/client";
import { findObstacle } from "@degu/testing/commands.ts";
import { startNginx } from "./nginx.ts";
import { RawPeer, withTimeout } from "@degu/testing/raw_peer.ts";
import { WrappedConnector } from "../net/client/requesters.ts";
import { type RecordingLogger, serve } from "@degu/testing/serving.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { catchRejection } from "@degu/testing/expectations.ts";

const MEBIBYTE = 1048576;

/** Yields bytes that depend on their position, in pieces of odd sizes. */
function* makePattern(total: number): Generator<Uint8Array> {
  for (let at = 0; at < total;) {
    const piece = new Uint8Array(Math.min(total - at, 70_001));
    for (let i = 0; i < piece.length; i++) piece[i] = (at + i) * 31 >> 3;
    at += piece.length;
    yield piece;
  }
}

/** Checks that bytes match the pattern; returns their number. */
async function checkPattern(pieces: AsyncIterable<Uint8Array>): Promise<number> {
  let at = 0;
  for await (const piece of pieces) {
    for (let i = 0; i < piece.length; i++) {
      if (piece[i] !== ((at + i) * 31 >> 3 & 255)) throw new Error(`byte ${at + i} is wrong`);
    }
    at += piece.length;
  }
  return at;
}

const app: App = async ({ uri, method, headers, body }, _session, api) => {
  if (uri === "/download") {
    return [200, "OK", {}, new api.BodyIter(makePattern(4 * MEBIBYTE), 4 * MEBIBYTE)];
  }
  if (uri === "/upload" && body instanceof Body) {
    return [200, "OK", { total: `${await checkPattern(body)}` }, null];
  }
  const { range } = headers;
  if (range instanceof Range) {
    return [
      206,
      "Partial Content",
      { "content-range": range.contentRange(10) },
      encodeLatin1("0123456789").slice(range.start, range.stop),
    ];
  }
  if (body instanceof ChunkedBody) {
    return [200, "OK", {}, new api.ChunkedBodyIter(await Array.fromAsync(body))];
  }
  if (body !== null) return [200, "OK", {}, await body.bytes()];
  return [200, "OK", { method, host: String(headers["host"] ?? "none") }, null];
};

for (const { name, available, start } of endpointKinds) {
  Deno.test({
    name: `${name}: every kind of exchange works between a client and a server`,
    ignore: !available,
    fn: async (t) => {
      await using endpoint = await start(app);
      const { client } = endpoint;
      await t.step("methods and host", async () => {
        using conn = await client.connect();
        for (const method of ["GET", "PUT", "POST", "HEAD", "DELETE"] as const) {
          const { headers } = await conn.request(method, "/", {}, null);
          assertEquals([headers["method"], headers["host"]], [method, client.host ?? "none"]);
        }
      });
      await t.step("a body in both directions, and its chunks", async () => {
        using conn = await client.connect();
        assertEquals(await (await conn.put("/", {}, encodeLatin1("hello"))).body?.text(), "hello");
        const chunks: Chunk[] = [[["k", "v"], encodeLatin1("hello")], [null, encodeLatin1("!")], [
          null,
          encodeLatin1(""),
        ]];
        const { body } = await conn.post("/", {}, new ChunkedBodyIter(chunks));
        assertInstanceOf(body, ChunkedBody);
        assertEquals(await Array.fromAsync(body), chunks);
        assertEquals(await (await conn.getRange("/", {}, 2, 5)).body?.text(), "234");
      });
      await t.step("4 MiB up and down", async () => {
        using conn = await client.connect();
        const upload = new BodyIter(makePattern(4 * MEBIBYTE), 4 * MEBIBYTE);
        assertEquals((await conn.put("/upload", {}, upload)).headers["total"], `${4 * MEBIBYTE}`);
        const { body } = await conn.get("/download");
        assertInstanceOf(body, Body);
        assertEquals(await checkPattern(body), 4 * MEBIBYTE);
      });
    },
  });
}

// ───────────────────────── conversations

/** Starts a request with a stream as its body, and returns the stream of the response. */
type Converse = (body: ReadableStream<Uint8Array>) => Promise<ReadableStream<Uint8Array>>;

const FULL = { duplex: "full" } as const;
const encoder = new TextEncoder();

/** Answers each line of a request at once. */
const answerLines: App = (request) => {
  async function* answer() {
    for await (const line of request.body!.readable) yield `re: ${new TextDecoder().decode(line)}`;
  }
  return [200, "OK", {}, answer()];
};

/** Sends each line after the answer to the previous line. */
async function holdConversation(converse: Converse): Promise<void> {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  writer.write(encoder.encode("0\n")).catch(() => {});
  const stream = await withTimeout(converse(readable), "the response begins");
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  for (let i = 0; i < 5; i++) {
    let answer = "";
    while (!answer.endsWith("\n")) {
      const { done, value } = await withTimeout(reader.read(), `answer ${i}`);
      assert(!done);
      answer += value;
    }
    assertEquals(answer, `re: ${i}\n`);
    if (i < 4) await withTimeout(writer.write(encoder.encode(`${i + 1}\n`)), "a write");
  }
  await writer.close();
  assertEquals((await withTimeout(reader.read(), "the end")).done, true);
}

function post(requester: Pick<Client, "post">): Converse {
  return async (body) => (await requester.post("/", {}, body, FULL)).readable;
}

function failuresOf({ lines }: RecordingLogger) {
  return lines.filter(([level]) => level !== "debug");
}

/** Converses over a client, a connection, a pool, `fetch`, and one and two proxies. */
async function converseEverywhere(t: Deno.TestContext, client: Client): Promise<void> {
  await t.step("client", () => holdConversation(post(client)));
  await t.step("connection, twice", async () => {
    using conn = await client.connect();
    await holdConversation(post(conn));
    assertEquals(conn.closed, false);
    await holdConversation(post(conn));
  });
  await t.step("pool, more conversations than connections", async () => {
    await using pool = new ConnectionPool(client, { maxConnections: 2 });
    await Promise.all([1, 2, 3, 4].map(() => holdConversation(post(pool))));
    assertEquals(pool.inUse, 0);
  });
  await t.step("fetch", () =>
    holdConversation(async (body) => {
      const init = { method: "POST", body, duplex: "half" } as RequestInit;
      return (await createFetch(client)("/", init)).body!;
    }));
  await t.step("one and two proxies", async () => {
    await using first = serve(new ProxyApp(client));
    await using second = serve(new ProxyApp(first.makeClient()));
    for (const proxy of [first, second]) {
      using conn = await proxy.makeClient().connect();
      for (let i = 0; i < 2; i++) await holdConversation(post(conn));
      assertEquals([conn.closed, failuresOf(proxy.logger)], [false, []]);
    }
  });
}

/** Accepts each upload at once, and reports what arrives of it. */
function serveUploads() {
  const uploads: PromiseWithResolvers<string>[] = [];
  const app: App = ({ body }) => {
    if (body === null) return [204, "No Content", {}, null];
    const upload = Promise.withResolvers<string>();
    uploads.push(upload);
    const write = () => Promise.resolve();
    body.writeTo({ write }).then((count) => upload.resolve(`${count}`), upload.reject);
    return [200, "OK", {}, "accepted"];
  };
  return { app, uploads };
}

async function* makeBytes() {
  for await (const text of makeSlowUpload()) yield encoder.encode(text);
}

async function* makeSlowUpload() {
  for (let i = 0; i < 5; i++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    yield "0123456789";
  }
}

Deno.test("an upload whose response comes early arrives whole over a pool, fetch and a proxy of wrapped connections", async (t) => {
  const { app, uploads } = serveUploads();
  await using upstream = serve(app);
  const connector = new WrappedConnector(upstream.makeClient());
  const uploadWith = async (send: () => Promise<{ text(): Promise<string> }>) => {
    assertEquals(await (await send()).text(), "accepted");
    assertEquals(await withTimeout(uploads.at(-1)!.promise, "the upload"), `${5 * 15 + 5}`);
  };
  await t.step("pool, and the next request", async () => {
    await using pool = new ConnectionPool(connector, { maxConnections: 1 });
    await uploadWith(() => pool.post("/", {}, makeSlowUpload(), FULL));
    assertEquals((await pool.get("/")).status, 204);
  });
  await t.step("fetch", async () => {
    const init = { method: "POST", body: ReadableStream.from(makeBytes()), duplex: "half" };
    await using pool = new ConnectionPool(connector);
    await uploadWith(() => createFetch(pool)("/", init as RequestInit));
  });
  await t.step("proxy", async () => {
    await using proxy = serve(new ProxyApp(connector));
    await uploadWith(() => proxy.makeClient().post("/", {}, makeSlowUpload(), FULL));
  });
});

Deno.test("requestSent resolves when the request was sent, also for a caller that reads it before", async () => {
  const { app, uploads } = serveUploads();
  await using upstream = serve(app);
  using conn = await upstream.makeClient().connect();
  for (const [body, size] of [[makeSlowUpload(), 80], ["small", 5]] as const) {
    let isSent = false;
    const response = conn.post("/", {}, body, FULL);
    const requestSent = conn.requestSent.then(() => isSent = true);
    if (size > 5) assertEquals([await (await response).text(), isSent], ["accepted", false]);
    await requestSent;
    await (await response).discard();
    assertEquals(await withTimeout(uploads.at(-1)!.promise, "the upload"), `${size}`);
  }
  await conn.get("/", { "BAD": "" }).catch(() => {});
  await conn.requestSent;
  conn.close();
  await conn.requestSent;
});

for (const kind of plainKinds.filter(({ name }) => name === "IPv4" || name === "Unix path")) {
  Deno.test(`a request and its response converse over ${kind.name}`, async (t) => {
    await using endpoints = await kind.start(answerLines);
    await converseEverywhere(t, endpoints.client);
    assertEquals(failuresOf(endpoints.logger), []);
  });
}

Deno.test("a request and its response converse over TLS with certificates of both sides", async (t) => {
  await using tls = await startTls(await openSharedPki(), answerLines);
  await converseEverywhere(t, tls.client);
});

// ───────────────────────── other programs

const NGINX_OBSTACLE = await findObstacle(["nginx", "-v"]);
if (NGINX_OBSTACLE !== null) console.warn(`${NGINX_OBSTACLE}: no request goes through it here`);

/** An upload without end, and the number of its pieces. */
function makeEndlessUpload() {
  const counts = { pieces: 0, cancellations: 0 };
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      counts.pieces++;
      controller.enqueue(new Uint8Array(65536));
    },
    cancel: () => void counts.cancellations++,
  });
  return { counts, stream };
}

async function expectRefusal(
  status: number,
  send: (body: ReadableStream<Uint8Array>) => Promise<Pick<AppResponse, "status" | "text">>,
) {
  const { counts, stream } = makeEndlessUpload();
  const response = await withTimeout(send(stream), "the refusal");
  assertEquals(response.status, status);
  await response.text();
  assertEquals(counts.cancellations, 1);
}

Deno.test({
  name: "nginx relays a conversation to a server, and a refusal of a server to a client",
  ignore: NGINX_OBSTACLE !== null,
  async fn(t) {
    await using serving = serve((request, ...rest) =>
      request.uri === "/refused" ? [403, "Forbidden", {}, "no"] : answerLines(request, ...rest)
    );
    await using nginx = await startNginx(`
    client_max_body_size 0;
    location / {
      proxy_pass http://${formatAddress(serving.address)};
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_buffering off;
    }`);
    const client = new Client(nginx.address, { host: "device.local" });
    await t.step("a conversation", () => holdConversation(post(client)));
    await t.step("a refusal", () => expectRefusal(403, (body) => client.put("/refused", {}, body)));
  },
});

// ───────────────────────── echoes

const KIBIBYTE = 1024;

const echo: App = ({ body }) => [200, "OK", {}, body];
const ECHOES: Readonly<Record<string, App>> = {
  "the body": echo,
  "makeOutputFromInput": ({ body }) => [200, "OK", {}, makeOutputFromInput(body)],
  "an object": ({ body }) => ({ status: 200, reason: "OK", headers: {}, body }),
  "wrapApp": wrapApp(echo, (next) => next()),
};

/** Makes bytes of which no two pieces are equal. */
function makeNumbers(count: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Uint32Array.from({ length: count / 4 }, (_, i) => i).buffer);
}

Deno.test("an app that returns the body of the request echoes it, and the connection continues", async (t) => {
  for (const [name, app] of Object.entries(ECHOES)) {
    await t.step(name, async () => {
      await using serving = serve(app);
      using conn = await serving.makeClient().connect();
      for (const count of [0, 4, 256 * KIBIBYTE]) {
        const bytes = makeNumbers(count);
        const bodies = [bytes, new Blob([bytes]), new Blob([bytes]).stream()];
        for (const body of bodies) {
          const response = await conn.post("/", {}, body);
          assertEquals(response.status, 200);
          assertEquals(await response.bytes(), bytes);
        }
      }
      assertEquals((await conn.get("/")).body, null);
      assertEquals(conn.closed, false);
      assertEquals(serving.logger.lines, []);
    });
  }
});

Deno.test("the response to an echoed request begins before the request has ended, with its framing", async () => {
  for (
    const [header, first, last, response] of [
      ["content-length: 4", "ab", "cd", /\r\ncontent-length: 4\r\n\r\nabcd$/],
      [
        "transfer-encoding: chunked",
        "2\r\nab\r\n",
        "2\r\ncd\r\n0\r\n\r\n",
        /\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n$/,
      ],
    ] as const
  ) {
    await using serving = serve(echo);
    const begin = `POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n${header}\r\n\r\n${first}`;
    using peer = await RawPeer.connect(serving.address, begin);
    const begun = await peer.readUntil("ab");
    await peer.send(last);
    assertMatch(begun + (await peer.readToEnd()).received, response);
  }
});

Deno.test("an echo answers expect: 100-continue, requests in a row, and HTTP/1.0", async () => {
  await using serving = serve(echo);
  using peer = await RawPeer.connect(
    serving.address,
    "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
  );
  await peer.readUntil("100 Continue\r\n\r\n");
  const post = (version: string) =>
    `POST / HTTP/${version}\r\nhost: a\r\ncontent-length: 3\r\n\r\nyou`;
  await peer.send("me", post("1.1"), post("1.0"));
  const { received } = await peer.readToEnd();
  assertEquals(received.match(/HTTP\/1\.1 \d+|\r\n\r\n(me|you)/g), [
    "HTTP/1.1 200",
    "\r\n\r\nme",
    "HTTP/1.1 200",
    "\r\n\r\nyou",
    "HTTP/1.1 200",
    "\r\n\r\nyou",
  ]);
});

// ───────────────────────── bodies that are larger than the buffers

/** Makes bodies of this many MiB. */
const LARGE_BODIES: Readonly<Record<string, (size: number) => BodyOut>> = {
  "a length": (size) => new BodyIter(makeMebibytes(size), size * MEBIBYTE),
  "chunks": (size) => ReadableStream.from(makeMebibytes(size)),
};

function makeMebibytes(count: number): Uint8Array[] {
  return Array(count).fill(new Uint8Array(MEBIBYTE));
}

Deno.test("a client with duplex: full receives an echo of any length", async () => {
  // The buffer of a Unix socket doesn't grow.
  await using dir = await createTempDir();
  await using serving = serve(echo, {}, `${dir.path}/socket`);
  using conn = await serving.makeClient().connect();
  for (const [label, makeBody] of Object.entries(LARGE_BODIES)) {
    const response = await conn.post("/", {}, makeBody(8), { duplex: "full" });
    let count = 0;
    for await (const piece of response.readable) count += piece.length;
    assertEquals([response.status, count], [200, 8 * MEBIBYTE], label);
  }
});

Deno.test("half duplex: an echo of more than the buffers hold ends by a time-out whose error says so", async (t) => {
  const advice = /pass the option duplex: "full"/;
  // The buffers of TCP grow up to 36 MiB in each direction.
  const size = 128;
  for (const [label, makeBody] of Object.entries(LARGE_BODIES)) {
    await t.step(`the time-out of the client, ${label}`, async () => {
      await using serving = serve(echo);
      const client = new Client(serving.address, { timeout: 0.4 });
      const request = client.post("/", {}, makeBody(size));
      const error = await withTimeout(catchRejection(request, label), "the time-out");
      assertInstanceOf(error, ConnectionError);
      assertEquals(error.fault, "timed out");
      assertMatch(error.message, advice);
    });
    await t.step(`the time-out of the server, ${label}`, async () => {
      await using serving = serve(echo, { timeout: 0.4 });
      const read = async () => {
        const response = await serving.makeClient().post("/", {}, makeBody(size));
        for await (const _ of response.readable);
      };
      const error = await withTimeout(catchRejection(read(), label), "the end of the body");
      assertMatch(`${error}`, advice);
      const [line = ""] = await serving.logger.waitFor("info", "ConnectionError: the peer");
      assertMatch(
        line,
        // Eight times the time-out.
        /3\.2 s to read what was sent: .*while it sends its request.*duplex: "full"/,
      );
    });
  }
});
