/**
 * Well-behaved clients: exchanges of every kind, each checked to the last byte, with requests that
 * are aborted and sessions that are closed at any time.
 */

import {
  type App,
  type AppFunction,
  BodyIter,
  type BodyOut,
  ChunkedBodyIter,
  type Client,
  Connection,
  type HeadersToSend,
  type RequestOptions,
  type Server,
} from "@degu/degu";
import type { Random } from "../fuzz/random.ts";
import {
  checksumOf,
  checksumOfBody,
  makeBytes,
  makeChunks,
  makePieces,
  type Payload,
} from "./app.ts";

/** The maximum number of reported failures. */
const MAX_FAILURES = 1000;
/** The pause after a failure, so that clients of a closed server don't spin. */
const FAILURE_PAUSE_MILLISECONDS = 20;

export class Tally {
  requests = 0;
  bytes = 0;
  connections = 0;
  /** How often each fault was injected. */
  readonly faults = new Map<string, number>();
  readonly failures: string[] = [];

  fail(problem: string): void {
    if (this.failures.length < MAX_FAILURES) this.failures.push(problem);
  }

  count(name: string): void {
    this.faults.set(name, (this.faults.get(name) ?? 0) + 1);
  }
}

/** The arguments of each client, which runs until the signal is aborted. */
export interface Run {
  readonly random: Random;
  readonly tally: Tally;
  readonly signal: AbortSignal;
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Returns one of a few sizes, some of them around the limits of buffers. */
function pickSize(random: Random): number {
  const dice = random.below(100);
  if (dice < 25) return 0;
  if (dice < 60) return random.below(2000);
  if (dice < 80) return 65536 - 200 + random.below(400);
  if (dice < 98) return random.below(300000);
  return random.below(4000000);
}

export async function runWellBehaved(name: string, client: Client, run: Run): Promise<void> {
  const { random, tally, signal } = run;
  while (!signal.aborted) {
    try {
      using connection = await client.connect();
      tally.connections++;
      for (let n = 1 + random.below(60); n > 0 && !signal.aborted; n--) {
        await exchange(connection, run);
      }
    } catch (error) {
      await handleFailure(name, error, tally);
    }
  }
}

function handleFailure(name: string, error: unknown, tally: Tally): Promise<void> {
  tally.fail(`${name}: ${Deno.inspect(error)}`);
  return pause(FAILURE_PAUSE_MILLISECONDS);
}

async function exchange(
  connection: Connection,
  { random, tally }: Run,
  options?: RequestOptions,
): Promise<void> {
  const method = random.pick(["GET", "GET", "PUT", "POST", "POST", "HEAD", "DELETE"] as const);
  const sent: Payload = { seed: random.next(), size: pickSize(random) };
  const payload: Payload = { seed: random.next(), size: pickSize(random) };
  const kind = random.pick(["array", "iter", "chunked"]);
  const uri = `/data?seed=${payload.seed}&size=${payload.size}&kind=${kind}`;
  const body = method === "PUT" || method === "POST" ? makeBody(sent, random) : null;
  const headers: HeadersToSend = { checksum: body === null ? "0-0" : checksumOf(sent) };
  const response = await connection.request(method, uri, headers, body, options);
  const expected = checksumOf(payload);
  const received = method === "HEAD" ? expected : await checksumOfBody(response.body);
  const { "content-length": length = payload.size } = response.headers;
  if (method === "HEAD" && length !== payload.size) {
    tally.failures.push(`HEAD ${uri}: ${length} bytes in place of ${payload.size}`);
  }
  if (response.status !== 200 || response.headers.checksum !== expected || received !== expected) {
    tally.fail(`${method} ${uri}: ${response.status}, ${received}, ${response.headers.checksum}`);
  }
  tally.requests++;
  tally.bytes += (body === null ? 0 : sent.size) + (method === "HEAD" ? 0 : payload.size);
}

function makeBody(payload: Payload, random: Random): BodyOut {
  const dice = random.below(3);
  if (dice === 0) return makeBytes(payload);
  if (dice === 1) return new BodyIter(makePieces(payload), payload.size);
  return new ChunkedBodyIter(makeChunks(payload));
}

// Aborted requests: each returns its whole response, or rejects with the reason of its abort.

/** A signal of all requests that is never aborted, to detect listeners that are not removed. */
const { signal: everlasting } = new AbortController();

/** Makes requests and aborts some of them, over one connection after the other. */
export async function runAborting(name: string, client: Client, run: Run): Promise<void> {
  const { random, tally, signal } = run;
  while (!signal.aborted) {
    try {
      using connection = await client.connect(undefined, { signal: everlasting });
      tally.connections++;
      while (!connection.closed && !signal.aborted && random.below(100) > 0) {
        await exchange(connection, run, { signal: everlasting });
        const problem = await abortOne(connection, run);
        if (problem !== null) tally.fail(`${name}: ${problem}`);
      }
    } catch (error) {
      await handleFailure(name, error, tally);
    }
  }
}

/** Makes a request and aborts it; resolves to a violation, or to `null`. */
async function abortOne(connection: Connection, run: Run): Promise<string | null> {
  const { random, tally } = run;
  const aborter = new AbortController();
  const reason = `abort ${random.next()}`;
  const abort = () => aborter.abort(reason);
  const moment = random.pick(["before", "at once", "in some turns", "in some milliseconds"]);
  if (moment === "before") abort();
  const making = exchange(connection, run, { signal: aborter.signal });
  // The promise may reject before it is awaited.
  making.catch(() => {});
  if (moment === "at once") abort();
  for (let n = random.below(8); n > 0; n--) await null;
  if (moment === "in some turns") abort();
  const timer = setTimeout(abort, random.below(6));
  tally.count(`abort: ${moment}`);
  try {
    await making;
    return connection.closed ? `a request that was answered left a connection closed` : null;
  } catch (error) {
    if (error !== reason) return `aborted ${moment}: ${Deno.inspect(error)}`;
    const unsent = moment === "before" || moment === "at once";
    return unsent && connection.closed ? `aborted ${moment}, the connection was closed` : null;
  } finally {
    clearTimeout(timer);
  }
}

// Sessions that are closed at random under load: only their requests may fail.

/**
 * A server whose sessions are closed, its client, and the ids of the clients whose sessions were
 * closed.
 */
export interface ClosingServer {
  readonly server: Server;
  readonly client: Client;
  readonly closed: Set<string>;
}

const NAME = "server: closes a session";

/** Wraps an app, and stores in each session the id that its client sends. */
export function noteClients(app: App): AppFunction {
  const handle = typeof app === "function" ? app : app.handle.bind(app);
  return (request, session, api) => {
    session.store.set("who", request.headers["who"]);
    return handle(request, session, api);
  };
}

export async function runCloser({ server, closed }: ClosingServer, run: Run): Promise<void> {
  const { random, tally, signal } = run;
  while (!signal.aborted) {
    await pause(random.below(20));
    const sessions = [...server.sessions].filter(({ store }) => store.has("who"));
    if (sessions.length === 0) continue;
    const session = random.pick(sessions);
    closed.add(String(session.store.get("who")));
    session.close(new Error("closed by the soak test"));
    if (server.sessions.has(session)) tally.fail(`${NAME}: it is still there`);
    tally.count(NAME);
  }
}

/**
 * Makes requests over one connection after the other; only requests of closed sessions may fail.
 */
export async function runAmongClosed({ client, closed }: ClosingServer, run: Run): Promise<void> {
  const { random, tally, signal } = run;
  while (!signal.aborted) {
    const clientId = crypto.randomUUID();
    try {
      const socket = await client.createSocket();
      using connection = new Connection(socket, { who: clientId }, undefined, client.timeout);
      tally.connections++;
      while (!signal.aborted && random.below(100) > 0) await exchange(connection, run);
    } catch (error) {
      if (!closed.has(clientId)) await handleFailure("among closed sessions", error, tally);
    }
    closed.delete(clientId);
  }
}
