/**
 * The rows of requests.rows.ts through a proxy: the bytes that the proxy sends to a server of this
 * project and to other servers, in which two recipients could find different requests. The messages
 * that a proxy forwards or refuses (RFC 9110 §7.6, RFC 9112), and values of headers from end to end.
 */
import { createFetch, fromFetchHandler, ProxyApp } from "@degu/degu";
import type { Address, HeadersToSend } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { type App, type AppFunction, Server } from "@degu/degu/server";
import { findObstacle, startCommand } from "@degu/testing/commands.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import {
  connectThrough,
  relayRequestHeaders,
  removeHopByHop,
  serveProxy,
} from "../apps/proxies.ts";
import { dial, exchange, RawPeer, RawServer } from "@degu/testing/raw_peer.ts";
import { RecordingRelay } from "./recording_relay.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import { decodeLatin1, respellReferenceUri } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals } from "@std/assert";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, readOneResponse, readRequests } from "../fuzz/oracle.ts";
import {
  describeApp,
  formatResponses,
  isClosedByServer,
  type RequestRow,
  requestRows,
  someRequestRows,
} from "../base/wire/requests.rows.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { someResponseRows } from "../base/wire/responses.rows.ts";
import { callApp, mkreq } from "@degu/degu/misc";
import { flatten } from "@degu/testing/expectations.ts";

/** The rows for other servers, which also check `host`, apply a range, and have lower limits. */
const forwardedRows = someRequestRows.filter(({ accepted, broken, bytes }) =>
  (accepted.length > 0 || broken !== undefined) && bytes.length < 8000 &&
  accepted.every(({ headers }) => headers["host"] === "a" && headers["range"] === undefined)
);

/** A complete request as the back end has received it; the body as Latin-1 text. */
interface SeenRequest {
  readonly method: string;
  readonly uri: string;
  readonly body: string;
}

/** A running back end. */
interface BackEnd extends AsyncDisposable {
  readonly address: Address;
  /** Returns the requests since the last call. */
  take(): SeenRequest[];
}

/** Starts a server of this project. */
function startServer(): Promise<BackEnd> {
  const seenRequests: SeenRequest[] = [];
  const serving = serve(async (request) => {
    const response = await describeApp(request);
    const [method, uri, , content] = JSON.parse(response[3]);
    const body = typeof content === "string" ? content : formatChunks(content);
    seenRequests.push({ method, uri, body });
    return response;
  }, { timeout: null, hosts: "any" });
  const { address, [Symbol.asyncDispose]: dispose } = serving;
  return Promise.resolve({
    address,
    take: () => seenRequests.splice(0),
    [Symbol.asyncDispose]: dispose,
  });
}

