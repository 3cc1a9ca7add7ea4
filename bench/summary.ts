/** The section “Figures” of the pages that quote the results. */

import { formatTable } from "./report.ts";

/** A row of the table: the work, the id of a group, and the contender of each column. */
type Quote = readonly [work: string, group: string, ...names: readonly (string | null)[]];

export interface Summary {
  /** The path of the page from the project's directory. */
  readonly path: string;
  readonly columns: readonly string[];
  readonly quotes: readonly Quote[];
}

const allPeers = ["degu", "raw", "fetch + Deno.serve", "node:http"] as const;
const helloColumns = ["degu, reply()", "raw", "Deno.serve", "node:http"] as const;
const bulkColumns = ["degu, writeTo", "raw", "fetch + Deno.serve", "node:http"] as const;
const rsyncColumns = (name: string) => ["degu sync", null, name] as const;
const largeFileColumns = ["degu", "bare script", "rsync --fsync over ssh"] as const;

/** The pages that quote the results. */
export const summaries: readonly Summary[] = [
  {
    path: "docs/performance.md",
    columns: ["Degu", "bare", "`fetch`, `Deno.serve`", "`node:http`"],
    quotes: [
      ["the smallest app, eight connections: processor time", "7-hello", ...helloColumns],
      ["its first 2,000 requests", "24-cold", ...helloColumns],
      ["beside two programs that compute", "25-busy", ...helloColumns],
      ["POST of 108 bytes, response of 108 bytes, one connection", "1-tcp", ...allPeers],
      ["the POST, eight connections", "2-tcp", ...allPeers],
      ["GET with twelve headers each way", "3-tcp", ...allPeers],
      ["the POST over TLS with client certificates (1)", "6-sequence-tcp", ...allPeers],
      ["the POST, a connection for each request", "14-tcp", ...allPeers],
      ["a full handshake with client certificates, and the POST", "15-full", ...allPeers],
      ["the POST, 20 ms after the last request", "19-tcp-20", ...allPeers],
      ["the POST over TLS, 20 ms after the last request (1)", "19-tls-20", ...allPeers],
      [
        "the POST through a proxy, 20 ms after the last request",
        "19-proxy-20",
        "degu",
        "raw",
        "fetch + Deno.serve",
      ],
      ["download of 1 GiB, `writeTo`", "4-download-body", ...bulkColumns],
      ["upload of 1 GiB, `writeTo`", "4-upload-body", ...bulkColumns],
      ["the download over TLS (1)", "6-download-body", ...bulkColumns],
      ["the upload over TLS (1)", "6-upload-body", ...bulkColumns],
      [
        "the download through a proxy, without TLS",
        "4-download-body",
        ...["degu, relayed by ProxyApp", "raw, relayed", "fetch + Deno.serve, relayed"],
      ],
      ["memory of an idle connection at the server", "16-plain-server", ...allPeers],
      ["memory of an idle connection over TLS at the server", "16-tls-server", ...allPeers],
      [
        "start of a program that only imports",
        "18-import",
        "@degu/degu",
        "nothing",
        null,
        "node:http",
      ],
    ],
  },
  {
    path: "files/docs/performance.md",
    columns: ["Degu", "bare", "`rsync`"],
    quotes: [
      ["download a file of 1 GiB over TLS, verified", "21-download", ...largeFileColumns],
      ["upload the file", "21-upload", ...largeFileColumns],
      ["get 10,000 files of 1 to 4 KiB", "11-tree-get", ...rsyncColumns("rsync --fsync over ssh")],
      ["put the files", "11-tree-put", ...rsyncColumns("rsync --fsync over ssh")],
      [
        "put the files, processor time of both ends",
        "11-tree-put-processor",
        ...rsyncColumns("rsync over ssh"),
      ],
      [
        "put 300 files, processor time of both ends",
        "11-tree-put-few-processor",
        ...rsyncColumns("rsync over ssh"),
      ],
      ["get the files again, unchanged", "11-tree-get-again", ...rsyncColumns("rsync over ssh")],
      [
        "put a log of 100 MB that has grown by one line",
        "20-log",
        ...rsyncColumns("rsync, its daemon"),
      ],
      ["bytes on the wire for the log", "20-log-bytes", ...rsyncColumns("rsync, its daemon")],
      [
        "put 1,000 photos of 1 MB in a renamed directory",
        "20-photos",
        ...rsyncColumns("rsync, its daemon"),
      ],
      ["bytes on the wire for the photos", "20-photos-bytes", ...rsyncColumns("rsync, its daemon")],
    ],
  },
];

