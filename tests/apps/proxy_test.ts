/** ProxyApp: messages and headers that it relays. */
import {
  ConnectionPool,
  type Connector,
  json,
  ProxyApp,
  reply,
  type Request,
  type Requester,
  routes,
  type Session,
  wrapApp,
} from "@degu/degu";
import type { HeadersToSend } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { callApp, mkreq } from "@degu/degu/misc";
import { formatChunk, formatRequest, formatResponse } from "../base/messages.ts";
import * as arbitrary from "../base/arbitraries.ts";
import { assertTypeError, catchRejection, constructWith } from "@degu/testing/expectations.ts";
import { connectThrough, relayRequestHeaders, removeHopByHop, REQUESTS } from "./proxies.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { concat } from "@degu/testing/streams.ts";
import { decodeLatin1, respellReferenceUri } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";

// ProxyApp relays messages unchanged, except for headers of a single connection.

// ───────────────────────── unchanged messages

const OK = "HTTP/1.1 200 OK";

/** The response of a server to a method. */
const RESPONSES: readonly (readonly [method: string, response: string])[] = [
  ["GET", "HTTP/1.1 299 Any reason  at all\r\na: b\r\ncontent-length: 0\r\nserver: it\r\n\r\n"],
  // The reason may be empty, or have any character.
  ["GET", "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n"],
  ["GET", "HTTP/1.1 404 Ce n'est pas (trouv\xe9)\t\x80\xff!\r\ncontent-length: 0\r\n\r\n"],
  [
    "GET",
    `${OK}\r\ncontent-length: 0\r\nset-cookie: a=b\r\nset-cookie: c=d, e\r\nset-cookie: \r\n\r\n`,
  ],
  [
    "GET",
    `${OK}\r\n!#$: a\r\n__proto__: b\r\ncontent-length: 0\r\next: \r\nx_user: caf\xe9\t\x80\xff\r\n\r\n`,
  ],
  ["GET", "HTTP/1.1 206 xx\r\ncontent-length: 3\r\ncontent-range: bytes 2-4/*\r\n\r\nabc"],
  ["GET", "HTTP/1.1 409 xx\r\ncontent-length: 0\r\ncontent-range: bytes */3\r\n\r\n"],
  [
    "GET",
    `${OK}\r\ntransfer-encoding: chunked\r\n\r\n` +
    "1;a=b\r\nx\r\nff\r\n" + "y".repeat(255) + "\r\n0;c=d\r\n\r\n",
  ],
  ["GET", "HTTP/1.1 204 No Content\r\n\r\n"],
  ["GET", 'HTTP/1.1 304 Not Modified\r\ncontent-length: 500\r\netag: "a-b"\r\n\r\n'],
  ["HEAD", `${OK}\r\ncontent-length: 500\r\n\r\n`],
  ["HEAD", `${OK}\r\n\r\n`],
  ["HEAD", `${OK}\r\ntransfer-encoding: chunked\r\n\r\n`],
  ["HEAD", "HTTP/1.1 204 No Content\r\n\r\n"],
  ["HEAD", "HTTP/1.1 304 Not Modified\r\ncontent-length: 500\r\n\r\n"],
];

/** Requests besides {@linkcode REQUESTS}. */
const OTHER_REQUESTS: readonly string[] = [
  "GET /foo HTTP/1.1\r\nrange: bytes=-3\r\n\r\n",
  "HEAD /foo HTTP/1.1\r\nrange: items=0-1, 3\r\n\r\n",
  "GET / HTTP/1.1\r\ncookie: a=b; c=d\r\nx-empty: \r\nx-latin1: caf\xe9\t\x80\xff\r\n\r\n",
];

/** Returns the message with a `connection` header that names the headers that must stay. */
function nameEndToEndHeaders(message: string): string {
  const names = "content-length, transfer-encoding, Content-Range, range, Host, x-one";
  return message.replace("\r\n", `\r\nconnection: ${names}\r\nx-one: 1\r\n`);
}

