/** toFetchHandler: requests, responses, sessions, and what it refuses. */
import { toFetchHandler } from "@degu/degu";
import {
  Body,
  BodyError,
  BodyIter,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
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

Deno.test("an app sees the same request as under our own server", async (t) => {
  const host = "host: a\r\n";
  const rows: [request: string, expected: Record<string, unknown>][] = [
    [`GET / HTTP/1.1\r\n${host}\r\n`, { method: "GET", uri: "/", path: [], query: null }],
    [`GET /a/b/?c=%20 HTTP/1.1\r\n${host}\r\n`, {
      uri: "/a/b/?c=%20",
      path: ["a", "b", ""],
      query: "c=%20",
    }],
    [`GET /a? HTTP/1.1\r\n${host}\r\n`, { uri: "/a?", path: ["a"], query: "" }],
    [`GET /./a/... HTTP/1.1\r\n${host}\r\n`, { uri: "/./a/...", path: [".", "a", "..."] }],
    [`DELETE /a HTTP/1.1\r\n${host}\r\n`, { method: "DELETE", kind: null }],
    [
      `GET / HTTP/1.1\r\n${host}X-Thing: One\r\nRange: bytes=2-4\r\n\r\n`,
      { headers: { host: "a", "x-thing": "One", range: "bytes=2-4" } },
    ],
    [`POST / HTTP/1.1\r\n${host}\r\n`, { method: "POST", kind: null, headers: { host: "a" } }],
    [
      `POST / HTTP/1.1\r\n${host}content-length: 0\r\n\r\n`,
      { kind: 0, text: "", headers: { host: "a", "content-length": 0 } },
    ],
    [
      `PUT / HTTP/1.1\r\n${host}content-length: 5\r\n\r\nhello`,
      { method: "PUT", kind: 5, text: "hello", headers: { host: "a", "content-length": 5 } },
    ],
    [
      `PUT / HTTP/1.1\r\n${host}transfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n`,
      { kind: "chunked", text: "abc", headers: { host: "a", "transfer-encoding": "chunked" } },
    ],
    [
      `PUT / HTTP/1.1\r\n${host}transfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
      { kind: "chunked", text: "" },
    ],
  ];
  await using server = serveWithDeno(tellingApp);
  for (const [request, expected] of rows) {
    await t.step(JSON.stringify(request), async () => {
      const seen: Record<string, unknown> = JSON.parse((await askOnce(server, request)).text);
      for (const [name, value] of Object.entries(expected)) assertEquals(seen[name], value, name);
    });
  }
  assertEquals(server.errors, []);
});

Deno.test("what our own server would refuse is answered with 400 or 501, and ends its connection", async (t) => {
  let calls = 0;
  await using server = serveWithDeno(() => {
    calls++;
    return [200, "OK", {}, null];
  });
  const host = "host: a\r\n";
  const rows: [request: string, status: number, said: string][] = [
    [`PATCH / HTTP/1.1\r\n${host}\r\n`, 501, '"PATCH"'],
    [`OPTIONS / HTTP/1.1\r\n${host}\r\n`, 501, '"OPTIONS"'],
    [`GET /a/../b HTTP/1.1\r\n${host}\r\n`, 400, '"/a/../b"'],
    [`GET /%41 HTTP/1.1\r\n${host}\r\n`, 400, '"/%41"'],
    [`GET //a HTTP/1.1\r\n${host}\r\n`, 400, '"//a"'],
    [`GET /?a/b HTTP/1.1\r\n${host}\r\n`, 400, '"/?a/b"'],
    [`GET / HTTP/1.1\r\n${host}a: {}\r\n\r\n`, 400, '"{}"'],
    [`GET / HTTP/1.1\r\n${host}a: caf\xe9\r\n\r\n`, 400, "caf"],
    [`GET / HTTP/1.1\r\n${host}a_b: c\r\n\r\n`, 400, '"a_b"'],
    [`GET / HTTP/1.1\r\n${host}a:\r\n\r\n`, 400, '""'],
    [`GET / HTTP/1.1\r\n${host}${"a".repeat(33)}: b\r\n\r\n`, 400, "aaa"],
    [`GET / HTTP/1.1\r\n${host}range: bytes=1-\r\n\r\n`, 400, '"bytes=1-"'],
    [`GET / HTTP/1.1\r\n${host}content-range: bytes 0-0/1\r\n\r\n`, 400, "content-range"],
    [`DELETE / HTTP/1.1\r\n${host}content-length: 1\r\n\r\na`, 400, "content-length"],
    [`GET / HTTP/1.1\r\n${host}${`a: ${"b".repeat(40000)}`}\r\n\r\n`, 400, "32768"],
  ];
  for (const [request, status, said] of rows) {
    await t.step(JSON.stringify(request.slice(0, 60)), async () => {
      const { preamble, text } = await askOnce(server, request);
      assertStringIncludes(preamble, `HTTP/1.1 ${status} `);
      assertStringIncludes(preamble, "\r\nconnection: close\r\n");
      assertStringIncludes(text, said);
    });
  }
  assertEquals([calls, server.errors], [0, []]);
});

Deno.test("a request that did not arrive over a connection is converted, too", async (t) => {
  const put = (body: BodyInit, headers: HeadersInit = {}) => ({ method: "PUT", body, headers });
  const host = { host: "Device.local:81" };
  const rows: [name: string, url: string, init: RequestInit, expected: Record<string, unknown>][] =
    [
      ["host is taken from the URL", "/a?b#c", {}, {
        uri: "/a?b",
        headers: { host: "device.local:81" },
      }],
      ["but not if the headers have one", "/", { headers: host }, { headers: host }],
      ["a URL without a path", "?b", {}, { uri: "/?b", query: "b" }],
      ["a body without a length is chunked", "/", put("hello"), { kind: "chunked", text: "hello" }],
      ["an empty body is none", "/", put(""), { kind: null }],
      ["a chunked body that is null is empty", "/", {
        method: "PUT",
        headers: { "transfer-encoding": "chunked" },
      }, { kind: "chunked", text: "" }],
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

Deno.test("an app gets the same arguments as from a server", async () => {
  const app: AppFunction = function (this: unknown, request, session, api) {
    assertInstanceOf(request.headers["range"], Range);
    assertEquals([session.requests, session.maxRequests, session.peerCertificate], [0, 1, null]);
    assertEquals(Object.keys(api).toSorted(), [
      "Body",
      "BodyIter",
      "ChunkedBody",
      "ChunkedBodyIter",
      "ContentRange",
      "Range",
    ]);
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
  const posted = await (await fetch(`${server.url}/a?b`, { client, method: "POST", body: body() }))
    .json();
  assertEquals([posted.method, posted.uri, posted.kind, posted.text], [
    "POST",
    "/a?b",
    "chunked",
    "hello",
  ]);
  assertEquals(posted.headers["host"], new URL(server.url).host);
  const got = await (await fetch(`${server.url}/`, { client })).json();
  assertEquals([got.method, got.kind], ["GET", null]);
  const empty = await (await fetch(server.url, { client, method: "POST" })).json();
  assertEquals(empty.kind, 0);
});

// toFetchHandler: how an app's responses are converted.

Deno.test("every kind of body is sent, with its length if it has one", async (t) => {
  const hello = encoder.encode("hello");
  const chunks: Chunk[] = [[null, encoder.encode("he")], [["k", "v"], encoder.encode("llo")], [
    null,
    new Uint8Array(0),
  ]];
  const encoded = "2\r\nhe\r\n3;k=v\r\nllo\r\n0\r\n\r\n";
  const rows: [name: string, make: () => ResponseTuple[3], length: string | null, text: string][] =
    [
      ["null", () => null, "0", ""],
      ["bytes", () => hello, "5", "hello"],
      ["no bytes", () => new Uint8Array(0), "0", ""],
      ["Body", () => new Body(new Blob(["hello"]).stream(), 5), "5", "hello"],
      ["BodyIter", () => new BodyIter([hello.subarray(0, 2), hello.subarray(2)], 5), "5", "hello"],
      ["ChunkedBody", () => new ChunkedBody(new Blob([encoded]).stream()), null, "hello"],
      ["ChunkedBodyIter", () => new ChunkedBodyIter(chunks), null, "hello"],
      [
        "ChunkedBodyIter without data",
        () => new ChunkedBodyIter([[null, new Uint8Array(0)]]),
        null,
        "",
      ],
    ];
  await eachRow(t, rows, async (_name, make, length, text) => {
    await using server = serveWithDeno(() => [201, "Created", { "x-a": "b" }, make()]);
    const response = await fetch(server.url);
    assertEquals([response.status, response.headers.get("x-a")], [201, "b"]);
    assertEquals(response.headers.get("content-length"), length);
    assertEquals(await response.text(), text);
    assertEquals(server.errors, []);
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
      assertEquals(response.body === null, answer[3] === null);
    });
  }
  await t.step("under Deno.serve", async () => {
    await using server = serveWithDeno(() => [200, "OK", { "content-length": 12 }, null]);
    const { headers, body } = await new Client(server.address).request("HEAD", "/");
    assertEquals([headers["content-length"], body], [12, null]);
  });
});

Deno.test("an invalid answer from an app is an error that names it", async (t) => {
  const rows: [name: string, app: (...args: Parameters<AppFunction>) => unknown, said: string][] = [
    ["nothing", () => undefined, "undefined"],
    ["a header's value", () => [200, "OK", { a: "b\r\nc: d" }, null], "b\\r\\nc: d"],
    ["the request's body", (request) => [200, "OK", {}, request.body], "body of the request"],
    ["an unread body", () => [200, "OK", {}, null], "read to its end"],
    ["an exception", () => {
      throw new Error("thrown on purpose");
    }, "thrown on purpose"],
  ];
  await eachRow(t, rows, async (name, app, said) => {
    await using server = serveWithDeno(app as AppFunction);
    const body = /request|unread/.test(name) ? "hello" : "";
    const response = await fetch(server.url, { method: "POST", body });
    assertEquals([response.status, await response.text()], [500, ""]);
    assertStringIncludes(String(server.errors[0]), said);
  });
  await t.step("a body for HEAD", async () => {
    const handler = toFetchHandler(() => [200, "OK", {}, new Uint8Array(1)]);
    const request = new Request("http://a/", { method: "HEAD" });
    assertStringIncludes(String(await rejectionOf(handler(request), "a body to HEAD")), "HEAD");
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

Deno.test("a response with status 205 has no body, in whatever way that is expressed", async (t) => {
  const empty = new TrackedStream<Uint8Array>([]);
  const bodies: [name: string, make: () => ResponseTuple[3]][] = [
    ["null", () => null],
    ["no bytes", () => new Uint8Array(0)],
    ["a body of length 0", () => new Body(empty.stream, 0)],
    ["an iterable of length 0", () => new BodyIter([], 0)],
  ];
  await eachRow(t, bodies, async (_name, make) => {
    const app: AppFunction = () => [205, "Reset Content", { "x-a": "b" }, make()];
    await using server = serveWithDeno(app);
    const response = await fetch(server.url);
    assertEquals([response.status, response.headers.get("x-a")], [205, "b"]);
    assertEquals([response.body, server.errors], [null, []]);
  });
  assertEquals(empty.cancelled.length, 1);
  await t.step("a 205 with bytes is refused, and canceled", async () => {
    const stream = new TrackedStream([encoder.encode("hello")]);
    const handler = toFetchHandler(() => [205, "Reset Content", {}, new Body(stream.stream, 5)]);
    const error = await rejectionOf(handler(new Request("http://a/")), "a body of 205");
    assertStringIncludes(String(error), "205");
    assertEquals(stream.cancelled.length, 1);
  });
});

// toFetchHandler: requests that other servers accept and our own does not, as far as that can be
// detected.

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

Deno.test("no character of a target or a host is truncated to another one", async (t) => {
  const counting = new Counting();
  await using server = serveWithDeno(counting.app);
  const forged = "/admin\u0120HTTP/1.1\u010d\u010ax-user:\u0120root";
  const rows: [name: string, request: string][] = [
    ["a request line and a header in the target", `GET ${forged} HTTP/1.1\r\nhost: a\r\n\r\n`],
    ["a header in the query", `GET /?\u010d\u010ax:\u0120y HTTP/1.1\r\nhost: a\r\n\r\n`],
    ["a header in the host", `GET / HTTP/1.1\r\nhost: a\u010d\u010ax:\u0120y\r\n\r\n`],
    ["a header in a value", `GET / HTTP/1.1\r\nhost: a\r\nx: y\u010d\u010az:\u0120w\r\n\r\n`],
    ["a path in the host", `GET / HTTP/1.1\r\nhost: a/admin\r\n\r\n`],
    ["a fragment in the host", `GET / HTTP/1.1\r\nhost: a/admin#\r\n\r\n`],
    ["a query in the host", `GET /b HTTP/1.1\r\nhost: a?\r\n\r\n`],
  ];
  await eachRow(t, rows, async (_name, request) => {
    assertEquals((await askOnce(server, encoder.encode(request))).status, 400);
    assertEquals(counting.take(), []);
  });
  await t.step("every character with the low byte of an allowed or dangerous one", async () => {
    using peer = await RawPeer.connect(server.address);
    for (let low = 9; low < 0x7f; low++) {
      for (const high of [0x100, 0x200, 0x2100, 0x1f400]) {
        const character = String.fromCodePoint(high + low);
        const request = encoder.encode(`GET /${character} HTTP/1.1\r\nhost: a\r\n\r\n`);
        const { status } = await ask(peer, request);
        assertEquals([status, counting.take()], [400, []], (high + low).toString(16));
      }
    }
  });
  assertEquals(server.errors, []);
});

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

Deno.test("a target with a host other than the header's is refused", async (t) => {
  const counting = new Counting();
  await using server = serveWithDeno(counting.app);
  const rows: [target: string, host: string, let_in: boolean][] = [
    ["http://b/x", "a", false],
    ["http://a:81/x", "a", false],
    ["http://a/x", "a:81", false],
    ["http://u:p@a/x", "a", false],
    ["http://u:p@a/x", "u:p@a", false],
    ["https://a:80/x", "a", false],
    ["http://a:443/x", "a", false],
    ["http://\u212a/x", "k", false],
    ["ftp://a/x", "a", false],
    ["//b/x", "a", false],
    // No handler can tell these from "/x".
    ["http://a/x", "a", true],
    ["http://A/x", "a", true],
    ["http://a:80/x", "A", true],
    ["http://a/x", "a:80", true],
    ["https://a:443/x", "a", true],
    ["http://[::1]:81/x", "[::1]:81", true],
    ["/x", "A:80", true],
  ];
  for (const [target, host, letIn] of rows) {
    await t.step(`${target}, ${host}`, async () => {
      const request = `GET ${target} HTTP/1.1\r\nhost: ${host}\r\n\r\n`;
      const { status } = await askOnce(server, encoder.encode(request));
      assertEquals([status, counting.take()], letIn ? [200, ["/x"]] : [400, []]);
    });
  }
});

Deno.test("a fragment is refused if it was sent, and is not part of the target otherwise", async () => {
  const counting = new Counting();
  await using server = serveWithDeno(counting.app);
  const { status, text } = await askOnce(server, "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n");
  assertEquals([status, counting.take()], [400, []]);
  assertStringIncludes(text, "fragment");
  assertEquals((await toFetchHandler(counting.app)(new Request("http://a/a#b"))).status, 200);
  assertEquals(counting.take(), ["/a"]);
});

Deno.test("an authorization that a server has joined from two is refused", async (t) => {
  const counting = new Counting();
  await using server = serveWithDeno(counting.app);
  const rows: [values: string[], letIn: boolean][] = [
    [["Basic eDp5", "Bearer abc"], false],
    [["Bearer abc", "Bearer def"], false],
    [["Basic eDp5", "Basic eDp5"], false],
    [["bearer abc", "x"], false],
    [["Digest a=b", "Basic eDp5"], false],
    [["Basic eDp5 Bearer abc"], false],
    [["Basic eDp5,"], false],
    [["Basic,Bearer abc"], false],
    [["Basic eDp5=="], true],
    [["bearer  a-b.c_d~e+f/g="], true],
    [["Basic"], true],
    [["Basically a, b"], true],
    [['Digest username="a", realm="basic auth", uri="/"'], true],
  ];
  for (const [values, letIn] of rows) {
    await t.step(values.join(" | "), async () => {
      const lines = values.map((value) => `authorization: ${value}\r\n`).join("");
      const { status, text } = await askOnce(server, `GET / HTTP/1.1\r\nhost: a\r\n${lines}\r\n`);
      assertEquals([status, counting.take().length], letIn ? [200, 1] : [400, 0]);
      // Whoever logs the answer does not log the credentials.
      assertEquals(text.includes("eDp5"), false);
    });
  }
});

Deno.test("any other header may have what looks like several credentials", async () => {
  const counting = new Counting();
  await using server = serveWithDeno(counting.app);
  const request = "GET / HTTP/1.1\r\nhost: a\r\nx-offers: Basic a, Bearer b\r\n\r\n";
  assertEquals((await askOnce(server, request)).status, 200);
  assertEquals(counting.take().length, 1);
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
    assertEquals(disposed, []);
    await take(response);
    assertEquals(disposed.splice(0), ["second", "first"]);
  });
  const failing = toFetchHandler((_request, session) => {
    keep(session);
    throw new Error("thrown on purpose");
  });
  await rejectionOf(failing(new Request("http://a/")), "an exception");
  assertEquals(disposed, ["second", "first"]);
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

Deno.test("a response whose pieces share one buffer arrives whole, with or without a session to end", async () => {
  for (const keeps of [false, true]) {
    const shared = encoder.encode("one-two-three");
    const pieces = [shared.subarray(0, 3), shared.subarray(3, 7), shared.subarray(7)];
    const body: unknown = {
      chunked: true,
      readable: ReadableStream.from(pieces),
      writeTo: () => Promise.reject(new Error("not used")),
      cancel: () => Promise.resolve(),
      async *[Symbol.asyncIterator]() {
        for (const piece of pieces) yield [null, piece];
        yield [null, new Uint8Array(0)];
      },
    };
    const handler = toFetchHandler((_request, session) => {
      if (keeps) session.store.set("kept", { [Symbol.dispose]() {} });
      return [200, "OK", {}, body as ChunkedBody];
    });
    assertEquals(await (await handler(new Request("http://localhost/"))).text(), "one-two-three");
  }
});
