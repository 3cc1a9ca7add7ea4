/** Looks for a device on the links of this machine, by mDNS and DNS-SD (RFC 6762, RFC 6763). */

import {
  type Address,
  canonicalDnsName,
  canonicalIPAddress,
  isIPv4,
  isIPv4LinkLocal,
  isLinkLocal,
  isLoopback,
} from "../../base/address.ts";
import { pause } from "../../base/pause.ts";
import { isDeviceName } from "../../identity/names.ts";
import { type Logger, standardLogger } from "../../net/logger.ts";
import { isInNetwork, type Link, Links, NETWORK, type Network, permittedTypes } from "./links.ts";
import {
  hostName,
  type Incoming,
  instanceSuffix,
  type InterfaceAddress,
  type KnownRecord,
  SERVICE,
} from "./packet.ts";

/** The default duration of a search. */
const DEFAULT_SECONDS = 3;
/**
 * The pause before the query is repeated, and the factor by which the pause grows (RFC 6762 §5.2).
 */
const FIRST_PAUSE_MILLISECONDS = 250;
const PAUSE_FACTOR = 2;
/**
 * The duration of listening after the first address. The device itself may be the last to answer:
 * after a recent response it waits a second (RFC 6762 §6).
 */
const SETTLE_MILLISECONDS = 1200;

/** Options of {@linkcode findAddresses}. */
interface FindOptions {
  readonly signal?: AbortSignal | undefined;
  /** The longest duration of the search; 3 if left out. */
  readonly seconds?: number;
  /** Receives errors of sockets at level `debug`. */
  readonly logger?: Logger;
}

/**
 * Looks for a device on every interface, until an answer comes. **The addresses are hints**: anyone
 * on the link can send them, and only the certificate proves the identity of a device. At most 16
 * addresses are returned, the most useful first; a link-local IPv6 address has the scope of the
 * interface that received it.
 */
export async function findAddresses(
  id: string,
  options: FindOptions = {},
  network: Network = NETWORK,
): Promise<Address[]> {
  const hints = new Hints(id);
  await search(SERVICE, options, network, (records, on) => {
    hints.add(records, on);
    return hints.addresses().length > 0;
  });
  return hints.addresses();
}

/** A device that offers something to whoever is near. */
export interface Offer {
  readonly name: string;
  /** The first 16 characters of its id, as it says. */
  readonly id: string;
  readonly addresses: readonly Address[];
}

/** The limit of memory: a person can't choose among more. */
const MAX_OFFERS = 32;

/**
 * Looks for services of a type, for the whole time. **Names, ids and addresses are hints**, as
 * those of {@linkcode findAddresses}.
 */
export async function findOffers(
  type: string,
  options: FindOptions,
  network: Network = NETWORK,
): Promise<Offer[]> {
  const found = new Map<string, { name: string; id: string; hints: Hints }>();
  await search(type, options, network, (records, on) => {
    for (const { name: instance, type: kind, ttl } of records) {
      const [label = "", ...rest] = instance.split(".");
      const [, name, id] = /^(.{1,46})-([a-z2-7]{16})$/.exec(label) ?? [];
      const isOffer = kind === "SRV" && ttl > 0 && rest.join(".") === type &&
        id !== undefined && name !== undefined && isDeviceName(name);
      const key = label.toLowerCase();
      if (isOffer) keep(found, key, { name, id, hints: new Hints(id, instance) }, MAX_OFFERS);
    }
    for (const { hints } of found.values()) hints.add(records, on);
    return false;
  });
  return Array.from(found.values(), ({ hints, ...offer }) => {
    return { ...offer, addresses: hints.addresses() };
  }).filter(({ addresses }) => addresses.length > 0);
}

/**
 * Asks for a type of services on every interface until the time is over.
 *
 * @param onRecords Returns whether enough was found, so that only late answers are waited for.
 */
async function search(
  type: string,
  { signal, seconds = DEFAULT_SECONDS, logger = standardLogger }: FindOptions,
  network: Network,
  onRecords: (records: readonly KnownRecord[], on: Link["on"]) => boolean,
): Promise<void> {
  signal?.throwIfAborted();
  // The only question: devices send all their records in one response.
  const query = { type: "query", questions: [{ name: type, type: "PTR" }] } as const;
  const ending = new AbortController();
  const endAfter = (milliseconds: number) => setTimeout(() => ending.abort(), milliseconds);
  const timers = [endAfter(seconds * 1000)];
  const onPacket = (packet: Incoming, link: Link) => {
    if (packet.type !== "response") return;
    const isEnough = onRecords([...packet.answers, ...packet.additionals], link.on);
    if (isEnough && timers.length === 1) timers.push(endAfter(SETTLE_MILLISECONDS));
  };
  const onLink = (link: Link) => void link.send(query);
  try {
    const types = permittedTypes(network.port);
    await using links = await Links.open({ network, types, logger, onPacket, onLink });
    for (let wait = FIRST_PAUSE_MILLISECONDS;; wait *= PAUSE_FACTOR) {
      await pause(wait, ending.signal, signal);
      if (ending.signal.aborted || signal?.aborted) break;
      await links.send(query);
    }
  } finally {
    timers.forEach(clearTimeout);
  }
  signal?.throwIfAborted();
}

