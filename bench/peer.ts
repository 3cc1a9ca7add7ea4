/**
 * The common interface of all peers, and the program in every file of `peers/`. Started with
 * `serve` or `drive` and a JSON argument, the program prints `{"value": …}` when it is ready, and
 * then replies to each command line on standard input with one line, until the input ends.
 */

import process from "node:process";
import { medianOf } from "./measure.ts";
import { checkSame, makePayload, type MessageKind } from "./messages.ts";

/** Paths of the PEM files of one end of a mutually authenticated TLS connection. */
export interface CertificateFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** The authority of the other side's certificate. */
  readonly caFile: string;
}

export interface TlsFiles {
  readonly server: CertificateFiles;
  readonly client: CertificateFiles;
}

export const hostname = "127.0.0.1";

/** The path of a Unix socket, or a port of {@link hostname}; 0 means any free port. */
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
  /** Whether each message has its own connection; `connections` of them at a time. */
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
 * The task of a server: small messages, bodies, forwarding each message to another server, or
 * responding to a GET of `/` with `payloadLength` bytes.
 */
export type ServerWork =
  | ClientWork
  | { readonly kind: "relay"; readonly upstream: Endpoint }
  | { readonly kind: "answer" };

/** A connection for small messages. */
export interface Exchange {
  /** Sends a request, checks the response's status and headers, and returns its body. */
  request(payload: Uint8Array<ArrayBuffer> | null): Promise<Uint8Array>;
  close(): void | Promise<void>;
}

/** A function for each kind of work that makes a handler of requests or connections. */
export type Handlers<Handler> = {
  readonly [Kind in ServerWork["kind"]]?: (
    work: Extract<ServerWork, { readonly kind: Kind }>,
  ) => Handler | Promise<Handler>;
};

/** The parts of a peer. A missing part is never used. */
export interface Peer<Handler> {
  readonly handlers: Handlers<Handler>;
  /** Starts a server that lives as long as the process, and returns its address. */
  serve(endpoint: Endpoint, handler: Handler): Address | Promise<Address>;
  exchange(endpoint: Endpoint, work: ExchangeWork): Exchange | Promise<Exchange>;
  /** Whether {@link exchange} itself opens a connection for each message if the work says so. */
  readonly opensForEach?: boolean;
  /**
   * Sends or receives one body of `bytes` bytes on its own connection, and checks its bytes.
   */
  transfer(endpoint: Endpoint, work: TransferWork, bytes: number): Promise<void>;
}

export interface PeerArgument<Work = ServerWork> {
  readonly endpoint: Endpoint;
  readonly work: Work;
}

/**
 * A command, a line on a peer's standard input. `amount` is a number of messages or bytes for
 * `run`, of milliseconds for `run-paced`, and of connections for `keep-open`.
 */
export interface Command {
  readonly command:
    /** Exchanges messages or bytes; returns the seconds. */
    | "run"
    /** Exchanges messages with pauses over an open connection; returns the seconds of a message. */
    | "run-paced"
    /** Opens connections, uses each once, and keeps them open. */
    | "keep-open"
    /** Collects the garbage; returns the resident memory in bytes. */
    | "memory"
    /** Returns the seconds of processor time since the start. */
    | "cpu-time";
  readonly amount?: number;
}

export type Replies = Partial<
  Record<Command["command"], (amount: number) => Promise<number | void>>
>;

/** The number of small messages on each new connection before the measurement. */
const settlingMessages = 20;
/** The total pauses of a measurement of paced messages, and the minimum number of messages. */
const pacedMilliseconds = 600, minPacedMessages = 9;
/** The number of garbage collections, with pauses for finalizers between them. */
const collections = 5;

/** Runs a file of `peers/` as the server or client that its arguments describe. */
export async function runPeer<Handler>(peer: Peer<Handler>): Promise<void> {
  const [role, json = "{}"] = Deno.args;
  if (role === "serve") {
    const { endpoint, work }: PeerArgument = JSON.parse(json);
    // The type of a table can't express that the handler has the same kind as the work.
    const makeHandler = peer.handlers[work.kind] as (work: ServerWork) => Handler;
    await replyToCommands(await peer.serve(endpoint, await makeHandler(work)), {});
  }
  const { endpoint, work }: PeerArgument<ClientWork> = JSON.parse(json);
  if (work.kind === "transfer") {
    const run = (bytes: number) => time(() => peer.transfer(endpoint, work, bytes));
    return await replyToCommands(null, { run });
  }
  const open = () => peer.exchange(endpoint, work);
  const makeExchange = work.single && !peer.opensForEach ? () => singly(open) : open;
  const openExchanges: Exchange[] = [];
  await replyToCommands(null, {
    run: (amount) => measureExchange(makeExchange, work, amount),
    async "run-paced"(milliseconds) {
      if (openExchanges.length === 0) openExchanges.push(await open());
      return await measurePaced(openExchanges[0]!, work, milliseconds);
    },
    async "keep-open"(amount) {
      for (let count = 0; count < amount; count++) {
        const exchange = await open();
        await repeat(exchange, work, 1);
        openExchanges.push(exchange);
      }
    },
  });
}

/**
 * Prints that the program is ready, with the address of a server, then answers commands until
 * standard input ends, and exits.
 */
export async function replyToCommands(address: Address | null, replies: Replies): Promise<never> {
  const allReplies: Replies = { memory: measureMemory, "cpu-time": measureCpuSeconds, ...replies };
  const send = (message: unknown) => console.log(JSON.stringify(message));
  send({ value: address });
  for await (const line of linesOf(Deno.stdin.readable)) {
    const { command, amount = 0 }: Command = JSON.parse(line);
    try {
      send({ value: await allReplies[command]!(amount) ?? null });
    } catch (error) {
      send({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    }
  }
  Deno.exit(0);
}

/** Collects the garbage; resolves to the resident memory in bytes. */
async function measureMemory(): Promise<number> {
  // The benchmark starts every program with `--v8-flags=--expose-gc`.
  const { gc } = globalThis as unknown as { gc(): void };
  for (let count = 0; count < collections; count++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return Deno.memoryUsage().rss;
}

function measureCpuSeconds(): Promise<number> {
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
    // Rounding up may have sent more than `amount` messages.
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
  const samples: number[] = [];
  const messages = Math.max(minPacedMessages, pacedMilliseconds / milliseconds);
  while (samples.length < messages) {
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    samples.push(await time(() => repeat(exchange, work, 1)));
  }
  return medianOf(samples);
}

async function repeat(exchange: Exchange, work: ExchangeWork, count: number): Promise<void> {
  const payload = work.message === "post" ? makePayload() : null;
  const expected = payload ?? new Uint8Array();
  for (let index = 0; index < count; index++) {
    // A different body each time reveals a stale response.
    if (payload !== null) payload[0] = index & 0xff;
    checkSame(expected, await exchange.request(payload));
  }
}

export async function* linesOf(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<string, void, undefined> {
  let incompleteLine = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (incompleteLine + text).split("\n");
    incompleteLine = lines.pop() ?? "";
    yield* lines;
  }
}