Deno.test("ProxyApp relays each message byte by byte, even if connection names its host or framing", async (t) => {
  const exchanges = [
    ...[...REQUESTS, ...OTHER_REQUESTS].map((request) =>
      [request, `${OK}\r\ncontent-length: 0\r\n\r\n`] as const
    ),
    ...RESPONSES.map(([method, text]) => [`${method} / HTTP/1.1\r\n\r\n`, text] as const),
  ];
  for (const [request, response] of exchanges) {
    for (const change of [String, nameEndToEndHeaders]) {
      await t.step(`${change.name} ${JSON.stringify([request, response])}`, async () => {
        await using chain = await connectThrough();
        await chain.clientPeer.send(change(request));
        const upstreamPeer = await chain.upstream.accept();
        assertEquals(await upstreamPeer.readExactly(request.length), request);
        await upstreamPeer.send(change(response));
        assertEquals(await chain.clientPeer.readExactly(response.length), response);
        assertEquals([upstreamPeer.text, chain.clientPeer.text], ["", ""]);
      });
    }
  }
});

/** A body on the wire: of known length, which may be 0, or in chunks, with the header that it sets. */
const wireBody = fc.oneof(
  fc.uint8Array({ maxLength: 300 }).map((bytes) => ({
    headers: { "content-length": bytes.length },
    bytes,
  })),
  arbitrary.chunks.map((chunks) => ({
    headers: { "transfer-encoding": "chunked" },
    bytes: concat(chunks.map(formatChunk)),
  })),
);

Deno.test("ProxyApp changes no byte of any exchange but the spelling of the path", async () => {
  await using chain = await connectThrough();
  let upstreamPeer: RawPeer | null = null;
  await fc.assert(
    fc.asyncProperty(
      arbitrary.uri,
      arbitrary.plainHeaders.map(relayRequestHeaders),
      wireBody,
      fc.integer({ min: 200, max: 399 }).filter((status) => status !== 204 && status !== 304),
      arbitrary.reason,
      arbitrary.plainHeaders.map(removeHopByHop),
      wireBody,
      async (uri, requestHeaders, upload, status, reason, responseHeaders, download) => {
        const request = decodeLatin1(concat([
          formatRequest("PUT", uri, { ...requestHeaders, ...upload.headers }),
          upload.bytes,
        ]));
        const response = decodeLatin1(concat([
          formatResponse(status, reason, { ...responseHeaders, ...download.headers }),
          download.bytes,
        ]));
        await chain.clientPeer.send(request);
        upstreamPeer ??= await chain.upstream.accept();
        const forwarded = request.replace(uri, () => respellReferenceUri(uri));
        assertEquals(await upstreamPeer.readExactly(forwarded.length), forwarded);
        await upstreamPeer.send(response);
        assertEquals(await chain.clientPeer.readExactly(response.length), response);
        assertEquals([upstreamPeer.text, chain.clientPeer.text], ["", ""]);
      },
    ),
    { numRuns: 100 },
  );
});

Deno.test("ProxyApp removes the path components that were shifted to mount", async () => {
  await using upstream = serve(({ uri }) => [200, "OK", { uri }, null]);
  await using app = new ProxyApp(upstream.makeClient());
  await using proxy = serve((request, session) => {
    request.shiftPath();
    return app.handle(request, session);
  });
  const client = proxy.makeClient();
  const cases = {
    "/": "/",
    "/foo/": "/",
    "/foo/bar/?a=b": "/bar/?a=b",
    "/a%20b/%c3%bc/%252e%252e": "/%C3%BC/%252e%252e",
  };
  for (const [uri, relayed] of Object.entries(cases)) {
    assertEquals((await client.request("GET", uri)).headers["uri"], relayed, uri);
  }
});

Deno.test("routes and ProxyApp see a path without its components ., and so does the upstream", async (t) => {
  await using upstream = serve(({ uri }) => reply(200, uri));
  await using app = new ProxyApp(upstream.makeClient());
  await using proxy = serve(routes({ "/secret/": () => reply(403, "secret"), "/": app }));
  const rows: [target: string, expected: string][] = [
    ["/.", "/"],
    ["/./.?/./", "/?/./"],
    ["/a/./b?c", "/a/b?c"],
    ["/./secret/a", "secret"],
    ["/secret/.", "secret"],
    ["http://a/./secret/./a", "secret"],
  ];
  await testEachRow(t, rows, async (target, expected) => {
    using peer = await RawPeer.connect(proxy.address);
    await peer.send(`GET ${target} HTTP/1.1\r\nconnection: close\r\n\r\n`);
    const { received } = await peer.readToEnd();
    assertEquals(received.split("\r\n\r\n")[1], expected);
  });
});

