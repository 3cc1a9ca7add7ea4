/**
 * Looks for a device on the links of this machine, by mDNS and DNS-SD (RFC 6762, RFC 6763).
 *
 * @module
 */

import {
  type Address,
  canonicalDnsName,
  canonicalIPAddress,
  isIPv4,
  isIPv4LinkLocal,
  isLinkLocal,
  isLoopback,
} from "../../base/address_rules.ts";
import { pause } from "../../base/pause.ts";
import { type Logger, standardLogger } from "../../net/standard_logger.ts";
import { type Link, Links, NETWORK, type Network, permittedTypes } from "./links.ts";
import {
  hostName,
  type Incoming,
  instanceSuffix,
  isSameName,
  type KnownRecord,
  knownRecords,
  type Question,
  SERVICE,
} from "./packet.ts";

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

/** How {@linkcode findAddresses} looks for a device. */
export interface FindOptions {
  /** When aborted, the search rejects with the reason. */
  readonly signal?: AbortSignal | undefined;
  /** How long to look at most, in seconds; 3 if left out. */
  readonly seconds?: number;
  /** Receives errors of sockets at level `debug`. */
  readonly logger?: Logger;
}

/**
 * Looks for a device on every interface, until an answer comes. **The addresses are hints**: anyone on the link can
 * send them, and only the certificate proves who is there. Needs `--allow-net=224.0.0.251:5353,[ff02::fb]:5353`, or one
 * of the two, and `--allow-sys=networkInterfaces`.
 *
 * @param id The id of the device.
 * @returns At most 16 addresses, the most useful first; none if there was no answer. A link-local IPv6 address has
 *   the scope of the interface on which it was heard.
 * @throws {Deno.errors.NotCapable} if neither group is permitted, or the interfaces may not be looked at.
 */
export async function findAddresses(
  id: string,
  options: FindOptions = {},
  network: Network = NETWORK,
): Promise<Address[]> {
  const { signal, seconds = SECONDS, logger = standardLogger } = options;
  signal?.throwIfAborted();
  const hints = new Hints(id);
  const found = Promise.withResolvers<void>();
  const listener = {
    onPacket: (packet: Incoming, { scope }: Link) => {
      if (packet.type !== "response") return;
      hints.add(knownRecords([...packet.answers, ...packet.additionals]), scope);
      if (hints.addresses().length > 0) found.resolve();
    },
    onLink: (link: Link) => void link.query({ questions: hints.questions() }),
  };
  const types = permittedTypes(network.port);
  const ending = new AbortController();
  const end = () => ending.abort();
  signal?.addEventListener("abort", end);
  const late = setTimeout(end, seconds * 1000);
  try {
    await using links = await Links.open(network, types, listener, logger);
    const asking = askAgain(links, hints, ending.signal);
    await Promise.race([found.promise, asking]);
    await pause(SETTLE_MILLISECONDS, ending.signal);
    end();
    await asking;
  } finally {
    clearTimeout(late);
    signal?.removeEventListener("abort", end);
  }
  signal?.throwIfAborted();
  return hints.addresses();
}

/** Asks again, after pauses that grow, until the signal is aborted. */
async function askAgain(links: Links, hints: Hints, signal: AbortSignal): Promise<void> {
  for (let wait = FIRST_PAUSE_MILLISECONDS; !signal.aborted; wait *= PAUSE_FACTOR) {
    await pause(wait, signal);
    if (!signal.aborted) await links.query({ questions: hints.questions() });
  }
}

/** Limits on what is kept, since anyone can send anything; the oldest entry is dropped first. */
const MAX_INSTANCES = 4;
const MAX_PORTS = 4;
const MAX_HOST_ADDRESSES = 16;
/** The most addresses returned: each of them is tried. */
const MAX_ADDRESSES = 16;

/**
 * What has been heard about a device. Its names are known but for the name of the device itself, so nothing else is kept. Anyone
 * may claim to be the device: what one says does not replace what another one has said.
 */
export class Hints {
  readonly #suffix: string;
  readonly #host: string;
  readonly #instances = new Set<string>();
  readonly #ports = new Set<number>();
  /** Each with the scope that it was heard with. */
  readonly #addresses = new Map<string, number>();

  /** Knows nothing at first. */
  constructor(id: string) {
    this.#suffix = instanceSuffix(id);
    this.#host = hostName(id);
  }

  /**
   * Takes the records of a response.
   *
   * @param scope The number of the interface on which they were heard, 0 with IPv4.
   */
  add(records: readonly KnownRecord[], scope: number): void {
    for (const record of records) {
      if (record.ttl > 0) this.#add(record, scope);
    }
  }

  #add(record: KnownRecord, scope: number): void {
    switch (record.type) {
      case "PTR":
        if (isSameName(record.name, SERVICE)) this.#addInstance(record.data);
        break;
      case "SRV": {
        const { target, port } = record.data;
        if (!this.#addInstance(record.name) || canonicalDnsName(target) !== this.#host) break;
        if (port > 0) keep(this.#ports, port, MAX_PORTS);
        break;
      }
      case "A":
      case "AAAA":
        if (canonicalDnsName(record.name) === this.#host) this.#addAddress(record.data, scope);
    }
  }

  /** Whether a name is that of the device. */
  #addInstance(text: string): boolean {
    // Names of devices are no more than this, and other names might not be sent again as they came.
    const name = canonicalDnsName(text);
    if (name === null || !name.endsWith(this.#suffix)) return false;
    keep(this.#instances, name, MAX_INSTANCES);
    return true;
  }

  #addAddress(address: string, scope: number): void {
    const host = canonicalIPAddress(address);
    if (host === null || !isUsable(host) || isLinkLocal(host) && scope === 0) return;
    if (this.#addresses.has(host)) return;
    dropOldest(this.#addresses, MAX_HOST_ADDRESSES);
    this.#addresses.set(host, isLinkLocal(host) ? scope : 0);
  }

  /** Where the device may be; the addresses that are most likely to be right are first. */
  addresses(): Address[] {
    // Addresses that routers know first, as those of this machine are in an invitation.
    const rankOf = (host: string) => isLinkLocal(host) ? 1 : isIPv4LinkLocal(host) ? 2 : 0;
    const hosts = [...this.#addresses].sort(([a], [b]) => rankOf(a) - rankOf(b));
    return hosts.flatMap(([host, scope]) =>
      Array.from(
        this.#ports,
        (port): Address => scope === 0 ? [host, port] : [host, port, 0, scope],
      )
    ).slice(0, MAX_ADDRESSES);
  }

  /** What to ask for next: what is missing. */
  questions(): Question[] {
    const instances = this.#ports.size === 0 ? [...this.#instances] : [];
    const hosts = this.#instances.size > 0 && this.#addresses.size === 0 ? [this.#host] : [];
    const missing = [...instances, ...hosts].map((name) => ({ name, type: "ANY" }));
    return [{ name: SERVICE, type: "PTR" }, ...missing];
  }
}

/** Adds a value to a set. */
function keep<T>(kept: Set<T>, value: T, most: number): void {
  if (!kept.has(value)) dropOldest(kept, most);
  kept.add(value);
}

/** Makes room for one more. */
function dropOldest<K>(kept: Set<K> | Map<K, unknown>, most: number): void {
  if (kept.size === most) kept.delete(kept.keys().next().value!);
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
