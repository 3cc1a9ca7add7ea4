/**
 * SIGINT and SIGTERM.
 *
 * @module
 */

import { INTERRUPTED, Interrupted } from "./failure.ts";

/** Deno has no SIGTERM on Windows. */
const SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM"];

/** The signals of the process, until disposed of. */
export interface CaughtSignals extends Disposable {
  /** Is aborted by the first one. */
  readonly signal: AbortSignal;
}

/** Catches signals: the first one aborts what is under way, the second one ends the process. */
export function catchSignals(): CaughtSignals {
  const controller = new AbortController();
  const listener = () => {
    if (controller.signal.aborted) Deno.exit(INTERRUPTED);
    controller.abort(new Interrupted());
  };
  for (const signal of SIGNALS) Deno.addSignalListener(signal, listener);
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const signal of SIGNALS) Deno.removeSignalListener(signal, listener);
    },
  };
}
