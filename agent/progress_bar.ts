/** The progress bar: a line that is drawn again and again, with a rate and the time that is left. */

import { printable } from "../base/printable.ts";
import { formatBytes, formatDuration, type Output } from "./output.ts";

/** How far all transfers of a command are. */
export interface Progress {
  name: string;
  files: number;
  totalFiles: number;
  /** Bytes that are at the target. */
  bytes: number;
  totalBytes: number;
  /** Bytes that were transferred, without those that were there before. */
  moved: number;
}

/** How many bytes had been transferred at a time in milliseconds. */
export type Sample = readonly [at: number, moved: number];

const DRAWING_MILLISECONDS = 100;
/** A rate is that of the last five seconds. */
const SAMPLES = 5000 / DRAWING_MILLISECONDS;
/** A rate over less time than this is meaningless. */
const MIN_MILLISECONDS = 300;
/** A name cut to fewer columns is useless, so the bar is dropped first. */
const MIN_NAME_COLUMNS = 8;

/** Shows a progress, which the caller updates, as soon as it is known how many files there are. */
export function showProgress(output: Output, progress: Progress): Disposable {
  const samples: Sample[] = [];
  return output.animate(DRAWING_MILLISECONDS, () => {
    if (progress.totalFiles === 0) return "";
    samples.push([performance.now(), progress.moved]);
    return progressLine(progress, rateOf(samples), output.columns);
  });
}

/** Bytes per second; `null` if that can't be said yet. Older samples are removed. */
export function rateOf(samples: Sample[]): number | null {
  while (samples.length > SAMPLES) samples.shift();
  const [[begin, before], [end, after]] = [samples[0]!, samples.at(-1)!];
  return end - begin < MIN_MILLISECONDS ? null : (after - before) / (end - begin) * 1000;
}

export function progressLine(progress: Progress, rate: number | null, columns: number): string {
  const { name, files, totalFiles, bytes, totalBytes } = progress;
  const fraction = totalBytes === 0 ? 1 : Math.min(1, bytes / totalBytes);
  const percent = `${Math.floor(fraction * 100)} %`.padStart(5);
  const size = `${formatBytes(bytes)} of ${formatBytes(totalBytes)}`;
  const speed = rate === null ? "" : `${formatBytes(rate)}/s`;
  const left = !rate ? "" : `${formatDuration((totalBytes - bytes) / rate)} left`;
  const count = totalFiles > 1 ? `${files}/${totalFiles} ` : "";
  // The last column stays free, as some terminals wrap when it is written to, and two more for the ^C of Ctrl-C.
  const room = columns - 3;
  const choices = [
    [percent, barOf(fraction, 20), size, speed, left],
    [percent, barOf(fraction, 10), speed, left],
    [percent, speed, left],
    [percent, left],
  ];
  const ends = choices.map((parts) => parts.filter((part) => part !== "").join("  "));
  const restOf = (end: string) => room - count.length - end.length - 2;
  const end = ends.find((each) => restOf(each) >= MIN_NAME_COLUMNS) ?? percent;
  const shown = fitText(printable(name), Math.max(0, restOf(end)));
  const padding = " ".repeat(Math.max(0, restOf(end) - widthOf(shown)) + 2);
  return fitText(`${count}${shown}${padding}${end}`, Math.max(0, room));
}

function barOf(fraction: number, columns: number): string {
  return `[${"=".repeat(Math.round(fraction * columns)).padEnd(columns)}]`;
}

/** Letters of East Asia and emoji, and what lies between: all that is two columns wide, and some that is not. */
const WIDE = /[\u1100-\u115f\u2300-\u{10ffff}]/gu;

/** The most columns that a text can take: a character that combines with the one before it counts, too. */
export function widthOf(text: string): number {
  return [...text].length + (text.match(WIDE)?.length ?? 0);
}

/** Cuts out the middle of a text that has more columns than these: both ends of a name are informative. */
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
