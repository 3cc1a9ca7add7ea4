/**
 * The errors of this library. A wrong type of argument is a `TypeError` and a right type with a
 * value that is not allowed a `RangeError`; what stands here is everything else.
 *
 * @module
 */

/** The base class of every error that is peculiar to this library. */
export class DeguError extends Error {
  /** The name of the class. */
  override readonly name: string = "DeguError";
}

/**
 * Bytes from the peer broke the grammar. The connection they came from is closed.
 *
 * @example
 * ```ts
 * import { ProtocolError } from "@degu/degu/base";
 * import { parseUri } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * try {
 *   parseUri("/a//b");
 * } catch (error) {
 *   if (error instanceof ProtocolError) assertEquals(error.code, "BAD_PATH");
 * }
 * ```
 */
export class ProtocolError extends DeguError {
  /** The name of the class. */
  override readonly name: string = "ProtocolError";
  /** Names the rule that was broken, in capitals: `"BAD_HEADER_NAME"`. Stable, unlike the message. */
  readonly code: string;

  /** Makes an error with a stable code and a message that quotes the bytes, escaped and cut. */
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** The peer closed, or reset, the connection before the first byte of a message. */
export class EmptyPreambleError extends ProtocolError {
  /** The name of the class. */
  override readonly name: string = "EmptyPreambleError";

  /** Makes an error with the code `"EMPTY_PREAMBLE"`. */
  constructor(message = "the peer closed the connection before the first byte of a message") {
    super("EMPTY_PREAMBLE", message);
  }
}

/** A body was used in a state that does not allow it, or its source broke its promise. */
export class BodyError extends DeguError {
  /** The name of the class. */
  override readonly name: string = "BodyError";
}

/** A connection was used after it had been closed. */
export class ConnectionClosedError extends DeguError {
  /** The name of the class. */
  override readonly name: string = "ConnectionClosedError";

  /** Makes an error that says that the connection is closed, and why where that is known. */
  constructor(message = "the connection is closed; make a new one with client.connect()") {
    super(message);
  }
}

const QUOTED_LENGTH = 64;
const SEARCHED_LENGTH = 4096;

/** Credentials in a header line, a password in a URL, a key in PEM. */
const SECRET_TEXT = /(authorization|cookie)[^a-z-]|:\/\/[^/]*@|-----BEGIN/i;

/**
 * Quotes text or bytes of a peer for an error message: printable ASCII, the rest escaped, cut. What
 * looks like a secret is not shown: messages end in logs.
 */
export function quote(value: string | Uint8Array): string {
  if (
    SECRET_TEXT.test(
      typeof value === "string"
        ? value
        : String.fromCharCode(...value.subarray(0, SEARCHED_LENGTH)),
    )
  ) {
    return `text that is not shown, ${value.length} in all`;
  }
  const cut = value.length > QUOTED_LENGTH;
  let quoted = '"';
  for (let i = 0; i < Math.min(value.length, QUOTED_LENGTH); i++) {
    const code = typeof value === "string" ? value.charCodeAt(i) : value[i]!;
    quoted += quoteCode(code);
  }
  return cut ? `${quoted}"… (${value.length} in all)` : `${quoted}"`;
}

function quoteCode(code: number): string {
  if (code === 0x0d) return "\\r";
  if (code === 0x0a) return "\\n";
  if (code === 0x22 || code === 0x5c) return "\\" + String.fromCharCode(code);
  if (code >= 0x20 && code < 0x7f) return String.fromCharCode(code);
  const digits = code.toString(16);
  return code > 0xff ? `\\u${digits.padStart(4, "0")}` : `\\x${digits.padStart(2, "0")}`;
}

/** Names the type of a value for an error message: `"null"`, `"string"`, `"Headers"`. */
export function typeName(value: unknown): string {
  if (value === null) return "null";
  if (typeof value !== "object") return typeof value;
  const name = (value as { constructor?: { name?: unknown } }).constructor?.name;
  return typeof name === "string" && name !== "" ? name : "object";
}
