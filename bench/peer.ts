/**
 * The common interface of all peers, and the program in every file of `peers/`. Started with
 * `serve` or `drive` and a JSON argument, the program prints `{"value": …}` when it is ready, and
 * then answers each command line on standard input with one line, until the input ends.
 */

import process from "node:process";
import { medianOf } from "./measure.ts";
import { checkSame, makePayload, type MessageKind } from "./messages.ts";

/** Paths of the PEM files of one end of a mutually authenticated TLS connection. */
export interface CertificateFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** The authority that the other end's certificate must come from. */
  readonly caFile: string;
}

export interface TlsFiles {
  readonly server: CertificateFiles;
  readonly client: CertificateFiles;
}

export const hostname = "127.0.0.1";

/** The path of a Unix socket, or a port of {@link hostname}; 0 asks for any free one. */
export type Address = string | number;

/** The address and the certificates of a server. */
export interface Endpoint {
  readonly address: Address;
  readonly tls?: TlsFiles | undefined;
}

/** Small messages in sequence on each of some connections. */
export interface ExchangeWork {
  readonly kind: "exchange";
  readonly message: MessageKind;
  readonly connections: number;
  /** Whether each message has a connection of its own; `connections` of them at a time. */
  readonly single?: boolean;
  /** Whether the connection is one of a pool, if the peer has pools of its own. */
  readonly pooled?: boolean;
}

/** The way in which a receiver takes a body. Peers with a single way ignore it. */
export type Taking = "writeTo" | "byob" | "stream" | "iterate";

export interface TransferWork {
  readonly kind: "transfer";
  readonly direction: "upload" | "download";
  readonly framing: "length" | "chunked";
  /** Bytes per write of the sender, and per chunk with chunked framing. Divides 1 MiB. */
  readonly pieceLength: number;
  readonly taking: Taking;
}

export type ClientWork = ExchangeWork | TransferWork;

/**
 * The task of a server: small messages, bodies, passing each message on to another server, or
 * answering a GET of `/` with `payloadLength` bytes, too.
 */
export type ServerWork =
  | ClientWork
  | { readonly kind: "relay"; readonly upstream: Endpoint }
  | { readonly kind: "answer" };

/** A connection on which small messages go back and forth. */
export interface Exchange {
  /** Sends a request, checks the response's status and headers, and returns its body. */
  request(payload: Uint8Array<ArrayBuffer> | null): Promise<Uint8Array>;
  close(): void | Promise<void>;
}

/** The makers of handlers of requests, or of connections, for each kind of work. */
export type Handlers<Handler> = {
  readonly [Kind in ServerWork["kind"]]?: (
    work: Extract<ServerWork, { readonly kind: Kind }>,
  ) => Handler | Promise<Handler>;
};

/** The parts of a peer; a missing part is never asked for. */
export interface Peer<Handler> {
  readonly handlers: Handlers<Handler>;
  /** Starts a server that lives as long as the process, and returns its address. */
  serve(endpoint: Endpoint, handler: Handler): Address | Promise<Address>;
  exchange(endpoint: Endpoint, work: ExchangeWork): Exchange | Promise<Exchange>;
  /** Whether {@link exchange} itself opens a connection for each message if the work says so. */
  readonly opensForEach?: boolean;
  /**
   * Sends or receives one body of so many bytes on a connection of its own, and checks its bytes.
   */
  transfer(endpoint: Endpoint, work: TransferWork, bytes: number): Promise<void>;
}

export interface PeerArgument<Work = ServerWork> {
  readonly endpoint: Endpoint;
  readonly work: Work;
}

/**
 * A line on a peer's standard input. `run` exchanges so many messages or bytes, and returns the
 * seconds. `pace` exchanges a message over a kept connection after a pause of so many milliseconds,
 * again and again for some seconds, and returns the seconds that a message takes, without the pause.
 * `hold` opens so many connections, uses each once and keeps it. `rest` collects the garbage and
 * returns the bytes of memory that are left. `spent` returns the seconds of processor time so far.
 */
export interface Command {
  readonly command: "run" | "pace" | "hold" | "rest" | "spent";
  readonly amount?: number;
}

export type Answers = Partial<
  Record<Command["command"], (amount: number) => Promise<number | void>>
>;

/** Small messages on each fresh connection before the clock starts. */
const settlingMessages = 20;
/** Milliseconds of messages with pauses between them, and the least number of such messages. */
const pacedMilliseconds = 600, leastPaced = 9;
/** The number of collections, with turns in between for finalizers. */
const collections = 5;

