/**
 * Requests whose bodies an app ignores, reads in part or reads too late, over TCP, a Unix socket
 * and TLS, and through a `ProxyApp`: each request has at most one response, in order, no body is
 * read as a request, and a late read gets the whole body or an error.
 */

import {
  Client,
  ConnectionPool,
  createFetch,
  fromFetchHandler,
  ProxyApp,
  Server,
  SSLServer,
} from "@degu/degu";
import { type Address, BodyIter, type BodyOut } from "@degu/degu/base";
import { TempPKI } from "@degu/degu/misc";
import type { App, Request as AppRequest } from "@degu/degu/server";
import { dial, isBroken, RawPeer, withTimeout } from "../support/raw_peer.ts";
import { cutBytes } from "../support/streams.ts";
import { readTexts } from "../support/tls_endpoints.ts";
import { decodeLatin1, encodeLatin1 } from "../support/wire_grammar.ts";
import { demand, type Fuzzer, type Outcome } from "./fuzzer.ts";
import { quietLogger } from "./memory.ts";
import { hasConnectionClose, readOneResponse } from "./oracle.ts";
import type { Random } from "./random.ts";

type ReceivedBody = NonNullable<AppRequest["body"]>;

/** Records a read that may end after the response: it must return the whole body, or fail. */
type RecordRead = (read: Promise<unknown>) => void;

/** How an app uses the body of a request, and with which status it responds. */
interface Use {
  readonly status: number;
  /** Whether the body may be in use, or canceled, when the response is sent. */
  readonly isInUse: boolean;
  readonly isIgnored: boolean;
  handle(request: AppRequest, recordRead: RecordRead): Promise<BodyOut>;
}

function makeUse(
  handle: (body: ReceivedBody, recordRead: RecordRead) => unknown,
  makeBody: () => BodyOut,
  { status = 200, isInUse = false } = {},
): Use {
  return {
    status,
    isInUse,
    isIgnored: handle === ignore,
    async handle({ body }, recordRead) {
      if (body !== null) await handle(body, recordRead);
      return makeBody();
    },
  };
}

const hello = encodeLatin1("hello");

function waitForTick(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}

async function* yieldHello() {
  yield encodeLatin1("hel");
  await waitForTick();
  yield encodeLatin1("lo");
}

const ignore = () => {};

function readPart(body: ReceivedBody): Promise<unknown> {
  return body.chunked ? body.readChunk() : body.read(2);
}

function readAfterTick(body: ReceivedBody, recordRead: RecordRead): void {
  recordRead(waitForTick().then(() => body.text()));
}

/** The ways to use the body of a request, each with a response from this function. */
function makeUses(makeBody: () => BodyOut): Use[] {
  return [
    makeUse(ignore, makeBody),
    makeUse(ignore, makeBody),
    makeUse(ignore, makeBody, { status: 404 }),
    makeUse(ignore, makeBody, { status: 500 }),
    makeUse(readPart, makeBody),
    makeUse((body) => body.bytes(), makeBody),
    makeUse(readAfterTick, makeBody),
    makeUse((body, recordRead) => recordRead(body.text()), makeBody, { isInUse: true }),
    makeUse((body) => body.readable, makeBody, { isInUse: true }),
    makeUse((body) => body.cancel(), makeBody, { isInUse: true }),
  ];
}

/** A handler of fetch, and whether the body may be in use when its response is sent. */
type FetchUse = readonly [
  handle: (request: Request, recordRead: RecordRead, echo: typeof fetch) => unknown,
  isInUse?: boolean,
];