/** Limits of memory, since anyone can send anything; the oldest entry is dropped first. */
const MAX_PORTS = 4;
const MAX_HOST_ADDRESSES = 16;
/** Every address is tried, so there must not be many. */
const MAX_ADDRESSES = 16;

/**
 * Ports and addresses heard for a device. Anyone may claim to be the device, so a new claim doesn't
 * replace an older one. Records of other names are not kept.
 */
export class Hints {
  readonly #suffix: string;
  readonly #host: string;
  readonly #ports = new Map<number, null>();
  /** The addresses, each with the scope of the interface that received it. */
  readonly #addresses = new Map<string, number>();

  /** @param suffix The end of the names of its instances. */
  constructor(id: string, suffix: string = instanceSuffix(id)) {
    this.#suffix = suffix.toLowerCase();
    this.#host = hostName(id);
  }

  /** @param on The interface that received the records. */
  add(
    records: readonly KnownRecord[],
    { scope, addresses }: Pick<Link["on"], "scope" | "addresses">,
  ): void {
    for (const record of records) {
      const name = canonicalDnsName(record.name);
      if (record.ttl === 0 || name === null) continue;
      if (record.type === "SRV" && name.endsWith(this.#suffix)) {
        const { target, port } = record.data;
        if (canonicalDnsName(target) === this.#host && port > 0) {
          keep(this.#ports, port, null, MAX_PORTS);
        }
      } else if ((record.type === "A" || record.type === "AAAA") && name === this.#host) {
        const host = canonicalIPAddress(record.data);
        if (host === null || !isUsable(host, addresses) || isLinkLocal(host) && scope === 0) {
          continue;
        }
        keep(this.#addresses, host, isLinkLocal(host) ? scope : 0, MAX_HOST_ADDRESSES);
      }
    }
  }

  /** The addresses of the device, the most likely first. */
  addresses(): Address[] {
    // Addresses that routers know come first, as in an invitation.
    const rankOf = (host: string) => isLinkLocal(host) ? 1 : isIPv4LinkLocal(host) ? 2 : 0;
    const hosts = [...this.#addresses].sort(([a], [b]) => rankOf(a) - rankOf(b));
    return hosts.flatMap(([host, scope]) =>
      Array.from(
        this.#ports.keys(),
        (port): Address => scope === 0 ? [host, port] : [host, port, 0, scope],
      )
    ).slice(0, MAX_ADDRESSES);
  }
}

/** Adds an entry; if the map is full, the oldest entry is dropped. */
function keep<K, V>(kept: Map<K, V>, key: K, value: V, most: number): void {
  if (kept.has(key)) return;
  if (kept.size === most) kept.delete(kept.keys().next().value!);
  kept.set(key, value);
}

/** The networks that are private (RFC 1918), unique local (RFC 4193) or a link (RFC 3927, 4291). */
const LOCAL =
  /^(?:10|192\.168|172\.(?:1[6-9]|2\d|3[01])|169\.254)\.|^f[cd][0-9a-f]{2}:|^fe[89ab][0-9a-f]:/;
/** Addresses that are written in another form, or have an IPv4 address in them; and multicast. */
const SPECIAL = /^(?:::|64:ff9b:|ff)/;
/** The addresses at which machines in data centers ask for their own keys. */
const METADATA = ["169.254.169.254", "fd00:ec2::254"];

/**
 * Whether an address can belong to another machine of the local network. Anyone can claim any
 * address for a device, and this device would connect there.
 *
 * @param own The addresses of the interface that has heard of it.
 */
function isUsable(host: string, own: readonly InterfaceAddress[]): boolean {
  if (isLoopback(host) || SPECIAL.test(host) || METADATA.includes(host)) return false;
  const first = Number(host.split(".")[0]);
  if (isIPv4(host) && (first === 0 || first >= 224)) return false;
  return LOCAL.test(host) ||
    // Every address is in a network whose mask is zero.
    own.some(({ address, netmask }) =>
      /[1-9a-f]/i.test(netmask) && isInNetwork(host, address, netmask)
    );
}