/** Runs a file of `peers/` as the program that its arguments ask for. */
export async function runPeer<Handler>(peer: Peer<Handler>): Promise<void> {
  const [role, json = "{}"] = Deno.args;
  if (role === "serve") {
    const { endpoint, work }: PeerArgument = JSON.parse(json);
    // The handler is of the same kind as the work, which no type of a table can express.
    const makeHandler = peer.handlers[work.kind] as (work: ServerWork) => Handler;
    await answerCommands(await peer.serve(endpoint, await makeHandler(work)), {});
  }
  const { endpoint, work }: PeerArgument<ClientWork> = JSON.parse(json);
  if (work.kind === "transfer") {
    const run = (bytes: number) => time(() => peer.transfer(endpoint, work, bytes));
    return await answerCommands(null, { run });
  }
  const open = () => peer.exchange(endpoint, work);
  const each = work.single && !peer.opensForEach ? () => singly(open) : open;
  const kept: Exchange[] = [];
  await answerCommands(null, {
    run: (amount) => measureExchange(each, work, amount),
    async pace(milliseconds) {
      if (kept.length === 0) kept.push(await open());
      return await measurePaced(kept[0]!, work, milliseconds);
    },
    async hold(amount) {
      for (let count = 0; count < amount; count++) {
        const opened = await open();
        await repeat(opened, work, 1);
        kept.push(opened);
      }
    },
  });
}

/**
 * Prints that the program is ready, with the address of a server, then answers commands until
 * standard input ends, and exits.
 */
export async function answerCommands(address: Address | null, answers: Answers): Promise<never> {
  const all: Answers = { rest, spent, ...answers };
  const say = (message: unknown) => console.log(JSON.stringify(message));
  say({ value: address });
  for await (const line of linesOf(Deno.stdin.readable)) {
    const { command, amount = 0 }: Command = JSON.parse(line);
    try {
      say({ value: await all[command]!(amount) ?? null });
    } catch (error) {
      say({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    }
  }
  Deno.exit(0);
}

/** Collects the garbage; resolves to the resident memory in bytes. */
async function rest(): Promise<number> {
  // Every program of the benchmark is started with `--v8-flags=--expose-gc`.
  const { gc } = globalThis as unknown as { gc(): void };
  for (let count = 0; count < collections; count++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return Deno.memoryUsage().rss;
}

function spent(): Promise<number> {
  const { user, system } = process.cpuUsage();
  return Promise.resolve((user + system) / 1e6);
}

export async function time(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

/** Opens a connection for each message. */
function singly(open: () => Exchange | Promise<Exchange>): Exchange {
  return {
    async request(payload) {
      const opened = await open();
      try {
        return await opened.request(payload);
      } finally {
        await opened.close();
      }
    },
    close: () => {},
  };
}

async function measureExchange(
  open: () => Exchange | Promise<Exchange>,
  work: ExchangeWork,
  amount: number,
): Promise<number> {
  const exchanges = await Promise.all(Array.from({ length: work.connections }, open));
  try {
    await Promise.all(exchanges.map((each) => repeat(each, work, settlingMessages)));
    const share = Math.ceil(amount / exchanges.length);
    const seconds = await time(() =>
      Promise.all(exchanges.map((each) => repeat(each, work, share)))
    );
    // Rounding up may have made more messages than asked for: the result is for `amount` messages.
    return seconds * amount / (share * exchanges.length);
  } finally {
    for (const exchange of exchanges) await exchange.close();
  }
}

async function measurePaced(
  exchange: Exchange,
  work: ExchangeWork,
  milliseconds: number,
): Promise<number> {
  const all: number[] = [];
  const messages = Math.max(leastPaced, pacedMilliseconds / milliseconds);
  while (all.length < messages) {
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    all.push(await time(() => repeat(exchange, work, 1)));
  }
  return medianOf(all);
}

async function repeat(exchange: Exchange, work: ExchangeWork, count: number): Promise<void> {
  const payload = work.message === "post" ? makePayload() : null;
  const expected = payload ?? new Uint8Array();
  for (let index = 0; index < count; index++) {
    // A different body each time reveals a stale answer.
    if (payload !== null) payload[0] = index & 0xff;
    checkSame(expected, await exchange.request(payload));
  }
}

export async function* linesOf(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<string, void, undefined> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}
