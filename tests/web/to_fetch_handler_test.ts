/** toFetchHandler: requests, responses, sessions, and what it refuses. */
import { toFetchHandler } from "@degu/degu";
import {
  Body,
  BodyError,
  BodyIter,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
  ConnectionClosedError,
  ContentRange,
  Range,
  type ResponseTuple,
} from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import type { AppFunction, Session, Socket } from "@degu/degu/server";
import { tempDir } from "@degu/testing/directories.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { eachRow } from "@degu/testing/rows.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { TrackedStream } from "@degu/testing/streams.ts";
import { type DenoServing, serveWithDeno } from "@degu/testing/web_serving.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";

// toFetchHandler: requests to an app under Deno.serve, and from elsewhere.

const encoder = new TextEncoder();

/** What an application sees of a request, as JSON. */
const tellingApp: AppFunction = async (request) => {
  const { method, uri, path, query, mount, body } = request;
  const headers: Record<string, string | number> = {};
  for (const [name, value] of Object.entries(request.headers)) {
    headers[name] = typeof value === "number" ? value : `${value}`;
  }
  const kind = body === null ? null : body.chunked ? "chunked" : body.contentLength;
  const text = await body?.text();
  const answer = { method, uri, path, query, mount, headers, kind, text };
  return [200, "OK", {}, encoder.encode(JSON.stringify(answer))];
};

/** Makes a request of bytes, or of Latin-1 text, and gives the status, the preamble and the text of the answer. */
async function ask(peer: RawPeer, request: string | Uint8Array) {
  await peer.send(request);
  const preamble = await peer.readPreamble();
  const length = /content-length: (\d+)/i.exec(preamble)?.[1] ?? "0";
  const text = await peer.readExactly(Number(length));
  return { status: Number(preamble.slice(9, 12)), preamble, text };
}

async function askOnce(server: DenoServing, request: string | Uint8Array) {
  using peer = await RawPeer.connect(server.address);
  return await ask(peer, request);
}

/** A request with its line ends written as `|`, and a host unless it has one; in UTF-8 if it is beyond Latin-1. */
function requestOf(line: string, rest: string): string | Uint8Array {
  const host = rest.startsWith("host: ") ? "" : "host: a|";
  const text = `${line} HTTP/1.1|${host}${rest}`.replaceAll("|", "\r\n");
  return /^[\0-\xff]*$/.test(text) ? text : encoder.encode(text);
}

Deno.test("an app sees the same request as under our own server", async (t) => {
  const rows: [line: string, rest: string, expected: Record<string, unknown>][] = [
    ["GET /", "|", { method: "GET", uri: "/", path: [], query: null }],
    ["GET /a/b/?c=%20", "|", { uri: "/a/b/?c=%20", path: ["a", "b", ""], query: "c=%20" }],
    ["GET /a?", "|", { uri: "/a?", path: ["a"], query: "" }],
    ["GET /./a/...", "|", { uri: "/./a/...", path: [".", "a", "..."] }],
    ["DELETE /a", "|", { method: "DELETE", kind: null }],
    ["GET /", "X-Thing: One|Range: bytes=2-4||", {
      headers: { host: "a", "x-thing": "One", range: "bytes=2-4" },
    }],
    ["POST /", "|", { method: "POST", kind: null, headers: { host: "a" } }],
    ["POST /", "content-length: 0||", {
      ...{ kind: 0, text: "", headers: { host: "a", "content-length": 0 } },
    }],
    ["PUT /", "content-length: 5||hello", {
      ...{ method: "PUT", kind: 5, text: "hello", headers: { host: "a", "content-length": 5 } },
    }],
    ["PUT /", "transfer-encoding: chunked||2|ab|1|c|0||", {
      ...{ kind: "chunked", text: "abc", headers: { host: "a", "transfer-encoding": "chunked" } },
    }],
    ["PUT /", "transfer-encoding: chunked||0||", { kind: "chunked", text: "" }],
  ];
  await using server = serveWithDeno(tellingApp);
  for (const [line, rest, expected] of rows) {
    await t.step(`${line}, ${rest}`, async () => {
      const { text } = await askOnce(server, requestOf(line, rest));
      const seen: Record<string, unknown> = JSON.parse(text);
      for (const [name, value] of Object.entries(expected)) assertEquals(seen[name], value, name);
    });
  }
  assertEquals(server.errors, []);
});

