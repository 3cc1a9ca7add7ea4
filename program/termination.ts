import { DeguError } from "../base/errors.ts";
import { hasCause } from "../internal/caught_errors.ts";
import {
  checkFunction,
  checkMethods,
  checkOptions,
  checkSignal,
  notAllowedError,
} from "../internal/checks.ts";
import { checkTimeout } from "../net/transport/deadline.ts";

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

function listenToSignals(
  names: readonly Deno.Signal[],
  onSignal: (name: Deno.Signal) => void,
): DisposableStack {
  const listeners = new DisposableStack();
  for (const name of names) {
    const listener = () => onSignal(name);
    Deno.addSignalListener(name, listener);
    listeners.defer(() => Deno.removeSignalListener(name, listener));
  }
  return listeners;
}

/**
 * Runs the main function of a program with an abort signal, which the first SIGINT (Ctrl-C) or
 * SIGTERM aborts; on Windows, the first SIGINT, SIGBREAK or SIGHUP (a closed window). Its reason is
 * a {@linkcode DeguError} with the code `"TERMINATED"`. The process ends when the signal is aborted
 * and the function has ended, even if a timer or a read of stdin would keep the process alive:
 *
 * - If the function returns, the exit code is `Deno.exitCode`, 0 by default.
 * - If the function throws the signal's reason, or an error that the reason has caused, the exit
 *   code is 130 after SIGINT, and 143 after SIGTERM. No error is printed.
 * - Any other error is thrown.
 *
 * A second signal ends the process at once, with the code 130 or 143. If the function ends without
 * a signal, the signals have their usual effect again. Call this function once, with the whole
 * program: when a signal has ended the function, code that follows the call doesn't run, so objects
 * of `using` and `await using` belong in the function.
 *
 * @param main The main function; its argument is the signal. A promise is awaited.
 * @returns The result of the function, if it ended without a signal.
 * @throws {TypeError} if `main` isn't a function.
 * @throws the error of the function.
 *
 * @example A service that a signal ends
 * ```ts
 * import { repeat, runUntilSignal } from "@degu/degu";
 *
 * function main(signal: AbortSignal) {
 *   return repeat(() => Promise.resolve("measured"), { seconds: 60, signal });
 * }
 * if (import.meta.main) await runUntilSignal(main);
 * ```
 */
export async function runUntilSignal<Result>(
  main: (signal: AbortSignal) => Result | Promise<Result>,
): Promise<Result> {
  checkFunction("main", main);
  const controller = new AbortController();
  const { signal } = controller;
  let exitCode: number | undefined;
  using _ = listenToSignals(TERMINATION_SIGNALS, (name) => {
    if (signal.aborted) Deno.exit(EXIT_CODES[name]);
    exitCode = EXIT_CODES[name];
    controller.abort(terminatedError(name));
  });
  try {
    const result = await main(signal);
    if (signal.aborted) Deno.exit();
    return result;
  } catch (error) {
    if (signal.aborted && hasCause(error, (cause) => cause === signal.reason)) Deno.exit(exitCode);
    throw error;
  }
}

function terminatedError(name: Deno.Signal): DeguError {
  const error = new DeguError(`the program was terminated by ${name}`);
  // Deno prints the stack of an uncaught error, but this one has no cause in the program's code.
  error.stack = `${error.name}: ${error.message}`;
  return Object.assign(error, { code: "TERMINATED" });
}

/** A server that {@linkcode serveUntilSignal} can stop, such as a `Server` or a `DeviceServer`. */
export interface StoppableServer {
  /** Serves until the server is stopped; rejects if it can't serve. */
  serveForever(): Promise<void>;
  /** Accepts no more connections, and resolves when the requests in flight have ended. */
  shutdown(): Promise<void>;
  /** Closes the server and its connections at once. */
  close(): void;
}

const DEFAULT_DEADLINE_SECONDS = 10;

