/** Deno's own client and server: `fetch` and `Deno.serve`. */

import * as messages from "../messages.ts";
import { PatternChecker, PatternSource } from "../pattern.ts";
import {
  type Address,
  type CertificateFiles,
  type Endpoint,
  type Exchange,
  type ExchangeWork,
  type Handlers,
  hostname,
  runPeer,
  type TransferWork,
} from "../peer.ts";
type Handler = (request: Request) => Response | Promise<Response>;

function serve({ address, tls }: Endpoint, handler: Handler): Address {
  // The default callback prints the address.
  const onListen = () => {};
  if (typeof address === "string") {
    Deno.serve({ path: address, onListen }, handler);
    return address;
  }
  const identity = tls === undefined ? {} : readIdentity(tls.server);
  return Deno.serve({ hostname, port: address, onListen, ...identity }, handler).addr.port;
}

const handlers: Handlers<Handler> = {
  exchange: ({ message }) => message === "post" ? echo : answerHeaders,
  transfer: (work) => (request) => answerTransfer(request, work),
  relay({ upstream }) {
    const client = makeClient(upstream);
    const base = baseUrl(upstream);
    return async ({ method, headers, body, url }) => {
      const target = base + new URL(url).pathname;
      return await fetch(target, { method, headers, body, client, redirect: "manual" });
    };
  },
  hello: () => () => new Response(messages.helloText),
};

async function echo(request: Request): Promise<Response> {
  return new Response(await request.bytes());
}

function answerHeaders(request: Request): Response {
  messages.checkHeader(request.headers.get(messages.checkedHeader));
  return new Response(null, { headers: messages.responseHeaders });
}

async function answerTransfer(request: Request, work: TransferWork): Promise<Response> {
  const bodyLength = Number(new URL(request.url).pathname.slice(1));
  if (work.direction === "download") {
    const headers: HeadersInit = work.framing === "length"
      ? { "content-length": `${bodyLength}` }
      : {};
    return new Response(makeBody(bodyLength, work), { headers });
  }
  await checkBody(request.body, bodyLength);
  return new Response(null);
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
  const caCerts = [Deno.readTextFileSync(tls.client.caFile)];
  const identity = readIdentity(tls.client);
  return Deno.createHttpClient({ poolMaxIdlePerHost: 1, http2: false, caCerts, ...identity });
}

function readIdentity({ certFile, keyFile }: CertificateFiles) {
  return { cert: Deno.readTextFileSync(certFile), key: Deno.readTextFileSync(keyFile) };
}

function exchange(endpoint: Endpoint, work: ExchangeWork): Exchange {
  // Each `HttpClient` keeps one connection, like an exchange of the other peers.
  const client = makeClient(endpoint);
  const url = `${baseUrl(endpoint)}/`;
  // With `connection: close`, `fetch` closes the connection after each message.
  const headers: HeadersInit = work.connectsPerMessage ? { connection: "close" } : {};
  return {
    async request(payload: Uint8Array<ArrayBuffer> | null): Promise<Uint8Array> {
      const response = payload === null
        ? await fetch(url, { client, headers: messages.requestHeaders })
        : await fetch(url, { client, method: "POST", body: payload, headers });
      messages.checkStatus(response.status);
      if (payload === null) messages.checkHeader(response.headers.get(messages.checkedHeader));
      return await response.bytes();
    },
    close: () => client.close(),
  };
}

async function transfer(endpoint: Endpoint, work: TransferWork, bodyLength: number): Promise<void> {
  using client = makeClient(endpoint);
  const url = `${baseUrl(endpoint)}/${bodyLength}`;
  if (work.direction === "download") {
    const response = await fetch(url, { client });
    messages.checkStatus(response.status);
    await checkBody(response.body, bodyLength);
  } else {
    const response = await fetch(url, { client, method: "POST", body: makeBody(bodyLength, work) });
    messages.checkStatus(response.status);
    await response.bytes();
  }
}

function makeBody(bodyLength: number, work: TransferWork): ReadableStream<Uint8Array<ArrayBuffer>> {
  return ReadableStream.from(new PatternSource(bodyLength).pieces(work.pieceLength));
}

async function checkBody(
  body: ReadableStream<Uint8Array> | null,
  bodyLength: number,
): Promise<void> {
  const checker = new PatternChecker(bodyLength);
  for await (const piece of body ?? []) checker.check(piece);
  checker.checkLength();
}

if (import.meta.main) {
  await runPeer({ serve, handlers, exchange, supportsConnectPerMessage: true, transfer });
}
