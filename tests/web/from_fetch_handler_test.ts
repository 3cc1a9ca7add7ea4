/** fromFetchHandler: requests, responses, and unread bodies. */
import { formatErrorResponse } from "../net/server/error_answers.ts";
import {
  type App,
  type BodyError,
  createFetch,
  type FetchHandler,
  fromFetchHandler,
  routes,
  type Server,
  wrapApp,
} from "@degu/degu";
import { type Chunk, ChunkedBodyIter, type PeerCertificate } from "@degu/degu/base";
import { callApp, mkreq } from "@degu/degu/misc";
import { makeSession } from "@degu/testing/sessions.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RawPeer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { recordRejectionsUntil } from "@degu/testing/rejections.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { connectRawPeer, serve, type Serving } from "@degu/testing/serving.ts";
import { readStatedNumber } from "@degu/testing/project_files.ts";
import { TrackedStream } from "@degu/testing/streams.ts";
import { makeSlowStream, serveHandler } from "./web_serving.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";

/** Reads a body to its end; returns "" if the server closes before the end. */
async function readFramed(peer: RawPeer, preamble: string): Promise<string> {
  if (preamble.startsWith("HTTP/1.1 304")) return "";
  const [, length = "0"] = /^content-length: (\d+)/m.exec(preamble) ?? [];
  const isChunked = /^transfer-encoding: chunked/m.test(preamble);
  const body = isChunked ? peer.readUntil("0\r\n\r\n") : peer.readExactly(Number(length));
  return await body.catch(() => "");
}

/** Sends a request, and returns the preamble of the response and the bytes after it. */
async function exchangeRequest(
  server: Serving,
  request: string,
): Promise<{ preamble: string; body: string }> {
  using peer = await RawPeer.connect(server.address, request);
  const preamble = await peer.readPreamble();
  // A client that closes its writing side before the end of the response counts as disconnected.
  const body = await readFramed(peer, preamble);
  await peer.closeWrite();
  return { preamble, body: body + (await peer.readToEnd()).received };
}

// fromFetchHandler: converted requests, and sent responses.

const encoder = new TextEncoder();
const decodeUtf8 = (latin1: string) => new TextDecoder().decode(encodeLatin1(latin1));

Deno.test("the URL has the origin of the host header without a zone, or of the option; a name or a port that URL parsing changes causes 400", async (t) => {
  const uris = ["/", "/a/", "/...", "/.a/b.", "/a?", "/?=&%zz%41+~", "/a:b+c_~-", "/a?.."];
  const badHosts = [
    ...["a/b", "a/..", "a?b", "a b", "user:password"],
    ...["[fe80::1", "a:99999", "1.2.3.999"],
  ];
  // URL parsing changes the host or port of each, so other readers of the header get another value.
  const changedHosts = [
    ...["0x7f.1", "0x7f.1:8080", "127.1", "1", "0", "010.0.0.1", "127.0.0.1.1:080", "0x7f.1."],
    ...["127.0.0.1.", "127.0.0.1.:8080", "10.0.0.1.:80"],
    ...["a:080", "a:0080", "a:08080", "a:00", "127.0.0.1:080"],
    "[::1]:08080",
  ];
  type Row = [uri: string, host: string | null, expected: string | null, origin?: string];
  const rows: Row[] = [
    ["/a", "device.local", "http://device.local/a"],
    ["/a", "[fe80::1]:8080", "http://[fe80::1]:8080/a"],
    ["/a", "Device.LOCAL:8080", "http://device.local:8080/a"],
    ["/a", "[::ffff:127.0.0.1]", "http://[::ffff:7f00:1]/a"],
    ["/a", "a:80", "http://a/a"],
    ["/a", "A.:80", "http://a./a"],
    ["/a", "[fe80::1%eth0]:8080", "http://[fe80::1]:8080/a"],
    ["/a", "fe80::1%eth0:8080", "http://[fe80::1]:8080/a"],
    ["/a", "", "http://localhost/a"],
    ["/a", null, "http://localhost/a"],
    ["/a", "ignored", "https://device.local:8443/a", "https://device.local:8443"],
    ["/a", "[fe80::1%eth0]", "http://device.local/a", "http://device.local/"],
    ...uris.map((uri): Row => [uri, "h", `http://h${uri}`]),
    ...[...badHosts, ...changedHosts].map((host): Row => ["/a", host, null]),
    ["/a/./b", "a", "http://a/a/b"],
    // The absolute form has its own host.
    ["http://device.local:81", "a", "http://device.local:81/"],
    ["HTTP://[fe80::1%eth0]/./a", "a", "http://[fe80::1]/a"],
  ];
  for (const [uri, host, expected, origin] of rows) {
    await t.step(`${uri} at ${host} with ${origin}`, async () => {
      const options = origin === undefined ? {} : { origin };
      await using serving = serveHandler(({ url }) => new Response(url), options);
      const line = host === null ? "" : `host: ${host}\r\n`;
      const { preamble, body } = await exchangeRequest(
        serving,
        `GET ${uri} HTTP/1.1\r\n${line}\r\n`,
      );
      if (expected !== null) return assertEquals(body, expected);
      assertEquals([preamble.split("\r\n")[0], body], ["HTTP/1.1 400 Bad Request", ""]);
    });
  }
});

