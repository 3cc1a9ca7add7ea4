/**
 * The connections of a device that joins.
 *
 * @module
 */

import type { Socket } from "../base/app/app.ts";
import { TlsError } from "../base/errors.ts";
import type { Address } from "../base/address_rules.ts";
import { Client, type Connection, type RequestOptions } from "../client.ts";
import { JoinedSignal } from "../net/connect.ts";
import { connectTls } from "../net/tls/client_handshake.ts";
import { buildClientSslctx, type ClientSslctx } from "../net/tls/context.ts";
import { hasSigned } from "./authority.ts";
import { MAX_MESSAGE_BYTES, PAIRING_PROTOCOL } from "./pairing_messages.ts";

/** Seconds for connecting, the handshake and each wait: the other side may have to wait for its disk. */
const WAIT_SECONDS = 20;

/** A client of an invitation's port. */
export class PairingClient extends Client {
  readonly #authority: string;
  readonly #sslctx: ClientSslctx;

  /**
   * Creates a client for an address.
   *
   * @param authority The authority in the line, as PEM text; no other is trusted.
   * @param identity The certificate and key to present, as PEM text, or `null` for none.
   * @param signal Closes its connections.
   */
  constructor(
    address: Address,
    authority: string,
    identity: { readonly cert: string; readonly key: string } | null,
    signal: AbortSignal,
  ) {
    super(address, { host: null, timeout: WAIT_SECONDS, signal });
    this.#authority = authority;
    this.#sslctx = buildClientSslctx({ ca: authority, checkHostname: false, ...identity });
  }

  /** Connects to the device that made the line, and to no other. */
  override async createSocket(options?: RequestOptions): Promise<Socket> {
    using joined = new JoinedSignal(this.options.signal, options?.signal);
    const bounds = { timeout: this.timeout, signal: joined.signal };
    const socket = await connectTls(this.address, this.#sslctx, null, bounds, PAIRING_PROTOCOL);
    if (hasSigned(this.#authority, socket.peerCertificate!.raw)) return socket;
    socket.close();
    throw new TlsError(
      "UNTRUSTED",
      "the authority of the line has not signed the certificate itself",
    );
  }
}

/** A response. */
export interface Answered {
  readonly status: number;
  readonly bytes: Uint8Array;
}

/**
 * Sends a request and reads the whole response.
 *
 * @throws {RangeError} if the response is too long.
 */
export async function ask(
  connection: Connection,
  uri: string,
  message: Uint8Array,
): Promise<Answered> {
  const { status, headers, body } = await connection.post(uri, {}, message);
  if (body === null) return { status, bytes: new Uint8Array(0) };
  const length = headers["content-length"];
  if (typeof length === "number" && length <= MAX_MESSAGE_BYTES) {
    return { status, bytes: await body.bytes() };
  }
  throw new RangeError(`its answer must have a length of at most ${MAX_MESSAGE_BYTES} bytes`);
}
