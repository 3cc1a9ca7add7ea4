/**
 * How a device that joins reaches the one that invites: its plain port and its port of TLS, with
 * more attempts where strangers may crowd them, and what each exchanges.
 */

import { type Address, EmptyPreambleError, type Response, TlsError } from "../base.ts";
import {
  Client,
  type ClientSslctx,
  Connection,
  type ConnectionFault,
  describeConnectionError,
} from "../client.ts";
import { addressText } from "../base/address.ts";
import { pause } from "../internal/pause.ts";
import type { DeviceAuthority } from "./identity/authority.ts";
import { closeOnAbort } from "../net/client_connection.ts";
import { connectToDevice, raceAddresses } from "./device_connect.ts";
import { MAX_MESSAGE_BYTES, PAIRING_PROTOCOL } from "./pairing_messages.ts";

/**
 * Seconds for connecting, the handshake and each wait: the other side may have to wait for its
 * disk.
 */
const WAIT_SECONDS = 20;
/** The most time until a plain port has answered; nobody has to do anything until then. */
export const PLAIN_MILLISECONDS = 5000;
/**
 * How often a handshake, or the first request of a line, is attempted that the other side cuts:
 * strangers who crowd the port can have it cut, and then the next attempt has a good chance.
 */
export const MAX_ATTEMPTS = 10;
/**
 * The wait before the second attempt; it doubles, up to the longest. All waits together take 4 s at
 * most.
 */
const FIRST_PAUSE_MILLISECONDS = 50;
const LONGEST_PAUSE_MILLISECONDS = 600;

/**
 * Connects to a plain port and asks it: all attempts together take 5 s at most. The connection
 * stays open unless that fails.
 *
 * @param most How often it is asked if the other side cuts the connection before it answers.
 */
export async function askPlain<T>(
  address: Address,
  signal: AbortSignal,
  run: (connection: Connection) => Promise<T>,
  most = 1,
): Promise<T> {
  const late = new AbortController();
  const timer = setTimeout(() => {
    const seconds = PLAIN_MILLISECONDS / 1000;
    late.abort(
      new Deno.errors.TimedOut(`${addressText(address)} has not answered in ${seconds} s`),
    );
  }, PLAIN_MILLISECONDS);
  const joined = AbortSignal.any([signal, late.signal]);
  const client = new Client(address, { host: null, timeout: null, signal: joined });
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
    return await attemptAgain(attempt, wasCut, most, joined);
  } finally {
    clearTimeout(timer);
  }
}

/** Makes an attempt again if it was cut, with a pause that grows in between. */
async function attemptAgain<T>(
  attempt: () => Promise<T>,
  wasCut: (error: unknown) => boolean,
  most: number,
  signal: AbortSignal,
): Promise<T> {
  for (let attempts = 1;; attempts++) {
    try {
      return await attempt();
    } catch (error) {
      if (!wasCut(error) || attempts === most) throw error;
    }
    const longest = FIRST_PAUSE_MILLISECONDS * 2 ** (attempts - 1);
    // Half of the pause is random, so that clients that were cut at the same time spread out.
    const random = 0.5 + Math.random() / 2;
    await pause(Math.min(longest, LONGEST_PAUSE_MILLISECONDS) * random, signal);
  }
}

/**
 * Connects to a device, at the first of these addresses where it answers.
 *
 * @param seconds How long each wait for it may take, or `null`.
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
    return attemptAgain(attempt, wasClosed, MAX_ATTEMPTS, signal);
  }, signal);
  const connection = new Connection(socket, null, undefined, seconds);
  closeOnAbort(connection, signal);
  return { address, connection };
}

/** @throws {Deno.errors.NotCapable} that of an attempt, since it says what to do. */
export function attemptsOf(cause: unknown): readonly unknown[] {
  const errors: unknown[] = cause instanceof AggregateError ? cause.errors : [cause];
  const denied = errors.find((error) => error instanceof Deno.errors.NotCapable);
  if (denied !== undefined) throw denied;
  return errors;
}

/** The faults of an address from which nothing came back. */
const SILENT: ReadonlySet<ConnectionFault | undefined> = new Set([
  "unreachable",
  "timed out",
  "unknown name",
]);

/**
 * The code of attempts to connect that failed. If every one was silent, nobody can have refused
 * this device; a refused connection may be an invitation that has ended.
 */
export function codeOfAttempts(cause: unknown): "UNREACHABLE" | "NOT_OPEN" {
  const isSilent = (error: unknown) => SILENT.has(describeConnectionError(error)?.fault);
  return attemptsOf(cause).every(isSilent) ? "UNREACHABLE" : "NOT_OPEN";
}

/**
 * True if the other side, or somebody in between, has closed the connection during its handshake.
 */
export function wasClosed(error: unknown): boolean {
  return error instanceof TlsError && error.code === "CLOSED";
}

/** True if the other side has ended a plain connection without an answer. */
export function wasCut(error: unknown): boolean {
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
