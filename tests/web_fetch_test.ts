/** createFetch: what is sent for a Request, and what becomes of the response. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { ProtocolError } from "@degu/degu/base";
import { Client, type ClientOptions } from "@degu/degu/client";
import { createFetch } from "@degu/degu/web";
import { tempDir } from "./support/directories.ts";
import { rejectionOf } from "./support/expectations.ts";
import { RawServer } from "./support/raw_peer.ts";
import { serve } from "./support/serving.ts";
import { slowStream } from "./support/web_serving.ts";

type Fetch = typeof fetch;
const encoder = new TextEncoder();

/** Makes a fetch at a peer that answers with these bytes; resolves to what was sent, and the response. */
async function answered(
  start: (fetch: Fetch) => Promise<Response>,
  answer: string,
  options: ClientOptions = {},
): Promise<{ sent: string; response: Response }> {
  using server = new RawServer();
  const fetch = createFetch(new Client(server.address, { host: null, timeout: 10, ...options }));
  const responding = start(fetch);
  const peer = await server.accept();
  let sent = await peer.readPreamble();
  const length = /content-length: (\d+)/.exec(sent)?.[1];
  if (length !== undefined) sent += await peer.readExactly(Number(length));
  if (sent.includes("transfer-encoding: chunked")) sent += await peer.readUntil("0\r\n\r\n");
  await peer.send(answer);
  const response = await responding;
  // Read here, while the peer is there; what is returned has the bytes.
  const bytes = response.body === null ? null : await response.clone().bytes();
  await response.body?.cancel();
  const { status, statusText, headers } = response;
  const init = { status, statusText, headers };
  return { sent, response: Object.assign(new Response(bytes, init)) };
}

const OK = "HTTP/1.1 200 OK\r\n\r\n";

Deno.test("only path and query of a URL count", async (t) => {
  const rows: [input: string | URL | Request, target: string][] = [
    ["/", "/"],
    ["/a/b?c=d&e", "/a/b?c=d&e"],
    ["a/b", "/a/b"],
    ["?a", "/?a"],
    ["", "/"],
    ["http://localhost/a", "/a"],
    ["https://device.local:8443/a/?b", "/a/?b"],
    ["http://[fe80::1]:80/a?", "/a?"],
    ["http://localhost/a#fragment", "/a"],
    ["/a?b#c?d", "/a?b"],
    ["/a/../b/./c", "/b/c"],
    [new URL("http://localhost/url"), "/url"],
    [new Request("http://localhost/request?a#b"), "/request?a"],
  ];
  for (const [input, target] of rows) {
    await t.step(String(input instanceof Request ? input.url : input), async () => {
      const { sent } = await answered((fetch) => fetch(input), OK);
      assertEquals(sent, `GET ${target} HTTP/1.1\r\n\r\n`);
    });
  }
});

