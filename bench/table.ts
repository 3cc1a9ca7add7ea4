/**
 * Results as Markdown tables.
 *
 * @module
 */

import type { GroupResult, Result } from "./interleave.ts";
import { type Circumstances, formatCircumstances } from "./report.ts";
import { spreadOf } from "./statistics.ts";

/** All that was measured as a page: the circumstances, and a table for each group. */
export function formatPage(facts: Circumstances, groups: readonly GroupResult[]): string {
  const introduction = [
    "# Results of the benchmark",
    "",
    "Written by `deno task bench --tables`; `bench/README.md` has the reasons, `docs/performance.md` the summary.",
    "",
    formatCircumstances(facts),
  ];
  // Two empty lines in a row, or at the end, are not as `deno fmt` has it.
  const text = [...introduction, ...groups.map(formatGroup)].join("\n");
  return `${text.replaceAll(/\n{3,}/g, "\n\n").trimEnd()}\n`;
}

/** A heading, what the figures are, a table of them and their ratios, and notes. */
export function formatGroup(group: GroupResult): string {
  const { id, title, unit, better, placement, references, results, notes } = group;
  const lines = [`### ${id}: ${title}`, ""];
  if (results.length > 0) {
    lines.push(`In ${unit}, ${better} is better; ${placement}.`, "");
    const head = ["", `median ${unit}`, "spread", ...references.map((name) => `× ${name}`)];
    const rows = results.map((result) => formatResult(result, references));
    lines.push(...formatTable([head, ...rows]), "");
  }
  for (const { name, error } of results) {
    if (error !== null) lines.push(`- ${name} failed: ${firstLine(error)}`);
  }
  lines.push(...notes.map((note) => `- ${note}`), "");
  return lines.join("\n");
}

function formatResult(result: Result, references: readonly string[]): string[] {
  const { name, summary, ratios } = result;
  if (summary === null) return [name, "—", "—", ...references.map(() => "—")];
  return [
    name,
    formatNumber(summary.median),
    `± ${Math.round(spreadOf(summary) * 100)} %`,
    ...references.map((reference) => ratios[reference]?.toFixed(2) ?? "—"),
  ];
}

/** Four significant digits, thousands apart. */
function formatNumber(value: number): string {
  const digits = Math.max(0, 3 - Math.floor(Math.log10(Math.max(1, Math.abs(value)))));
  const [whole = "", fraction] = value.toFixed(Math.min(digits, 2)).split(".");
  const spaced = whole.replace(/\B(?=(\d{3})+$)/g, " ");
  return fraction === undefined ? spaced : `${spaced}.${fraction}`;
}

function formatTable(rows: readonly (readonly string[])[]): string[] {
  const [head = []] = rows;
  const widths = head.map((_, column) => (
    Math.max(...rows.map((row) => row[column]?.length ?? 0))
  ));
  const format = (row: readonly string[]) => {
    const cells = row.map((cell, column) => (
      column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)
    ));
    return `| ${cells.join(" | ")} |`;
  };
  const rule = widths.map((width, column) => (
    column === 0 ? "-".repeat(width) : "-".repeat(Math.max(1, width - 1)) + ":"
  ));
  const [, ...body] = rows;
  return [format(head), `| ${rule.join(" | ")} |`, ...body.map(format)];
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0] ?? "";
}
