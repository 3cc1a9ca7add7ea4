/**
 * The progress bar: a line that is drawn again and again, with a rate and the time that is left.
 *
 * @module
 */

import stringWidth from "npm:string-width@^8.1.0";
import { printable } from "../base.ts";
import { columnsOf, formatBytes, formatDuration, type Streams, writeText } from "./output.ts";

/** How far all transfers of a command are. */
export interface Progress {
  /** What is being moved. */
  readonly name: string;
  /** Files that are done. */
  readonly files: number;
  readonly totalFiles: number;
  /** Bytes that are there. */
  readonly bytes: number;
  readonly totalBytes: number;
  /** Bytes a second; `null` if that can't be said yet. */
  readonly rate: number | null;
}

const DRAWING_MILLISECONDS = 100;
/** A name cut to fewer columns is useless, so the bar is dropped first. */
const MIN_NAME_COLUMNS = 8;
/** What erases the line from the cursor on. */
const ERASE = "\x1b[K";

/** Makes the line that shows a progress in so many columns. */
export function progressLine(progress: Progress, columns: number): string {
  const { name, files, totalFiles, bytes, totalBytes, rate } = progress;
  const fraction = totalBytes === 0 ? 1 : Math.min(1, bytes / totalBytes);
  const percent = `${Math.floor(fraction * 100)} %`.padStart(5);
  const size = `${formatBytes(bytes)} of ${formatBytes(totalBytes)}`;
  const speed = rate === null ? "" : `${formatBytes(rate)}/s`;
  const left = rate === null || rate <= 0
    ? ""
    : `${formatDuration((totalBytes - bytes) / rate)} left`;
  const count = totalFiles > 1 ? `${files}/${totalFiles} ` : "";
  // The last column stays free, as some terminals wrap when it is written to, and two more for the ^C of Ctrl-C.
  const room = columns - 3;
  const choices = [
    [percent, barOf(fraction, 20), size, speed, left],
    [percent, barOf(fraction, 10), size, speed, left],
    [percent, barOf(fraction, 10), speed, left],
    [percent, speed, left],
    [percent, left],
    [percent],
  ];
  for (const choice of choices) {
    const end = choice.filter((part) => part !== "").join("  ");
    const rest = room - count.length - widthOf(end) - 2;
    if (rest < MIN_NAME_COLUMNS && choice.length > 1) continue;
    const shown = fitText(printable(name), Math.max(0, rest));
    const padding = " ".repeat(Math.max(0, rest - widthOf(shown)) + 2);
    return fitText(`${count}${shown}${padding}${end}`, Math.max(0, room));
  }
  return "";
}

function barOf(fraction: number, columns: number): string {
  const full = Math.round(fraction * columns);
  return `[${"=".repeat(full)}${" ".repeat(columns - full)}]`;
}

/** A line on the terminal that stderr is. */
export class ProgressBar implements Disposable {
  readonly #rate = new TransferRate(performance.now());
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #streams: Streams;
  #moved = 0;
  #progress: Omit<Progress, "rate">;

  /** Draws it, until it is disposed of. The cursor stays visible: a signal may end the process at any moment. */
  constructor(progress: Omit<Progress, "rate">, streams: Streams) {
    this.#streams = streams;
    this.#progress = progress;
    this.#timer = setInterval(() => this.#draw(), DRAWING_MILLISECONDS);
    this.#draw();
  }

  #draw(): void {
    this.#rate.note(performance.now(), this.#moved);
    const rate = this.#rate.bytesPerSecond;
    const columns = columnsOf(this.#streams);
    this.#write(`\r${progressLine({ ...this.#progress, rate }, columns)}${ERASE}`);
  }

  /**
   * Says how far everything is; shown when the line is drawn the next time.
   *
   * @param moved Bytes that have been moved, without those that were there before.
   */
  show(progress: Omit<Progress, "rate">, moved: number): void {
    this.#progress = progress;
    this.#moved = moved;
  }

  /** Removes the line from the terminal until it is drawn again, so that something else can be printed. */
  clear(): void {
    this.#write(`\r${ERASE}`);
  }

  #write(text: string): void {
    try {
      writeText(this.#streams.stderr, text);
    } catch {
      // The terminal was closed; the work continues.
      clearInterval(this.#timer);
    }
  }

  /** Removes the line for good. */
  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#draw();
    this.clear();
  }
}

/** Anything older than this doesn't count. */
const WINDOW_MILLISECONDS = 5000;
/** A rate over less time than this is meaningless. */
const MIN_MILLISECONDS = 300;

/** The rate of the last seconds. */
export class TransferRate {
  readonly #samples: { at: number; bytes: number }[] = [];

  /** Begins at a time, in milliseconds. */
  constructor(now: number) {
    this.#samples.push({ at: now, bytes: 0 });
  }

  /** Notes how many bytes have been moved by a time. */
  note(now: number, bytes: number): void {
    this.#samples.push({ at: now, bytes });
    while (this.#samples.length > 2 && this.#samples[1]!.at <= now - WINDOW_MILLISECONDS) {
      this.#samples.shift();
    }
  }

  /** Bytes per second; `null` if it isn't known yet. */
  get bytesPerSecond(): number | null {
    const [first, last] = [this.#samples[0]!, this.#samples.at(-1)!];
    const elapsed = last.at - first.at;
    return elapsed < MIN_MILLISECONDS ? null : (last.bytes - first.bytes) / elapsed * 1000;
  }
}

const ELLIPSIS = "…";
const segmenter = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** How many columns a text takes; wide characters take two. */
export function widthOf(text: string): number {
  return stringWidth(text);
}

/** Cuts out the middle of a text that has more columns than these: both ends of a name are informative. */
export function fitText(text: string, columns: number): string {
  if (widthOf(text) <= columns) return text;
  if (columns <= 0) return "";
  const characters = [...segmenter.segment(text)].map(({ segment }) => segment);
  const room = columns - widthOf(ELLIPSIS);
  const start = takeWhile(characters, Math.ceil(room / 2));
  const end = takeWhile(characters.toReversed(), room - widthOf(start.join("")));
  return `${start.join("")}${ELLIPSIS}${end.toReversed().join("")}`;
}

/** As many characters as fit. */
function takeWhile(characters: readonly string[], columns: number): string[] {
  let width = 0;
  const end = characters.findIndex((character) => (width += widthOf(character)) > columns);
  return characters.slice(0, end < 0 ? characters.length : end);
}
