/**
 * `deno task bench`: this project beside the raw socket and its peers. Prints a table per group as it
 * goes; see `--help`.
 *
 * @module
 */

import { Cores } from "./cores.ts";
import type { GroupResult } from "./interleave.ts";
import { measureGroup } from "./interleave.ts";
import { type Options, parseOptions, usage } from "./options.ts";
import { killAll } from "./process.ts";
import type { Circumstances } from "./report.ts";
import { describeCircumstances, formatCircumstances, formatJson } from "./report.ts";
import { bulkRow } from "./rows/bulk.ts";
import { handshakeRow, idleRow, singleRow } from "./rows/connection.ts";
import { filesRow } from "./rows/files.ts";
import { latencyRow } from "./rows/latency.ts";
import { loadRow } from "./rows/load.ts";
import { memoryRow } from "./rows/memory.ts";
import { movingRow } from "./rows/moving.ts";
import { observingRow } from "./rows/observing.ts";
import { parsingRow } from "./rows/parsing.ts";
import { poolRow } from "./rows/pool.ts";
import type { Row, RowSetting } from "./rows/row.ts";
import { eightConnectionsRow, headersRow, oneConnectionRow } from "./rows/sequential.ts";
import { startupRow } from "./rows/startup.ts";
import { tlsRow } from "./rows/tls.ts";
import { formatGroup, formatPage } from "./table.ts";
import type { CertificateFiles } from "./work.ts";
import { findWriteLength } from "./write_length.ts";

const rows: readonly Row[] = [
  oneConnectionRow,
  eightConnectionsRow,
  headersRow,
  bulkRow,
  filesRow,
  tlsRow,
  loadRow,
  parsingRow,
  memoryRow,
  startupRow,
  movingRow,
  observingRow,
  poolRow,
  singleRow,
  handshakeRow,
  idleRow,
  latencyRow,
];

/** Seconds that one measurement may take before its contender counts as failed. */
const measurementTimeout = 120;
/** The shell's exit status for a program that was interrupted. */
const interruptedStatus = 130;

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
  const results = await run(options, {
    cores: await Cores.find(),
    directory,
    timeout: measurementTimeout,
    quick: options.quick,
    writeLength: await findWriteLength(),
    tls: [6, 11, 12, 15, 16].some((row) => options.rows.includes(row))
      ? await makeCertificates(stack)
      : { problem: "not asked for" },
    hasPythonDegu: await hasPythonDegu(),
  });
  await stack.disposeAsync();
  // Explicit, because the signal listeners keep the process alive.
  Deno.exit(results.some(hasOwnFailure) ? 1 : 0);
}

/** Whether a contender of this project failed. A peer that can't be had is not our failure. */
function hasOwnFailure({ results }: GroupResult): boolean {
  return results.some(({ name, error }) => name.startsWith("degu") && error !== null);
}

async function run(options: Options, setting: RowSetting): Promise<GroupResult[]> {
  const save = await prepareFiles(options);
  const facts = describeCircumstances(options, setting.cores.problem);
  write(Deno.stdout, formatCircumstances(facts) + "\n");
  const results: GroupResult[] = [];
  for (const row of rows) {
    if (!options.rows.includes(row.number)) continue;
    write(Deno.stdout, `## Row ${row.number}: ${row.title}\n\n`);
    for await (const group of row.groups(setting)) {
      const result = await measureGroup(group, options.rounds, reportProgress);
      reportProgress("");
      write(Deno.stdout, formatGroup(result) + "\n");
      results.push(result);
      await save(facts, results);
    }
  }
  return results;
}

/** Writes what has been measured so far to the files that were asked for. */
type Save = (facts: Circumstances, results: readonly GroupResult[]) => Promise<void>;

/** Makes sure now, not after the measurements, that the results can be written. */
async function prepareFiles({ json, plot, tables }: Options): Promise<Save> {
  for (const path of [json, plot, tables]) {
    if (path !== null) (await Deno.open(path, { write: true, create: true })).close();
  }
  // Loaded on demand: the library is large and most runs draw nothing.
  const drawing = plot === null ? null : await import("./plot.ts");
  return async (facts, results) => {
    if (json !== null) await Deno.writeTextFile(json, formatJson(facts, results));
    if (tables !== null) await Deno.writeTextFile(tables, formatPage(facts, results));
    if (plot !== null && drawing !== null) {
      await Deno.writeTextFile(plot, drawing.drawPlot(results));
    }
  };
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

async function hasPythonDegu(): Promise<boolean> {
  try {
    const { success } = await new Deno.Command("python3", {
      args: ["-c", "import degu"],
      stdout: "null",
      stderr: "null",
    }).output();
    return success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
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
