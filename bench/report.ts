/**
 * Results as Markdown tables, with the facts that are needed to judge them: the machine, the
 * versions and the load.
 */

import { cpus } from "node:os";
import { runOrThrow } from "../tests/support/commands.ts";
import { type Group, medianOf, type Result } from "./measure.ts";

const pageHeader = `# Results of the benchmark

Written by \`deno task bench --save\`; each row names its commit, the machine and the load at its start. \`bench/README.md\` has the
reasons, \`docs/performance.md\` and \`files/docs/performance.md\` the summaries.
“spread” is half the distance from the smallest to the largest sample; ratios are of medians.
`;

export const pagePath = new URL("results.md", import.meta.url);

export async function describeCircumstances(rounds: number, isQuick: boolean): Promise<string> {
  const cwd = new URL("../", import.meta.url);
  const commit = (await runOrThrow(["git", "rev-parse", "--short", "HEAD"], { cwd })).trim();
  const hasChanges = await runOrThrow(["git", "status", "--porcelain"], { cwd }) !== "";
  const memory = Math.round(Deno.systemMemoryInfo().total / 2 ** 30);
  const load = Deno.loadavg().map((value) => value.toFixed(2)).join(", ");
  const system = `${Deno.build.os} ${Deno.osRelease()} ${Deno.build.arch}`;
  const cores = `${navigator.hardwareConcurrency} cores of ${cpus()[0]?.model}`;
  return `${new Date().toISOString().slice(0, 10)}, commit ${commit}${
    hasChanges ? " and changes" : ""
  }, ` +
    `Deno ${Deno.version.deno}, ${system}, ` +
    `${cores}, ${memory} GiB; ${rounds} rounds${isQuick ? " of a quick run" : ""}; ` +
    `load average at the start ${load}.`;
}

/** Replaces the sections of some rows in the page of results. */
export function formatPage(page: string, sections: readonly string[]): string {
  const sectionsByRow = new Map<number, string>();
  for (const section of [...page.split(/^(?=## Row )/m).slice(1), ...sections]) {
    sectionsByRow.set(Number(/^## Row (\d+)/.exec(section)?.[1]), section);
  }
  const sorted = [...sectionsByRow].sort(([a], [b]) => a - b).map(([, section]) => section);
  return [pageHeader, ...sorted].map((text) => text.trim()).join("\n\n") + "\n";
}

/** Formats the results of a group: heading, unit, a table with figures and ratios, and notes. */
export function formatGroup(group: Group, results: readonly Result[]): string {
  const { id, title, unit, placement, references, notes = [] } = group;
  const lines = [`### ${id}: ${title}`, ""];
  const medians = new Map(
    results.filter(({ samples }) => samples.length > 0)
      .map(({ name, samples }) => [name, medianOf(samples)]),
  );
  if (results.length > 0) {
    const better = unit.endsWith("/s") ? "higher" : "lower";
    lines.push(`In ${unit}, ${better} is better; ${placement}.`, "");
    const rows = results.map(({ name, samples }) => {
      const median = medians.get(name);
      if (median === undefined) return [name, "—", "—", ...references.map(() => "—")];
      const spread = (Math.max(...samples) - Math.min(...samples)) / 2 / (median || 1);
      const ratios = references.map((reference) => (
        medians.has(reference) ? (median / medians.get(reference)!).toFixed(2) : "—"
      ));
      return [name, formatNumber(median), `± ${Math.round(spread * 100)} %`, ...ratios];
    });
    const headerRow = ["", `median ${unit}`, "spread", ...references.map((name) => `× ${name}`)];
    lines.push(...formatTable([headerRow, ...rows]), "");
  }
  for (const { name, error } of results) {
    if (error !== null) lines.push(`- ${name} failed: ${error.split("\n", 1)[0]}`);
  }
  return [...lines, ...notes.map((note) => `- ${note}`)].join("\n").trimEnd() + "\n";
}

/** Formats four significant digits, with groups of thousands. */
function formatNumber(value: number): string {
  const digits = Math.max(0, 3 - Math.floor(Math.log10(Math.max(1, Math.abs(value)))));
  const fractionDigits = Math.min(digits, 2);
  const options = { minimumFractionDigits: fractionDigits, maximumFractionDigits: fractionDigits };
  return value.toLocaleString("en", options).replaceAll(",", " ");
}

/** Formats a table with its columns aligned; the first row is its header. */
export function formatTable(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const rule = widths.map((width, column) =>
    column === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`
  );
  return rows.toSpliced(1, 0, rule).map((row) => {
    const cells = row.map((cell, column) => (
      column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)
    ));
    return `| ${cells.join(" | ")} |`;
  });
}
