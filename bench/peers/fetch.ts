/** The runtime's own pair: `fetch` and `Deno.serve`. */

import * as messages from "../messages.ts";
import { PatternChecker, PatternSource } from "../pattern.ts";
import type { Endpoint, Exchange, ExchangeWork, ServerWork, TransferWork } from "../peer.ts";
import { hostname, runPeer } from "../peer.ts";

type Handler = (request: Request) => Response | Promise<Response>;

function serve(endpoint: Endpoint, work: ServerWork): Promise<Endpoint> {
  const handler = makeHandler(work);
  const { promise, resolve } = Promise.withResolvers<Endpoint>();
  const { address, tls } = endpoint;
  if (typeof address === "string") {
    Deno.serve({ path: address, onListen: () => resolve(endpoint) }, handler);
    return promise;
  }
  const onListen = ({ port }: Deno.NetAddr) => resolve({ ...endpoint, address: port });
  const certificate = tls === undefined ? {} : {
    cert: Deno.readTextFileSync(tls.server.certFile),
    key: Deno.readTextFileSync(tls.server.keyFile),
  };
  Deno.serve({ hostname, port: address, onListen, ...certificate }, handler);
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

function baseUrl({ address, tls }: Endpoint): string {
  const scheme = tls === undefined ? "http" : "https";
  return `${scheme}://${typeof address === "number" ? `${hostname}:${address}` : "localhost"}`;
}

function makeClient({ address, tls }: Endpoint): Deno.HttpClient {
  if (typeof address === "string") {
    return Deno.createHttpClient({ proxy: { transport: "unix", path: address } });
  }
  if (tls === undefined) return Deno.createHttpClient({ poolMaxIdlePerHost: 1 });
  const { caFile, certFile, keyFile } = tls.client;
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
  const checker = new PatternChecker(bytes);
  for await (const piece of body ?? []) checker.check(piece);
  checker.finish();
}

if (import.meta.main) await runPeer({ serve, exchange, opensForEach: true, transfer });
