/** Bodies of the platform, in requests and responses: Blob, ArrayBuffer, URLSearchParams. */
import { type App, createFetch, reply, wrapApp } from "@degu/degu";
import { BodyError, type BodyOut, type HeadersToSend, Response } from "@degu/degu/base";
import type { ResponseTuple } from "@degu/degu/server";
import { callApp, formatRequest, formatResponse, mkreq } from "@degu/degu/misc";
import { connect } from "@degu/testing/connected.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";

const FORM = "application/x-www-form-urlencoded;charset=UTF-8";
const TYPED = new Blob(["he", "llo"], { type: "Text/HTML; charset=utf-8" });
const OK = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/** Each body with the caller's headers, and the sent content-type, if any, and bytes. */
const SENT: readonly (readonly [
  label: string,
  body: Exclude<BodyOut, null>,
  headers: HeadersToSend,
  type: string | undefined,
  bytes: string,
])[] = [
  ["an ArrayBuffer", encodeLatin1("hello").buffer, {}, undefined, "hello"],
  ["an ArrayBuffer without bytes", new ArrayBuffer(0), {}, undefined, ""],
  ["a Blob without a type", new Blob(["hello"]), {}, undefined, "hello"],
  ["a Blob with a type", TYPED, {}, "text/html; charset=utf-8", "hello"],
  ["a part of a Blob, which has a type of its own", TYPED.slice(1, 3, "a/b"), {}, "a/b", "el"],
  ["a File", new File(["hello"], "a.txt", { type: "text/plain" }), {}, "text/plain", "hello"],
  ["a Blob, and a content-type of the headers", TYPED, { "content-type": "a/b" }, "a/b", "hello"],
  ["a Blob, and an omitted content-type", TYPED, { "content-type": undefined }, undefined, "hello"],
  [
    "a Blob whose type is no header value, and a content-type of the headers",
    new Blob(["a"], { type: "text/{x}" }),
    { "content-type": "a/b" },
    "a/b",
    "a",
  ],
  [
    "URLSearchParams",
    new URLSearchParams([["a", "ä b"], ["c", "&="], ["a", ""]]),
    {},
    FORM,
    "a=%C3%A4+b&c=%26%3D&a=",
  ],
];

/** Formats the end of a message: the headers of a body, and its bytes. */
function formatSent(type: string | undefined, bytes: string): string {
  const typeLine = type === undefined ? "" : `content-type: ${type}\r\n`;
  return `content-length: ${bytes.length}\r\n${typeLine}\r\n${bytes}`;
}

Deno.test("a body of the platform is sent with its length and its type, unless the headers have a type, in requests and in responses", async (t) => {
  await testEachRow(t, SENT, async (_label, body, headers, type, bytes) => {
    const sent = formatSent(type, bytes);
    const frozenHeaders = Object.freeze({ ...headers });
    using pair = await connect();
    for (let i = 0; i < 2; i++) {
      const responding = pair.conn.post("/", frozenHeaders, body);
      const request = `POST / HTTP/1.1\r\n${sent}`;
      assertEquals(await pair.peer.readExactly(request.length), request);
      await pair.peer.send(OK);
      await responding;
    }
    const tuple: ResponseTuple = [200, "OK", frozenHeaders, body];
    const responses = [
      tuple,
      reply(200, body, frozenHeaders),
      new Response(200, "OK", frozenHeaders, body),
    ];
    await using serving = serve(({ path }) => responses[Number(path[0])]!);
    using peer = await RawPeer.connect(serving.address);
    const response = `HTTP/1.1 200 OK\r\n${sent}`;
    const preamble = response.slice(0, response.indexOf("\r\n\r\n") + 4);
    for (const i of responses.keys()) {
      await peer.send(`GET /${i} HTTP/1.1\r\n\r\n`);
      assertEquals(await peer.readExactly(response.length), response);
      await peer.send(`HEAD /${i} HTTP/1.1\r\n\r\n`);
      assertEquals(await peer.readExactly(preamble.length), preamble);
    }
    assertEquals(
      decodeLatin1(formatRequest("PUT", "/", frozenHeaders, body)),
      `PUT / HTTP/1.1\r\n${sent.slice(0, sent.indexOf("\r\n\r\n") + 4)}`,
    );
    assertEquals(decodeLatin1(formatResponse(200, "OK", frozenHeaders, body)), preamble);
    assertEquals(serving.logger.lines, []);
  });
});

