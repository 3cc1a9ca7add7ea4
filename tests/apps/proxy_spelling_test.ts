/** ProxyApp: what it changes in messages that have several valid spellings, and what it drops. */
import { formatLabel } from "@degu/testing/expectations.ts";
import { connectThrough, serveProxy } from "./proxies.ts";
import { paddedCodings } from "../base/wire/chunk.rows.ts";
import { formatErrorResponse } from "../net/server/error_answers.ts";
import { exchange, RawPeer, RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals } from "@std/assert";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { type App, Client, ConnectionPool, type Connector, ProxyApp, routes } from "@degu/degu";
import type { Address } from "@degu/degu/base";
import { createTempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";

const OK = "HTTP/1.1 200 OK\r\n";
const CHUNKED = "transfer-encoding: chunked\r\n";

// ───────────────────────── headers

/** Names of all tokens (RFC 9110 §5.6.2), in the order in which they are sent. */
const OTHER_NAMES = ["!#$%&'*+.^`|~", "__proto__", "x.user", "x_user", "~"];

Deno.test("ProxyApp forwards only names of letters, digits and - in requests, and each name in responses", async () => {
  const lines = OTHER_NAMES.map((name) => `${name}: 1\r\n`).join("");
  await using chain = await connectThrough();
  const { clientPeer } = chain;
  await clientPeer.send(`GET / HTTP/1.1\r\nX_USER: 2\r\n${lines}X-User1: 3\r\n\r\n`);
  const upstreamPeer = await chain.upstream.accept();
  assertEquals(await upstreamPeer.readPreamble(), "GET / HTTP/1.1\r\nx-user1: 3\r\n\r\n");
  const response = `${OK}${lines}content-length: 0\r\n\r\n`;
  await upstreamPeer.send(response);
  const preamble = await clientPeer.readPreamble();
  assertEquals(preamble.split("\r\n").toSorted(), response.split("\r\n").toSorted());
});

Deno.test("the headers of the client of a proxy may have any name, and replace those of the request", async () => {
  using upstream = new RawServer();
  await using proxy = serveProxy(upstream.address, { headers: { x_key: "client" } });
  using clientPeer = await RawPeer.connect(proxy.address);
  await clientPeer.send("GET / HTTP/1.1\r\nx_key: forged\r\n\r\n");
  const upstreamPeer = await upstream.accept();
  assertEquals(await upstreamPeer.readPreamble(), "GET / HTTP/1.1\r\nx_key: client\r\n\r\n");
});

/** Header lines as they are received, and as ProxyApp sends them in requests and in responses. */
const HEADER_LINES: readonly (readonly [received: string, sent: string, response?: string])[] = [
  ["A:b", "a: b"],
  ["a: \t b \t", "a: b"],
  ["a:", "a: "],
  ["a: \xa0\xff\xa0", "a: \xa0\xff\xa0"],
  ["a: b|c: d|A:e", "a: b, e|c: d", "a: b|a: e|c: d"],
  ["a:|a: b|a:", "a: b", "a: |a: b|a: "],
];

Deno.test("ProxyApp sends one spelling of each header, in both directions, and a response keeps its lines", async (t) => {
  const toLines = (text: string) => text.split("|").map((line) => `${line}\r\n`).join("");
  for (const [received, sent, sentResponse = sent] of HEADER_LINES) {
    await t.step(formatLabel(received), async () => {
      await using chain = await connectThrough();
      await chain.clientPeer.send(`DELETE / HTTP/1.1\r\n${toLines(received)}\r\n`);
      const upstreamPeer = await chain.upstream.accept();
      assertEquals(
        await upstreamPeer.readPreamble(),
        `DELETE / HTTP/1.1\r\n${toLines(sent)}\r\n`,
      );
      await upstreamPeer.send(`HTTP/1.1 204 x\r\n${toLines(received)}\r\n`);
      assertEquals(
        await chain.clientPeer.readPreamble(),
        `HTTP/1.1 204 x\r\n${toLines(sentResponse)}\r\n`,
      );
    });
  }
});

/** Header lines of a request as they are received, and as ProxyApp sends them. */
const REQUEST_LINES: readonly (readonly [received: string, sent: string])[] = [
  ["cookie: a=b|cookie: c=d", "cookie: a=b; c=d"],
  ["range: BYTES=00-04", "range: bytes=0-4"],
  // Several ranges are left out, so the response has the whole representation.
  ["a: b|range: bytes=0-1,3-4", "a: b"],
  ["range: Items=0-1", "range: Items=0-1"],
  ["host: [fe80::1%eth0]:80", "host: [fe80::1%eth0]:80"],
  ["host:", "host: "],
];

Deno.test("ProxyApp sends one spelling of each header of a request", async (t) => {
  const toLines = (text: string) => text.split("|").map((line) => `${line}\r\n`).join("");
  await testEachRow(t, REQUEST_LINES, async (received, sent) => {
    await using chain = await connectThrough();
    await chain.clientPeer.send(`GET / HTTP/1.1\r\n${toLines(received)}\r\n`);
    const upstreamPeer = await chain.upstream.accept();
    assertEquals(await upstreamPeer.readPreamble(), `GET / HTTP/1.1\r\n${toLines(sent)}\r\n`);
  });
});

/** The beginning of a request as it is received, and as ProxyApp sends it. */
const REQUEST_STARTS: readonly (readonly [received: string, sent: string])[] = [
  ["\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"],
  ["GET http://b:81/c?d HTTP/1.1\r\nhost: a\r\n\r\n", "GET /c?d HTTP/1.1\r\nhost: b:81\r\n\r\n"],
  ["GET http://b?c HTTP/1.1\r\n\r\n", "GET /?c HTTP/1.1\r\nhost: b\r\n\r\n"],
  ["GET /./a/./?b HTTP/1.1\r\n\r\n", "GET /a/?b HTTP/1.1\r\n\r\n"],
  ["GET /a HTTP/1.0\r\nhost: a\r\n\r\n", "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"],
  [
    "GET / HTTP/1.0\r\nconnection: keep-alive\r\nhost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
  ],
];

Deno.test("ProxyApp sends one spelling of each request line", async (t) => {
  await testEachRow(t, REQUEST_STARTS, async (received, sent) => {
    await using chain = await connectThrough();
    await chain.clientPeer.send(received);
    const upstreamPeer = await chain.upstream.accept();
    assertEquals(await upstreamPeer.readPreamble(), sent);
  });
});

// ───────────────────────── chunks

/** Chunked bodies as they are received, and as ProxyApp sends them. */
const CHUNKS: readonly (readonly [received: string, sent: string])[] = [
  ["5|hello|0||", "5|hello|0||"],
  // The size.
  ["0005|hello|000||", "5|hello|0||"],
  [`${"0".repeat(4000)}5|hello|0||`, "5|hello|0||"],
  ["00A;b=C|0123456789|00;D=e||", "a;b=C|0123456789|0;D=e||"],
  ["A|0123456789|0||", "a|0123456789|0||"],
  ["F;b=C|0123456789abcde|0||", "f;b=C|0123456789abcde|0||"],
  // One extension whose value is a token is kept, others are dropped.
  ["5;a=b|hello|0;c=d||", "5;a=b|hello|0;c=d||"],
  ["5;!#$%&'*+-.^_`~=!#$%&'*+-.^_`~|hello|0||", "5;!#$%&'*+-.^_`~=!#$%&'*+-.^_`~|hello|0||"],
  ["5 ; a = b|hello|0\t;\tc\t=\td||", "5;a=b|hello|0;c=d||"],
  ['5;a="b"|hello|0;c="\\"";d=e||', "5|hello|0||"],
  ["5;a=b;c=d|hello|0;e=f;e=g||", "5|hello|0||"],
  ['5;a="";b="c;d=e";f|hello|0||', "5|hello|0||"],
  ['5;a="\x80\xff\t \\\xff"|hello|0||', "5|hello|0||"],
  // The lines of the trailer are dropped.
  ["5|hello|0;a=b|c:d|E: f \t|__proto__:|x_user: \xff||", "5|hello|0;a=b||"],
  ["0|content-length: 5|transfer-encoding: chunked|host: a|host: b||", "0||"],
  [`0|${"a: b|".repeat(128)}|`, "0||"],
];

Deno.test("ProxyApp sends one spelling of each chunk header, and no trailer, in both directions, whole and in pieces", async (t) => {
  const toWire = (text: string) => text.replaceAll("|", "\r\n");
  const sendBytewise = async (peer: RawPeer, text: string) => {
    for (const character of text) await peer.send(character);
  };
  for (const [received, sent] of CHUNKS) {
    for (const isBytewise of received.length < 100 ? [false, true] : [false]) {
      await t.step(`${formatLabel(received)} ${isBytewise ? "by byte" : "whole"}`, async () => {
        const send = isBytewise ? sendBytewise : (peer: RawPeer, text: string) => peer.send(text);
        await using chain = await connectThrough();
        await chain.clientPeer.send(`POST / HTTP/1.1\r\n${CHUNKED}\r\n`);
        await send(chain.clientPeer, toWire(received));
        const upstreamPeer = await chain.upstream.accept();
        const request = `POST / HTTP/1.1\r\n${CHUNKED}\r\n${toWire(sent)}`;
        assertEquals(await upstreamPeer.readExactly(request.length), request);
        await upstreamPeer.send(`${OK}${CHUNKED}\r\n`);
        await send(upstreamPeer, toWire(received));
        const response = `${OK}${CHUNKED}\r\n${toWire(sent)}`;
        assertEquals(await chain.clientPeer.readExactly(response.length), response);
        // The connections are in step: the next exchange begins with its first byte.
        await chain.clientPeer.send("GET /next HTTP/1.1\r\n\r\n");
        assertEquals(await upstreamPeer.readPreamble(), "GET /next HTTP/1.1\r\n\r\n");
        await upstreamPeer.send("HTTP/1.1 204 Next\r\n\r\n");
        assertEquals(await chain.clientPeer.readPreamble(), "HTTP/1.1 204 Next\r\n\r\n");
      });
    }
  }
});

Deno.test("ProxyApp drops the white space after the chunk headers of a response, and a server refuses it in a request", async () => {
  for (const received of paddedCodings) {
    for (const isBytewise of received.length < 100 ? [false, true] : [false]) {
      await using chain = await connectThrough();
      await chain.clientPeer.send("GET / HTTP/1.1\r\n\r\n");
      const upstreamPeer = await chain.upstream.accept();
      await upstreamPeer.readPreamble();
      await upstreamPeer.send(`${OK}${CHUNKED}\r\n`, ...(isBytewise ? received : [received]));
      const extension = received.includes("k=v") ? ";k=v" : "";
      const response = `${OK}${CHUNKED}\r\n5${extension}\r\nhello\r\n0\r\n\r\n`;
      assertEquals(await chain.clientPeer.readExactly(response.length), response);
    }
    await using serving = serve(async (request) => [200, "OK", {}, await request.text()]);
    const request = `POST / HTTP/1.1\r\n${CHUNKED}\r\n${received}`;
    const { received: answer } = await exchange(serving.address, request);
    assertEquals(answer, formatErrorResponse(400), received);
  }
});

const MIB = 1048576;
const LARGE_CHUNK_BYTES = 20 * MIB;

Deno.test("a chunk larger than 16 MiB passes through ProxyApp no faster than it is read", async (t) => {
  const header = `${LARGE_CHUNK_BYTES.toString(16)};a=b\r\n`;
  const end = "\r\n0\r\n\r\n";
  const pieceText = "x".repeat(MIB);
  const piece = encodeLatin1(pieceText);
  /** Sends the chunk to one peer, and reads it from the other after the sender has stalled. */
  const pass = async (sender: RawPeer, receiver: RawPeer) => {
    let sentPieces = 0;
    const send = async () => {
      await sender.send(header);
      for (; sentPieces < LARGE_CHUNK_BYTES / MIB; sentPieces++) await sender.send(piece);
      await sender.send(end);
    };
    const sent = send();
    assertEquals(await receiver.readExactly(header.length), header);
    for (let quietTicks = 0, previousCount = -1; quietTicks < 100; quietTicks++) {
      if (sentPieces !== previousCount) quietTicks = 0;
      previousCount = sentPieces;
      await waitForTick();
    }
    // The proxy, and the sockets of both connections, take less than 4 MiB.
    assert(sentPieces < 8, `${sentPieces} MiB were sent before one was read`);
    for (let i = 0; i < LARGE_CHUNK_BYTES / MIB; i++) {
      const text = await receiver.readExactly(MIB);
      assert(text === pieceText, "other bytes");
    }
    assertEquals(await receiver.readExactly(end.length), end);
    await withTimeout(sent, "the chunk is sent");
  };
  await using dir = await createTempDir();
  // The kernel's buffers of a TCP connection can grow to more than the chunk.
  await using chain = await connectThrough({}, dir.path);
  const { clientPeer } = chain;
  const request = `POST / HTTP/1.1\r\n${CHUNKED}\r\n`;
  await clientPeer.send(request);
  const upstreamPeer = await chain.upstream.accept();
  assertEquals(await upstreamPeer.readExactly(request.length), request);
  await t.step("request", () => pass(clientPeer, upstreamPeer));
  await upstreamPeer.send(`${OK}${CHUNKED}\r\n`);
  await clientPeer.readPreamble();
  await t.step("response", () => pass(upstreamPeer, clientPeer));
});

// ───────────────────────── responses without framing, of HTTP/1.0, and interim responses

/** Responses after which the upstream closes, and what the client gets. */
const LAST_RESPONSES: readonly (readonly [name: string, sent: string, relayed: string])[] = [
  [
    "a body that ends with the connection",
    `${OK}\r\nhello`,
    `${OK}${CHUNKED}\r\n5\r\nhello\r\n0\r\n\r\n`,
  ],
  ["no byte of such a body", `${OK}\r\n`, `${OK}${CHUNKED}\r\n0\r\n\r\n`],
  [
    "HTTP/1.0",
    "HTTP/1.0 200 OK\r\na:b\r\n\r\nhello",
    `${OK}a: b\r\n${CHUNKED}\r\n5\r\nhello\r\n0\r\n\r\n`,
  ],
  [
    "HTTP/1.0 with a length",
    "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    `${OK}content-length: 5\r\n\r\nhello`,
  ],
  [
    "HTTP/1.0 that would keep the connection",
    "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello",
    `${OK}content-length: 5\r\n\r\nhello`,
  ],
  ["a 204 of HTTP/1.0", "HTTP/1.0 204 No\r\n\r\n", "HTTP/1.1 204 No\r\n\r\n"],
  [
    "a 204 that announces content",
    "HTTP/1.1 204 No\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 204 No\r\n\r\n",
  ],
  ["a 204 in chunks", `HTTP/1.1 204 No\r\n${CHUNKED}\r\n0\r\n\r\n`, "HTTP/1.1 204 No\r\n\r\n"],
];

Deno.test("a response that ends with its connection is relayed whole, and the session of the client continues", async (t) => {
  await testEachRow(t, LAST_RESPONSES, async (_name, sent, relayed) => {
    await using chain = await connectThrough();
    for (let i = 0; i < 2; i++) {
      await chain.clientPeer.send(`GET /${i} HTTP/1.1\r\n\r\n`);
      // Each request uses a new connection.
      const upstreamPeer = await chain.upstream.accept();
      assertEquals(await upstreamPeer.readPreamble(), `GET /${i} HTTP/1.1\r\n\r\n`);
      await upstreamPeer.send(sent);
      await upstreamPeer.closeWrite();
      assertEquals(await chain.clientPeer.readExactly(relayed.length), relayed);
    }
    assertEquals(chain.clientPeer.text, "");
  });
});

Deno.test("a body that ends with a reset of the connection has no end through ProxyApp", async () => {
  // `Deno.Conn.close()` ends a connection in order, also if it resets the connection then.
  const accepted = Promise.withResolvers<Socket>();
  const upstream = createServer(accepted.resolve);
  await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
  try {
    await using proxy = serveProxy(["127.0.0.1", (upstream.address() as AddressInfo).port]);
    using clientPeer = await RawPeer.connect(proxy.address, "GET / HTTP/1.1\r\n\r\n");
    const socket = await withTimeout(accepted.promise, "the proxy connects");
    socket.write(`${OK}\r\nhello`);
    const received = await clientPeer.readUntil("hello\r\n");
    assertEquals(received, `${OK}${CHUNKED}\r\n5\r\nhello\r\n`);
    socket.resetAndDestroy();
    await clientPeer.assertClosedSilently();
  } finally {
    await new Promise((resolve) => upstream.close(resolve));
  }
});

/** Requests of HTTP/1.0, a response of the upstream, and what the client gets. */
const HTTP10_RESPONSES: readonly (readonly [name: string, sent: string, relayed: string])[] = [
  [
    "a length",
    `${OK}content-length: 5\r\n\r\nhello`,
    `${OK}connection: close\r\ncontent-length: 5\r\n\r\nhello`,
  ],
  [
    "chunks",
    `${OK}${CHUNKED}\r\n5\r\nhello\r\n0\r\n\r\n`,
    `${OK}connection: close\r\n\r\nhello`,
  ],
  ["neither", `${OK}\r\nhello`, `${OK}connection: close\r\n\r\nhello`],
];

Deno.test("a client of HTTP/1.0 gets no chunks through ProxyApp, and its session ends", async (t) => {
  await testEachRow(t, HTTP10_RESPONSES, async (_name, sent, relayed) => {
    await using chain = await connectThrough();
    await chain.clientPeer.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
    const upstreamPeer = await chain.upstream.accept();
    assertEquals(await upstreamPeer.readPreamble(), "GET / HTTP/1.1\r\n\r\n");
    await upstreamPeer.send(sent);
    await upstreamPeer.closeWrite();
    assertEquals(await chain.clientPeer.readToEnd(), { received: relayed, kind: "end" });
  });
});

// ProxyApp: locations of the upstream in responses.

/** Responds with the header `target` of the request as `location` and `content-location`. */
const app: App = ({ headers }) => {
  const location = `${headers["target"]}`;
  return [201, "Created", { location, "content-location": location }, null];
};

/** `UP` is the origin of the upstream. */
const ROWS: readonly (readonly [location: string, mapped: string])[] = [
  // A path at the upstream.
  ["/", "/m%20n/o/"],
  ["/a?b#c", "/m%20n/o/a?b#c"],
  ["/a%20b/%c3%bc", "/m%20n/o/a%20b/%c3%bc"],
  ["UP/a?b#c", "/m%20n/o/a?b#c"],
  // Resolved against the URL of the request.
  ["", ""],
  ["a", "a"],
  ["#a", "#a"],
  // Another origin.
  ["//other/a", "//other/a"],
  ["http://other/a", "http://other/a"],
  ["UP.other/a", "UP.other/a"],
  ["UP1/a", "UP1/a"],
  ["UP@other/a", "UP@other/a"],
  // Browsers read these as `//other/a`.
  ["/\\other/a", "/\\other/a"],
  ["/\t/other/a", "/\t/other/a"],
  ["/\t\t\\other/a", "/\t\t\\other/a"],
  ["UP//other/a", "UP//other/a"],
  ["UP/\\other/a", "UP/\\other/a"],
  ["UP/\t/other/a", "UP/\t/other/a"],
];

Deno.test("a location and a content-location at the upstream get the mount of the request", async (t) => {
  await using upstream = serve(app);
  const client = upstream.makeClient();
  const origin = `http://${client.host}`;
  await using proxyApp = new ProxyApp(client);
  const mounted = routes({ "/m%20n/o/": proxyApp });
  await using proxy = serve(mounted);
  await using outerProxyApp = new ProxyApp(proxy.makeClient());
  await using outerProxy = serve(routes({ "/x/": outerProxyApp }));
  await testEachRow(t, ROWS, async (location, mapped) => {
    const [target, expected] = [location, mapped].map((text) => text.replace("UP", origin));
    const headers = { target: target! };
    const response = await proxy.makeClient().request("GET", "/m%20n/o/a", headers);
    const outerResponse = await outerProxy.makeClient().request("GET", "/x/m%20n/o/a", headers);
    for (const name of ["location", "content-location"]) {
      assertEquals(response.headers[name], expected, name);
      const isMapped = expected!.startsWith("/m");
      assertEquals(outerResponse.headers[name], isMapped ? `/x${expected}` : expected, name);
    }
  });
});

Deno.test("without a mount, only the origin of the upstream is removed from a location", async () => {
  await using upstream = serve(app);
  const client = upstream.makeClient();
  await using proxyApp = new ProxyApp(client);
  await using proxy = serve(proxyApp);
  const rows = [
    ["/a", "/a"],
    [`http://${client.host}/a`, "/a"],
    // Without the origin, browsers would read these as `//other/a`.
    ...["//other/a", "/\\other/a", "/\t/other/a"].map((path) => {
      const location = `http://${client.host}${path}`;
      return [location, location];
    }),
    ["http://other/a", "http://other/a"],
  ];
  for (const [target, expected] of rows) {
    const { headers } = await proxy.makeClient().request("GET", "/", { target: target! });
    assertEquals([headers["location"], headers["content-location"]], [expected, expected]);
  }
});

Deno.test("the origin of the upstream is known over each kind of address and client", async (t) => {
  await using dir = await createTempDir();
  type Row = [name: string, address: Address, host: string | undefined, origin: string | null];
  const rows: Row[] = [
    ["TCP", ["127.0.0.1", 0], undefined, "http://HOST"],
    ["IPv6", ["::1", 0], undefined, "http://HOST"],
    ["a name", ["127.0.0.1", 0], "device.local:81", "http://device.local:81"],
    ["a Unix socket", `${dir.path}/socket`, undefined, null],
    ["a Unix socket with a host", `${dir.path}/socket2`, "localhost", "http://localhost"],
  ];
  for (const [name, address, host, originText] of rows) {
    await t.step(name, async () => {
      await using upstream = serve(app, { hosts: "any" }, address);
      const client = new Client(upstream.address, host === undefined ? {} : { host });
      const origin = originText?.replace("HOST", `${client.host}`) ?? "http://localhost";
      await using pool = new ConnectionPool(client);
      using connection = await client.connect();
      const connector: Connector = { connect: (options) => client.connect(options) };
      for (const requester of [client, pool, connection, connector]) {
        await using proxyApp = new ProxyApp(requester);
        await using proxy = serve(routes({ "/m/": proxyApp }));
        const get = async (target: string) =>
          (await proxy.makeClient().request("GET", "/m/", { target })).headers["location"];
        assertEquals(await get("/a"), "/m/a");
        const isKnown = originText !== null && requester !== connector;
        assertEquals(await get(`${origin}/a`), isKnown ? "/m/a" : `${origin}/a`);
      }
    });
  }
});
