/** Output of the program: results go to stdout, everything else to stderr. */

import { printable } from "@degu/degu/base";

/**
 * The reader of the output has closed it, as `head` does, so the command ends without a message.
 */
export class OutputClosedError extends Error {}

type Stream = Pick<typeof Deno.stdout, "writeSync" | "isTerminal">;

/** The parts of `Deno` with which the program reads and prints. */
export interface Streams extends Pick<typeof Deno, "noColor" | "consoleSize"> {
  readonly stdin: Pick<typeof Deno.stdin, "readable" | "isTerminal" | "setRaw">;
  readonly stdout: Stream;
  readonly stderr: Stream;
}

const DEFAULT_COLUMNS = 80;
const YELLOW = 33;
const RED = 31;
const encoder = new TextEncoder();

/**
 * Prints results and messages. Control and format characters, which a peer may have put into a
 * name, are escaped. Failing to print a result is an error; failing to print a message is not.
 */
export class Output {
  readonly json: boolean;
  readonly quiet: boolean;
  /** Whether stderr is a terminal that is worth drawing on. */
  readonly draws: boolean;
  readonly streams: Streams;
  /** Interrupts the command, where the terminal passes Ctrl-C on as a key. */
  interrupt: () => void = () => {};
  readonly #colors: boolean;
  #isDrawn = false;
  /**
   * The lines that are held back while a question is open: their number, and the last one's
   * printer.
   */
  #held: { count: number; print: (more: string) => void } | null = null;

  constructor(
    { json = false, quiet = false }: { readonly json?: boolean; readonly quiet?: boolean },
    streams: Streams = Deno,
  ) {
    this.json = json;
    this.quiet = quiet;
    this.streams = streams;
    const isTerminal = streams.stderr.isTerminal();
    this.#colors = !streams.noColor && isTerminal;
    this.draws = isTerminal && !quiet;
  }

  /** Prints a result to stdout: lines for people, or with `--json` an object for programs. */
  result(lines: string | readonly string[], object: Record<string, unknown>): void {
    this.draw("");
    if (this.json) return writeToStream(this.streams.stdout, `${printableJson(object)}\n`);
    const all = typeof lines === "string" ? [lines] : lines;
    writeToStream(this.streams.stdout, all.map((line) => `${printable(line)}\n`).join(""));
  }

  /** Prints one line to stderr, unless `--quiet` is given. */
  note(text: string): void {
    if (!this.quiet) this.#message(text);
  }

  /** Prints one line to stderr, for a person who has to answer. */
  ask(text: string): void {
    this.#print(text);
  }

  /** Shows what a person types, where the terminal doesn't. */
  echo(text: string): void {
    this.#writeMessage(text);
  }

  /**
   * Until disposed of, only questions, errors and results are printed: whatever strangers can
   * cause must not scroll a question off the screen. The rest is one line then.
   */
  hold(): Disposable {
    this.draw("");
    const held = this.#held = { count: 0, print: (_more: string) => {} };
    return {
      [Symbol.dispose]: () => {
        this.#held = null;
        const others = counted(held.count - 1, "other message");
        held.print(held.count < 2 ? "" : `; ${others} came while the question was open`);
      },
    };
  }

  warn(text: string): void {
    this.#message(text, "warning", YELLOW);
  }

  /** Prints a warning, unless `--quiet` is given. */
  hint(text: string): void {
    if (!this.quiet) this.warn(text);
  }

  error(text: string): void {
    this.#print(text, "error", RED);
  }

  /** Prints what a command has done, and how much of it has failed; each may be empty. */
  summary(done: string, failures: string, _hasChanged: boolean): void {
    if (done !== "") this.note(done);
    if (failures !== "") this.error(failures);
  }

  /** Prints a message, or holds it back. */
  #message(text: string, kind?: string, color?: number): void {
    if (this.#held === null) return this.#print(text, kind, color);
    this.#held.count++;
    this.#held.print = (more) => this.#print(text + more, kind, color);
  }

  #print(text: string, kind?: string, color?: number): void {
    const shown = kind !== undefined && this.#colors ? `\x1b[${color}m${kind}\x1b[0m` : kind;
    const prefix = shown === undefined ? "" : `degu: ${shown}: `;
    this.draw("");
    this.#writeMessage(`${prefix}${printable(text)}\n`);
  }

  /**
   * Draws a line on the terminal, if there is one. The line disappears before anything else is
   * printed or drawn. The cursor stays visible, because a signal may end the process at any moment.
   *
   * @param line Narrower than the terminal, because a wrapped line can't be removed; empty to
   * remove the line.
   */
  draw(line: string): void {
    if (!this.draws || this.#held !== null || (line === "" && !this.#isDrawn)) return;
    this.#isDrawn = line !== "";
    this.#writeMessage(`\r\x1b[K${line}`);
  }

  /**
   * Draws a line repeatedly, until disposed of; without a terminal or with `--quiet` does nothing.
   */
  animate(milliseconds: number, line: () => string): Disposable {
    if (!this.draws) return { [Symbol.dispose]: () => {} };
    const draw = () => this.draw(line());
    draw();
    const timer = setInterval(draw, milliseconds);
    return {
      [Symbol.dispose]: () => {
        clearInterval(timer);
        draw();
        this.draw("");
      },
    };
  }

  #writeMessage(text: string): void {
    try {
      writeToStream(this.streams.stderr, text);
    } catch {
      // The reader is gone or the disk is full. The work continues; no other place could report
      // this.
    }
  }

  /** The number of columns of the terminal; 80 if it is unknown. */
  get columns(): number {
    try {
      return this.streams.consoleSize().columns || DEFAULT_COLUMNS;
    } catch {
      return DEFAULT_COLUMNS;
    }
  }
}

export function writeToStream(stream: Pick<Stream, "writeSync">, text: string): void {
  let bytes = encoder.encode(text);
  try {
    while (bytes.length > 0) bytes = bytes.subarray(stream.writeSync(bytes));
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) {
      throw new OutputClosedError("the output was closed");
    }
    throw error;
  }
}

/** Characters that JSON doesn't escape, and that a terminal doesn't show or takes for commands. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/**
 * Formats a value as one line of JSON with visible characters only: each invisible one is `\\u` and
 * four hexadecimal digits, once for each UTF-16 unit.
 */
export function printableJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(INVISIBLE, (character) => {
    const units = Array.from({ length: character.length }, (_, i) => character.charCodeAt(i));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
  });
}

export function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** Bytes in a decimal unit, with three digits: `"12.3 MB"`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // Without this, 999.5 would be shown as 1000.
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** Seconds as `"1:05"`, `"1:02:03"`. */
export function formatDuration(seconds: number): string {
  const whole = Math.round(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = parts[0] === 0 ? parts.slice(1) : parts;
  return shown.map((part, i) => i === 0 ? `${part}` : `${part}`.padStart(2, "0")).join(":");
}
