/**
 * Mutants that no test can detect, each with the reason.
 *
 * @module
 */

import type { Mutant } from "./mutants.ts";

interface Equivalent {
  readonly path: string;
  /** The line, without the white space around it. */
  readonly code: string;
  /** The code that is replaced, and what replaces it. */
  readonly before: string;
  readonly after: string;
  /** Why the behavior doesn't change. */
  readonly reason: string;
}

const EQUIVALENTS: readonly Equivalent[] = [
  {
    path: "base/body/body_iter.ts",
    code: "const STAGED_BYTES = 131072;",
    before: "131072",
    after: "131073",
    reason: "it is the size of a buffer",
  },
  {
    path: "base/body/byte_io.ts",
    code: "if (this.end === this.bytes.length || this.#capacity > this.#usual) {",
    before: "this.end === this.bytes.length || this.#capacity > this.#usual",
    after: "true",
    reason: "it costs memory and nothing else",
  },
  {
    path: "base/body/byte_io.ts",
    code: "this.start = this.end = 0;",
    before: "0",
    after: "1",
    reason: "start and end stay equal, so nothing is buffered",
  },
  {
    path: "base/errors.ts",
    code: "const SEARCHED_LENGTH = 4096;",
    before: "4096",
    after: "4097",
    reason: "it limits the effort for a long text, of which only the beginning is shown",
  },
  {
    path: "base/wire/chunk.ts",
    code: "return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;",
    before: "1",
    after: "2",
    reason: "every negative number is refused",
  },
  {
    path: "base/wire/headers.ts",
    code: "if (count < PLAN_SLOTS) plans[slot] = { names, lines };",
    before: "count < PLAN_SLOTS",
    after: "true",
    reason: "it keeps a cache from being replaced too often",
  },
  {
    path: "base/wire/headers.ts",
    code: "bytes: new Uint8Array(MAX_HEADER_NAME_BYTES + 3),",
    before: "3",
    after: "4",
    reason: "an entry of a cache that must match nothing is longer than any name",
  },
  {
    path: "base/wire/headers.ts",
    code: "const slot = (bytes[start]! * 7 + bytes[i - 1]! * 31 + bytes[(start + i) >> 1]! * 3 +",
    before: "-",
    after: "+",
    reason: "it is a hash for a cache",
  },
  {
    path: "base/wire/headers.ts",
    code:
      "if (known.bytes.length === length + 2 && startsWith(bytes, start, known.bytes)) return known;",
    before: "+",
    after: "-",
    reason: "it is a cache: a name that is not found is parsed",
  },
  {
    path: "base/wire/range.ts",
    code: "if (digits === 0 || digits > 16) return -1;",
    before: "16",
    after: "17",
    reason: "a number of 17 digits is above the limit that is checked below",
  },
  {
    path: "base/wire/range.ts",
    code: "if (dash < 0 || slash < dash || first < 0 || last < first || last >= total) {",
    before: "<",
    after: "<=",
    reason: "a slash and a dash are never at the same position",
  },
  {
    path: "base/wire/uri.ts",
    code: "if (mark < 0) return { path, query: null };",
    before: "<",
    after: "<=",
    reason: "a URI begins with a slash, so the question mark is never first",
  },
  {
    path: "net/addresses.ts",
    code: 'path: new TextDecoder("utf-8", { ignoreBOM: true }).decode(address),',
    before: "true",
    after: "false",
    reason: "the name begins with NUL, so a byte order mark is never first",
  },
  {
    path: "net/connect.ts",
    code: 'return endpoint.transport === "tcp"',
    before: 'endpoint.transport === "tcp"',
    after: "false",
    reason: "the wait ends either way; the signal frees the socket a little sooner",
  },
  {
    path: "net/deadline.ts",
    code: "const interval = Math.min(timeout * 1000 / TICKS, MAX_INTERVAL);",
    before: "1000",
    after: "1001",
    reason: "a thousandth is within what is promised",
  },
  {
    path: "net/preamble_reader.ts",
    code: "const size = end < 0 ? reader.buffered + 1 : end - reader.start;",
    before: "<",
    after: "<=",
    reason: "the end of a preamble is never at position 0",
  },
  {
    path: "net/preamble_reader.ts",
    code:
      "if (this.#searched === 0 && reader.buffered > 0 && (end < 0 || size > MAX_PREAMBLE_BYTES)) {",
    before: "<",
    after: "<=",
    reason: "the end of a preamble is never at position 0",
  },
  {
    path: "net/server_connection.ts",
    code:
      "while ((end = preambles.find()) < 0) preambles.endReceive(await preambles.beginReceive());",
    before: "<",
    after: "<=",
    reason: "the end of a preamble is never at position 0",
  },
  {
    path: "net/tls/authority.ts",
    code: "key256 === signer ||",
    before: "||",
    after: "&&",
    reason: "it decides only which key is tried first",
  },
  {
    path: "net/tls/authority.ts",
    code: "if (verdicts === undefined) this.#verdicts.set(child, verdicts = new Map());",
    before: "verdicts === undefined",
    after: "true",
    reason: "it is a cache of verified signatures",
  },
  {
    path: "net/tls/deno_stream.ts",
    code: "if (room.length < MIN_ROOM) room = new Uint8Array(BUFFER_BYTES);",
    before: "room.length < MIN_ROOM",
    after: "true",
    reason: "it costs memory and nothing else",
  },
  {
    path: "net/tls/der.ts",
    code: "const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1)",
    before: "0",
    after: "1",
    reason: "the pattern matches all six parts or nothing",
  },
  {
    path: "net/tls/files.ts",
    code: "if (authorities.has(fingerprint)) continue;",
    before: "authorities.has(fingerprint)",
    after: "false",
    reason: "the same certificate replaces itself",
  },
  {
    path: "net/tls/names.ts",
    code: 'return parent.includes(".") && dot > 0 && name.slice(dot + 1) === parent;',
    before: ">",
    after: ">=",
    reason: "a canonical name does not begin with a dot",
  },
  {
    path: "net/tls/socket.ts",
    code: "if (inOrder) this.#socket.end();",
    before: "this.#socket.end();",
    after: ";",
    reason: "close_notify is a courtesy: Degu ignores it, and so may its peers",
  },
  {
    path: "net/tls/socket.ts",
    code: "} else if (this.#buffered > MAX_BYTES) {",
    before: ">",
    after: ">=",
    reason: "it is a bound of memory, one byte more or less",
  },
];

/** Why a mutant changes nothing, or `undefined` if a test should detect it. */
export function reasonFor(mutant: Mutant): string | undefined {
  return EQUIVALENTS.find((entry) =>
    entry.path === mutant.path && entry.code === mutant.code &&
    entry.before === mutant.before && entry.after === mutant.after
  )?.reason;
}
