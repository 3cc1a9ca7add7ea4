import {
  type Address,
  checkAddress,
  type HostAddress,
  type ScopedAddress,
  type Socket,
  TlsError,
  type TlsErrorCode,
} from "../../base.ts";
import { Client, type ClientOptions, ConnectionError, type ConnectLimits } from "../../client.ts";
import {
  checkAbsent,
  checkFunction,
  checkObject,
  notAllowedError,
  wrongTypeError,
} from "../../internal/checks.ts";
import {
  copyWithMessage,
  isTooManyOpenFilesError,
  plainMessageOf,
} from "../../internal/caught_errors.ts";
import { formatCheckedAddress } from "../../base/address.ts";
import { joinSignals } from "../../internal/pause.ts";
import { quoteName } from "../../internal/quote.ts";
import { checkAddresses } from "./addresses.ts";
import { type AddressSearch, connectToDevice, raceAddresses } from "./device_connect.ts";
import type { DeviceServices } from "./device_services.ts";
import { DeviceError } from "../errors.ts";
import type { Peer } from "./peer_file.ts";
import { forgottenPeerError } from "./trust_signals.ts";

/**
 * The addresses, the time limits and the search of a client of a peer, and the options of any
 * client.
 *
 * @example Find a peer whose address has changed
 * ```ts
 * import { Device, type DeviceClientOptions } from "@degu/degu/device";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir(); // in real use: two machines
 * await using camera = await Device.open(`${dir}/camera`, { name: "camera" });
 * await using viewer = await Device.open(`${dir}/viewer`, { name: "viewer" });
 * const app = () => [204, "No Content", {}, null] as const;
 * await using oldServer = await camera.serve(["127.0.0.1", 0], app);
 * await using invitation = await camera.invite({ listen: [["127.0.0.1", 0]] });
 * await viewer.join(invitation.line);
 * oldServer.close();
 *
 * await using server = await camera.serve(["127.0.0.1", 0], app);
 * const options: DeviceClientOptions = {
 *   find: () => Promise.resolve([["127.0.0.1", server.port]]), // for example by mDNS
 * };
 * const client = await viewer.client("camera", options);
 * assertEquals((await client.request("GET", "/")).status, 204);
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export interface DeviceClientOptions extends Omit<ClientOptions, "dial" | "scheme"> {
  /**
   * The addresses to try, instead of the stored addresses.
   *
   * @default {the stored addresses, read again for each connection}
   */
  addresses?: readonly Address[] | undefined;
  /**
   * The time limit in seconds for connecting to an address, and again for the handshake. With a
   * small limit, connecting to an absent host fails soon, while a busy host still has the whole
   * `timeout` for its response.
   *
   * @default {timeout}
   */
  connectTimeout?: number | undefined;
  /**
   * Finds further addresses of the peer, each a host and a port. The function `find` of
   * `@degu/degu/device/discovery` does so by mDNS. The client calls this function if no address
   * answers: after two seconds, or at once when all addresses have failed or none is
   * stored. Only the peer is accepted at the found addresses. The client stores the address at
   * which the peer has answered, and keeps the newest four such addresses.
   *
   * The signal is aborted as soon as the peer answers, or connecting is aborted. Connecting fails
   * only after the search has ended. If `find` rejects, the log has a warning, and the search has
   * no result.
   */
  find?:
    | ((signal: AbortSignal, peer: Peer) => Promise<readonly (HostAddress | ScopedAddress)[]>)
    | undefined;
}

/** The time without an answer after which `find` is called. */
const SEARCH_DELAY_MILLISECONDS = 2000;

function noAddressError({ name }: Peer): DeviceError {
  return new DeviceError("NO_ADDRESS", `no address of ${quoteName(name)} is known`);
}

function addressNotFoundError({ name }: Peer, cause: unknown): DeviceError {
  const problem = `no address of ${quoteName(name)} is known, and find() has found none`;
  return new DeviceError("UNREACHABLE", problem, { cause });
}

