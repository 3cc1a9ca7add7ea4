/** Tells the network that this device serves, by mDNS and DNS-SD (RFC 6762, RFC 6763). */

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

/** Between the two announcements (RFC 6762 §8.3). */
const AGAIN_MILLISECONDS = 1000;
/** Between two responses on one link (RFC 6762 §6): queries can't provoke a flood of answers. */
const GAP_MILLISECONDS = 1000;
/** A response is held back for a moment, at random, since others may answer, too (RFC 6762 §6). */
const LEAST_DELAY_MILLISECONDS = 20;
const MOST_DELAY_MILLISECONDS = 120;

/**
 * Announces this device on every interface, until it is disposed of. Answers questions about this device only,
 * once a second at most on each interface. The announced name has the id in it, so it is never taken, and is not probed for.
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
    /** Resolves to the announced name once it was announced on a link; stays pending if that never happens. */
    announced,
    [Symbol.asyncDispose]: async () => {
      closing.abort();
      await announcing;
    },
  };
}

/** Sends the records of a service when they are asked for, no more often than the rules allow. */
export class Responder implements Disposable {
  readonly #service: Service;
  /** When the last response was sent on a link. */
  readonly #last = new WeakMap<Link, number>();
  /** The next response on a link, where one is due. */
  readonly #due = new Map<Link, ReturnType<typeof setTimeout>>();

  constructor(service: Service) {
    this.#service = service;
  }

  /** Sends all records on a link; never rejects. */
  async respond(link: Link): Promise<void> {
    await link.send({ type: "response", answers: recordsOf(this.#service, link.on.addresses) });
  }

  /** Answers a query, if it asks for a record of the service. */
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
