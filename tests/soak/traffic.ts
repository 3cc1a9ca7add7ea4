/** Well-behaved clients: exchanges of every kind, each checked to the last byte. */

import {
  BodyIter,
  type BodyOut,
  ChunkedBodyIter,
  type Client,
  type Connection,
  type HeaderDict,
  type RequestOptions,
} from "@degu/degu";
import type { Random } from "../fuzz/random.ts";
import { checksumOfBody } from "./app.ts";
import { checksumOf, chunks, type Payload, pieces, whole } from "./payload.ts";

export class Tally {
  requests = 0;
  bytes = 0;
  connections = 0;
  /** How often each fault was injected. */
  readonly faults = new Map<string, number>();
  readonly failures: string[] = [];

  count(name: string): void {
    this.faults.set(name, (this.faults.get(name) ?? 0) + 1);
  }
}

/** What each client is given: it runs until the signal is aborted. */
export interface Run {
  readonly random: Random;
  readonly tally: Tally;
  readonly signal: AbortSignal;
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** One of a few sizes of which some are around the limits of buffers. */
function someSize(random: Random): number {
  const dice = random.below(100);
  if (dice < 25) return 0;
  if (dice < 60) return random.below(2000);
  if (dice < 80) return 65536 - 200 + random.below(400);
  if (dice < 98) return random.below(300000);
  return random.below(4000000);
}

export async function runHonestly(name: string, client: Client, run: Run): Promise<void> {
  const { random, tally, signal } = run;
  while (!signal.aborted) {
    try {
      using connection = await client.connect();
      tally.connections++;
      for (let n = 1 + random.below(60); n > 0 && !signal.aborted; n--) {
        await exchange(connection, run);
      }
    } catch (error) {
      tally.failures.push(`${name}: ${Deno.inspect(error)}`);
    }
  }
}

export async function exchange(
  connection: Connection,
  { random, tally }: Run,
  options?: RequestOptions,
): Promise<void> {
  const method = random.pick(["GET", "GET", "PUT", "POST", "POST", "HEAD", "DELETE"] as const);
  const sent: Payload = { seed: random.next(), size: someSize(random) };
  const wanted: Payload = { seed: random.next(), size: someSize(random) };
  const kind = random.pick(["array", "iter", "chunked"]);
  const uri = `/data?seed=${wanted.seed}&size=${wanted.size}&kind=${kind}`;
  const body = method === "PUT" || method === "POST" ? makeBody(sent, random) : null;
  const headers: HeaderDict = { checksum: body === null ? "0-0" : checksumOf(sent) };
  const response = await connection.request(method, uri, headers, body, options);
  const expected = checksumOf(wanted);
  const received = method === "HEAD" ? expected : await checksumOfBody(response.body);
  if (response.status !== 200 || response.headers.checksum !== expected || received !== expected) {
    tally.failures.push(
      `${method} ${uri}: ${response.status}, ${received}, ${response.headers.checksum}`,
    );
  }
  tally.requests++;
  tally.bytes += (body === null ? 0 : sent.size) + (method === "HEAD" ? 0 : wanted.size);
}

function makeBody(payload: Payload, random: Random): BodyOut {
  const dice = random.below(3);
  if (dice === 0) return whole(payload);
  if (dice === 1) return new BodyIter(pieces(payload), payload.size);
  return new ChunkedBodyIter(chunks(payload));
}
