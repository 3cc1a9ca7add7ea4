/**
 * Questions for a person at a terminal: {@linkcode openTerminal}.
 *
 * @example
 * ```ts
 * import type { Device, Peer } from "@degu/degu/device";
 * import { pair } from "@degu/degu/device/discovery";
 * import { openTerminal } from "@degu/degu/device/terminal";
 *
 * async function pairAtTerminal(device: Device): Promise<Peer> {
 *   using terminal = openTerminal();
 *   if (terminal === null) throw new Error("start the program at a terminal");
 *   return await pair(device, {
 *     confirm: terminal.confirm,
 *     async choose(list, signal) {
 *       const makeList = () => new Map(list().map(({ id, name }) => [id, name]));
 *       const id = await terminal.choose(makeList, "which device do you mean?", signal);
 *       if (id === null) throw new Error("no device was chosen");
 *       return id;
 *     },
 *   });
 * }
 * ```
 *
 * @module
 */

import { DeguError, printable } from "../base.ts";
import { checkObject } from "../internal/checks.ts";
import { awaitUntilAborted, pause } from "../internal/pause.ts";
import type { ConfirmNumber, PairingQuestion } from "./pairing/plain_ports.ts";

/**
 * The time after a question in which keys are ignored: a stranger's question could replace the
 * question that the user is answering.
 */
const IGNORE_INPUT_MILLISECONDS = 2000;

/**
 * Keys are ignored for several ticks, until a tick ends on time. A late tick means that the process
 * was stopped, and keys of that time are still unread.
 */
const TICK_MILLISECONDS = 200;
const MAX_TICK_DELAY_MILLISECONDS = 100;

/** The character of Ctrl-C, which does not send a signal in the raw mode of Windows. */
const CTRL_C = "\x03";
/** The character of Ctrl-D, which does not end the input of a terminal in raw mode. */
const CTRL_D = "\x04";
const MAX_ANSWER_LENGTH = 20;
const SHOWN_ID_LENGTH = 8;

/** Strangers can announce any number of devices. */
const MAX_LISTED_DEVICES = 9;

/**
 * A terminal that asks one question at a time: another question waits until the first has ended.
 * Keys that were pressed before a question, or in the first two seconds after it, are ignored: a
 * stranger's question may have replaced another one.
 */
export interface Terminal extends Disposable {
  /** Asks whether the other device shows the same number: `confirm` of `invite`, `join`, `pair`. */
  readonly confirm: ConfirmNumber;

  /**
   * Asks a question, with `[y/N]` behind it. An empty reply and Ctrl-D mean no.
   *
   * @param signal Ends the question if aborted: the promise rejects.
   */
  askYesOrNo(question: string, signal: AbortSignal): Promise<boolean>;

  /**
   * Lets the user choose by the number of a line, or by the beginning of a line.
   *
   * @param makeList Makes the list, which may change between two replies: the line of each value.
   * @param signal Ends the question if aborted: the promise rejects.
   * @returns `null` after Ctrl-D.
   */
  choose<T>(
    makeList: () => ReadonlyMap<T, string>,
    question: string,
    signal: AbortSignal,
  ): Promise<T | null>;
}

/** The output of a program that prints other lines while a question is open. */
export interface TerminalOutput {
  /** `Deno`, or an object with such streams. */
  readonly streams: {
    readonly stdin: Pick<typeof Deno.stdin, "readable" | "isTerminal" | "setRaw">;
    readonly stdout: Pick<typeof Deno.stdout, "isTerminal">;
    readonly stderr: Pick<typeof Deno.stderr, "isTerminal">;
  };
  /** Prints a line of a question. The line contains names that peers have chosen. */
  ask(line: string): void;
  /** Prints typed characters, which a terminal in raw mode doesn't show. */
  echo(text: string): void;
  /** Holds back the other lines of the program, until the returned object is disposed of. */
  bufferMessages(): Disposable;
  /** Called if the terminal delivers Ctrl-C as a key, as on Windows. */
  interrupt(): void;
}

