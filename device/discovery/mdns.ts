import { Buffer } from "node:buffer";
import {
  type HostAddress,
  type Logger,
  type ParsedHost,
  parseHost,
  standardLogger,
} from "../../base.ts";
import { evictOldest } from "../../internal/collections.ts";
import { joinSignals, pause } from "../../internal/pause.ts";
import { isDeviceName } from "../identity/names.ts";
import {
  type DnsRecord,
  type Link,
  Links,
  NETWORK,
  type Network,
  type Packet,
} from "./mdns_links.ts";
import {
  checkPermissions,
  type InterfaceAddress,
  isUsableHost,
  parseNetworks,
} from "./mdns_network.ts";

/** The name under which the types of services are listed (RFC 6763 §9). */
const SERVICE_TYPES = "_services._dns-sd._udp.local";

export interface Service {
  readonly name: string;
  readonly id: string;
  readonly port: number;
  readonly type: string;
}

/** The number of characters of the announced id: 80 bits, enough to tell devices apart. */
const SHORT_ID_LENGTH = 16;
/** A name, a hyphen and a short id have 63 bytes, the maximum of a label (RFC 1035 §2.3.4). */
const MAX_NAME_BYTES = 46;
/** The times to live of records with a host name, and of other records (RFC 6762 §10). */
const HOST_TTL_SECONDS = 120;
const OTHER_TTL_SECONDS = 4500;
/** The largest number of announced addresses of an interface, which keeps the packet small. */
const MAX_ANNOUNCED_ADDRESSES = 8;

export function shortenId(id: string): string {
  return id.slice(0, SHORT_ID_LENGTH);
}

/**
 * Users of other browsers of DNS-SD see the name of the device. The id makes the instance name
 * unique, so no probe is necessary (RFC 6762 §8.1).
 */
function formatInstanceName({ name, id, type }: Service): string {
  return `${name.slice(0, MAX_NAME_BYTES)}-${shortenId(id)}.${type}`;
}

/** Address records never have the name of the machine. */
function formatHostName(id: string): string {
  return `degu-${shortenId(id)}.local`;
}

export function makeRecords(service: Service, addresses: readonly InterfaceAddress[]): DnsRecord[] {
  const [name, host] = [formatInstanceName(service), formatHostName(service.id)];
  const { type, port } = service;
  const srv = { priority: 0, weight: 0, port, target: host };
  // `multicast-dns` requires a Buffer.
  const id = Buffer.from(`id=${shortenId(service.id)}`);
  // Other machines can't use an address with a scope.
  const usableAddresses = addresses.filter(({ address }) => {
    const host = parseHost(address);
    if (host === null || host.type === "name" || host.reach === "loopback") return false;
    return host.zone === null && !(host.type === "IPv6" && host.reach === "link");
  }).sort((a, b) => a.family.localeCompare(b.family));
  return [
    { name: type, type: "PTR", ttl: OTHER_TTL_SECONDS, data: name },
    { name: SERVICE_TYPES, type: "PTR", ttl: OTHER_TTL_SECONDS, data: type },
    { name, type: "TXT", ttl: OTHER_TTL_SECONDS, flush: true, data: [id] },
    { name, type: "SRV", ttl: HOST_TTL_SECONDS, flush: true, data: srv },
    ...usableAddresses.slice(0, MAX_ANNOUNCED_ADDRESSES).map(({ family, address }): DnsRecord => {
      const type = family === "IPv4" ? "A" : "AAAA";
      return { name: host, type, ttl: HOST_TTL_SECONDS, flush: true, data: address };
    }),
  ];
}

/** The pause between the two announcements (RFC 6762 §8.3). */
const SECOND_ANNOUNCEMENT_MILLISECONDS = 1000;
/** The shortest pause between two responses on one link: queries can't cause a flood (§6). */
const MIN_RESPONSE_INTERVAL_MILLISECONDS = 1000;
/** The random delay of a response, because other devices may respond at the same time (§6). */
const MIN_DELAY_MILLISECONDS = 20;
const MAX_DELAY_MILLISECONDS = 120;

/**
 * The announcement of a device on every network of this machine, made by `announce()`. It lasts
 * until it is disposed of, and is then withdrawn. Responds only to questions about this device, at
 * most once a second on each network.
 */
export class Announcement implements AsyncDisposable {
  /**
   * The announced name of the service, after the first announcement on a network. Stays pending on
   * a machine without a network.
   */
  readonly announced: Promise<string>;
  readonly #service: Service;
  readonly #closeController = new AbortController();
  readonly #responseTimers = new Map<Link, ReturnType<typeof setTimeout>>();
  readonly #lastResponseAt = new WeakMap<Link, number>();
  readonly #onAnnounced: (name: string) => void;
  readonly #announcementEnded: Promise<void>;

