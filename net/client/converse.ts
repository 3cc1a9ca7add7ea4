import { expectOk } from "../../base/app/expect_ok.ts";
import {
  DEFAULT_MAX_LENGTH,
  iterateLines,
  makeLineBody,
  readLines,
  returnQuietly,
} from "../../base/body/lines.ts";
import { DeguError } from "../../base/errors.ts";
import type { HeadersToSend } from "../../base/wire/headers.ts";
import { MAX_READ_BYTES } from "../../base/wire/limits.ts";
import {
  checkFunction,
  checkString,
  makeIntegerCheck,
  notAllowedError,
} from "../../internal/checks.ts";
import { mayHaveBeenProcessed, transience } from "../../internal/error_details.ts";
import { awaitUntilAborted } from "../../internal/pause.ts";
import { quote } from "../../internal/quote.ts";
import { checkRequester, type Requester } from "./requester.ts";
import { isTransient, retry, type RetryOptions } from "./retry.ts";

const DEFAULT_MAX_UNANSWERED = 100;

/**
 * The headers of the requests of a conversation, its limits, and its retries: `retries` is
 * `Infinity` by default.
 */
export interface ConverseOptions extends RetryOptions {
  /** The headers of each request. */
  headers?: HeadersToSend | undefined;
  /**
   * The highest number of lines without an answer, 1 or more: the sources wait.
   *
   * @default {100}
   */
  maxUnanswered?: number | undefined;
  /**
   * Seconds of silence before an empty line is sent, as for `makeLineBody`.
   *
   * @default {15}
   */
  silenceSeconds?: number | undefined;
  /**
   * The highest length of an answer, as for `linesOf`.
   *
   * @default {65536}
   */
  maxLength?: number | undefined;
}

/**
 * Sends lines to a server that answers each line with one line, over a connection after another:
 * when a connection ends, the next request sends the lines without an answer again, in their order,
 * and then new lines. So the server may get a line twice. Ends after the answer to the last line.
 *
 * Each request is a POST with `duplex: "full"`. An app answers it with `makeLineBody`, and skips
 * the empty lines that are sent during a silence; empty answers are skipped in the same way. If the
 * app fails for a line, the line comes again, and the later lines wait: answer its error. The
 * `timeout` of the client must be longer than `silenceSeconds` of the app.
 *
 * Between two requests, the function waits as {@linkcode retry} does, by default without a highest
 * number, and each answer resets the count. An error that isn't transient, such as a status 404,
 * ends the conversation, and cancels the sources. A request that may have been processed is sent
 * again.
 *
 * @param client Sends the requests: a client, a pool, or a connector.
 * @param uri The URI of each request.
 * @param lines The lines, none of which is empty or has a line feed: an async generator, a stream
 * of strings, or a list of them. To send lines from callbacks, pass the `readable` of a
 * `TransformStream`, and write to its `writable`.
 * @param onAnswer Called with each answer and its line, and awaited. Its error ends the
 * conversation.
 * @param options The options; each has a default. The `signal` ends the conversation at once; the
 * call rejects with its reason.
 * @throws {TypeError} if an argument is of a wrong type, or an option is unknown.
 * @throws {RangeError} if a value is not allowed, also of a line.
 * @throws {DeguError} if the server sends an answer without a line.
 * @throws the error of a source or of `onAnswer`; the error of the last request.
 *
 * @example
 * ```ts
 * import { linesOf, makeLineBody } from "@degu/degu/base";
 * import { type App, Client, converse, reply, Server } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const app: App = (request) => {
 *   async function* answers() {
 *     for await (const line of linesOf(request)) if (line !== "") yield line.toUpperCase();
 *   }
 *   return reply(200, makeLineBody(answers()));
 * };
 * await using server = await Server.start(["127.0.0.1", 0], app);
 * const answers: string[] = [];
 * const lines = ReadableStream.from(["one", "two"]);
 * await converse(new Client(server.address), "/", lines, (answer, line) => {
 *   answers.push(`${line}: ${answer}`);
 * });
 * assertEquals(answers, ["one: ONE", "two: TWO"]);
 * ```
 */