Deno.test("the headers that ProxyApp adds reach the server, also if connection names them", async () => {
  await using upstream = serve(({ headers }) => json(headers));
  const makeAddedHeaders = ({ uri }: Request, { address }: Session) => ({
    "x-real-ip": `${address?.[0]} ${uri}`,
    authorization: undefined,
  });
  await using proxy = serve(
    new ProxyApp(upstream.makeClient({ host: null }), { headers: makeAddedHeaders }),
  );
  const client = proxy.makeClient({ host: null });
  const sent = [
    {},
    { "x-real-ip": "forged", authorization: "secret" },
    { connection: "x-real-ip, x-mine", "x-mine": "1", "x-real-ip": "forged" },
  ];
  for (const headers of sent) {
    const response = await client.request("GET", "/a", { ...headers, "x-kept": "2" });
    assertEquals(await response.json(), { "x-real-ip": "127.0.0.1 /a", "x-kept": "2" });
  }
});

/** A client, and wrappers that a program may put between the client and its proxy. */
const UPSTREAMS: readonly (readonly [
  label: string,
  wrap: (client: Client) => Requester | Connector,
])[] = [
  ["a client", (client) => client],
  ["a pool of a client", (client) => new ConnectionPool(client)],
  ["an object that connects by a client", (client) => ({ connect: () => client.connect() })],
  [
    "an object that adds a header",
    (client) => ({
      request: (method, uri, headers, ...rest) =>
        client.request(method, uri, { ...headers, "x-added": "1" }, ...rest),
    }),
  ],
];

Deno.test("headers of the client replace the request's headers, and the headers that ProxyApp adds replace both", async (t) => {
  await using upstream = serve(({ headers: { "x-added": _added, ...otherHeaders } }) =>
    json(otherHeaders)
  );
  const headers = { "x-user": "proxy", "x-role": "none", "x-key": "a" };
  const client = upstream.makeClient({ host: null, authorization: "mine", headers });
  const authorization = "mine";
  const makeAddedHeaders = () => ({ "x-role": "reader", "x-key": undefined });
  await testEachRow(t, UPSTREAMS, async (_label, wrap) => {
    for (const options of [{}, { headers: makeAddedHeaders }]) {
      const target = wrap(client);
      await using proxy = serve(new ProxyApp(target, options));
      const ownHeaders = options.headers?.() ?? { "x-role": "none", "x-key": "a" };
      const expected = JSON.parse(
        JSON.stringify({ authorization, "x-user": "proxy", ...ownHeaders }),
      );
      const requests: HeadersToSend[] = [
        {},
        { "x-user": "admin", "x-role": "admin", "x-key": "b", authorization: "stolen" },
        { connection: "x-user, x-role", "x-user": "admin" },
        { "X-USER": "admin" },
      ];
      using peer = await RawPeer.connect(proxy.address);
      for (const request of requests) {
        const lines = Object.entries(request).map(([name, value]) => `${name}: ${value}\r\n`);
        await peer.send(`GET / HTTP/1.1\r\n${lines.join("")}x-other: 1\r\n\r\n`);
        const response = await peer.readUntil("}");
        const received = JSON.parse(response.slice(response.indexOf("{")));
        assertEquals(received, { ...expected, "x-other": "1" });
      }
      await (target as Partial<AsyncDisposable>)[Symbol.asyncDispose]?.();
    }
  });
});