export function makeDeviceClient(
  services: DeviceServices,
  peer: Peer,
  options: DeviceClientOptions,
): Client {
  checkObject("options", options);
  const {
    addresses: givenAddresses,
    connectTimeout,
    find = null,
    ...clientOptions
  } = options;
  checkAbsent(clientOptions, ["dial", "scheme"], "the client of a peer");
  const addresses = givenAddresses === undefined
    ? null
    : checkAddresses("addresses", givenAddresses, (address) => checkAddress(address, "client"));
  if (addresses?.length === 0) {
    throw notAllowedError("addresses", "must have at least one address; got none");
  }
  if (connectTimeout !== undefined) {
    if (typeof connectTimeout !== "number") {
      throw wrongTypeError("connectTimeout", "a number", connectTimeout);
    }
    // Unlike `timeout`, `connectTimeout` can't be `null`.
    if (!(connectTimeout > 0 && connectTimeout < Infinity)) {
      throw notAllowedError(
        "connectTimeout",
        `must be a number of seconds above 0; got ${connectTimeout}`,
      );
    }
  }
  if (find !== null) checkFunction("find", find);
  const [firstAddress] = addresses ?? peer.addresses;
  if (firstAddress === undefined && find === null) throw noAddressError(peer);
  const connector = new PeerConnector(services, peer.id, {
    addresses,
    connectTimeout,
    find,
  });
  // Before a search, the address has a name that no host has (RFC 2606).
  return new Client(firstAddress ?? [`${peer.id}.invalid`, 443], {
    ...clientOptions,
    scheme: "https",
    dial: (_address, limits) => connector.connect(limits),
  });
}

interface PeerConnectorOptions {
  /** `null` to use the stored addresses. */
  readonly addresses: readonly Address[] | null;
  readonly connectTimeout: number | undefined;
  readonly find: NonNullable<DeviceClientOptions["find"]> | null;
}

class PeerConnector {
  readonly #services: DeviceServices;
  readonly #id: string;
  readonly #options: PeerConnectorOptions;
  #lastAddress = "";

  constructor(services: DeviceServices, id: string, options: PeerConnectorOptions) {
    this.#services = services;
    this.#id = id;
    this.#options = options;
  }

  async connect({ timeout, signal }: ConnectLimits): Promise<Socket> {
    const { identity, peers, trustSignals, closeSignal, logger } = this.#services;
    const { addresses: givenAddresses, connectTimeout = timeout, find } = this.#options;
    closeSignal.throwIfAborted();
    await peers.refresh();
    closeSignal.throwIfAborted();
    const trustedPeer = trustSignals.find(this.#id);
    if (trustedPeer === null) throw forgottenPeerError(this.#id, peers.findProblem(this.#id));
    const { peer, signal: trustSignal } = trustedPeer;
    const addresses = givenAddresses ?? peer.addresses;
    if (addresses.length === 0 && find === null) throw noAddressError(peer);
    const rankOf = (address: Address) => String(address) === this.#lastAddress ? 0 : 1;
    const orderedAddresses = addresses.toSorted((a, b) => rankOf(a) - rankOf(b));
    const sslctx = identity.buildClientContext(peer);
    const combinedSignal = joinSignals(signal, trustSignal)!;
    const search = this.#makeSearch(peer);
    try {
      const { address, socket } = await raceAddresses(
        orderedAddresses,
        (address, signal) =>
          connectToDevice(peer, sslctx, address, { timeout: connectTimeout, signal }),
        combinedSignal,
        search,
      );
      this.#lastAddress = String(address);
      const [firstStored] = peer.addresses;
      const isFirst = firstStored !== undefined &&
        formatCheckedAddress(firstStored) === formatCheckedAddress(address);
      if (!isFirst && (search !== null || givenAddresses === null)) {
        await peers.recordAnswer(this.#id, address, search !== null).catch((error) => {
          // Without the order, only the next connection takes longer.
          const isKnown = addresses.includes(address);
          logger[isKnown ? "debug" : "warn"](
            `the address of ${quoteName(peer.name)} was not stored: ${plainMessageOf(error)}`,
          );
        });
      }
      return Object.assign(socket, { trust: trustSignal });
    } catch (error) {
      if (combinedSignal.aborted) throw error;
      const bestError = addresses.length === 0
        ? addressNotFoundError(peer, error)
        : mostInformativeError(error as AggregateError, peer.name);
      // The stack begins with the frames of the caller.
      Error.captureStackTrace(bestError, this.connect);
      throw bestError;
    }
  }

  #makeSearch(peer: Peer): AddressSearch | null {
    const { name } = peer;
    const { find } = this.#options;
    if (find === null) return null;
    return {
      delayMilliseconds: SEARCH_DELAY_MILLISECONDS,
      find: async (signal) => {
        try {
          return checkAddresses(
            "find()",
            await find(signal, peer),
            (address) => checkAddress(address, "client"),
          );
        } catch (error) {
          if (signal.aborted) return [];
          const problem = plainMessageOf(error);
          const message = `the search for addresses of ${quoteName(name)} failed: ${problem}`;
          this.#services.logger.warn(message, { error });
          return [];
        }
      },
    };
  }
}

