/** A client of a peer, at any of its addresses. */

import { type Address, checkAddress, type Socket, TlsError, type TlsErrorCode } from "../base.ts";
import {
  type ClientOptions,
  type ConnectOptions,
  describeConnectionError,
  SSLClient,
} from "../client.ts";
import { addressText } from "../base/address.ts";
import {
  checkFunction,
  checkNumber,
  checkObject,
  checkSignal,
  copyOptions,
  notAllowedError,
  wrongArgumentError,
} from "../internal/checks.ts";
import { quote } from "../internal/quote.ts";
import { checkAddresses } from "../net/addresses.ts";
import { joinSignals } from "../net/connect.ts";
import { connectionErrorDetails } from "../base/connection_error_details.ts";
import { copyWithMessage, plainMessageOf } from "../net/error_text.ts";
import { type AddressSearch, connectToDevice, raceAddresses } from "./device_connect.ts";
import type { DeviceServices } from "./device_services.ts";
import { DeviceError } from "./errors.ts";
import type { Peer } from "./peer_store.ts";
import { forgottenPeerError } from "./trust_signals.ts";

/**
 * How a client connects to a peer, and which headers each request has.
 *
 * @example Look for a peer that has moved
 * ```ts
 * import type { Address } from "@degu/degu/base";
 * import { Device, type DeviceClientOptions } from "@degu/degu/device";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir(); // in real use: two machines
 * await using camera = await Device.open(`${dir}/camera`, { name: "camera" });
 * await using viewer = await Device.open(`${dir}/viewer`, { name: "viewer" });
 * const app = () => [204, "No Content", {}, null] as const;
 * await using before = await camera.serve(["127.0.0.1", 0], app);
 * await using invitation = await camera.invite({ listen: [["127.0.0.1", 0]] });
 * await viewer.join(invitation.line);
 * before.close();
 *
 * await using server = await camera.serve(["127.0.0.1", 0], app);
 * const options: DeviceClientOptions = {
 *   find: (): Promise<Address[]> => Promise.resolve([server.address]), // as by mDNS
 * };
 * const client = await viewer.client("camera", options);
 * assertEquals((await client.request("GET", "/")).status, 204);
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export interface DeviceClientOptions extends ClientOptions {
  /**
   * The addresses to try, instead of the stored ones.
   *
   * @default {the stored ones, read again for each connection}
   */
  addresses?: readonly Address[] | undefined;
  /**
   * Seconds for connecting to an address, and then for the handshake: a host that doesn't answer is
   * known sooner than a busy one.
   *
   * @default {timeout}
   */
  connectTimeout?: number | undefined;
  /**
   * Finds further addresses of the peer, as by mDNS. It is called if no address answers: after
   * `findAfter` seconds, or at once when all have failed. What answers there has to prove that it
   * is the peer. The address at which the peer has answered is then stored with the others; of
   * the found ones the newest four are kept.
   *
   * Its signal is aborted as soon as the peer answers, or connecting is aborted. A connection fails
   * only after the search has ended. A search that rejects finds nothing, and the log says why.
   */
  find?: ((signal: AbortSignal) => Promise<readonly Address[]>) | undefined;
  /**
   * Seconds without an answer, 0 to 60, after which `find` is called.
   *
   * @default {2}
   */
  findAfter?: number | undefined;
}

const DEFAULT_FIND_AFTER_SECONDS = 2;
const MAX_FIND_AFTER_SECONDS = 60;

function noAddressError({ name }: Peer): DeviceError {
  return new DeviceError(
    "NO_ADDRESS",
    `no address of ${quote(name)} is known: pass the option addresses, or pair the two ` +
      "again while it serves",
  );
}

/** The options of an `SSLClient` that a client of a peer has no use for, and why. */
const UNKNOWN_OPTIONS = {
  sslHost: "a peer is known by its authority alone",
  protocol: "the server of a peer has none",
} as const;

/** A client of one peer. The connections end when the peer is forgotten or the device is closed. */
export class DeviceClient extends SSLClient {
  /** Seconds for connecting to an address, and then for the handshake; `null` for no limit. */
  readonly connectTimeout: number | null;
  readonly #services: DeviceServices;
  readonly #id: string;
  /** The addresses that were given; `null` for the stored ones. */
  readonly #addresses: readonly Address[] | null;
  /** Finds further addresses; `null` if only the known ones are tried. */
  readonly #find: DeviceClientOptions["find"] | null;
  readonly #findAfter: number;
  /** The text of the address that answered last. */
  #lastAddress = "";

