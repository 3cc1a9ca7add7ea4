/**
 * The line of an invitation from stdin.
 *
 * @module
 */

import { isWholeLine } from "../device/invitation_line.ts";
import { Failure, USAGE } from "./failure.ts";
import type { Output } from "./output.ts";

/** Far longer than any line of an invitation, with all the white space that may be in it. */
const MAX_LENGTH = 65536;

/**
 * Reads the line of an invitation from stdin. It may be broken into several: it ends when it is whole, with an
 * empty line after it, or with the input. What writes it need not end, so `degu invite` can be at the other
 * end of a pipe.
 *
 * @throws {Failure} if there is none, or no end of it.
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
      const { done, value } = await reader.read();
      if (done) break;
      text += value;
      if (value.includes("\n") && !isEnd(text)) {
        output.note("the line is not whole yet: paste the rest of it, or an empty line to end it");
      }
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

/** Whether nothing more is waited for. */
function isEnd(text: string): boolean {
  return text.includes("\n") && (isWholeLine(text) || /\n\s*\n$/.test(text));
}
