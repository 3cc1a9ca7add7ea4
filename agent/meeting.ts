/**
 * Two devices of one network that pair: both announce themselves and look for the other one, one
 * joins the other, and people compare a number.
 */

import { formatAddress } from "@degu/degu/base";
import {
  type Device,
  type Invitation,
  PairingError,
  type PairingQuestion,
  type Peer,
} from "@degu/degu/device";
import { pause } from "./pause.ts";
import type { HostOrScopedAddress } from "./addresses.ts";
import type { Context } from "./command.ts";
import { loggerOf } from "./own_device.ts";
import { NOT_CONFIRMED_HERE, notConfirmedThere, RUN_BOTH_AGAIN } from "./explain.ts";
import { Failure, toUsageFailure } from "./failure.ts";
import {
  announceInvitation,
  describeThisDevice,
  isReachableFromNetwork,
  openInvitation,
  showCountdown,
} from "./inviting.ts";
import { isExpectedDevice } from "./joining.ts";
import { type DiscoveredService, discoverServices, PAIR_SERVICE, shortId } from "./mdns.ts";
import { MAX_NUMBERS, type NumberPrompt } from "./numbers.ts";

/** How long both announce and look before a number is shown: all that are near are known then. */
const DISCOVERY_MILLISECONDS = 3000;
/** After so long without another device, the address is shown: the network may pass on nothing. */
const SHOW_ADDRESS_AFTER_MILLISECONDS = 10_000;
/** After so long without a number, the device with the larger id joins, too. */
const CONNECT_MILLISECONDS = 5000;
/** The least time to reach one address of the other device. */
const MIN_CONNECT_MILLISECONDS = 1000;
const REJOIN_MILLISECONDS = 1000;
/** How long an invitation stays after a no: a joiner that has just confirmed is told. */
const REFUSAL_DELAY_MILLISECONDS = 2000;
const TOTAL_TIMEOUT_SECONDS = 600;
const USE_A_LINE = 'pair by a line, with "degu invite" on one and "degu join -" on the other';

/** The options of `degu pair`. */
export interface PairSessionOptions {
  readonly peerName: string | undefined;
  readonly serving: HostOrScopedAddress[] | undefined;
  readonly listen: HostOrScopedAddress[] | undefined;
}

/** Pairs with the device on which a person runs the same command. */
export async function pairByDiscovery(
  context: Context,
  device: Device,
  questions: NumberPrompt,
  options: PairSessionOptions,
): Promise<Peer> {
  const meeting = new PairSession(context, device, questions, options);
  const confirm = (question: PairingQuestion) => meeting.askAboutJoiner(question);
  const all = { ...options, seconds: TOTAL_TIMEOUT_SECONDS, confirm };
  await using invitation = await openInvitation(context, device, all);
  return await meeting.run(invitation);
}

/** A device that has announced itself. */
interface DiscoveredDevice {
  readonly offer: DiscoveredService;
  /** When its announcement ended; `Infinity` while it announces itself. */
  until: number;
}

class PairSession {
  readonly #context: Context;
  readonly #device: Device;
  readonly #questions: NumberPrompt;
  readonly #options: PairSessionOptions;
  /** When the first number may be shown. */
  #lookedAt = -Infinity;
  readonly #over = new AbortController();
  /** Aborted when the two are paired, or can't be. */
  readonly #ends: AbortSignal;
  readonly #failed = Promise.withResolvers<never>();
  #invitation!: Invitation;
  #announcement: AsyncDisposable | null = null;
  #concealed: PromiseLike<void> | undefined;
  /** The devices that have announced themselves, by their ids. */
  readonly #heard = new Map<string, DiscoveredDevice>();
  #found = Promise.withResolvers<void>();
  #isAddressShown = false;
  #numbers = 0;
  /** Whether no device can join this one any more, because its numbers are used up. */
  #isUsedUp = false;
  /** The 16 characters of the device that a person has chosen; `null` while there is no choice. */
  #chosen: string | null = null;
  /** Resolves when a person has chosen; `null` where there was nothing to choose. */
  #choosing: Promise<void> | null = null;
  /** Resolves when the open question is over; there is one at a time. */
  #question: PromiseWithResolvers<void> | null = null;
  /** An attempt to join that has not led to a number yet. */
  #attempt: AbortController | null = null;
  /** The codes of failed attempts that were printed. */
  readonly #said = new Set<string>();