const FETCH_USES: readonly FetchUse[] = [
  [ignore],
  [ignore],
  [(request) => request.body],
  [(request) => request.clone()],
  [(request, recordRead) => recordRead(waitForTick().then(() => request.text())), true],
  [(request, recordRead) => {
    const copy = request.clone();
    recordRead(waitForTick().then(() => copy.text()));
  }, true],
  [(request, recordRead) => recordRead(request.text()), true],
  [(request, recordRead) => recordRead(new Request(request).text()), true],
  [(request) => request.text()],
  [(request) => request.body?.getReader({ mode: "byob" }).read(new Uint8Array(2)), true],
  [(request) => request.body?.cancel(), true],
  [(request, recordRead, echo) => {
    recordRead(echo("/", { method: "POST", body: request.body }).then((echoed) => echoed.text()));
  }, true],
];

const FETCH_RESPONSES: readonly (() => Response)[] = [
  () => new Response("hello"),
  () => new Response("hello", { status: 413 }),
  () => new Response(ReadableStream.from(yieldHello())),
  () => new Response(ReadableStream.from(yieldHello()), { status: 404 }),
];

/** The kinds of apps, each with its uses. */
const KINDS = ["value", "source", "fetch"] as const;

type Kind = typeof KINDS[number];

/** What one request must cause. */
interface Plan {
  readonly text: string;
  readonly content: string;
  readonly status: number;
  /** Whether a value is returned, and the body ignored, so that a cut request has a response. */
  readonly isIgnored: boolean;
  /** Whether the session may end after its response. */
  readonly mayBeLast: boolean;
}

const SMUGGLED = [
  "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
  "\r\nPUT /smuggled HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
  "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
  "HTTP/1.1 200 OK\r\nnumber: smuggled\r\ncontent-length: 0\r\n\r\n",
];
const MAX_DROPPED_BYTES = 65536;
const MAX_DROP_MILLISECONDS = 1000;
const SIZES = [0, 1, 2, 30, 100, 400, 900, 1024, 3000];
/** At and around the limit of dropped bytes. */
const LARGE_SIZES = [65535, 65536, 65537, 70_000];

/** The header lines of requests with a content-length. */
const LINES = ["", "", "", "", "", "", "", "upgrade: websocket\r\nconnection: upgrade\r\n"];
/** The same for requests whose ignored body ends the session. */
const LAST_LINES = ["expect: 100-continue\r\n", "connection: close\r\n"];
const HTTP_1_0 = LINES.length + LAST_LINES.length;
/** The other framings are chunks, without and with a trailer. */
const FRAMINGS = HTTP_1_0 + 3;

function formatChunks(content: string, trailer: string): string {
  const chunks = cutBytes(encodeLatin1(content), 1, 35, Math.ceil(content.length / 10));
  const lines = chunks.map((data) => `${data.length.toString(16)}\r\n${decodeLatin1(data)}\r\n`);
  return `${lines.join("")}0\r\n${trailer}\r\n`;
}

function formatRequest(uri: string, framing: number, content: string, size: number) {
  const isHttp10 = framing === HTTP_1_0;
  const method = ["PUT", "POST", "PATCH"][size % 3];
  const head = `${method} ${uri} HTTP/1.${isHttp10 ? 0 : 1}\r\nhost: a\r\n`;
  if (framing <= HTTP_1_0) {
    const lines = [...LINES, ...LAST_LINES][framing] ?? "";
    const text = `${head}${lines}content-length: ${content.length}\r\n\r\n${content}`;
    return { text, isDropped: framing < LINES.length && content.length <= MAX_DROPPED_BYTES };
  }
  const trailer = framing === HTTP_1_0 + 1 ? "" : "get: /smuggled\r\n";
  const chunks = formatChunks(content, trailer);
  return { text: `${head}transfer-encoding: chunked\r\n\r\n${chunks}`, isDropped: false };
}

const NUMBERS_PER_REQUEST = 4;

/** Makes the numbers of a case: its route, tear and cut, and for each request, its use and body. */
function makeCase(random: Random): string {
  const numbers = [
    random.below(4),
    random.below(1000),
    random.chance(15) ? 1 + random.below(40) : 0,
  ];
  for (let n = 1 + random.below(4); n > 0; n--) {
    const size = random.below(random.chance(4) ? SIZES.length + LARGE_SIZES.length : SIZES.length);
    numbers.push(random.below(48), random.below(FRAMINGS), random.below(SMUGGLED.length), size);
  }
  return numbers.join(" ");
}

