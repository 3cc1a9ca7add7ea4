/** The client and the server of Degu. */

import {
  type Address,
  Body,
  type BodyOut,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
} from "../../base.ts";
import { Client, type Connection, ConnectionPool, SSLClient } from "../../client.ts";
import {
  type App,
  type Request,
  type ResponseTuple,
  Server,
  type ServerOptions,
  type Session,
  SSLServer,
} from "../../server.ts";
import * as messages from "../messages.ts";
import { makeEncodedChecker, PatternChecker, PatternSource } from "../pattern.ts";
import {
  type Endpoint,
  type Exchange,
  type ExchangeWork,
  type Handlers,
  hostname,
  runPeer,
  type TransferWork,
} from "../peer.ts";
/** The length of the buffer of a BYOB reader. */
const readerLength = 64 * 1024;

export async function serve(
  endpoint: Endpoint,
  app: App,
  options: ServerOptions = { maxConnections: 2048, maxRequests: Infinity, timeout: 30 },
): Promise<string | number> {
  const address = toAddress(endpoint);
  const server = endpoint.tls === undefined
    ? new Server(address, app, options)
    : new SSLServer(endpoint.tls.server, address, app, options);
  await server.ready;
  server.serveForever();
  const boundAddress = server.address;
  return typeof boundAddress === "string" ? boundAddress : Number(boundAddress[1]);
}

function toAddress({ address }: Endpoint): Address {
  return typeof address === "number" ? [hostname, address] : address;
}

function makeClient(endpoint: Endpoint): Client {
  const address = toAddress(endpoint);
  if (endpoint.tls === undefined) return new Client(address);
  // Don't check the name: the private authority has issued only one server certificate.
  return new SSLClient({ ...endpoint.tls.client, checkHostname: false }, address);
}

const handlers: Handlers<App> = {
  exchange: ({ message }) => message === "post" ? echo : answerHeaders,
  transfer: (work) => (request) => answerTransfer(request, work),
  async relay({ upstream }) {
    const { ProxyApp } = await import("../../apps/proxy.ts");
    return new ProxyApp(makeClient(upstream));
  },
  "relay-each": async ({ upstream, by }) => {
    const { ProxyApp } = await import("../../apps/proxy.ts");
    const client = makeClient(upstream);
    const connections = new WeakMap<Session, Connection>();
    const proxies = new WeakMap<Session, InstanceType<typeof ProxyApp>>();
    if (by === "proxy") {
      return (request, session) => {
        const proxy = proxies.getOrInsertComputed(session, () => new ProxyApp(client));
        return proxy.handle(request, session);
      };
    }
    return async ({ method, uri, headers, body }, session) => {
      let conn = connections.get(session);
      if (conn === undefined) connections.set(session, conn = await client.connect());
      return await conn.request(method, uri, headers, body);
    };
  },
  async hello({ usesTuple }) {
    if (usesTuple) return () => [200, "OK", {}, messages.helloText];
    const { reply } = await import("../../apps/reply.ts");
    return () => reply(200, messages.helloText);
  },
};

async function echo(request: Request): Promise<ResponseTuple> {
  return [200, "OK", {}, await request.body!.bytes()];
}

function answerHeaders(request: Request): ResponseTuple {
  messages.checkHeader(request.headers[messages.checkedHeader]);
  return [200, "OK", messages.responseHeaders, null];
}

/** The client of all connections. As in most programs, they share its TLS context. */
let client: Client | null = null;

async function exchange(endpoint: Endpoint, work: ExchangeWork): Promise<Exchange> {
  client ??= makeClient(endpoint);
  const isPooled = work.requester === "pool";
  const conn = work.connectsPerMessage || isPooled ? null : await client.connect();
  const pool = isPooled ? new ConnectionPool(client) : null;
  const close = () => (pool ?? conn)?.close();
  const requester = pool ?? conn ?? client;
  if (work.usesFetch) {
    const { createFetch } = await import("../../web/create_fetch.ts");
    const fetch = createFetch(requester);
    return {
      async request(payload) {
        const response = await fetch("/", { method: "POST", body: payload });
        messages.checkStatus(response.status);
        return await response.bytes();
      },
      close,
    };
  }
  const emptyBody = new Uint8Array();
  return {
    async request(payload: Uint8Array | null): Promise<Uint8Array> {
      if (payload === null) {
        const response = await requester.request("GET", "/", messages.requestHeaders, null);
        messages.checkStatus(response.status);
        messages.checkHeader(response.headers[messages.checkedHeader]);
        return emptyBody;
      }
      const response = await requester.request("POST", "/", {}, payload);
      messages.checkStatus(response.status);
      return await response.body!.bytes();
    },
    close,
  };
}

async function answerTransfer(request: Request, work: TransferWork): Promise<ResponseTuple> {
  const bodyLength = Number(request.path[0]);
  if (work.direction === "download") return [200, "OK", {}, makeBody(bodyLength, work)];
  await checkBody(request.body, work, bodyLength);
  return [200, "OK", {}, null];
}

async function transfer(endpoint: Endpoint, work: TransferWork, bodyLength: number): Promise<void> {
  using conn = await makeClient(endpoint).connect();
  if (work.direction === "download") {
    const response = await conn.get(`/${bodyLength}`);
    messages.checkStatus(response.status);
    await checkBody(response.body, work, bodyLength);
  } else {
    messages.checkStatus(
      (await conn.post(`/${bodyLength}`, {}, makeBody(bodyLength, work))).status,
    );
  }
}

function makeBody(bodyLength: number, { framing, pieceLength }: TransferWork): BodyOut {
  const source = new PatternSource(bodyLength);
  return framing === "chunked"
    ? new ChunkedBodyIter(makeChunks(source, pieceLength))
    : new Body(source, bodyLength);
}

function* makeChunks(source: PatternSource, length: number): Generator<Chunk, void, undefined> {
  for (const piece of source.pieces(length)) yield [null, piece];
  yield [null, new Uint8Array()];
}

async function checkBody(body: BodyOut, work: TransferWork, bodyLength: number): Promise<void> {
  if (!(body instanceof Body || body instanceof ChunkedBody)) {
    throw new Error("the message has no streamed body");
  }
  // `writeTo` of a chunked body writes the encoded chunks.
  const checker = body.chunked && work.readMethod === "writeTo"
    ? makeEncodedChecker(bodyLength, work.pieceLength)
    : new PatternChecker(bodyLength);
  if (work.readMethod === "writeTo") await body.writeTo(checker);
  else if (work.readMethod === "byob") {
    const reader = body.readable.getReader({ mode: "byob" });
    let result = await reader.read(new Uint8Array(readerLength));
    while (!result.done) {
      checker.check(result.value);
      result = await reader.read(new Uint8Array(result.value.buffer));
    }
  } else if (work.readMethod === "stream") {
    for await (const piece of body.readable) checker.check(piece);
  } else if (body.chunked) {
    for await (const [, data] of body) checker.check(data);
  } else {
    for await (const piece of body) checker.check(piece);
  }
  checker.checkLength();
}

if (import.meta.main) {
  await runPeer({ serve, handlers, exchange, supportsConnectPerMessage: true, transfer });
}
