/**
 * Row 17: the latency of small requests at a fixed rate, which is the same for all servers, with
 * server and load on one core each. This module is also the program that makes the load.
 */

import { setImmediate } from "node:timers/promises";
import { type Contender, type Group, makeReplay, quantileOf } from "../measure.ts";
import { checkEqual, makeRawMessage, responseBody } from "../messages.ts";
import {
  describePlacement,
  programCommand,
  type Row,
  type RowSetting,
  startServer,
} from "../pair.ts";
import { hostname } from "../peer.ts";
import { type Program, runToEnd } from "../process.ts";
import { servers } from "./load.ts";

const connections = 8;
/**
 * The measured rates, as fractions of the maximum rate of Degu's server. The maximum rate of
 * `node:http` is about half of Degu's.
 */
const rateFractions = [["half", 1 / 2], ["quarter", 1 / 4]] as const;
const percentiles = [["p50", 0.5], ["p99", 0.99], ["p99.9", 0.999]] as const;

export const latencyRow: Row = {
  number: 17,
  title: "Latency of servers under a fixed rate with 8 connections: p50, p99 and p99.9",
  async *groups(setting) {
    const maxRate = await measureMaxRate(setting);
    for (const [fractionName, fraction] of rateFractions) {
      yield* makeGroups(fractionName, Math.round(maxRate * fraction), setting);
    }
  },
};

/** Measures the maximum number of requests per second of Degu's server. */
async function measureMaxRate(setting: RowSetting): Promise<number> {
  await using programStack = new AsyncDisposableStack();
  const server = await startServer({ peer: "degu" }, setting, programStack);
  let maxRate = 0;
  // Other load on the machine makes a run slower, never faster.
  for (let run = 0; run < 3; run++) {
    maxRate = Math.max(maxRate, (await runLoad(server, null, setting)).rate);
  }
  return maxRate;
}

/** Makes a group for each percentile. The first group measures; the others show the same runs. */
function* makeGroups(
  fractionName: string,
  rate: number,
  setting: RowSetting,
): Generator<Group, void, undefined> {
  const reports = servers.map((): LatencyReport[] => []);
  for (const [index, [percentile]] of percentiles.entries()) {
    yield {
      id: `17-get-${fractionName}-${percentile}`,
      title: `${percentile} of GET with 108 B, ${connections} connections, ` +
        `${rate} requests/s (a ${fractionName} of what degu reaches)`,
      unit: "µs",
      placement: describePlacement("second core", setting),
      references: ["raw", "Deno.serve"],
      contenders: servers.map(([name, peer], serverIndex): Contender => ({
        name,
        async start(programStack) {
          const ownReports = reports[serverIndex]!;
          if (index > 0) return makeReplay(ownReports, ({ latencies }) => latencies[index]!);
          const server = await startServer({ peer }, setting, programStack);
          await runLoad(server, rate, setting);
          return async () => {
            const report = await runLoad(server, rate, setting);
            ownReports.push(report);
            return report.latencies[index]!;
          };
        },
      })),
      notes: [
        "The latency starts when a request is due, so it includes the wait for a free connection.",
        "“raw” doesn't parse the requests.",
      ],
    };
  }
}

async function runLoad(
  { address: port }: Program,
  rate: number | null,
  setting: RowSetting,
): Promise<LatencyReport> {
  const work = { port, rate, seconds: setting.isQuick ? 1 : 3 };
  const command = programCommand("rows/latency.ts", "second core", setting);
  return JSON.parse(await runToEnd([...command, JSON.stringify(work)]));
}

interface LatencyWork {
  readonly port: number;
  /** Requests per second, or `null` for as many as possible. */
  readonly rate: number | null;
  readonly seconds: number;
}

/** The output of the program, as JSON. */
interface LatencyReport {
  readonly rate: number;
  /** A latency for each of {@link percentiles}, in microseconds. */
  readonly latencies: readonly number[];
}

