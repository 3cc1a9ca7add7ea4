import { notAllowedError, wrongArgumentError, wrongTypeError } from "../../internal/checks.ts";
import { BodyError } from "../errors.ts";
import { typeNameOf } from "../../internal/quote.ts";
import { MAX_LENGTH } from "../wire/limits.ts";
import {
  type ByteSource,
  checkReadCount,
  MAX_PIECE_BYTES,
  type ReadAheadSource,
  ReadBuffer,
  SourceItem,
  toSourceError,
} from "./byte_io.ts";

const SOCKET_READ_SIZES = { defaultBytes: 65536, maxBytes: MAX_PIECE_BYTES };
/** For memory and disks: a larger buffer would not fit into the cache of a processor. */
const LOCAL_READ_SIZES = { defaultBytes: 524288, maxBytes: 524288 };

/**
 * The properties of each kind of source:
 *
 * - `followedBy`: the bytes after the body. `"messages"`: the buffer may already have bytes of the
 *   peer's next message. `"foreign bytes"`: the file may have other bytes, which must not be read.
 *   `"nothing"`: the source must end with the body.
 * - `onTooLong`: whether to keep or to cancel a body of known length that exceeds the limit of a
 *   read. An unread response would block its connection; a request can be read in another way.
 * - `defaultBytes` and `maxBytes`: the maximum size of one read, without and with a preference of
 *   the sink. Larger reads from a socket are slower, because the bytes leave the processor's cache
 *   before they are used. From one connection to another, larger reads are faster, because they
 *   need fewer ticks of the event loop.
 */
export const SOURCE_KINDS = {
  request: { followedBy: "messages", onTooLong: "keep", ...SOCKET_READ_SIZES },
  response: { followedBy: "messages", onTooLong: "cancel", ...SOCKET_READ_SIZES },
  file: { followedBy: "foreign bytes", onTooLong: "keep", ...LOCAL_READ_SIZES },
  stream: { followedBy: "nothing", onTooLong: "keep", ...LOCAL_READ_SIZES },
} as const;

export type BodyOutcome =
  | "consumed"
  | "broken"
  /** The program has canceled the body, or doesn't need its remaining bytes. */
  | "canceled";

export interface BodySource extends ReadAheadSource {
  readonly kind: keyof typeof SOURCE_KINDS;
  readonly buffer: ReadBuffer;
  /** Whether the close of the connection ends the body. */
  readonly endsWithConnection?: true;
  /** Why the source may have ended too early, if this is known. */
  readonly incompleteReason?: string | null;
  /** Reads bytes into the buffer or, if the buffer is empty, into another array. */
  read(into: Uint8Array): Promise<number | null>;
  /** Called once, when the body ends. Never rejects. */
  onEnd(outcome: BodyOutcome, error?: unknown, reason?: unknown): Promise<void> | void;
}

export function openSource(input: ReadableStream<Uint8Array> | ByteSource): BodySource {
  // Only this package has buffers of this class, so the input is a BodySource.
  if ((input as BodySource | null)?.buffer instanceof ReadBuffer) return input as BodySource;
  if (typeof (input as ReadableStream | null)?.getReader === "function") {
    return new StreamSource(input as ReadableStream<Uint8Array>);
  }
  if (typeof (input as ByteSource | null)?.read === "function") {
    return new PositionedSource(input as ByteSource);
  }
  throw wrongTypeError("source", "a ReadableStream, a Deno.FsFile or a ByteSource", input);
}

export class MemorySource implements BodySource {
  readonly kind: "request" | "response";
  readonly buffer: ReadBuffer = new ReadBuffer();

  /** @param bytes The bytes, which the caller must not change afterward. */
  constructor(bytes: Uint8Array<ArrayBuffer>, kind: "request" | "response") {
    this.kind = kind;
    this.buffer.bytes = bytes;
    this.buffer.end = bytes.length;
  }

  read(): Promise<null> {
    return Promise.resolve(null);
  }

  onEnd(): void {}
}

class PositionedSource implements BodySource {
  readonly kind = "file";
  readonly buffer: ReadBuffer = new ReadBuffer();
  readonly onEnd: () => void;
  readonly #input: ByteSource;

  /** @param onEnd Closes a file that belongs to the body. Other files stay open. */
  constructor(input: ByteSource, onEnd: () => void = () => {}) {
    this.#input = input;
    this.onEnd = onEnd;
  }

  async read(into: Uint8Array): Promise<number | null> {
    try {
      return checkReadCount(await this.#input.read(into), into.length) || null;
    } catch (error) {
      throw toSourceError(error);
    }
  }
}

export async function openFile(
  path: string | URL,
): Promise<{ readonly source: BodySource; readonly size: number }> {
  if (typeof path !== "string" && !(path instanceof URL)) {
    throw wrongTypeError("path", "a string or a file: URL", path);
  }
  // Check before opening: opening a FIFO waits for a writer, and opening a device has effects.
  checkFile(path, await Deno.stat(path));
  const file = await Deno.open(path, { read: true });
  try {
    const info = await file.stat();
    checkFile(path, info);
    return { source: new PositionedSource(file, () => file.close()), size: info.size };
  } catch (error) {
    file.close();
    throw error;
  }
}

function checkFile(path: string | URL, { isFile, size }: Deno.FileInfo): void {
  if (!isFile) throw notAllowedError("path", `${path} is not a regular file`);
  if (size > MAX_LENGTH) throw notAllowedError("path", `${path} has more than ${MAX_LENGTH} bytes`);
}

class StreamSource implements BodySource {
  readonly kind = "stream";
  readonly buffer: ReadBuffer = new ReadBuffer();
  readonly #stream: ReadableStream<Uint8Array>;
  #streamReader: ReadableStreamDefaultReader<Uint8Array> | null = null;
  #item: SourceItem | null = null;

  constructor(stream: ReadableStream<Uint8Array>) {
    if (stream.locked) {
      throw wrongArgumentError("source", "must be an unlocked stream; got a locked one");
    }
    this.#stream = stream;
  }

  async read(into: Uint8Array): Promise<number | null> {
    const item = this.#item ?? await this.#readItem();
    if (item === null) return null;
    const part = item.take(into.length);
    into.set(part);
    this.#item = item.isTaken ? null : item;
    return part.length;
  }

  async #readItem(): Promise<SourceItem | null> {
    this.#streamReader ??= this.#stream.getReader();
    for (;;) {
      let result: ReadableStreamReadResult<Uint8Array>;
      try {
        result = await this.#streamReader.read();
      } catch (error) {
        throw toSourceError(error);
      }
      const { done, value } = result;
      if (done) {
        this.#streamReader.releaseLock();
        return null;
      }
      if (!(value instanceof Uint8Array)) {
        throw new BodyError(`the stream's pieces must be Uint8Arrays; got ${typeNameOf(value)}`);
      }
      const item = new SourceItem(value);
      if (!item.isTaken) return item;
    }
  }

  async onEnd(outcome: BodyOutcome, error?: unknown): Promise<void> {
    if (outcome === "consumed") return;
    try {
      await (this.#streamReader ?? this.#stream).cancel(error);
      this.#streamReader?.releaseLock();
    } catch {
      // The stream has failed, or other code has locked it.
    }
  }
}
