/** Sources and sinks for tests of bodies, which record reads, writes, ends and cancellations. */

import { Buffer } from "node:buffer";

export function concat(pieces: Iterable<Uint8Array>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat([...pieces]));
}

/**
 * Cuts bytes into pieces of the given lengths, which are repeated. Zero lengths give empty pieces.
 */
export function cutBytes(bytes: Uint8Array, ...lengths: number[]): Uint8Array<ArrayBuffer>[] {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  const cycle = lengths.some((length) => length > 0) ? lengths : [Math.max(bytes.length, 1)];
  for (let offset = 0, index = 0; offset < bytes.length; index++) {
    const length = cycle[index % cycle.length] ?? 1;
    pieces.push(bytes.slice(offset, offset + length));
    offset += length;
  }
  return pieces;
}

/** Makes a stream that enqueues one item per pull. */
export function streamOf<T>(...items: readonly T[]): ReadableStream<T> {
  return new TrackedStream(items).stream;
}

/** Called with the index of each requested item. */
type OnPull = (index: number) => void;

/** A stream of given items that records its end. */
export class TrackedStream<T = Uint8Array> {
  readonly stream: ReadableStream<T>;
  /** The reasons of the calls of `cancel()`. */
  readonly cancelReasons: unknown[] = [];
  /** Whether the consumer has read the end. */
  hasEnded = false;

  constructor(items: readonly T[], options: { onPull?: OnPull; failure?: unknown } = {}) {
    let index = 0;
    this.stream = new ReadableStream<T>({
      pull: (controller) => {
        options.onPull?.(index);
        const item = items[index++];
        if (item !== undefined) return controller.enqueue(item);
        if (options.failure !== undefined) return controller.error(options.failure);
        this.hasEnded = true;
        controller.close();
      },
      cancel: (reason) => {
        this.cancelReasons.push(reason);
      },
    }, { highWaterMark: 0 });
  }

  get isCanceled(): boolean {
    return this.cancelReasons.length === 1;
  }

  /** Whether the consumer has read the source to the end, or canceled it. */
  get isSettled(): boolean {
    return this.hasEnded || this.cancelReasons.length > 0;
  }
}

/** A byte source that returns given pieces, and refuses concurrent reads. */
export class PieceSource {
  readCount = 0;
  /** The lengths of the buffers that the consumer passed. */
  readonly bufferLengths: number[] = [];
  #pieces: Uint8Array[];
  #busy = false;

  constructor(pieces: Iterable<Uint8Array>) {
    this.#pieces = [...pieces].filter((piece) => piece.length > 0);
  }

  async read(into: Uint8Array): Promise<number | null> {
    if (this.#busy) throw new Error("two reads of one source at once");
    this.#busy = true;
    this.bufferLengths.push(into.length);
    await Promise.resolve();
    this.#busy = false;
    const piece = this.#pieces.shift();
    if (piece === undefined) return null;
    const count = Math.min(piece.length, into.length);
    into.set(piece.subarray(0, count));
    if (count < piece.length) this.#pieces.unshift(piece.subarray(count));
    this.readCount += count;
    return count;
  }
}

/** A byte source that returns some bytes, and then waits for `release()`, which ends it. */
export class StallingSource {
  readonly #pieces: PieceSource;
  readonly #gate = Promise.withResolvers<null>();
  readonly #stallResolvers = Promise.withResolvers<void>();
  /** Resolves when the consumer waits for further bytes. */
  readonly stalled: Promise<void> = this.#stallResolvers.promise;

  constructor(bytes: Uint8Array) {
    this.#pieces = new PieceSource([bytes]);
  }

  async read(into: Uint8Array): Promise<number | null> {
    const count = await this.#pieces.read(into);
    if (count !== null) return count;
    this.#stallResolvers.resolve();
    return await this.#gate.promise;
  }

  release() {
    this.#gate.resolve(null);
  }
}

/** A sink that copies the given bytes. */
export class RecordingSink {
  readonly pieces: Uint8Array[] = [];
  #busy = false;

  get bytes(): Uint8Array {
    return concat(this.pieces);
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#busy) throw new Error("two writes to one sink at once");
    this.#busy = true;
    await Promise.resolve();
    this.pieces.push(bytes.slice());
    this.#busy = false;
  }
}

/** A sink that fails after `writeLimit` writes. */
export class FailingSink {
  readonly failure: Error = new Error("the sink broke");
  writes = 0;
  constructor(readonly writeLimit = 0) {}

  write(_bytes: Uint8Array): Promise<void> {
    return this.writes++ < this.writeLimit ? Promise.resolve() : Promise.reject(this.failure);
  }
}

/** A writable stream that copies the given bytes and records its end. */
export class RecordingStream {
  readonly pieces: Uint8Array[] = [];
  isClosed = false;
  isAborted = false;
  readonly writable: WritableStream<Uint8Array> = new WritableStream<Uint8Array>({
    write: (bytes) => void this.pieces.push(bytes.slice()),
    close: () => void (this.isClosed = true),
    abort: () => void (this.isAborted = true),
  });

  get bytes(): Uint8Array {
    return concat(this.pieces);
  }
}

/** An iterable of given items that records the end of its iteration. */
export class TrackedItems<T> {
  /** Whether `return()` was called on the iterator. */
  hasReturned = false;
  /** Whether `next()` has returned the end. */
  hasEnded = false;
  #index = 0;

  constructor(
    readonly items: readonly T[],
    readonly options: { onPull?: OnPull; failure?: unknown } = {},
  ) {}

  get isCanceled(): boolean {
    return this.hasReturned;
  }

  get isSettled(): boolean {
    return this.hasEnded || this.hasReturned;
  }

  #next(): IteratorResult<T, undefined> {
    this.options.onPull?.(this.#index);
    const item = this.items[this.#index++];
    if (item !== undefined) return { done: false, value: item };
    this.hasEnded = true;
    if (this.options.failure !== undefined) throw this.options.failure;
    return { done: true, value: undefined };
  }

  #return(): IteratorResult<T, undefined> {
    this.hasReturned = true;
    return { done: true, value: undefined };
  }

  toIterable(): Iterable<T> {
    return {
      [Symbol.iterator]: () => ({ next: () => this.#next(), return: () => this.#return() }),
    };
  }

  toAsyncIterable(): AsyncIterable<T> {
    return {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise((resolve) => resolve(this.#next())),
        return: () => Promise.resolve(this.#return()),
      }),
    };
  }
}
