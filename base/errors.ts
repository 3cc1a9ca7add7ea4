import { checkObject } from "../internal/checks.ts";
import { hideNullFields } from "../internal/error_details.ts";
import { isBusyStatus } from "../internal/statuses.ts";
import type { Address } from "./address.ts";

/**
 * The base class of all errors that are specific to this library. Your own class may extend this
 * class. An error with a `status` of 408, 429, 502, 503 or 504 is transient, or one with the option
 * `isTransient`.
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
  readonly #isTransient: boolean | undefined;

  /**
   * Makes an error.
   *
   * @param message The problem, and advice.
   * @param options The `cause`, the problem without advice, and whether the error is transient.
   */
  constructor(
    message?: string,
    options?: ErrorOptions & {
      problem?: string | undefined;
      isTransient?: boolean | undefined;
    },
  ) {
    super(message, options);
    this.#problem = options?.problem;
    this.#isTransient = options?.isTransient;
  }

  /**
   * The problem, without the path at the start of the message and the advice at its end, for
   * programs that add their own advice. The text may change, like the message.
   */
  get problem(): string {
    return this.#problem ?? this.message;
  }

  /** Whether the same call may succeed a moment later. False if {@linkcode maybeProcessed}. */
  get isTransient(): boolean {
    if (this.maybeProcessed) return false;
    return this.#isTransient ?? ("status" in this && isBusyStatus(this.status));
  }

  /**
   * Whether the server may have processed the request, although it sent no response: the peer has
   * closed the connection after a `PUT`, `POST`, `PATCH` or `DELETE` was sent, at least in part.
   */
  get maybeProcessed(): boolean {
    return false;
  }
}

/** The rules that a peer's bytes can break; `docs/base.md` explains each. */
export type ProtocolErrorCode =
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
  | "EXCESS_BYTES"
  | "UNFRAMED_BODY";

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
   * @param options Whether the error is transient.
   */
  constructor(
    code: ProtocolErrorCode,
    message: string,
    options?: { readonly isTransient?: boolean | undefined },
  ) {
    super(message, options);
    this.code = code;
  }
}

/** The fields of a {@linkcode ConnectionError}; all but `fault` have a default. */
type ConnectionErrorFields =
  & Partial<Omit<ConnectionError, "name" | "message" | "stack" | "problem" | "maybeProcessed">>
  & Pick<ConnectionError, "fault">;

/**
 * A connection could not be made, or ended too early: what happened, and where. `cause` is the
 * error of Deno, if there is one. Transient, unless a subclass or a field says otherwise.
 *
 * An error of a disk, or of a socket that your program uses itself, keeps its class of Deno. So
 * does the reason of your own signal, and an error of connecting that another call can't fix, such
 * as a missing permission, or the path of a socket that doesn't exist.
 *
 * @example
 * ```ts
 * import { Client, ConnectionError } from "@degu/degu";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const client = new Client(["127.0.0.1", 1]); // no server listens at this port
 * const error = await assertRejects(() => client.request("GET", "/"), ConnectionError);
 * const { fault, address, isConnecting, isTransient } = error;
 * assertEquals([fault, address, isConnecting], ["refused", ["127.0.0.1", 1], true]);
 * assertEquals(isTransient, true);
 * ```
 */