export async function converse(
  client: Requester,
  uri: string,
  lines: AsyncIterable<string> | readonly AsyncIterable<string>[],
  onAnswer: (answer: string, line: string) => unknown,
  options: ConverseOptions = {},
): Promise<void> {
  checkRequester("client", client);
  checkString("uri", uri);
  checkFunction("onAnswer", onAnswer);
  const {
    headers = {},
    maxUnanswered = DEFAULT_MAX_UNANSWERED,
    silenceSeconds,
    maxLength = DEFAULT_MAX_LENGTH,
    when = (error) => isTransient(error) || mayHaveBeenProcessed(error),
    ...retryOptions
  } = options;
  makeIntegerCheck(1, Infinity)("maxUnanswered", maxUnanswered);
  makeIntegerCheck(1, MAX_READ_BYTES)("maxLength", maxLength);
  const source = iterateLines(lines);
  const unansweredLines: string[] = [];
  let answeredCount = 0;
  let sentCount = 0;
  let nextLine: Promise<IteratorResult<string>> | null = null;
  let hasEnded = false;
  let attemptCount = 0;
  /** Wakes the lines of the current attempt. */
  let wake = () => {};
  /** An error of the caller's functions, after which no other attempt is made. */
  let ownError: { readonly error: unknown } | null = null;

  const isFinished = () => hasEnded && unansweredLines.length === 0;

  async function callOwn<T>(call: () => T | Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      ownError = { error };
      throw error;
    }
  }

  /** Yields the lines without an answer, then new lines, until the next attempt begins. */
  async function* linesToSend(attempt: number): AsyncGenerator<string, void, void> {
    while (attempt === attemptCount) {
      const index = sentCount - answeredCount;
      if (index < unansweredLines.length) {
        sentCount++;
        yield unansweredLines[index]!;
      } else if (hasEnded) return;
      else if (unansweredLines.length >= maxUnanswered) {
        await new Promise<void>((resolve) => wake = resolve);
      } else {
        // The next attempt waits for the same line.
        const pendingLine = nextLine ??= callOwn(async () => {
          const result = await source.next();
          // No attempt may be waiting for the end of the source.
          if (result.done) hasEnded = true;
          return result;
        });
        const next = await new Promise<IteratorResult<string> | void>((resolve, reject) => {
          wake = resolve;
          pendingLine.then(resolve, reject);
        });
        if (next === undefined || attempt !== attemptCount) continue;
        nextLine = null;
        if (!next.done) unansweredLines.push(await callOwn(() => checkLine(next.value)));
      }
    }
  }

  try {
    await retry(async (onProgress, onResponse) => {
      // A tunnel whose server restarts closes each connection at once: not a refusal.
      if (answeredCount > 0) onResponse();
      // A source can end between two attempts.
      if (isFinished()) return;
      try {
        attemptCount++;
        wake();
        sentCount = answeredCount;
        const body = makeLineBody(linesToSend(attemptCount), { silenceSeconds });
        const requestOptions = { duplex: "full", signal: retryOptions.signal } as const;
        const response = await expectOk(client.request("POST", uri, headers, body, requestOptions));
        // The end of a connection without a framing may have cut an answer.
        for await (const answer of readLines(response.readable, maxLength, false)) {
          if (answer === "") {
            // The server keeps its response open.
            if (isFinished()) return;
            continue;
          }
          onProgress();
          if (sentCount === answeredCount) {
            throw new DeguError("the server has answered more lines than it has received");
          }
          const line = unansweredLines.shift()!;
          answeredCount++;
          wake();
          await callOwn(() => awaitUntilAborted(onAnswer(answer, line), retryOptions.signal));
        }
      } catch (error) {
        if (ownError !== null) throw ownError.error;
        if (!isFinished()) throw error;
      }
      if (isFinished()) return;
      throw transience.set(new DeguError("the server has ended the conversation"), true);
    }, {
      retries: Infinity,
      ...retryOptions,
      when: (error) => ownError === null && when(error),
    });
  } finally {
    attemptCount++;
    wake();
    if (!hasEnded) void returnQuietly(source);
  }
}

function checkLine(line: string): string {
  checkString("a line", line);
  if (line !== "" && !/\n|\r$/.test(line)) return line;
  throw notAllowedError("a line", `must have a character and no end of a line; got ${quote(line)}`);
}