async function startNodeHttp(): Promise<BackEnd> {
  const seenRequests: SeenRequest[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (bytes: Uint8Array) => body += decodeLatin1(bytes));
    request.on("error", () => {});
    request.on("end", () => {
      if (!request.complete) return;
      seenRequests.push({ method: request.method ?? "", uri: request.url ?? "", body });
      response.end("seen");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    address: ["127.0.0.1", port],
    take: () => seenRequests.splice(0),
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Starts a server of Deno. */
function startDenoServe(): Promise<BackEnd> {
  const seenRequests: SeenRequest[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    let body;
    try {
      body = decodeLatin1(await request.bytes());
    } catch {
      return new Response("cut", { status: 400 });
    }
    const { pathname, search } = new URL(request.url);
    // A URL doesn't distinguish an empty query from a missing one.
    const mark = search === "" && request.url.endsWith("?") ? "?" : search;
    seenRequests.push({ method: request.method, uri: pathname + mark, body });
    return new Response("seen");
  });
  return Promise.resolve({
    address: ["127.0.0.1", server.addr.port],
    take: () => seenRequests.splice(0),
    [Symbol.asyncDispose]: () => server.shutdown(),
  });
}

const formatNginxConfiguration = (dir: string, port: unknown) => `
daemon off;
master_process off;
pid ${dir}/pid;
error_log ${dir}/error.log;
events {}
http {
  access_log off;
  lingering_timeout 100ms;
  client_body_temp_path ${dir}/body;
  proxy_temp_path ${dir}/proxy;
  fastcgi_temp_path ${dir}/fastcgi;
  uwsgi_temp_path ${dir}/uwsgi;
  scgi_temp_path ${dir}/scgi;
  server {
    listen unix:${dir}/socket;
    location / {
      proxy_pass http://127.0.0.1:${port};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
    }
  }
}
`;

/** Starts nginx, which relays to `node:http`: the requests pass through both proxies. */
function startNginx(): Promise<BackEnd> {
  return startProgram("nginx", (dir, port) => ({
    address: `${dir}/socket`,
    configuration: formatNginxConfiguration(dir, port),
    args: ["-c", `${dir}/configuration`, "-p", dir],
  }));
}

const APACHE_MODULES = "/usr/lib/apache2/modules";
const formatApacheConfiguration = (dir: string, listenPort: number, port: unknown) => `
ServerName a
ServerRoot ${dir}
DefaultRuntimeDir ${dir}
PidFile ${dir}/pid
ErrorLog ${dir}/error.log
Listen 127.0.0.1:${listenPort}
User www-data
Group www-data
LoadModule mpm_event_module ${APACHE_MODULES}/mod_mpm_event.so
LoadModule authz_core_module ${APACHE_MODULES}/mod_authz_core.so
LoadModule proxy_module ${APACHE_MODULES}/mod_proxy.so
LoadModule proxy_http_module ${APACHE_MODULES}/mod_proxy_http.so
ProxyPreserveHost On
ProxyPass "/" "http://127.0.0.1:${port}/" nocanon
`;

/** Starts Apache, which relays to `node:http`. */
async function startApache(): Promise<BackEnd> {
  const listenPort = await findUnusedPort(); // Apache can't choose a free port.
  return await startProgram("apache2", (dir, port) => ({
    address: ["127.0.0.1", listenPort],
    configuration: formatApacheConfiguration(dir, listenPort, port),
    args: ["-X", "-f", `${dir}/configuration`],
  }));
}

const MAX_ATTEMPTS = 500, PAUSE_MILLISECONDS = 10;

/**
 * Starts a program that relays to `node:http`; `plan` gets the directory of the program, and the
 * port of the server.
 */
async function startProgram(
  program: string,
  plan: (
    dir: string,
    port: unknown,
  ) => { address: Address; configuration: string; args: string[] },
): Promise<BackEnd> {
  const dir = await Deno.makeTempDir({ prefix: "degu-back-end-" });
  const last = await startNodeHttp();
  const { address, configuration, args } = plan(dir, last.address[1]);
  await Deno.writeTextFile(`${dir}/configuration`, configuration);
  const running = new RunningProcess(startCommand([program, ...args], { stdin: "null" }));
  let hasEnded = false;
  running.child.status.then(() => hasEnded = true);
  const stop = async () => {
    if (!hasEnded) running.child.kill("SIGTERM");
    const { stderr } = await running.waitForEnd();
    await last[Symbol.asyncDispose]();
    await Deno.remove(dir, { recursive: true });
    return stderr;
  };
  for (let attempt = 0; !await accepts(address); attempt++) {
    if (hasEnded || attempt === MAX_ATTEMPTS) {
      throw new Error(`${program} does not listen: ${await stop()}`);
    }
    // The program doesn't report when it listens.
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MILLISECONDS));
  }
  return { address, take: last.take, [Symbol.asyncDispose]: async () => void await stop() };
}

async function accepts(address: Address): Promise<boolean> {
  return await dial(address).then((conn) => (conn.close(), true), () => false);
}

/** Returns the reason why a program can't be used; `null` if it can. */
const findProgramObstacle = (program: string) => findObstacle([program, "-v"]);

interface Kind {
  readonly name: string;
  readonly program?: string;
  start(): Promise<BackEnd>;
  /** Converts a request target to the form that this back end reports. */
  uriOf?(uri: string): string;
}

const kinds: readonly Kind[] = [
  { name: "node:http", start: startNodeHttp },
  {
    name: "Deno.serve",
    start: startDenoServe,
    uriOf(uri) {
      const { pathname, search } = new URL(uri, "http://a");
      return pathname + (search === "" && uri.endsWith("?") ? "?" : search);
    },
  },
  { name: "nginx", program: "nginx", start: startNginx },
  { name: "Apache", program: "apache2", start: startApache },
];

Deno.test("a proxy forwards the requests of each row and no other bytes, and sends the same responses as a server", () =>
  forwardAll(null));

for (const kind of kinds) {
  const missing = kind.program === undefined ? null : await findProgramObstacle(kind.program);
  if (missing !== null) console.warn(`${missing}: nothing is forwarded to it here`);
  Deno.test({
    name: `ProxyApp forwards no ambiguous request to ${kind.name}`,
    ignore: missing !== null,
    fn: () => forwardAll(kind),
  });
}

/**
 * Sends the bytes of a row, and reads to the end. The client ends the connection after the
 * responses: a proxy aborts requests of a client that has ended it.
 */