/** Tells how often it was called. */
class Counting {
  calls: string[] = [];
  readonly app: AppFunction = ({ uri }) => {
    this.calls.push(uri);
    return [200, "OK", {}, null];
  };

  take(): string[] {
    return this.calls.splice(0);
  }
}

Deno.test("what our own server would refuse ends its connection, as far as that can be detected", async (t) => {
  const counting = new Counting();
  await using server = serveWithDeno(counting.app);
  const forged = "/admin\u0120HTTP/1.1\u010d\u010ax-user:\u0120root";
  const basic = "authorization: Basic eDp5";
  const joined = "authorizations that a server has joined";
  const refused: [rule: string, line: string, rest: string, said?: string][] = [
    ["a path with ..", "GET /a/../b", "", '"/a/../b"'],
    ["a percent sign in a path", "GET /%41", "", '"/%41"'],
    ["two slashes", "GET //a", "", '"//a"'],
    ["a slash in a query", "GET /?a/b", "", '"/?a/b"'],
    ["a fragment that was sent", "GET /a#b", "", "fragment"],
    ["a byte that no value has", "GET /", "a: {}|", '"{}"'],
    ["a byte above 127", "GET /", "a: caf\xe9|", "caf"],
    ["a byte that no name has", "GET /", "a_b: c|", '"a_b"'],
    ["an empty value", "GET /", "a:|", '""'],
    ["a long name", "GET /", `${"a".repeat(33)}: b|`, "aaa"],
    ["an open range", "GET /", "range: bytes=1-|", '"bytes=1-"'],
    ["content-range", "GET /", "content-range: bytes 0-0/1|", "content-range"],
    ["a body of DELETE", "DELETE /", "content-length: 1||a", "content-length"],
    ["more than 32768 bytes", "GET /", `a: ${"b".repeat(40000)}|`, "32768"],
    // No character of a target or a host is truncated to another one.
    ["a request line and a header in the target", `GET ${forged}`, ""],
    ["a header in the query", "GET /?\u010d\u010ax:\u0120y", ""],
    ["a header in the host", "GET /", "host: a\u010d\u010ax:\u0120y|"],
    ["a header in a value", "GET /", "x: y\u010d\u010az:\u0120w|"],
    ["a path in the host", "GET /", "host: a/admin|"],
    ["a fragment in the host", "GET /", "host: a/admin#|"],
    ["a query in the host", "GET /b", "host: a?|"],
    ["another host than the header's", "GET http://b/x", ""],
    ["another host, without a scheme", "GET //b/x", ""],
    ["a port that the header has not", "GET http://a:81/x", ""],
    ["no port, though the header has one", "GET http://a/x", "host: a:81|"],
    ["the port of another scheme", "GET https://a:80/x", ""],
    ["the port of another scheme", "GET http://a:443/x", ""],
    ["a user", "GET http://u:p@a/x", ""],
    ["a user in both", "GET http://u:p@a/x", "host: u:p@a|"],
    ["a host that only looks the same", "GET http://\u212a/x", "host: k|"],
    ["another scheme", "GET ftp://a/x", ""],
    [joined, "GET /", `${basic}|authorization: Bearer abc|`],
    [joined, "GET /", "authorization: Bearer abc|authorization: Bearer def|"],
    [joined, "GET /", `${basic}|${basic}|`],
    [joined, "GET /", "authorization: bearer abc|authorization: x|"],
    [joined, "GET /", `authorization: Digest a=b|${basic}|`],
    [joined, "GET /", `${basic} Bearer abc|`],
    [joined, "GET /", `${basic},|`],
    [joined, "GET /", "authorization: Basic,Bearer abc|"],
  ];
  const check = async (request: string | Uint8Array, status: number, said: string) => {
    const { preamble, text } = await askOnce(server, request);
    assertStringIncludes(preamble, `HTTP/1.1 ${status} `);
    assertStringIncludes(preamble, "\r\nconnection: close\r\n");
    assertStringIncludes(text, said);
    // Whoever logs the answer does not log the credentials.
    assertEquals([text.includes("eDp5"), counting.take()], [false, []]);
  };
  for (const [rule, line, rest, said = ""] of refused) {
    const request = requestOf(line, rest.includes("||") ? rest : `${rest}|`);
    await t.step(`${rule}: ${line}, ${rest.slice(0, 60)}`, () => check(request, 400, said));
  }
  for (const method of ["PATCH", "OPTIONS"]) {
    await t.step(method, () => check(requestOf(`${method} /`, "|"), 501, `"${method}"`));
  }
  await t.step("every character with the low byte of an allowed or dangerous one", async () => {
    using peer = await RawPeer.connect(server.address);
    for (let low = 9; low < 0x7f; low++) {
      for (const high of [0x100, 0x200, 0x2100, 0x1f400]) {
        const request = requestOf(`GET /${String.fromCodePoint(high + low)}`, "|");
        const { status } = await ask(peer, request);
        assertEquals([status, counting.take()], [400, []], (high + low).toString(16));
      }
    }
  });
  // No handler can tell these from "/x".
  const accepted: [target: string, rest: string][] = [
    ...["http://a/x", "http://A/x"].map((target): [string, string] => [target, "host: a|"]),
    ["http://a:80/x", "host: A|"],
    ["http://a/x", "host: a:80|"],
    ["https://a:443/x", "host: a|"],
    ["http://[::1]:81/x", "host: [::1]:81|"],
    ["/x", "host: A:80|"],
    ...["Basic eDp5==", "bearer  a-b.c_d~e+f/g=", "Basic", "Basically a, b"]
      .map((value): [string, string] => ["/x", `authorization: ${value}|`]),
    ["/x", 'authorization: Digest username="a", realm="basic auth", uri="/"|'],
    // Any other header may have what looks like several credentials.
    ["/x", "x-offers: Basic a, Bearer b|"],
  ];
  for (const [target, rest] of accepted) {
    await t.step(`accepted: ${target}, ${rest}`, async () => {
      const { status } = await askOnce(server, requestOf(`GET ${target}`, `${rest}|`));
      assertEquals([status, counting.take()], [200, ["/x"]]);
    });
  }
  assertEquals(server.errors, []);
});

