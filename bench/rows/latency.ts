/**
 * Row 17: the time that small requests wait for servers at a fixed rate, the same for all servers,
 * with server and load on one core each. This module is also the program that makes the load.
 */

import { setImmediate } from "node:timers/promises";
import type { Contender, Group } from "../measure.ts";
import { quantileOf } from "../measure.ts";
import { answerBody, checkSame, makeRaw } from "../messages.ts";
import type { Row, RowSetting } from "../pair.ts";
import { describePlacement, programCommand, startServer } from "../pair.ts";
import { hostname } from "../peer.ts";
import { type Program, runToEnd } from "../process.ts";
import { servers } from "./load.ts";

const connections = 8;
/**
 * Parts of the highest rate of this project's server. node:http reaches about half of that rate.
 */
const loads = [["half", 1 / 2], ["quarter", 1 / 4]] as const;
const percentiles = [["p50", 0.5], ["p99", 0.99], ["p99.9", 0.999]] as const;

export const latencyRow: Row = {
  number: 17,
  title: "Latency of servers under a fixed rate with 8 connections: p50, p99 and p99.9",
  async *groups(setting) {
    const maxRate = await measureMaxRate(setting);
    for (const [part, share] of loads) {
      yield* makeGroups(part, Math.round(maxRate * share), setting);
    }
  },
};

/** Measures the maximum number of requests per second of this project's server. */
async function measureMaxRate(setting: RowSetting): Promise<number> {
  await using running = new AsyncDisposableStack();
  const server = await startServer("degu", setting, running);
  let maxRate = 0;
  // Other load on the machine makes a run slower, never faster.
  for (let run = 0; run < 3; run++) {
    maxRate = Math.max(maxRate, (await load(server, null, setting)).rate);
  }
  return maxRate;
}

/** Makes a group for each percentile. The first group measures; the others show the same runs. */
function* makeGroups(
  part: string,
  rate: number,
  setting: RowSetting,
): Generator<Group, void, undefined> {
  const reports = servers.map((): LatencyReport[] => []);
  for (const [index, [percentile]] of percentiles.entries()) {
    yield {
      id: `17-get-${part}-${percentile}`,
      title: `${percentile} of GET with 108 B, ${connections} connections, ` +
        `${rate} requests/s (a ${part} of what degu reaches)`,
      unit: "µs",
      placement: describePlacement("second core", setting),
      references: ["raw", "Deno.serve"],
      contenders: servers.map(([name, peer], serverIndex): Contender => ({
        name,
        async start(running) {
          const ownReports = reports[serverIndex]!;
          const samples = ownReports.values();
          const server = index === 0 ? await startServer(peer, setting, running) : null;
          if (server !== null) await load(server, rate, setting);
          return async () => {
            if (server !== null) ownReports.push(await load(server, rate, setting));
            const { value } = samples.next();
            if (value === undefined) throw new Error("see p50");
            return value.latencies[index]!;
          };
        },
      })),
      notes: [
        "From the time at which a request is due, so waiting for a free connection counts.",
        "“raw” doesn't look at what it reads.",
      ],
    };
  }
}

async function load(
  { address: port }: Program,
  rate: number | null,
  setting: RowSetting,
): Promise<LatencyReport> {
  const work = { port, rate, seconds: setting.quick ? 1 : 3 };
  const command = programCommand("rows/latency.ts", "second core", setting);
  return JSON.parse(await runToEnd([...command, JSON.stringify(work)]));
}

interface LatencyWork {
  readonly port: number;
  /** Requests a second, or `null` for as many as the connections carry. */
  readonly rate: number | null;
  readonly seconds: number;
}

/** The output of the program, as JSON. */
interface LatencyReport {
  readonly rate: number;
  /** A latency for each of {@link percentiles}, in microseconds. */
  readonly latencies: readonly number[];
}

/** The seconds of requests before those that count. */
const warmUpSeconds = 1;
/** Milliseconds after the last request's time in which waiting requests must have been sent. */
const patience = 1000;
const request = makeRaw("GET / HTTP/1.1", { host: "127.0.0.1" }).bytes;
const statusLine = new TextEncoder().encode("HTTP/1.1 200 ");

/** Makes a request over a connection, and checks its response. */
type Exchange = () => Promise<void>;

async function openConnection(port: number): Promise<Exchange> {
  const conn = await Deno.connect({ hostname, port });
  conn.setNoDelay();
  const buffer = new Uint8Array(4096);
  // All responses have as many bytes as the first one.
  let length: number | null = null;
  return async () => {
    const written = await conn.write(request);
    if (written !== request.length) throw new Error("a request was written in part only");
    let received = 0;
    do {
      const count = await conn.read(buffer.subarray(received));
      if (count === null) throw new Error("the server closed the connection");
      received += count;
      length ??= findLength(buffer.subarray(0, received));
    } while (length === null || received < length);
    if (received !== length) throw new Error("a response has another length than the first");
    checkSame(statusLine, buffer.subarray(0, statusLine.length));
    checkSame(answerBody, buffer.subarray(received - answerBody.length, received));
  };
}

/** Returns the length of a response with this start; `null` if its headers are incomplete. */
function findLength(bytes: Uint8Array): number | null {
  const end = new TextDecoder("latin1").decode(bytes).indexOf("\r\n\r\n");
  return end < 0 ? null : end + 4 + answerBody.length;
}

/**
 * Sends requests for some seconds. Each request has a time at which it is due, independent of
 * earlier requests. Its latency starts at that time, so it includes the wait for a busy connection.
 */
async function sendRequests(
  idle: Exchange[],
  rate: number | null,
  seconds: number,
): Promise<LatencyReport> {
  const interval = rate === null ? 0 : 1000 / rate;
  const latencies: number[] = [];
  // Don't catch the error of a failed exchange, so that it ends the program.
  const exchange = async (connection: Exchange, due: number) => {
    await connection();
    latencies.push((performance.now() - due) * 1000);
    idle.push(connection);
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
    // A timer would be late by up to a millisecond, which is longer than the measured times.
    await setImmediate();
  }
  if (due < end) throw new Error(`it didn't keep up with ${Math.round(rate ?? 0)} requests/s`);
  while (idle.length < connections) await setImmediate();
  const elapsed = (performance.now() - start) / 1000;
  const sorted = Float64Array.from(latencies).sort();
  return {
    rate: latencies.length / elapsed,
    latencies: percentiles.map(([, share]) => quantileOf(sorted, share)),
  };
}

if (import.meta.main) {
  const { port, rate, seconds }: LatencyWork = JSON.parse(Deno.args[0] ?? "{}");
  const opened = await Promise.all(Array.from({ length: connections }, () => openConnection(port)));
  await sendRequests(opened, rate, warmUpSeconds);
  console.log(JSON.stringify(await sendRequests(opened, rate, seconds)));
  Deno.exit();
}
