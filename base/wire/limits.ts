/**
 * Bytes of a preamble with its final CR LF CR LF, and of a trailer: bounds the unparsed bytes of a
 * peer in memory.
 */
export const MAX_PREAMBLE_BYTES = 32768;

/**
 * Header lines of a message, and lines of a trailer: a line costs more than its bytes, and a
 * `Headers` of Deno takes quadratic time.
 */
export const MAX_HEADER_LINES = 128;

/** Bytes of a header's name: bounds the memory of the cache of names. */
export const MAX_HEADER_NAME_BYTES = 256;

/** Bytes of a chunk header with its CR LF: prevents endless chunk extensions. */
export const MAX_CHUNK_HEADER_BYTES = 4096;

/** Bytes of data in one chunk to send, and in the result of `readChunk()`. */
export const MAX_CHUNK_BYTES = 16777216;

/** Bytes that a read without a size collects, and the largest `Uint8Array` body. */
export const MAX_READ_BYTES = 16777216;

export const MAX_LENGTH = Number.MAX_SAFE_INTEGER;

/** Bytes allocated for an announced size before any byte has arrived. */
export const MAX_INITIAL_ALLOCATION = 65536;
