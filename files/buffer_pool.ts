/**
 * A pool of buffers for the bytes of files: allocating a buffer can take as long as hashing its
 * bytes.
 *
 * Only bytes that are hashed or written to a file are read into these buffers. A body never gets
 * them, because an app or a socket may still have a view of the buffer after an error.
 */

export const POOLED_BYTES = 524288;
/** The size below which making a buffer takes less time than reading and hashing its bytes. */
const MIN_POOLED_BYTES = 65536;
/** The maximum number of unused buffers, so that a server keeps at most 4 MiB. */
const MAX_UNUSED_BUFFERS = 8;

const unusedBuffers: ArrayBufferLike[] = [];

/** @param size The minimum length, at most {@linkcode POOLED_BYTES}. The content is arbitrary. */
export function takeBuffer(size: number): Uint8Array {
  if (size < MIN_POOLED_BYTES) return new Uint8Array(size);
  return new Uint8Array(unusedBuffers.pop() ?? new ArrayBuffer(POOLED_BYTES));
}

/** The caller must not use any view of the buffer again. */
export function releaseBuffer({ buffer }: Uint8Array): void {
  if (buffer.byteLength === POOLED_BYTES && unusedBuffers.length < MAX_UNUSED_BUFFERS) {
    unusedBuffers.push(buffer);
  }
}
