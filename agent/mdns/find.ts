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
import { type Logger, standardLogger } from "../../net/logger.ts";
import { type Link, Links, NETWORK, type Network, permittedTypes } from "./links.ts";
import { hostName, type Incoming, instanceSuffix, type KnownRecord, SERVICE } from "./packet.ts";

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

/** The only question: devices send all their records in one response. */
const QUERY = { type: "query", questions: [{ name: SERVICE, type: "PTR" }] } as const;

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
  const { signal, seconds = DEFAULT_SECONDS, logger = standardLogger } = options;
  signal?.throwIfAborted();
  const hints = new Hints(id);
  const ending = new AbortController();
  const endAfter = (milliseconds: number) => setTimeout(() => ending.abort(), milliseconds);
  const timers = [endAfter(seconds * 1000)];
  const onPacket = (packet: Incoming, link: Link) => {
    if (packet.type !== "response") return;
    hints.add([...packet.answers, ...packet.additionals], link.on.scope);
    const isFirst = timers.length === 1 && hints.addresses().length > 0;
    if (isFirst) timers.push(endAfter(SETTLE_MILLISECONDS));
  };
  const onLink = (link: Link) => void link.send(QUERY);
  try {
    const types = permittedTypes(network.port);
    await using links = await Links.open({ network, types, logger, onPacket, onLink });
    for (let wait = FIRST_PAUSE_MILLISECONDS;; wait *= PAUSE_FACTOR) {
      await pause(wait, ending.signal, signal);
      if (ending.signal.aborted || signal?.aborted) break;
      await links.send(QUERY);
    }
  } finally {
    timers.forEach(clearTimeout);
  }
  signal?.throwIfAborted();
  return hints.addresses();
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

  constructor(id: string) {
    this.#suffix = instanceSuffix(id);
    this.#host = hostName(id);
  }

  /** @param scope The number of the interface that received the records, 0 with IPv4. */
  add(records: readonly KnownRecord[], scope: number): void {
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
        if (host === null || !isUsable(host) || isLinkLocal(host) && scope === 0) continue;
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

/** Whether an address can belong to another machine, and to a single one. */
function isUsable(host: string): boolean {
  if (isLoopback(host) || host === "::") return false;
  if (isIPv4(host)) {
    const first = Number(host.split(".")[0]);
    return first > 0 && first < 224;
  }
  return !host.startsWith("ff") && !host.startsWith("::ffff:");
}
