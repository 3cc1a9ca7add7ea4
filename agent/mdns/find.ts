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

/** How long a search lasts by default. */
const SECONDS = 3;
/** The pause before the query is repeated, and the factor by which the pause grows (RFC 6762 §5.2). */
const FIRST_PAUSE_MILLISECONDS = 250;
const PAUSE_FACTOR = 2;
/**
 * How long to keep listening after the first address: the first answer may not come from the device, which waits a
 * second if it has just answered another query (RFC 6762 §6).
 */
const SETTLE_MILLISECONDS = 1200;

/** What is asked: devices send all that they have in one response. */
const QUERY = { type: "query", questions: [{ name: SERVICE, type: "PTR" }] } as const;

/** How {@linkcode findAddresses} looks for a device. */
interface FindOptions {
  readonly signal?: AbortSignal | undefined;
  /** How long to look at most; 3 if left out. */
  readonly seconds?: number;
  /** Receives errors of sockets at level `debug`. */
  readonly logger?: Logger;
}

/**
 * Looks for a device on every interface, until an answer comes. **The addresses are hints**: anyone on the link can
 * send them, and only the certificate proves who is there. They are at most 16, the most useful first; a link-local IPv6
 * address has the scope of the interface on which it was heard.
 */
export async function findAddresses(
  id: string,
  options: FindOptions = {},
  network: Network = NETWORK,
): Promise<Address[]> {
  const { signal, seconds = SECONDS, logger = standardLogger } = options;
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

/** Limits on what is kept, since anyone can send anything; the oldest entry is dropped first. */
const MAX_PORTS = 4;
const MAX_HOST_ADDRESSES = 16;
/** Each of them is tried. */
const MAX_ADDRESSES = 16;

/**
 * What has been heard about a device. Its names are known but for the name of the device itself, so nothing else is kept. Anyone
 * may claim to be the device: what one says does not replace what another one has said.
 */
export class Hints {
  readonly #suffix: string;
  readonly #host: string;
  readonly #ports = new Map<number, null>();
  /** Each with the scope that it was heard with. */
  readonly #addresses = new Map<string, number>();

  constructor(id: string) {
    this.#suffix = instanceSuffix(id);
    this.#host = hostName(id);
  }

  /** @param scope The number of the interface on which the records were heard, 0 with IPv4. */
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

  /** Where the device may be; the addresses that are most likely to be right are first. */
  addresses(): Address[] {
    // Addresses that routers know first, as those of this machine are in an invitation.
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

/** Keeps one more, in place of the oldest one if there are as many already. */
function keep<K, V>(kept: Map<K, V>, key: K, value: V, most: number): void {
  if (kept.has(key)) return;
  if (kept.size === most) kept.delete(kept.keys().next().value!);
  kept.set(key, value);
}

/** Whether an address can be the one of another machine, and of one machine. */
function isUsable(host: string): boolean {
  if (isLoopback(host) || host === "::") return false;
  if (isIPv4(host)) {
    const first = Number(host.split(".")[0]);
    return first > 0 && first < 224;
  }
  return !host.startsWith("ff") && !host.startsWith("::ffff:");
}
