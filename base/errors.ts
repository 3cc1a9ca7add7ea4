import { type Transience, TRANSIENT } from "../internal/error_details.ts";
import { isBusyStatus } from "../internal/statuses.ts";
import type { Address } from "./address.ts";
import { CONNECTION_KEY, type ConnectionErrorDetails } from "./connection_error_details.ts";

/**
 * The base class of all errors that are specific to this library. Your own class may extend this
 * class. An error with a `status` of 408, 429, 502, 503 or 504 is transient.
 *
 * @example A class of your own
 * ```ts
 * import { DeguError } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * class LampError extends DeguError {
 *   override readonly name: string = "LampError";
 *   override readonly code: "BROKEN" | "UNKNOWN";
 *
 *   constructor(code: LampError["code"], message: string, options?: ErrorOptions) {
 *     super(message, options);
 *     this.code = code;
 *   }
 * }
 *
 * const error = new LampError("BROKEN", "the lamp is broken; replace the bulb");
 * assertEquals([error instanceof DeguError, error.code], [true, "BROKEN"]);
 * ```
 */
export class DeguError extends Error {
  /** The name of the class. */
  override readonly name: string = "DeguError";
  /**
   * The reason, in capitals; `null` without a reason. Each class lists its values. They are stable,
   * unlike the message.
   */
  readonly code: string | null = null;
  readonly #problem: string | undefined;

  /**
   * Makes an error.
   *
   * @param message The problem, and advice.
   * @param options The `cause`, and the problem without advice.
   */
  constructor(message?: string, options?: ErrorOptions & { problem?: string | undefined }) {
    super(message, options);
    this.#problem = options?.problem;
  }

  /**
   * The problem, without the path at the start of the message and the advice at its end, for
   * programs that add their own advice. The text may change, like the message.
   */
  get problem(): string {
    return this.#problem ?? this.message;
  }

  /** @internal */
  get [TRANSIENT](): Transience | undefined {
    return "status" in this ? isBusyStatus(this.status) : undefined;
  }
}

/** The rules that a peer's bytes can break; `docs/base.md` explains each. */
export type ProtocolErrorCode =
  | "EMPTY_PREAMBLE"
  | "PREAMBLE_INCOMPLETE"
  | "PREAMBLE_TOO_LARGE"
  | "BAD_REQUEST_LINE"
  | "BAD_METHOD"
  | "BAD_URI"
  | "BAD_PATH"
  | "BAD_PROTOCOL"
  | "BAD_STATUS_LINE"
  | "BAD_STATUS"
  | "BAD_REASON"
  | "UNEXPECTED_STATUS"
  | "BAD_HEADER_LINE"
  | "BAD_HEADER_NAME"
  | "BAD_HEADER_VALUE"
  | "DUPLICATE_HEADER"
  | "BAD_CONTENT_LENGTH"
  | "BAD_TRANSFER_ENCODING"
  | "UNKNOWN_TRANSFER_CODING"
  | "BAD_HOST"
  | "MISDIRECTED"
  | "BAD_RANGE"
  | "BAD_CONTENT_RANGE"
  | "CONFLICTING_HEADERS"
  | "FORBIDDEN_HEADER"
  | "BAD_CHUNK_LINE"
  | "BAD_CHUNK_EXTENSION"
  | "CHUNK_LINE_TOO_LONG"
  | "CHUNK_TOO_LARGE"
  | "BAD_CHUNK_END"
  | "TRAILER_TOO_LARGE"
  | "BODY_INCOMPLETE"
  | "EXCESS_BYTES"
  | "UNFRAMED_BODY";

const INCOMPLETE_MESSAGE_CODES: ReadonlySet<ProtocolErrorCode> = new Set([
  "EMPTY_PREAMBLE",
  "PREAMBLE_INCOMPLETE",
  "BODY_INCOMPLETE",
]);

/**
 * The peer sent invalid bytes. The connection is closed.
 */
export class ProtocolError extends DeguError {
  /** The name of the class. */
  override readonly name: string = "ProtocolError";
  /** Names the broken rule, in capitals: `"BAD_HEADER_NAME"`. Stable, unlike the message. */
  override readonly code: ProtocolErrorCode;

  /**
   * Makes an error with a stable code and a message that quotes the bytes, escaped and cut.
   *
   * @param code The broken rule.
   * @param message The problem, and the requirement.
   */
  constructor(code: ProtocolErrorCode, message: string) {
    super(message);
    this.code = code;
  }

  /** @internal */
  get [CONNECTION_KEY](): ConnectionErrorDetails | undefined {
    return INCOMPLETE_MESSAGE_CODES.has(this.code) ? { fault: "broken" } : undefined;
  }
}

/** The peer closed or reset the connection before the first byte of a message. */
export class EmptyPreambleError extends ProtocolError {
  /** The name of the class. */
  override readonly name: string = "EmptyPreambleError";

  /** @internal */
  constructor(message = "the peer closed the connection before the first byte of a message") {
    super("EMPTY_PREAMBLE", message);
  }
}