/** The options of a PUT. */
const put = (body: BodyInit | null, headers: HeadersInit = {}) => ({
  ...{ method: "PUT", body, headers },
});

Deno.test("a request that did not arrive over a connection is converted, too", async (t) => {
  const host = { host: "Device.local:81" };
  const own = { host: "device.local:81" };
  const chunked = { "transfer-encoding": "chunked" };
  type Row = [name: string, url: string, init: RequestInit, expected: Record<string, unknown>];
  const rows: Row[] = [
    ["host is taken from the URL", "/a?b#c", {}, { uri: "/a?b", headers: own }],
    ["but not if the headers have one", "/", { headers: host }, { headers: host }],
    ["a URL without a path", "?b", {}, { uri: "/?b", query: "b" }],
    ["a body without a length is chunked", "/", put("hello"), { kind: "chunked", text: "hello" }],
    ["an empty body is none", "/", put(""), { kind: null }],
    ["null, chunked, is empty", "/", put(null, chunked), { kind: "chunked", text: "" }],
  ];
  const handler = toFetchHandler(tellingApp);
  await eachRow(t, rows, async (_name, url, init, expected) => {
    const request = new Request(`http://device.local:81${url}`, init);
    const seen: Record<string, unknown> = await (await handler(request)).json();
    for (const [name, value] of Object.entries(expected)) assertEquals(seen[name], value, name);
  });
  const app: AppFunction = async (request) => {
    const lengths: number[] = [];
    for await (const [, data] of request.body as ChunkedBody) lengths.push(data.length);
    return [200, "OK", {}, encoder.encode(JSON.stringify(lengths))];
  };
  const large = new Request("http://a/", put(new Uint8Array(16777217)));
  assertEquals(await (await toFetchHandler(app)(large)).json(), [16777216, 1, 0]);
  const refused = new Request("http://a/", { method: "DELETE", body: "hello" });
  assertEquals((await handler(refused)).status, 400);
  const short = new Request("http://a/", put("hello", { "content-length": "9" }));
  await assertRejects(() => handler(short), Error, "4 bytes before");
});