Deno.test("the handler gets the method, the bytes of values as U+0080 to U+00FF, empty values, and lines of one name joined", async () => {
  await using serving = serveHandler(({ method, headers }) => Response.json([method, ...headers]));
  const { body } = await exchangeRequest(
    serving,
    "GET / HTTP/1.1\r\nA: caf\xe9 \x80\t\xff \r\nb:\r\nc:1\r\nC: 2\r\ncookie: d=e\r\n" +
      "cookie: f=g\r\nx_a!: h\r\n__proto__: i\r\nRange: bytes=2-4\r\n\r\n",
  );
  assertEquals(JSON.parse(decodeUtf8(body)), [
    "GET",
    ["__proto__", "i"],
    ["a", "caf\xe9 \x80\t\xff"],
    ["b", ""],
    ["c", "1, 2"],
    ["cookie", "d=e; f=g"],
    ["range", "bytes=2-4"],
    ["x_a!", "h"],
  ]);
});

Deno.test("the URL has the path and the query as the client has sent them and a URL has them", async () => {
  const app = fromFetchHandler((request) => new Response(request.url.slice("http://a".length)));
  const get = async (uri: string, outerApp: App = app) =>
    await (await callApp(outerApp, mkreq("GET", uri, { host: "a" }))).text();
  const uris = [
    ...["/a%20b", "/%c3%bc/%C3%BC", "/a(1)/a%281%29", "/@me", "/%40me", "/a;b=c/%3B", "/%252e"],
    ...["/a[1]|{b}^", "/%5C", "/%0A", "/a?b[]=c/d?e", "/a?\"<>'`{}|\\^", "/??", "/?", "/%25?%"],
  ];
  for (const uri of uris) {
    const url = new URL(uri, "http://a");
    const expected = url.href.slice("http://a".length);
    assertEquals(await get(uri), expected, uri);
    assertEquals(await get(`/m%20n${uri}`, routes({ "/m%20n/": app })), expected, uri);
  }
  // A program that changes the path gets the spelling of `buildUri`.
  const changing = wrapApp(app, (next, request) => next(request.with({ path: ["a(b)", "ü"] })));
  assertEquals(await get("/x/y?z", changing), "/a%28b%29/%C3%BC?z");
});

Deno.test("the handler gets information about the peer", async (t) => {
  const handler: FetchHandler = (_request, { session, remoteAddr }) => {
    const count = (session.store.get("count") as number | undefined ?? 0) + 1;
    session.store.set("count", count);
    return Response.json({ remoteAddr, count, address: session.address });
  };
  await t.step("over TCP", async () => {
    await using serving = serveHandler(handler);
    using conn = await serving.makeClient().connect();
    const { hostname, port } = conn.sock.localAddr as Deno.NetAddr;
    for (const count of [1, 2]) {
      const response = await (await conn.get("/")).body?.json();
      const remoteAddr = { transport: "tcp", hostname, port };
      assertEquals(response, { remoteAddr, count, address: [hostname, port] });
    }
  });
  await t.step("over a Unix socket", async () => {
    await using dir = await createTempDir();
    await using serving = serve(fromFetchHandler(handler), {}, `${dir.path}/socket`);
    const response = await (await serving.makeClient().get("/")).json();
    assertEquals(response, {
      remoteAddr: { transport: "unix", path: "" },
      count: 1,
      address: null,
    });
  });
});

Deno.test("a request without a body, or with a body of length 0, has a null body", async () => {
  await using serving = serveHandler(async (request) =>
    Response.json([request.body, request.headers.get("content-length"), await request.text()])
  );
  using conn = await serving.makeClient().connect();
  assertEquals(await (await conn.get("/")).body?.json(), [null, null, ""]);
  assertEquals(await (await conn.post("/", {}, null)).body?.json(), [null, null, ""]);
  const empty = await conn.post("/", {}, new Uint8Array(0));
  assertEquals(await empty.body?.json(), [null, null, ""]);
});