/** The seconds of requests before the measurement. */
const warmUpSeconds = 1;
/** The maximum time after the end in which all due requests must have been sent. */
const maxDelayMilliseconds = 1000;
const request = makeRawMessage("GET / HTTP/1.1", { host: "127.0.0.1" }).bytes;
const statusLine = new TextEncoder().encode("HTTP/1.1 200 ");

/** Sends a request over a connection, and checks its response. */
type Exchange = () => Promise<void>;

async function openConnection(port: number): Promise<Exchange> {
  const conn = await Deno.connect({ hostname, port });
  conn.setNoDelay();
  const buffer = new Uint8Array(4096);
  // All responses have the same length as the first.
  let length: number | null = null;
  return async () => {
    const written = await conn.write(request);
    if (written !== request.length) throw new Error("a request was written only in part");
    let receivedLength = 0;
    do {
      const count = await conn.read(buffer.subarray(receivedLength));
      if (count === null) throw new Error("the server closed the connection");
      receivedLength += count;
      length ??= findLength(buffer.subarray(0, receivedLength));
    } while (length === null || receivedLength < length);
    if (receivedLength !== length) {
      throw new Error("the length of a response differs from the first");
    }
    checkEqual(statusLine, buffer.subarray(0, statusLine.length));
    checkEqual(responseBody, buffer.subarray(receivedLength - responseBody.length, receivedLength));
  };
}

/** Returns the length of a response from its first bytes; `null` if its headers are incomplete. */
function findLength(bytes: Uint8Array): number | null {
  const end = new TextDecoder("latin1").decode(bytes).indexOf("\r\n\r\n");
  return end < 0 ? null : end + 4 + responseBody.length;
}

/**
 * Sends requests for some seconds. Each request has a time at which it is due, independent of
 * earlier requests. Its latency starts at that time, so it includes the wait for a busy connection.
 */
async function sendRequests(
  idleConnections: Exchange[],
  rate: number | null,
  seconds: number,
): Promise<LatencyReport> {
  const intervalMilliseconds = rate === null ? 0 : 1000 / rate;
  const latencies: number[] = [];
  // Don't catch errors of an exchange: they end the program.
  const exchange = async (connection: Exchange, dueTime: number) => {
    await connection();
    latencies.push((performance.now() - dueTime) * 1000);
    idleConnections.push(connection);
  };
  const startTime = performance.now();
  const endTime = startTime + seconds * 1000;
  let nextDueTime = startTime;
  for (
    let now = startTime;
    nextDueTime < endTime && now < endTime + maxDelayMilliseconds;
    now = performance.now()
  ) {
    // Without a rate, a request is due as soon as a connection is idle.
    if (rate === null) nextDueTime = now;
    while (nextDueTime <= now && nextDueTime < endTime && idleConnections.length > 0) {
      exchange(idleConnections.shift()!, nextDueTime);
      nextDueTime += intervalMilliseconds;
    }
    // A timer would be late by up to a millisecond, which is longer than the measured times.
    await setImmediate();
  }
  if (nextDueTime < endTime) {
    throw new Error(`the server didn't keep up with ${Math.round(rate ?? 0)} requests/s`);
  }
  while (idleConnections.length < connections) await setImmediate();
  const elapsedSeconds = (performance.now() - startTime) / 1000;
  const sorted = Float64Array.from(latencies).sort();
  return {
    rate: latencies.length / elapsedSeconds,
    latencies: percentiles.map(([, fraction]) => quantileOf(sorted, fraction)),
  };
}

if (import.meta.main) {
  const { port, rate, seconds }: LatencyWork = JSON.parse(Deno.args[0] ?? "{}");
  const openConnections = await Promise.all(
    Array.from({ length: connections }, () => openConnection(port)),
  );
  await sendRequests(openConnections, rate, warmUpSeconds);
  console.log(JSON.stringify(await sendRequests(openConnections, rate, seconds)));
  Deno.exit();
}
