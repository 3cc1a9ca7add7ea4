/**
 * `deno task bench`: compares Degu with the raw socket and other libraries. Prints the table of
 * each group after its measurement; see `--help`.
 */

import { parseArgs } from "node:util";
import { TempPKI } from "../misc.ts";
import { runOrThrow } from "../tests/support/commands.ts";
import { groupsAgainst, rowsAgainst } from "./against.ts";
import { type Group, measureGroup } from "./measure.ts";
import { findCores, type Row, type RowSetting } from "./pair.ts";
import type { CertificateFiles } from "./peer.ts";
import { abortController } from "./process.ts";
import { describeCircumstances, formatGroup, formatPage, pagePath } from "./report.ts";
import { bulkRow } from "./rows/bulk.ts";
import { exchangeRows } from "./rows/exchanges.ts";
import { filesRow } from "./rows/files.ts";
import { largeRow } from "./rows/large.ts";
import { loadRows } from "./rows/load.ts";
import { pacedRow } from "./rows/paced.ts";
import { objectsRow } from "./rows/objects.ts";
import { poolRow } from "./rows/pool.ts";
import { reuseRow } from "./rows/reuse.ts";
import { startRow } from "./rows/start.ts";
import { replaceFigures, summaries } from "./summary.ts";

const rows: readonly Row[] = [
  ...exchangeRows,
  bulkRow,
  ...loadRows,
  filesRow,
  startRow,
  pacedRow,
  reuseRow,
  largeRow,
  poolRow,
  objectsRow,
]
  .sort((a, b) => a.number - b.number);
const rowNumbers = rows.map(({ number }) => number);
/** The rows that `--against` can compare. */
const comparedRows = rowNumbers.filter((number) => number !== 21);

const usage = `deno task bench [options]

  --quick           small amounts, in less than a minute: by default rows 1 to 4
  --rows 1,4,…      only these rows (default: all)
  --rounds N        measurements of each contender (default: 7, quick: 3)
  --against COMMIT  compare this tree with a commit by processor time, in a quarter of an hour, with --quick in two
                    minutes; with --rows, compare these rows: possible are ${
  comparedRows.join(", ")
}
  --save            write the tables to bench/results.md, and the figures to docs/performance.md and
                    files/docs/performance.md; with --rows, the other rows don't change
  --help            print this

All rows take up to an hour. Don't run other programs at the same time. TMPDIR is the directory for files; by default
/tmp.

${rows.map(({ number, title }) => `Row ${String(number).padStart(2)}  ${title}`).join("\n")}
`;

/** Parses the command line. Throws a `TypeError` or `RangeError` for invalid options. */
function parseOptions() {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      quick: { type: "boolean", default: false },
      save: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
      rows: { type: "string" },
      against: { type: "string" },
      rounds: { type: "string" },
    },
  });
  const { quick: isQuick, save, help, against, rows, rounds = isQuick ? "3" : "7" } = values;
  if (!/^[1-9]\d{0,3}$/.test(rounds)) {
    throw new RangeError(`--rounds takes a number of 1 or more, not "${rounds}"`);
  }
  const selectedRows = rows?.split(",").map(Number) ?? (isQuick ? [1, 2, 3, 4] : rowNumbers);
  if (!selectedRows.every((row) => rowNumbers.includes(row))) {
    throw new RangeError(`--rows takes ${rowNumbers.join(", ")}, not "${rows}"`);
  }
  if (against !== undefined && save) {
    throw new RangeError("--against can't be combined with --save");
  }
  if (against !== undefined && rows !== undefined) {
    const invalidRow = selectedRows.find((row) => !comparedRows.includes(row));
    if (invalidRow !== undefined) {
      throw new RangeError(`--against takes rows ${comparedRows.join(", ")}, not ${invalidRow}`);
    }
  }
  if (save && isQuick) throw new RangeError("--save can't be combined with --quick");
  const namedRows = rows === undefined ? null : selectedRows;
  return { isQuick, save, help, against, namedRows, rows: selectedRows, rounds: Number(rounds) };
}

let options: ReturnType<typeof parseOptions>;
try {
  options = parseOptions();
} catch (error) {
  console.error(`${error instanceof Error ? error.message : error}\n\n${usage}`);
  Deno.exit(2);
}
if (options.help) {
  console.log(usage);
  Deno.exit(0);
}
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  // Ends all programs, so every contender fails, and the files are removed at the end.
  Deno.addSignalListener(signal, () => abortController.abort(new Error(`ended by ${signal}`)));
}
const directory = await Deno.makeTempDir({ prefix: "degu-bench-" });
// Ignore the failures of other programs, which may not be installed.
const isOwnContender = (name: string) => options.against !== undefined || name.startsWith("degu");
let hasFailed = false;
try {
  await using pki = await TempPKI.create();
  const { isQuick, rounds } = options;
  const setting: RowSetting = {
    cores: await findCores(),
    directory,
    isQuick,
    // The PKI also has client certificates, so both configurations have all three files.
    tls: {
      server: pki.serverSslconfig as CertificateFiles,
      client: pki.clientSslconfig as CertificateFiles & { checkHostname: false },
    },
  };
  const measureAndPrint = async (group: Group): Promise<string> => {
    const results = await measureGroup(group, rounds);
    const text = formatGroup(group, results);
    console.log(text);
    hasFailed ||= results.some(({ name, error }) => isOwnContender(name) && error !== null);
    return text;
  };
  if (options.against !== undefined) {
    console.log(`${await describeCircumstances(rounds, isQuick)}\n`);
    const { against, namedRows } = options;
    const groups = namedRows === null
      ? groupsAgainst(against, setting)
      : rowsAgainst(against, rows.filter(({ number }) => namedRows.includes(number)), setting);
    for await (const group of groups) await measureAndPrint(group);
  }
  const selectedRows = options.against === undefined ? options.rows : [];
  const sections: string[] = [];
  for (const row of rows.filter(({ number }) => selectedRows.includes(number))) {
    const circumstances = await describeCircumstances(rounds, isQuick);
    let section = `## Row ${row.number}: ${row.title}\n\n${circumstances}\n`;
    console.log(section);
    for await (const group of row.groups(setting)) section += `\n${await measureAndPrint(group)}`;
    sections.push(section);
  }
  if (options.save && !abortController.signal.aborted) {
    const results = formatPage(
      options.namedRows === null ? "" : await Deno.readTextFile(pagePath),
      sections,
    );
    await Deno.writeTextFile(pagePath, results);
    for (const summary of summaries) {
      const url = new URL(`../${summary.path}`, import.meta.url);
      const page = await Deno.readTextFile(url);
      await Deno.writeTextFile(url, replaceFigures(page, results, summary));
    }
    const pages = ["bench/results.md", ...summaries.map(({ path }) => path)];
    const cwd = new URL("../", import.meta.url);
    await runOrThrow([Deno.execPath(), "fmt", ...pages], { cwd });
  }
  hasFailed ||= abortController.signal.aborted;
} finally {
  abortController.abort();
  await Deno.remove(directory, { recursive: true });
}
// Exit explicitly, because the signal listeners keep the process alive.
Deno.exit(hasFailed ? 1 : 0);
