/**
 * Where a device may be, as far as the network says.
 *
 * @module
 */

import {
  canonicalDnsName,
  canonicalIPAddress,
  isIPv4,
  isIPv4LinkLocal,
  isLinkLocal,
  isLoopback,
} from "../../base/address_rules.ts";
import type { Address } from "../../base/address_rules.ts";
import { isSameName, type KnownRecord, type Question } from "./packet.ts";
import { idIn, SERVICE, shortId } from "./service.ts";

/** Limits on what is kept, since anyone can send anything; the oldest entry is dropped first. */
const MAX_INSTANCES = 64;
const MAX_HOSTS = 64;
const MAX_HOST_ADDRESSES = 16;
/** The most addresses returned: each of them is tried. */
const MAX_ADDRESSES = 16;
/** The most questions of one packet. */
const MAX_QUESTIONS = 8;

/** An instance of the service, as far as it is known. */
interface Instance {
  readonly name: string;
  isWanted: boolean;
  target: string | null;
  port: number;
}

/** What has been heard about a device. */
export class Hints {
  readonly #id: string;
  readonly #instances = new Map<string, Instance>();
  /** The addresses of hosts, each with the scope that it was heard with. */
  readonly #hosts = new Map<string, Map<string, number>>();

  /** Knows nothing at first. */
  constructor(id: string) {
    this.#id = shortId(id);
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
        if (isSameName(record.name, SERVICE)) this.#instance(record.data);
        break;
      case "TXT": {
        const instance = this.#instance(record.name);
        if (instance !== null) instance.isWanted = idIn(record.data) === this.#id;
        break;
      }
      case "SRV": {
        const instance = this.#instance(record.name);
        if (instance === null) break;
        instance.target = canonicalDnsName(record.data.target);
        instance.port = record.data.port;
        break;
      }
      default:
        this.#addHost(record.name, record.data, scope);
    }
  }

  /** The instance of a name; `null` if it is one of another service. */
  #instance(text: string): Instance | null {
    // Names of devices are no more than this, and other names might not be sent again as they came.
    const name = canonicalDnsName(text);
    if (name === null || !name.endsWith(`.${SERVICE}`)) return null;
    return remembered(this.#instances, name, MAX_INSTANCES, () => {
      return { name, isWanted: false, target: null, port: 0 };
    });
  }

  #addHost(text: string, address: string, scope: number): void {
    const name = canonicalDnsName(text);
    const host = canonicalIPAddress(address);
    if (name === null || host === null || !isUsable(host)) return;
    if (isLinkLocal(host) && scope === 0) return;
    const addresses = remembered(this.#hosts, name, MAX_HOSTS, () => new Map());
    remembered(addresses, host, MAX_HOST_ADDRESSES, () => isLinkLocal(host) ? scope : 0);
  }

  /** Where the device may be; the addresses that are most likely to be right are first. */
  addresses(): Address[] {
    const found = [...this.#instances.values()]
      .filter(({ isWanted, port }) => isWanted && port > 0)
      .flatMap(({ target, port }) =>
        [...this.#hosts.get(target ?? "") ?? []].map(([host, scope]): Address =>
          scope === 0 ? [host, port] : [host, port, 0, scope]
        )
      );
    // Addresses that routers know first, as those of this machine are in an invitation.
    const rankOf = ([host]: Address) =>
      isLinkLocal(`${host}`) ? 1 : isIPv4LinkLocal(`${host}`) ? 2 : 0;
    return found.toSorted((a, b) => rankOf(a) - rankOf(b)).slice(0, MAX_ADDRESSES);
  }

  /** What to ask for next: what is missing of the instances. */
  questions(): Question[] {
    const missing: Question[] = [];
    for (const { name, isWanted, target } of this.#instances.values()) {
      if (target === null || !isWanted) missing.push({ name, type: "ANY" });
      else if (!this.#hosts.has(target)) missing.push({ name: target, type: "ANY" });
    }
    return [{ name: SERVICE, type: "PTR" }, ...missing].slice(0, MAX_QUESTIONS);
  }
}

/** The value of a key, made if there is none; the oldest is dropped if there are too many. */
function remembered<V>(map: Map<string, V>, key: string, most: number, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  if (map.size === most) map.delete(map.keys().next().value!);
  const made = make();
  map.set(key, made);
  return made;
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
