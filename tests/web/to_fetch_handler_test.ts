/** toFetchHandler: requests to an app under Deno.serve, and from elsewhere. */
import {
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { type ChunkedBody, ChunkedBodyIter, Range, type ResponseTuple } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import type { AppFunction, Session, Socket } from "@degu/degu/server";
import { toFetchHandler } from "@degu/degu";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { type DenoServing, serveWithDeno } from "@degu/testing/web_serving.ts";

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

async function exchange(server: DenoServing, request: string): Promise<string> {
  using peer = await RawPeer.connect(server.address);
  await peer.send(request);
  const preamble = await peer.readPreamble();
  const length = /content-length: (\d+)/i.exec(preamble)?.[1] ?? "0";
  return preamble + await peer.readExactly(Number(length));
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
      const [, body = ""] = (await exchange(server, request)).split("\r\n\r\n", 2);
      const seen: Record<string, unknown> = JSON.parse(body);
      for (const [name, value] of Object.entries(expected)) assertEquals(seen[name], value, name);
    });
  }
  assertEquals(server.errors, []);
});

Deno.test("what our own server would refuse is answered with 400 or 501", async (t) => {
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
      const response = await exchange(server, request);
      assertStringIncludes(response, `HTTP/1.1 ${status} `);
      assertStringIncludes(response, said);
    });
  }
  assertEquals([calls, server.errors], [0, []]);
});

Deno.test("a request that did not arrive over a connection is converted, too", async (t) => {
  const tell = async (request: Request) => await (await toFetchHandler(tellingApp)(request)).json();
  const url = "http://device.local:81/a?b#c";
  await t.step("host is taken from the URL", async () => {
    const seen = await tell(new Request(url));
    assertEquals([seen.uri, seen.headers], ["/a?b", { host: "device.local:81" }]);
  });
  await t.step("host is not taken from the URL if the headers have one", async () => {
    const headers = { host: "Device.local:81" };
    assertEquals((await tell(new Request(url, { headers }))).headers, headers);
  });
  await t.step("a URL without a path", async () => {
    const { uri, query } = await tell(new Request("http://a?b"));
    assertEquals([uri, query], ["/?b", "b"]);
  });
  await t.step("a body without a length is chunked", async () => {
    const { kind, text, headers } = await tell(new Request(url, { method: "PUT", body: "hello" }));
    assertEquals([kind, text, headers["transfer-encoding"]], ["chunked", "hello", "chunked"]);
  });
  await t.step("an empty body is none", async () => {
    assertEquals((await tell(new Request(url, { method: "PUT", body: "" }))).kind, null);
  });
  await t.step("a chunked body that is null is empty", async () => {
    const headers = { "transfer-encoding": "chunked" };
    const { kind, text } = await tell(new Request(url, { method: "PUT", headers }));
    assertEquals([kind, text], ["chunked", ""]);
  });
  await t.step("a body larger than a chunk", async () => {
    const app: AppFunction = async (request) => {
      const lengths: number[] = [];
      for await (const [, data] of request.body as ChunkedBody) lengths.push(data.length);
      return [200, "OK", {}, encoder.encode(JSON.stringify(lengths))];
    };
    const body = new Uint8Array(16777217);
    const response = await toFetchHandler(app)(new Request(url, { method: "PUT", body }));
    assertEquals(await response.json(), [16777216, 1, 0]);
  });
  await t.step("a body with DELETE is refused", async () => {
    const request = new Request(url, { method: "DELETE", body: "hello" });
    assertEquals((await toFetchHandler(tellingApp)(request)).status, 400);
  });
  await t.step("a body that is shorter than its length fails", async () => {
    const headers = { "content-length": "9" };
    const request = new Request(url, { method: "PUT", headers, body: "hello" });
    await assertRejects(() => toFetchHandler(tellingApp)(request), Error, "4 bytes before");
  });
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

Deno.test("a client of ours works with an app under Deno.serve", async () => {
  await using server = serveWithDeno(tellingApp);
  using conn = await new Client(server.address, { host: "device.local" }).connect();
  for (let i = 0; i < 3; i++) {
    const response = await conn.put(
      "/a",
      {},
      new ChunkedBodyIter([[null, encoder.encode("hi")], [null, new Uint8Array(0)]]),
    );
    const seen = await response.body?.json() as Record<string, unknown>;
    assertEquals([seen["uri"], seen["text"]], ["/a", "hi"]);
  }
});

Deno.test("toFetchHandler requires an app", () => {
  for (const app of [undefined, null, {}, { fetch() {} }, "app"]) {
    assertThrows(() => Reflect.apply(toFetchHandler, undefined, [app]), TypeError, "app: must");
  }
});
