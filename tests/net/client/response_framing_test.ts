/** The end of a response for a client (RFC 9112 §6.3): without framing, without a body, of HTTP/1.0. */
import { once } from "node:events";
import * as net from "node:net";
import type * as tls from "node:tls";
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import {
  BodyError,
  type ChunkedBody,
  ConnectionClosedError,
  ProtocolError,
  type Response,
} from "@degu/degu/base";
import {
  Client,
  type ClientOptions,
  Connection,
  ConnectionError,
  ConnectionPool,
  isTransient,
} from "@degu/degu/client";
import type { Method } from "@degu/degu/base";
import { connect } from "./connected.ts";
import { assertProtocolRejection, catchRejection } from "@degu/testing/expectations.ts";
import { connectThrough } from "../../apps/proxies.ts";
import { RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { openSharedPki, readTexts, serveNodeTls, serveRaw } from "@degu/testing/tls_endpoints.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { createFetch, ProxyApp, type Requester } from "@degu/degu";
import { serve } from "@degu/testing/serving.ts";

const HEAD = "HTTP/1.1 200 OK\r\nx: y\r\n\r\n";
const EMPTY = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

function unframedBodyOf(response: Response): ChunkedBody {
  const { body } = response;
  assert(body !== null && body.chunked, "the body is chunked");
  assertEquals(body.endsWithConnection, true);
  return body;
}

/** Connects, responds without framing, and returns the response. */
async function receiveUnframed(text: string, options?: ClientOptions) {
  const pair = await connect(options);
  const response = await pair.answer(HEAD + text);
  return {
    ...pair,
    response,
    body: unframedBodyOf(response),
    [Symbol.dispose]: () => void pair[Symbol.dispose](),
  };
}

/** Responds to one request, and resets its connection when the promise resolves. */
async function serveReset(bytes: string, resetPromise: Promise<unknown>) {
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.write(bytes));
    resetPromise.then(() => socket.resetAndDestroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  return {
    address: ["127.0.0.1", port] as const,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      await withTimeout(closed, "node:net closes");
    },
  };
}

// ───────────────────────── the end of the body

const READS: Readonly<Record<string, (body: ChunkedBody) => Promise<string>>> = {
  text: (body) => body.text(),
  readChunk: async (body) => {
    let text = "";
    for (;;) {
      const [extension, data] = await body.readChunk();
      assertEquals(extension, null);
      if (data.length === 0) return text;
      text += new TextDecoder("latin1").decode(data);
    }
  },
  iteration: async (body) => {
    let text = "";
    for await (const [, data] of body) text += new TextDecoder("latin1").decode(data);
    return text;
  },
  readable: (body) => new globalThis.Response(body.readable).text(),
};

Deno.test("a body without framing has all bytes up to the end of the connection, which is not used again", async (t) => {
  const texts = ["", "hello", EMPTY, "5\r\nhello\r\n0\r\n\r\n", "x".repeat(3_000_000)];
  for (const [label, read] of Object.entries(READS)) {
    for (const text of texts) {
      await t.step(`${label}, ${text.length} bytes`, async () => {
        using pair = await connect();
        const responding = pair.conn.get("/");
        await pair.peer.respond(HEAD);
        const response = await responding;
        const reading = read(unframedBodyOf(response));
        await pair.peer.send(text);
        await pair.peer.closeWrite();
        assertEquals(await reading === text, true);
        assertEquals(pair.conn.closed, true);
        await pair.peer.assertClosedSilently();
      });
    }
  }
});

Deno.test("only the end of the connection ends a body without framing, however its bytes arrive", async () => {
  const bytes = HEAD + "hello";
  for (let at = 0; at <= bytes.length; at++) {
    using pair = await connect();
    const result = pair.conn.get("/").then((response) => unframedBodyOf(response).text());
    result.catch(() => {});
    await pair.peer.respond(...bytes.slice(0, at));
    await pair.peer.closeWrite();
    if (at >= HEAD.length) {
      assertEquals(await result, bytes.slice(HEAD.length, at));
      continue;
    }
    const codes = [at === 0 ? "EMPTY_PREAMBLE" : "PREAMBLE_INCOMPLETE"];
    await assertProtocolRejection(result, codes, `cut after ${at} bytes`);
  }
});

