import {
  checkOptions,
  makeIntegerCheck,
  makeNumberCheck,
  wrongTypeError,
} from "../../internal/checks.ts";
import { pause } from "../../internal/pause.ts";
import { BodyError } from "../errors.ts";
import { MAX_READ_BYTES } from "../wire/limits.ts";

export const DEFAULT_MAX_LENGTH = 65536;
const DEFAULT_SILENCE_SECONDS = 15;
const MAX_SILENCE_SECONDS = 3600;

/**
 * Reads the lines of a body as they arrive, without their ends, which are LF or CRLF. Empty lines
 * are kept, and so is a last line without an end. If you leave the loop early, the rest of the body
 * is canceled.
 *
 * @param source A request, a response, a body, or a stream of bytes; `null` has no lines.
 * @param options The highest length of a line.
 * @throws {TypeError} if an argument is of a wrong type, or an option is unknown. During the
 * iteration: if the bytes aren't UTF-8.
 * @throws {RangeError} if an option is not allowed.
 * @throws {BodyError} with the code `"TOO_LONG"`, during the iteration: if a line is longer than
 * `maxLength`. The body is then canceled.
 * @throws the error of the body, during the iteration.
 *
 * @example
 * ```ts
 * import { Body } from "@degu/degu";
 * import { linesOf } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const body = new Body(new Blob(["one\r\n\ntwo"]).stream(), 9);
 * assertEquals(await Array.fromAsync(linesOf(body)), ["one", "", "two"]);
 * ```
 */
export function linesOf(
  source: { readonly readable: ReadableStream<Uint8Array> } | ReadableStream<Uint8Array> | null,
  options: {
    /**
     * The highest length of a line in UTF-16 code units, from 1 to 16 Mi.
     *
     * @default {65536}
     */
    maxLength?: number | undefined;
  } = {},
): AsyncGenerator<string, void, void> {
  const { maxLength = DEFAULT_MAX_LENGTH } = checkOptions(options, {
    maxLength: makeIntegerCheck(1, MAX_READ_BYTES),
  });
  const readable = source === null || source instanceof ReadableStream ? source : source?.readable;
  if (readable !== null && !(readable instanceof ReadableStream)) {
    throw wrongTypeError("source", "a request, a response, a body, a stream or null", source);
  }
  return readLines(readable, maxLength, true);
}

/** @param isEndLine Whether bytes without an end of a line are the last line. */
export async function* readLines(
  readable: ReadableStream<Uint8Array> | null,
  maxLength: number,
  isEndLine: boolean,
): AsyncGenerator<string, void, void> {
  if (readable === null) return;
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let prefix = "";
  for await (const piece of readable) {
    const text = decoder.decode(piece, { stream: true });
    let start = 0;
    for (let end; (end = text.indexOf("\n", start)) !== -1; start = end + 1) {
      const line = prefix + text.slice(start, end);
      prefix = "";
      yield checkLength(line.endsWith("\r") ? line.slice(0, -1) : line, maxLength);
    }
    prefix += text.slice(start);
    // A carriage return may belong to the end of the line.
    checkLength(prefix.endsWith("\r") ? prefix.slice(0, -1) : prefix, maxLength);
  }
  prefix += decoder.decode();
  if (prefix !== "" && isEndLine) yield checkLength(prefix, maxLength);
}

function checkLength(line: string, maxLength: number): string {
  if (line.length <= maxLength) return line;
  throw new BodyError(`a line is longer than maxLength ${maxLength}`, { code: "TOO_LONG" });
}

/**
 * Makes the body of a message from lines: each line is sent at once, with LF at its end. While the
 * source is silent, an empty line is sent regularly, so that the time-outs of both sides don't end
 * the connection. The reader skips empty lines.
 *
 * When the body is canceled, its sources are also canceled, at the next line or empty line.
 *
 * @param lines The lines, without their ends: an async generator, or a stream of strings. With a
 * list of them, each line is sent as soon as one of the sources has it, and the body ends after the
 * last source.
 * @param options The longest silence.
 * @throws {TypeError} if an argument is of a wrong type, or an option is unknown.
 * @throws {RangeError} if an option is not allowed.
 * @throws the error of a source, during the iteration.
 *
 * @example
 * ```ts
 * import { linesOf, makeLineBody } from "@degu/degu/base";
 * import { Client, reply, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * async function* lines() {
 *   yield "one";
 *   yield "two";
 * }
 * const app = () => reply(200, makeLineBody(lines()));
 * await using server = await Server.start(["127.0.0.1", 0], app);
 * const response = await new Client(server.address).request("GET", "/");
 * assertEquals(await Array.fromAsync(linesOf(response)), ["one", "two"]);
 * ```
 */
