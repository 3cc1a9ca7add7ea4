/**
 * The load of row 17: small requests at fixed times on a few connections, whatever the server is written
 * with. Prints how long the requests took, as a {@linkcode LatencyReport}, or why it failed.
 *
 * @module
 */

import { setImmediate } from "node:timers/promises";
import { answerBody, checkSame, formatPreamble, requestPreamble } from "../messages.ts";
import { quantileOf } from "../statistics.ts";

/** The program's argument, as JSON. */
export interface LatencyWork {
  readonly port: number;
  /** `get` is answered with a body, `post` has the same one in both directions. */
  readonly message: "get" | "post";
  readonly connections: number;
  /** Requests a second, or `null` for as many as the connections carry. */
  readonly rate: number | null;
  /** Seconds for which requests are sent before those that count. */
  readonly warmUp: number;
  readonly seconds: number;
}

/** What the program prints, as JSON. Latencies are in microseconds. */
export interface LatencyReport {
  /** Responses a second. */
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
}

const microseconds = 1000;
/** Milliseconds after the last request's time in which those that wait must have been sent. */
const patience = 1000;
const statusLine = new TextEncoder().encode("HTTP/1.1 200 ");
const lengthLine = /^content-length: (\d+)\r$/im;

/** One connection with one request at a time. */
class LoadConnection {
  readonly #conn: Deno.TcpConn;
  readonly #request: Uint8Array;
  readonly #buffer = new Uint8Array(4096);
  /** Bytes of a response, the same for all of them once the first one has come. */
  #length: number | null = null;

  private constructor(conn: Deno.TcpConn, request: Uint8Array) {
    this.#conn = conn;
    this.#request = request;
  }

  static async open({ port, message }: LatencyWork): Promise<LoadConnection> {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port });
    conn.setNoDelay();
    return new LoadConnection(conn, formatRequest(message));
  }

  async exchange(): Promise<void> {
    const written = await this.#conn.write(this.#request);
    if (written !== this.#request.length) throw new Error("a request was written in part only");
    let received = 0;
    do {
      const count = await this.#conn.read(this.#buffer.subarray(received));
      if (count === null) throw new Error("the server closed the connection");
      received += count;
      this.#length ??= findLength(this.#buffer.subarray(0, received));
    } while (this.#length === null || received < this.#length);
    if (received !== this.#length) throw new Error("a response has another length than the first");
    checkSame(statusLine, this.#buffer.subarray(0, statusLine.length));
    checkSame(answerBody, this.#buffer.subarray(received - answerBody.length, received));
  }

  close(): void {
    this.#conn.close();
  }
}

function formatRequest(message: LatencyWork["message"]): Uint8Array {
  if (message === "get") return formatPreamble("GET / HTTP/1.1", { host: "127.0.0.1" });
  return Uint8Array.from([...requestPreamble("post"), ...answerBody]);
}

/** Bytes of the response that begins like this, or `null` if its headers are incomplete. */
function findLength(bytes: Uint8Array): number | null {
  const text = new TextDecoder("latin1").decode(bytes);
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return null;
  const length = lengthLine.exec(text.slice(0, end + 1))?.[1];
  if (length === undefined) throw new Error("a response without content-length");
  return end + 4 + Number(length);
}

/**
 * Sends requests for some seconds. Each has a time at which it is due, whatever happened to those before:
 * its latency starts then, so waiting for a connection that is busy counts.
 */
async function drive(
  idle: LoadConnection[],
  rate: number | null,
  seconds: number,
): Promise<LatencyReport> {
  const interval = rate === null ? 0 : 1000 / rate;
  const latencies: number[] = [];
  const connections = idle.length;
  const failures: unknown[] = [];
  const exchange = async (connection: LoadConnection, due: number) => {
    try {
      await connection.exchange();
      latencies.push((performance.now() - due) * microseconds);
      idle.push(connection);
    } catch (error) {
      failures.push(error);
    }
  };
  const start = performance.now();
  const end = start + seconds * 1000;
  let due = start;
  for (let now = start; due < end && now < end + patience; now = performance.now()) {
    // Without a rate, a request is due as soon as a connection is free for it.
    if (rate === null) due = now;
    while (due <= now && due < end && idle.length > 0) {
      exchange(idle.shift()!, due);
      due += interval;
    }
    if (failures.length > 0) throw failures[0];
    // A timer would be late by up to a millisecond, which is longer than what is measured.
    await setImmediate();
  }
  if (due < end) throw new Error(`it didn't keep up with ${Math.round(rate ?? 0)} requests/s`);
  while (idle.length < connections) {
    if (failures.length > 0) throw failures[0];
    await setImmediate();
  }
  const elapsed = (performance.now() - start) / 1000;
  const sorted = Float64Array.from(latencies).sort();
  return {
    rate: latencies.length / elapsed,
    p50: quantileOf(sorted, 0.5),
    p99: quantileOf(sorted, 0.99),
    p999: quantileOf(sorted, 0.999),
  };
}

async function main(work: LatencyWork): Promise<LatencyReport> {
  const opening = Array.from({ length: work.connections }, () => LoadConnection.open(work));
  const connections = await Promise.all(opening);
  await drive(connections, work.rate, work.warmUp);
  return await drive(connections, work.rate, work.seconds);
}

if (import.meta.main) {
  try {
    console.log(JSON.stringify(await main(JSON.parse(Deno.args[0] ?? "{}"))));
  } catch (error) {
    console.log(JSON.stringify({ error: error instanceof Error ? error.message : String(error) }));
  }
  // Explicit, because a failed load leaves connections.
  Deno.exit(0);
}