Deno.test("a middleware, callApp and mkreq see a body of the platform with its type, and can read it", async (t) => {
  await testEachRow(t, SENT, async (_label, body, headers, type, content) => {
    const types: unknown[] = [];
    const innerApp: App = () => [200, "OK", headers, body];
    const app = wrapApp(innerApp, async (next) => {
      const response = await next();
      types.push(response.headers["content-type"]);
      return response;
    });
    const response = await callApp(app, mkreq("GET", "/"));
    types.push(response.headers["content-type"]);
    assertEquals(types, [type, type]);
    assertEquals(await response.text(), content);
    assertEquals(await new Response(200, "OK", headers, body).text(), content);

    const request = mkreq("POST", "/", headers, body as Blob);
    assertEquals(request.headers["content-type"], type);
    assertEquals(request.headers["content-length"] ?? 0, content.length);
    assertEquals(await request.text(), content);
  });
});

Deno.test("a content-type among the headers of a client or the base headers of a connection replaces that of the body", async () => {
  await using serving = serve(({ headers }) => reply(200, `${headers["content-type"]}`));
  const requestType = async (headers: HeadersToSend, baseHeaders: HeadersToSend = {}) =>
    await (await serving.makeClient({ headers }).request("POST", "/", baseHeaders, TYPED)).text();
  assertEquals(await requestType({ "content-type": "a/b" }), "a/b");
  assertEquals(await requestType({ "content-type": "a/b" }, { "content-type": "c/d" }), "c/d");
  assertEquals(
    await requestType({ "content-type": "a/b" }, { "content-type": undefined }),
    "undefined",
  );
  assertEquals(await requestType({}), TYPED.type);
});

Deno.test("a FormData is sent as the Blob that the platform makes of it", async () => {
  const form = new FormData();
  form.append("name", "ä lamp");
  form.append("file", new Blob(["hello"]), "a.txt");
  await using serving = serve(async ({ body, headers }) => {
    const init = { headers: { "content-type": headers["content-type"]! } };
    const received = await new globalThis.Response(await body!.bytes(), init).formData();
    const file = received.get("file") as File;
    return reply(200, `${received.get("name")} ${file.name} ${await file.text()}`);
  });
  const blob = await new globalThis.Response(form).blob();
  const response = await serving.makeClient().request("POST", "/", {}, blob);
  assertEquals(await response.text(), "ä lamp a.txt hello");
});

Deno.test("a Blob of many pieces arrives whole, from a client and from a server", async () => {
  const parts = Array.from({ length: 7 }, (_, i) => new Uint8Array(500_001 + i).fill(i));
  const blob = new Blob([...parts, new Blob(["end"])], { type: "a/b" });
  const expected = new Uint8Array(await blob.arrayBuffer());
  await using serving = serve(async ({ method, body, headers }) => {
    if (method === "GET") return reply(200, blob);
    assertEquals(headers["content-length"], blob.size);
    return reply(200, await body!.bytes());
  });
  const client = serving.makeClient();
  const response = await client.request("GET", "/");
  assertEquals(response.headers["content-length"], blob.size);
  assertEquals(await response.bytes(), expected);
  assertEquals(await (await client.request("PUT", "/", {}, blob)).bytes(), expected);
  const fetched = await createFetch(client)("/", { method: "PUT", body: blob });
  assertEquals(new Uint8Array(await fetched.arrayBuffer()), expected);
});

Deno.test("a Blob whose type is no header value is refused before the request is sent, with advice", async () => {
  const oddBlob = new Blob(["a"], { type: " text/x" });
  const message = 'body: its type " text/x" can\'t be the value of a header; ' +
    'set headers["content-type"]';
  using pair = await connect();
  const error = await assertRejects(() => pair.conn.put("/", {}, oddBlob), RangeError);
  assertEquals(error.message, message);
  assertEquals(pair.conn.closed, false);

  let connected = 0;
  await using serving = serve({
    handle: () => reply(200, oddBlob),
    onConnect: () => ++connected > 0,
  });
  await assertRejects(() => serving.makeClient().request("PUT", "/", {}, oddBlob), RangeError);
  assertEquals(connected, 0);
  assertEquals((await serving.makeClient().request("GET", "/")).status, 500);
  assertStringIncludes(serving.logger.lines.join("\n"), `response.${message}`);
});