/** Apps of one kind behind each route, and the requests that they received. */
class IgnoringServers {
  readonly #kind: Kind;
  readonly #uses: readonly Use[];
  readonly #resources: AsyncDisposableStack = new AsyncDisposableStack();
  readonly #routes: Promise<readonly (() => Promise<Deno.Conn>)[]>;
  #echo: typeof fetch = fetch;
  #calls: string[] = [];
  /** The late reads, with the number of their request. */
  #reads: (readonly [number: number, read: Promise<unknown>])[] = [];

  constructor(kind: Kind) {
    this.#kind = kind;
    const stream = () => new Blob([hello]).stream();
    const sources = [yieldHello, stream, () => new BodyIter([hello], 5)];
    this.#uses = kind === "value"
      ? [...makeUses(() => "hello"), ...makeUses(() => hello), ...makeUses(() => null)]
      : sources.flatMap(makeUses);
    this.#routes = this.#start();
  }

  /** Returns lists to which the calls and reads of the next requests are added. */
  begin() {
    this.#calls = [];
    this.#reads = [];
    return { calls: this.#calls, reads: this.#reads };
  }

  /** Returns what the app does with the body of a request. */
  planUse(index: number) {
    if (this.#kind === "fetch") {
      const response = index % FETCH_RESPONSES.length;
      const [handle, isInUse = false] = FETCH_USES[index % FETCH_USES.length]!;
      const isSource = response >= 2;
      const isIgnored = handle === ignore && !isSource;
      return { status: [200, 413, 200, 404][response]!, isInUse, isSource, isIgnored };
    }
    const { status, isInUse, isIgnored } = this.#uses[index % this.#uses.length]!;
    const isSource = this.#kind === "source";
    return { status, isInUse, isSource, isIgnored: isIgnored && !isSource };
  }

  async connect(route: number): Promise<RawPeer> {
    return new RawPeer(await (await this.#routes)[route]!());
  }

  async close(): Promise<void> {
    await this.#routes;
    await this.#resources.disposeAsync();
  }

  readonly #app: App = async (request) => {
    const { uri } = request;
    this.#calls.push(uri);
    const { index, number, recordRead } = this.#readUri(uri);
    const use = this.#uses[index % this.#uses.length]!;
    return [use.status, "As it is", { number }, await use.handle(request, recordRead)];
  };

  readonly #handle = async (request: Request): Promise<Response> => {
    const { pathname } = new URL(request.url);
    this.#calls.push(pathname);
    const { index, number, recordRead } = this.#readUri(pathname);
    const [handle] = FETCH_USES[index % FETCH_USES.length]!;
    if (request.body !== null) await handle(request, recordRead, this.#echo);
    const response = FETCH_RESPONSES[index % FETCH_RESPONSES.length]!();
    response.headers.set("number", number);
    return response;
  };

  /** Reads `/number/index`. */
  #readUri(uri: string) {
    const [, number = "", index = ""] = uri.split("/");
    const reads = this.#reads;
    const recordRead = (read: Promise<unknown>) => {
      read.catch(() => {});
      reads.push([Number(number), read]);
    };
    return { number, index: Number(index), recordRead };
  }

  #serve(server: Server): Server {
    const serving = server.serveForever();
    this.#resources.defer(async () => {
      server.close();
      await serving;
    });
    return server;
  }

  async #start() {
    const app: App = this.#kind === "fetch" ? fromFetchHandler(this.#handle) : this.#app;
    const pki = this.#resources.use(await TempPKI.create());
    const dir = await Deno.makeTempDir({ prefix: "degu-ignored-" });
    this.#resources.defer(() => Deno.remove(dir, { recursive: true }));
    const options = { logger: quietLogger, hosts: "any" } as const;
    const plain: Address = ["127.0.0.1", 0];
    const tcp = this.#serve(new Server(plain, app, options));
    const unix = this.#serve(new Server(`${dir}/socket`, app, options));
    const tls = this.#serve(new SSLServer(pki.serverSslconfig, plain, app, options));
    const proxyApp = this.#resources.use(new ProxyApp(new Client(tcp.address)));
    const proxy = this.#serve(new Server(plain, proxyApp, options));
    const echoApp: App = async (request) => [200, "OK", {}, await request.bytes()];
    const echo = this.#serve(new Server(plain, echoApp, options));
    this.#echo = createFetch(this.#resources.use(new ConnectionPool(new Client(echo.address))));
    await Promise.all([unix.ready, tls.ready]);
    const { ca, cert, key } = await readTexts(pki.clientSslconfig);
    const [hostname, port] = tls.address as readonly [string, number];
    return [
      () => dial(tcp.address),
      () => dial(unix.address),
      () => Deno.connectTls({ hostname, port, caCerts: [ca], cert, key }),
      () => dial(proxy.address),
    ];
  }
}

