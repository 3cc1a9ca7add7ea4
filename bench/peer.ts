/**
 * The common interface of all peers, and the program that every file in `peers/` is: started with
 * `serve` or `drive` and a JSON argument, it says `{"ready": …}` on standard output and then answers
 * each command line on standard input with one line, until the input ends.
 *
 * @module
 */

import { checkSame, makePayload } from "./messages.ts";
import type { Progress } from "./pattern.ts";
import type { ClientWork, Endpoint, ExchangeWork, ServerWork, TransferWork } from "./work.ts";

/** One connection on which small messages go back and forth. */
export interface Exchange {
  /** Sends one request, checks the response's status and headers, and gives its body. */
  request(payload: Uint8Array<ArrayBuffer> | null): Promise<Uint8Array>;
  close(): void | Promise<void>;
}

/** A large body for a client to send or receive. */
export interface Transfer extends TransferWork {
  readonly bytes: number;
  /** The path that a download asks for; a server that makes its bytes itself reads their number there. */
  readonly uri: string;
  /** The sender or receiver keeps this current. */
  readonly progress: Progress;
}

/** What a peer can do; one without a part is never asked for it. */
export interface Peer {
  /** Starts a server that lives as long as the process, and says where it listens. */
  serve?(endpoint: Endpoint, work: ServerWork): Promise<Endpoint>;
  /** Opens one connection for small messages. */
  exchange?(endpoint: Endpoint, work: ExchangeWork): Promise<Exchange>;
  /**
   * What each message over a connection of its own goes through; without this, an {@link exchange} for each.
   */
  single?(endpoint: Endpoint, work: ExchangeWork): Promise<Exchange>;
  /** Sends or receives one large body on a connection of its own, and checks that it arrived. */
  transfer?(endpoint: Endpoint, transfer: Transfer): Promise<void>;
}

/** The second argument of a peer's program, as JSON. */
export interface PeerArgument<Work extends ServerWork | ClientWork> {
  readonly endpoint: Endpoint;
  readonly work: Work;
}

/**
 * A line on a peer's standard input. `amount` counts messages, bytes, or, to `hold`, connections that are
 * opened, used once and kept. `rest` collects the garbage and says how much memory is left.
 */
export type Command =
  | { readonly command: "run" | "hold"; readonly amount: number }
  | { readonly command: "memory" | "cpu" | "rest" };

/** A moment's resident memory: milliseconds since 1970, bytes, and bytes of body so far. */
export type MemorySample = readonly [time: number, rss: number, position: number];

/** Measures `amount` units of work and gives the seconds it took. */
export type Measure = (amount: number) => Promise<number>;

/** Opens some connections, and keeps them. */
export type Hold = (amount: number) => Promise<void>;

const holdNothing: Hold = () => Promise.reject(new Error("this program holds no connections"));

const progress: Progress = { position: 0 };
/** Small messages on each fresh connection before the clock starts. */
const settlingMessages = 20;

/** Runs a file of `peers/` as the program that its arguments ask for. */
export async function runPeer(peer: Peer): Promise<void> {
  const [role, json = "{}"] = Deno.args;
  if (role === "serve") {
    if (peer.serve === undefined) throw new Error("this peer has no server");
    const { endpoint, work }: PeerArgument<ServerWork> = JSON.parse(json);
    const bound = await peer.serve(endpoint, work);
    await answerCommands(bound, () => Promise.reject(new Error("a server runs no work")));
  } else {
    const { endpoint, work }: PeerArgument<ClientWork> = JSON.parse(json);
    const hold = makeHold(peer, endpoint, work);
    await answerCommands(true, makeMeasure(peer, endpoint, work), hold);
  }
}

