/** What `docs/performance.md` quotes from the results: its section “Figures”. */

import { formatTable } from "./report.ts";

export const summaryPath = new URL("../docs/performance.md", import.meta.url);

/** A row of a table: the work, the group with its figures, and their names in the columns. */
type Quote = readonly [work: string, group: string, ...names: readonly (string | null)[]];

interface Table {
  readonly columns: readonly string[];
  readonly quotes: readonly Quote[];
}

const all = ["degu", "fetch + Deno.serve", "node:http", "raw"] as const;
const bulk = ["degu, writeTo", "fetch + Deno.serve", "node:http", "raw"] as const;
const synced = "rsync --fsync over ssh";
const relayed = ["degu", "fetch + Deno.serve", null, "raw"] as const;
const reused = ["degu sync", "rsync, its daemon"] as const;

const tables: readonly Table[] = [{
  columns: ["Degu", "`fetch`, `Deno.serve`", "`node:http`", "bare socket"],
  quotes: [
    ["POST of 108 bytes and as much back, one connection", "1-tcp", ...all],
    ["the same, eight connections", "2-tcp", ...all],
    ["GET with twelve headers each way", "3-tcp", ...all],
    ["the POST over TLS with certificates on both ends (1)", "6-sequence-tcp", ...all],
    ["the POST, a connection for each", "14-tcp", ...all],
    ["a full handshake with certificates, and the POST", "15-full", ...all],
    ["download of 1 GiB, `writeTo`", "4-download-body", ...bulk],
    ["upload of 1 GiB, `writeTo`", "4-upload-body", ...bulk],
    ["the download over TLS (1)", "6-download-body", ...bulk],
    ["the upload over TLS (1)", "6-upload-body", ...bulk],
    [
      "the download through a proxy, without TLS",
      "4-download-body",
      ...["degu, relayed by ProxyApp", "fetch + Deno.serve, relayed", null, "raw, relayed"],
    ],
    [
      "the server alone under `wrk`, eight connections",
      "7-8",
      ...["degu", "Deno.serve", "node:http", "raw"],
    ],
    [
      "wait for a GET at half of the highest rate, median",
      "17-get-half-p50",
      ...["degu", "Deno.serve", "node:http", "raw"],
    ],
    ["memory of an idle connection at the server", "16-plain-server", ...all],
    ["the same over TLS", "16-tls-server", ...all],
    ["a program that only imports", "18-import", "@degu/degu", null, "node:http", "nothing"],
  ],
}, {
  columns: ["Degu", "`rsync --fsync`", "`rsync`, `ssh`", "`curl`"],
  quotes: [
    ["get 10,000 files of 1 to 4 KiB", "11-tree-get", "degu sync", synced, "rsync over ssh"],
    ["put them", "11-tree-put", "degu sync", synced, "rsync over ssh"],
    ["get them again, unchanged", "11-tree-get-again", "degu sync", null, "rsync over ssh"],
    ["put them again, unchanged", "11-tree-put-again", "degu sync", null, "rsync over ssh"],
    [
      "download a file of 4 GiB, verified",
      "11-tcp-download",
      ...["degu download", null, null, "curl download"],
    ],
    [
      "upload it, verified",
      "11-tcp-upload",
      ...["degu upload", null, null, "curl upload"],
    ],
    ["PUT it, not verified", "11-tcp-upload", "degu put", null, null, "curl upload"],
    ["`degu ls PEER:`; `ssh HOST true`", "18-command", "degu ls", null, "ssh"],
  ],
}, {
  columns: ["Degu", "`fetch`, `Deno.serve`", "`node:http`", "bare socket"],
  quotes: [20, 100].flatMap((pause): Quote[] => [
    [`the POST, ${pause} ms after the last one`, `19-tcp-${pause}`, ...all],
    ["the same over a Unix socket", `19-unix-${pause}`, ...all],
    ["the same over TLS (1)", `19-tls-${pause}`, ...all],
    ["the same through a pool", `19-pool-${pause}`, ...all],
    ["the same through a proxy", `19-proxy-${pause}`, ...relayed],
  ]),
}, {
  columns: ["Degu", "`rsync`, its daemon"],
  quotes: [
    ["a line more in a log of 100 MB", "20-log", ...reused],
    ["what passed on the wire", "20-log-bytes", ...reused],
    ["1,000 photos of 1 MB in a renamed directory", "20-photos", ...reused],
    ["what passed on the wire", "20-photos-bytes", ...reused],
    ["a video of 500 MB in a new place", "20-video", ...reused],
    ["what passed on the wire", "20-video-bytes", ...reused],
  ],
}];

/** The text of a cell where there is no figure. */
const none = "–";

/** Puts the figures of the results into the page. */
export function replaceFigures(page: string, results: string): string {
  return page.replace(/^## Figures\n[^]*?(?=^## )/m, () => formatFigures(results));
}

function formatFigures(results: string): string {
  const groups = new Map<string, { readonly text: string; readonly circumstances: string }>();
  for (const section of results.split(/^## /m).slice(1)) {
    const [circumstances = ""] = /^.+$/m.exec(section.slice(section.indexOf("\n"))) ?? [];
    for (const text of section.split(/^### /m).slice(1)) {
      groups.set(text.slice(0, text.indexOf(":")), { text, circumstances });
    }
  }
  // Rows that were measured later have circumstances of their own.
  let run = "";
  const parts = tables.map(({ columns, quotes }) => {
    const spreads: number[] = [];
    let circumstances = "";
    const rows = quotes.flatMap(([work, id, ...names]) => {
      const group = groups.get(id);
      // A group that was skipped has no unit.
      const [, unit] = /^In (\S+), /m.exec(group?.text ?? "") ?? [];
      if (group === undefined || unit === undefined) return [];
      circumstances ||= group.circumstances;
      const figures = columns.map((_, column) => {
        const [figure, spread] = cellsOf(group.text, names[column] ?? null);
        if (spread !== undefined) spreads.push(Number(/\d+/.exec(spread)));
        return figure === undefined ? none : format(figure);
      });
      return [[work, unit, ...figures]];
    });
    const table = formatTable([["work", "unit", ...columns], ...rows]).join("\n");
    const isSame = runOf(circumstances) === run;
    run = runOf(circumstances);
    const spread = `the rounds spread by up to ± ${Math.max(0, ...spreads)} %`;
    return (isSame
      ? `Of the same run as the table above; ${spread}.`
      : `Measured over loopback: ${circumstances} A ` +
        `figure is the median of its rounds; ${spread}.`) + `\n\n${table}`;
  });
  return `## Figures\n\n${parts.join("\n\n")}\n\n`;
}

/** The commit of a run, whose rows may begin on two days. */
function runOf(circumstances: string): string {
  return /commit [^,]+/.exec(circumstances)?.[0] ?? "";
}

/** The cells of a contender behind its name: the median, the spread, and the ratios. */
function cellsOf(group: string, name: string | null): string[] {
  const rows = group.split("\n").map((line) =>
    line.split("|").slice(1, -1).map((each) => each.trim())
  );
  return rows.find(([first]) => first === name)?.slice(1).map((each) =>
    each === "—" ? none : each
  ) ?? [];
}

/** Rounds to three digits or to a whole number, whichever is more, with commas between thousands. */
function format(figure: string): string {
  const value = Number(figure.replaceAll(/\s/g, ""));
  if (Number.isNaN(value)) return none;
  return (value >= 100 ? Math.round(value) : Number(value.toPrecision(2))).toLocaleString("en");
}
