/** Never rejects. */
export function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const finish = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", finish);
      resolve();
    };
    const timer = Number.isFinite(milliseconds) ? setTimeout(finish, milliseconds) : undefined;
    signal?.addEventListener("abort", finish);
  });
}

export async function awaitUntilAborted<T>(
  value: T | Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  if (signal === undefined) return await value;
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([aborted.promise, value]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

export function joinSignals(
  ...signals: readonly (AbortSignal | undefined)[]
): AbortSignal | undefined {
  const presentSignals = signals.filter((signal) => signal !== undefined);
  // Return a single signal unchanged, because combining signals slows connecting.
  return presentSignals.length < 2 ? presentSignals[0] : AbortSignal.any(presentSignals);
}