async function converse(address: Address, row: RequestRow, isOwn: boolean): Promise<string> {
  using peer = await RawPeer.connect(address);
  let received = "";
  try {
    await peer.send(row.bytes);
    if (isOwn) received = await peer.readExactly(formatResponses(row, true).length);
    else for (const _ of row.accepted) received += await peer.readUntil("seen");
    if (!isClosedByServer(row)) await peer.closeWrite();
  } catch {
    // The proxy has closed the connection, after the bytes that are still unread.
  }
  return received + (await peer.readToEnd()).received;
}

/** Returns a row with the URIs that a proxy sends. */
function respellUris(row: RequestRow): RequestRow {
  const { accepted, broken } = row;
  return {
    ...row,
    accepted: accepted.map((request) => ({ ...request, uri: respellReferenceUri(request.uri) })),
    broken: broken === undefined ? undefined : respellReferenceUri(broken),
  };
}

/** Forwards all rows to a server of this project, or some rows to another server. */
async function forwardAll(kind: Kind | null): Promise<void> {
  await using backEnd = await (kind?.start ?? startServer)();
  await using tap = new RecordingRelay(backEnd.address);
  // The headers must be forwarded unchanged, so the client doesn't add a host.
  const client = new Client(tap.address, { host: null, timeout: 60 });
  let app = new ProxyApp(client);
  let calls = 0;
  const proxyApp: AppFunction = (request, session) => {
    calls++;
    return app.handle(request, session);
  };
  await using proxy = serve(proxyApp, { timeout: null, hosts: "any" });
  let responseTotal = 0;
  const lateRequests: SeenRequest[] = [];
  const isOwn = kind === null;
  for (const row of (isOwn ? requestRows : forwardedRows).map(respellUris)) {
    const received = await converse(proxy.address, row, isOwn);
    if (isOwn) assertEquals(received, formatResponses(row, true), row.name);
    assertEquals(calls, row.accepted.length + (row.broken === undefined ? 0 : 1), row.name);
    // Bytes that the proxy would send without a call are found with a later row.
    if (calls === 0) continue;
    calls = 0;
    await app[Symbol.asyncDispose]();
    app = new ProxyApp(client);
    assertForwarded(row, await tap.takeSent());
    const responseCount = [...received.matchAll(/HTTP\/1\.1 200 OK\r\n/g)].length;
    const seenRequests = backEnd.take();
    const expected = formatExpected(kind, row);
    dropLateRequests(seenRequests, expected, lateRequests);
    assert(
      responseCount <= seenRequests.length,
      `${row.name}: ${responseCount} answers to ${seenRequests.length} requests`,
    );
    // The back end has seen a prefix of the accepted bytes, and no others.
    assertEquals(seenRequests, expected.slice(0, seenRequests.length), row.name);
    lateRequests.push(...expected.slice(seenRequests.length));
    responseTotal += responseCount;
  }
  await app[Symbol.asyncDispose]();
  assertEquals(await tap.takeSent(), []);
  assert(
    responseTotal >= 20,
    `the back end has answered ${responseTotal} requests: too few to say anything`,
  );
}

Deno.test("a response has no bytes of another session, though sessions share connections", async () => {
  await using backEnd = await startNodeHttp();
  await using proxy = serve(new ProxyApp(new Client(backEnd.address, { host: null })), {
    hosts: "any",
  });
  using honest = await proxy.makeClient().connect();
  for (const row of forwardedRows.map(respellUris)) {
    await exchange(proxy.address, row.bytes);
    // Requests of the previous session may still arrive.
    const uri = `/honest-${crypto.randomUUID()}`;
    assertEquals(await (await honest.get(uri)).text(), "seen", row.name);
    const seenUris = backEnd.take().map((request) => request.uri);
    assertEquals(seenUris.indexOf(uri), seenUris.length - 1, row.name);
    const accepted: unknown[] = row.accepted.map((request) => request.uri);
    for (const otherUri of seenUris.slice(0, -1)) assert(accepted.includes(otherUri), row.name);
  }
});

/**
 * Asserts that the proxy has sent the accepted requests, once and in order, without headers of a
 * single connection, and that a broken request stays incomplete.
 */
function assertForwarded(row: RequestRow, sent: readonly string[]): void {
  const streams = sent.map(readRequests);
  const requests = streams.flatMap((stream) => stream.requests);
  // The proxy sends HTTP/1.1, and keeps its connections.
  const expected = row.accepted.map((request) => ({
    ...request,
    headers: relayRequestHeaders(request.headers),
    isHttp10: false,
    isLast: false,
  }));
  assertEquals(requests.map(describe), expected.map(describe), row.name);
  const unfinished = streams.filter(({ clean }) => !clean);
  if (row.broken === undefined) assertEquals(unfinished, [], row.name);
  for (const { broken } of unfinished) assertEquals(broken?.uri, row.broken, row.name);
}