/**
 * Opens the terminal of this program. From the first question until it is disposed of, the terminal
 * reads stdin, and the program doesn't end by itself. Then stdin is closed. Needs no permission.
 *
 * @param output Prints the questions; by default to stderr, and ends the process if the terminal
 * delivers Ctrl-C as a key.
 * @returns `null` if stdin, stdout or stderr is no terminal.
 */
export function openTerminal(output: TerminalOutput = stderrOutput): Terminal | null {
  checkObject("output", output);
  const { stdin, stdout, stderr } = output.streams;
  const isTerminal = [stdin, stdout, stderr].every((stream) => stream.isTerminal());
  return isTerminal ? new QuestionTerminal(output) : null;
}

const stderrOutput: TerminalOutput = {
  streams: Deno,
  ask: (line) => writeToStderr(`${printable(line)}\n`),
  echo: writeToStderr,
  bufferMessages: () => ({ [Symbol.dispose]() {} }),
  interrupt: () => Deno.exit(130),
};

function writeToStderr(text: string): void {
  let bytes = new TextEncoder().encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(Deno.stderr.writeSync(bytes));
}

class QuestionTerminal implements Terminal {
  readonly #output: TerminalOutput;
  readonly #closeController = new AbortController();
  /** Resolves when all questions have ended. */
  #questionsEnd: Promise<void> = Promise.resolve();
  #onKey: ((key: string) => void) | null = null;
  #inputState: "unread" | "open" | "ended" = "unread";

  constructor(output: TerminalOutput) {
    this.#output = output;
  }