Deno.test("a body that is too long for its app is answered with 413, and another body is an error", async () => {
  const own: AppFunction = async ({ body }) => [200, "OK", {}, await body!.text({ maxBytes: 4 })];
  for (const init of [put("hello"), put("hello", { "content-length": "5" })]) {
    const response = await toFetchHandler(own)(new Request("http://a/", init));
    assertEquals([response.status, response.statusText], [413, "Content Too Large"]);
    assertEquals(await response.text(), "");
  }
  const fits = await toFetchHandler(own)(new Request("http://a/", put("öl!")));
  assertEquals(await fits.text(), "öl!");
  const other: AppFunction = async () => {
    const body = new Body(new Blob(["hello"]).stream(), 5);
    return [200, "OK", {}, await body.text({ maxBytes: 4 })];
  };
  const refused = toFetchHandler(other, { logger: { error() {} } as never });
  await assertRejects(() => refused(new Request("http://a/", put("hello"))), Error, "at most 4");
});

Deno.test("an app gets the same arguments as from a server", async () => {
  const app: AppFunction = function (this: unknown, request, session, api) {
    assertInstanceOf(request.headers["range"], Range);
    assertEquals([session.requests, session.maxRequests, session.peerCertificate], [0, 1, null]);
    const names = Object.keys(api).toSorted().join(" ");
    assertEquals(names, "Body BodyIter ChunkedBody ChunkedBodyIter ContentRange Range");
    return [200, "OK", {}, new api.BodyIter([encoder.encode("hello")], 5)];
  };
  const request = new Request("http://a/", { headers: { range: "bytes=0-9" } });
  assertEquals(await (await toFetchHandler(app)(request)).text(), "hello");
});

Deno.test("onConnect is asked before each request", async (t) => {
  const seen: unknown[] = [];
  class Gate {
    constructor(readonly answer: unknown) {}
    handle(): ResponseTuple {
      seen.push("handle");
      return [200, "OK", {}, null];
    }
    async onConnect(session: Session, sock: Socket): Promise<boolean> {
      seen.push(session.address?.[0], sock.remoteAddr);
      await assertRejects(() => sock.read(new Uint8Array(1)), TypeError, "no socket");
      await assertRejects(() => sock.write(new Uint8Array(1)), TypeError, "no socket");
      sock.close();
      return await Promise.resolve(this.answer as boolean);
    }
  }
  const remoteAddr = { transport: "tcp", hostname: "::1", port: 1 } as const;
  for (const [answer, status] of [[true, 200], [false, 403], [1, 403], [undefined, 403]] as const) {
    await t.step(`${answer}`, async () => {
      const handler = toFetchHandler(new Gate(answer));
      const response = await handler(new Request("http://a/"), { remoteAddr });
      assertEquals(response.status, status);
      const expected: unknown[] = ["::1", remoteAddr];
      if (status === 200) expected.push("handle");
      assertEquals(seen.splice(0), expected);
    });
  }
});

Deno.test("an app runs over HTTP/2", async () => {
  await using pki = await TempPKI.create();
  const { certFile, keyFile } = pki.serverSslconfig;
  const cert = await Deno.readTextFile(certFile);
  const key = await Deno.readTextFile(keyFile);
  await using server = serveWithDeno(tellingApp, { cert, key });
  const caCerts = [await Deno.readTextFile(pki.anonymousClientSslconfig.caFile)];
  using client = Deno.createHttpClient({ caCerts, http1: false, http2: true });
  const body = () => ReadableStream.from([encoder.encode("hel"), encoder.encode("lo")]);
  const init = { client, method: "POST", body: body() };
  const posted = await (await fetch(`${server.url}/a?b`, init)).json();
  const { method, uri, kind, text, headers } = posted;
  assertEquals([method, uri, kind, text], ["POST", "/a?b", "chunked", "hello"]);
  assertEquals(headers["host"], new URL(server.url).host);
  const got = await (await fetch(`${server.url}/`, { client })).json();
  assertEquals([got.method, got.kind], ["GET", null]);
  const empty = await (await fetch(server.url, { client, method: "POST" })).json();
  assertEquals(empty.kind, 0);
});

