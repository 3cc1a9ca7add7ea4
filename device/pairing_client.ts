/**
 * The connections of a device that joins.
 *
 * @module
 */

import { TlsError } from "../base/errors.ts";
import type { Address } from "../base/address_rules.ts";
import { Client, type Connection, type Connector } from "../client.ts";
import type { ConnectBounds } from "../net/connect.ts";
import { pause } from "../base/pause.ts";
import { connectTls } from "../net/tls/client_handshake.ts";
import { buildClientSslctx, type ClientSslctx } from "../net/tls/context.ts";
import type { TlsSocket } from "../net/tls/socket.ts";
import { hasSigned } from "./authority.ts";
import { MAX_MESSAGE_BYTES, PAIRING_PROTOCOL } from "./pairing_messages.ts";

/** Seconds for connecting, the handshake and each wait: the other side may have to wait for its disk. */
const WAIT_SECONDS = 20;
/**
 * How often a handshake that the other side cuts is tried: strangers who crowd the port can have it cut,
 * and then the next one has a good chance.
 */
const MAX_TRIES = 10;
/** The wait before the second try; it doubles, up to the longest. All waits together take 4 s at most. */
const FIRST_PAUSE_MILLISECONDS = 50;
const LONGEST_PAUSE_MILLISECONDS = 600;

/**
 * Makes a client of an invitation's port.
 *
 * @param authority The authority in the line, as PEM text; no other is trusted.
 * @param identity The certificate and key to present, as PEM text, or `null` for none.
 * @param signal Closes its connections.
 */
export function makePairingClient(
  address: Address,
  authority: string,
  identity: { readonly cert: string; readonly key: string } | null,
  signal: AbortSignal,
): Client {
  const sslctx = buildClientSslctx({ ca: authority, checkHostname: false, ...identity });
  const connect: Connector["connect"] = async (address, bounds) => {
    const socket = await connectWithTries(address, sslctx, bounds);
    if (hasSigned(authority, socket.peerCertificate!.raw)) return socket;
    socket.close();
    throw new TlsError(
      "UNTRUSTED",
      "the authority of the line has not signed the certificate directly",
    );
  };
  const options = { host: null, timeout: WAIT_SECONDS, signal };
  return new Client(address, options, { defaultPort: 443, moreOptions: [], connect });
}

/** Connects, and does the handshake; a new one if it is cut. */
async function connectWithTries(
  address: Address,
  sslctx: ClientSslctx,
  bounds: ConnectBounds,
): Promise<TlsSocket> {
  for (let tries = 1;; tries++) {
    try {
      return await connectTls(address, sslctx, null, bounds, PAIRING_PROTOCOL);
    } catch (error) {
      if (!isCut(error) || tries === MAX_TRIES) throw error;
    }
    await pauseBeforeTry(tries, bounds.signal);
  }
}

/** Waits before the next try, half of it random, so that clients that were cut at the same time spread out. */
async function pauseBeforeTry(tries: number, signal: AbortSignal | undefined): Promise<void> {
  const most = Math.min(FIRST_PAUSE_MILLISECONDS * 2 ** (tries - 1), LONGEST_PAUSE_MILLISECONDS);
  await pause(most * (0.5 + Math.random() / 2), signal);
  signal?.throwIfAborted();
}

/** True if the other side, or somebody in between, has closed the connection during its handshake. */
export function isCut(error: unknown): boolean {
  return error instanceof TlsError && error.code === "CLOSED";
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
