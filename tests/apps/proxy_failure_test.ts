/** ProxyApp: shared and failing connections, clients that leave, event streams, early responses. */
import { openSharedPki } from "@degu/testing/tls_endpoints.ts";
import { formatErrorResponse } from "../net/server/error_answers.ts";
import { type AppFunction, Client, ProxyApp, SSLServer } from "@degu/degu";
import { ConnectionError } from "@degu/degu/base";
import {
  type ClientOptions,
  ConnectionPool,
  type Connector,
  type Requester,
  SSLClient,
} from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { captureIntervals, recordIntervals } from "@degu/testing/clock.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { connectThrough, REQUESTS, serveProxy } from "./proxies.ts";
import { RawPeer, RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import { echo } from "../misc/temp_apps.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";

/** Sends a request through a proxy, and reads its bytes from the connection of `upstreamPeer`. */
async function relayRequest(request: string, options?: ClientOptions) {
  const chain = await connectThrough(options);
  await chain.clientPeer.send(request);
  const upstreamPeer = await chain.upstream.accept();
  assertEquals(await upstreamPeer.readExactly(request.length), request);
  return { ...chain, upstreamPeer };
}

// ProxyApp when one of its connections fails.

const BAD_GATEWAY = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";

// ───────────────────────── failures of the upstream

Deno.test("an upstream that doesn't respond with HTTP causes 502", async (t) => {
  const responses: Record<string, string> = {
    "nothing": "",
    "a part of a preamble": "HTTP/1.1 200 OK\r\nfoo: ",
  };
  await testEachRow(t, Object.entries(responses), async (_label, response) => {
    await using chain = await relayRequest("GET / HTTP/1.1\r\n\r\n");
    const { upstreamPeer } = chain;
    await upstreamPeer.send(response);
    upstreamPeer.close();
    assertEquals(await chain.clientPeer.readPreamble(), BAD_GATEWAY);
    // The session continues.
    await chain.clientPeer.send("GET /next HTTP/1.1\r\n\r\n");
    await chain.upstream.respond("HTTP/1.1 204 No Content\r\n\r\n");
    assertEquals(await chain.clientPeer.readPreamble(), "HTTP/1.1 204 No Content\r\n\r\n");
    assertEquals(chain.proxy.logger.messagesOf("error"), []);
  });
  await t.step("refused by onConnect of the client", async () => {
    await using upstream = serve(echo);
    await using proxy = serveProxy(upstream.address, { onConnect: () => false });
    assertEquals((await proxy.makeClient().request("GET", "/")).status, 502);
  });
});

Deno.test("an upstream to which the proxy can't connect causes 503", async (t) => {
  await using dir = await createTempDir();
  const pki = await openSharedPki();
  await using otherPki = await TempPKI.create();
  const { serverSslconfig } = otherPki;
  await using untrusted = await SSLServer.start(serverSslconfig, ["127.0.0.1", 0], echo, {
    logger: new RecordingLogger(),
  });
  const port = await findUnusedPort();
  const dialError = await catchRejection(new Client(["127.0.0.1", port]).connect(), "connecting");
  const clients: Record<string, Requester | Connector> = {
    "an unused port": new Client(["127.0.0.1", port]),
    "a missing socket": new Client(`${dir.path}/socket`),
    "a name that can't be resolved": new Client(["nothing.invalid", 80]),
    "a dial function whose client can't connect": new Client(["camera.invalid", 80], {
      dial: () => Promise.reject(dialError),
    }),
    "an untrusted server": new SSLClient(pki.clientSslconfig, untrusted.address),
    "a pool": new ConnectionPool(new Client(["127.0.0.1", port])),
  };
  await testEachRow(t, Object.entries(clients), async (_label, client) => {
    await using proxy = serve(new ProxyApp(client));
    const response = await proxy.makeClient().request("PUT", "/", {}, encodeLatin1("hello"));
    assertEquals([response.status, response.reason], [503, "Service Unavailable"]);
    assertEquals(response.body, null);
    const head = await proxy.makeClient().request("HEAD", "/");
    assertEquals([...head], [503, "Service Unavailable", Object.create(null), null]);
  });
});

Deno.test("an upstream that exceeds the timeout causes 504", async (t) => {
  for (const response of ["", "HTTP/1.1 200 OK\r\n"]) {
    await t.step(`after ${JSON.stringify(response)}`, async () => {
      await using chain = await connectThrough({ timeout: 1 });
      await chain.clientPeer.send("PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello");
      const upstreamPeer = await chain.upstream.accept();
      await upstreamPeer.readUntil("hello");
      await upstreamPeer.send(response);
      assertEquals(
        await chain.clientPeer.readPreamble(),
        "HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 0\r\n\r\n",
      );
    });
  }
});

Deno.test("the proxy logs the reason for a 503, and doesn't send it to the client", async () => {
  const logger = new RecordingLogger();
  const unreachable = new Client(["127.0.0.1", await findUnusedPort()]);
  await using proxy = serve(new ProxyApp(unreachable, { logger }));
  using conn = await proxy.makeClient().connect();
  const response = await conn.get("/");
  assertEquals([response.status, { ...response.headers }], [503, {}]);
  const [warning = ""] = logger.messagesOf("warn");
  assertStringIncludes(warning, "could not be relayed: ConnectionError: can't connect");
});

Deno.test("the proxy logs the reason for a 502 in one line, also for errors of a custom client", async () => {
  const errors: readonly unknown[] = [new Error("a\r\nb\x1b[2J"), { toString: () => "a\nb" }, {
    toString: () => {
      throw new Error("no text");
    },
  }];
  for (const error of errors) {
    await using proxy = serve(new ProxyApp({ request: () => Promise.reject(error) }));
    assertEquals((await proxy.makeClient().request("GET", "/")).status, 502);
    const [line = ""] = await proxy.logger.waitFor("info");
    assertMatch(line, /^127\.0\.0\.1:\d+: a request could not be relayed: [\x20-\x7e]+$/);
  }
});

Deno.test("a response that the upstream breaks off is never completed, and isn't logged as an error of the app", async () => {
  const beginnings = [
    "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense",
  ];
  for (const beginning of beginnings) {
    using upstream = new RawServer();
    await using proxy = serveProxy(upstream.address);
    using conn = await proxy.makeClient().connect();
    const responding = conn.get("/");
    const upstreamPeer = await upstream.respond(beginning);
    const { body } = await responding;
    upstreamPeer.close();
    const error = await assertRejects(() => body!.bytes(), ConnectionError);
    assertEquals(error.code, "BODY_INCOMPLETE");
    const [line = ""] = await proxy.logger.waitFor("warn");
    assertStringIncludes(line, ": the source of a response's body broke off: ConnectionError: ");
    assertEquals([line.split("\n").length, proxy.logger.messagesOf("error")], [1, []]);
  }
});

// ───────────────────────── failures of the client

Deno.test("an upload that the client breaks off also breaks off upstream, and gets 400 only if it broke the grammar", async () => {
  const logger = new RecordingLogger();
  using upstream = new RawServer();
  await using proxy = serve(new ProxyApp(new Client(upstream.address), { logger }));
  const endings = ["", "5\r\nworld", "nonsense\r\n"];
  for (const ending of endings) {
    using clientPeer = await RawPeer.connect(proxy.address);
    await clientPeer.send("PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    const upstreamPeer = await upstream.accept();
    await upstreamPeer.readUntil("hello\r\n");
    await clientPeer.send(ending);
    await clientPeer.closeWrite();
    const response = ending === "nonsense\r\n" ? formatErrorResponse(400) : "";
    assertEquals((await clientPeer.readToEnd()).received, response);
    const { received } = await upstreamPeer.readToEnd();
    assert(ending.startsWith(received), `what never came arrived: ${received}`);
  }
  assertEquals([logger.messagesOf("warn"), proxy.logger.messagesOf("error")], [[], []]);
  // The proxy still serves.
  using clientPeer = await RawPeer.connect(proxy.address, "GET / HTTP/1.1\r\n\r\n");
  await upstream.respond("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  assertEquals(await clientPeer.readPreamble(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
});

Deno.test("an upload that stalls times out, and the proxy ends it upstream", async () => {
  using upstream = new RawServer();
  await using proxy = serve(new ProxyApp(new Client(upstream.address)), { timeout: 1 });
  using clientPeer = await RawPeer.connect(proxy.address);
  await clientPeer.send("PUT / HTTP/1.1\r\ncontent-length: 10\r\n\r\nhello");
  const upstreamPeer = await upstream.accept();
  await upstreamPeer.readUntil("hello");
  await clientPeer.assertClosedSilently();
  assertEquals((await upstreamPeer.readToEnd()).received, "");
  assertEquals(proxy.logger.messagesOf("error"), []);
});

Deno.test("headers that are too large together with the base headers get 431, and aren't logged above info", async () => {
  await using upstream = serve(echo);
  await using proxy = serveProxy(upstream.address, { host: "a.host.name" });
  using clientPeer = await RawPeer.connect(proxy.address);
  const longValue = "b".repeat(32768 - "GET / HTTP/1.1\r\na: \r\n\r\n".length);
  const manyLines = Array.from({ length: 128 }, (_, i) => `a${i}: b\r\n`).join("");
  for (const headers of [`a: ${longValue}\r\n`, manyLines]) {
    await clientPeer.send(`GET / HTTP/1.1\r\n${headers}\r\n`);
  }
  await clientPeer.closeWrite();
  const { received, kind } = await clientPeer.readToEnd();
  const status = "HTTP/1.1 431 Request Header Fields Too Large";
  assertEquals([received, kind], [`${status}\r\ncontent-length: 0\r\n\r\n`.repeat(2), "end"]);
  assertEquals(proxy.logger.lines.map(([level]) => level), ["debug"]);
});

Deno.test("a request whose body was already read is an error of the app that read it", async () => {
  await using upstream = serve(echo);
  await using app = new ProxyApp(upstream.makeClient());
  await using proxy = serve(async (request, session) => {
    await request.body?.bytes();
    return await app.handle(request, session);
  });
  using clientPeer = await RawPeer.connect(proxy.address);
  await clientPeer.send("PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello");
  assertEquals((await clientPeer.readToEnd()).received, formatErrorResponse(500));
  const [error = ""] = await proxy.logger.waitFor("error");
  assertStringIncludes(error, "BodyError");
});

// ───────────────────────── the connection that a request uses

/** Makes an app that responds with the number of the session and of the request. */
function countSessions(): AppFunction {
  const sessions: unknown[] = [];
  return (_request, session) => {
    if (!sessions.includes(session)) sessions.push(session);
    const request = `${session.requests}`;
    return [200, "OK", { session: `${sessions.indexOf(session)}`, request }, null];
  };
}

/** A connection through a proxy, with raw peers on both sides. */
type ProxyChain = Awaited<ReturnType<typeof connectThrough>>;

/** Makes the first exchange; returns the upstream's side of the connection, which stays open. */
async function exchange({ clientPeer, upstream }: ProxyChain): Promise<RawPeer> {
  await clientPeer.send("GET /first HTTP/1.1\r\n\r\n");
  const upstreamPeer = await upstream.accept();
  assertEquals(await upstreamPeer.readPreamble(), "GET /first HTTP/1.1\r\n\r\n");
  await upstreamPeer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  assertEquals(await clientPeer.readPreamble(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  return upstreamPeer;
}

Deno.test("sessions share upstream connections, as many as they need at a time", async () => {
  await using upstream = serve(countSessions());
  await using proxy = serveProxy(upstream.address);
  using first = await proxy.makeClient().connect();
  using second = await proxy.makeClient().connect();
  const results: unknown[] = [];
  for (let i = 0; i < 3; i++) {
    for (const conn of [first, second]) results.push({ ...(await conn.get("/")).headers });
  }
  const expected = ["0", "1", "2", "3", "4", "5"].map((request) => ({ session: "0", request }));
  assertEquals(results, expected);
});

Deno.test("a disposed proxy closes its connections, and responds with 502", async () => {
  await using upstream = serve(countSessions());
  await using app = new ProxyApp(upstream.makeClient());
  await using proxy = serve(app);
  using conn = await proxy.makeClient().connect();
  await conn.get("/");
  assertEquals(upstream.server.sessions.size, 1);
  await app[Symbol.asyncDispose]();
  await upstream.logger.waitFor("debug");
  assertEquals((await conn.get("/")).status, 502);
});

/** Closes the upstream's idle connection after a response, and waits until the proxy detects it. */
async function exchangeAndClose(chain: ProxyChain): Promise<void> {
  (await exchange(chain)).close();
  await waitForTick();
}

Deno.test("an idle connection that the upstream has closed is replaced", async (t) => {
  for (const request of REQUESTS) {
    await t.step(JSON.stringify(request), async () => {
      await using chain = await connectThrough();
      await exchangeAndClose(chain);
      await chain.clientPeer.send(request);
      const upstreamPeer = await chain.upstream.accept();
      assertEquals(await upstreamPeer.readExactly(request.length), request);
      await upstreamPeer.send("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n");
      assertEquals(
        await chain.clientPeer.readPreamble(),
        "HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n",
      );
      assertEquals(chain.proxy.logger.messagesOf("error"), []);
    });
  }
});

Deno.test("a request is not repeated after a byte of its body has been used", async () => {
  await using chain = await connectThrough();
  const upstreamPeer = await exchange(chain);
  await chain.clientPeer.send("PUT / HTTP/1.1\r\ncontent-length: 10\r\n\r\nhello");
  await upstreamPeer.readUntil("hello");
  upstreamPeer.close();
  await chain.clientPeer.send("world");
  const { received } = await chain.clientPeer.readToEnd();
  // The rest of the request is unread.
  assertEquals(received, BAD_GATEWAY.replace("\r\n", "\r\nconnection: close\r\n"));
  // The proxy has not connected to the upstream again: the next connection is the probe's.
  using _probe = await RawPeer.connect(chain.upstream.address, "probe");
  assertEquals(await (await chain.upstream.accept()).readExactly(5), "probe");
});

Deno.test("only GET and HEAD are repeated if the upstream closes without a response", async () => {
  for (
    const [request, isRepeated] of [["GET", true], ["HEAD", true], ["PUT", false], ["POST", false]]
  ) {
    await using chain = await connectThrough();
    const first = await exchange(chain);
    await chain.clientPeer.send(`${request} / HTTP/1.1\r\n\r\n`);
    await first.readPreamble();
    first.close();
    if (isRepeated) {
      await chain.upstream.respond("HTTP/1.1 204 No Content\r\n\r\n");
      assertEquals(await chain.clientPeer.readPreamble(), "HTTP/1.1 204 No Content\r\n\r\n");
    } else {
      assertEquals(await chain.clientPeer.readPreamble(), BAD_GATEWAY);
    }
  }
});

Deno.test("a response that a middleware drops does not affect the next response", async () => {
  await using upstream = serve(() => [200, "OK", {}, encodeLatin1("hello")]);
  await using app = new ProxyApp(upstream.makeClient());
  await using proxy = serve(async (request, session) => {
    const response = await app.handle(request, session);
    return request.path[0] === "dropped" ? [200, "OK", {}, null] : response;
  });
  using conn = await proxy.makeClient().connect();
  assertEquals((await conn.get("/dropped")).body, null);
  assertEquals(await (await conn.get("/")).body?.text(), "hello");
  assertEquals(proxy.logger.messagesOf("error"), []);
});

// ProxyApp: when a client leaves, its upstream connection is closed.

const departures: Readonly<Record<string, (through: ProxyChain) => unknown>> = {
  "of a client that closes": ({ clientPeer }) => clientPeer.close(),
  "of a client that ends its writing side": ({ clientPeer }) => clientPeer.closeWrite(),
  "of a session that is closed": async ({ clientPeer, proxy }) => {
    const [session] = proxy.server.sessions;
    session!.close(new Error("revoked"));
    await clientPeer.assertClosedSilently();
  },
};
const getRequest = "GET / HTTP/1.1\r\n\r\n";
const states: readonly (readonly [state: string, request: string, answer: string])[] = [
  ["while its response is awaited", getRequest, ""],
  ["after an upload", "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello", ""],
  ["while a Body is idle", getRequest, "content-length: 100\r\n\r\nhello\r\n"],
  ["while a ChunkedBody is idle", getRequest, "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"],
];

for (const [description, leave] of Object.entries(departures)) {
  Deno.test(`the upstream connection ${description} is closed`, async (t) => {
    using _intervals = recordIntervals(10);
    await testEachRow(t, states, async (_state, request, response) => {
      await using chain = await relayRequest(request);
      const { upstreamPeer } = chain;
      if (response !== "") {
        await upstreamPeer.send(`HTTP/1.1 200 OK\r\n${response}`);
        await chain.clientPeer.readUntil("hello\r\n");
      }
      await leave(chain);
      assertEquals(
        (await withTimeout(upstreamPeer.readToEnd(), "the upstream ends", 2)).received,
        "",
      );
      // The end is not logged as an error.
      await chain.proxy.logger.waitFor("debug");
      assertEquals(chain.proxy.server.sessions.size, 0);
      assertEquals(chain.proxy.logger.messagesOf("error"), []);
    });
  });
}

Deno.test("a client that leaves while the upstream is being connected ends its session", async () => {
  using _intervals = recordIntervals(10);
  const pki = await openSharedPki();
  // This server accepts connections, and never responds to the handshake.
  using upstream = new RawServer();
  const client = new SSLClient(pki.clientSslconfig, upstream.address, { timeout: 30 });
  await using serving = serve(new ProxyApp(client), { maxConnections: 1 });
  using clientPeer = await RawPeer.connect(serving.address, "GET / HTTP/1.1\r\n\r\n");
  const upstreamPeer = await upstream.accept();
  clientPeer.close();
  await withTimeout(upstreamPeer.readToEnd(), "the connection to the upstream is closed", 2);
  const [message] = await serving.logger.waitFor("debug");
  assertEquals(serving.logger.messagesOf("error"), [], message);
  assertEquals(serving.server.sessions.size, 0);
});

// ProxyApp: responses that arrive while the request is being relayed.

const CHUNKED = "transfer-encoding: chunked\r\n\r\n";
const PUT = `PUT / HTTP/1.1\r\n${CHUNKED}5\r\nhello\r\n`;

/** Relays the beginning of a request, and the beginning of its response. */
async function relayHalves(early: string) {
  const chain = await connectThrough();
  await chain.clientPeer.send(PUT);
  const upstreamPeer = await chain.upstream.accept();
  await upstreamPeer.readUntil("hello\r\n");
  await upstreamPeer.send(early);
  return { ...chain, upstreamPeer };
}

Deno.test("after an early response, a proxy relays the rest of the request, and both connections stay open", async () => {
  for (
    const early of [
      "HTTP/1.1 204 No Content\r\n\r\n",
      "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
      `HTTP/1.1 200 OK\r\n${CHUNKED}2\r\nhi\r\n0\r\n\r\n`,
    ]
  ) {
    await using chain = await relayHalves(early);
    const { clientPeer, upstreamPeer } = chain;
    assertEquals(await clientPeer.readExactly(early.length), early);
    await clientPeer.send("5\r\nworld\r\n0\r\n\r\n");
    assertEquals(await upstreamPeer.readUntil("0\r\n\r\n"), "5\r\nworld\r\n0\r\n\r\n");
    await clientPeer.send("GET /next HTTP/1.1\r\n\r\n");
    assertEquals(await upstreamPeer.readPreamble(), "GET /next HTTP/1.1\r\n\r\n");
  }
});

Deno.test("an early refusal of the upstream reaches a client that is silent, and ends its session", async () => {
  await using chain = await relayHalves("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
  const { clientPeer, upstreamPeer } = chain;
  assertEquals(
    await clientPeer.readPreamble(),
    "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 2\r\n\r\n",
  );
  assertEquals(await clientPeer.readExactly(2), "no");
  await upstreamPeer.assertClosedSilently();
});

Deno.test("a reset by the upstream or by the client ends both halves of a relayed two-way stream", async () => {
  for (const side of ["upstream", "client"] as const) {
    await using chain = await relayHalves(`HTTP/1.1 200 OK\r\n${CHUNKED}2\r\nhi\r\n`);
    const { clientPeer, upstreamPeer } = chain;
    await clientPeer.readUntil("hi\r\n");
    if (side === "upstream") {
      upstreamPeer.close();
      assertEquals((await clientPeer.readToEnd()).received, "");
    } else {
      clientPeer.close();
      assertEquals((await upstreamPeer.readToEnd()).received, "");
    }
    assertEquals(chain.proxy.logger.messagesOf("error"), []);
  }
});

Deno.test("a client that has closed only its writing side gets the response unless two checks find it gone; then 502, whose reason is logged", async () => {
  // The server checks in this interval.
  using intervals = captureIntervals(300);
  for (const checkCount of [1, 2]) {
    await using chain = await relayRequest("GET / HTTP/1.1\r\n\r\n");
    const { clientPeer, upstreamPeer, proxy } = chain;
    await clientPeer.closeWrite();
    for (let check = 0; check < checkCount; check++) {
      await waitForTick();
      intervals.tick();
      await waitForTick();
    }
    const isGone = checkCount === 2;
    if (!isGone) await upstreamPeer.send("HTTP/1.1 204 No Content\r\n\r\n");
    const expected = isGone ? BAD_GATEWAY : "HTTP/1.1 204 No Content\r\n\r\n";
    assertEquals(await clientPeer.readPreamble(), expected);
    const [line = "", ...otherLines] = proxy.logger.messagesOf("info");
    const text =
      "a request could not be relayed: ConnectionClosedError: the peer has closed the connection";
    assertEquals([line.endsWith(text), otherLines], [isGone, []]);
  }
});

Deno.test("a client that breaks the framing of its request after an early response is disconnected, and its request stays incomplete", async () => {
  for (
    const early of [
      "HTTP/1.1 204 No Content\r\n\r\n",
      `HTTP/1.1 200 OK\r\n${CHUNKED}2\r\nhi\r\n0\r\n\r\n`,
    ]
  ) {
    await using chain = await relayHalves(early);
    assertEquals(await chain.clientPeer.readExactly(early.length), early);
    await chain.clientPeer.send("no chunk\r\n");
    assertEquals((await chain.clientPeer.readToEnd()).received, "");
    assertEquals((await chain.upstreamPeer.readToEnd()).received, "");
  }
});

Deno.test("a client that stops in the middle of its request after an early response is disconnected after the time-out", async () => {
  using upstream = new RawServer();
  const proxyApp = new ProxyApp(new Client(upstream.address, { host: null }));
  await using proxy = serve(proxyApp, { timeout: 0.4 });
  using clientPeer = await RawPeer.connect(proxy.address);
  await clientPeer.send(PUT);
  using upstreamPeer = await upstream.accept();
  await upstreamPeer.readUntil("hello\r\n");
  const early = "HTTP/1.1 204 No Content\r\n\r\n";
  await upstreamPeer.send(early);
  assertEquals((await clientPeer.readToEnd()).received, early);
  assertEquals((await upstreamPeer.readToEnd()).received, "");
  assertEquals(proxy.server.sessions.size, 0);
});

Deno.test("an upstream that closes after its early response ends the session of the client, which has the response", async () => {
  for (
    const early of [
      "HTTP/1.1 204 No Content\r\n\r\n",
      "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    ]
  ) {
    await using chain = await relayHalves(early);
    assertEquals(await chain.clientPeer.readExactly(early.length), early);
    chain.upstreamPeer.close();
    assertEquals((await chain.clientPeer.readToEnd()).received, "");
    assertEquals(chain.proxy.logger.messagesOf("error"), []);
  }
});
