const LINE_INTERVAL_MILLISECONDS = 1000;

/**
 * Limits a kind of lines to one per second: prints the first line at once, then the latest of the
 * lines that followed.
 */
export class LineRateLimiter {
  readonly #print: (latestLine: string, count: number) => void;
  #latestLine = "";
  #pendingCount = 0;
  /** Runs for a second after each printed line; `null` once this limiter is closed. */
  #timer: ReturnType<typeof setTimeout> | undefined | null;

  constructor(print: (latestLine: string, count: number) => void) {
    this.#print = print;
  }

  /** Whether no line was printed in the last second. */
  get isIdle(): boolean {
    return this.#timer === undefined;
  }

  add(line: string): void {
    this.#latestLine = line;
    this.#pendingCount++;
    if (this.#timer === undefined) this.#printPending();
  }

  #printPending(): void {
    this.#timer = undefined;
    if (this.#pendingCount === 0) return;
    this.#timer = setTimeout(() => this.#printPending(), LINE_INTERVAL_MILLISECONDS);
    // If `node:` modules are loaded, the types are those of Node, whose timers are objects.
    Deno.unrefTimer(this.#timer as unknown as number);
    this.#printLatest();
  }

  #printLatest(): void {
    const count = this.#pendingCount;
    this.#pendingCount = 0;
    if (count > 0) this.#print(this.#latestLine, count);
  }

  close(): void {
    if (this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#printLatest();
  }
}
