/**
 * Connects to a device: at any of its addresses that answers (RFC 8305 §5), and to no other device.
 */

import { type Address, type Socket, TlsError } from "../base.ts";
import { type ClientSslctx, SSLClient, type SSLClientOptions } from "../client.ts";
import { addressText } from "../base/address.ts";
import { type DeviceAuthority, identifyDevice } from "./identity/authority.ts";

/**
 * Connects to an address if this very device answers there.
 *
 * @param device The device, whose authority the context trusts alone.
 * @param options The time-out, a signal, and the protocol.
 */
export async function connectToDevice(
  device: Pick<DeviceAuthority, "id">,
  sslctx: ClientSslctx,
  address: Address,
  options: Pick<SSLClientOptions, "timeout" | "signal" | "protocol">,
): Promise<Socket> {
  const client = new SSLClient(sslctx, address, { ...options, sslHost: null });
  const socket = await client.createSocket();
  if (identifyDevice(socket.peerCertificate, [device]) !== null) return socket;
  socket.close();
  const problem = "the authority of the device has not signed the certificate directly";
  throw new TlsError("UNTRUSTED", problem);
}

const STAGGER_MILLISECONDS = 250;

interface Winner<T> {
  readonly address: Address;
  readonly socket: T;
}

/** Finds further addresses, beside those that don't answer. */
export interface AddressSearch {
  /** Milliseconds without an answer, after which it begins; at once if all others have failed. */
  readonly after: number;
  /** Never rejects. */
  find(signal: AbortSignal): Promise<readonly Address[]>;
}

/**
 * Tries addresses in parallel and returns the first success. The next attempt begins 250 ms after
 * the last, or at once after a failure. After a success the signals of the other attempts are
 * aborted, and their late connections are closed.
 *
 * @param more Further addresses, whose errors say nothing of the device.
 * @param attempt Connects to an address, and verifies the peer; must obey its signal.
 * @throws {AggregateError} if all fail, with the errors in the order of the addresses; without
 * errors if there is no address.
 * @throws the reason of `signal` if it is aborted.
 */
export async function raceAddresses<T extends { close(): void }>(
  addresses: readonly Address[],
  attempt: (address: Address, signal: AbortSignal) => Promise<T>,
  signal?: AbortSignal,
  more: AddressSearch | null = null,
): Promise<Winner<T>> {
  signal?.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<Winner<T>>();
  const over = new AbortController();
  const waiting = [...addresses.entries()];
  const errors: unknown[] = [];
  let running = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let moreTimer: ReturnType<typeof setTimeout> | undefined;
  let isMoreAsked = more === null;

  /** Ends the other attempts in the turn of the first success, so that none succeeds after it. */
  const end = (reason: unknown) => {
    clearTimeout(timer);
    clearTimeout(moreTimer);
    over.abort(reason);
  };
  const startNext = () => {
    clearTimeout(timer);
    const next = waiting.shift();
    if (waiting.length > 0) timer = setTimeout(startNext, STAGGER_MILLISECONDS);
    if (next !== undefined) run(...next);
    else if (running > 0) return;
    else if (!isMoreAsked) findMore();
    else reject(new AggregateError(errors, "could not connect to any address"));
  };
  const findMore = async () => {
    clearTimeout(moreTimer);
    isMoreAsked = true;
    running++;
    const tried = new Set(addresses.map(addressText));
    const found = await more!.find(over.signal);
    if (over.signal.aborted) return;
    for (const each of found) if (!tried.has(addressText(each))) waiting.push([-1, each]);
    running--;
    startNext();
  };
  const run = async (index: number, address: Address) => {
    running++;
    try {
      const socket = await attempt(address, over.signal);
      if (over.signal.aborted) return socket.close();
      end(new DOMException("another address was faster", "AbortError"));
      resolve({ address, socket });
    } catch (error) {
      if (index >= 0) errors[index] = error;
      running--;
      if (!over.signal.aborted) startNext();
    }
  };
  const abort = () => {
    end(signal!.reason);
    reject(signal!.reason);
  };
  signal?.addEventListener("abort", abort);
  try {
    if (!isMoreAsked) moreTimer = setTimeout(() => isMoreAsked || findMore(), more!.after);
    startNext();
    return await promise;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}