class LyingBlob extends Blob {
  readonly #lies: Partial<Blob>;

  constructor(lies: Partial<Blob>) {
    super(["hello"]);
    this.#lies = lies;
  }

  override get size() {
    return this.#lies?.size ?? super.size;
  }

  override get type() {
    return this.#lies?.type ?? super.type;
  }

  override slice(...args: Parameters<Blob["slice"]>) {
    return this.#lies.slice?.() ?? super.slice(...args);
  }
}

Deno.test("a Blob that reports a wrong size or type doesn't break the framing", async (t) => {
  const rows: readonly (readonly [label: string, lies: Record<string, unknown>, error: string])[] =
    [
      ["parts without bytes", { slice: () => new Blob([]) }, "BodyError"],
      ["parts that are too long", { slice: () => new Blob(["hello, hello"]) }, "RangeError"],
      ["a size that is no number", { size: "5" }, "TypeError"],
      ["a negative size", { size: -1 }, "RangeError"],
      ["a second header in the type", { type: "a/b\r\nx-a: b" }, "RangeError"],
      ["a type that is no text", { type: 5 }, "TypeError"],
    ];
  await testEachRow(t, rows, async (_label, lies, name) => {
    using pair = await connect();
    const error = await catchRejection(pair.conn.put("/", {}, new LyingBlob(lies)), "the request");
    assert(error instanceof Error);
    assertEquals(error.name, name);
    assert(!pair.peer.text.includes("x-a"));
  });
});

Deno.test("an ArrayBuffer that was transferred or resized is refused, and an ArrayBuffer of the right size is sent", async () => {
  const transferred = encodeLatin1("hello").buffer;
  transferred.transfer();
  using pair = await connect();
  const error = await catchRejection(pair.conn.put("/", {}, transferred), "a transferred buffer");
  assertInstanceOf(error, TypeError);
  assertStringIncludes(error.message, "body: must be an ArrayBuffer with its memory");
  assertEquals(pair.conn.closed, false);
  const call = () => callApp(() => reply(200, transferred), mkreq("GET", "/"));
  await assertRejects(call, TypeError);

  const resizable = new ArrayBuffer(5, { maxByteLength: 9 });
  resizable.resize(7);
  const sending = pair.conn.put("/", {}, resizable);
  const sent = `PUT / HTTP/1.1\r\ncontent-length: 7\r\n\r\n${"\0".repeat(7)}`;
  assertEquals(await pair.peer.readExactly(sent.length), sent);
  await pair.peer.send(OK);
  await sending;
  for (const size of [3, 9]) {
    using otherPair = await connect();
    const buffer = new ArrayBuffer(5, { maxByteLength: 9 });
    const rejection = catchRejection(otherPair.conn.put("/", {}, buffer), `${size}`);
    buffer.resize(size);
    assertInstanceOf(await rejection, BodyError, `${size}`);
  }
});

Deno.test("URLSearchParams and an ArrayBuffer above the limit of bytes in memory are refused, and a Blob is sent", async () => {
  const largeBuffer = new ArrayBuffer(16777217);
  await using serving = serve(async ({ body }) => {
    let bytes = 0;
    for await (const piece of body!) bytes += (piece as Uint8Array).length;
    return reply(200, `${bytes}`);
  });
  const client = serving.makeClient();
  const text = new URLSearchParams({ a: "b".repeat(16777216) });
  for (const body of [largeBuffer, text]) {
    const error = await catchRejection(client.request("PUT", "/", {}, body), "too much");
    assertInstanceOf(error, RangeError);
    assertStringIncludes(
      error.message,
      "body: must be a Blob, a Body or a BodyIter above 16777216",
    );
  }
  assertEquals(
    await (await client.request("PUT", "/", {}, new Blob([largeBuffer]))).text(),
    "16777217",
  );
});