Deno.test("a reset that a write of the request reports is not the end of a body without framing", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  await using server = await serveReset(HEAD + "half", promise);
  using conn = await new Client(server.address, { timeout: 60 }).connect();
  const resumed = Promise.withResolvers<void>();
  async function* makePieces() {
    yield "x";
    await resumed.promise;
    // The system reports the reset to one of these writes, and then the end to reads.
    for (let i = 0; i < 3; i++) yield "x";
  }
  const body = unframedBodyOf(await conn.put("/", {}, makePieces(), { duplex: "full" }));
  resolve();
  await waitForTick();
  resumed.resolve();
  await conn.requestSent;
  await assertProtocolRejection(body.text(), ["BODY_INCOMPLETE"], "a body that was reset");
});

Deno.test("a reset within a body without framing is BODY_INCOMPLETE, and transient", async (t) => {
  for (const text of ["", "hello"]) {
    for (const isPending of [false, true]) {
      await t.step(
        `after ${text.length} bytes, ${isPending ? "during" : "before"} a read`,
        async () => {
          const { promise, resolve } = Promise.withResolvers<void>();
          await using server = await serveReset(HEAD + text, promise);
          using conn = await new Client(server.address, { timeout: 60 }).connect();
          const body = unframedBodyOf(await conn.get("/"));
          if (!isPending) resolve();
          const reading = catchRejection(body.text(), "a body that is reset");
          resolve();
          const error = await reading;
          assertInstanceOf(error, ConnectionError);
          assertEquals([error.code, isTransient(error)], ["BODY_INCOMPLETE", true]);
          assert(error.message.includes("reset"), error.message);
          assertEquals(conn.closed, true);
        },
      );
    }
  }
});

// ───────────────────────── the connection

Deno.test("after a body without framing, a request fails with the reason; before its end, the body is unread", async () => {
  using pair = await receiveUnframed("hello");
  await assertRejects(() => pair.conn.get("/"), BodyError, "has not been read to its end");
  await pair.peer.closeWrite();
  assertEquals(await pair.body.text(), "hello");
  const error = await assertRejects(() => pair.conn.get("/"), ConnectionClosedError);
  assert(!error.message.includes("had connection: close"), error.message);
  assert(error.message.includes("the server's last response"), error.message);
});

Deno.test("a body without framing whose connection stays open ends with a time-out", async () => {
  for (const text of ["", "hello"]) {
    using pair = await receiveUnframed(text, { timeout: 0.3 });
    const error = await assertRejects(() => pair.body.text(), ConnectionError);
    assertEquals(error.fault, "timed out");
    assertEquals(pair.conn.closed, true);
  }
});

Deno.test("with unframedNull a response without framing has no body, and bytes after it are refused", async () => {
  using pair = await connect({ unframedNull: true });
  for (let i = 0; i < 2; i++) assertEquals((await pair.answer(HEAD)).body, null);
  assertEquals(pair.conn.closed, false);
  await assertProtocolRejection(pair.answer(HEAD + "hello"), ["UNFRAMED_BODY"], "a body");
  assertEquals(pair.conn.closed, true);
});

// ───────────────────────── uploads, bridges, TLS

for (const duplex of ["half", "full"] as const) {
  Deno.test(`duplex ${duplex}: a response without framing that ends during an upload ends the upload`, async () => {
    using pair = await connect();
    let cancelCount = 0;
    const upload = new ReadableStream<Uint8Array>({ cancel: () => void cancelCount++ });
    const result = pair.conn.put("/", {}, upload, { duplex }).then((response) => response.text());
    await pair.peer.respond(HEAD + "hello");
    await pair.peer.closeWrite();
    assertEquals(await withTimeout(result, "the response ends", 20), "hello");
    await pair.peer.readToEnd();
    assertEquals([cancelCount, pair.conn.closed], [1, true]);
  });
}

/** Responds without framing, and ends the connection or keeps it open. */
function respondOverTls(end: "end" | "open") {
  return (socket: tls.TLSSocket) => {
    socket.once("data", () => {
      socket.write(HEAD + "hello", () => {
        if (end === "end") socket.end();
      });
    });
  };
}