/**
 * The reason why a TLS connection failed.
 *
 * - `"UNTRUSTED"`: the peer's certificate was not verified. If the TLS library reports no reason,
 *   the message lists the likely reasons.
 * - `"EXPIRED"`, `"NOT_YET_VALID"`: the certificate is not valid now, by the local clock.
 * - `"WRONG_PURPOSE"`: the keyUsage of the certificate lacks digitalSignature, or the certificate
 *   belongs to an authority. A wrong extendedKeyUsage is usually `"UNTRUSTED"`.
 * - `"WRONG_NAME"`: the certificate is not for the host.
 * - `"WEAK"`: a signature is too weak, or the key of the certificate is too weak, or of a kind or
 *   size that isn't supported. The certificate can also be the only authority of a configuration.
 * - `"NO_CERTIFICATE"`: the peer sent no certificate.
 * - `"REFUSED_BY_PEER"`: the peer sent an alert, which the message names.
 * - `"POLICY"`: client and server have no version, cipher suite or kind of key in common, or the
 *   TLS library refuses the handshake for another reason.
 * - `"NOT_TLS"`: the first bytes of the peer are not TLS.
 * - `"CLOSED"`: the peer closed or reset the connection without a reason, or bytes were corrupted
 *   in transit.
 */
export type TlsErrorCode =
  | "UNTRUSTED"
  | "EXPIRED"
  | "NOT_YET_VALID"
  | "WRONG_PURPOSE"
  | "WRONG_NAME"
  | "WEAK"
  | "NO_CERTIFICATE"
  | "REFUSED_BY_PEER"
  | "POLICY"
  | "NOT_TLS"
  | "CLOSED";

/**
 * A TLS handshake or an established TLS connection failed, or the key of a configuration can't be
 * used. `cause` is the error of the socket or of the TLS library, if there is one.
 *
 * @example
 * ```ts
 * import { SSLClient, SSLServer, TlsError } from "@degu/degu";
 * import { TempPKI } from "@degu/degu/misc";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * await using pki = await TempPKI.create();
 * await using stranger = await TempPKI.create();
 * const app = () => [204, "No Content", {}, null] as const;
 * await using server = new SSLServer(stranger.serverSslconfig, ["127.0.0.1", 0], app);
 * server.serveForever();
 * await server.ready;
 * const client = new SSLClient(pki.clientSslconfig, server.address);
 * const error = await assertRejects(() => client.connect(), TlsError);
 * assertEquals(error.code, "UNTRUSTED");
 * ```
 */
export class TlsError extends DeguError {
  /** The name of the class. */
  override readonly name: string = "TlsError";
  /** The reason, in capitals: `"UNTRUSTED"`. Stable, unlike the message. */
  override readonly code: TlsErrorCode;
  /** The address of the server whose handshake with this client failed; else `null`. */
  readonly address: Address | null;

  /** @internal */
  constructor(
    code: TlsErrorCode,
    message: string,
    options?: ErrorOptions & { readonly address?: Address | null },
  ) {
    super(message, options);
    this.code = code;
    this.address = options?.address ?? null;
  }

  /** @internal */
  get [CONNECTION_KEY](): ConnectionErrorDetails | undefined {
    return this.code === "CLOSED" ? { fault: "broken", address: this.address } : undefined;
  }
}

/**
 * A body was used in a state that does not allow the operation, is too long, or has an invalid
 * source.
 *
 * @example
 * ```ts
 * import { Body, BodyError } from "@degu/degu/base";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const body = new Body(new Blob(["hello"]).stream(), 5);
 * const error = await assertRejects(() => body.text({ maxBytes: 4 }), BodyError);
 * assertEquals(error.code, "TOO_LONG");
 * assertEquals(await body.text(), "hello");
 * ```
 */
export class BodyError extends DeguError {
  /** The name of the class. */
  override readonly name: string = "BodyError";
  /** `"TOO_LONG"` if the body has more bytes than `maxBytes`; else `null`. */
  override readonly code: "TOO_LONG" | null;

  /** @internal */
  constructor(message: string, options?: ErrorOptions & { code?: "TOO_LONG" }) {
    super(message, options);
    this.code = options?.code ?? null;
  }
}

/**
 * A connection was used after it had been closed: by the program, because the last request or
 * response had `connection: close`, or by an earlier error, which is the `cause`. Or `onConnect`
 * has refused the connection. Not transient, because the connection stays closed.
 */
export class ConnectionClosedError extends DeguError {
  /** The name of the class. */
  override readonly name: string = "ConnectionClosedError";
  /** `"REFUSED"` if `onConnect` has refused the connection; else `"CLOSED"`. */
  override readonly code: "CLOSED" | "REFUSED";

  /** @internal */
  constructor(
    message = "the connection is closed; make a new one with client.connect()",
    code: "CLOSED" | "REFUSED" = "CLOSED",
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.code = code;
  }
}