export function makeLineBody(
  lines: AsyncIterable<string> | readonly AsyncIterable<string>[],
  options: {
    /**
     * Seconds of silence before an empty line is sent, above 0 and at most 3600: less than the
     * `timeout` of the client and the server.
     *
     * @default {15}
     */
    silenceSeconds?: number | undefined;
  } = {},
): AsyncGenerator<string, void, void> {
  const { silenceSeconds = DEFAULT_SILENCE_SECONDS } = checkOptions(options, {
    silenceSeconds: makeNumberCheck(Number.MIN_VALUE, MAX_SILENCE_SECONDS),
  });
  return writeLines(iterateLines(lines), silenceSeconds * 1000);
}

export function iterateLines(
  lines: AsyncIterable<string> | readonly AsyncIterable<string>[],
): AsyncIterator<string> {
  const sources: readonly unknown[] = Array.isArray(lines) ? lines : [lines];
  if (sources.length === 0 || !sources.every(isAsyncIterable)) {
    const expected = "an asynchronous generator or a stream of strings, or a list of them";
    throw wrongTypeError("lines", expected, lines);
  }
  const iterators = sources.map((source) =>
    source instanceof ReadableStream ? iterateStream(source) : source[Symbol.asyncIterator]()
  );
  return iterators.length === 1 ? iterators[0]! : mergeIterators(iterators);
}

function isAsyncIterable(value: unknown): value is AsyncIterable<string> {
  return typeof (value as AsyncIterable<string> | null | undefined)?.[Symbol.asyncIterator] ===
    "function";
}

/** The stream's own iterator would be canceled only after a pending read. */
function iterateStream(stream: ReadableStream<string>): AsyncIterator<string> {
  const reader = stream.getReader();
  return {
    next: () => reader.read() as Promise<IteratorResult<string>>,
    return: () => reader.cancel().then(() => ({ done: true, value: undefined })),
  };
}

function mergeIterators(iterators: readonly AsyncIterator<string>[]): AsyncIterator<string> {
  const { readable, writable } = new TransformStream<string, string>();
  const writer = writable.getWriter();
  const send = async (iterator: AsyncIterator<string>) => {
    for (let next; !(next = await iterator.next()).done;) await writer.write(next.value);
  };
  Promise.all(iterators.map(send)).then(() => writer.close())
    .catch((error) => writer.abort(error).catch(() => {}));
  // After a cancellation, and after the error of a source.
  writer.closed.catch(() => {
    for (const iterator of iterators) void returnQuietly(iterator);
  });
  return iterateStream(readable);
}

async function* writeLines(
  source: AsyncIterator<string>,
  silenceMilliseconds: number,
): AsyncGenerator<string, void, void> {
  let hasEnded = false;
  try {
    while (true) {
      const next = source.next();
      let result: IteratorResult<string> | null = null;
      while ((result = await awaitOrPause(next, silenceMilliseconds)) === null) yield "\n";
      if (result.done) {
        hasEnded = true;
        return;
      }
      yield `${result.value}\n`;
    }
  } catch (error) {
    hasEnded = true;
    throw error;
  } finally {
    // Don't await: the return of a generator that waits ends only with its wait.
    if (!hasEnded) void returnQuietly(source);
  }
}

/** Cancels a source. Ignores an error: the caller gets the reason of the cancellation. */
export async function returnQuietly(source: AsyncIterator<string>): Promise<void> {
  try {
    await source.return?.();
  } catch {
    // The reason of the cancellation is more useful.
  }
}

/** Resolves to the value, or to `null` if the value takes longer. */
async function awaitOrPause<T>(value: Promise<T>, milliseconds: number): Promise<T | null> {
  const ending = new AbortController();
  try {
    return await Promise.race([value, pause(milliseconds, ending.signal).then(() => null)]);
  } finally {
    ending.abort();
  }
}
