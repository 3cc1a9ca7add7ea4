/**
 * `deno task soak MINUTES`: well-behaved and hostile traffic over TCP, Unix sockets, abstract names, mutual TLS whose trust changes and a
 * proxy, with faults on both sides, and with sessions that are closed, for MINUTES. Client and server checksum every byte.
 *
 * Reports requests, faults, memory and descriptors at the start and at the end, and ends with status 1 after any mismatch, failure of
 * a well-behaved client, leak or unhandled rejection.
 */

import { Random } from "../fuzz/random.ts";
import { runCommand } from "../support/commands.ts";
import { recordUnhandledRejections } from "../support/rejections.ts";
import { makeApp } from "./app.ts";
import { runFaulty } from "./faults.ts";
import { runSwaps, type Servers, startServers } from "./servers.ts";
import {
  pause,
  type Run,
  runAborting,
  runAmongClosed,
  runCloser,
  runWellBehaved,
  Tally,
} from "./traffic.ts";
import { runTrees } from "./trees.ts";

const HONEST_CLIENTS = 3, FAULTY_CLIENTS = 2, ABORTING_CLIENTS = 2;
const WARM_UP_SECONDS = 25;
/**
 * The allowed growth at the end: a leak of a hundred bytes per request in two minutes exceeds it.
 */
const MAX_HEAP_GROWTH_BYTES = 4 * 1024 * 1024;
/** The allocator doesn't return all freed memory to the system. */
const MAX_RSS_GROWTH_BYTES = 96 * 1024 * 1024;

/** Runs all clients of all servers for some seconds, and waits until each has ended. */
async function runTraffic(
  servers: Servers,
  dir: string,
  seconds: number,
  seed: number,
): Promise<Tally> {
  const tally = new Tally();
  const ending = new AbortController();
  const { signal } = ending;
  const timer = setTimeout(() => ending.abort(), seconds * 1000);
  const running: Promise<void>[] = [];
  const start = (times: number, begin: (run: Run) => Promise<void>) => {
    for (let n = times; n > 0; n--) {
      running.push(
        begin({ random: new Random(seed++), tally, signal }).catch((error) => {
          tally.fail(Deno.inspect(error));
          ending.abort();
        }),
      );
    }
  };
  start(1, (run) => runStranger(servers, run));
  start(1, (run) => runSwaps(servers.swapping, run));
  start(1, (run) => runTrees(dir, run));
  for (const [name, client] of servers.clients) {
    start(HONEST_CLIENTS, (run) => runWellBehaved(name, client, run));
    start(FAULTY_CLIENTS, (run) => runFaulty(name, client, run));
    start(ABORTING_CLIENTS, (run) => runAborting(name, client, run));
  }
  for (const closing of servers.closing) {
    start(1, (run) => runCloser(closing, run));
    start(HONEST_CLIENTS, (run) => runAmongClosed(closing, run));
  }
  await Promise.all(running);
  clearTimeout(timer);
  return tally;
}

async function runStranger({ stranger }: Servers, { tally, signal }: Run): Promise<void> {
  const name = "client: no certificate";
  while (!signal.aborted) {
    try {
      const { status } = await stranger.request("GET", "/data", { checksum: "0-0" });
      tally.fail(`${name}: answered with ${status}`);
    } catch {
      tally.count(name);
    }
    await pause(100);
  }
}

type Resources = Awaited<ReturnType<typeof measure>>;

const COLLECTIONS = 8, PAUSE_MILLISECONDS = 25;

/**
 * Measures memory in bytes, and counts open files, sockets and pipes; first collects garbage if the
 * process was started with `--v8-flags=--expose-gc`.
 */
async function measure() {
  // Objects that a finalizer releases are collected only by the next collection.
  for (let i = 0; i < COLLECTIONS; i++) {
    (globalThis as { gc?: () => void }).gc?.();
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MILLISECONDS));
  }
  const { rss, heapUsed } = Deno.memoryUsage();
  return { rss, heap: heapUsed, descriptors: await countDescriptors() };
}

/**
 * Counts open files by another program, because Deno allows reading /proc/self/fd only with all
 * permissions.
 */
async function countDescriptors(): Promise<number> {
  const { stdout } = await runCommand(["ls", `/proc/${Deno.pid}/fd`]);
  return stdout.split("\n").length - 1;
}

/** Longer than any time-out of the servers, because some connections end only by a time-out. */
const MAX_SETTLE_SECONDS = 90;
const MAX_ATTEMPTS = 20;