  /** @internal */
  constructor(
    { logger = standardLogger(), ...service }: Service & { readonly logger?: Logger | undefined },
    network: Network = NETWORK,
  ) {
    checkPermissions(network.port);
    this.#service = service;
    ({ promise: this.announced, resolve: this.#onAnnounced } = Promise.withResolvers<string>());
    this.#announcementEnded = this.#announce(network, logger).catch((error) =>
      logger.warn(`the announcement has ended: ${error}`)
    );
  }

  async #announce(network: Network, logger: Logger): Promise<void> {
    await using links = await Links.open({
      network,
      logger,
      onPacket: (packet, link) => this.#onPacket(packet, link),
      onLink: (link) => void this.#onLink(link),
    });
    await pause(Infinity, this.#closeController.signal);
    this.#responseTimers.values().forEach(clearTimeout);
    // Don't withdraw the addresses: other programs may also announce them.
    const [pointerRecord, , ...deviceRecords] = makeRecords(this.#service, []);
    const answers = [pointerRecord!, ...deviceRecords].map((record) => ({ ...record, ttl: 0 }));
    await links.send({ type: "response", answers });
  }

  async #onLink(link: Link): Promise<void> {
    this.#respond(link, 0);
    await pause(SECOND_ANNOUNCEMENT_MILLISECONDS, this.#closeController.signal);
    this.#respond(link, 0);
  }

  #onPacket({ type, questions }: Packet, link: Link): void {
    if (type !== "query") return;
    const records = makeRecords(this.#service, link.addresses);
    const formatQuestion = (name: string, type: string) => `${type} ${normalizeName(name)}`;
    const answeredQuestions = new Set(
      records.flatMap(({ name, type }) => [type, "ANY"].map((type) => formatQuestion(name, type))),
    );
    const matchesQuestion = questions.some(({ name, type }) =>
      answeredQuestions.has(formatQuestion(name, type))
    );
    const range = MAX_DELAY_MILLISECONDS - MIN_DELAY_MILLISECONDS;
    if (matchesQuestion) this.#respond(link, MIN_DELAY_MILLISECONDS + Math.random() * range);
  }

  #respond(link: Link, delayMilliseconds: number): void {
    if (this.#closeController.signal.aborted || this.#responseTimers.has(link)) return;
    const earliestAt = (this.#lastResponseAt.get(link) ?? -Infinity) +
      MIN_RESPONSE_INTERVAL_MILLISECONDS;
    const send = async () => {
      this.#responseTimers.delete(link);
      this.#lastResponseAt.set(link, performance.now());
      await link.send({ type: "response", answers: makeRecords(this.#service, link.addresses) });
      this.#onAnnounced(formatInstanceName(this.#service).split(".")[0]!);
    };
    this.#responseTimers.set(
      link,
      setTimeout(send, Math.max(delayMilliseconds, earliestAt - performance.now())),
    );
  }

  /** Withdraws the announcement. Further calls have no effect. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closeController.abort();
    await this.#announcementEnded;
  }
}

const DEFAULT_SEARCH_SECONDS = 3;
/** The first pause between two queries, and the factor by which it grows (RFC 6762 §5.2). */
const FIRST_PAUSE_MILLISECONDS = 250;
const PAUSE_FACTOR = 2;
/**
 * The time to wait for more responses after the first. A device may respond late: it waits a
 * second after its previous response (RFC 6762 §6).
 */
export const MORE_RESPONSES_MILLISECONDS = 1200;

interface SearchOptions {
  readonly signal?: AbortSignal | undefined;
  /** The longest duration of the search without a response. */
  readonly seconds?: number | undefined;
  readonly logger?: Logger | undefined;
}

/**
 * **The addresses are hints**: any machine on the link can send them, and only the certificate
 * proves the identity of a device.
 */
export async function findAddresses(
  type: string,
  id: string,
  options: SearchOptions,
  network: Network = NETWORK,
): Promise<HostAddress[]> {
  const hints = new AddressHints(id, `-${shortenId(id)}.${type}`);
  await search(type, options, network, (records, addresses) => {
    hints.add(records, addresses);
    return hints.listAddresses().length > 0;
  });
  return hints.listAddresses();
}

/** An announced device. Any machine can announce any name, id and addresses. */
export interface NearbyDevice {
  /** The first 46 characters of the name. */
  readonly name: string;
  /** The first 16 characters of the id. */
  readonly id: string;
  /** At most 16 addresses, of which at least one is usable in the networks of this machine. */
  readonly addresses: readonly HostAddress[];
}

const MAX_SERVICES = 32;

/** **Names, ids and addresses are hints**, as in {@linkcode findAddresses}. */
export async function discoverServices(
  type: string,
  options: SearchOptions,
  network: Network = NETWORK,
  onServices: (services: readonly NearbyDevice[]) => boolean | void = () => {},
): Promise<NearbyDevice[]> {
  const services = new Map<string, { name: string; id: string; hints: AddressHints }>();
  const listUsable = () =>
    Array.from(services.values(), ({ hints, ...service }) => {
      return { ...service, addresses: hints.listAddresses() };
    }).filter(({ addresses }) => addresses.length > 0);
  const hintsOf = (id: string | null) =>
    services.values().find((service) => service.id === id)?.hints;
  await search(type, options, network, (records, addresses) => {
    for (const { name: instance, type: kind, ttl } of records) {
      if (kind !== "SRV") continue;
      const [label = "", ...typeLabels] = instance.split(".");
      const [, name, id] = /^(.{1,46})-([a-z2-7]{16})$/.exec(label) ?? [];
      const isService = typeLabels.join(".") === type &&
        id !== undefined && name !== undefined && isDeviceName(name);
      if (!isService) continue;
      const key = label.toLowerCase();
      // A time to live of 0 is the end of a service (RFC 6762 §10.1).
      if (ttl === 0) services.delete(key);
      else {
        const hints = hintsOf(id) ?? new AddressHints(id, `-${id}.${type}`);
        addIfNew(services, key, { name, id, hints }, MAX_SERVICES);
      }
    }
    for (const [id, ownRecords] of Map.groupBy(records, ({ name }) => findShortId(name))) {
      hintsOf(id)?.add(ownRecords, addresses);
    }
    return onServices(listUsable()) === true;
  });
  return listUsable();
}

/** @param onRecords Returns true if the search may end soon. */
async function search(
  type: string,
  { signal, seconds = DEFAULT_SEARCH_SECONDS, logger = standardLogger() }: SearchOptions,
  network: Network,
  onRecords: (
    records: readonly DnsRecord[],
    interfaceAddresses: readonly InterfaceAddress[],
  ) => boolean,
): Promise<void> {
  signal?.throwIfAborted();
  checkPermissions(network.port);
  // The only question: devices send all their records in one response.
  const query = { type: "query", questions: [{ name: type, type: "PTR" }] } as const;
  const endController = new AbortController();
  const endAfter = (milliseconds: number) => setTimeout(() => endController.abort(), milliseconds);
  let endTimer = endAfter(seconds * 1000);
  let hasResponse = false;
  const onPacket = ({ type, answers, additionals }: Packet, { addresses }: Link) => {
    if (type !== "response") return;
    const mayEnd = onRecords([...answers, ...additionals], addresses);
    if (!mayEnd || hasResponse) return;
    hasResponse = true;
    clearTimeout(endTimer);
    endTimer = endAfter(MORE_RESPONSES_MILLISECONDS);
  };
  const onLink = (link: Link) => void link.send(query);
  try {
    await using links = await Links.open({ network, logger, onPacket, onLink });
    for (let pauseMilliseconds = FIRST_PAUSE_MILLISECONDS;; pauseMilliseconds *= PAUSE_FACTOR) {
      await pause(pauseMilliseconds, joinSignals(endController.signal, signal));
      if (endController.signal.aborted || signal?.aborted) break;
      await links.send(query);
    }
  } finally {
    clearTimeout(endTimer);
  }
  signal?.throwIfAborted();
}

/** The limits of memory, since any machine can send records. The oldest entry is dropped first. */
const MAX_PORTS = 4;
const MAX_HOST_ADDRESSES = 16;
const MAX_FOUND_ADDRESSES = 16;

/** Any machine can claim to be the device, so a new claim doesn't replace an older claim. */
export class AddressHints {
  readonly #suffix: string;
  readonly #host: string;
  readonly #ports = new Map<number, null>();
  readonly #hosts = new Map<string, ParsedHost["reach"]>();

  constructor(id: string, suffix: string) {
    this.#suffix = suffix.toLowerCase();
    this.#host = formatHostName(id);
  }

  add(records: readonly DnsRecord[], interfaceAddresses: readonly InterfaceAddress[]): void {
    const networks = parseNetworks(interfaceAddresses);
    for (const record of records) {
      if (record.ttl === 0) continue;
      const name = normalizeName(record.name);
      if (record.type === "SRV") {
        const { target, port } = record.data;
        const isService = name.endsWith(this.#suffix) && normalizeName(target) === this.#host &&
          isDeviceName(name.slice(0, -this.#suffix.length));
        if (isService && port > 0) addIfNew(this.#ports, port, null, MAX_PORTS);
      } else if ((record.type === "A" || record.type === "AAAA") && name === this.#host) {
        const host = parseHost(record.data);
        if (host !== null && isUsableHost(host, networks)) {
          addIfNew(this.#hosts, host.text, host.reach, MAX_HOST_ADDRESSES);
        }
      }
    }
  }

  listAddresses(): HostAddress[] {
    const hosts = [...this.#hosts].sort(([, a], [, b]) =>
      Number(a === "link") - Number(b === "link")
    );
    return hosts.flatMap(([host]) =>
      Array.from(this.#ports.keys(), (port): HostAddress => [host, port])
    )
      .slice(0, MAX_FOUND_ADDRESSES);
  }
}

function addIfNew<K, V>(map: Map<K, V>, key: K, value: V, maxSize: number): void {
  if (map.has(key)) return;
  map.set(key, value);
  evictOldest(map, maxSize);
}

/**
 * Converts to lower case, because case is ignored (RFC 6762 §16). Doesn't check the name: a packet
 * can have a thousand long names.
 */
function normalizeName(name: string): string {
  return name.toLowerCase().replace(/\.$/, "");
}

/** Returns the short id in the name of a service, or of the host of a device. */
function findShortId(name: string): string | null {
  return /^[^.]*-([a-z2-7]{16})\./i.exec(name)?.[1]?.toLowerCase() ?? null;
}