Deno.test("content that is no JSON or no form is 400 without a line of level error, if the handler doesn't catch the error", async (t) => {
  const wrap = (cause: unknown) => {
    throw new Error("the upload has failed", { cause });
  };
  const otherRequest = () => new Request("http://a/", { method: "POST", body: "five" });
  const form = { "content-type": "multipart/form-data; boundary=x" };
  type Row = [name: string, status: number, read: (request: Request) => unknown, headers?: object];
  const rows: Row[] = [
    ["no JSON", 400, (request) => request.json()],
    ["no JSON, in an error of the handler", 400, (request) => request.json().catch(wrap)],
    ["no form", 400, (request) => request.formData(), form],
    ["no type of a form", 400, (request) => request.formData()],
    ["no JSON, of a clone", 400, (request) => request.clone().json()],
    ["no JSON, after a clone", 400, async (request) => {
      await request.clone().text();
      await request.json();
    }],
    ["no form, of a clone of a clone", 400, (request) => request.clone().clone().formData()],
    ["caught", 200, (request) => request.json().catch(() => {})],
    ["JSON of another request", 500, () => otherRequest().json()],
    ["text that the handler parses", 500, async (request) => JSON.parse(await request.text())],
    ["a second read as JSON", 500, async (request) => {
      await request.text();
      await request.json();
    }],
    ["a second read as a form", 500, async (request) => {
      await request.text();
      await request.formData();
    }],
    ["a locked body", 500, (request) => {
      request.body!.getReader();
      return request.json();
    }],
  ];
  await testEachRow(t, rows, async (_name, status, read, headers = {}) => {
    await using serving = serveHandler(async (request) => {
      await read(request);
      return new Response();
    });
    const response = await serving.makeClient().request("POST", "/", { ...headers }, "five");
    assertEquals(response.status, status);
    assertEquals(serving.logger.messagesOf("error").length, status === 500 ? 1 : 0);
    const infoLines = serving.logger.messagesOf("info");
    const contentLines = infoLines.filter((line) => line.includes("could not read the content"));
    assertEquals(contentLines.length, status === 400 ? 1 : 0);
  });
  await t.step("the handler gets a Request, whose content is read as ever", async () => {
    await using serving = serveHandler(async (request) => {
      assertInstanceOf(request, Request);
      assert(Deno.inspect(request).startsWith("Request {"), Deno.inspect(request));
      return Response.json([await request.clone().json(), await new Request(request).json()]);
    });
    const response = await serving.makeClient().request("POST", "/", {}, "5");
    assertEquals(await response.json(), [5, 5]);
  });
});

/** The methods of a request that read its whole body. */
const READERS: Readonly<Record<string, (request: Request) => Promise<unknown>>> = {
  "text": (request) => request.text(),
  "json": (request) => request.json(),
  "arrayBuffer": async (request) => new TextDecoder().decode(await request.arrayBuffer()),
  "bytes": async (request) => new TextDecoder().decode(await request.bytes()),
  "blob": async (request) => {
    const blob = await request.blob();
    assertEquals(blob.type, "application/x-www-form-urlencoded");
    return blob.text();
  },
  "formData": async (request) => [...(await request.formData()).keys()].join(),
  "text of a clone": (request) => request.clone().text(),
};
const FORM_TYPE = { "content-type": "application/x-www-form-urlencoded" };
const LARGEST_BODY = /`maxBytes`, by default (\d+) MiB/;

Deno.test("a method that reads a whole body has the limit maxBytes, above which the response is 413", async (t) => {
  await testEachRow(t, Object.entries(READERS), async (_name, read) => {
    await using serving = serveHandler(async (request) => {
      return Response.json(`${await read(request)}`);
    }, { maxBytes: 4 });
    for (const isChunked of [false, true]) {
      const send = async (text: string) => {
        const sent = isChunked ? new Blob([text]).stream() : text;
        return await serving.makeClient().request("POST", "/", FORM_TYPE, sent);
      };
      for (const text of ["123", "1234"]) assertEquals(await (await send(text)).json(), text);
      assertEquals((await send("12345")).status, 413);
    }
    const infoLines = await serving.logger.waitFor("info", "", 2);
    assertEquals(infoLines.length, 2);
    assertEquals(serving.logger.messagesOf("error"), []);
  });
});

Deno.test("by default, a method that reads a whole body has the limit of the page", async () => {
  const maxBytes = await readStatedNumber("docs/web.md", LARGEST_BODY) * 2 ** 20;
  await using serving = serveHandler(async (request) => {
    return Response.json((await request.bytes()).length);
  });
  const client = serving.makeClient();
  for (const length of [maxBytes - 1, maxBytes]) {
    const response = await client.request("POST", "/", {}, new Uint8Array(length));
    assertEquals(await response.json(), length);
  }
  const preamble = `POST / HTTP/1.1\r\ncontent-length: ${maxBytes + 1}\r\n\r\n`;
  using peer = await RawPeer.connect(serving.address, preamble);
  assertMatch(await peer.readPreamble(), /^HTTP\/1\.1 413 /);
});