Deno.test("a request is sent as it is, and nothing is added but the client's headers", async (t) => {
  const headers = { "X-Thing": "One", accept: "text/plain" };
  const lines = "accept: text/plain\r\nx-thing: One\r\n";
  const form = new FormData();
  form.set("name", "value");
  const post = (body: BodyInit | null, more: Record<string, string> = {}): RequestInit => ({
    method: "POST",
    body,
    headers: more,
  });
  const text = "text/plain;charset=UTF-8";
  const rows: [name: string, start: (fetch: Fetch) => Promise<Response>, sent: string][] = [
    ["GET", (fetch) => fetch("/", { headers }), `GET / HTTP/1.1\r\n${lines}\r\n`],
    [
      "a method in lower case",
      (fetch) => fetch("/", { method: "delete" }),
      "DELETE / HTTP/1.1\r\n\r\n",
    ],
    ["HEAD", (fetch) => fetch("/", { method: "HEAD" }), "HEAD / HTTP/1.1\r\n\r\n"],
    [
      "POST without a body",
      (fetch) => fetch("/", { method: "POST" }),
      "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
    ],
    [
      "PUT of null",
      (fetch) => fetch("/", { method: "PUT", body: null }),
      "PUT / HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
    ],
    [
      "text",
      (fetch) => fetch("/", post("h\xe9llo")),
      `POST / HTTP/1.1\r\ncontent-length: 6\r\ncontent-type: ${text}\r\n\r\nh\xc3\xa9llo`,
    ],
    [
      "an empty text",
      (fetch) => fetch("/", post("")),
      `POST / HTTP/1.1\r\ncontent-length: 0\r\ncontent-type: ${text}\r\n\r\n`,
    ],
    [
      "text of another type",
      (fetch) => fetch("/", post("a", { "content-type": "b" })),
      "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-type: b\r\n\r\na",
    ],
    [
      "bytes",
      (fetch) => fetch("/", post(new Uint8Array([65, 66]))),
      "POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nAB",
    ],
    [
      "a buffer",
      (fetch) => fetch("/", post(new Uint8Array([65, 66]).buffer)),
      "POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nAB",
    ],
    [
      "a view of other elements",
      (fetch) => fetch("/", post(new Uint16Array([0x4241, 0x4443]).subarray(1))),
      "POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nCD",
    ],
    [
      "parameters",
      (fetch) => fetch("/", post(new URLSearchParams({ a: "b c", d: "&" }))),
      "POST / HTTP/1.1\r\ncontent-length: 11\r\n" +
      "content-type: application/x-www-form-urlencoded;charset=UTF-8\r\n\r\na=b+c&d=%26",
    ],
    [
      "a blob",
      (fetch) => fetch("/", post(new Blob(["abc"], { type: "a/b" }))),
      "POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-type: a/b\r\n\r\nabc",
    ],
    [
      "a stream",
      (fetch) => fetch("/", post(slowStream("hello", "world"))),
      "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n",
    ],
    [
      "a stream of known length",
      (fetch) => fetch("/", post(slowStream("hello", "world"), { "content-length": "10" })),
      "POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nhelloworld",
    ],
    [
      "a Request with text",
      (fetch) => fetch(new Request("http://a/", { method: "PUT", body: "hello", headers })),
      `PUT / HTTP/1.1\r\naccept: text/plain\r\ncontent-length: 5\r\ncontent-type: ${text}\r\n` +
      "x-thing: One\r\n\r\nhello",
    ],
    [
      "a Request with bytes, cloned",
      (fetch) => {
        const request = new Request("http://a/", { method: "PUT", body: encoder.encode("hello") });
        request.clone();
        return fetch(request.clone());
      },
      "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello",
    ],
    [
      "a Request with a stream",
      (fetch) => fetch(new Request("http://a/", { method: "PUT", body: slowStream("hello") })),
      "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
    [
      "a Request under an init",
      (fetch) => fetch(new Request("http://a/b", { headers: { c: "d" } }), post("e", { f: "g" })),
      `POST /b HTTP/1.1\r\ncontent-length: 1\r\ncontent-type: ${text}\r\nf: g\r\n\r\ne`,
    ],
    [
      "a range",
      (fetch) => fetch("/", { headers: { range: "bytes=2-4" } }),
      "GET / HTTP/1.1\r\nrange: bytes=2-4\r\n\r\n",
    ],
  ];
  for (const [name, start, expected] of rows) {
    await t.step(name, async () => assertEquals((await answered(start, OK)).sent, expected));
  }
  await t.step("a form", async () => {
    const { sent } = await answered((fetch) => fetch("/", post(form)), OK);
    const [preamble = "", body = ""] = sent.split("\r\n\r\n", 2);
    const boundary = /boundary=(\S+)/.exec(preamble)?.[1] ?? "none";
    assertStringIncludes(preamble, "content-type: multipart/form-data");
    assertStringIncludes(body, `--${boundary}\r\nContent-Disposition: form-data; name="name"`);
    assert(sent.endsWith(`value\r\n--${boundary}--\r\n`) || sent.endsWith(`--${boundary}--`), sent);
  });
  await t.step("with the client's headers over those of the request", async () => {
    const options = { host: "device.local", authorization: "Bearer a" };
    const start = (fetch: Fetch) => fetch("http://other/", { headers: { authorization: "b" } });
    const { sent } = await answered(start, OK, options);
    const expected = "GET / HTTP/1.1\r\nauthorization: Bearer a\r\nhost: device.local\r\n\r\n";
    assertEquals(sent, expected);
  });
});

Deno.test("a response keeps status, reason, headers and body", async (t) => {
  const rows: [
    answer: string,
    status: number,
    headers: Record<string, string>,
    body: string | null,
  ][] = [
    ["200 OK\r\n\r\n", 200, {}, null],
    ["200 OK\r\ncontent-length: 0\r\n\r\n", 200, { "content-length": "0" }, ""],
    ["299 Some Thing\r\nX-A: b\r\n\r\n", 299, { "x-a": "b" }, null],
    ["404 Not Found\r\ncontent-length: 4\r\n\r\nnone", 404, { "content-length": "4" }, "none"],
    [
      "500 xx\r\ntransfer-encoding: chunked\r\n\r\n2;k=v\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
      500,
      { "transfer-encoding": "chunked" },
      "abc",
    ],
    ["204 No Content\r\n\r\n", 204, {}, null],
    ["205 Reset Content\r\ncontent-length: 0\r\n\r\n", 205, { "content-length": "0" }, null],
    ["205 Reset Content\r\ncontent-length: 3\r\n\r\nabc", 205, { "content-length": "3" }, null],
    ["304 Not Modified\r\ncontent-length: 9\r\n\r\n", 304, { "content-length": "9" }, null],
    [
      "200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nzip",
      200,
      { "content-encoding": "gzip", "content-length": "3" },
      "zip",
    ],
    ["200 OK\r\nset-cookie: a=b\r\n\r\n", 200, { "set-cookie": "a=b" }, null],
    [
      "206 Partial Content\r\ncontent-length: 1\r\ncontent-range: bytes 2-2/9\r\n\r\nc",
      206,
      { "content-length": "1", "content-range": "bytes 2-2/9" },
      "c",
    ],
  ];
  for (const [answer, status, headers, body] of rows) {
    await t.step(JSON.stringify(answer), async () => {
      const { response } = await answered((fetch) => fetch("/"), `HTTP/1.1 ${answer}`);
      assertEquals(response.status, status);
      assertEquals(response.statusText, answer.slice(4, answer.indexOf("\r")));
      assertEquals(Object.fromEntries(response.headers), headers);
      assertEquals(response.body === null ? null : await response.text(), body);
    });
  }
});

Deno.test("a response to HEAD has no body, and its headers stay", async () => {
  const start = (fetch: Fetch) => fetch("/", { method: "HEAD" });
  const { response } = await answered(start, "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n");
  assertEquals([response.body, response.headers.get("content-length")], [null, "12"]);
});

Deno.test("a response is a Response that knows its URL", async () => {
  await using serving = serve(() => [200, "OK", { "x-a": "b" }, encoder.encode("hello")]);
  const fetch = createFetch(serving.makeClient());
  const response = await fetch("http://device.local/a?b#c");
  const copy = response.clone();
  for (const each of [response, copy]) {
    assertInstanceOf(each, Response);
    assertEquals([each.ok, each.status, each.type, each.redirected], [true, 200, "basic", false]);
    assertEquals(each.url, "http://device.local/a?b");
    assertEquals(each.headers.get("x-a"), "b");
    assertEquals(await each.text(), "hello");
  }
});

Deno.test("over a socket without a host a path will do for a URL", async () => {
  await using dir = await tempDir();
  const app = () => [200, "OK", {}, encoder.encode("hello")] as const;
  await using serving = serve(app, {}, `${dir.path}/socket`);
  const response = await createFetch(serving.makeClient())("/a");
  assertEquals([response.url, await response.text()], ["http://localhost/a", "hello"]);
});

Deno.test("fetches side by side have connections of their own", async () => {
  const waiting: (() => void)[] = [];
  await using serving = serve(async (request, session) => {
    // Nobody is answered before all have asked.
    await new Promise<void>((resolve) => {
      if (waiting.push(resolve) === 5) waiting.forEach((go) => go());
    });
    return [200, "OK", {}, encoder.encode(`${request.path} ${session.requests}`)];
  });
  const fetch = createFetch(serving.makeClient());
  const texts = await Promise.all(
    [0, 1, 2, 3, 4].map(async (i) => await (await fetch(`/${i}`)).text()),
  );
  assertEquals(texts, [0, 1, 2, 3, 4].map((i) => `${i} 0`));
});

Deno.test("what fails is a TypeError whose cause says why", async (t) => {
  await using serving = serve(() => [200, "OK", {}, null]);
  const fetch = createFetch(serving.makeClient());
  const gone = new RawServer();
  gone[Symbol.dispose]();
  const goneFetch = createFetch(new Client(gone.address));
  const several = [["set-cookie", "a"], ["set-cookie", "b"]] as [string, string][];
  const put = (body: BodyInit, headers: HeadersInit) =>
    fetch("/", { method: "PUT", body, headers });
  const rows: [name: string, start: () => Promise<Response>, cause: unknown, said: string][] = [
    ["an unknown method", () => fetch("/", { method: "PATCH" }), RangeError, '"PATCH"'],
    ["a path with a space", () => fetch("/a b"), RangeError, '"/a%20b"'],
    ["a path with two slashes", () => fetch("/a//b"), RangeError, '"/a//b"'],
    ["a query with a slash", () => fetch("/?a/b"), RangeError, '"/?a/b"'],
    ["a query outside of ASCII", () => fetch("/a?b{"), RangeError, "uri"],
    ["a header's character", () => fetch("/", { headers: { a: "{}" } }), RangeError, '"{}"'],
    ["a header's name", () => fetch("/", { headers: { a_b: "c" } }), RangeError, '"a_b"'],
    ["an open range", () => fetch("/", { headers: { range: "bytes=1-" } }), RangeError, "bytes=1-"],
    ["several cookies", () => fetch("/", { headers: several }), RangeError, "set-cookie"],
    [
      "a length of nothing",
      () => fetch("/", { headers: { "content-length": "1" } }),
      RangeError,
      "content-length",
    ],
    ["another length", () => put("abc", { "content-length": "2" }), RangeError, "2"],
    ["a length that is none", () => put("abc", { "content-length": "x" }), RangeError, '"x"'],
    ["a body of DELETE", () => fetch("/", { method: "DELETE", body: "a" }), RangeError, "DELETE"],
    ["another scheme", () => fetch("ftp://a/"), TypeError, "ftp:"],
    ["data", () => fetch("data:,a"), TypeError, "data:"],
    ["no server", () => goneFetch("/"), Deno.errors.ConnectionRefused, "/"],
  ];
  for (const [name, start, cause, said] of rows) {
    await t.step(name, async () => {
      const error = await rejectionOf(start(), name);
      assertInstanceOf(error, TypeError);
      assertInstanceOf(error.cause, cause as typeof Error);
      assertStringIncludes(error.message, said);
    });
  }
});

Deno.test("what the platform refuses rejects as it does there", async (t) => {
  await using serving = serve(() => [200, "OK", {}, null]);
  const fetch = createFetch(serving.makeClient());
  const used = new Request("http://a/", { method: "POST", body: "a" });
  await used.text();
  const rows: [name: string, start: () => Promise<Response>][] = [
    ["a URL that is none", () => fetch("http://")],
    ["a body of GET", () => fetch("/", { body: "a" })],
    ["a header value with a line end", () => fetch("/", { headers: { a: "b\r\nc: d" } })],
    ["a used Request", () => fetch(used)],
    ["a URL with a user", () => fetch("http://user:password@a/")],
    ["Deno's own clients", () => fetch("/", { client: {} } as RequestInit)],
  ];
  for (const [name, start] of rows) {
    await t.step(name, async () => {
      assertInstanceOf(await rejectionOf(start(), name), TypeError);
    });
  }
});

Deno.test("a peer that breaks the grammar is the cause", async () => {
  using server = new RawServer();
  const responding = createFetch(new Client(server.address))("/");
  const peer = await server.accept();
  await peer.readPreamble();
  const rejection = rejectionOf(responding, "a bad status line");
  await peer.send("HTTP/1.1 999 OK\r\n\r\n");
  const error = await rejection;
  assertInstanceOf(error, TypeError);
  assertInstanceOf(error.cause, ProtocolError);
  assertEquals(error.cause.code, "BAD_STATUS");
  await peer.assertClosedSilently();
});

Deno.test("a body that is cut fails while it is read", async () => {
  using server = new RawServer();
  const responding = createFetch(new Client(server.address))("/");
  const peer = await server.accept();
  await peer.readPreamble();
  await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345");
  const response = await responding;
  peer.close();
  const error = await rejectionOf(response.bytes(), "a body that is cut");
  assertInstanceOf(error, ProtocolError);
  assertEquals(error.code, "BODY_INCOMPLETE");
});

Deno.test("createFetch needs a client", () => {
  for (const client of [undefined, null, "http://a", fetch]) {
    assertThrows(() => Reflect.apply(createFetch, undefined, [client]), TypeError, "Client");
  }
});