/** The text of a cell without a figure. */
const emptyCell = "–";

/** Replaces the section “Figures” of a page by the figures of the results. */
export function replaceFigures(page: string, results: string, summary: Summary): string {
  return page.replace(/^## Figures\n[^]*?(?=^## )/m, () => formatFigures(results, summary));
}

function formatFigures(results: string, { columns, quotes }: Summary): string {
  const groups = new Map<string, { readonly text: string; readonly circumstances: string }>();
  for (const section of results.split(/^## /m).slice(1)) {
    const circumstances = section.split(/\n{2,}/)[1]!.replaceAll("\n", " ");
    for (const text of section.split(/^### /m).slice(1)) {
      groups.set(text.slice(0, text.indexOf(":")), { text, circumstances });
    }
  }
  /** The circumstances and the spreads of each run, by commit. */
  const runs = new Map<string, { readonly circumstances: string; readonly spreads: number[] }>();
  const rows = quotes.flatMap(([work, id, ...names]) => {
    const group = groups.get(id);
    // A group that was skipped has no unit.
    const [, unit] = /^In (\S+), /m.exec(group?.text ?? "") ?? [];
    if (group === undefined || unit === undefined) return [];
    const { circumstances } = group;
    const run = runs.get(commitOf(circumstances)) ?? { circumstances, spreads: [] };
    runs.set(commitOf(circumstances), run);
    const figures = columns.map((_, column) => {
      const [figure, spread] = cellsOf(group.text, names[column] ?? null);
      if (spread !== undefined) run.spreads.push(Number(/\d+/.exec(spread)));
      return figure === undefined ? emptyCell : formatFigure(figure);
    });
    return [[work, unit, ...figures, letterOf([...runs.values()].indexOf(run))]];
  });
  const table = formatTable([["work", "unit", ...columns, "run"], ...rows]).join("\n");
  const runList = [...runs.values()].map(({ circumstances, spreads }, i) =>
    `- ${letterOf(i)}: ${circumstances} The rounds spread by up to ± ${Math.max(...spreads)} %.`
  ).join("\n");
  const meaning = "The figures are medians, over loopback; the runs are below the table.";
  return `## Figures\n\n${meaning}\n\n${table}\n\n${runList}\n\n`;
}

function letterOf(index: number): string {
  return String.fromCharCode("a".charCodeAt(0) + index);
}

/** Returns the commit of a run, which identifies the run. Its date may change during the run. */
function commitOf(circumstances: string): string {
  return /commit [^,]+/.exec(circumstances)?.[0] ?? "";
}

/** Returns the cells of a contender after its name: the median, the spread, and the ratios. */
function cellsOf(group: string, name: string | null): string[] {
  const rows = group.split("\n").map((line) =>
    line.split("|").slice(1, -1).map((cell) => cell.trim())
  );
  return rows.find(([rowName]) => rowName === name)?.slice(1).map((cell) =>
    cell === "—" ? emptyCell : cell
  ) ?? [];
}

/** Formats a figure with at least two digits, and commas between thousands. */
function formatFigure(figure: string): string {
  const value = Number(figure.replaceAll(/\s/g, ""));
  if (Number.isNaN(value)) return emptyCell;
  const digits = value >= 100 ? {} : { minimumSignificantDigits: 2, maximumSignificantDigits: 2 };
  return (value >= 100 ? Math.round(value) : value).toLocaleString("en", digits);
}