Deno.test("the stream of a request has no limit, also after a method has refused the announced length", async () => {
  await using serving = serveHandler(async (request) => {
    const error = await catchRejection(request.text(), "the body is too long");
    assertEquals((error as BodyError).code, "TOO_LONG");
    return new Response(request.body);
  }, { maxBytes: 4 });
  const response = await serving.makeClient().request("POST", "/", {}, "hello");
  assertEquals(await response.text(), "hello");
});

Deno.test("a read that a handler forgets doesn't end the process if its client sends an incomplete body", async (t) => {
  const names = Object.keys(READERS).map((name) => [name] as const);
  await testEachRow(t, names, async (name) => {
    const derived = new Error("derived");
    using rejections = recordRejectionsUntil(derived);
    let requestCount = 0;
    await using serving = serveHandler((request) => {
      const method = name.split(" ")[0] as "text";
      const promise = (name.endsWith("clone") ? request.clone() : request)[method]();
      if (++requestCount === 2) promise.catch(() => Promise.reject(derived));
      return new Response("early");
    });
    for (const _ of ["forgotten", "derived"]) {
      const request = "POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\n";
      using peer = await RawPeer.connect(serving.address, request);
      await peer.closeWrite();
      await peer.readToEnd();
    }
    assertEquals(await rejections.promise, [derived]);
  });
});

Deno.test("an invalid chunk that a handler relays with createFetch is 400, and a line of level info", async () => {
  await using upstream = serve(() => [200, "OK", {}, null]);
  const fetch = createFetch(upstream.makeClient());
  await using serving = serveHandler(({ method, body }) => fetch("/", { method, body }));
  const request = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
  using peer = await RawPeer.connect(serving.address, `${request}5\r\nhello\r\nzz\r\n`);
  assertEquals((await peer.readToEnd()).received, formatErrorResponse(400));
  assertEquals(serving.logger.lines.map(([level]) => level), ["info"]);
});

Deno.test("the URL is https for a peer with a certificate, and so is the default port of its host", async () => {
  // Only the presence of a certificate matters.
  const certificate = {} as PeerCertificate;
  const app = fromFetchHandler((request) => new Response(request.url));
  const requestUrls = async (host: string) => {
    const urls = [];
    for (const peer of [certificate, null]) {
      const session = makeSession({ address: ["fe80::1", 2, 0, 3], peerCertificate: peer });
      const response = await callApp(app, mkreq("GET", "/a", { host }), { session });
      urls.push(await response.text());
    }
    return urls;
  };
  assertEquals(await requestUrls("device.local"), [
    "https://device.local/a",
    "http://device.local/a",
  ]);
  assertEquals(await requestUrls("device:443"), ["https://device/a", "http://device:443/a"]);
  assertEquals(await requestUrls("device:80"), ["https://device:80/a", "http://device/a"]);
});

// fromFetchHandler: encoded responses, and refused responses.

Deno.test("a response keeps status, headers and body", async (t) => {
  const a = { "content-type": "a" };
  const chunked = { "transfer-encoding": "chunked" };
  const makeSlowHello = () => makeSlowStream("hello", ", world");
  type Row = [sent: string, body: BodyInit | null, headers?: HeadersInit, text?: string];
  const rows: Row[] = [
    ["200 OK|content-length: 5|content-type: a|x-thing: a, b||hello", "hello", {
      ...{ ...a, "x-thing": "a, b" },
    }],
    // A custom reason.
    ["200 I'm \x80\xff (caf\xe9)!|content-length: 0||", null, {}, "I'm \x80\xff (caf\xe9)!"],
    ["200 OK|content-length: 0|x-a: caf\xe9 \x80\t\xff||", null, { "x-a": "caf\xe9 \x80\t\xff" }],
    ["200 OK|__proto__: c|content-length: 0|x_a!#: b||", null, [["x_a!#", "b"], [
      "__proto__",
      "c",
    ]]],
    ["200 OK|content-length: 0|set-cookie: a=b|set-cookie: c=d, e||", null, [
      ["set-cookie", "a=b"],
      ["Set-Cookie", "c=d, e"],
    ]],
    [
      "416 Range Not Satisfiable|content-length: 0|content-range: bytes */10||",
      null,
      {
        "content-range": "bytes */10",
      },
    ],
    ["200 OK|content-length: 0||", null, { "content-length": "0" }],
    ["204 No Content||", null],
    ["205 Reset Content|content-length: 0||", null],
    // The length of a body that is not sent.
    ["304 Not Modified|content-length: 99|etag: a||", null, { "content-length": "99", etag: "a" }],
    // An unregistered status.
    ["299 Unknown|content-length: 0||", null],
    ["200 OK|transfer-encoding: chunked||5|hello|7|, world|0||", makeSlowHello()],
    ["200 OK|content-length: 12||hello, world", makeSlowHello(), { "content-length": "12" }],
    ["200 OK|content-type: a|transfer-encoding: chunked||5|hello|0||", "hello", {
      ...{ ...a, ...chunked },
    }],
    [
      "206 Partial Content|content-length: 3|content-range: bytes 2-4/10|content-type: a||cde",
      "cde",
      { ...{ ...a, "content-range": "bytes 2-4/10" } },
    ],
    // A content coding isn't decoded.
    ["200 OK|content-encoding: gzip|content-length: 3|content-type: a||zip", "zip", {
      ...{ ...a, "content-encoding": "gzip" },
    }],
  ];
  await testEachRow(t, rows, async (sent, body, headers = {}, statusText = "") => {
    const response = new Response(body, { status: Number(sent.slice(0, 3)), headers, statusText });
    await using serving = serveHandler(() => response);
    const { preamble, body: rest } = await exchangeRequest(serving, "GET / HTTP/1.1\r\n\r\n");
    assertEquals(preamble + rest, `HTTP/1.1 ${sent}`.replaceAll("|", "\r\n"));
    assertEquals(serving.logger.messagesOf("error"), []);
  });
});