  constructor(services: DeviceServices, peer: Peer, options: DeviceClientOptions) {
    checkObject("options", options);
    const {
      addresses: given,
      connectTimeout,
      find = null,
      findAfter = DEFAULT_FIND_AFTER_SECONDS,
      ...others
    } = options;
    const addresses = given === undefined
      ? null
      : checkAddresses("addresses", given, (each) => checkAddress(each, "client"));
    if (addresses?.length === 0) {
      throw notAllowedError("addresses", "must be at least one; got none");
    }
    for (const [name, why] of Object.entries(UNKNOWN_OPTIONS)) {
      if (name in others) throw wrongArgumentError("options", `unknown option "${name}"; ${why}`);
    }
    if (connectTimeout !== undefined) {
      checkNumber("connectTimeout", connectTimeout);
      // Unlike `timeout`, `connectTimeout` can't be `null`.
      if (!(connectTimeout > 0 && connectTimeout < Infinity)) {
        throw notAllowedError(
          "connectTimeout",
          `must be a number of seconds above 0; got ${connectTimeout}`,
        );
      }
    }
    if (find !== null) checkFunction("find", find);
    checkNumber("findAfter", findAfter);
    if (!(findAfter >= 0 && findAfter <= MAX_FIND_AFTER_SECONDS)) {
      throw notAllowedError(
        "findAfter",
        `must be a number from 0 to ${MAX_FIND_AFTER_SECONDS}; got ${findAfter}`,
      );
    }
    const [first] = addresses ?? peer.addresses;
    if (first === undefined) throw noAddressError(peer);
    super(services.identity.clientContext(peer), first, { ...others, sslHost: null });
    this.connectTimeout = connectTimeout ?? this.timeout;
    this.#services = services;
    this.#id = peer.id;
    this.#addresses = addresses;
    this.#find = find;
    this.#findAfter = findAfter;
  }

  /** Connects to the first address at which the peer answers. */
  override async createSocket(options: Omit<ConnectOptions, "bodies"> = {}): Promise<Socket> {
    const { signal } = copyOptions(options, ["signal"]);
    checkSignal(signal);
    const { identity, peers, trust: signals, closing, logger } = this.#services;
    closing.throwIfAborted();
    await peers.refresh();
    closing.throwIfAborted();
    const trusted = signals.find(this.#id);
    if (trusted === null) throw forgottenPeerError(this.#id);
    const { peer, signal: trust } = trusted;
    const addresses = this.#addresses ?? peer.addresses;
    if (addresses.length === 0) throw noAddressError(peer);
    const isLast = (address: Address) => Number(String(address) === this.#lastAddress);
    const ordered = addresses.toSorted((a, b) => isLast(b) - isLast(a));
    const sslctx = identity.clientContext(peer);
    const joined = joinSignals(this.options.signal, signal, trust)!;
    const more = this.#searchFor(peer);
    try {
      const { address, socket } = await raceAddresses(
        ordered,
        (address, signal) =>
          connectToDevice(peer, sslctx, address, { timeout: this.connectTimeout, signal }),
        joined,
        more,
      );
      this.#lastAddress = String(address);
      if (more !== null) {
        await peers.addFound(this.#id, address).catch((error) => {
          logger.warn(
            `the address of ${quote(peer.name)} was not stored: ${plainMessageOf(error)}`,
          );
        });
      }
      return Object.assign(socket, { trust, refusalHint: forgottenHint(peer.name) });
    } catch (error) {
      if (joined.aborted) throw error;
      const sought = { name: peer.name, addresses, stored: this.#addresses === null };
      const best = mostInformative(error as AggregateError, sought);
      // The stack begins with the frames of the caller.
      Error.captureStackTrace(best, this.createSocket);
      throw best;
    }
  }

  #searchFor({ name }: Peer): AddressSearch | null {
    const find = this.#find;
    if (!find) return null;
    return {
      after: this.#findAfter * 1000,
      find: async (signal) => {
        try {
          return checkAddresses(
            "find()",
            await find(signal),
            (each) => checkAddress(each, "client"),
          );
        } catch (error) {
          if (signal.aborted) return [];
          const why = plainMessageOf(error);
          this.#services.logger.warn(`the search for addresses of ${quote(name)} failed: ${why}`, {
            error,
          });
          return [];
        }
      },
    };
  }
}

