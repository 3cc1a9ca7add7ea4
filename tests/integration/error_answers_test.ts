/**
 * The responses of the server itself, byte by byte: over every kind of connection, in a worker, and
 * in front of and behind a proxy.
 */
import { ProxyApp } from "@degu/degu";
import { type Address, EmptyPreambleError } from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import { TempServer } from "@degu/degu/misc";
import { type App, type AppFunction, Server, type Socket, SSLServer } from "@degu/degu/server";
import { createTempDir } from "@degu/testing/directories.ts";
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import { isBroken, RawServer, withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import { openSharedPki } from "@degu/testing/tls_endpoints.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assertEquals, assertRejects } from "@std/assert";

/** An app that reads each body. Its source text is transferred to the worker. */
const echoApp: AppFunction = async ({ method, uri, body }) => {
  await body?.bytes();
  if (uri === "/throws") throw new Error("no");
  return uri === "/wrong" ? [200, "", {}, null] : [200, "OK", { method, uri }, null];
};

const formatOk = (method: string, uri: string, extraLines = "") =>
  `HTTP/1.1 200 OK\r\n${extraLines}content-length: 0\r\nmethod: ${method}\r\nuri: ${uri}\r\n\r\n`;
const CHUNKS = "transfer-encoding: chunked\r\n\r\n";
const NEXT = "GET /next HTTP/1.1\r\n\r\n";

/**
 * The sent bytes and the complete responses. Bytes after a refused request are not parsed as a
 * request.
 */
const ROWS: readonly (readonly [sent: string, received: string])[] = [
  [`GET /a%20b HTTP/1.1\r\n\r\n${NEXT}`, formatErrorResponse(400)],
  [`GET / HTTP/1.1\r\na_b: c\r\n\r\n${NEXT}`, formatErrorResponse(400)],
  [`HEAD / HTTP/1.1\r\na_b: c\r\n\r\n${NEXT}`, formatErrorResponse(400)],
  [`GET / HTTP/1.1\r\na: b\r\na: c\r\n\r\n`, formatErrorResponse(400)],
  ["GET /\r\n\r\n", formatErrorResponse(400)],
  ["BREW /a pot HTTP/1.1\r\n\r\n", formatErrorResponse(400)],
  ["GET / HTTP/1.0\r\n\r\n", formatErrorResponse(505)],
  ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", formatErrorResponse(505)],
  ["BREW / HTTP/1.0\r\n\r\n", formatErrorResponse(505)],
  ["GET / HTTP/1.10\r\n\r\n", formatErrorResponse(400)],
  ["BREW / FOO\r\n\r\n", formatErrorResponse(400)],
  ["get / HTTP/1.1\r\n\r\n", formatErrorResponse(501)],
  ["M-SEARCH * HTTP/1.1\r\n\r\n", formatErrorResponse(501)],
  ["PROPFIND / HTTP/1.1\r\n\r\n", formatErrorResponse(501)],
  ["a!#$%&'*+-.^_`|~0 / HTTP/1.1\r\n\r\n", formatErrorResponse(501)],
  ["get / HTTP/1.0\r\n\r\n", formatErrorResponse(505)],
  [`OPTIONS * HTTP/1.1\r\n\r\n${NEXT}`, formatErrorResponse(501)],
  ["PATCH / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}", formatErrorResponse(501)],
  [`${"A".repeat(64)} / HTTP/1.1\r\n\r\n`, formatErrorResponse(501)],
  [`GET / HTTP/1.1\r\na: ${"b".repeat(40_000)}`, formatErrorResponse(431)],
  [`BREW /${"b".repeat(40_000)} HTTP/1.0\r\n\r\n`, formatErrorResponse(431)],
  [`PUT / HTTP/1.1\r\n${CHUNKS}5\r\nhello\r\n05\r\n${NEXT}`, formatErrorResponse(400)],
  [`PUT / HTTP/1.1\r\n${CHUNKS}1000001\r\n`, formatErrorResponse(400)],
  [`PUT / HTTP/1.1\r\n${CHUNKS}5\r\nhelloworld`, formatErrorResponse(400)],
  [`GET /throws HTTP/1.1\r\n\r\n${NEXT}`, formatErrorResponse(500)],
  [`HEAD /throws HTTP/1.1\r\n\r\n${NEXT}`, formatErrorResponse(500)],
  [`PUT /throws HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello${NEXT}`, formatErrorResponse(500)],
  [`GET /wrong HTTP/1.1\r\n\r\n${NEXT}`, formatErrorResponse(500)],
  // Responses to earlier requests are sent.
  [
    `${NEXT}${NEXT}TRACE / HTTP/1.1\r\n\r\n`,
    formatOk("GET", "/next").repeat(2) + formatErrorResponse(501),
  ],
  // The response to connection: close has connection: close.
  ["GET / HTTP/1.1\r\nconnection: close\r\n\r\n", formatOk("GET", "/", "connection: close\r\n")],
  ["DELETE / HTTP/1.1\r\ncontent-length: 0\r\n\r\n", formatOk("DELETE", "/")],
  // Bytes that are not HTTP, or not a complete request, get no response.
  [`${"A".repeat(65)} / HTTP/1.1\r\n\r\n`, ""],
  ["(GET) / HTTP/1.1\r\n\r\n", ""],
  [" GET / HTTP/1.1\r\n\r\n", ""],
  ["\r\nGET / HTTP/1.1\r\n\r\n", ""],
  ["\x16\x03\x01\x02\x00", ""],
  ["A".repeat(40_000), ""],
  ["PATCH / HTTP/1.1\r\na: b\r\n", ""],
  ["PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhell", ""],
  [`PUT / HTTP/1.1\r\n${CHUNKS}5\r\nhell`, ""],
];

/**
 * Sends bytes, closes, and reads to the end. A server that refuses early may not read all bytes.
 */
async function converse(socket: Socket, text: string): Promise<string> {
  let received = "";
  const send = async () => {
    for (let bytes = encodeLatin1(text); bytes.length > 0;) {
      bytes = bytes.subarray(await socket.write(bytes));
    }
    await socket.closeWrite?.();
  };
  const sending = send().catch(() => {});
  const into = new Uint8Array(65536);
  try {
    for (
      let count;
      (count = await withTimeout(socket.read(into), "an answer or the end")) !== null;
    ) {
      received += decodeLatin1(into.subarray(0, count));
    }
  } catch (error) {
    // A connection that the server closes without a response may be reset.
    if (!isBroken(error)) throw error;
  }
  await sending;
  socket.close();
  return received;
}

interface ServedPlace extends AsyncDisposable {
  readonly client: Client;
  readonly logger: RecordingLogger | null;
}

async function serveAt(address: Address, app: App = echoApp): Promise<ServedPlace> {
  const logger = new RecordingLogger();
  const server = await Server.start(address, app, { logger });
  return {
    client: new Client(server.address),
    logger,
    [Symbol.asyncDispose]: () => dispose(server),
  };
}

async function dispose(server: AsyncDisposable): Promise<void> {
  await server[Symbol.asyncDispose]();
}

const PLACES: Readonly<Record<string, (dir: string) => Promise<ServedPlace>>> = {
  "over TCP": () => serveAt(["127.0.0.1", 0]),
  "over a Unix socket": (dir) => serveAt(`${dir}/socket`),
  async "over TLS"() {
    const pki = await openSharedPki();
    const logger = new RecordingLogger();
    const server = await SSLServer.start(pki.serverSslconfig, ["127.0.0.1", 0], echoApp, {
      logger,
    });
    const client = new SSLClient(pki.clientSslconfig, server.address);
    return { client, logger, [Symbol.asyncDispose]: () => dispose(server) };
  },
  async "of a TempServer"() {
    const server = await TempServer.start(["127.0.0.1", 0], null, echoApp);
    const client = new Client(server.address);
    return { client, logger: null, [Symbol.asyncDispose]: () => dispose(server) };
  },
  async "of a proxy in front"() {
    const upstream = await serveAt(["127.0.0.1", 0]);
    const app = new ProxyApp(new Client(upstream.client.address, { host: null }));
    const front = await serveAt(["127.0.0.1", 0], app);
    return {
      ...front,
      async [Symbol.asyncDispose]() {
        await dispose(front);
        await dispose(app);
        await dispose(upstream);
      },
    };
  },
};

for (const [label, start] of Object.entries(PLACES)) {
  Deno.test(`each invalid request gets exactly one response or silence, and then the end ${label}`, async () => {
    await using dir = await createTempDir();
    await using place = await start(dir.path);
    for (const [sent, expected] of ROWS) {
      const received = await converse(await place.client.createSocket(), sent);
      assertEquals(received, expected, sent.slice(0, 100));
    }
    // A peer can't cause lines above level info, unless the app throws.
    const loudLines = place.logger?.lines.filter(([level, line]) =>
      level !== "debug" && level !== "info" && !/an error of the app/.test(line)
    );
    assertEquals(loudLines ?? [], []);
  });
}

Deno.test("a proxy passes on a 400 and a 500 of its upstream, and sends 502 if the upstream ends without a response", async () => {
  using upstream = new RawServer();
  await using app = new ProxyApp(new Client(upstream.address));
  await using proxy = serve(app);
  const client = proxy.makeClient();
  for (const status of [400, 500] as const) {
    const response = client.request("GET", "/");
    const upstreamPeer = await upstream.accept();
    await upstreamPeer.readPreamble();
    await upstreamPeer.send(formatErrorResponse(status));
    upstreamPeer.close();
    assertEquals((await response).status, status);
  }
  const response = client.request("POST", "/");
  const upstreamPeer = await upstream.accept();
  await upstreamPeer.readPreamble();
  upstreamPeer.close();
  assertEquals((await response).status, 502);
});

Deno.test("a connection that onConnect refuses gets no byte, in reply to any bytes", async () => {
  const app: App = { onConnect: () => false, handle: echoApp };
  await using serving = serve(app);
  for (const [sent] of ROWS) {
    const socket = await serving.makeClient().createSocket();
    assertEquals(await converse(socket, sent), "", sent.slice(0, 100));
  }
  await assertRejects(() => serving.makeClient().request("GET", "/"), EmptyPreambleError);
});
