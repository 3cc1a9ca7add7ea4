/**
 * The line of an invitation from stdin.
 *
 * @module
 */

import { isWholeLine } from "../device/invitation_line.ts";
import { Failure, OutputClosed, USAGE } from "./failure.ts";
import type { Output } from "./output.ts";

/** If nothing has arrived for this long after a part of a line, no more is being pasted. */
const QUIET_MS = 500;
/** Far longer than any line of an invitation, including white space. */
const MAX_LENGTH = 65536;

/**
 * Reads the line of an invitation from stdin. It may be wrapped into several lines: it ends when it is complete, at an
 * empty line, or at the end of the input. The writer need not close the pipe, so `degu invite` can be at its other
 * end.
 *
 * @throws {Failure} if there is none, or if it is incomplete.
 */
export async function readLine(
  output: Output,
  signal: AbortSignal,
  input: ReadableStream<Uint8Array> = Deno.stdin.readable,
): Promise<string> {
  if (Deno.stdin.isTerminal()) output.note("paste the line of the invitation, then press Enter:");
  const reader = input.pipeThrough(new TextDecoderStream()).getReader();
  const cancel = () => reader.cancel().catch(() => {});
  signal.addEventListener("abort", cancel);
  let text = "";
  try {
    while (!isEnd(text)) {
      signal.throwIfAborted();
      using _asking = text.includes("\n") ? askSoon(output) : null;
      const { done, value } = await reader.read();
      if (done) break;
      text += value;
      if (text.length > MAX_LENGTH) {
        throw new Failure(USAGE, "stdin is not the line of an invitation");
      }
    }
    signal.throwIfAborted();
  } finally {
    signal.removeEventListener("abort", cancel);
    await cancel();
  }
  if (text.trim() !== "") return text.trim();
  throw new Failure(
    USAGE,
    'stdin is empty: give "degu join -" the line that "degu invite" has printed',
  );
}

/** Asks for the rest of a line unless it arrives at once: text that a terminal has wrapped is pasted as several lines. */
function askSoon(output: Output): Disposable {
  const timer = setTimeout(() => {
    try {
      output.note("the line is incomplete: paste the rest of it, or an empty line to end it");
    } catch (error) {
      // The message is lost; the line is still waited for.
      if (!(error instanceof OutputClosed)) throw error;
    }
  }, QUIET_MS);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}

/** Whether nothing more is waited for. */
function isEnd(text: string): boolean {
  return text.includes("\n") && (isWholeLine(text) || /\n\s*\n$/.test(text));
}
