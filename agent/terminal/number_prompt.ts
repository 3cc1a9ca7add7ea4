import type { PairingQuestion } from "@degu/degu/device";
import { openTerminal, type Terminal } from "@degu/degu/device/terminal";
import type { Output } from "./output.ts";

/**
 * The delay before this device prints that it waits for the other device, whose user has usually
 * answered by then.
 */
const WAITING_DELAY_MILLISECONDS = 1000;

export class NumberPrompt {
  readonly terminal: Terminal;
  #confirmed: { readonly question: PairingQuestion; readonly at: number } | null = null;

  private constructor(terminal: Terminal) {
    this.terminal = terminal;
  }

  /** Must be called only once, because stdin can be read only once. */
  static make(output: Output): NumberPrompt | null {
    const terminal = output.json ? null : openTerminal(output);
    return terminal === null ? null : new NumberPrompt(terminal);
  }

  readonly confirm = async (question: PairingQuestion): Promise<boolean> => {
    const isYes = await this.terminal.confirm(question);
    if (isYes) this.#confirmed = { question, at: performance.now() };
    return isYes;
  };

  get waitingLine(): string | null {
    if (this.#confirmed === null || this.#confirmed.question.signal.aborted) return null;
    const { question, at } = this.#confirmed;
    const isShown = performance.now() - at >= WAITING_DELAY_MILLISECONDS;
    return isShown ? `waiting for the answer at ${question.name}` : "";
  }
}
