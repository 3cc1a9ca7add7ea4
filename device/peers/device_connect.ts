/** Connects to a device at the first of its addresses that responds (RFC 8305 §5). */

import { type Address, type Socket, TlsError } from "../../base.ts";
import { type ClientSslctx, SSLClient, type SSLClientOptions } from "../../client.ts";
import { formatCheckedAddress } from "../../base/address.ts";
import { type DeviceAuthority, identifyDevice } from "../identity/authority.ts";

/** @param sslctx Trusts only the authority of the device. */
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

interface FirstConnection<T> {
  readonly address: Address;
  readonly socket: T;
}

export interface AddressSearch {
  /** The delay of the search, which begins earlier if all known addresses have failed. */
  readonly delayMilliseconds: number;
  /** Never rejects. */
  find(signal: AbortSignal): Promise<readonly Address[]>;
}

/**
 * Tries addresses in parallel and returns the first success. The next attempt begins 250 ms after
 * the previous attempt, or at once after a failure. After a success, the signals of the other
 * attempts are aborted, and their connections are closed.
 *
 * @param search Finds further addresses. Their errors are ignored.
 * @param attempt Connects to an address, and verifies the peer. Must obey its signal.
 * @throws {AggregateError} if all attempts fail, with the errors in the order of the addresses;
 * without errors if there is no address.
 * @throws the reason of `signal` if it is aborted.
 */
export async function raceAddresses<T extends { close(): void }>(
  addresses: readonly Address[],
  attempt: (address: Address, signal: AbortSignal) => Promise<T>,
  signal?: AbortSignal,
  search: AddressSearch | null = null,
): Promise<FirstConnection<T>> {
  signal?.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<FirstConnection<T>>();
  const abortController = new AbortController();
  const queue = [...addresses.entries()];
  const errors: unknown[] = [];
  let runningCount = 0;
  let nextTimer: ReturnType<typeof setTimeout> | undefined;
  let searchTimer: ReturnType<typeof setTimeout> | undefined;
  let canSearch = search !== null;

  // Runs in the same tick as the first success, so no second attempt can succeed.
  const endAttempts = (reason: unknown) => {
    clearTimeout(nextTimer);
    clearTimeout(searchTimer);
    abortController.abort(reason);
  };
  const startNext = () => {
    clearTimeout(nextTimer);
    const nextEntry = queue.shift();
    if (queue.length > 0) nextTimer = setTimeout(startNext, STAGGER_MILLISECONDS);
    if (nextEntry !== undefined) runAttempt(...nextEntry);
    else if (runningCount > 0) return;
    else if (canSearch) runSearch();
    else reject(new AggregateError(errors, "could not connect to any address"));
  };
  const runSearch = async () => {
    clearTimeout(searchTimer);
    canSearch = false;
    runningCount++;
    const foundAddresses = await search!.find(abortController.signal);
    if (abortController.signal.aborted) return;
    // An address that has failed is tried again: the peer may have started again there.
    const pendingTexts = new Set(
      addresses.filter((_, index) => !(index in errors)).map(formatCheckedAddress),
    );
    for (const address of foundAddresses) {
      if (!pendingTexts.has(formatCheckedAddress(address))) queue.push([-1, address]);
    }
    runningCount--;
    startNext();
  };
  const runAttempt = async (index: number, address: Address) => {
    runningCount++;
    try {
      const socket = await attempt(address, abortController.signal);
      if (abortController.signal.aborted) return socket.close();
      endAttempts(new DOMException("another address was faster", "AbortError"));
      resolve({ address, socket });
    } catch (error) {
      if (index >= 0) errors[index] = error;
      runningCount--;
      if (!abortController.signal.aborted) startNext();
    }
  };
  const onAbort = () => {
    endAttempts(signal!.reason);
    reject(signal!.reason);
  };
  signal?.addEventListener("abort", onAbort);
  try {
    if (canSearch) searchTimer = setTimeout(runSearch, search!.delayMilliseconds);
    startNext();
    return await promise;
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}