// ───────────────────────── refused responses

Deno.test("a response that can't be sent is an error that names the cause, and is replaced by 500", async (t) => {
  const makeStream = () => new TrackedStream([encoder.encode("x")]).stream;
  const makeUsedResponse = () => {
    const response = new Response("used");
    response.body?.getReader();
    return response;
  };
  const bothFramings = { "content-length": "1", "transfer-encoding": "chunked" };
  const makeRow = (name: string, init: HeadersInit, ...messageParts: string[]) =>
    [name, () => new Response(null, { status: 206, headers: init }), ...messageParts] as const;
  const rows: (readonly [name: string, make: () => unknown, ...messageParts: string[]])[] = [
    makeRow("a character", { "x-a": "a\x7fb" }, 'headers["x-a"]', '"a\\x7fb"'),
    makeRow(
      "too many headers",
      Array.from({ length: 127 }, (_, i) => [`x-${i}`, "1"]),
      "127",
      "128",
    ),
    makeRow("a length that is none", { "content-length": "x" }, "content-length", '"x"'),
    makeRow("a length of no body", { "content-length": "5" }, "content-length"),
    makeRow("another coding", { "transfer-encoding": "gzip" }, "transfer-encoding"),
    makeRow("nothing known of a range", { "content-range": "bytes */*" }, "content-range", "*/*"),
    [
      "both framings",
      () => new Response(makeStream(), { headers: bothFramings }),
      "transfer-encoding",
    ],
    [
      "a length of 204",
      () => new Response(null, { status: 204, headers: { "content-length": "0" } }),
      "content-length",
    ],
    ["a network error", () => Response.error(), "200 to 599; got 0"],
    ["a body that was used", makeUsedResponse, "body is unused"],
    ["nothing", () => undefined, "must return a Response; got undefined"],
    ["a status alone", () => ({ status: 200 }), "must return a Response; got Object"],
    ["an exception", () => {
      throw new Error("thrown on purpose");
    }, "thrown on purpose"],
    ["a rejection", () => Promise.reject(new Error("rejected on purpose")), "rejected on purpose"],
  ];
  await testEachRow(t, rows, async (_name, make, ...messageParts) => {
    await using serving = serveHandler(make as FetchHandler);
    using peer = await RawPeer.connect(serving.address, "GET / HTTP/1.1\r\n\r\n");
    assertEquals((await peer.readToEnd()).received, formatErrorResponse(500));
    const [message = "", ...otherMessages] = await serving.logger.waitFor("error");
    assertEquals(otherMessages, []);
    for (const part of messageParts) assertStringIncludes(message, part);
  });
});

Deno.test("a response that can't be sent cancels its body", async (t) => {
  const inits: [name: string, init: ResponseInit][] = [
    ["refused by the bridge", { status: 206, headers: { "content-range": "bytes */*" } }],
    ["refused by the server", { headers: { "x-a": "\x7f" } }],
  ];
  await testEachRow(t, inits, async (_name, init) => {
    const cancelled = Promise.withResolvers<void>();
    const stream = new ReadableStream({ cancel: () => cancelled.resolve() });
    await using serving = serveHandler(() => new Response(stream, init));
    assertEquals((await serving.makeClient().request("GET", "/")).status, 500);
    await withTimeout(cancelled.promise, "the stream is canceled");
  });
});

