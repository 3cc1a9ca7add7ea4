/**
 * The command line of the benchmark.
 *
 * @module
 */

import { parseArgs } from "node:util";

/** The options of a run of the benchmark. */
export interface Options {
  readonly quick: boolean;
  /** Numbers of the rows to measure. */
  readonly rows: readonly number[];
  /** Measurements of each contender. */
  readonly rounds: number;
  /** Where to write the results as JSON. */
  readonly json: string | null;
  /** Where to draw them as SVG. */
  readonly plot: string | null;
  /** Where to write the tables as Markdown. */
  readonly tables: string | null;
  readonly help: boolean;
}

/** How to call the benchmark. */
export const usage = `deno task bench [options]

  --quick           small amounts and few peers, in less than a minute: rows 1, 2, 3, 4 (without
                    chunks of 1 MiB), 8 and 10, unless --rows names others
  --rows 1,4,…      only these rows (default: all of them)
  --rounds N        measurements of each contender (default: 7, quick: 3)
  --json FILE.json  write the results with all samples there
  --tables FILE.md  write the tables there, too
  --plot FILE.svg   draw the ratios there
  --help            print this

Everything takes about an hour. Nothing else should run meanwhile.

Row  1  POST 108 B → 108 B, one connection, in sequence, over TCP and Unix
     2  the same over eight connections
     3  GET with twelve headers each way
     4  1 GiB up and down: as Body, in chunks of 1 MiB and of 16 KiB
     5  FilesApp, one file of 4 GiB
     6  rows 1 and 4 over TLS with certificates on both ends
     7  servers alone under wrk with 1, 8 and 64 connections
     8  parsing and formatting alone
     9  resident memory while 8 GiB pass
    10  start-up
    11  files between devices: 4 GiB each way, with and without digest and TLS, lists, small files
    12  a pool of one worker and of two: an app that computes, and downloads over TLS
    13  what onExchange and accessLog cost, in rows 1 and 7: processor time of a request
    14  row 1 with a connection for each message
    15  row 14 over TLS with certificates on both ends
    16  resident memory of an idle connection
    17  latency of servers under a fixed rate with 8 connections: p50, p99 and p99.9
`;

const allRows = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17] as const;
const quickRows = [1, 2, 3, 4, 8, 10] as const;

/** Reads the command line; throws `TypeError` or `RangeError` with what is wrong with it. */
export function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      rows: { type: "string" },
      rounds: { type: "string" },
      json: { type: "string" },
      plot: { type: "string" },
      tables: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  const { quick, help, json = null, plot = null, tables = null } = values;
  const rounds = values.rounds === undefined ? (quick ? 3 : 7) : parseCount(values.rounds);
  const rows = values.rows === undefined ? (quick ? quickRows : allRows) : parseRows(values.rows);
  return { quick, help, json, plot, tables, rounds, rows };
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) {
    throw new RangeError(`--rounds takes a number of 1 or more, not "${text}"`);
  }
  return count;
}

function parseRows(text: string): number[] {
  return text.split(",").map((part) => {
    const row = allRows.find((number) => String(number) === part.trim());
    if (row === undefined) {
      throw new RangeError(`--rows takes ${allRows.join(", ")}, not "${part}"`);
    }
    return row;
  });
}