Deno.test("over TLS a response without framing is UNFRAMED_BODY, and closes the connection", async (t) => {
  const pki = await openSharedPki();
  for (const end of ["end", "open"] as const) {
    await t.step(end, async () => {
      await using server = await serveRaw(pki, respondOverTls(end));
      using conn = await server.client.connect();
      const error = await assertRejects(() => conn.get("/"), ProtocolError);
      assertEquals(error.code, "UNFRAMED_BODY");
      assert(error.message.includes("(status 200)"), error.message);
      assert(error.message.includes("over TLS"), error.message);
      assertEquals(conn.closed, true);
    });
  }
});

Deno.test("over a connection of Deno.connectTls, the end of a response without framing is told from a cut", async (t) => {
  const pki = await openSharedPki();
  const { ca } = await readTexts(pki.clientSslconfig);
  const serverTexts = await readTexts(pki.serverSslconfig);
  for (const end of ["a close_notify", "a cut"] as const) {
    await t.step(end, async () => {
      await using server = await serveNodeTls(serverTexts, (socket) => {
        socket.once("data", () => {
          socket.write(HEAD + "hello", () => {
            if (end === "a cut") socket.destroy();
            else socket.end();
          });
        });
      });
      const [hostname, port] = server.address;
      const sock = await Deno.connectTls({ hostname, port, caCerts: [ca] });
      using conn = new Connection(sock, null, undefined, 60);
      const body = unframedBodyOf(await conn.get("/"));
      if (end === "a cut") await assertRejects(() => body.text(), ConnectionError);
      else assertEquals(await body.text(), "hello");
      assertEquals(conn.closed, true);
    });
  }
});

// ───────────────────────── responses without a body

const FORGED = "HTTP/1.1 200 Forged\r\ncontent-length: 0\r\n\r\n";

/** Responses, whether another response can follow, and the framing headers that remain. */
const BODILESS_ROWS: readonly (readonly [
  lines: string,
  method: Method,
  isReused: boolean,
  headers: Record<string, unknown>,
])[] = [
  ["204 No Content", "GET", true, {}],
  ["204 No Content\r\ncontent-length: 0", "GET", true, {}],
  ["204 No Content\r\ncontent-length: 00", "PUT", true, {}],
  [`204 No Content\r\ncontent-length: ${FORGED.length}`, "GET", false, {}],
  ["204 No Content\r\ncontent-length: 5", "HEAD", false, {}],
  ["204 No Content\r\ntransfer-encoding: chunked", "GET", false, {}],
  ["204 No Content\r\ntransfer-encoding: chunked", "DELETE", false, {}],
  ["304 Not Modified", "GET", true, {}],
  ["304 Not Modified\r\ncontent-length: 0", "GET", true, { "content-length": 0 }],
  [`304 Not Modified\r\ncontent-length: 43`, "GET", true, { "content-length": 43 }],
  ["304 Not Modified\r\ntransfer-encoding: chunked", "GET", true, {
    "transfer-encoding": "chunked",
  }],
  ["200 OK\r\ncontent-length: 43", "HEAD", true, { "content-length": 43 }],
  ["200 OK\r\ntransfer-encoding: chunked", "HEAD", true, { "transfer-encoding": "chunked" }],
  ["205 Reset Content", "GET", false, {}],
  ["205 Reset Content\r\ncontent-length: 0", "POST", true, {}],
];

Deno.test("204 and 304 have no body whatever their headers announce; after a 204 with content, or a 205 without framing, the connection is closed", async (t) => {
  await testEachRow(t, BODILESS_ROWS, async (lines, method, isReused, headers) => {
    using pair = await connect();
    const responding = pair.conn.request(method, "/", {}, null);
    await pair.peer.respond(`HTTP/1.1 ${lines}\r\n\r\n`);
    const response = await responding;
    assertEquals(response.body, null);
    assertEquals({ ...response.headers }, headers);
    assertEquals(pair.conn.closed, !isReused);
    if (isReused) {
      assertEquals((await pair.answer(EMPTY)).status, 200);
    } else {
      await pair.peer.assertClosedSilently();
      const error = await assertRejects(() => pair.conn.get("/"), ConnectionClosedError);
      assert(!error.message.includes("had connection: close"), error.message);
    }
  });
});

