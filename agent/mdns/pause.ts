/**
 * A pause that a signal ends.
 *
 * @module
 */

/**
 * Waits so many milliseconds, which may be `Infinity`, or until the signal is aborted. Never rejects.
 */
export function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = Number.isFinite(milliseconds) ? setTimeout(end, milliseconds) : undefined;
    signal.addEventListener("abort", end);
  });
}