/** Errors of TLS that another device or program may cause, the most useful first. */
const TLS_CODES: readonly TlsErrorCode[] = ["UNTRUSTED", "NOT_TLS", "CLOSED"];

/** Faults of connections, the most useful first. */
const FAULTS: readonly ConnectionError["fault"][] = ["refused", "reset", "timed out"];

export function mostInformativeError(cause: AggregateError, peerName: string): Error {
  const { errors } = cause;
  const [mostUsefulError] = [...errors].sort((a, b) => rankOfError(a) - rankOfError(b));
  const bestError = mostUsefulError instanceof Error
    ? mostUsefulError
    : new Error(String(mostUsefulError));
  const otherErrorCount = errors.length - 1;
  const otherErrorsText = otherErrorCount === 0
    ? ""
    : `; and ${otherErrorCount} more address${otherErrorCount === 1 ? " fails" : "es fail"}`;
  const message = bestError.message + otherErrorsText;
  const error = bestError instanceof TlsError
    ? new TlsError(bestError.code, message, { cause, address: bestError.address })
    : isLocalProblem(bestError)
    ? copyWithMessage(bestError, message, cause)
    : new DeviceError("UNREACHABLE", `${quoteName(peerName)} can't be reached: ${message}`, {
      cause,
      ...bestError instanceof ConnectionError
        ? { fault: bestError.fault, address: bestError.address }
        : {},
    });
  shortenStacks(cause);
  return error;
}

/** Removes the stack frames that Deno prints for an uncaught error, and causes of the same text. */
function shortenStacks(attempts: AggregateError): void {
  for (const error of [attempts, ...attempts.errors]) {
    if (!(error instanceof Error)) continue;
    error.stack = `${error.name}: ${error.message}`;
    // The cause is the error of the system, with the same message.
    if ((error.cause as Error | undefined)?.message === error.message) delete error.cause;
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof ConnectionError && error.isRefusal;
}

function isLocalProblem(error: Error): boolean {
  return error instanceof Deno.errors.NotCapable ||
    error instanceof Deno.errors.PermissionDenied || isTooManyOpenFilesError(error);
}

function rankOfError(error: unknown): number {
  if (isTooManyOpenFilesError(error)) return -3;
  // An alert of the peer itself is the most useful error.
  if (isRefusal(error)) return -2;
  if (error instanceof TlsError) return TLS_CODES.indexOf(error.code);
  if (isLocalProblem(error as Error)) return TLS_CODES.length;
  const index = error instanceof ConnectionError ? FAULTS.indexOf(error.fault) : -1;
  return TLS_CODES.length + 1 + (index < 0 ? FAULTS.length : index);
}