// toFetchHandler: how an app's responses are converted.

Deno.test("every kind of body is sent, with its length if it has one, and none with status 205", async (t) => {
  const hello = encoder.encode("hello");
  const last: Chunk = [null, new Uint8Array(0)];
  const chunks: Chunk[] = [[null, encoder.encode("he")], [["k", "v"], encoder.encode("llo")], last];
  const encoded = "2\r\nhe\r\n3;k=v\r\nllo\r\n0\r\n\r\n";
  const empty = new TrackedStream<Uint8Array>([]);
  type Row = [name: string, make: () => ResponseTuple[3], length: string | null, text: string];
  const rows: Row[] = [
    ["null", () => null, "0", ""],
    ["bytes", () => hello, "5", "hello"],
    ["no bytes", () => new Uint8Array(0), "0", ""],
    ["Body", () => new Body(new Blob(["hello"]).stream(), 5), "5", "hello"],
    ["BodyIter", () => new BodyIter([hello.subarray(0, 2), hello.subarray(2)], 5), "5", "hello"],
    ["ChunkedBody", () => new ChunkedBody(new Blob([encoded]).stream()), null, "hello"],
    ["ChunkedBodyIter", () => new ChunkedBodyIter(chunks), null, "hello"],
    ["ChunkedBodyIter without data", () => new ChunkedBodyIter([last]), null, ""],
    ["205, null", () => null, null, ""],
    ["205, no bytes", () => new Uint8Array(0), null, ""],
    ["205, a body of length 0", () => new Body(empty.stream, 0), null, ""],
    ["205, an iterable of length 0", () => new BodyIter([], 0), null, ""],
  ];
  await eachRow(t, rows, async (name, make, length, text) => {
    const status = name.startsWith("205") ? 205 : 201;
    await using server = serveWithDeno(() => [status, "As you like", { "x-a": "b" }, make()]);
    const response = await fetch(server.url);
    assertEquals([response.status, response.headers.get("x-a")], [status, "b"]);
    assertEquals(response.headers.get("content-length"), length);
    if (status === 205) assertEquals(response.body, null);
    assertEquals([await response.text(), server.errors], [text, []]);
  });
  assertEquals(empty.cancelled.length, 1);
  await t.step("a 205 with bytes is refused, and canceled", async () => {
    const stream = new TrackedStream([hello]);
    const handler = toFetchHandler(() => [205, "Reset Content", {}, new Body(stream.stream, 5)]);
    const error = await rejectionOf(handler(new Request("http://a/")), "a body of 205");
    assertStringIncludes(String(error), "205");
    assertEquals(stream.cancelled.length, 1);
  });
});

