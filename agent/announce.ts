/**
 * Tells the network that this device serves, by mDNS and DNS-SD (RFC 6762, RFC 6763).
 *
 * @module
 */

import type { SocketType } from "node:dgram";
import { freeName, nameKey } from "../device/device_name.ts";
import type { Logger } from "../net/standard_logger.ts";
import { messageOf } from "../net/thrown.ts";
import { hasToGiveWay, isConflict } from "./mdns/conflicts.ts";
import { type Link, Links, NETWORK, type Network } from "./mdns/links.ts";
import { type Incoming, knownRecords } from "./mdns/packet.ts";
import { pause } from "../base/pause.ts";
import { permittedTypes } from "./mdns/permission.ts";
import { Responder } from "./mdns/responder.ts";
import { allRecords, goodbyes, instanceName, type Service, uniqueRecords } from "./mdns/service.ts";

/** How many probes are sent to find out whether a name is taken, and the pause after each (RFC 6762 §8.1). */
const PROBES = 3;
const PROBE_MILLISECONDS = 250;
/** Pause after losing a name to a device that probed for it at the same time (RFC 6762 §8.2). */
const GIVE_WAY_MILLISECONDS = 1000;
/** How many times in a row that may happen: something that collides every time is not a real device. */
const MAX_GIVEN_WAY = 3;
/** Between the two announcements (RFC 6762 §8.3). */
const AGAIN_MILLISECONDS = 1000;
/** After this many conflicts, there is this pause before each further attempt (RFC 6762 §8.1). */
const MANY_CONFLICTS = 15;
const CONFLICT_MILLISECONDS = 5000;
/** After this many taken names, the first one is tried again. */
const MAX_TAKEN = 99;

/** What {@linkcode announce} tells the network about this device. */
export interface AnnounceOptions {
  /** The name of the device. If another one on the link has it, `-2`, `-3` … is added. */
  readonly name: string;
  /** The id of the device, of which the first 16 characters are announced. */
  readonly id: string;
  /** The port of its server. */
  readonly port: number;
  readonly logger: Logger;
}

/** An announcement in progress. Disposing of it withdraws it and closes its sockets. */
export interface Announcement extends AsyncDisposable {
  /** Resolves to the name once it is free on every link and was announced; stays pending if that never happens. */
  readonly announced: Promise<string>;
}

/**
 * Announces this device on every interface, until it is disposed of. Answers questions about this device only,
 * once a second at most on each interface. Needs `--allow-net=224.0.0.251:5353,[ff02::fb]:5353`, or one of the two,
 * and `--allow-sys=networkInterfaces`.
 *
 * @throws {Deno.errors.NotCapable} if neither group is permitted, or the interfaces may not be looked at.
 */
export function announce(options: AnnounceOptions, network: Network = NETWORK): Announcement {
  return new Announcer(options, network);
}

/** The verdict on a name: another device has it, another device wins it, or it must be probed for again. */
type Verdict = "taken" | "give way" | "again";

/**
 * Probes for a name and holds it. A name with the id in it could not be taken, but other browsers show the name to people,
 * and finding a device keeps one address for each name, which its holder defends against whoever else claims it.
 */
class Announcer implements Announcement {
  readonly #options: AnnounceOptions;
  readonly #closing = new AbortController();
  readonly #announced = Promise.withResolvers<string>();
  readonly #taken = new Set<string>();
  readonly #life: Promise<void>;
  #verdict = Promise.withResolvers<Verdict>();
  #responder: Responder | null = null;
  #conflicts = 0;
  #givenWay = 0;
  #told = "";