  constructor(
    context: Context,
    device: Device,
    questions: NumberPrompt,
    options: PairSessionOptions,
  ) {
    this.#context = context;
    this.#device = device;
    this.#questions = questions;
    this.#options = options;
    this.#ends = AbortSignal.any([context.signal, this.#over.signal]);
  }

  async run(invitation: Invitation): Promise<Peer> {
    this.#invitation = invitation;
    const { signal, output } = this.#context;
    output.note(`${describeThisDevice(this.#device)}; run "degu pair" on the other device, too`);
    using _countdown = showCountdown(this.#context, invitation);
    this.#announce();
    const near = isReachableFromNetwork(invitation);
    if (near) this.#lookedAt = performance.now() + DISCOVERY_MILLISECONDS;
    invitation.exhausted.then(async () => {
      await this.#waitForLook();
      this.#isUsedUp = true;
      this.#endIfUsedUp();
    });
    const joined = Promise.withResolvers<Peer>();
    const look = async () => {
      if (near) await this.#look();
    };
    const join = async () => {
      if (near) joined.resolve(await this.#join());
    };
    const tasks = [look(), join(), this.#showAddress(near ? SHOW_ADDRESS_AFTER_MILLISECONDS : 0)];
    // An interrupted command ends with its invitation, whose peer may be just being stored.
    for (const each of tasks) each.catch((error) => signal.aborted || this.#failed.reject(error));
    try {
      return await Promise.race([invitation.paired, joined.promise, this.#failed.promise]);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Deno.errors.TimedOut)) throw error;
      throw new Failure(`nobody has come in ten minutes: ${RUN_BOTH_AGAIN}`, null, {
        cause: error,
      });
    } finally {
      this.#over.abort();
      this.#conceal();
      await Promise.allSettled([...tasks, this.#concealed]);
    }
  }

  /** A device that shows a number is not announced: others would only disturb. */
  #announce(): void {
    const given = [this.#context, this.#device, this.#invitation, PAIR_SERVICE] as const;
    this.#announcement = announceInvitation(...given);
  }

  #conceal(): void {
    this.#concealed = this.#announcement?.[Symbol.asyncDispose]() ?? this.#concealed;
    this.#announcement = null;
  }

  async #look(): Promise<void> {
    const logger = loggerOf(this.#context);
    const options = { signal: this.#ends, seconds: TOTAL_TIMEOUT_SECONDS, logger };
    await discoverServices(PAIR_SERVICE, options, undefined, (offers) => {
      const others = offers.filter(({ id }) => id !== shortId(this.#device.id));
      const now = performance.now();
      for (const each of this.#heard.values()) each.until = Math.min(each.until, now);
      for (const offer of others) this.#heard.set(offer.id, { offer, until: Infinity });
      if (others.length > 0) this.#found.resolve();
    });
  }

  /**
   * The devices that are near, or the chosen one. One that shows a number is not announced any
   * more, and was near all the same.
   */
  #near(): DiscoveredDevice[] {
    const since = performance.now() - DISCOVERY_MILLISECONDS;
    return [...this.#heard.values()].filter(({ offer, until }) =>
      until >= since && this.#isChosen(offer.id)
    );
  }

  /** Whether a person may mean the device with these 16 characters, as far as it has chosen. */
  #isChosen(id: string): boolean {
    return this.#chosen === null || this.#chosen === id;
  }

  /** The only device that is near, or that a person has chosen; `null` if it is not announced. */
  async #choose(): Promise<DiscoveredService | null> {
    const near = this.#near();
    if (near.length > 1) await (this.#choosing ??= this.#askWhich(near.length));
    const [only] = this.#near();
    return only?.until === Infinity ? only.offer : null;
  }

  /** Lists the devices that are near, and asks which one is meant. */
  async #askWhich(count: number): Promise<void> {
    const list = () =>
      new Map(
        this.#near().map(({ offer: { name, id, addresses } }) => [
          id,
          `${name} ${id} at ${formatAddress(addresses[0]!)}`,
        ]),
      );
    this.#context.output.ask(`${count} other devices run "degu pair":`);
    const question = "which one do you mean? Type its number, and press Enter:";
    this.#chosen = await this.#questions.choose(list, question, this.#ends);
    this.#ends.throwIfAborted();
    if (this.#chosen !== null) return this.#noteAbsence(this.#chosen);
    throw new Failure(`${count} devices were found, and none was chosen: run "degu pair" again`);
  }

  /** Tells that a device has left while a person was choosing it. */
  #noteAbsence(id: string): void {
    if (this.#near().length > 0) return;
    const { name } = this.#heard.get(id)!.offer;
    this.#context.output.note(`${name} is not found any more: run "degu pair" there again`);
  }

  async #showAddress(milliseconds: number): Promise<void> {
    await pause(milliseconds, this.#ends);
    const isAlone = this.#heard.size === 0 && this.#question === null;
    if (!isAlone || this.#ends.aborted) return;
    this.#isAddressShown = true;
    const address = formatAddress(this.#invitation.addresses[0]!);
    this.#context.output.note(
      `no other device was found; if "degu pair" finds nothing there, either, run "degu pair --address ${address}" there`,
    );
  }

  /** Joins the other device again and again, as long as no other question is open. */
  async #join(): Promise<Peer> {
    const wait = (milliseconds: number) => pause(milliseconds, this.#ends);
    let looked = false;
    let isTurn = false;
    for (;;) {
      await this.#wait(this.#found.promise);
      if (!looked) await wait(DISCOVERY_MILLISECONDS);
      looked = true;
      if (this.#question !== null) {
        isTurn = false;
        await this.#wait(this.#question.promise);
      }
      this.#ends.throwIfAborted();
      const offer = await this.#choose();
      if (offer === null) {
        this.#endIfUsedUp();
        this.#found = Promise.withResolvers();
        looked = isTurn = false;
      } else if (isTurn || shortId(this.#device.id) < offer.id) {
        const peer = await this.#tryToJoin(offer);
        if (peer !== null) return peer;
        await wait(REJOIN_MILLISECONDS);
      } else {
        // The other device joins, unless it can't reach this one.
        await wait(CONNECT_MILLISECONDS);
        isTurn = true;
      }
    }
  }

  async #wait(event: Promise<void>): Promise<void> {
    await Promise.race([event, pause(Infinity, this.#ends)]);
    this.#ends.throwIfAborted();
  }

  /** Tries each address; resolves to `null` if none has led to a number. */
  async #tryToJoin({ name, id, addresses }: DiscoveredService): Promise<Peer | null> {
    const { output } = this.#context;
    const { peerName, serving } = this.#options;
    for (const address of addresses) {
      if (this.#question !== null) return null;
      const attempt = this.#attempt = new AbortController();
      const limit = Math.max(MIN_CONNECT_MILLISECONDS, CONNECT_MILLISECONDS / addresses.length);
      const timer = setTimeout(() => attempt.abort(), limit);
      let isAsked = false;
      const confirm = async (question: PairingQuestion) => {
        clearTimeout(timer);
        this.#attempt = null;
        isAsked = isExpectedDevice(question, id, output);
        return isAsked && await this.#ask(question);
      };
      const signal = AbortSignal.any([this.#ends, attempt.signal]);
      try {
        return await this.#device.join([address], { peerName, serving, signal, confirm });
      } catch (error) {
        this.#ends.throwIfAborted();
        const isFinal = isAsked || error instanceof Deno.errors.NotCapable ||
          error instanceof PairingError && error.code === "NAME_TAKEN";
        if (isFinal) throw toUsageFailure(error);
        const code = error instanceof PairingError ? error.code : "UNREACHABLE";
        if (this.#said.has(code)) continue;
        this.#said.add(code);
        output.note(
          `${name} ${JOIN_REASONS[code] ?? JOIN_REASONS.UNREACHABLE} ${formatAddress(address)}`,
        );
      } finally {
        clearTimeout(timer);
        if (this.#attempt === attempt) this.#attempt = null;
      }
    }
    return null;
  }

  /** Waits until all devices that are near are known. */
  #waitForLook(signal?: AbortSignal): Promise<void> {
    return pause(Math.max(0, this.#lookedAt - performance.now()), this.#ends, signal);
  }

  /** Asks about a device that has joined this one. */
  async askAboutJoiner(question: PairingQuestion): Promise<boolean> {
    await this.#waitForLook(question.signal);
    if (question.signal.aborted) return false;
    try {
      if (this.#question === null) await this.#choose();
    } catch (error) {
      if (!this.#ends.aborted) this.#failed.reject(error);
      return false;
    }
    if (question.signal.aborted || !this.#isChosen(shortId(question.id))) return false;
    return await this.#ask(question, REFUSAL_DELAY_MILLISECONDS);
  }

  /** @param delay The milliseconds between a no and the end of the command. */
  async #ask(question: PairingQuestion, delay = 0): Promise<boolean> {
    if (this.#question !== null || this.#ends.aborted) return false;
    const ended = this.#question = Promise.withResolvers<void>();
    this.#attempt?.abort();
    this.#numbers++;
    this.#conceal();
    const { signal } = question;
    // A question whose answer is not wanted any more rejects.
    const isYes = await this.#questions.confirm(question).catch(() => false);
    const onEnd = () => this.#unconfirmed(question, ended);
    if (signal.aborted) onEnd();
    else if (isYes) signal.addEventListener("abort", onEnd, { once: true });
    else this.#refuse(delay);
    return isYes && !signal.aborted;
  }

  async #refuse(delay: number): Promise<void> {
    await pause(delay, this.#context.signal);
    this.#failed.reject(new Failure(NOT_CONFIRMED_HERE, "REFUSED"));
  }

  /** The other end has ended a question. */
  #unconfirmed(
    { name, id, signal: { reason } }: PairingQuestion,
    ended: PromiseWithResolvers<void>,
  ): void {
    if (this.#ends.aborted) return;
    if (reason instanceof PairingError && reason.code !== "NOT_CONFIRMED") {
      return this.#failed.reject(reason);
    }
    const why = notConfirmedThere(name);
    const isOther = this.#chosen !== null ||
      (this.#heard.size === 0 ? this.#isAddressShown : this.#heard.has(shortId(id)));
    if (isOther) return this.#failed.reject(new Failure(`${why}: ${RUN_BOTH_AGAIN}`, "REFUSED"));
    if (this.#numbers === MAX_NUMBERS) {
      const problem = `${MAX_NUMBERS} numbers were shown, and none was confirmed: ${USE_A_LINE}`;
      return this.#failed.reject(new Failure(problem, "REFUSED"));
    }
    this.#context.output.note(`${why}; the device that you mean may still come`);
    this.#question = null;
    ended.resolve();
    this.#announce();
    this.#endIfUsedUp();
  }

  /** Ends the command if no device can join this one any more, and this one can join none. */
  #endIfUsedUp(): void {
    const isReachableFromNetwork = this.#heard.values().some(({ until }) => until === Infinity);
    const isJoining = this.#question !== null || this.#attempt !== null;
    if (!this.#isUsedUp || isReachableFromNetwork || isJoining || this.#ends.aborted) return;
    const problem =
      `${MAX_NUMBERS} numbers were not confirmed, so no other device can ask: ${USE_A_LINE}`;
    this.#failed.reject(new Failure(problem, "REFUSED"));
  }
}

/** Why an attempt to join has failed, before the address. */
const JOIN_REASONS: Readonly<Record<string, string>> = {
  BUSY: "asks about another device: if nobody has started that, the answer there is no; at",
  NOT_OPEN: "takes no number now, or a firewall is in between: trying again, at",
  UNREACHABLE: "does not answer, so it may come by itself: is a firewall in between? At",
};
