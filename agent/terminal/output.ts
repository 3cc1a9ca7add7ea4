/** Output of the program: results go to stdout, everything else to stderr. */

import { printable } from "@degu/degu/base";
import { OutputClosedError, type Stream, writeToStdout, writeToStream } from "./output_stream.ts";
import { formatShellCommand } from "./shell_command.ts";

export { OutputClosedError };

export interface Streams extends Pick<typeof Deno, "noColor" | "consoleSize"> {
  readonly stdin: Pick<typeof Deno.stdin, "readable" | "isTerminal" | "setRaw">;
  readonly stdout: Stream & Pick<typeof Deno.stdout, "write">;
  readonly stderr: Stream;
}

const DEFAULT_COLUMNS = 80;
/** The advice to pair. With `--home`, `Output` prints it with the device of this command. */
export const PAIR_ADVICE = 'run "degu pair" on both devices';
const YELLOW = 33;
const RED = 31;

/**
 * Escapes control and format characters, which a peer may put into a name. Throws if a result can't
 * be printed; ignores the failure of a message.
 */
export class Output {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly isInteractive: boolean;
  readonly streams: Streams;
  /** The value of `--home`; `undefined` if commands need no such option. */
  home: string | undefined;
  /** Called if the terminal delivers Ctrl-C as a key. */
  interrupt: () => void = () => {};
  readonly #hasColors: boolean;
  readonly #hasEscapes: boolean;
  #isLineDrawn = false;
  #messageBuffer: { count: number; print: (more: string) => void } | null = null;

  constructor(
    { json = false, quiet = false, home }: {
      readonly json?: boolean;
      readonly quiet?: boolean;
      readonly home?: string | undefined;
    },
    streams: Streams = Deno,
  ) {
    this.json = json;
    this.quiet = quiet;
    this.home = home;
    this.streams = streams;
    const isTerminal = streams.stderr.isTerminal();
    this.#hasEscapes = isTerminal && !isDumbTerminal();
    this.#hasColors = !streams.noColor && this.#hasEscapes;
    this.isInteractive = isTerminal && !quiet;
  }

  /**
   * For a command that writes the content of a file to stdout. It has no progress bar, because the
   * reader of a pipe may print on the same terminal.
   */
  withResultsOnStderr(): Output {
    const { stdin, stderr, noColor } = this.streams;
    const results = {
      write: (bytes: Uint8Array) => Promise.resolve(stderr.writeSync(bytes)),
      writeSync: (bytes: Uint8Array) => stderr.writeSync(bytes),
      isTerminal: () => false,
    };
    const consoleSize = () => this.streams.consoleSize();
    const streams = { stdin, stdout: results, stderr: results, noColor, consoleSize };
    const output = new Output(this, streams);
    output.interrupt = () => this.interrupt();
    return output;
  }

  printResult(lines: string | readonly string[], object: Record<string, unknown>): void {
    this.draw("");
    if (this.json) {
      const { error } = object as { readonly error?: { readonly message: string } };
      const shownObject = error === undefined
        ? object
        : { ...object, error: { ...error, message: this.#completeAdvice(error.message) } };
      const text = formatJson(shownObject);
      return writeToStdout(this.streams, `${error === undefined ? text : hideLines(text)}\n`);
    }
    const allLines = typeof lines === "string" ? [lines] : lines;
    writeToStdout(this.streams, allLines.map((line) => `${printable(line)}\n`).join(""));
  }

  /** For text that a program reads, which escapes would change. A terminal gets escapes. */
  printSource(text: string, object: Record<string, unknown>): void {
    if (this.json || this.streams.stdout.isTerminal()) {
      return this.printResult(text.split("\n"), object);
    }
    writeToStdout(this.streams, `${text}\n`);
  }

  note(text: string): void {
    if (!this.quiet) this.#message(text);
  }

  ask(text: string): void {
    this.#print(text);
  }

  /** Echoes the input, because a terminal in raw mode does not. */
  echo(text: string): void {
    this.#writeMessage(text);
  }

  /**
   * Buffers notes and warnings until disposed of, then prints one line for all of them: strangers
   * can cause messages, which must not scroll a question off the screen.
   */
  bufferMessages(): Disposable {
    this.draw("");
    const buffered = this.#messageBuffer = { count: 0, print: (_more: string) => {} };
    return {
      [Symbol.dispose]: () => {
        this.#messageBuffer = null;
        const otherMessages = formatCount(buffered.count - 1, "other message");
        buffered.print(
          buffered.count < 2 ? "" : `; ${otherMessages} came while the question was open`,
        );
      },
    };
  }

  warn(text: string): void {
    this.#message(text, "warning", YELLOW);
  }

  hint(text: string): void {
    if (!this.quiet) this.warn(text);
  }

  error(text: string): void {
    this.#print(text, "error", RED);
  }

  printSummary(results: string, failures: string, _hasChanged: boolean): void {
    if (results !== "") this.note(results);
    if (failures !== "") this.error(failures);
  }

  #message(text: string, kind?: string, color?: number): void {
    if (this.#messageBuffer === null) return this.#print(text, kind, color);
    this.#messageBuffer.count++;
    this.#messageBuffer.print = (suffix) => this.#print(text + suffix, kind, color);
  }

  #print(text: string, kind?: string, color?: number): void {
    const kindText = kind !== undefined && this.#hasColors ? `\x1b[${color}m${kind}\x1b[0m` : kind;
    const prefix = kindText === undefined ? "" : `degu: ${kindText}: `;
    this.draw("");
    this.#writeMessage(`${prefix}${printable(hideLines(this.#completeAdvice(text)))}\n`);
  }

  /** Without the `--home` of this command, `degu pair` would pair another device. */
  #completeAdvice(text: string): string {
    const { home } = this;
    if (home === undefined) return text;
    const command = formatShellCommand("degu", "--home", home, "pair");
    const advice = `run "${command}" on this device, and "degu pair" on the other one`;
    return text.replaceAll(PAIR_ADVICE, () => advice);
  }