/** Returns the data of chunks. */
function formatChunks(chunks: readonly (readonly [extension: unknown, data: string])[] | null) {
  return (chunks ?? []).map(([, data]) => data).join("");
}

/** Returns the requests of a row in the form that a back end reports. */
function formatExpected(kind: Kind | null, { accepted }: RequestRow): SeenRequest[] {
  return accepted.map(({ method, uri, body }) => ({
    method,
    uri: kind?.uriOf?.(uri) ?? uri,
    body: typeof body === "string" ? body : formatChunks(body),
  }));
}

/**
 * Removes requests of earlier rows: if the proxy under test closes its connection to a back end
 * that is also a proxy, or is busy, the server behind that may receive the request later.
 */
function dropLateRequests(
  seenRequests: SeenRequest[],
  expected: SeenRequest[],
  lateRequests: SeenRequest[],
): void {
  const areEqual = (a?: SeenRequest, b?: SeenRequest) => JSON.stringify(a) === JSON.stringify(b);
  while (seenRequests.length > 0) {
    if (seenRequests.length <= expected.length && areEqual(seenRequests[0], expected[0])) return;
    const lateIndex = lateRequests.findIndex((request) => areEqual(request, seenRequests[0]));
    if (lateIndex < 0) return;
    seenRequests.shift();
    lateRequests.splice(lateIndex, 1);
  }
}

// ───────────────────────── values and responses through a proxy

const formatBadGateway = (method: string) =>
  `HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\n${
    method === "HEAD" ? "" : "content-length: 0\r\n"
  }\r\n`;

Deno.test("a proxy passes on each valid response, and replaces a response that breaks a rule by 502", async (t) => {
  using upstream = new RawServer();
  await using proxy = serveProxy(upstream.address);
  for (const { name, method, bytes, codes } of someResponseRows) {
    await t.step(name, async () => {
      // A new proxy has no connection to the upstream.
      await using ownProxy = codes.length === 0 ? serveProxy(upstream.address) : null;
      using clientPeer = await RawPeer.connect((ownProxy ?? proxy).address);
      await clientPeer.send(`${method} / HTTP/1.1\r\nconnection: close\r\n\r\n`);
      const upstreamPeer = await upstream.respond(bytes);
      const sent = readOneResponse(method, bytes);
      const endsWithConnection = sent?.endsWithConnection === true;
      if (endsWithConnection || codes.includes("BODY_INCOMPLETE")) await upstreamPeer.closeWrite();
      const { received } = await clientPeer.readToEnd();
      const badGateway = formatBadGateway(method);
      if (sent === null) assertEquals(received, badGateway);
      else if (received !== badGateway || sent.body !== undefined) {
        const { status, reason, headers, body } = sent;
        const relayed = readOneResponse(method, received)!;
        // A body that ends with the connection is relayed in chunks.
        const framing = endsWithConnection ? { "transfer-encoding": "chunked" } : {};
        assertEquals([relayed.status, relayed.reason, relayed.excess], [status, reason, 0]);
        assertEquals(removeHopByHop(relayed.headers), { ...removeHopByHop(headers), ...framing });
        const relayedBody = endsWithConnection
          ? (relayed.body as [unknown, string][]).map(([, data]) => data).join("")
          : relayed.body;
        assertEquals(relayedBody, body);
      }
      if (codes.length > 0) await upstreamPeer.assertClosedSilently();
    });
  }
  assertEquals(proxy.logger.messagesOf("error"), []);
});

