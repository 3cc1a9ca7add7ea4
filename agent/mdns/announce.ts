/** Announces this device to the network with mDNS and DNS-SD (RFC 6762, RFC 6763). */

import { pause } from "../../base/pause.ts";
import type { Logger } from "../../net/logger.ts";
import { messageOf } from "../../net/thrown.ts";
import { type Link, Links, NETWORK, type Network, permittedTypes } from "./links.ts";
import {
  goodbyes,
  type Incoming,
  instanceName,
  isAsked,
  isKnown,
  recordsOf,
  type Service,
} from "./packet.ts";

/** The pause between the two announcements (RFC 6762 §8.3). */
const AGAIN_MILLISECONDS = 1000;
/**
 * The least pause between two responses on one link (RFC 6762 §6): queries can't provoke a flood.
 */
const GAP_MILLISECONDS = 1000;
/**
 * The random delay of a response, because other devices may answer at the same time (RFC 6762 §6).
 */
const LEAST_DELAY_MILLISECONDS = 20;
const MOST_DELAY_MILLISECONDS = 120;

/**
 * Announces this device on every interface, until disposed of. Only questions about this device are
 * answered, at most once a second on each interface. The announced name contains the id, so no
 * other device can have it, and no probe is needed.
 */
export function announce(
  { logger, ...service }: Service & { readonly logger: Logger },
  network: Network = NETWORK,
) {
  const types = permittedTypes(network.port);
  const closing = new AbortController();
  const { signal } = closing;
  const { promise: announced, resolve } = Promise.withResolvers<string>();
  const onLink = async (link: Link) => {
    await responder.respond(link);
    resolve(instanceName(service).split(".")[0]!);
    await pause(AGAIN_MILLISECONDS, signal);
    if (!signal.aborted) await responder.respond(link);
  };
  const onPacket = (packet: Incoming, link: Link) => {
    if (packet.type === "query" && !signal.aborted) responder.answer(packet, link);
  };
  const responder = new Responder(service);
  const announcing = (async () => {
    await using links = await Links.open({ network, types, logger, onPacket, onLink });
    await pause(Infinity, signal);
    responder[Symbol.dispose]();
    await links.send({ type: "response", answers: goodbyes(service) });
  })().catch((error) => logger.warn(`the announcement has ended: ${messageOf(error)}`));
  return {
    /** Resolves to the announced name after the first announcement on a link; may stay pending. */
    announced,
    [Symbol.asyncDispose]: async () => {
      closing.abort();
      await announcing;
    },
  };
}

/** Whether a device may be announced; nothing is asked for. */
export function mayAnnounce(): boolean {
  const interfaces = { name: "sys", kind: "networkInterfaces" } as const;
  if (Deno.permissions.querySync(interfaces).state !== "granted") return false;
  try {
    return permittedTypes(NETWORK.port).length > 0;
  } catch {
    return false;
  }
}

/** Answers questions about a service, no more often than the rules allow. */
export class Responder implements Disposable {
  readonly #service: Service;
  /** The time of the last response on each link. */
  readonly #last = new WeakMap<Link, number>();
  /** The timer of the next response on each link that has a question. */
  readonly #due = new Map<Link, ReturnType<typeof setTimeout>>();

  constructor(service: Service) {
    this.#service = service;
  }

  /** Sends all records on a link; never rejects. */
  async respond(link: Link): Promise<void> {
    await link.send({ type: "response", answers: recordsOf(this.#service, link.on.addresses) });
  }

  /** Answers a query for a record of the service. */
  answer({ questions, answers }: Incoming, link: Link): void {
    if (!isAsked(questions, recordsOf(this.#service, link.on.addresses))) return;
    const asksForName = questions.some(({ name }) => name === instanceName(this.#service));
    if (!asksForName && isKnown(answers, this.#service)) return;
    if (this.#due.has(link)) return;
    const range = MOST_DELAY_MILLISECONDS - LEAST_DELAY_MILLISECONDS;
    const delay = LEAST_DELAY_MILLISECONDS + Math.random() * range;
    const next = (this.#last.get(link) ?? -Infinity) + GAP_MILLISECONDS;
    const respond = () => {
      this.#due.delete(link);
      this.#last.set(link, performance.now());
      this.respond(link);
    };
    this.#due.set(link, setTimeout(respond, Math.max(delay, next - performance.now())));
  }

  [Symbol.dispose](): void {
    for (const timer of this.#due.values()) clearTimeout(timer);
  }
}
