/**
 * The rows of requests.rows.ts through a proxy: the bytes that the proxy sends to a server of this
 * project and to other servers, in which two recipients could find different requests.
 */
import { ProxyApp } from "@degu/degu";
import type { Address } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import type { AppFunction } from "@degu/degu/server";
import { findObstacle, startCommand } from "@degu/testing/commands.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { relayRequestHeaders } from "@degu/testing/proxies.ts";
import { dial, exchange, RawPeer } from "@degu/testing/raw_peer.ts";
import { RecordingRelay } from "@degu/testing/recording_relay.ts";
import { serve } from "@degu/testing/serving.ts";
import { decodeLatin1, respellReferenceUri } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals } from "@std/assert";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, readRequests } from "../fuzz/oracle.ts";
import {
  describeApp,
  formatResponses,
  isClosedByServer,
  type RequestRow,
  requestRows,
  someRequestRows,
} from "../base/wire/requests.rows.ts";

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
  }, { timeout: null });
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
  const proxyApp: AppFunction = (request, session) => app.handle(request, session);
  await using proxy = serve(proxyApp, { timeout: null });
  let responseTotal = 0;
  const lateRequests: SeenRequest[] = [];
  const isOwn = kind === null;
  for (const row of (isOwn ? requestRows : forwardedRows).map(respellUris)) {
    const received = await converse(proxy.address, row, isOwn);
    if (isOwn) assertEquals(received, formatResponses(row, true), row.name);
    // Bytes that are sent on for a refused request are found with the next row.
    if (row.accepted.length === 0 && row.broken === undefined) continue;
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
  await using proxy = serve(new ProxyApp(new Client(backEnd.address, { host: null })));
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