/** Errors of TLS that another device or program may cause, the most useful first. */
const TLS_CODES: readonly TlsErrorCode[] = ["UNTRUSTED", "NOT_TLS", "CLOSED"];

/** The order of system errors: connecting is not permitted, nobody listens, nobody answers. */
const SYSTEM_ERRORS: readonly (abstract new () => Error)[] = [
  Deno.errors.NotCapable,
  Deno.errors.PermissionDenied,
  Deno.errors.ConnectionRefused,
  Deno.errors.ConnectionReset,
  Deno.errors.TimedOut,
];

export interface SoughtPeer {
  readonly name: string;
  readonly addresses: readonly Address[];
  readonly stored: boolean;
}

/** The likely cause if a peer refuses this device, with advice. */
export function forgottenHint(name: string): string {
  return `${quote(name)} has probably forgotten this device: pair the two again`;
}

/**
 * The most useful of several errors (the first of equal ones), with advice in its message, and with
 * all errors as its `cause`.
 */
export function mostInformative(cause: AggregateError, sought: SoughtPeer): Error {
  const { errors } = cause;
  const [first] = [...errors].sort((a, b) => rank(a) - rank(b));
  const best = first instanceof Error ? first : new Error(String(first));
  const more = errors.length - 1;
  const others = more === 0 ? "" : `; and ${more} more address${more === 1 ? " fails" : "es fail"}`;
  const message = best.message + others + hintFor(best, sought);
  const error = best instanceof TlsError
    ? new TlsError(best.code, message, { cause, address: best.address })
    : isNotPermitted(best)
    ? copyWithMessage(best, message, cause)
    : connectionErrorDetails.add(
      new DeviceError("UNREACHABLE", message, { cause }),
      describeConnectionError(best) ?? { fault: "unreachable" },
    );
  shortenStacks(cause);
  return error;
}

/**
 * Removes the frames that Deno would print of an uncaught error: they hide the line with the
 * advice.
 */
function shortenStacks(attempts: AggregateError): void {
  for (const each of [attempts, ...attempts.errors]) {
    if (!(each instanceof Error)) continue;
    each.stack = `${each.name}: ${each.message}`;
    // The system's error has the same words.
    if ((each.cause as Error | undefined)?.message === each.message) delete each.cause;
  }
}

/** Whether connecting was not permitted here, which says nothing of the peer. */
function isNotPermitted(error: Error): boolean {
  return error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.PermissionDenied;
}

/** The advice for an error, unless its message has some. */
function hintFor(error: Error, { name, addresses, stored }: SoughtPeer): string {
  if (error instanceof TlsError) {
    return error.code === "REFUSED_BY_PEER" ? `; ${forgottenHint(name)}` : "";
  }
  if (isNotPermitted(error)) return "";
  const [which, other] = stored
    ? ["its stored", "pass the option addresses"]
    : ["the given", "pass other addresses"];
  const where = `${which} address${addresses.length === 1 ? "" : "es"} ${
    addresses.map(addressText).join(", ")
  }`;
  if (error instanceof Deno.errors.TimedOut) {
    return `; ${
      quote(name)
    } does not answer at ${where}: check that it runs, and that the network ` +
      `lets it through; it may also be busy, or hang; else ${other}`;
  }
  return `; ${
    quote(name)
  } doesn't serve at ${where}: start its server, ${other}, or pair the two again ` +
    "while it serves";
}

function rank(error: unknown): number {
  if (error instanceof TlsError) {
    // That of the peer itself is the most useful one.
    return error.code === "REFUSED_BY_PEER" ? -2 : TLS_CODES.indexOf(error.code);
  }
  const index = SYSTEM_ERRORS.findIndex((each) => error instanceof each);
  return TLS_CODES.length + (index < 0 ? SYSTEM_ERRORS.length : index);
}