Deno.test("invalid options.headers of ProxyApp is an error of the app", async () => {
  await using upstream = serve(() => [200, "OK", {}, null]);
  const invalidHeaders: (() => unknown)[] = [
    () => ({ "X-Upper": "1" }),
    () => 5,
    () => Promise.resolve({ "X-Upper": "1" }),
    () => {
      throw new RangeError("a mistake");
    },
  ];
  for (const headers of invalidHeaders) {
    await using app = constructWith(ProxyApp, upstream.makeClient(), { headers }) as ProxyApp;
    const error = await catchRejection(callApp(app, mkreq("GET", "/")), `${headers}`);
    assert(error instanceof TypeError || error instanceof RangeError, `${headers}: ${error}`);
  }
});

// ───────────────────────── arguments

Deno.test("ProxyApp refuses arguments of a wrong type", () => {
  const client = new Client(["127.0.0.1", 1]);
  for (const value of [undefined, ["127.0.0.1", 1], { connect: 5 }]) {
    assertTypeError(() => constructWith(ProxyApp, value), Deno.inspect(value));
  }
  for (const options of [null, { log: console }, { logger: {} }, { headers: {} }, { signal: {} }]) {
    assertTypeError(() => constructWith(ProxyApp, client, options), Deno.inspect(options));
  }
});

Deno.test("the connection of a client can't remove headers that with() has set, in front of a proxy", async (t) => {
  const rows: readonly (readonly [connection: string, kept: string, isLast: boolean])[] = [
    ["x-user", "none", false],
    ["X-User", "none", false],
    ["keep-alive, x-user", "keep-alive", false],
    ["close, x-user, x-other", "close", true],
    ["Close,X-User", "close", true],
    ["close", "close", true],
  ];
  await testEachRow(t, rows, async (connection, kept, isLast) => {
    await using upstream = serve(({ headers }) => reply(200, `${headers["x-user"]}`));
    await using proxyApp = new ProxyApp(upstream.makeClient());
    const connections: (string | undefined)[] = [];
    const addUser = wrapApp(proxyApp, (next, request) => {
      const copy = request.with({ headers: { ...request.headers, "x-user": "anna" } });
      connections.push(copy.headers["connection"]);
      // The copy of a copy has the headers of the program as well.
      return next(copy.with({ path: copy.path }).with({ headers: { ...copy.headers } }));
    });
    await using proxy = serve(addUser);
    const headers = { connection, "x-user": "mallory", "x-other": "1" };
    const response = await proxy.makeClient().request("GET", "/", headers);
    assertEquals(await response.text(), "anna");
    assertEquals(connections, [kept === "none" ? undefined : kept]);
    assertEquals(response.headers["connection"], isLast ? "close" : undefined);
  });
});

Deno.test("the connection of a client can't remove headers by a second with(), or in other letters", async () => {
  await using upstream = serve(({ headers }) => reply(200, `${headers["x-user"]}`));
  await using proxyApp = new ProxyApp(upstream.makeClient());
  const ways: ((request: Request) => Request)[] = [
    (request) => {
      const { headers } = request;
      const copy = request.with({ headers: { ...headers, cookie: undefined } });
      return copy.with({ headers: { ...headers, "x-user": "anna" } });
    },
    (request) => {
      const connection = `${request.headers["connection"]}`.toLowerCase();
      return request.with({ headers: { ...request.headers, connection, "x-user": "anna" } });
    },
  ];
  for (const copyOf of ways) {
    await using proxy = serve(wrapApp(proxyApp, (next, request) => next(copyOf(request))));
    const response = await proxy.makeClient().request("GET", "/", { connection: "X-User" });
    assertEquals(await response.text(), "anna");
  }
});

Deno.test("a connection that the program itself sets with with() removes the headers that it names", async () => {
  await using upstream = serve(({ headers }) => reply(200, `${headers["x-a"]} ${headers["x-b"]}`));
  await using proxyApp = new ProxyApp(upstream.makeClient());
  const dropA = wrapApp(proxyApp, (next, request) => {
    return next(request.with({ headers: { ...request.headers, connection: "x-a" } }));
  });
  await using proxy = serve(dropA);
  const headers = { connection: "x-b", "x-a": "1", "x-b": "2" };
  const response = await proxy.makeClient().request("GET", "/", headers);
  assertEquals(await response.text(), "undefined 2");
});

// ProxyApp: headers of a single connection are not forwarded (RFC 9110 §7.6.1).