/**
 * Waits until all sessions have ended, and then until descriptors and memory are about as before,
 * but only up to a limit: freed memory isn't returned to the system at once.
 */
async function settle(servers: Servers, before: Resources): Promise<Resources> {
  const end = performance.now() + MAX_SETTLE_SECONDS * 1000;
  while (servers.countSessions() > 0 && performance.now() < end) await pause(100);
  for (let attempt = 0;; attempt++) {
    const current = await measure();
    const isSettled = current.descriptors <= before.descriptors &&
      current.rss - before.rss <= MAX_RSS_GROWTH_BYTES;
    if (isSettled || attempt === MAX_ATTEMPTS) return current;
  }
}

const formatMebibytes = (bytes: number) => `${(bytes / 1048576).toFixed(1)} MiB`;

function formatResources({ rss, heap, descriptors }: Resources): string {
  return `RSS ${formatMebibytes(rss)}, heap ${formatMebibytes(heap)}, ${descriptors} descriptors`;
}

function report(tally: Tally, seconds: number): void {
  const { requests, bytes, connections, faults } = tally;
  const rate = Math.round(requests / seconds);
  console.log(
    `${requests} requests (${rate}/s) over ${connections} connections, ${formatMebibytes(bytes)} ` +
      "checksummed",
  );
  const total = [...faults.values()].reduce((sum, n) => sum + n, 0);
  console.log(`${total} faults:`);
  for (const [name, n] of [...faults].sort()) console.log(`  ${String(n).padStart(7)}  ${name}`);
}

function findProblems(
  tallies: readonly Tally[],
  mismatches: readonly string[],
  rejections: readonly unknown[],
  before: Resources,
  start: Resources,
  end: Resources,
): string[] {
  const problems = [
    ...tallies.flatMap(({ failures }) => failures),
    ...mismatches.map((text) => `the server received ${text}`),
    ...rejections.map((reason) => `unhandled rejection: ${Deno.inspect(reason)}`),
  ];
  // The first traffic opens descriptors that stay open, so only the second shows a leak.
  const leaked = end.descriptors - Math.max(before.descriptors, start.descriptors);
  if (leaked > 0) problems.push(`${leaked} descriptors have leaked`);
  const heap = end.heap - start.heap;
  if (heap > MAX_HEAP_GROWTH_BYTES) {
    problems.push(`the heap has grown by ${formatMebibytes(heap)}`);
  }
  const rss = end.rss - start.rss;
  if (rss > MAX_RSS_GROWTH_BYTES) problems.push(`memory has grown by ${formatMebibytes(rss)}`);
  return problems;
}

async function soak(minutes: number): Promise<readonly string[]> {
  using recorded = recordUnhandledRejections();
  const dir = await Deno.makeTempDir({ prefix: "degu-soak-" });
  try {
    const mismatches: string[] = [];
    await using servers = await startServers(makeApp(mismatches), dir);
    const before = await measure();
    const warmUp = await runTraffic(servers, dir, WARM_UP_SECONDS, 1);
    // The memory of the first traffic doesn't show a leak.
    const start = await settle(servers, { ...before, rss: Infinity });
    console.log(`start: ${formatResources(start)}, after ${WARM_UP_SECONDS} s of warming up`);
    const began = performance.now();
    const tally = await runTraffic(servers, dir, minutes * 60, 1000);
    report(tally, (performance.now() - began) / 1000);
    const end = await settle(servers, start);
    console.log(`end:   ${formatResources(end)}, after ${minutes} min`);
    const { reasons } = recorded;
    const problems = findProblems([warmUp, tally], mismatches, reasons, before, start, end);
    const openSessions = servers.countSessions();
    if (openSessions > 0) problems.push(`${openSessions} sessions are left`);
    return problems;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const minutes = Number(Deno.args[0]);
if (Deno.args.length !== 1 || !(minutes > 0 && minutes < Infinity)) {
  console.error("usage: deno task soak MINUTES");
  Deno.exit(2);
}
const problems = await soak(minutes);
for (const problem of problems.slice(0, 20)) console.error(`FAILED ${problem}`);
if (problems.length > 20) console.error(`and ${problems.length - 20} more`);
console.log(problems.length === 0 ? "nothing lost, nothing leaked" : "FAILED");
Deno.exit(problems.length === 0 ? 0 : 1);