Deno.test("a proxy that forwards to itself responds with 502 once its slots are in use", async () => {
  const logger = new RecordingLogger();
  let calls = 0;
  let proxyApp: ProxyApp | undefined;
  await using server = await Server.start(["127.0.0.1", 0], (...args) => {
    calls++;
    return proxyApp!.handle(...args);
  }, { logger, maxConnections: 3, timeout: 1 });
  await using ownProxyApp = proxyApp = new ProxyApp(new Client(server.address));
  using peer = await RawPeer.connect(server.address);
  await peer.send("POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
  assertEquals((await peer.readToEnd()).received, formatBadGateway("POST"));
  assertEquals([calls, ownProxyApp], [3, proxyApp]);
  await logger.waitFor("info", "no slot became free");
});

const VIA = "via: 1.0 a, 1.1 b, 1.1 c";

Deno.test("a proxy adds no via, and passes a received via on unchanged, unless options.headers replaces it", async (t) => {
  await testEachRow(t, [["none", ""], ["one", `${VIA}\r\n`]], async (_label, line) => {
    await using chain = await connectThrough();
    await chain.clientPeer.send(`GET / HTTP/1.1\r\n${line}\r\n`);
    const upstreamPeer = await chain.upstream.accept();
    assertEquals(await upstreamPeer.readPreamble(), `GET / HTTP/1.1\r\n${line}\r\n`);
    await upstreamPeer.send(`HTTP/1.1 204 No Content\r\n${line}\r\n`);
    assertEquals(await chain.clientPeer.readPreamble(), `HTTP/1.1 204 No Content\r\n${line}\r\n`);
  });
  await t.step("headers", async () => {
    await using upstream = serve(({ headers }) => [200, "OK", {}, `${headers["via"]}`]);
    const client = upstream.makeClient({ host: null });
    const headers = () => ({ via: "1.1 proxy" });
    await using proxy = serve(new ProxyApp(client, { headers }));
    assertEquals(await (await proxy.makeClient().get("/")).text(), "1.1 proxy");
  });
});

// Values of headers, unchanged from end to end, and values that one of two readers would trim.

const fromCodes = (start: number, end: number) =>
  String.fromCharCode(...Array.from({ length: end - start }, (_, i) => start + i));

/** A header for each byte from 0x20 to 0x7E, some with many bytes, and odd names. */
const EVERY_BYTE: Record<string, string> = {
  ...Object.fromEntries(
    Array.from({ length: 0x7f - 0x20 }, (_, i) => [`x-${i}`, `a${String.fromCharCode(0x20 + i)}b`]),
  ),
  "x-all": `${fromCodes(0x21, 0x7f)} .`,
  "x-above-127": fromCodes(0x80, 0x100),
  "x-tab": "a\tb \t c",
  // Only spaces and tabs are removed from the ends of a value.
  "x-ends": "\x85\xa0 a \xa0\x85",
  "x-empty": "",
  ["x".repeat(256)]: "v",
  cookie: 'theme={"dark":true}; list=[1|2]; mail=a@b; back=`\\`',
};

/** Returns the headers of {@linkcode EVERY_BYTE} among others. */
const pick = (headers: HeadersToSend) =>
  Object.fromEntries(Object.keys(EVERY_BYTE).map((name) => [name, headers[name]]));

const echo: App = ({ headers }) => [200, "OK", pick(headers), null];
const echoFetch: App = fromFetchHandler(({ headers }) =>
  new Response(null, { headers: Object.keys(EVERY_BYTE).map((name) => [name, headers.get(name)!]) })
);

Deno.test("every byte of a value from 0x20 on but 0x7F, and a tab, reaches the other end unchanged, in both directions", async (t) => {
  for (const [name, app] of [["app", echo], ["fetch handler", echoFetch]] as const) {
    await using serving = serve(app);
    await using proxy = serve(new ProxyApp(serving.makeClient()));
    const routes = [["direct", serving], ["proxy", proxy]] as const;
    await testEachRow(
      t,
      routes.map(([route, ends]) => [`${name}, ${route}`, ends] as const),
      async (
        _label,
        ends,
      ) => {
        // The second message finds the names and their order in the caches.
        for (let i = 0; i < 2; i++) {
          const response = await ends.makeClient().request("GET", "/", EVERY_BYTE);
          assertEquals(pick(response.headers), EVERY_BYTE);
          const fetched = await createFetch(ends.makeClient())("/", { headers: EVERY_BYTE });
          assertEquals(pick(Object.fromEntries(fetched.headers)), EVERY_BYTE);
        }
        const lines = Object.entries(EVERY_BYTE).map((line) => `${line.join(": ")}\r\n`).join("");
        using peer = await RawPeer.connect(ends.address);
        await peer.send(...`GET / HTTP/1.1\r\nhost: a\r\n${lines}\r\n`.match(/[^]{1,7}/g)!);
        const received = await peer.readPreamble();
        const sorted = Object.entries(EVERY_BYTE).map((line) => line.join(": ")).toSorted();
        const receivedLines = received.split("\r\n").filter((line) => sorted.includes(line));
        assertEquals(receivedLines.toSorted(), sorted);
      },
    );
    const response = await callApp(app, mkreq("GET", "/", EVERY_BYTE));
    assertEquals(flatten(pick(response.headers)), EVERY_BYTE);
  }
});
