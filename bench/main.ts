/**
 * `deno task bench`: this project beside the raw socket and its peers. Prints a table per group as it
 * goes; see `--help`.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { measureGroup } from "./measure.ts";
import { Cores, type Row, type RowSetting } from "./pair.ts";
import type { CertificateFiles } from "./peer.ts";
import { killAll } from "./process.ts";
import { describeCircumstances, formatGroup, pagePath, replaceRow } from "./report.ts";
import { bulkRow } from "./rows/bulk.ts";
import {
  eightConnectionsRow,
  handshakeRow,
  headersRow,
  idleRow,
  oneConnectionRow,
  singleRow,
  tlsRow,
} from "./rows/exchanges.ts";
import { filesRow } from "./rows/files.ts";
import { latencyRow } from "./rows/latency.ts";
import { loadRow } from "./rows/load.ts";

const rows: readonly Row[] = [
  ...[oneConnectionRow, eightConnectionsRow, headersRow, bulkRow, tlsRow, loadRow, filesRow],
  ...[singleRow, handshakeRow, idleRow, latencyRow],
];
const rowNumbers = rows.map(({ number }) => number);

const usage = `deno task bench [options]

  --quick           small amounts, in less than a minute: rows 1 to 4, unless --rows names others
  --rows 1,4,…      only these rows (default: all of them)
  --rounds N        measurements of each contender (default: 7, quick: 3)
  --save            put the tables of each row into bench/results.md, in place of the row's old ones
  --help            print this

Everything takes about an hour. Nothing else should run meanwhile. TMPDIR names the directory for files; /tmp without it.

${rows.map(({ number, title }) => `Row ${String(number).padStart(2)}  ${title}`).join("\n")}
`;

/** Seconds that one measurement may take before its contender counts as failed. */
const measurementTimeout = 120;
/** The shell's exit status for a program that was interrupted. */
const interruptedStatus = 130;

interface Options {
  readonly quick: boolean;
  readonly save: boolean;
  readonly help: boolean;
  /** Numbers of the rows to measure. */
  readonly rows: readonly number[];
  /** Measurements of each contender. */
  readonly rounds: number;
}

/** Reads the command line; throws `TypeError` or `RangeError` with what is wrong with it. */
function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      save: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
      rows: { type: "string" },
      rounds: { type: "string" },
    },
  });
  const { quick, rows, rounds = quick ? "3" : "7" } = values;
  if (!/^[1-9]\d{0,3}$/.test(rounds)) {
    throw new RangeError(`--rounds takes a number of 1 or more, not "${rounds}"`);
  }
  const chosen = rows?.split(",").map(Number) ?? (quick ? [1, 2, 3, 4] : rowNumbers);
  if (!chosen.every((row) => rowNumbers.includes(row))) {
    throw new RangeError(`--rows takes ${rowNumbers.join(", ")}, not "${rows}"`);
  }
  return { ...values, rows: chosen, rounds: Number(rounds) };
}

async function main(): Promise<void> {
  let options: Options;
  try {
    options = parseOptions(Deno.args);
  } catch (error) {
    write(Deno.stderr, `${error instanceof Error ? error.message : error}\n\n${usage}`);
    Deno.exit(2);
  }
  if (options.help) return write(Deno.stdout, usage);

  await using stack = new AsyncDisposableStack();
  const directory = await Deno.makeTempDir({ prefix: "degu-bench-" });
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  stack.defer(killAll);
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, async () => {
      killAll();
      await stack.disposeAsync();
      Deno.exit(interruptedStatus);
    });
  }
  const failed = await run(options, {
    cores: await Cores.find(),
    directory,
    timeout: measurementTimeout,
    quick: options.quick,
    tls: await makeCertificates(stack),
  });
  await stack.disposeAsync();
  // Explicit, because the signal listeners keep the process alive.
  Deno.exit(failed ? 1 : 0);
}

/** Returns whether a contender of this project failed. A peer that can't be had is not our failure. */
async function run({ rows: chosen, rounds, save }: Options, setting: RowSetting): Promise<boolean> {
  let failed = false;
  for (const row of rows.filter(({ number }) => chosen.includes(number))) {
    const facts = describeCircumstances(rounds, setting.quick, setting.cores.problem);
    let section = `## Row ${row.number}: ${row.title}\n\n${facts}\n`;
    write(Deno.stdout, `${section}\n`);
    for await (const group of row.groups(setting)) {
      const results = await measureGroup(group, rounds, reportProgress);
      reportProgress("");
      const text = formatGroup(group, results);
      write(Deno.stdout, `${text}\n`);
      section += `\n${text}`;
      failed ||= results.some(({ name, error }) => name.startsWith("degu") && error !== null);
    }
    if (!save) continue;
    const page = await Deno.readTextFile(pagePath).catch(() => "");
    await Deno.writeTextFile(pagePath, replaceRow(page, row.number, section));
  }
  return failed;
}

/** Certificates for the time of the run, or why there are none. */
async function makeCertificates(stack: AsyncDisposableStack): Promise<RowSetting["tls"]> {
  try {
    const { TempPKI } = await import("../misc.ts");
    const { serverSslconfig, clientSslconfig } = stack.use(await TempPKI.create());
    return { server: pickFiles(serverSslconfig), client: pickFiles(clientSslconfig) };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { problem: `no certificates could be made: ${message}` };
  }
}

function pickFiles({ certFile, keyFile, caFile }: Partial<CertificateFiles>): CertificateFiles {
  if (certFile === undefined || keyFile === undefined || caFile === undefined) {
    throw new Error("a configuration with certificates on both ends names three files");
  }
  return { certFile, keyFile, caFile };
}

/** Shows where the run is, in one line that the next one replaces, where somebody can see it. */
function reportProgress(text: string): void {
  if (Deno.stderr.isTerminal()) write(Deno.stderr, `\r\x1b[K${text}`);
}

function write(stream: typeof Deno.stdout | typeof Deno.stderr, text: string): void {
  const bytes = new TextEncoder().encode(text);
  let written = 0;
  while (written < bytes.length) written += stream.writeSync(bytes.subarray(written));
}

if (import.meta.main) await main();