Deno.test("a stream whose chunks are not bytes is an error, and is canceled", async () => {
  const source = new TrackedStream<unknown>([5, 6]);
  const body = source.stream as ReadableStream<Uint8Array>;
  await using serving = serveHandler(() => new Response(body));
  const { body: received } = await exchangeRequest(serving, "GET / HTTP/1.1\r\n\r\n");
  assertEquals(received, "");
  assertStringIncludes((await serving.logger.waitFor("error"))[0]!, "must be Uint8Arrays");
  assertEquals(source.cancelReasons.length, 1);
});

Deno.test("fromFetchHandler refuses invalid arguments", async (t) => {
  const handler = () => new Response();
  type Row = [name: string, args: unknown[], error: ErrorConstructor, message: string];
  const rows: Row[] = [
    ["no handler", [], TypeError, "handler: must be a function"],
    ["an app", [{ handle: handler }], TypeError, '"fetch"'],
    ["an unknown option", [handler, { origins: "" }], TypeError, '"origins"'],
    ["an origin with a path", [handler, { origin: "http://a/b" }], RangeError, "http://a/b"],
    ["an origin with a user", [handler, { origin: "http://u@a" }], RangeError, "origin"],
  ];
  await testEachRow(t, rows, (_name, args, error, message) => {
    assertThrows(() => Reflect.apply(fromFetchHandler, undefined, args), error, message);
  });
});

// fromFetchHandler: unread bodies of requests.

Deno.test("a response is sent for every outcome of the request's body, and the session ends with a line of level info", async (t) => {
  const makeStuckSink = () => new WritableStream({ write: () => new Promise(() => {}) });
  const uses: [name: string, use: (request: Request) => unknown][] = [
    ["untouched", () => {}],
    ["canceled", (request) => request.body?.cancel("not wanted")],
    ["read in part", (request) => request.body!.getReader().read()],
    ["abandoned inside a loop", async (request) => {
      for await (const _piece of request.body!) break;
    }],
    ["locked by a clone", (request) => request.clone()],
    ["locked by a read that is not awaited", (request) => void request.text().catch(() => {})],
    ["locked by a pipe", (request) => void request.body!.pipeTo(makeStuckSink()).catch(() => {})],
  ];
  const largeChunk: Chunk = [null, new Uint8Array(250_000)];
  const bodies: (() => Uint8Array | ChunkedBodyIter)[] = [
    () => new Uint8Array(500_000),
    () => new ChunkedBodyIter([largeChunk, largeChunk, [null, new Uint8Array(0)]]),
  ];
  await testEachRow(t, uses, async (_name, use) => {
    for (const body of bodies) {
      await using serving = serveHandler(async (request) => {
        await use(request);
        return new Response("hello");
      });
      using conn = await serving.makeClient().connect();
      assertEquals(await (await conn.post("/", {}, body())).text(), "hello");
      await catchRejection(conn.get("/"), "a request over a session that has ended");
      assertEquals(serving.logger.messagesOf("error"), []);
      const [line = ""] = await serving.logger.waitFor("info");
      assertStringIncludes(line, "the body of a request was left unread (status 200)");
    }
  });
});

const smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
const ignoredPost =
  `POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${smuggled.length}\r\n\r\n${smuggled}`;
const lastGet = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

Deno.test("a short body that the handler doesn't read is dropped, and the session continues: a later read fails", async (t) => {
  const uses: [name: string, use: (request: Request) => Request][] = [
    ["untouched", (request) => request],
    ["its stream taken", (request) => {
      assertEquals(request.body?.locked, false);
      return request;
    }],
    ["cloned", (request) => request.clone()],
  ];
  const responses: [name: string, make: () => Response][] = [
    ["text", () => new Response("hello")],
    ["none", () => new Response(null, { status: 204 })],
    ["an error", () => new Response("no", { status: 413 })],
    ["a slow stream", () => new Response(makeSlowStream("hel", "lo"))],
    ["an error with a slow stream", () => new Response(makeSlowStream("no"), { status: 404 })],
  ];
  await testEachRow(t, uses, async (_name, use) => {
    for (const [name, makeResponse] of responses) {
      const calls: string[] = [];
      const ignoredRequests: Request[] = [];
      await using serving = serveHandler((request) => {
        calls.push(request.method);
        if (request.method === "POST") ignoredRequests.push(use(request));
        return makeResponse();
      });
      using peer = await RawPeer.connect(serving.address, ignoredPost.repeat(2) + lastGet);
      const { received } = await peer.readToEnd();
      assertEquals(calls, ["POST", "POST", "GET"], name);
      assertEquals(received.match(/HTTP\/1\.1 /g)?.length, 3, name);
      assertEquals(received.match(/connection: close/g)?.length, 1, name);
      assertEquals(serving.logger.messagesOf("info"), []);
      for (const request of ignoredRequests) {
        const error = await catchRejection(request.text(), "a read of a dropped body");
        assertStringIncludes(`${error}`, "was discarded");
      }
    }
  });
});

