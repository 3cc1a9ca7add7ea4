/**
 * Looks for a device on the links of this machine, by mDNS and DNS-SD (RFC 6762, RFC 6763).
 *
 * @module
 */

import type { Address } from "../base/address_rules.ts";
import { type Logger, standardLogger } from "../net/standard_logger.ts";
import { Hints } from "./mdns/hints.ts";
import { type Link, Links, NETWORK, type Network } from "./mdns/links.ts";
import { type Incoming, knownRecords } from "./mdns/packet.ts";
import { pause } from "../base/pause.ts";
import { permittedTypes } from "./mdns/permission.ts";

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
