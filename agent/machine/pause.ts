/** Never rejects. */
export function pause(
  milliseconds: number,
  ...signals: readonly AbortSignal[]
): Promise<void> {
  return new Promise((resolve) => {
    if (signals.some(({ aborted }) => aborted)) return resolve();
    const finish = () => {
      clearTimeout(timer);
      for (const signal of signals) signal.removeEventListener("abort", finish);
      resolve();
    };
    const timer = Number.isFinite(milliseconds) ? setTimeout(finish, milliseconds) : undefined;
    for (const signal of signals) signal.addEventListener("abort", finish);
  });
}
