/** A promise that reports when its result is first awaited. */
export class ObservedPromise<T> extends Promise<T> {
  /** `then` returns a plain promise. */
  static override get [Symbol.species](): PromiseConstructor {
    return Promise;
  }

  #onObserved: (() => void) | null = null;

  /**
   * Makes a promise with the result of another promise. A rejection that no code handles has no
   * effect.
   */
  static observe<T>(promise: Promise<T>, onObserved: () => void): ObservedPromise<T> {
    const observedPromise = new ObservedPromise<T>((resolve) => resolve(promise));
    observedPromise.then(undefined, () => {});
    observedPromise.#onObserved = onObserved;
    return observedPromise;
  }

  override then<A = T, B = never>(
    onFulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.#onObserved?.();
    this.#onObserved = null;
    return super.then(onFulfilled, onRejected);
  }
}