  constructor(options: AnnounceOptions, network: Network) {
    this.#options = options;
    const types = permittedTypes(network.port);
    this.#life = this.#live(network, types).catch((error) => {
      options.logger.warn(`the announcement has ended: ${messageOf(error)}`);
    });
  }

  get announced(): Promise<string> {
    return this.#announced.promise;
  }

  async #live(network: Network, types: readonly SocketType[]): Promise<void> {
    const listener = {
      onPacket: (packet: Incoming, link: Link) => this.#receive(packet, link),
      onLink: () => this.#verdict.resolve("again"),
    };
    await using links = await Links.open(network, types, listener, this.#options.logger);
    const { signal } = this.#closing;
    while (!signal.aborted) {
      this.#verdict = Promise.withResolvers();
      if (links.size === 0) await this.#verdictWithin(Infinity, signal);
      const verdict = await this.#probe(links, signal) ?? await this.#hold(links, signal);
      await this.#obey(verdict, signal);
    }
  }

  /** The service, with the name that is tried or held. */
  get #service(): Service {
    const { name, id, port } = this.#options;
    return { name: freeName(name, this.#taken), id, port };
  }

  /** Asks whether the name is taken; `null` if nobody says so. */
  async #probe(links: Links, signal: AbortSignal): Promise<Verdict | null> {
    const service = this.#service;
    const questions = [{ name: instanceName(service), type: "ANY" }];
    // Random: devices that are switched on at the same moment would otherwise probe in step.
    let verdict = await this.#verdictWithin(Math.random() * PROBE_MILLISECONDS, signal);
    for (let i = 0; i < PROBES && verdict === null && !signal.aborted; i++) {
      await links.query({ questions, authorities: uniqueRecords(service) });
      verdict = await this.#verdictWithin(PROBE_MILLISECONDS, signal);
    }
    return signal.aborted ? "again" : verdict;
  }

  /** Announces the name and answers queries for it until there is a conflict. */
  async #hold(links: Links, signal: AbortSignal): Promise<Verdict> {
    const service = this.#service;
    using responder = new Responder(service);
    this.#responder = responder;
    const tell = () =>
      links.respond(({ addresses }) => ({ answers: allRecords(service, addresses) }));
    await tell();
    this.#tellName(service.name);
    let verdict = await this.#verdictWithin(AGAIN_MILLISECONDS, signal);
    if (verdict === null && !signal.aborted) {
      await tell();
      verdict = await this.#verdictWithin(Infinity, signal);
    }
    this.#responder = null;
    if (signal.aborted) await links.respond(() => ({ answers: goodbyes(service) }));
    return verdict ?? "again";
  }

  #tellName(name: string): void {
    this.#givenWay = 0;
    this.#announced.resolve(name);
    if (name !== this.#told) this.#options.logger.info(`announced as ${name}`);
    this.#told = name;
  }

  /** Does what a verdict asks for before the next attempt. */
  async #obey(verdict: Verdict, signal: AbortSignal): Promise<void> {
    if (verdict === "again") return;
    if (verdict === "give way" && ++this.#givenWay <= MAX_GIVEN_WAY) {
      return await pause(GIVE_WAY_MILLISECONDS, signal);
    }
    this.#givenWay = 0;
    if (this.#taken.size === MAX_TAKEN) this.#taken.clear();
    this.#taken.add(nameKey(this.#service.name));
    if (++this.#conflicts >= MANY_CONFLICTS) await pause(CONFLICT_MILLISECONDS, signal);
  }

  /** The verdict on the name within a time; `null` if there is none, or if the announcement ends. */
  async #verdictWithin(milliseconds: number, signal: AbortSignal): Promise<Verdict | null> {
    const enough = new AbortController();
    try {
      const pausing = pause(milliseconds, signal, enough.signal);
      return await Promise.race([this.#verdict.promise, pausing.then(() => null)]);
    } finally {
      enough.abort();
    }
  }

  #receive(packet: Incoming, link: Link): void {
    const own = uniqueRecords(this.#service);
    if (packet.type === "query") {
      if (this.#responder !== null) return this.#responder.answer(packet, link);
      if (hasToGiveWay(own, knownRecords(packet.authorities))) this.#verdict.resolve("give way");
    } else if (isConflict(own, knownRecords([...packet.answers, ...packet.additionals]))) {
      // The holder of a name probes again: the other device may be wrong, or gone.
      this.#verdict.resolve(this.#responder === null ? "taken" : "again");
    }
  }

  /** Withdraws the announcement and closes the sockets. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#life;
  }
}