const PROXY_ROUTE = 3;
const TLS_ROUTE = 2;

/** Sends the pieces, and reads to the end of the server. */
async function exchangePieces(
  peer: RawPeer,
  { pieces, waits, isCut }: Pick<ReturnType<typeof readCase>, "pieces" | "waits" | "isCut">,
): Promise<{ received: string; isSlow: boolean }> {
  const startTime = performance.now();
  try {
    for (const piece of pieces) {
      await peer.send(piece);
      if (waits) await waitForTick();
    }
    if (isCut) await peer.closeWrite();
  } catch (error) {
    if (!isBroken(error) && !(error instanceof Deno.errors.NotConnected)) throw error;
  }
  const { received } = await peer.readToEnd();
  // On a busy machine, a body may arrive after the server has stopped waiting for it.
  const isSlow = performance.now() - startTime > MAX_DROP_MILLISECONDS * 0.9;
  return { received, isSlow };
}

/** Reads the numbers of {@linkcode makeCase}. */
function readCase(input: string, servers: IgnoringServers) {
  const numbers = Array.from(input.matchAll(/\d+/g), ([digits]) => Number(digits) % 1000);
  const [routeNumber = 0, tear = 0, cut = 0, ...rest] = numbers;
  const route = routeNumber % 4;
  const plans: Plan[] = [];
  for (let at = 0; at < rest.length && plans.length < 5; at += NUMBERS_PER_REQUEST) {
    const [index = 0, framing = 0, smuggled = 0, sizeIndex = 0] = rest.slice(at);
    const size = [...SIZES, ...LARGE_SIZES][sizeIndex % (SIZES.length + LARGE_SIZES.length)]!;
    const part = SMUGGLED[smuggled % SMUGGLED.length]!;
    const content = part.repeat(Math.ceil(size / part.length)).slice(0, size);
    const uri = `/${plans.length}/${index}`;
    const { text, isDropped } = formatRequest(uri, framing % FRAMINGS, content, size);
    const { isInUse, isSource, ...plan } = servers.planUse(index);
    const mayBeLast = !isDropped || size > 0 && (isInUse || isSource);
    plans.push({ text, content, mayBeLast, ...plan });
  }
  const lastContent = plans.at(-1)?.content ?? "";
  // A connection of Deno.connectTls can't close its side alone, and a proxy then ends its requests.
  const isCut = route < TLS_ROUTE && cut > 0 && cut <= lastContent.length;
  if (!isCut) {
    const { status, isIgnored } = servers.planUse(0);
    const text = `GET /${plans.length}/0 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`;
    plans.push({ text, content: "", status, isIgnored, mayBeLast: true });
  }
  const text = plans.map(({ text }) => text).join("");
  const pieces = tearBytes(text.slice(0, isCut ? -cut : undefined), tear);
  return { route, pieces, waits: tear % 2 === 1, isCut, plans };
}