export class ConnectionError extends DeguError {
  /** The name of the class. */
  override readonly name: string = "ConnectionError";
  /**
   * `"PREAMBLE_INCOMPLETE"` or `"BODY_INCOMPLETE"` if the peer closed the connection within a
   * message; else the code of the system, such as `"ECONNREFUSED"`, or `null`. Each subclass lists
   * its values.
   */
  override readonly code: string | null;
  /**
   * The kind of the fault:
   *
   * - `"refused"`: no program listens at the address.
   * - `"reset"`: the peer, or a firewall, reset the connection.
   * - `"broken"`: the connection ended before a whole message, or a handshake, had arrived.
   * - `"unreachable"`: the host can't be reached, or the address is not of this network.
   * - `"timed out"`: the peer did not respond within the time-out of the program or of the system.
   * - `"unknown name"`: the name can't be resolved.
   * - `"unknown interface"`: this machine doesn't have the interface of a link-local address.
   * - `"tls"`: a {@linkcode TlsError}, whose `code` is the reason, but `"CLOSED"` is `"broken"`.
   * - `"closed"`: this program closed the connection: a {@linkcode ConnectionClosedError}.
   */
  readonly fault:
    | "refused"
    | "reset"
    | "broken"
    | "unreachable"
    | "timed out"
    | "unknown name"
    | "unknown interface"
    | "tls"
    | "closed";
  /** The address, if the connection or its handshake failed; else `null`. */
  readonly address: Address | null;
  /** Whether the connection failed before the address had responded. */
  readonly isConnecting: boolean;
  /** The time-out in seconds, if a wait for the peer took longer; else `null`. */
  readonly silentSeconds: number | null;
  /** The seconds for which the peer read too little of the sent bytes; else `null`. */
  readonly unreadSeconds: number | null;
  /** The number of bytes of a body that are missing, if a body was cut off; else `null`. */
  readonly missingBytes: number | null;
  /**
   * Whether a server has refused this client over TLS, most likely because it doesn't trust the
   * client's certificate, or requires one. A server refuses a client by an alert, which is a
   * `TlsError` `"REFUSED_BY_PEER"`, or closes the connection within 1.5 s, without a response to
   * the first request: an {@linkcode EmptyPreambleError}. A server that is just stopping closes the
   * connection in the same way, so try again once before you tell a person.
   *
   * A `TlsError` `"CLOSED"` isn't a refusal: with TLS 1.2, some servers refuse a client like this,
   * but a network also breaks a handshake like this.
   */
  readonly isRefusal: boolean;

  /**
   * Makes an error, for example for a test.
   *
   * @param message The problem, and advice.
   * @param fields The fault, and other fields.
   * @throws {TypeError} without fields.
   */
  constructor(message: string, fields: ConnectionErrorFields) {
    checkObject("fields", fields);
    super(message, { ...fields, isTransient: fields.isTransient ?? true });
    this.code = fields.code ?? null;
    this.fault = fields.fault;
    this.address = fields.address ?? null;
    this.isConnecting = fields.isConnecting ?? false;
    this.silentSeconds = fields.silentSeconds ?? null;
    this.unreadSeconds = fields.unreadSeconds ?? null;
    this.missingBytes = fields.missingBytes ?? null;
    this.isRefusal = fields.isRefusal ?? false;
    hideNullFields(this);
  }
}

/** The peer closed or reset the connection before the first byte of a message. */
export class EmptyPreambleError extends ConnectionError {
  /** The name of the class. */
  override readonly name: string = "EmptyPreambleError";
  /** The only code of this class. */
  override readonly code: "EMPTY_PREAMBLE" = "EMPTY_PREAMBLE";
  /** @internal */
  constructor(
    message = "the peer closed the connection before the first byte of a message",
    fields: Partial<ConnectionErrorFields> = {},
  ) {
    super(message, { fault: "broken", ...fields });
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
 * used. `cause` is the error of the socket or of the TLS library, if there is one. Only `"CLOSED"`
 * is transient; its fault is `"broken"`.
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
 * await using server = await SSLServer.start(stranger.serverSslconfig, ["127.0.0.1", 0], app);
 * const client = new SSLClient(pki.clientSslconfig, server.address);
 * const error = await assertRejects(() => client.connect(), TlsError);
 * assertEquals(error.code, "UNTRUSTED");
 * ```
 */
export class TlsError extends ConnectionError {
  /** The name of the class. */
  override readonly name: string = "TlsError";
  /** The reason, in capitals: `"UNTRUSTED"`. Stable, unlike the message. */
  override readonly code: TlsErrorCode;

  /** @internal */
  constructor(
    code: TlsErrorCode,
    message: string,
    options?: ErrorOptions & { readonly address?: Address | null },
  ) {
    const isClosed = code === "CLOSED";
    super(message, {
      ...options,
      fault: isClosed ? "broken" : "tls",
      isRefusal: code === "REFUSED_BY_PEER",
      isTransient: isClosed,
    });
    this.code = code;
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
 * has refused the connection. Not transient, because the connection stays closed. The fault is that
 * of the earlier error; `"broken"` if the server's last response had `connection: close`.
 */
export class ConnectionClosedError extends ConnectionError {
  /** The name of the class. */
  override readonly name: string = "ConnectionClosedError";
  /** `"REFUSED"` if `onConnect` has refused the connection; else `"CLOSED"`. */
  override readonly code: "CLOSED" | "REFUSED";

  /** @internal */
  constructor(
    message = "the connection is closed; make a new one with client.connect()",
    code: "CLOSED" | "REFUSED" = "CLOSED",
    fields?: Partial<ConnectionErrorFields>,
  ) {
    super(message, { fault: "closed", ...fields, isTransient: false });
    this.code = code;
  }
}
