/**
 * The common interface of all peers, and the program in every file of `peers/`. Started with
 * `serve` or `drive` and a JSON argument, the program prints `{"value": …}` when it is ready. Then
 * it replies to each command, a line on standard input, with one line, until the input ends.
 */

import process from "node:process";
import { medianOf } from "./measure.ts";
import { checkEqual, makePayload, type MessageKind } from "./messages.ts";

/** The paths of the PEM files of a client or server for mutual TLS. */
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
  /** Whether each message has its own connection. `connections` messages run at a time. */
  readonly connectsPerMessage?: boolean;
  /** What sends the messages, if the peer's library has it. @default {"connection"} */
  readonly requester?: "connection" | "pool";
  /** Whether a `fetch` over this requester sends the messages. */
  readonly usesFetch?: boolean;
}

/** The way in which a receiver reads a body. Peers with a single way ignore it. */
export type ReadMethod = "writeTo" | "byob" | "stream" | "iterate";

export interface TransferWork {
  readonly kind: "transfer";
  readonly direction: "upload" | "download";
  readonly framing: "length" | "chunked";
  /** The bytes of each write or chunk of the sender: a divisor of 1 MiB. */
  readonly pieceLength: number;
  readonly readMethod: ReadMethod;
}

/** The smallest app of a library: it responds to each request with `helloText`. */
export interface HelloWork {
  readonly kind: "hello";
  /** Whether Degu's app returns a tuple instead of the value of `reply()`. */
  readonly usesTuple?: boolean | undefined;
}

export type ClientWork = ExchangeWork | TransferWork;

export type ServerWork =
  | ClientWork
  /** Forwards each message to another server. */
  | { readonly kind: "relay"; readonly upstream: Endpoint }
  /** The same, with a proxy or a connection of its own for each connection that it accepts. */
  | {
    readonly kind: "relay-each";
    readonly upstream: Endpoint;
    readonly by: "connection" | "proxy";
  }
  | HelloWork;

/** An open connection for small messages. */
export interface Exchange {
  /** Sends a request, checks the response's status and headers, and returns its body. */
  request(payload: Uint8Array<ArrayBuffer> | null): Promise<Uint8Array>;
  close(): void | Promise<void>;
}

/** For each kind of work, a function that makes a handler of requests or connections. */
export type Handlers<Handler> = {
  readonly [Kind in ServerWork["kind"]]?: (
    work: Extract<ServerWork, { readonly kind: Kind }>,
  ) => Handler | Promise<Handler>;
};

/** A client and a server of one library. */
export interface Peer<Handler> {
  readonly handlers: Handlers<Handler>;
  /** Starts a server that lives as long as the process, and returns its address. */
  serve(endpoint: Endpoint, handler: Handler): Address | Promise<Address>;
  exchange(endpoint: Endpoint, work: ExchangeWork): Exchange | Promise<Exchange>;
  /** Whether {@link exchange} supports {@link ExchangeWork.connectsPerMessage} itself. */
  readonly supportsConnectPerMessage?: boolean;
  /** Sends or receives a body over its own connection, and checks the bytes. */
  transfer(endpoint: Endpoint, work: TransferWork, bodyLength: number): Promise<void>;
}

export interface PeerArgument<Work = ServerWork> {
  readonly endpoint: Endpoint;
  readonly work: Work;
}

/** A command, a line on a peer's standard input. */
export interface Command {
  readonly command:
    /** Exchanges `amount` messages or bytes; returns the seconds. */
    | "run"
    /** The first message of each of some new connections; returns the median of their seconds. */
    | "run-openings"
    /**
     * Exchanges messages with pauses of `amount` milliseconds over an open connection; if `amount`
     * is 0, the second message of each of some new connections. Returns the median of their seconds.
     */
    | "run-paced"
    /** Opens `amount` connections, uses each once, and keeps them open. */
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
const warmUpMessages = 20;
/** The total pauses of a measurement of paced messages, and the minimum number of messages. */
const pacedMilliseconds = 600, minPacedMessages = 9;
/** The number of garbage collections. Finalizers run in the pauses between them. */
const garbageCollections = 5;

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
    const run = (bodyLength: number) =>
      measureSeconds(() => peer.transfer(endpoint, work, bodyLength));
    return await replyToCommands(null, { run });
  }
  const open = () => peer.exchange(endpoint, work);
  const makeExchange = work.connectsPerMessage && !peer.supportsConnectPerMessage
    ? () => makeReconnectingExchange(open)
    : open;
  const openExchanges: Exchange[] = [];
  await replyToCommands(null, {
    run: (amount) => measureExchange(makeExchange, work, amount),
    "run-openings": () => measureOpenings(open, work),
    async "run-paced"(milliseconds) {
      if (milliseconds === 0) return await measureSecond(open, work);
      if (openExchanges.length === 0) openExchanges.push(await open());
      return await measurePaced(openExchanges[0]!, work, milliseconds);
    },
    async "keep-open"(amount) {
      for (let count = 0; count < amount; count++) {
        const exchange = await open();
        await exchangeMessages(exchange, work, 1);
        openExchanges.push(exchange);
      }
    },
  });
}

