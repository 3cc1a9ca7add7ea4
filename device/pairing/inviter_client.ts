import { type Address, EmptyPreambleError, type Response, TlsError } from "../../base.ts";
import { Client, type ClientSslctx, type Connection, ConnectionError } from "../../client.ts";
import { formatCheckedAddress } from "../../base/address.ts";
import { pause } from "../../internal/pause.ts";
import { isResetError } from "../../net/transport/connection_errors.ts";
import type { DeviceAuthority } from "../identity/authority.ts";
import { connectToDevice, raceAddresses } from "../peers/device_connect.ts";
import { MAX_MESSAGE_BYTES, PAIRING_PROTOCOL } from "./pairing_messages.ts";

/**
 * Seconds for connecting, for the handshake, and for each response, which may wait for the
 * inviter's disk.
 */
const TLS_WAIT_SECONDS = 20;
/** The time limit of a request to a plain port, whose response doesn't depend on a person. */
export const PLAIN_REQUEST_MILLISECONDS = 5000;
/**
 * The maximum number of attempts of a handshake, or of the first request by a line, if the inviter
 * closes the connection. Strangers who overload the port can cause the close, and a later attempt
 * may succeed.
 */
export const MAX_ATTEMPTS = 10;
/**
 * The pause before the second attempt. Each further pause is twice as long, up to the maximum. All
 * pauses together take at most 4 s.
 */
const MIN_PAUSE_MILLISECONDS = 50;
const MAX_PAUSE_MILLISECONDS = 600;

/** All attempts together take at most 5 s. The connection stays open if the request succeeds. */
export async function requestPlain<T>(
  address: Address,
  signal: AbortSignal,
  sendRequest: (connection: Connection) => Promise<T>,
  maxAttempts = 1,
): Promise<T> {
  const timeoutController = new AbortController();
  let isConnecting = true;
  const timeoutTimer = setTimeout(() => {
    const seconds = PLAIN_REQUEST_MILLISECONDS / 1000;
    const problem = `${formatCheckedAddress(address)} has not answered in ${seconds} s`;
    const fields = { fault: "timed out", address, isConnecting } as const;
    timeoutController.abort(new ConnectionError(problem, fields));
  }, PLAIN_REQUEST_MILLISECONDS);
  const combinedSignal = AbortSignal.any([signal, timeoutController.signal]);
  const client = new Client(address, { host: null, timeout: null, signal: combinedSignal });
  const attempt = async () => {
    isConnecting = true;
    const connection = await client.connect();
    isConnecting = false;
    try {
      return await sendRequest(connection);
    } catch (error) {
      connection.close();
      throw error;
    }
  };
  try {
    return await retryIfClosed(attempt, isPlainClosedError, maxAttempts, combinedSignal);
  } finally {
    clearTimeout(timeoutTimer);
  }
}

async function retryIfClosed<T>(
  attempt: () => Promise<T>,
  isClosed: (error: unknown) => boolean,
  maxAttempts: number,
  signal: AbortSignal,
): Promise<T> {
  for (let attemptCount = 1;; attemptCount++) {
    try {
      return await attempt();
    } catch (error) {
      if (!isClosed(error) || attemptCount === maxAttempts) throw error;
    }
    const milliseconds = Math.min(
      MIN_PAUSE_MILLISECONDS * 2 ** (attemptCount - 1),
      MAX_PAUSE_MILLISECONDS,
    );
    // Half of the pause is random, so that clients that were closed at the same time don't return
    // at the same time.
    await pause(milliseconds * (0.5 + Math.random() / 2), signal);
  }
}

/** @param seconds The time limit of each wait for the inviter; `null` for no limit. */
export async function connectToInviter(
  authority: DeviceAuthority,
  sslctx: ClientSslctx,
  addresses: readonly Address[],
  signal: AbortSignal,
  seconds: number | null = TLS_WAIT_SECONDS,
): Promise<{ readonly address: Address; readonly connection: Connection }> {
  const { address, socket } = await raceAddresses(addresses, (address, signal) => {
    const options = { timeout: TLS_WAIT_SECONDS, signal, protocol: PAIRING_PROTOCOL };
    const attempt = () => connectToDevice(authority, sslctx, address, options);
    return retryIfClosed(attempt, isTlsClosedError, MAX_ATTEMPTS, signal);
  }, signal);
  const dial = () => Promise.resolve(socket);
  const client = new Client(address, { host: null, timeout: seconds, signal, dial });
  return { address, connection: await client.connect() };
}

/** @throws {Deno.errors.NotCapable} if an attempt lacked a permission. */
export function listAttemptErrors(cause: unknown): readonly unknown[] {
  const errors: unknown[] = cause instanceof AggregateError ? cause.errors : [cause];
  const permissionError = errors.find((error) => error instanceof Deno.errors.NotCapable);
  if (permissionError !== undefined) throw permissionError;
  return errors;
}

const SILENT_FAULTS: ReadonlySet<ConnectionError["fault"]> = new Set([
  "unreachable",
  "timed out",
  "unknown name",
  "unknown interface",
]);

/**
 * Finds the error code of attempts to connect: `"UNREACHABLE"` if no address responded. Otherwise
 * the code is `"NOT_OPEN"`, because a refused connection may mean that the invitation has ended.
 */
export function findAttemptsCode(cause: unknown): "UNREACHABLE" | "NOT_OPEN" {
  const isSilent = (error: unknown) =>
    error instanceof ConnectionError && SILENT_FAULTS.has(error.fault);
  return listAttemptErrors(cause).every(isSilent) ? "UNREACHABLE" : "NOT_OPEN";
}

export function isTlsClosedError(error: unknown): boolean {
  return error instanceof TlsError && error.code === "CLOSED";
}

export function isPlainClosedError(error: unknown): boolean {
  return error instanceof EmptyPreambleError || isResetError(error);
}

export async function sendMessage(
  connection: Connection,
  uri: string,
  message: Uint8Array,
): Promise<{ readonly status: number; readonly bytes: Uint8Array }> {
  const response = await connection.post(uri, {}, message);
  return { status: response.status, bytes: await readBody(response) };
}

export async function readBody({ headers, body }: Response): Promise<Uint8Array> {
  if (body === null) return new Uint8Array();
  const length = headers["content-length"];
  if (typeof length === "number" && length <= MAX_MESSAGE_BYTES) return await body.bytes();
  throw new RangeError(`its response must have a length of at most ${MAX_MESSAGE_BYTES} bytes`);
}
