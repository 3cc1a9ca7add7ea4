/**
 * Sources and sinks for the tests of bodies: streams and byte sources made of given pieces, which
 * record reads and cancellations; iterables, which record their ends; and sinks, which record
 * writes.
 */

import { Buffer } from "node:buffer";

/** All pieces in one array of their own. */
export function concat(pieces: Iterable<Uint8Array>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat([...pieces]));
}

/**
 * The bytes cut into pieces of the given lengths, over and over; zero lengths give empty pieces.
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

/** Every way to cut the bytes into two pieces. */
export function* splitEverywhere(bytes: Uint8Array): Generator<Uint8Array<ArrayBuffer>[]> {
  for (let position = 0; position <= bytes.length; position++) {
    yield [bytes.slice(0, position), bytes.slice(position)].filter((piece) => piece.length > 0);
  }
}

/** A stream that gives one item per pull, and no item before. */
export function streamOf<T>(...items: readonly T[]): ReadableStream<T> {
  return new TrackedStream(items).stream;
}

/**
 * Called with the index of an item when a consumer requests it, after it has taken all earlier
 * items.
 */
type OnPull = (index: number) => void;

/** A stream of given items that records its end. */
export class TrackedStream<T = Uint8Array> {
  readonly stream: ReadableStream<T>;
  /** Reasons given to `cancel()`, one per call. */
  readonly cancelled: unknown[] = [];
  /** Whether the consumer has got the end. */
  ended = false;

  constructor(items: readonly T[], options: { onPull?: OnPull; failure?: unknown } = {}) {
    let index = 0;
    this.stream = new ReadableStream<T>({
      pull: (controller) => {
        options.onPull?.(index);
        const item = items[index++];
        if (item !== undefined) return controller.enqueue(item);
        if (options.failure !== undefined) return controller.error(options.failure);
        this.ended = true;
        controller.close();
      },
      cancel: (reason) => {
        this.cancelled.push(reason);
      },
    }, { highWaterMark: 0 });
  }

  get canceled(): boolean {
    return this.cancelled.length === 1;
  }

  /** True if the body has treated its source properly: read it to the end, or canceled it. */
  get settled(): boolean {
    return this.ended || this.cancelled.length > 0;
  }
}

/** A byte source over given pieces; refuses a second read while one is pending. */
export class PieceSource {
  /** Bytes handed out so far. */
  taken = 0;
  /** Lengths of the buffers that the consumer offered. */
  readonly offered: number[] = [];
  #pieces: Uint8Array[];
  #busy = false;

  constructor(pieces: Iterable<Uint8Array>) {
    this.#pieces = [...pieces].filter((piece) => piece.length > 0);
  }

  async read(into: Uint8Array): Promise<number | null> {
    if (this.#busy) throw new Error("two reads of one source at once");
    this.#busy = true;
    this.offered.push(into.length);
    await Promise.resolve();
    this.#busy = false;
    const piece = this.#pieces.shift();
    if (piece === undefined) return null;
    const count = Math.min(piece.length, into.length);
    into.set(piece.subarray(0, count));
    if (count < piece.length) this.#pieces.unshift(piece.subarray(count));
    this.taken += count;
    return count;
  }
}

/** A byte source that gives zeros without end, or up to a total. */
export class ZeroSource {
  taken = 0;
  constructor(readonly total = Infinity) {}

  read(into: Uint8Array): Promise<number | null> {
    const count = Math.min(into.length, this.total - this.taken);
    into.fill(0, 0, count);
    this.taken += count;
    return Promise.resolve(count === 0 && into.length > 0 ? null : count);
  }
}

/** A byte source that gives some bytes and then waits until it is released, which ends it. */
export class StallingSource {
  readonly #first: PieceSource;
  readonly #gate = Promise.withResolvers<null>();
  readonly #stalled = Promise.withResolvers<void>();
  /** Resolves when the consumer waits for bytes that do not come. */
  readonly stalled: Promise<void> = this.#stalled.promise;

  constructor(bytes: Uint8Array) {
    this.#first = new PieceSource([bytes]);
  }

  async read(into: Uint8Array): Promise<number | null> {
    const count = await this.#first.read(into);
    if (count !== null) return count;
    this.#stalled.resolve();
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

  /** The bytes that arrived, as one array. */
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

/** A sink that takes at most `most` bytes per write, and returns their number. */
export class PartialSink {
  readonly pieces: Uint8Array[] = [];
  constructor(readonly maxBytes: number) {}

  get bytes(): Uint8Array {
    return concat(this.pieces);
  }

  write(bytes: Uint8Array): Promise<number> {
    const piece = bytes.slice(0, this.maxBytes);
    this.pieces.push(piece);
    return Promise.resolve(piece.length);
  }
}

/** A sink that fails after it has taken `after` writes. */
export class FailingSink {
  readonly failure: Error = new Error("the sink broke");
  writes = 0;
  constructor(readonly after = 0) {}

  write(_bytes: Uint8Array): Promise<void> {
    return this.writes++ < this.after ? Promise.resolve() : Promise.reject(this.failure);
  }
}

/** A writable stream that copies the given bytes and records its end. */
export class RecordingStream {
  readonly pieces: Uint8Array[] = [];
  closed = false;
  aborted = false;
  readonly writable: WritableStream<Uint8Array> = new WritableStream<Uint8Array>({
    write: (bytes) => void this.pieces.push(bytes.slice()),
    close: () => void (this.closed = true),
    abort: () => void (this.aborted = true),
  });

  get bytes(): Uint8Array {
    return concat(this.pieces);
  }
}

/** An iterable of given items that records how its iteration ended. */
export class TrackedItems<T> {
  /** True once `return()` was called on the iterator. */
  returned = false;
  /** True once `next()` has reported the end. */
  ended = false;
  #index = 0;

  constructor(
    readonly items: readonly T[],
    readonly options: { onPull?: OnPull; failure?: unknown } = {},
  ) {}

  get canceled(): boolean {
    return this.returned;
  }

  get settled(): boolean {
    return this.ended || this.returned;
  }

  #next(): IteratorResult<T, undefined> {
    this.options.onPull?.(this.#index);
    const item = this.items[this.#index++];
    if (item !== undefined) return { done: false, value: item };
    this.ended = true;
    if (this.options.failure !== undefined) throw this.options.failure;
    return { done: true, value: undefined };
  }

  #return(): IteratorResult<T, undefined> {
    this.returned = true;
    return { done: true, value: undefined };
  }

  /** The items as a synchronous iterable. */
  sync(): Iterable<T> {
    return {
      [Symbol.iterator]: () => ({ next: () => this.#next(), return: () => this.#return() }),
    };
  }

  /** The items as an asynchronous iterable. */
  async(): AsyncIterable<T> {
    return {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise((resolve) => resolve(this.#next())),
        return: () => Promise.resolve(this.#return()),
      }),
    };
  }
}

/**
 * Runs a test with an open temporary file that holds the bytes; closes and removes it afterwards.
 */
export async function withFile(
  bytes: Uint8Array,
  run: (file: Deno.FsFile) => Promise<void>,
): Promise<void> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, bytes);
    using file = await Deno.open(path, { read: true });
    await run(file);
  } finally {
    await Deno.remove(path);
  }
}