Deno.test("bytes after a response without a body are never the next response", async (t) => {
  await testEachRow(t, BODILESS_ROWS, async (lines, method, isReused, _headers) => {
    for (const isOnePiece of [true, false]) {
      using pair = await connect();
      const responding = pair.conn.request(method, "/", {}, null);
      const preamble = `HTTP/1.1 ${lines}\r\n\r\n`;
      await pair.peer.respond(isOnePiece ? preamble + FORGED : preamble);
      assertEquals((await responding).body, null);
      if (!isReused) {
        await assertRejects(() => pair.conn.get("/"), ConnectionClosedError);
        continue;
      }
      if (!isOnePiece) await pair.peer.send(FORGED);
      await waitForTick();
      await assertProtocolRejection(pair.conn.get("/"), ["EXCESS_BYTES"], "the next request");
    }
  });
});

Deno.test("ProxyApp forwards a 204 that announces content without these headers", async () => {
  await using pair = await connectThrough();
  for (
    const framing of [
      "content-length: 5\r\n\r\nhello",
      "transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ]
  ) {
    await pair.clientPeer.send("GET / HTTP/1.1\r\n\r\n");
    await pair.upstream.respond(`HTTP/1.1 204 No Content\r\nx: y\r\n${framing}`);
    assertEquals(await pair.clientPeer.readPreamble(), "HTTP/1.1 204 No Content\r\nx: y\r\n\r\n");
  }
});

// ───────────────────────── HTTP/1.0

Deno.test("a response of HTTP/1.0 is read, and its connection is closed, also with keep-alive", async (t) => {
  const rows: readonly (readonly [lines: string, body: string | null])[] = [
    ["200 OK\r\ncontent-length: 5\r\n\r\nhello", "hello"],
    ["200 OK\r\nConnection: Keep-Alive\r\ncontent-length: 5\r\n\r\nhello", "hello"],
    [
      "200 OK\r\nconnection: keep-alive\r\nkeep-alive: timeout=5\r\ncontent-length: 0\r\n\r\n",
      null,
    ],
    ["204 No Content\r\nconnection: keep-alive\r\n\r\n", null],
    ["304 Not Modified\r\ncontent-length: 5\r\n\r\n", null],
    ["404 File not found\r\ncontent-length: 2\r\n\r\nno", "no"],
    ["205 Reset Content\r\n\r\n", null],
  ];
  await testEachRow(t, rows, async (lines, expected) => {
    for (const suffix of ["", FORGED]) {
      using pair = await connect();
      const { body } = await pair.answer(`HTTP/1.0 ${lines}${suffix}`);
      assertEquals(body === null ? null : await body.text(), expected);
      assertEquals(pair.conn.closed, true);
      await pair.peer.assertClosedSilently();
      const error = await assertRejects(() => pair.conn.get("/"), ConnectionClosedError);
      assert(!error.message.includes("had connection: close"), error.message);
    }
  });
});

Deno.test("a response of HTTP/1.0 with transfer-encoding, and another version, are refused", async (t) => {
  const rows: readonly (readonly [bytes: string, code: string])[] = [
    ["HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "BAD_TRANSFER_ENCODING"],
    ["HTTP/1.0 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n0\r\n\r\n", "BAD_TRANSFER_ENCODING"],
    ["HTTP/1.0 204 OK\r\ntransfer-encoding: chunked\r\n\r\n", "BAD_TRANSFER_ENCODING"],
    ["HTTP/1.0 200 OK\r\ntransfer-encoding: identity\r\n\r\n", "BAD_TRANSFER_ENCODING"],
    [
      "HTTP/1.0 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
      "CONFLICTING_HEADERS",
    ],
    ["HTTP/1.2 200 OK\r\ncontent-length: 0\r\n\r\n", "BAD_STATUS_LINE"],
    ["HTTP/0.9 200 OK\r\ncontent-length: 0\r\n\r\n", "BAD_STATUS_LINE"],
    ["HTTP/1 200 OK\r\ncontent-length: 0\r\n\r\n", "BAD_STATUS_LINE"],
    ["HTTP/1.00 200 OK\r\ncontent-length: 0\r\n\r\n", "BAD_STATUS_LINE"],
    ["http/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", "BAD_STATUS_LINE"],
    ["ICY 200 OK\r\n\r\n", "BAD_STATUS_LINE"],
  ];
  for (const [bytes, code] of rows) {
    await t.step(JSON.stringify(bytes), async () => {
      using pair = await connect();
      await assertProtocolRejection(pair.answer(bytes), [code], bytes);
      assertEquals(pair.conn.closed, true);
    });
  }
});

Deno.test("two responses without framing at once, over a pool, have their own bytes", async () => {
  using server = new RawServer();
  await using pool = new ConnectionPool(new Client(server.address, { host: null, timeout: 60 }));
  const responding = [pool.get("/a"), pool.get("/b")];
  const peers = [await server.accept(), await server.accept()];
  const uris = [];
  for (const peer of peers) uris.push((await peer.respond(HEAD)).split(" ")[1]!);
  for (const text of ["1", "2"]) {
    for (const [i, peer] of peers.entries()) await peer.send(uris[i]! + text);
  }
  for (const peer of peers) await peer.closeWrite();
  const texts = await Promise.all(responding.map(async (response) => (await response).text()));
  assertEquals(texts, ["/a1/a2", "/b1/b2"]);
});

// ───────────────────────── late bytes

const FORGED_WITH_BODY = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
const ACCOUNT = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\naccount";

/** Responds to `/file` without framing, and sends a forged response after the delay. */
async function serveAttack(delay: number) {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    let isLate = false;
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      if (isLate) return;
      if (!String(bytes).includes("/file")) return void socket.write(ACCOUNT);
      isLate = true;
      socket.write(HEAD);
      const timer = setTimeout(() => socket.end(FORGED_WITH_BODY), delay);
      socket.on("close", () => clearTimeout(timer));
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  return {
    address: ["127.0.0.1", port] as const,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      const closed = once(server, "close");
      server.close();
      await withTimeout(closed, "node:net closes");
    },
  };
}

/** Reads a resource for a user. */
type GetText = (uri: string) => Promise<string>;

const makeGet = (requester: Requester): GetText => async (uri) =>
  await (await requester.request("GET", uri, {}, null)).text();

/** The ways in which two users share a connection. */
const SHARED: Record<string, (client: Client, stack: AsyncDisposableStack) => Promise<GetText>> = {
  "a pool": (client, stack) =>
    Promise.resolve(makeGet(stack.use(new ConnectionPool(client, { maxConnections: 1 })))),
  "a ProxyApp": (client, stack) => {
    const { address } = stack.use(serve(stack.use(new ProxyApp(client))));
    return Promise.resolve(makeGet(new Client(address)));
  },
  "a ProxyApp over a connection": async (client, stack) => {
    const conn = stack.use(await client.connect());
    const proxy = new ProxyApp({ request: (...args) => conn.request(...args) });
    return makeGet(new Client(stack.use(serve(proxy)).address));
  },
  "createFetch over a connection": async (client, stack) => {
    const fetch = createFetch(stack.use(await client.connect()));
    return async (uri) => await (await fetch(uri)).text();
  },
};

for (const unframedNull of [false, true]) {
  const option = unframedNull ? ", with unframedNull" : "";
  Deno.test(`late bytes of a response without framing are not the response to another request${option}`, async (t) => {
    for (const [way, open] of Object.entries(SHARED)) {
      for (const delay of [0, 5, 50]) {
        await t.step(`${way}, after ${delay} ms`, async () => {
          await using upstream = await serveAttack(delay);
          const tries = Array.from({ length: 4 }, async () => {
            await using stack = new AsyncDisposableStack();
            const client = new Client(upstream.address, { unframedNull, timeout: 60 });
            const get = await open(client, stack);
            await get("/file").catch(String);
            return await get("/account").catch(String);
          });
          const responses = await withTimeout(Promise.all(tries), "all tries end");
          assertEquals(responses.filter((response) => response.includes("forged")), []);
          // If the second request uses a new connection, it gets the right response.
          if (way !== "a pool" && way !== "a ProxyApp") return;
          assertEquals(responses, Array(4).fill("account"));
        });
      }
    }
  });
}
