import { Failure } from "../failure.ts";

export type Stream = Pick<typeof Deno.stdout, "writeSync" | "isTerminal">;

const encoder = new TextEncoder();

export class OutputClosedError extends Error {}

export function writeToStdout(
  { stdout }: { readonly stdout: Pick<Stream, "writeSync"> },
  text: string,
): void {
  try {
    writeToStream(stdout, text);
  } catch (error) {
    throw toStdoutError(error);
  }
}

export function toStdoutError(error: unknown): unknown {
  if (error instanceof Deno.errors.BrokenPipe) {
    return new OutputClosedError("the output was closed");
  }
  if (!(error instanceof Error)) return error;
  const reason = error.message.replace(/ \(os error \d+\)$/, "");
  const problem = `stdout can't be written: ${reason}`;
  return new Failure(problem, null, { cause: error });
}

export function writeToStream(stream: Pick<Stream, "writeSync">, text: string): void {
  let bytes = encoder.encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(stream.writeSync(bytes));
}
