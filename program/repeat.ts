import {
  checkFunction,
  checkNumber,
  checkSignal,
  copyOptions,
  notAllowedError,
  wrongTypeError,
} from "../internal/checks.ts";
import { DeguError } from "../base/errors.ts";
import { isSystemError, messageOf, stackOf } from "../internal/caught_errors.ts";
import { pause } from "../internal/pause.ts";
import { MAX_TIMER_MILLISECONDS } from "../net/transport/deadline.ts";
import { processLogger } from "../base/app/logger.ts";

const MAX_WAIT_FACTOR = 10;
const MIN_ERROR_WAIT_SECONDS = 1;
/** A shorter run may have consisted of retries only. */
const MIN_RECOVERED_RUN_SECONDS = 60;

/**
 * Runs an action, waits, and runs it again, until a signal is aborted.
 *
 * An error ends only its run. After the first error the wait has its usual length. Each further
 * error in a row doubles the wait, up to ten times the usual length. After an error the wait is at
 * least a second. A run that succeeds resets the wait, and so does a failed run that lasted longer
 * than a minute and longer than the longest wait.
 *
 * @param action The action, sync or async; its argument is the signal. A promise is awaited.
 * @param options The seconds between two runs, the signal, and a callback for errors.
 * @returns When the signal is aborted and the current run has ended. An error of that run is
 * ignored.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if `seconds` is not above 0.
 * @throws what `onError` throws.
 *
 * @example
 * ```ts
 * import { repeat } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const ending = new AbortController();
 * let runs = 0;
 * await repeat(() => {
 *   if (++runs === 3) ending.abort();
 * }, { seconds: 0.01, signal: ending.signal });
 * assertEquals(runs, 3);
 * ```
 */
export async function repeat(
  action: (signal: AbortSignal) => unknown,
  options: {
    /**
     * Seconds between the end of a run and the start of the next run, above 0; after an error, 1 or
     * more.
     */
    seconds: number;
    /** Ends the repetition, and the current run if the action uses the signal. */
    signal: AbortSignal;
    /**
     * Called with the error of a run, and the seconds until the next run; awaited.
     *
     * @default {a line on stderr; also the stack, unless the error is an error of this package, an
     * error of Deno, or an abort}
     */
    onError?: ((error: unknown, wait: number) => unknown) | undefined;
  },
): Promise<void> {
  checkFunction("action", action);
  const { seconds, signal, onError = logError } = copyOptions(options, [
    "seconds",
    "signal",
    "onError",
  ]);
  checkNumber("seconds", seconds);
  if (!(seconds > 0)) throw notAllowedError("seconds", `must be above 0; got ${seconds}`);
  if (signal === undefined) throw wrongTypeError("signal", "an AbortSignal", signal);
  checkSignal("signal", signal);
  checkFunction("onError", onError);
  const recoveredRunSeconds = Math.max(MIN_RECOVERED_RUN_SECONDS, seconds * MAX_WAIT_FACTOR);
  for (let failureCount = 0; !signal.aborted;) {
    const startedAt = performance.now();
    let waitSeconds = seconds;
    try {
      await action(signal);
      failureCount = 0;
    } catch (error) {
      if (signal.aborted) return;
      // A long run has worked for a while: its error counts as the first one.
      if (performance.now() - startedAt > recoveredRunSeconds * 1000) failureCount = 0;
      const prolongedSeconds = seconds * Math.min(2 ** failureCount, MAX_WAIT_FACTOR);
      waitSeconds = Math.max(MIN_ERROR_WAIT_SECONDS, prolongedSeconds);
      failureCount++;
      await onError(error, waitSeconds);
    }
    await pauseSeconds(waitSeconds, signal);
  }
}

/** Waits for a number of seconds, which may exceed the 24 days of a single timer. */
async function pauseSeconds(seconds: number, signal: AbortSignal): Promise<void> {
  for (
    let remainingMilliseconds = seconds * 1000;
    remainingMilliseconds > 0 && !signal.aborted;
    remainingMilliseconds -= MAX_TIMER_MILLISECONDS
  ) {
    await pause(Math.min(remainingMilliseconds, MAX_TIMER_MILLISECONDS), signal);
  }
}

function logError(error: unknown, waitSeconds: number): void {
  const isExpected = error instanceof DeguError || error instanceof DOMException ||
    Object.values(Deno.errors).some((errorClass) => error instanceof errorClass) ||
    isSystemError(error);
  const text = isExpected ? messageOf(error) : stackOf(error);
  processLogger.warn(`${text}; next run in ${waitSeconds} s`);
}
