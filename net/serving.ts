import { checkOptions } from "../internal/checks.ts";
import { checkTimeout } from "./deadline.ts";
import { TERMINATION_SIGNALS } from "./termination.ts";

export async function startServer<
  S extends { readonly ready: Promise<void>; serveForever(): Promise<void> },
>(server: S): Promise<S> {
  server.serveForever();
  await server.ready;
  return server;
}

/** The time limit of a shutdown by a signal. */
export interface UntilSignalOptions {
  /**
   * Seconds after the first signal at which all connections are closed, above 0 and at most 3600;
   * `null` for no limit.
   *
   * @default {10}
   */
  deadline?: number | null | undefined;
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
  const { deadline = DEFAULT_DEADLINE_SECONDS } = checkOptions(options, { deadline: checkTimeout });
  let shutdownPromise: Promise<void> | null = null;
  let closeTimer: ReturnType<typeof setTimeout> | undefined;
  const onSignal = () => {
    if (shutdownPromise !== null) return void server.close();
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
  try {
    await server.serveForever();
    await shutdownPromise;
  } finally {
    clearTimeout(closeTimer);
  }
}