/** Header lines that a proxy drops, and lines of the same message that it forwards. */
const LINES: readonly (readonly [label: string, dropped: string, kept?: string])[] = [
  ["nothing", "", "a: b"],
  ["a connection that is kept", "connection: keep-alive|keep-alive: timeout=5, max=9"],
  ["a connection that is closed", "connection: close", "a: b"],
  [
    "an upgrade",
    "connection: Upgrade, HTTP2-Settings|http2-settings: AA|upgrade: h2c",
    "accept: */*",
  ],
  ["an upgrade that connection does not name", "upgrade: websocket"],
  ["te", "connection: te|te: trailers, deflate;q=0.5"],
  ["te that connection does not name", "te: trailers"],
  ["trailer", "trailer: expires"],
  ["an expectation", "expect: 100-continue"],
  ["proxy authentication", 'proxy-authenticate: Basic realm="a"|proxy-authorization: Basic YTpi'],
  ["other headers of proxies", "proxy-connection: keep-alive|proxy-status: a"],
  ["headers that connection names", "connection: X-1 ,x-2,, close , x-4|x-1: 1|x-2: 2", "x-3: 3"],
  [
    "authorization and constructor, if connection names them",
    "authorization: Basic YTpi|connection: Authorization,constructor|constructor: b",
  ],
  [
    "elements of connection that are not tokens",
    'connection: "a", (b), c;d=e, *',
    "a: 1|b: 2|c: 3",
  ],
  [
    "names that resemble these headers",
    "",
    "close: a|connection-x: b|proxy: a|tea: a|upgrade-insecure-requests: 1|via: 1.1 a|x-expect: a",
  ],
];

Deno.test("ProxyApp does not forward connection-specific headers, in either direction", async (t) => {
  const splitLines = (text: string) => text === "" ? [] : text.split("|");
  const makeMessage = (line: string, headers: readonly string[]) =>
    [line, ...headers, "", ""].join("\r\n");
  await testEachRow(t, LINES, async (_label, dropped, forwarded = "") => {
    const [droppedLines, forwardedLines] = [splitLines(dropped), splitLines(forwarded)];
    await using chain = await connectThrough();
    await chain.clientPeer.send(
      makeMessage("DELETE / HTTP/1.1", [...droppedLines, ...forwardedLines]),
    );
    const upstreamPeer = await chain.upstream.accept();
    assertEquals(
      await upstreamPeer.readPreamble(),
      makeMessage("DELETE / HTTP/1.1", forwardedLines),
    );
    await upstreamPeer.send(
      makeMessage("HTTP/1.1 204 No Content", [...droppedLines, ...forwardedLines]),
    );
    // The proxy ends the session if its client has sent connection: close.
    const isLast = /^connection: (.*[ ,])?close( *,|\||$)/i.test(dropped);
    const lines = isLast ? [...forwardedLines, "connection: close"].toSorted() : forwardedLines;
    assertEquals(
      await chain.clientPeer.readPreamble(),
      makeMessage("HTTP/1.1 204 No Content", lines),
    );
  });
});

Deno.test("an upstream that sends connection: close gets no other request, and the session continues", async (t) => {
  for (const connection of ["close", "Close", "keep-alive, CLOSE"]) {
    for (const body of ["content-length: 0\r\n\r\n", "content-length: 5\r\n\r\nhello"]) {
      await t.step(`connection: ${connection} and ${JSON.stringify(body)}`, async () => {
        await using chain = await connectThrough();
        const upload = "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nworld";
        for (let i = 0; i < 3; i++) {
          await chain.clientPeer.send(upload);
          // Each request uses a new connection.
          const upstreamPeer = await chain.upstream.accept();
          assertEquals(await upstreamPeer.readExactly(upload.length), upload);
          // This server announces the close without closing.
          await upstreamPeer.send(`HTTP/1.1 200 OK\r\nconnection: ${connection}\r\n${body}`);
          const expected = `HTTP/1.1 200 OK\r\n${body}`;
          assertEquals(await chain.clientPeer.readExactly(expected.length), expected);
        }
        assertEquals(chain.clientPeer.text, "");
      });
    }
  }
});