  /**
   * Doesn't hide the cursor, because a signal may end the process at any moment.
   *
   * @param line A line that is narrower than the terminal, because a wrapped line can't be removed;
   * an empty text removes the line.
   */
  draw(line: string): void {
    if (
      !this.isInteractive || !this.#hasEscapes || this.#messageBuffer !== null ||
      (line === "" && !this.#isLineDrawn)
    ) return;
    this.#isLineDrawn = line !== "";
    this.#writeMessage(`\r\x1b[K${line}`);
  }

  animate(milliseconds: number, line: () => string): Disposable {
    if (!this.isInteractive) return { [Symbol.dispose]: () => {} };
    const draw = () => this.draw(line());
    draw();
    const drawTimer = setInterval(draw, milliseconds);
    return {
      [Symbol.dispose]: () => {
        clearInterval(drawTimer);
        draw();
        this.draw("");
      },
    };
  }

  #writeMessage(text: string): void {
    try {
      writeToStream(this.streams.stderr, text);
    } catch {
      // The reader has closed the pipe, or the disk is full. Continue without the message.
    }
  }

  get columns(): number {
    try {
      return this.streams.consoleSize().columns || DEFAULT_COLUMNS;
    } catch {
      return DEFAULT_COLUMNS;
    }
  }
}

/**
 * Hides the secret of an invitation line that was typed in a wrong place, because messages are
 * logged. The first 48 characters have no part of the secret. A copied line may have white space,
 * which messages escape.
 */
function hideLines(text: string): string {
  return text.replaceAll(
    /(degu(?:-send)?(?::|%3a))([\w-]{20,}(?:(?:\s|\\+[nrt])+[\w-]{20,})*)/gi,
    (typed, prefix, rest) => rest.length > 48 ? `${prefix}…` : typed,
  );
}

/** Without the permission for this variable, Deno would prompt. */
export function isDumbTerminal(): boolean {
  const { state } = Deno.permissions.querySync({ name: "env", variable: "TERM" });
  return state === "granted" && Deno.env.get("TERM") === "dumb";
}

export function formatJson(value: unknown): string {
  // Characters that JSON doesn't escape, and that a terminal hides or executes.
  return JSON.stringify(value).replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => {
    const codes = character.split("").map((unit) => unit.charCodeAt(0).toString(16));
    return codes.map((code) => `\\u${code.padStart(4, "0")}`).join("");
  });
}

export function formatCount(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}

export const SHOWN_ID_LENGTH = 8;

/** Users compare the short id with the short id on another screen. */
export function formatId(id: string): string {
  return `${id.slice(0, SHOWN_ID_LENGTH)}…`;
}

export function formatDevice({ name, id }: { readonly name: string; readonly id: string }): string {
  return `${name} ${formatId(id)}`;
}

const BYTE_UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // With a limit of 1000, 999.5 would be shown as 1000.
  while (value >= 999.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${BYTE_UNITS[unit]}`;
}

/** Formats a time in the time zone of this machine. */
export function formatTime(time: Date): string {
  const localTime = new Date(time.getTime() - time.getTimezoneOffset() * 60_000);
  return localTime.toISOString().slice(0, -8).replace("T", " ");
}

export function formatDuration(seconds: number): string {
  const wholeSeconds = Math.round(seconds);
  const parts = [
    Math.floor(wholeSeconds / 3600),
    Math.floor(wholeSeconds / 60) % 60,
    wholeSeconds % 60,
  ];
  const shownParts = parts[0] === 0 ? parts.slice(1) : parts;
  return shownParts.map((part, index) => `${part}`.padStart(index === 0 ? 1 : 2, "0")).join(":");
}