/** Cuts a text nowhere, in two, or into up to about thirty pieces. */
function tearBytes(text: string, tear: number): Uint8Array[] {
  const bytes = encodeLatin1(text);
  const { length } = bytes;
  const offset = 1 + Math.floor(length * (tear % 167) / 167);
  if (tear % 3 === 0) return cutBytes(bytes);
  if (tear % 3 === 1) return cutBytes(bytes, offset, length);
  return cutBytes(bytes, 1 + offset % 90, 13, Math.ceil(length / 10));
}

/** Demands that the responses are those of the first requests; returns their number. */
function checkResponses(
  { received, isSlow }: Awaited<ReturnType<typeof exchangePieces>>,
  { route, isCut, plans }: Pick<ReturnType<typeof readCase>, "route" | "isCut" | "plans">,
): number {
  let count = 0;
  for (let rest = received; rest !== ""; count++) {
    const response = readOneResponse("POST", rest);
    const plan = plans[count];
    // The server may notice that its client has left, and may not get the request.
    const isWhole = response?.body !== undefined && response.headers["number"] !== undefined;
    if (isCut && !plan?.isIgnored && !isWhole) return count;
    demand(response !== null, `no response: ${rest.slice(0, 300)}`);
    demand(response.body !== undefined, `a cut response: ${rest.slice(0, 300)}`);
    demand(plan !== undefined, `more responses than requests: ${rest.slice(0, 300)}`);
    const { status, headers, excess } = response;
    const isOwn = headers["number"] === `${count}` && status === plan.status;
    // The upstream may have ended the connection of the proxy.
    const isOfProxy = route === PROXY_ROUTE && headers["number"] === undefined && status >= 500;
    demand(isOwn || isOfProxy, `${status} ${headers["number"]} is no response to ${count}`);
    const isLast = hasConnectionClose(headers);
    demand(!isLast || excess === 0, "there are bytes after the last response");
    if (isOfProxy) return count + 1;
    rest = rest.slice(rest.length - excess);
  }
  const { mayBeLast } = plans[Math.max(count - 1, 0)]!;
  const mayBeUnanswered = isCut && count === plans.length - 1 && !plans[count]!.isIgnored;
  demand(
    count === plans.length || count > 0 && (mayBeLast || isSlow) || mayBeUnanswered,
    `the session ended after ${count} of ${plans.length} responses`,
  );
  return count;
}

/** Makes a fuzzer of requests to apps that ignore their bodies. */
export function makeIgnoredBodies(kind: Kind): Fuzzer {
  let servers: IgnoringServers | null = null;
  return {
    name: `ignored-${kind}`,
    grammar: makeCase,
    async check(input): Promise<Outcome> {
      servers ??= new IgnoringServers(kind);
      const { calls, reads } = servers.begin();
      const testCase = readCase(input, servers);
      const { plans, isCut } = testCase;
      using peer = await servers.connect(testCase.route);
      const count = checkResponses(await exchangePieces(peer, testCase), testCase);
      const numbers = calls.map((uri) => Number(/^\/(\d+)\//.exec(uri)?.[1] ?? NaN));
      demand(
        numbers.every((number, i) => number > (numbers[i - 1] ?? -1)),
        `the app was called for ${calls}`,
      );
      for (const [number, read] of reads) {
        const value = await withTimeout(read.catch((error: unknown) => error), "a late read ends");
        const isWhole = value === plans[number]!.content && !(isCut && number === plans.length - 1);
        demand(isWhole || value instanceof Error, `a late read of ${number} returned ${value}`);
      }
      return count === plans.length ? "accepted" : "rejected";
    },
    async close() {
      await servers?.close();
    },
  };
}

export const ignoredBodies: Readonly<Record<string, () => Fuzzer>> = Object.fromEntries(
  KINDS.map((kind) => [`ignored-${kind}`, () => makeIgnoredBodies(kind)]),
);
