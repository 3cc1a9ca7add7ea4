/** The newest value of a source, for any number of readers. */

/**
 * Holds the newest of a series of values for any number of readers: the frames of a camera, the
 * readings of a sensor, the progress of a transfer. Each reader gets the newest value that it has
 * not seen. A slow reader misses the values between, and delays nobody.
 *
 * The reader in this sense is what calls `next()`. For the body of a response it is the server,
 * which goes on while the sockets between the two ends take bytes: several megabytes. A peer that
 * reads such a body slowly misses no value until they are full, and is as far behind as what is in
 * them. A peer that must get the newest value makes a request for each value, which the app answers
 * by {@linkcode Latest.prototype.next}.
 *
 * @example
 * ```ts
 * import { Latest } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const temperature = new Latest<number>();
 * temperature.set(20);
 * temperature.set(21);
 * const seen: number[] = [];
 * for await (const value of temperature) {
 *   seen.push(value);
 *   temperature.end();
 * }
 * assertEquals(seen, [21]);
 * ```
 */
export class Latest<T> implements AsyncIterable<T> {
  #newest: { readonly value: T } | null = null;
  #end: { readonly error?: unknown } | null = null;
  /** Wakes the iterations that wait for a value. */
  readonly #waiting = new Set<() => void>();
  readonly #readers = new WeakMap<object, AsyncIterator<T, void, void>>();

  /** The newest value; `undefined` before the first. */
  get value(): T | undefined {
    return this.#newest?.value;
  }

  /**
   * Sets the newest value, which wakes every reader that waits for one.
   *
   * @param value The newest value.
   * @throws {TypeError} after `end()`.
   */
  set(value: T): void {
    if (this.#end !== null) throw new TypeError("set() after end(): the readers are gone");
    this.#newest = { value };
    this.#wake();
  }

  /**
   * Ends each iteration once it has the newest value. A second call has no effect.
   *
   * @param error The error with which iterations end, if it is not `undefined`.
   */
  end(error?: unknown): void {
    if (this.#end !== null) return;
    this.#end = error === undefined ? {} : { error };
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  /**
   * Resolves to the newest value that this reader has not got yet, or `undefined` after the end, or
   * once the reader's signal is aborted.
   *
   * @param reader Who reads, such as the session of a peer that makes a request for each value.
   * @throws the error given to `end()`.
   *
   * @example
   * ```ts
   * import { type App, Latest, reply } from "@degu/degu";
   * import { callApp, mkreq } from "@degu/degu/misc";
   * import { assertEquals } from "@std/assert";
   *
   * const pictures = new Latest<Uint8Array>();
   * pictures.set(new Uint8Array([1, 2, 3]));
   * const app: App = async (_request, session) => {
   *   const picture = await pictures.next(session);
   *   return picture === undefined ? reply(503) : reply(200, picture);
   * };
   * assertEquals((await callApp(app, mkreq("GET", "/"))).status, 200);
   * ```
   */
  async next(reader: { readonly signal: AbortSignal }): Promise<T | undefined> {
    let own = this.#readers.get(reader);
    if (own === undefined) {
      const begun = own = this[Symbol.asyncIterator]();
      this.#readers.set(reader, begun);
      reader.signal.addEventListener("abort", () => begun.return!());
      if (reader.signal.aborted) begun.return!();
    }
    const { done, value } = await own.next();
    return done ? undefined : value;
  }

  /** Begins an iteration: its first value is the present one, if there is one. */
  [Symbol.asyncIterator](): AsyncIterableIterator<T, void, void> {
    let seen: object | null = null;
    let hasLeft = false;
    const waiting = new Set<() => void>();
    const done = { done: true, value: undefined } as const;
    const leave = () => {
      hasLeft = true;
      for (const wake of waiting) wake();
    };
    const wait = async () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      waiting.add(resolve);
      await promise;
      this.#waiting.delete(resolve);
      waiting.delete(resolve);
    };
    return {
      // Not an async generator, whose return() would wait for the next value.
      next: async () => {
        while (!hasLeft) {
          if (this.#newest !== null && this.#newest !== seen) {
            seen = this.#newest;
            return { done: false, value: this.#newest.value };
          }
          if (this.#end !== null) {
            leave();
            if ("error" in this.#end) throw this.#end.error;
            break;
          }
          await wait();
        }
        return done;
      },
      return: () => {
        leave();
        return Promise.resolve(done);
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }
}
