/**
 * A client of a peer, at any of its addresses.
 *
 * @module
 */

import { addressText } from "../base/address.ts";
import type { Address } from "../base/address_rules.ts";
import { checkNumber } from "../base/checks.ts";
import { DeguError, quote, TlsError, type TlsErrorCode, typeName } from "../base/errors.ts";
import { type ClientOptions, type ConnectedSocket, SSLClient } from "../client.ts";
import { hasSigned } from "../identity/authority.ts";
import { checkClientAddress } from "../net/addresses.ts";
import { type ConnectBounds, JoinedSignal } from "../net/connect.ts";
import { connectTls } from "../net/tls/client_handshake.ts";
import type { TlsSocket } from "../net/tls/socket.ts";
import { raceAddresses } from "./address_race.ts";
import type { DeviceServices } from "./device_services.ts";
import { checkAddresses } from "./pairing_addresses.ts";
import type { Peer } from "./peer.ts";
import type { Trusted } from "./trust_signals.ts";

/** The options of a client of a peer. */
export interface DeviceClientOptions extends ClientOptions {
  /**
   * The addresses to try, instead of the stored ones.
   *
   * @default {the stored ones, read again for each connection}
   */
  addresses?: readonly Address[] | undefined;
  /**
   * Seconds that connecting to an address may take, and then the handshake: a host that doesn't answer is known sooner
   * than one that is busy.
   *
   * @default {timeout}
   */
  connectTimeout?: number | undefined;
}

/** All options but the addresses. */
type OtherOptions = Omit<DeviceClientOptions, "addresses">;

/** Separates the options. */
export function splitOptions(
  options: DeviceClientOptions,
): { addresses: readonly Address[] | null; others: OtherOptions } {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`options: must be an object; got ${typeName(options)}`);
  }
  const { addresses, ...others } = options;
  if ("sslHost" in others) {
    throw new TypeError(
      'options: unknown option "sslHost"; a peer is known by its authority alone',
    );
  }
  if (addresses === undefined) return { addresses: null, others };
  const checked = checkAddresses("addresses", addresses, checkClientAddress);
  if (checked.length > 0) return { addresses: checked, others };
  throw new RangeError("addresses: must be at least one; got none");
}

/** The error if no address of a peer is known. */
function noAddress({ name }: Peer): DeguError {
  return new DeguError(
    `no address of ${quote(name)} is known: pass the option addresses, or pair the two ` +
      "again while it serves",
  );
}

/** A client of one peer. Its connections end when the peer is forgotten or the device is closed. */
export class DeviceClient extends SSLClient {
  /** The options that were given. */
  declare readonly options: Readonly<OtherOptions>;

  /** Created by a device, for a peer that was just read. */
  constructor(
    services: DeviceServices,
    peer: Peer,
    addresses: readonly Address[] | null,
    options: OtherOptions,
  ) {
    const { connectTimeout } = options;
    if (connectTimeout !== undefined) {
      checkNumber("connectTimeout", connectTimeout);
      if (!(connectTimeout > 0 && connectTimeout < Infinity)) {
        throw new RangeError(
          `connectTimeout: must be a number of seconds above 0; got ${connectTimeout}`,
        );
      }
    }
    const [first] = addresses ?? peer.addresses;
    if (first === undefined) throw noAddress(peer);
    const connector = new PeerConnector(services, peer.id, addresses, connectTimeout);
    super(services.identity.clientContext(peer), first, { ...options, sslHost: null }, {
      moreOptions: ["connectTimeout"],
      connect: (_first, bounds) => connector.connect(bounds),
    });
  }
}

/** Connects to a peer, wherever it is now. */
class PeerConnector {
  readonly #services: DeviceServices;
  readonly #id: string;
  readonly #addresses: readonly Address[] | null;
  readonly #timeout: number | undefined;
  #last: Address | null = null;

  constructor(
    services: DeviceServices,
    id: string,
    addresses: readonly Address[] | null,
    timeout: number | undefined,
  ) {
    this.#services = services;
    this.#id = id;
    this.#addresses = addresses;
    this.#timeout = timeout;
  }

