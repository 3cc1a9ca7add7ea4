/**
 * Rejected promises that nobody handles, which would end the process.
 *
 * @module
 */

/** What has been rejected, unhandled, since it was made. */
export interface UnhandledRejections extends Disposable {
  readonly reasons: readonly unknown[];
}

/** Collects the rejections that nobody handles, in place of the process being ended, until it is disposed of. */
export function unhandledRejections(): UnhandledRejections {
  const reasons: unknown[] = [];
  const listen = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    reasons.push(event.reason);
  };
  globalThis.addEventListener("unhandledrejection", listen);
  return {
    reasons,
    [Symbol.dispose]: () => globalThis.removeEventListener("unhandledrejection", listen),
  };
}