/** Says that the program is ready, then answers commands until standard input ends, and exits. */
export async function answerCommands(
  ready: unknown,
  measure: Measure,
  hold = holdNothing,
): Promise<never> {
  const sampler = new MemorySampler();
  say({ ready });
  for await (const line of linesOf(Deno.stdin.readable)) {
    const command: Command = JSON.parse(line);
    try {
      say(await answer(command, measure, hold, sampler));
    } catch (error) {
      say({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    }
  }
  Deno.exit(0);
}

/** Seconds of processor time that this process has used, all of its threads together. */
async function cpuSeconds(): Promise<number> {
  // Loaded on demand: memory and start-up are measured without it.
  const { cpuUsage } = await import("node:process");
  const { user, system } = cpuUsage();
  return (user + system) / 1e6;
}

async function answer(
  command: Command,
  measure: Measure,
  hold: Hold,
  sampler: MemorySampler,
): Promise<unknown> {
  switch (command.command) {
    case "memory":
      return { samples: sampler.take() };
    case "cpu":
      return { seconds: await cpuSeconds() };
    case "rest":
      return { bytes: await rest() };
    case "hold":
      await hold(command.amount);
      return {};
    case "run":
      return { seconds: await measure(command.amount) };
  }
}

/** How often the garbage is collected, with turns between for what waits for that. */
const collections = 5;

/** Collects the garbage; resolves to the resident memory in bytes. */
async function rest(): Promise<number> {
  // Only with --v8-flags=--expose-gc, which every program of the benchmark is started with.
  const { gc } = globalThis as { gc?: () => void };
  if (gc === undefined) throw new Error("started without --expose-gc");
  for (let count = 0; count < collections; count++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return Deno.memoryUsage().rss;
}

function makeHold(peer: Peer, endpoint: Endpoint, work: ClientWork): Hold {
  const kept: Exchange[] = [];
  return async (amount) => {
    const { exchange } = peer;
    if (exchange === undefined || work.kind !== "exchange") throw new Error("nothing to hold");
    for (let count = 0; count < amount; count++) {
      const opened = await exchange(endpoint, work);
      await repeat(opened, work, 1);
      kept.push(opened);
    }
  };
}

function makeMeasure(peer: Peer, endpoint: Endpoint, work: ClientWork): Measure {
  if (work.kind === "exchange") {
    const { exchange } = peer;
    if (exchange === undefined) throw new Error("this peer has no client for small messages");
    const open = () => exchange(endpoint, work);
    if (work.single !== true) return (amount) => measureExchange(open, work, amount);
    const single = peer.single ?? (() => Promise.resolve(singly(open)));
    return (amount) => measureExchange(() => single(endpoint, work), work, amount);
  }
  const { transfer } = peer;
  if (transfer === undefined) throw new Error("this peer has no client for large bodies");
  return async (bytes) => {
    progress.position = 0;
    const start = performance.now();
    await transfer(endpoint, { uri: `/${bytes}`, ...work, bytes, progress });
    return (performance.now() - start) / 1000;
  };
}

/** Opens a connection for each message. */
function singly(open: () => Promise<Exchange>): Exchange {
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
  open: () => Promise<Exchange>,
  work: ExchangeWork,
  amount: number,
): Promise<number> {
  const exchanges = await Promise.all(Array.from({ length: work.connections }, open));
  try {
    await Promise.all(exchanges.map((each) => repeat(each, work, settlingMessages)));
    const share = Math.ceil(amount / exchanges.length);
    const start = performance.now();
    await Promise.all(exchanges.map((each) => repeat(each, work, share)));
    // The last share may be larger than asked for: seconds are for `amount` messages.
    return (performance.now() - start) / 1000 * amount / (share * exchanges.length);
  } finally {
    for (const exchange of exchanges) await exchange.close();
  }
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

/** Samples this process's resident memory from the first question on. */
class MemorySampler {
  #samples: MemorySample[] = [];
  #running = false;

  take(): MemorySample[] {
    if (!this.#running) {
      this.#running = true;
      setInterval(() => this.#sample(), 20);
    }
    this.#sample();
    const samples = this.#samples;
    this.#samples = [];
    return samples;
  }

  #sample(): void {
    this.#samples.push([Date.now(), Deno.memoryUsage().rss, progress.position]);
  }
}

function say(message: unknown): void {
  const bytes = new TextEncoder().encode(JSON.stringify(message) + "\n");
  let written = 0;
  while (written < bytes.length) written += Deno.stdout.writeSync(bytes.subarray(written));
}

/** The lines of a byte stream, without their ends. */
export async function* linesOf(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<string, void, undefined> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  if (rest !== "") yield rest;
}
