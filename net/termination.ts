import { DeguError } from "../base/errors.ts";
import { checkOptions, checkSignal } from "../internal/checks.ts";
import { checkTimeout } from "./deadline.ts";

/** Windows sends SIGBREAK for Ctrl-Break, and SIGHUP for a closed window. */
export const TERMINATION_SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK", "SIGHUP"]
  : ["SIGINT", "SIGTERM"];

/** The usual exit codes of a program that a signal has ended: 128 and the number of the signal. */
const EXIT_CODES: Readonly<Partial<Record<Deno.Signal, number>>> = {
  SIGINT: 130,
  SIGTERM: 143,
  SIGBREAK: 130,
  SIGHUP: 129,
};

let cachedSignal: AbortSignal | null = null;

/**
 * Returns an abort signal, the same for each call. The first SIGINT (Ctrl-C) or SIGTERM aborts it;
 * on Windows, the first SIGINT, SIGBREAK or SIGHUP (a closed window). Its reason is a
 * {@linkcode DeguError} with the code `"TERMINATED"`, whose message names the signal of the system.
 * A second SIGINT or SIGTERM ends the process with the code 130 or 143.
 *
 * From the first call on these signals no longer end the program by themselves. Waiting for them
 * keeps no program alive.
 *
 * @example A service that runs until a signal ends it
 * ```ts
 * import { repeat, terminationSignal } from "@degu/degu";
 *
 * async function main() {
 *   await repeat(() => Promise.resolve("measured"), { seconds: 60, signal: terminationSignal() });
 * }
 * ```
 */
export function terminationSignal(): AbortSignal {
  if (cachedSignal !== null) return cachedSignal;
  const controller = new AbortController();
  for (const name of TERMINATION_SIGNALS) {
    Deno.addSignalListener(name, () => {
      if (controller.signal.aborted) Deno.exit(EXIT_CODES[name]);
      controller.abort(terminatedError(name));
    });
  }
  return cachedSignal = controller.signal;
}

function terminatedError(name: Deno.Signal): DeguError {
  const error = new DeguError(`the program was terminated by ${name}`);
  // Deno prints the stack of an uncaught error, but this one has no cause in the program's code.
  error.stack = `${error.name}: ${error.message}`;
  return Object.assign(error, { code: "TERMINATED" });
}

/** The time limit of a shutdown, and a signal that starts it. */
export interface UntilSignalOptions {
  /**
   * Seconds after the first signal at which all connections are closed, above 0 and at most 3600;
   * `null` for no limit.
   *
   * @default {10}
   */
  deadline?: number | null | undefined;
  /** Has the effect of the first signal of the system when it is aborted. */
  signal?: AbortSignal | undefined;
}

export interface StoppableServer {
  serveForever(): Promise<void>;
  shutdown(): Promise<void>;
  close(): void;
}

const DEFAULT_DEADLINE_SECONDS = 10;

/** @param signals The signals. Tests pass other signals, which don't affect other tests. */
export async function serveUntilSignal(
  server: StoppableServer,
  options: UntilSignalOptions,
  signals: readonly Deno.Signal[] = TERMINATION_SIGNALS,
): Promise<void> {
  const { deadline = DEFAULT_DEADLINE_SECONDS, signal } = checkOptions(options, {
    deadline: checkTimeout,
    signal: checkSignal,
  });
  let shutdownPromise: Promise<void> | null = null;
  let closeTimer: ReturnType<typeof setTimeout> | undefined;
  const onSignal = () => {
    if (shutdownPromise === null) stop();
    else server.close();
  };
  const stop = () => {
    if (shutdownPromise !== null) return;
    shutdownPromise = server.shutdown();
    // The promise is awaited below, after serving has ended.
    shutdownPromise.catch(() => {});
    if (deadline === null) return;
    closeTimer = setTimeout(() => server.close(), deadline * 1000);
  };
  using listeners = new DisposableStack();
  for (const signal of signals) {
    Deno.addSignalListener(signal, onSignal);
    listeners.defer(() => Deno.removeSignalListener(signal, onSignal));
  }
  signal?.addEventListener("abort", stop);
  listeners.defer(() => signal?.removeEventListener("abort", stop));
  try {
    const serving = server.serveForever();
    if (signal?.aborted) stop();
    await serving;
    await shutdownPromise;
  } finally {
    clearTimeout(closeTimer);
  }
}
