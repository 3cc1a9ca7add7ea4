/**
 * The client of a joiner: it connects to the plain port and to the port for TLS of an inviter,
 * again if strangers crowd them, and exchanges messages.
 */

import { type Address, EmptyPreambleError, type Response, TlsError } from "../base.ts";
import {
  Client,
  type ClientSslctx,
  Connection,
  type ConnectionFault,
  describeConnectionError,
} from "../client.ts";
import { formatCheckedAddress } from "../base/address.ts";
import { pause } from "../internal/pause.ts";
import type { DeviceAuthority } from "./identity/authority.ts";
import { closeOnAbort } from "../net/client_connection.ts";
import { connectToDevice, raceAddresses } from "./device_connect.ts";
import { MAX_MESSAGE_BYTES, PAIRING_PROTOCOL } from "./pairing_messages.ts";

/**
 * Seconds for connecting, the handshake and each wait: the inviter may have to wait for its disk.
 */
const WAIT_SECONDS = 20;
/** The time limit of a request to a plain port, whose response doesn't wait for a person. */
export const PLAIN_MILLISECONDS = 5000;
/**
 * The most attempts of a handshake, or of the first request by a line, if the inviter closes the
 * connection. Strangers who crowd the port can cause that, and a later attempt may succeed.
 */
export const MAX_ATTEMPTS = 10;
/**
 * The pause before the second attempt. It doubles up to the maximum. All pauses together take at
 * most 4 s.
 */
const MIN_PAUSE_MILLISECONDS = 50;
const MAX_PAUSE_MILLISECONDS = 600;

/**
 * Connects to a plain port and sends a request. All attempts together take at most 5 s. The
 * connection stays open if the request succeeds.
 *
 * @param run Sends the request.
 * @param maxAttempts The most attempts if the port closes the connection without a response.
 */
export async function requestPlain<T>(
  address: Address,
  signal: AbortSignal,
  run: (connection: Connection) => Promise<T>,
  maxAttempts = 1,
): Promise<T> {
  const timeLimit = new AbortController();
  const limitTimer = setTimeout(() => {
    const seconds = PLAIN_MILLISECONDS / 1000;
    timeLimit.abort(
      new Deno.errors.TimedOut(`${formatCheckedAddress(address)} has not answered in ${seconds} s`),
    );
  }, PLAIN_MILLISECONDS);
  const anySignal = AbortSignal.any([signal, timeLimit.signal]);
  const client = new Client(address, { host: null, timeout: null, signal: anySignal });
  const attempt = async () => {
    const connection = await client.connect();
    try {
      return await run(connection);
    } catch (error) {
      connection.close();
      throw error;
    }
  };
  try {
    return await retryIfCut(attempt, isCutError, maxAttempts, anySignal);
  } finally {
    clearTimeout(limitTimer);
  }
}

/** Repeats an attempt that was cut, with pauses that grow. */
async function retryIfCut<T>(
  attempt: () => Promise<T>,
  isCut: (error: unknown) => boolean,
  maxAttempts: number,
  signal: AbortSignal,
): Promise<T> {
  for (let attempts = 1;; attempts++) {
    try {
      return await attempt();
    } catch (error) {
      if (!isCut(error) || attempts === maxAttempts) throw error;
    }
    const milliseconds = Math.min(
      MIN_PAUSE_MILLISECONDS * 2 ** (attempts - 1),
      MAX_PAUSE_MILLISECONDS,
    );
    // Half of the pause is random, so that clients that were cut at the same time spread out.
    await pause(milliseconds * (0.5 + Math.random() / 2), signal);
  }
}

/**
 * Connects over TLS to an inviter, at the first of these addresses at which it answers.
 *
 * @param seconds The time limit of each wait for the inviter; `null` for no limit.
 */
export async function connectToInviter(
  authority: DeviceAuthority,
  sslctx: ClientSslctx,
  addresses: readonly Address[],
  signal: AbortSignal,
  seconds: number | null = WAIT_SECONDS,
): Promise<{ readonly address: Address; readonly connection: Connection }> {
  const { address, socket } = await raceAddresses(addresses, (address, signal) => {
    const options = { timeout: WAIT_SECONDS, signal, protocol: PAIRING_PROTOCOL };
    const attempt = () => connectToDevice(authority, sslctx, address, options);
    return retryIfCut(attempt, isClosedError, MAX_ATTEMPTS, signal);
  }, signal);
  const connection = new Connection(socket, null, undefined, seconds);
  closeOnAbort(connection, signal);
  return { address, connection };
}

/**
 * Returns the errors of attempts to connect.
 *
 * @throws {Deno.errors.NotCapable} if an attempt lacked a permission, which the error names.
 */
export function attemptErrors(cause: unknown): readonly unknown[] {
  const errors: unknown[] = cause instanceof AggregateError ? cause.errors : [cause];
  const permissionError = errors.find((error) => error instanceof Deno.errors.NotCapable);
  if (permissionError !== undefined) throw permissionError;
  return errors;
}

/** The faults of an address without any response. */
const SILENT_FAULTS: ReadonlySet<ConnectionFault | undefined> = new Set([
  "unreachable",
  "timed out",
  "unknown name",
]);

/**
 * The code of attempts to connect that failed: `"UNREACHABLE"` if no address responded. A refused
 * connection may mean that the invitation has ended.
 */
export function codeOfAttempts(cause: unknown): "UNREACHABLE" | "NOT_OPEN" {
  const isSilent = (error: unknown) => SILENT_FAULTS.has(describeConnectionError(error)?.fault);
  return attemptErrors(cause).every(isSilent) ? "UNREACHABLE" : "NOT_OPEN";
}

/** Whether the connection was closed during the handshake, by the inviter or on the way. */
export function isClosedError(error: unknown): boolean {
  return error instanceof TlsError && error.code === "CLOSED";
}

/** Whether the port has closed a plain connection without a response. */
export function isCutError(error: unknown): boolean {
  return error instanceof EmptyPreambleError || describeConnectionError(error)?.fault === "reset";
}

/** Sends a request and reads the whole response. */
export async function sendMessage(
  connection: Connection,
  uri: string,
  message: Uint8Array,
): Promise<{ readonly status: number; readonly bytes: Uint8Array }> {
  const response = await connection.post(uri, {}, message);
  return { status: response.status, bytes: await readBody(response) };
}

/** Reads the whole body of a response. */
export async function readBody({ headers, body }: Response): Promise<Uint8Array> {
  if (body === null) return new Uint8Array();
  const length = headers["content-length"];
  if (typeof length === "number" && length <= MAX_MESSAGE_BYTES) return await body.bytes();
  throw new RangeError(`its answer must have a length of at most ${MAX_MESSAGE_BYTES} bytes`);
}