Deno.test("a response without a body keeps its headers", async (t) => {
  const rows: [method: string, answer: ResponseTuple, expected: Record<string, string>][] = [
    ["HEAD", [200, "OK", { "content-length": 12, "x-a": "b" }, null], {
      "content-length": "12",
      "x-a": "b",
    }],
    ["HEAD", [200, "OK", { "transfer-encoding": "chunked" }, null], {}],
    ["HEAD", [404, "Not Found", {}, null], {}],
    ["GET", [204, "No Content", { "x-a": "b" }, null], { "x-a": "b" }],
    ["GET", [304, "Not Modified", { "content-length": 12 }, null], { "content-length": "12" }],
    [
      "GET",
      [206, "Partial Content", { "content-range": new ContentRange(2, 5, 10) }, new Uint8Array(3)],
      { "content-length": "3", "content-range": "bytes 2-4/10" },
    ],
  ];
  for (const [method, answer, expected] of rows) {
    await t.step(`${method} ${answer[0]} ${Object.keys(answer[2])}`, async () => {
      const response = await toFetchHandler(() => answer)(new Request("http://a/", { method }));
      assertEquals([response.status, response.statusText], [answer[0], answer[1]]);
      assertEquals(Object.fromEntries(response.headers), expected);
      // Of chunks to HEAD an empty stream is left: with `null` a server would say that there are no
      // bytes.
      const isNull = answer[3] === null && !("transfer-encoding" in answer[2]);
      assertEquals(response.body === null, isNull);
      assertEquals((await response.bytes()).length, answer[3] === null ? 0 : 3);
    });
  }
  await t.step("under Deno.serve", async () => {
    await using server = serveWithDeno(() => [200, "OK", { "content-length": 12 }, null]);
    const { headers, body } = await new Client(server.address).request("HEAD", "/");
    assertEquals([headers["content-length"], body], [12, null]);
  });
  await t.step("under Deno.serve, chunked", async () => {
    const coding = { "transfer-encoding": "chunked" };
    for (const status of [200, 304]) {
      await using server = serveWithDeno(() => [status, "As you like", coding, null]);
      using peer = await RawPeer.connect(server.address);
      await peer.send("HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
      const { received } = await peer.readToEnd();
      assert(received.startsWith(`HTTP/1.1 ${status} `), received);
      assert(!received.includes("content-length"), received);
      assertEquals(server.errors, []);
    }
  });
});

Deno.test("an invalid answer from an app is an error that names it", async (t) => {
  const rows: [name: string, app: (...args: Parameters<AppFunction>) => unknown, said: string][] = [
    ["nothing", () => undefined, "undefined"],
    ["a header's value", () => [200, "OK", { a: "b\r\nc: d" }, null], "b\\r\\nc: d"],
    ["the request's body", (request) => [200, "OK", {}, request.body], "body of the request"],
    ["an exception", () => {
      throw new Error("thrown on purpose");
    }, "thrown on purpose"],
  ];
  await eachRow(t, rows, async (name, app, said) => {
    await using server = serveWithDeno(app as AppFunction);
    const body = name.includes("request") ? "hello" : "";
    const response = await fetch(server.url, { method: "POST", body });
    assertEquals([response.status, await response.text()], [500, ""]);
    assertStringIncludes(String(server.errors[0]), said);
  });
  await t.step("another length to HEAD", async () => {
    const app: AppFunction = () => [200, "OK", { "content-length": 2 }, new Uint8Array(1)];
    const responding = toFetchHandler(app)(new Request("http://a/", { method: "HEAD" }));
    const error = await rejectionOf(responding, "another length");
    assertStringIncludes(String(error), 'response.headers["content-length"]');
  });
});

Deno.test("a body that the app leaves unread is no error, and is canceled", async (t) => {
  const uses: [how: string, use: (body: Body | ChunkedBody) => unknown][] = [
    ["untouched", () => {}],
    ["canceled", (body) => body.cancel()],
    ["read in part", (body) => body.chunked ? body.readChunk() : body.read(2)],
  ];
  await eachRow(t, uses, async (_how, use) => {
    for (const status of [200, 413]) {
      const app: AppFunction = async ({ body }) => {
        await use(body!);
        return [status, "As you like", {}, encoder.encode("hello")];
      };
      await using server = serveWithDeno(app);
      const source = new TrackedStream([new Uint8Array(100_000), new Uint8Array(100_000)]);
      const response = await fetch(server.url, { method: "POST", body: source.stream });
      assertEquals([response.status, await response.text()], [status, "hello"]);
      assertEquals(server.errors, []);

      const direct = new TrackedStream([encoder.encode("hello")]);
      const init = { method: "POST", body: direct.stream };
      const answered = await toFetchHandler(app)(new Request("http://a/", init));
      assertEquals([answered.status, await answered.text()], [status, "hello"]);
    }
  });
});

Deno.test("toFetchHandler requires an app, and valid options", () => {
  for (const app of [undefined, null, {}, { fetch() {} }, "app"]) {
    assertThrows(() => Reflect.apply(toFetchHandler, undefined, [app]), TypeError, "app: must");
  }
  const rows: [options: unknown, said: string][] = [
    [null, "options"],
    [{ loger: console }, '"loger"'],
    [{ logger: {} }, "logger: must"],
    [{ logger: null }, "logger: must"],
  ];
  for (const [options, said] of rows) {
    const make = () => Reflect.apply(toFetchHandler, undefined, [() => {}, options]);
    assertThrows(make, TypeError, said);
  }
});

// toFetchHandler: requests that no server has checked.

Deno.test("a fake Request object can't forge anything either", async (t) => {
  const counting = new Counting();
  const handler = toFetchHandler(counting.app);
  const good = { method: "GET", url: "http://a/", headers: new Headers(), body: null };
  /** What an adapter that does not check anything could hand over. */
  const headersOf = (name: string, value: string) =>
    Object.assign(new Headers(), { [Symbol.iterator]: () => [[name, value]].values() });
  const rows: [name: string, request: object][] = [
    ["a line end in the method", { method: "GET / HTTP/1.1\r\nx: y\r\n\r\n" }],
    ["a line end in the target", { url: "http://a/b HTTP/1.1\r\nx: y" }],
    ["a surrogate in the target", { url: "http://a/\ud83d" }],
    ["a line end in the host", { url: "http://a\r\nx: y/" }],
    ["a line end in a value", { headers: headersOf("x", "y\r\nz: w") }],
    ["a line end in a name", { headers: headersOf("x: y\r\nz", "w") }],
    ["a value beyond Latin-1", { headers: headersOf("x", "y\u010d\u010az:\u0120w") }],
    ["a name beyond Latin-1", { headers: headersOf("x\u013a", "y") }],
    ["another scheme", { url: "ftp://a/" }],
    ["no URL", { url: "/a" }],
  ];
  await eachRow(t, rows, async (_name, request) => {
    const { status } = await handler({ ...good, ...request } as Request);
    assertEquals([status >= 400, counting.take()], [true, []]);
  });
  await t.step("a valid one is accepted", async () => {
    const { status } = await handler(good as unknown as Request);
    assertEquals([status, counting.take()], [200, ["/"]]);
  });
});

Deno.test("over a Unix socket of Deno's server a request has the host that it was sent with", async (t) => {
  await using dir = await tempDir();
  const path = `${dir.path}/socket`;
  const app: AppFunction = ({ uri, headers }) => {
    return [200, "OK", {}, encoder.encode(`${uri} ${headers["host"]}`)];
  };
  await using _server = Deno.serve({ path, onListen() {} }, toFetchHandler(app));
  const rows: [target: string, host: string | null, status: number, seen: string][] = [
    ["/a", "b", 200, "/a b"],
    ["/a", "b:80", 200, "/a b:80"],
    // Deno makes a host of the path of the socket, which is nobody's business.
    ["/a", null, 200, "/a undefined"],
    ["/a", "b/c", 400, ""],
    ["http://c/a", "b", 400, ""],
  ];
  for (const [target, host, status, seen] of rows) {
    await t.step(`${target}, ${host}`, async () => {
      using peer = await RawPeer.connect(path);
      const line = host === null ? "" : `host: ${host}\r\n`;
      const answer = await ask(peer, `GET ${target} HTTP/1.1\r\n${line}\r\n`);
      assertEquals(answer.status, status);
      if (status === 200) assertEquals(answer.text, seen);
    });
  }
});

// toFetchHandler: a session for each request, and what is disposed of at its end.

Deno.test("each request has its own session, which ends with the response", async (t) => {
  const sessions: Session[] = [];
  const disposed: string[] = [];
  const keep = (session: Session) => {
    sessions.push(session);
    for (const name of ["first", "second"]) {
      session.store.set(name, { [Symbol.dispose]: () => void disposed.push(name) });
    }
  };
  await t.step("over TCP", async () => {
    await using server = serveWithDeno((_request, session) => {
      keep(session);
      return [200, "OK", {}, null];
    });
    for (let i = 0; i < 2; i++) await (await fetch(server.url)).body?.cancel();
    assertEquals(disposed.splice(0), ["second", "first", "second", "first"]);
    const [one, two] = sessions.splice(0);
    assert(one !== two);
    assertInstanceOf(one?.signal.reason, ConnectionClosedError);
    assertEquals(one?.address?.[0], "127.0.0.1");
    assertStringIncludes(String(one), `127.0.0.1:${one?.address?.[1]}`);
    assertStringIncludes(one?.message ?? "", "one request");
  });
  const stream = (end: (controller: ReadableStreamDefaultController) => void) =>
    new Body(
      new ReadableStream({
        pull(controller) {
          // What the session keeps may be what the body comes from.
          assertEquals(disposed, []);
          end(controller);
        },
      }, { highWaterMark: 0 }),
      5,
    );
  const hello = (controller: ReadableStreamDefaultController) => {
    controller.enqueue(encoder.encode("hello"));
    controller.close();
  };
  const pieces = ["", "he", "", "llo", ""].map((text) => encoder.encode(text));
  type Take = (response: Response) => Promise<unknown>;
  const text: Take = async (response) => assertEquals(await response.text(), "hello");
  const fails: Take = (response) => rejectionOf(response.text(), "a body that fails");
  const ends: [name: string, body: () => Body | BodyIter, take: Take][] = [
    ["with the body", () => stream(hello), text],
    ["with a body that has empty pieces", () => new BodyIter(pieces, 5), text],
    ["with a body that fails", () => stream((it) => it.error(new Error("gone"))), fails],
    ["with a body that is canceled", () => stream(() => {}), ({ body }) => body!.cancel()],
  ];
  await eachRow(t, ends, async (_name, body, take) => {
    const response = await toFetchHandler((_request, session) => {
      keep(session);
      return [200, "OK", {}, body()];
    })(new Request("http://a/"));
    const session = sessions.pop()!;
    const { signal } = session;
    assertEquals([disposed, signal.aborted, session.message], [[], false, null]);
    await take(response);
    assertEquals(disposed.splice(0), ["second", "first"]);
    const { message } = session;
    const why = signal.reason;
    assertInstanceOf(why, ConnectionClosedError);
    // Whatever comes now is too late.
    session.close(new Error("again"));
    assertEquals([session.message, signal.reason === why], [message, true]);
  });
  const failing = toFetchHandler((_request, session) => {
    keep(session);
    throw new Error("thrown on purpose");
  });
  await rejectionOf(failing(new Request("http://a/")), "an exception");
  assertEquals(disposed, ["second", "first"]);
  assertInstanceOf(sessions.at(-1)?.signal.reason, ConnectionClosedError);
});

Deno.test("an error while a session is disposed of affects neither the response nor the rest", async (t) => {
  const answers: [name: string, make: () => ResponseTuple[3], text: string][] = [
    ["no body", () => null, ""],
    ["bytes", () => encoder.encode("hello"), "hello"],
    ["a stream", () => new Body(new Blob(["hello"]).stream(), 5), "hello"],
    ["an exception", () => {
      throw new Error("of the application");
    }, "Error: of the application"],
  ];
  await eachRow(t, answers, async (_name, make, text) => {
    const disposed: string[] = [];
    const logger = new RecordingLogger();
    const handler = toFetchHandler((_request, session) => {
      for (const name of ["first", "second"]) {
        session.store.set(name, {
          [Symbol.dispose]() {
            disposed.push(name);
            throw new Error("thrown on purpose");
          },
        });
      }
      return [200, "OK", {}, make()];
    }, { logger });
    const answer = handler(new Request("http://a/")).then((response) => response.text(), String);
    assertEquals([await answer, disposed], [text, ["second", "first"]]);
    for (const message of await logger.waitFor("error")) {
      assertStringIncludes(message, "session.store: Error: thrown on purpose");
    }
  });
});

Deno.test("the rest of a request's body after an error is dropped after the response", async () => {
  let left: Body | null = null;
  await using server = serveWithDeno(async ({ body }) => {
    left = body as Body;
    await left.read(3);
    return [400, "Bad Request", {}, new BodyIter(rest(left), 5)];
  });
  async function* rest(body: Body) {
    yield await body.read(5);
  }
  using peer = await RawPeer.connect(server.address);
  await peer.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\nIt says hello");
  assertStringIncludes(await peer.readPreamble(), "HTTP/1.1 400 ");
  assertEquals(await peer.readExactly(5), "says ");
  const error = await rejectionOf(left!.read(), "what is left");
  assertInstanceOf(error, BodyError);
  assertEquals(server.errors, []);
});
