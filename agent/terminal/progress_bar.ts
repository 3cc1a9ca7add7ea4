import { printable } from "@degu/degu/base";
import { formatBytes, formatDuration, type Output } from "./output.ts";

export interface CommandProgress {
  name: string;
  files: number;
  totalFiles: number;
  bytes: number;
  totalBytes: number;
  /** The bytes that this command has transferred, without the bytes of an earlier attempt. */
  transferredBytes: number;
  /** What happens before the first file. */
  waitsFor: string | null;
}

/** The number of bytes transferred until a time in milliseconds. */
export type Sample = [at: number, bytes: number];

const DRAW_INTERVAL_MILLISECONDS = 100;
/** The number of samples in the last five seconds, whose rate is shown. */
const MAX_SAMPLES = 5000 / DRAW_INTERVAL_MILLISECONDS;
const MIN_RATE_MILLISECONDS = 300;
/** If the time between two samples is longer, this process was stopped, as by Ctrl-Z. */
const MAX_SAMPLE_MILLISECONDS = 2000;
/** A short command has no bar. */
const BAR_DELAY_MILLISECONDS = 1000;
const MIN_NAME_COLUMNS = 8;
/** In a wide terminal, the percentage stays near the name. */
const MAX_COLUMNS = 100;

export function showProgress(output: Output, progress: CommandProgress): Disposable {
  const samples: Sample[] = [];
  const startedAt = performance.now();
  return output.animate(DRAW_INTERVAL_MILLISECONDS, () => {
    const { totalFiles, waitsFor } = progress;
    const now = performance.now();
    if (totalFiles > 0) addSample(samples, now, progress.transferredBytes);
    if (now - startedAt < BAR_DELAY_MILLISECONDS) return "";
    if (totalFiles === 0) return fitText(printable(waitsFor ?? ""), limitColumns(output.columns));
    return formatProgressLine(progress, computeRate(samples), output.columns);
  });
}

/** Adds a sample. The time for which this process was stopped doesn't count. */
export function addSample(samples: Sample[], at: number, bytes: number): void {
  const lastSample = samples.at(-1);
  const milliseconds = lastSample === undefined ? 0 : at - lastSample[0];
  if (milliseconds > MAX_SAMPLE_MILLISECONDS) {
    for (const sample of samples) sample[0] += milliseconds - DRAW_INTERVAL_MILLISECONDS;
  }
  samples.push([at, bytes]);
}

/** Returns bytes per second; `null` if the time is too short. Removes old samples. */
export function computeRate(samples: Sample[]): number | null {
  while (samples.length > MAX_SAMPLES) samples.shift();
  const [[startedAt, startBytes], [endedAt, endBytes]] = [samples[0]!, samples.at(-1)!];
  return endedAt - startedAt < MIN_RATE_MILLISECONDS
    ? null
    : (endBytes - startBytes) / (endedAt - startedAt) * 1000;
}

export function formatProgressLine(
  progress: CommandProgress,
  rate: number | null,
  columns: number,
): string {
  const { name, files, totalFiles, bytes, totalBytes } = progress;
  const fraction = totalBytes === 0 ? files / totalFiles : Math.min(1, bytes / totalBytes);
  // A file that has failed is never complete.
  const percentNumber = Math.min(Math.floor(fraction * 100), files < totalFiles ? 99 : 100);
  const percent = `${percentNumber} %`.padStart(5);
  const size = `${formatBytes(bytes)} of ${formatBytes(totalBytes)}`;
  const speed = rate === null ? "" : `${formatBytes(rate)}/s`;
  const remainingTime = !rate ? "" : `${formatDuration((totalBytes - bytes) / rate)} left`;
  const count = totalFiles > 1 ? `${files}/${totalFiles} ` : "";
  const availableColumns = limitColumns(columns);
  // The length of a stream is unknown.
  const choices = bytes > totalBytes ? [[formatBytes(bytes), speed], [formatBytes(bytes)]] : [
    [percent, formatBar(fraction, 20), size, speed, remainingTime],
    [percent, formatBar(fraction, 10), speed, remainingTime],
    [percent, speed, remainingTime],
    [percent, remainingTime],
  ];
  const endings = choices.map((parts) => parts.filter((part) => part !== "").join("  "));
  const countNameColumns = (ending: string) => availableColumns - count.length - ending.length - 2;
  const ending = endings.find((candidate) => countNameColumns(candidate) >= MIN_NAME_COLUMNS) ??
    percent;
  const label = fitText(printable(name), Math.max(0, countNameColumns(ending)));
  const padding = " ".repeat(Math.max(0, countNameColumns(ending) - widthOf(label)) + 2);
  return fitText(`${count}${label}${padding}${ending}`, availableColumns);
}

function limitColumns(columns: number): number {
  // Some terminals wrap after the last column. Two more columns are for the ^C of Ctrl-C.
  return Math.max(0, Math.min(columns, MAX_COLUMNS) - 3);
}

function formatBar(fraction: number, columns: number): string {
  return `[${"=".repeat(Math.round(fraction * columns)).padEnd(columns)}]`;
}

/**
 * East Asian letters, emoji and all characters between: every character with two columns, and some
 * characters with one.
 */
const WIDE_CHARACTERS = /[\u1100-\u115f\u2300-\u{10ffff}]/gu;

/** Returns an upper limit, because combining characters also count as columns. */
export function widthOf(text: string): number {
  return [...text].length + (text.match(WIDE_CHARACTERS)?.length ?? 0);
}

/** Cuts the middle out of a text that is too wide, because both ends of a name are informative. */
export function fitText(text: string, columns: number): string {
  let width = widthOf(text);
  if (width <= columns) return text;
  const tail = [...text];
  const head = tail.splice(0, tail.length / 2);
  while (width >= columns && width > 0) {
    width -= widthOf((head.length > tail.length ? head.pop() : tail.shift())!);
  }
  return columns < 1 ? "" : `${head.join("")}…${tail.join("")}`;
}