Deno.test("a handler that still reads when its response is sent gets the whole body or an error, and the session doesn't read the body as a request", async (t) => {
  const uses: [name: string, read: (request: Request) => Promise<unknown>][] = [
    ["a read that is not awaited", (request) => request.text()],
    ["a clone", (request) => request.clone().text()],
    ["both clones", (request) => {
      const copy = request.clone();
      return Promise.all([request.text(), copy.text()]).then((texts) => {
        assertEquals(texts[0], texts[1]);
        return texts[0];
      });
    }],
    ["a new Request", (request) => new Request(request).text()],
    ["a read in the next tick", (request) => waitForTick().then(() => request.text())],
    ["the first bytes", async (request) => {
      const reader = request.body!.getReader({ mode: "byob" });
      await reader.read(new Uint8Array(2));
      throw new Error("the rest was left");
    }],
  ];
  const responses = [() => new Response("hello"), () => new Response(makeSlowStream("a", "b"))];
  await testEachRow(t, uses, async (_name, read) => {
    for (const makeResponse of responses) {
      const reads: Promise<unknown>[] = [];
      const calls: string[] = [];
      await using serving = serveHandler((request) => {
        calls.push(request.url);
        if (request.method === "POST") reads.push(read(request).catch((error) => error));
        return makeResponse();
      });
      using peer = await RawPeer.connect(serving.address, ignoredPost + lastGet);
      const { received } = await peer.readToEnd();
      assert(calls.every((url) => url === "http://a/"), `${calls}`);
      assertEquals(received.match(/HTTP\/1\.1 200/g)?.length, calls.length);
      for (const value of await withTimeout(Promise.all(reads), "the reads end")) {
        assert(value === smuggled || value instanceof Error, `${value}`);
      }
    }
  });
});

Deno.test("a handler can pass the body of its request on to another server", async () => {
  await using upstream = serveHandler(async (request) => new Response(await request.text()));
  const fetch = createFetch(upstream.makeClient());
  await using serving = serveHandler((request) => {
    return fetch("/", { method: request.method, body: request.body });
  });
  using peer = await RawPeer.connect(serving.address, ignoredPost.repeat(2) + lastGet);
  const { received } = await peer.readToEnd();
  assertEquals(received.split(smuggled).length, 3);
  assertEquals(received.match(/HTTP\/1\.1 200/g)?.length, 3);
});

Deno.test("the body of a request can be the body of its response", async () => {
  await using serving = serveHandler((request) => new Response(request.body));
  using conn = await serving.makeClient().connect();
  const bytes = new Uint8Array(3_000_000).fill(7);
  const bodies = ["", "hello", new Blob([bytes]), new Blob([bytes]).stream()];
  for (const [i, body] of bodies.entries()) {
    const response = await conn.post("/", {}, body, { duplex: "full" });
    assertEquals(await response.bytes(), i < 2 ? encoder.encode(`${body}`) : bytes);
  }
  assertEquals([conn.closed, serving.logger.lines], [false, []]);
});

Deno.test("a reader of the request's body gets an error after the response was sent: a truncated body doesn't look complete", async () => {
  const readResult = Promise.withResolvers<unknown>();
  await using serving = serveHandler((request) => {
    const reader = request.clone().body!.getReader();
    const readAll = async () => {
      while (!(await reader.read()).done);
    };
    // The handler continues reading after it has made the response.
    setTimeout(() => readAll().then(readResult.resolve, readResult.resolve));
    return new Response("hello");
  });
  const response = await serving.makeClient().request("POST", "/", {}, new Uint8Array(3_000_000));
  assertEquals(await response.body?.text(), "hello");
  assertInstanceOf(await withTimeout(readResult.promise, "the reader is told"), Error);
});

// FetchHandlerInfo.completed: the end of the response.

/** Makes a handler that records how `completed` settles, per request. */
function recordCompleted(handler: FetchHandler) {
  const outcomes: Promise<unknown>[] = [];
  const recording: FetchHandler = (request, info) => {
    outcomes.push(info.completed.then(() => "sent", (error: unknown) => error));
    return handler(request, info);
  };
  const outcomeOf = (index: number) =>
    withTimeout(outcomes[index] ?? Promise.reject(new Error("no request")), "completed settles");
  return { recording, outcomeOf };
}

