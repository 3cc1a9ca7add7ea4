/** The runtime's own pair: `fetch` and `Deno.serve`. */

import * as messages from "../messages.ts";
import { PatternChecker, PatternSource } from "../pattern.ts";
import type { Endpoint, Exchange, ExchangeWork, ServerWork, TransferWork } from "../peer.ts";
import { runPeer } from "../peer.ts";

type Handler = (request: Request) => Response | Promise<Response>;

function serve(endpoint: Endpoint, work: ServerWork): Promise<Endpoint> {
  const handler = makeHandler(work);
  const { promise, resolve } = Promise.withResolvers<Endpoint>();
  if (endpoint.transport === "unix") {
    Deno.serve({ path: endpoint.path, onListen: () => resolve(endpoint) }, handler);
    return promise;
  }
  const { hostname, tls } = endpoint;
  const onListen = ({ port }: Deno.NetAddr) => resolve({ ...endpoint, port });
  const certificate = tls === undefined ? {} : {
    cert: Deno.readTextFileSync(tls.server.certFile),
    key: Deno.readTextFileSync(tls.server.keyFile),
  };
  Deno.serve({ hostname, port: endpoint.port, onListen, ...certificate }, handler);
  return promise;
}

function makeHandler(work: ServerWork): Handler {
  switch (work.kind) {
    case "exchange":
      return work.message === "post" ? echo : answerHeaders;
    case "transfer":
      return (request) => answerTransfer(request, work);
    case "relay":
      return makeRelay(work.upstream);
    case "answer":
      return () => new Response(messages.answerBody);
  }
}

async function echo(request: Request): Promise<Response> {
  return new Response(await request.bytes());
}

function answerHeaders(request: Request): Response {
  messages.checkHeader(request.headers.get(messages.checkedHeader));
  return new Response(null, { headers: messages.responseHeaders });
}

async function answerTransfer(request: Request, work: TransferWork): Promise<Response> {
  const bytes = Number(new URL(request.url).pathname.slice(1));
  if (work.direction === "download") {
    const headers: HeadersInit = work.framing === "length" ? { "content-length": `${bytes}` } : {};
    return new Response(makeBody(bytes, work), { headers });
  }
  await take(request.body, bytes);
  return new Response(null);
}

function makeRelay(upstream: Endpoint): Handler {
  const client = makeClient(upstream);
  const base = baseUrl(upstream);
  return async (request) => {
    const { method, headers, body } = request;
    const url = base + new URL(request.url).pathname;
    return await fetch(url, { method, headers, body, client, redirect: "manual" });
  };
}

function baseUrl(endpoint: Endpoint): string {
  const scheme = endpoint.tls === undefined ? "http" : "https";
  return endpoint.transport === "tcp"
    ? `${scheme}://${endpoint.hostname}:${endpoint.port}`
    : `${scheme}://localhost`;
}

function makeClient(endpoint: Endpoint): Deno.HttpClient {
  if (endpoint.transport === "unix") {
    return Deno.createHttpClient({ proxy: { transport: "unix", path: endpoint.path } });
  }
  if (endpoint.tls === undefined) return Deno.createHttpClient({ poolMaxIdlePerHost: 1 });
  const { caFile, certFile, keyFile } = endpoint.tls.client;
  return Deno.createHttpClient({
    poolMaxIdlePerHost: 1,
    http2: false,
    caCerts: [Deno.readTextFileSync(caFile)],
    cert: Deno.readTextFileSync(certFile),
    key: Deno.readTextFileSync(keyFile),
  });
}

function exchange(endpoint: Endpoint, work: ExchangeWork): Promise<Exchange> {
  // A client of its own keeps one connection, as the other peers' exchanges do.
  const client = makeClient(endpoint);
  const url = `${baseUrl(endpoint)}/`;
  // `fetch` closes the connection after each message if the request says so.
  const headers: HeadersInit = work.single ? { connection: "close" } : {};
  return Promise.resolve({
    async request(payload: Uint8Array<ArrayBuffer> | null): Promise<Uint8Array> {
      const response = payload === null
        ? await fetch(url, { client, headers: messages.requestHeaders })
        : await fetch(url, { client, method: "POST", body: payload, headers });
      messages.checkStatus(response.status);
      if (payload === null) messages.checkHeader(response.headers.get(messages.checkedHeader));
      return await response.bytes();
    },
    close: () => client.close(),
  });
}

async function transfer(endpoint: Endpoint, work: TransferWork, bytes: number): Promise<void> {
  using client = makeClient(endpoint);
  const url = `${baseUrl(endpoint)}/${bytes}`;
  if (work.direction === "download") {
    const response = await fetch(url, { client });
    messages.checkStatus(response.status);
    await take(response.body, bytes);
  } else {
    const response = await fetch(url, { client, method: "POST", body: makeBody(bytes, work) });
    messages.checkStatus(response.status);
    await response.bytes();
  }
}

function makeBody(bytes: number, work: TransferWork): ReadableStream<Uint8Array<ArrayBuffer>> {
  return ReadableStream.from(new PatternSource(bytes).pieces(work.pieceLength));
}

async function take(body: ReadableStream<Uint8Array> | null, bytes: number): Promise<void> {
  if (body === null) throw new Error("a message without body");
  const checker = new PatternChecker(bytes);
  for await (const piece of body) checker.check(piece);
  checker.finish();
}

if (import.meta.main) await runPeer({ serve, exchange, opensForEach: true, transfer });
