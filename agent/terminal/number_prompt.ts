import { pause } from "../pause.ts";
import type { PairingQuestion } from "@degu/degu/device";
import { formatId, type Output } from "./output.ts";

/**
 * The delay before this device prints that it waits for the other device, whose user has usually
 * answered by then.
 */
const WAITING_DELAY_MILLISECONDS = 1000;

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

/** Strangers can announce any number of devices. */
export const MAX_LISTED_DEVICES = 9;

export class NumberPrompt {
  readonly #output: Output;
  #onKey: ((key: string) => void) | null = null;
  #inputState: "unread" | "open" | "ended" = "unread";
  #confirmed: { readonly question: PairingQuestion; readonly at: number } | null = null;

  private constructor(output: Output) {
    this.#output = output;
  }

  /** Must be called only once, because stdin can be read only once. */
  static make(output: Output): NumberPrompt | null {
    const { stdin, stdout, stderr } = output.streams;
    const isTerminal = [stdin, stdout, stderr].every((stream) => stream.isTerminal());
    return isTerminal && !output.json ? new NumberPrompt(output) : null;
  }

  readonly confirm = async (question: PairingQuestion): Promise<boolean> => {
    const { number, name, id, signal } = question;
    const groups = `${number.slice(0, 3)} ${number.slice(3)}`;
    const isYes = await this.#listen(async () => {
      const device = `${name} ${formatId(id)}`;
      this.#output.ask(`${device} asks. If it is the one that you mean, it shows this number:`);
      this.#output.ask(`  ${groups}`);
      await ignoreInput(signal);
      this.#output.ask(`does ${name} also show ${groups}? Type y or yes if so, and press Enter:`);
      return await this.#readYesOrNo(signal, null);
    });
    if (isYes) this.#confirmed = { question, at: performance.now() };
    return isYes;
  };

  get waitingLine(): string | null {
    if (this.#confirmed === null || this.#confirmed.question.signal.aborted) return null;
    const { question, at } = this.#confirmed;
    const isShown = performance.now() - at >= WAITING_DELAY_MILLISECONDS;
    return isShown ? `waiting for the answer at ${question.name}` : "";
  }

  askYesOrNo(question: string, signal: AbortSignal): Promise<boolean> {
    return this.#listen(async () => {
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

  /**
   * Lets the user choose by the number of a line, or by the beginning of a line.
   *
   * @param makeList Makes the list, which may change between two answers.
   */
  choose<T>(
    makeList: () => ReadonlyMap<T, string>,
    question: string,
    signal: AbortSignal,
  ): Promise<T | null> {
    return this.#listen(async () => {
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
        const [namedEntry, ...otherEntries] = entries.filter(([, line]) =>
          answer !== "" && line.toLowerCase().startsWith(answer)
        );
        const numberedEntry = /^\d+$/.test(answer) ? listedEntries[Number(answer) - 1] : undefined;
        const chosenEntry = numberedEntry ?? (otherEntries.length === 0 ? namedEntry : undefined);
        if (chosenEntry !== undefined) return chosenEntry[0];
        const range = `type a number from 1 to ${listedEntries.length}`;
        this.#output.ask(`${range}, or the beginning of a single name`);
      }
    });
  }

  async #listen<T>(question: () => Promise<T>): Promise<T> {
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
    try {
      for await (const text of readable.pipeThrough(new TextDecoderStream())) {
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