Deno.test("completed resolves when the response was sent with its whole body, separately for each request", async () => {
  const { promise: mayEnd, resolve: allowEnd } = Promise.withResolvers<void>();
  const { recording, outcomeOf } = recordCompleted(({ url, method }) => {
    const { pathname } = new URL(url);
    if (pathname === "/none") return new Response(null, { status: 204 });
    if (pathname === "/text" || method === "HEAD") return new Response("hello");
    return new Response(
      new ReadableStream({
        async pull(controller) {
          controller.enqueue(encoder.encode("hello"));
          await mayEnd;
          controller.close();
        },
      }),
    );
  });
  await using serving = serveHandler(recording);
  using conn = await serving.makeClient().connect();
  for (const [index, uri] of ["/text", "/none"].entries()) {
    await (await conn.get(uri)).text();
    assertEquals(await outcomeOf(index), "sent");
  }
  await conn.head("/text");
  assertEquals(await outcomeOf(2), "sent");
  const response = await conn.get("/stream");
  const early = await Promise.race([outcomeOf(3), response.readable.getReader().read()]);
  assertEquals((early as { done: boolean }).done, false);
  allowEnd();
  assertEquals(await outcomeOf(3), "sent");
  await (await serving.makeClient().get("/text", { connection: "close" })).text();
  assertEquals(await outcomeOf(4), "sent");
});

Deno.test("completed rejects if the response could not be sent: an error of the handler or its body, a client or a server that leaves", async (t) => {
  const failure = new Error("the disk is on fire");
  const endless = () =>
    new Response(
      new ReadableStream({
        async pull(controller) {
          controller.enqueue(new Uint8Array(65536));
          await waitForTick();
        },
      }),
    );
  const failing = () => {
    const { stream } = new TrackedStream([encoder.encode("a"), encoder.encode("b")], { failure });
    return new Response(stream);
  };
  const request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
  const rows: [string, FetchHandler, (error: unknown) => void][] = [
    ["the handler throws", () => Promise.reject(failure), (error) => assertEquals(error, failure)],
    ["the body fails", failing, (error) => assertInstanceOf(error, Error)],
    [
      "the response is invalid",
      () => new Response("a", { headers: { "content-length": "x" } }),
      (error) => assertInstanceOf(error, Error),
    ],
  ];
  for (const [name, handler, check] of rows) {
    await t.step(name, async () => {
      const { recording, outcomeOf } = recordCompleted(handler);
      await using serving = serveHandler(recording);
      using peer = await RawPeer.connect(serving.address, request);
      await peer.readToEnd();
      check(await outcomeOf(0));
    });
  }
  const ends: Record<string, (peer: RawPeer, serving: { server: Server }) => void> = {
    "the client leaves": (peer) => peer.close(),
    "the server closes": (_peer, { server }) => server.close(),
  };
  for (const [name, end] of Object.entries(ends)) {
    await t.step(name, async () => {
      const { recording, outcomeOf } = recordCompleted(endless);
      await using serving = serveHandler(recording);
      using peer = await RawPeer.connect(serving.address, request);
      await peer.readPreamble();
      end(peer, serving);
      assertInstanceOf(await outcomeOf(0), Error);
    });
  }
  await t.step("the client leaves, and the handler never looks at completed", async () => {
    await using pair = await connectRawPeer(fromFetchHandler(endless), request);
    await pair.peer.readPreamble();
    pair.peer.close();
    await pair.sessionEnded;
  });
  await t.step("the client leaves before the handler is called", async () => {
    const { recording, outcomeOf } = recordCompleted(() => new Response("a"));
    const app = fromFetchHandler(recording);
    const { promise: called, resolve: reportCalled } = Promise.withResolvers<void>();
    await using pair = await connectRawPeer(async (request, session, api) => {
      session.close();
      try {
        return await app(request, session, api);
      } finally {
        reportCalled();
      }
    }, request);
    await withTimeout(called, "the handler is called");
    assertInstanceOf(await outcomeOf(0), Error);
    await pair.sessionEnded;
  });
});

Deno.test("completed of a call without a server settles when callApp() does", async () => {
  const { recording, outcomeOf } = recordCompleted(({ url }) => {
    if (url.endsWith("/fails")) throw new Error("the disk is on fire");
    return new Response("hello");
  });
  const app = fromFetchHandler(recording);
  assertEquals((await callApp(app, mkreq("GET", "/"))).status, 200);
  assertEquals(await outcomeOf(0), "sent");
  const error = await catchRejection(callApp(app, mkreq("GET", "/fails")), "a handler that throws");
  assertEquals(await outcomeOf(1), error);
});

Deno.test("a handler for Deno.serve, and a program for deno serve, are handlers", async () => {
  const handler: Deno.ServeHandler = async (request, { remoteAddr, completed }) => {
    completed.catch(() => {});
    return Response.json([await request.text(), remoteAddr.transport]);
  };
  const program = { fetch: handler, onListen() {} } satisfies Deno.ServeDefaultExport;
  for (const each of [handler, program]) {
    await using serving = serveHandler(each);
    const response = await serving.makeClient().post("/", {}, "hello");
    assertEquals(await response.json(), ["hello", "tcp"]);
  }
});
