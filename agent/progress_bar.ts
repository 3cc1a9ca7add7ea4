/** The progress bar: a line that is redrawn, with a rate and the time that is left. */

import { printable } from "@degu/degu/base";
import { formatBytes, formatDuration, type Output } from "./output.ts";

/** The progress of all transfers of a command. */
export interface CommandProgress {
  name: string;
  files: number;
  totalFiles: number;
  /** The bytes that have reached the target. */
  bytes: number;
  totalBytes: number;
  /** The bytes that were transferred, without those of an earlier attempt. */
  moved: number;
}

/** The number of bytes transferred until a time in milliseconds. */
export type Sample = readonly [at: number, moved: number];

const DRAW_INTERVAL_MILLISECONDS = 100;
/** The rate of the last five seconds is shown. */
const MAX_SAMPLES = 5000 / DRAW_INTERVAL_MILLISECONDS;
/** A rate over a shorter time is meaningless. */
const MIN_RATE_MILLISECONDS = 300;
/** A name cut to fewer columns is useless, so the bar is dropped first. */
const MIN_NAME_COLUMNS = 8;

/** Shows the progress, which the caller updates, as soon as the number of files is known. */
export function showProgress(output: Output, progress: CommandProgress): Disposable {
  const samples: Sample[] = [];
  return output.animate(DRAW_INTERVAL_MILLISECONDS, () => {
    if (progress.totalFiles === 0) return "";
    samples.push([performance.now(), progress.moved]);
    return formatProgressLine(progress, computeRate(samples), output.columns);
  });
}

/** The rate in bytes per second; `null` if the time is too short. Removes older samples. */
export function computeRate(samples: Sample[]): number | null {
  while (samples.length > MAX_SAMPLES) samples.shift();
  const [[begin, before], [end, after]] = [samples[0]!, samples.at(-1)!];
  return end - begin < MIN_RATE_MILLISECONDS ? null : (after - before) / (end - begin) * 1000;
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
  // The last column stays free, because some terminals wrap when it is written to; two more columns
  // are for the ^C of Ctrl-C.
  const availableColumns = columns - 3;
  const choices = [
    [percent, formatBar(fraction, 20), size, speed, remainingTime],
    [percent, formatBar(fraction, 10), speed, remainingTime],
    [percent, speed, remainingTime],
    [percent, remainingTime],
  ];
  const endings = choices.map((parts) => parts.filter((part) => part !== "").join("  "));
  const countNameColumns = (ending: string) => availableColumns - count.length - ending.length - 2;
  const ending = endings.find((each) => countNameColumns(each) >= MIN_NAME_COLUMNS) ?? percent;
  const label = fitText(printable(name), Math.max(0, countNameColumns(ending)));
  const padding = " ".repeat(Math.max(0, countNameColumns(ending) - widthOf(label)) + 2);
  return fitText(`${count}${label}${padding}${ending}`, Math.max(0, availableColumns));
}

function formatBar(fraction: number, columns: number): string {
  return `[${"=".repeat(Math.round(fraction * columns)).padEnd(columns)}]`;
}

/**
 * East Asian letters, emoji and everything between: all characters of two columns, and some of one.
 */
const WIDE_CHARACTERS = /[\u1100-\u115f\u2300-\u{10ffff}]/gu;

/** The largest number of columns of a text. Combining characters are counted as columns, too. */
export function widthOf(text: string): number {
  return [...text].length + (text.match(WIDE_CHARACTERS)?.length ?? 0);
}

/** Cuts out the middle of a text that is too wide, since both ends of a name are informative. */
export function fitText(text: string, columns: number): string {
  let width = widthOf(text);
  if (width <= columns) return text;
  const end = [...text];
  const start = end.splice(0, end.length / 2);
  while (width >= columns && width > 0) {
    width -= widthOf((start.length > end.length ? start.pop() : end.shift())!);
  }
  return columns < 1 ? "" : `${start.join("")}…${end.join("")}`;
}