/**
 * Prints that the program is ready, with the address of a server. Then replies to commands until
 * standard input ends, and exits.
 */
export async function replyToCommands(address: Address | null, replies: Replies): Promise<never> {
  const allReplies: Replies = { memory: measureMemory, "cpu-time": measureCpuSeconds, ...replies };
  const send = (message: unknown) => console.log(JSON.stringify(message));
  send({ value: address });
  for await (const line of readLines(Deno.stdin.readable)) {
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
  for (let count = 0; count < garbageCollections; count++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return Deno.memoryUsage().rss;
}

function measureCpuSeconds(): Promise<number> {
  const { user, system } = process.cpuUsage();
  return Promise.resolve((user + system) / 1e6);
}

/** Runs a function; returns the seconds that it takes. */
export async function measureSeconds(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

/** Makes an exchange that opens a connection for each message. */
function makeReconnectingExchange(open: () => Exchange | Promise<Exchange>): Exchange {
  return {
    async request(payload) {
      const exchange = await open();
      try {
        return await exchange.request(payload);
      } finally {
        await exchange.close();
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
    await Promise.all(
      exchanges.map((exchange) => exchangeMessages(exchange, work, warmUpMessages)),
    );
    const messagesPerConnection = Math.ceil(amount / exchanges.length);
    const seconds = await measureSeconds(() =>
      Promise.all(
        exchanges.map((exchange) => exchangeMessages(exchange, work, messagesPerConnection)),
      )
    );
    // Rounding up may have sent more than `amount` messages.
    return seconds * amount / (messagesPerConnection * exchanges.length);
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
  const messageCount = Math.max(minPacedMessages, pacedMilliseconds / milliseconds);
  while (samples.length < messageCount) {
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    samples.push(await measureSeconds(() => exchangeMessages(exchange, work, 1)));
  }
  return medianOf(samples);
}

async function measureOpenings(
  open: () => Exchange | Promise<Exchange>,
  work: ExchangeWork,
): Promise<number> {
  const samples: number[] = [];
  while (samples.length < minPacedMessages) {
    let exchange: Exchange;
    samples.push(
      await measureSeconds(async () => {
        exchange = await open();
        await exchangeMessages(exchange, work, 1);
      }),
    );
    await exchange!.close();
  }
  return medianOf(samples);
}

async function measureSecond(
  open: () => Exchange | Promise<Exchange>,
  work: ExchangeWork,
): Promise<number> {
  const samples: number[] = [];
  while (samples.length < minPacedMessages) {
    const exchange = await open();
    await exchangeMessages(exchange, work, 1);
    samples.push(await measureSeconds(() => exchangeMessages(exchange, work, 1)));
    await exchange.close();
  }
  return medianOf(samples);
}

async function exchangeMessages(
  exchange: Exchange,
  work: ExchangeWork,
  count: number,
): Promise<void> {
  const payload = work.message === "post" ? makePayload() : null;
  const expected = payload ?? new Uint8Array();
  for (let index = 0; index < count; index++) {
    // A different body each time reveals a stale response.
    if (payload !== null) payload[0] = index & 0xff;
    checkEqual(expected, await exchange.request(payload));
  }
}

export async function* readLines(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<string, void, undefined> {
  let incompleteLine = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (incompleteLine + text).split("\n");
    incompleteLine = lines.pop() ?? "";
    yield* lines;
  }
}
