/**
 * The progress bar.
 *
 * @module
 */

import cliProgress from "npm:cli-progress@^3.12.0";
import { printable } from "../files/printable.ts";
import { fitText, widthOf } from "./fit_text.ts";
import { columnsOfTerminal } from "./terminal_columns.ts";
import { TransferRate } from "./transfer_rate.ts";
import { formatBytes, formatDuration } from "./output.ts";

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

const DRAWINGS_PER_SECOND = 10;
/** A name cut to fewer columns is useless, so the bar is dropped first. */
const MIN_NAME_COLUMNS = 8;
const CLEAR_LINE = "\r\x1b[2K";

const encoder = new TextEncoder();

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

/** A line on the terminal that stderr is, drawn again and again. */
export class ProgressBar implements Disposable {
  readonly #bar: cliProgress.SingleBar;
  readonly #rate = new TransferRate(performance.now());
  #moved = 0;
  #progress: Omit<Progress, "rate">;

  /** Draws it. */
  constructor(progress: Omit<Progress, "rate">) {
    this.#progress = progress;
    this.#bar = new cliProgress.SingleBar({
      // It needs no more of a stream than this.
      stream: terminal as unknown as NodeJS.WritableStream,
      format: () => this.#draw(),
      fps: DRAWINGS_PER_SECOND,
      // There is no way to show it again if a signal ends the process.
      hideCursor: false,
      clearOnComplete: true,
      linewrap: true,
      forceRedraw: true,
      // Signals are for the program to decide about.
      gracefulExit: false,
    });
    this.#bar.start(1, 0);
  }

  #draw(): string {
    this.#rate.note(performance.now(), this.#moved);
    const rate = this.#rate.bytesPerSecond;
    return progressLine({ ...this.#progress, rate }, columnsOfTerminal());
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
    terminal.write(CLEAR_LINE);
  }

  /** Removes the line for good. */
  [Symbol.dispose](): void {
    this.#bar.stop();
  }
}

/** Saves or restores the position of the cursor. */
const isCursorMark = (text: string) => text === "\x1b7" || text === "\x1b8";

/** Stderr, as far as cli-progress needs it; written to at once, so that nothing gets between other messages. */
const terminal = {
  isTTY: true,
  get columns(): number {
    return columnsOfTerminal();
  },
  write(text: string): boolean {
    // Otherwise it would overwrite what was printed since the bar began.
    if (isCursorMark(text)) return true;
    let bytes = encoder.encode(text);
    while (bytes.length > 0) bytes = bytes.subarray(Deno.stderr.writeSync(bytes));
    return true;
  },
};
