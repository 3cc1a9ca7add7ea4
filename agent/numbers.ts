/** Asks a person at the terminal whether another device shows the same number. */

import { pause } from "../base/pause.ts";
import type { Asked, Confirm } from "../device.ts";
import type { Output } from "./output.ts";

/**
 * Keys that are typed so soon after a question answer nothing: a stranger's question could take the
 * place of the one that a person is answering.
 */
const DEAF_MILLISECONDS = 2000;

/**
 * The deafness is measured in ticks, and ends with one that was not late: the process has run all
 * the time then. Otherwise what was typed while it was stopped could still wait to be read.
 */
const TICK_MILLISECONDS = 200;
const LATE_MILLISECONDS = 100;

/** The questions of one command, which has the terminal for itself. */
export class NumberQuestions {
  readonly #output: Output;
  /** Gets what is typed, a line at a time; `null` while nothing is listened to. */
  #onLine: ((line: string) => void) | null = null;
  #input: "unread" | "open" | "over" = "unread";

  private constructor(output: Output) {
    this.#output = output;
  }

  /**
   * Called once, since the input can be read only once; `null` where nobody can be asked: without a
   * terminal, or with `--json`.
   */
  static on(output: Output): NumberQuestions | null {
    const { stdin, stdout, stderr } = output.streams;
    const isTerminal = [stdin, stdout, stderr].every((each) => each.isTerminal());
    return isTerminal && !output.json ? new NumberQuestions(output) : null;
  }

  /** Only `y` and `yes` are yes. */
  readonly confirm: Confirm = async (asked) => {
    const isYes = await this.#ask(asked);
    if (isYes) this.#output.note(`waiting for the answer at ${asked.name}`);
    return isYes;
  };

  async #ask({ number, name, id, signal }: Asked): Promise<boolean> {
    const { stdin } = this.#output.streams;
    const shown = `${number.slice(0, 3)} ${number.slice(3)}`;
    using _held = this.#output.hold();
    this.#read();
    try {
      this.#output.ask(`${name} ${id} asks. If it is the one that you mean, it shows this number:`);
      this.#output.ask(`  ${shown}`);
      // In line mode, a line that is begun during the wait would arrive after it, as an answer.
      stdin.setRaw(true, { cbreak: true });
      try {
        await beDeaf(signal);
      } finally {
        stdin.setRaw(false);
      }
      this.#output.ask(`does ${name} show ${shown}, too? Type y or yes if so, and press Enter:`);
      const answer = this.#input === "over" ? "" : await new Promise<string>((resolve) => {
        this.#onLine = resolve;
        signal.addEventListener("abort", () => resolve(""), { once: true });
      });
      return answer === "y" || answer === "yes";
    } finally {
      this.#onLine = null;
    }
  }

  /** Reads to the end of the command: what is typed between two questions must not answer one. */
  async #read(): Promise<void> {
    if (this.#input !== "unread") return;
    this.#input = "open";
    let typed = "";
    const { readable } = this.#output.streams.stdin;
    try {
      for await (const text of readable.pipeThrough(new TextDecoderStream())) {
        typed = this.#onLine === null ? "" : typed + text;
        const end = typed.indexOf("\n");
        if (end < 0) continue;
        this.#onLine?.(typed.slice(0, end).trim());
        typed = "";
      }
    } catch {
      // The terminal is gone.
    }
    this.#input = "over";
    this.#onLine?.("");
  }
}

/** Waits until an answer can count; throws the reason of the signal. */
async function beDeaf(signal: AbortSignal): Promise<void> {
  let now = performance.now();
  const end = now + DEAF_MILLISECONDS;
  for (let isLate = false; now < end || isLate;) {
    const begun = now;
    await pause(TICK_MILLISECONDS, signal);
    signal.throwIfAborted();
    now = performance.now();
    isLate = now - begun > TICK_MILLISECONDS + LATE_MILLISECONDS;
  }
}