/**
 * Serves until the process receives a signal, like {@linkcode Server.prototype.serveUntilSignal},
 * for one server or several. The first signal shuts down all servers; a second signal of the
 * system, or the deadline, closes them. Resolves when all servers have ended. If a server can't
 * serve, the others are closed. Needs no permission.
 *
 * @param servers The server, or the servers.
 * @param options The seconds after which the remaining connections are closed, and an
 * `AbortSignal` that shuts down the servers when it is aborted.
 * @throws {TypeError} if `servers` or an option is of a wrong type, or an option is unknown.
 * @throws {RangeError} if there is no server, or a value is not allowed.
 * @throws the error of the first server that can't serve or shut down.
 *
 * @example A program with a server for the network and a server for its machine
 * ```ts
 * import { reply, Server, serveUntilSignal } from "@degu/degu";
 *
 * const network = await Server.start(["127.0.0.1", 0], () => reply(200, "for all"));
 * const local = await Server.start(["127.0.0.1", 0], () => reply(200, "for this machine"));
 * const stop = new AbortController();
 * const serving = serveUntilSignal([network, local], { deadline: 30, signal: stop.signal });
 * stop.abort(); // in place of a signal of the system
 * await serving;
 * ```
 */
export function serveUntilSignal(
  servers: StoppableServer | readonly StoppableServer[],
  options: {
    /**
     * Seconds after the first signal at which all connections are closed, above 0 and at most 3600;
     * `null` for no limit.
     *
     * @default {10}
     */
    deadline?: number | null | undefined;
    /** Shuts down the servers when it is aborted; never closes their connections. */
    signal?: AbortSignal | undefined;
  } = {},
): Promise<void> {
  return serveUntil(TERMINATION_SIGNALS, servers, options);
}

/** @param signals The signals. Tests pass other signals, which don't affect other tests. */
export async function serveUntil(
  signals: readonly Deno.Signal[],
  serverOrServers: StoppableServer | readonly StoppableServer[],
  options: NonNullable<Parameters<typeof serveUntilSignal>[1]>,
): Promise<void> {
  const servers = checkServers(serverOrServers);
  const { deadline = DEFAULT_DEADLINE_SECONDS, signal } = checkOptions(options, {
    deadline: checkTimeout,
    signal: checkSignal,
  });
  let shutdownPromise: Promise<unknown> | null = null;
  let closeTimer: ReturnType<typeof setTimeout> | undefined;
  const close = () => {
    for (const server of servers) server.close();
  };
  // The program may abort `signal` because of the same signal of the system.
  let hasReceivedSignal = false;
  const onSignal = () => {
    if (hasReceivedSignal) close();
    hasReceivedSignal = true;
    stop();
  };
  const stop = () => {
    if (shutdownPromise !== null) return;
    shutdownPromise = Promise.all(servers.map(async (server) => await server.shutdown()));
    // The promise is awaited below, after serving has ended.
    shutdownPromise.catch(() => {});
    if (deadline === null) return;
    closeTimer = setTimeout(close, deadline * 1000);
  };
  using listeners = listenToSignals(signals, onSignal);
  signal?.addEventListener("abort", stop);
  listeners.defer(() => signal?.removeEventListener("abort", stop));
  const servings = servers.map(async (server) => await server.serveForever());
  try {
    if (signal?.aborted) stop();
    await Promise.all(servings);
    await shutdownPromise;
  } catch (error) {
    close();
    await Promise.allSettled(servings);
    throw error;
  } finally {
    clearTimeout(closeTimer);
  }
}

function checkServers(given: StoppableServer | readonly StoppableServer[]): StoppableServer[] {
  const servers = [...new Set([given].flat())];
  if (servers.length === 0) {
    throw notAllowedError("servers", "must have at least one server; got none");
  }
  for (const server of servers) {
    checkMethods("servers", server, ["serveForever", "shutdown", "close"]);
  }
  return servers;
}