  readonly confirm = async (question: PairingQuestion): Promise<boolean> => {
    const { number, name, id, signal } = question;
    const groups = `${number.slice(0, 3)} ${number.slice(3)}`;
    return await this.#listen(signal, async () => {
      const device = `${name} ${id.slice(0, SHOWN_ID_LENGTH)}…`;
      this.#output.ask(`${device} asks. If it is the one that you mean, it shows this number:`);
      this.#output.ask(`  ${groups}`);
      await ignoreInput(signal);
      this.#output.ask(`does ${name} also show ${groups}? Type y or yes if so, and press Enter:`);
      return await this.#readYesOrNo(signal, null);
    });
  };

  askYesOrNo(question: string, signal: AbortSignal): Promise<boolean> {
    return this.#listen(signal, async () => {
      // A user may type y for the number twice, because the other device is slow.
      await ignoreInput(signal);
      this.#output.ask(`${question} [y/N]`);
      return await this.#readYesOrNo(signal, false);
    });
  }

  /**
   * Asks once more after a reply that is neither yes nor no, because a no can't be taken back: the
   * other device reports it.
   *
   * @param emptyReply The meaning of an empty reply; `null` if it is neither yes nor no.
   */
  async #readYesOrNo(signal: AbortSignal, emptyReply: boolean | null): Promise<boolean> {
    let reply = await this.#readLine(signal);
    if (reply !== null && parseYesOrNo(reply, emptyReply) === null) {
      this.#output.ask("type y or n:");
      reply = await this.#readLine(signal);
    }
    return reply !== null && parseYesOrNo(reply, emptyReply) === true;
  }

  choose<T>(
    makeList: () => ReadonlyMap<T, string>,
    question: string,
    signal: AbortSignal,
  ): Promise<T | null> {
    return this.#listen(signal, async () => {
      for (let isFirst = true;; isFirst = false) {
        const entries = [...makeList()];
        const listedEntries = entries.slice(0, MAX_LISTED_DEVICES);
        for (const [index, [, line]] of listedEntries.entries()) {
          this.#output.ask(`${`${index + 1}`.padStart(3)}  ${line}`);
        }
        const moreCount = entries.length - listedEntries.length;
        if (moreCount > 0) {
          this.#output.ask(`     and ${moreCount} more: type the beginning of a name`);
        }
        // Ignore what was typed before the list.
        if (isFirst) await ignoreInput(signal);
        this.#output.ask(question);
        const answer = (await this.#readLine(signal))?.toLowerCase();
        if (answer === undefined) return null;
        const lines = entries.map(([value, line]) => [value, line.toLowerCase()] as const);
        const beginEntries = lines.filter(([, line]) => answer !== "" && line.startsWith(answer));
        // Whoever announces a longer name must not hide a device.
        const wordEntries = beginEntries.filter(([, line]) => line.split(" ", 1)[0] === answer);
        const [namedEntry, ...otherEntries] = wordEntries.length > 0 ? wordEntries : beginEntries;
        const numberedEntry = /^\d+$/.test(answer) ? listedEntries[Number(answer) - 1] : undefined;
        const chosenEntry = numberedEntry ?? (otherEntries.length === 0 ? namedEntry : undefined);
        if (chosenEntry !== undefined) return chosenEntry[0];
        const range = `type a number from 1 to ${listedEntries.length}`;
        this.#output.ask(`${range}, or the beginning of a single name`);
      }
    });
  }

  [Symbol.dispose](): void {
    this.#closeController.abort();
  }

  #listen<T>(signal: AbortSignal, question: () => Promise<T>): Promise<T> {
    // The keys that are ignored are those before and after the beginning of this question.
    const answer = awaitUntilAborted(this.#questionsEnd, signal).then(async () => {
      const reply = await this.#ask(question);
      signal.throwIfAborted();
      return reply;
    });
    const previousEnd = this.#questionsEnd;
    this.#questionsEnd = answer.then(() => previousEnd, () => previousEnd);
    return answer;
  }

  async #ask<T>(question: () => Promise<T>): Promise<T> {
    if (this.#closeController.signal.aborted) throw new DeguError("the terminal was disposed of");
    const { stdin } = this.#output.streams;
    using _buffer = this.#output.bufferMessages();
    this.#readKeys();
    // In line mode, keys from before the question would be part of the answer. A pending read would
    // miss Ctrl-D after a change of the mode, so keep the mode. The console of Windows has no
    // `cbreak`: it delivers Ctrl-C as a key.
    stdin.setRaw(true, { cbreak: Deno.build.os !== "windows" });
    try {
      return await question();
    } finally {
      this.#onKey = null;
      stdin.setRaw(false);
    }
  }

  async #readLine(signal: AbortSignal): Promise<string | null> {
    if (this.#inputState === "ended" || signal.aborted) return null;
    const { promise, resolve } = Promise.withResolvers<string | null>();
    signal.addEventListener("abort", () => resolve(null), { once: true });
    let typedText = "";
    this.#onKey = (key) => {
      if (key === CTRL_D) resolve(null);
      else if (key === "\n" || key === "\r") resolve(typedText.trim());
      else if (key === "\b" || key === "\x7f") {
        if (typedText !== "") this.#output.echo("\b \b");
        typedText = typedText.slice(0, -1);
      } else if (/^[ -~]$/.test(key) && typedText.length < MAX_ANSWER_LENGTH) {
        typedText += key;
        this.#output.echo(key);
      }
    };
    const answer = await promise;
    this.#output.echo("\n");
    return answer;
  }

  /** Reads keys until the command ends, so that keys between two questions are dropped. */
  async #readKeys(): Promise<void> {
    if (this.#inputState !== "unread") return;
    this.#inputState = "open";
    const { readable } = this.#output.streams.stdin;
    const { signal } = this.#closeController;
    try {
      for await (const text of readable.pipeThrough(new TextDecoderStream(), { signal })) {
        for (const key of text) {
          if (key === CTRL_C) this.#output.interrupt();
          else this.#onKey?.(key);
        }
      }
    } catch {
      // The terminal was closed.
    }
    this.#inputState = "ended";
    this.#onKey?.(CTRL_D);
  }
}

function parseYesOrNo(reply: string, emptyReply: boolean | null): boolean | null {
  if (reply === "") return emptyReply;
  return /^y(?:es)?$/i.test(reply) ? true : /^no?$/i.test(reply) ? false : null;
}

async function ignoreInput(signal: AbortSignal): Promise<void> {
  let now = performance.now();
  const endsAt = now + IGNORE_INPUT_MILLISECONDS;
  for (let isLate = false; now < endsAt || isLate;) {
    const tickStartedAt = now;
    await pause(TICK_MILLISECONDS, signal);
    signal.throwIfAborted();
    now = performance.now();
    isLate = now - tickStartedAt > TICK_MILLISECONDS + MAX_TICK_DELAY_MILLISECONDS;
  }
}
