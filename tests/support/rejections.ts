/** Collects unhandled rejections, which would otherwise end the process, until disposed of. */
export function recordUnhandledRejections() {
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

/** Collects unhandled rejections up to one with this reason. */
export function recordRejectionsUntil(lastReason: unknown) {
  const { promise, resolve } = Promise.withResolvers<unknown[]>();
  const reasons: unknown[] = [];
  const listen = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    reasons.push(event.reason);
    if (event.reason === lastReason) resolve(reasons);
  };
  globalThis.addEventListener("unhandledrejection", listen);
  return {
    promise,
    [Symbol.dispose]: () => globalThis.removeEventListener("unhandledrejection", listen),
  };
}