  /** Connects to the first address whose server is that peer. */
  async connect(bounds: ConnectBounds): Promise<ConnectedSocket> {
    const { peer, signal: trust } = await this.#readPeer();
    const addresses = this.#addresses ?? peer.addresses;
    if (addresses.length === 0) throw noAddress(peer);
    const timeout = this.#timeout ?? bounds.timeout;
    const sslctx = this.#services.identity.clientContext(peer);
    using joined = new JoinedSignal(bounds.signal, trust);
    const { signal } = joined;
    const attempt = async (address: Address, signal: AbortSignal) => {
      const socket = await connectTls(address, sslctx, null, { timeout, signal });
      if (hasSigned(peer.certificate, socket.peerCertificate!.raw)) return { address, socket };
      socket.close();
      throw new TlsError(
        "UNTRUSTED",
        "the peer's authority has not signed the certificate directly",
      );
    };
    const discard = ({ socket }: { socket: TlsSocket }) => socket.close();
    try {
      const { address, socket } = await raceAddresses(this.#inOrder(addresses), attempt, {
        discard,
        signal,
      });
      this.#last = address;
      return Object.assign(socket, { trust, refusalHint: forgottenHint(peer.name) });
    } catch (error) {
      if (!(error instanceof AggregateError) || signal?.aborted) throw error;
      throw mostInformative(error, {
        name: peer.name,
        addresses,
        stored: this.#addresses === null,
      });
    }
  }

  /** The peer as it is on disk now. */
  async #readPeer(): Promise<Trusted> {
    const { peers, trust, closing } = this.#services;
    closing.throwIfAborted();
    await peers.refresh();
    closing.throwIfAborted();
    const trusted = trust.find(this.#id);
    if (trusted !== null) return trusted;
    throw new DeguError(`the peer with the id ${this.#id} was forgotten; pair the two again`);
  }

  /** The address that worked last is tried first. */
  #inOrder(addresses: readonly Address[]): readonly Address[] {
    const last = String(this.#last);
    return addresses.toSorted((a, b) => Number(String(b) === last) - Number(String(a) === last));
  }
}

/** The most useful first: what the peer says, before what others cause. */
const TLS_CODES: readonly TlsErrorCode[] = [
  "REFUSED_BY_PEER",
  "EXPIRED",
  "NOT_YET_VALID",
  "WRONG_PURPOSE",
  "WEAK",
  "POLICY",
  "WRONG_NAME",
  "NO_CERTIFICATE",
  "UNTRUSTED",
  "NOT_TLS",
  "CLOSED",
];

/** The order of system errors: connecting is not permitted, nobody listens, nobody answers. */
const SYSTEM_ERRORS: readonly (abstract new () => Error)[] = [
  Deno.errors.NotCapable,
  Deno.errors.PermissionDenied,
  Deno.errors.ConnectionRefused,
  Deno.errors.ConnectionReset,
  Deno.errors.TimedOut,
];

/** The peer that was tried, and where. */
export interface Sought {
  readonly name: string;
  readonly addresses: readonly Address[];
  /** Whether the addresses are the stored ones. */
  readonly stored: boolean;
}

/** The likely cause if a peer refuses this device, and what to do. */
export function forgottenHint(name: string): string {
  return `${quote(name)} has probably forgotten this device: pair the two again`;
}

/**
 * The most useful of several errors (the first of equal ones), with all of them as its `cause`. Its message also
 * says what to do.
 */
export function mostInformative(cause: AggregateError, sought: Sought): Error {
  const { errors } = cause;
  const [first] = [...errors].sort((a, b) => rank(a) - rank(b));
  const best = first instanceof Error ? first : new Error(String(first));
  const more = errors.length - 1;
  const others = more === 0 ? "" : `; and ${more} more address${more === 1 ? " fails" : "es fail"}`;
  const message = best.message + others + hintFor(best, sought);
  if (best instanceof TlsError) return new TlsError(best.code, message, { cause });
  const Class = Object.values(Deno.errors).find((each) => best.constructor === each) ?? Error;
  return Object.assign(
    new Class(message, { cause }),
    "code" in best ? { code: best.code } : {},
  );
}

/** What to do, unless the error already says so. */
function hintFor(error: Error, sought: Sought): string {
  if (error instanceof TlsError) {
    return error.code === "REFUSED_BY_PEER" ? `; ${forgottenHint(sought.name)}` : "";
  }
  const isOwn = error instanceof Deno.errors.NotCapable ||
    error instanceof Deno.errors.PermissionDenied;
  return isOwn ? "" : `; ${unreachableHint(sought)}`;
}

function unreachableHint({ name, addresses, stored }: Sought): string {
  const noun = addresses.length === 1 ? "address" : "addresses";
  const where = `${stored ? "its stored" : "the given"} ${noun} ${
    addresses.map(addressText).join(", ")
  }`;
  const other = stored ? "pass the option addresses" : "pass other addresses";
  const hint = `start its server, ${other}, or pair the two again while it serves`;
  return `${quote(name)} doesn't serve at ${where}: ${hint}`;
}

function rank(error: unknown): number {
  if (error instanceof TlsError) return TLS_CODES.indexOf(error.code);
  const index = SYSTEM_ERRORS.findIndex((each) => error instanceof each);
  return TLS_CODES.length + (index < 0 ? SYSTEM_ERRORS.length : index);
}
