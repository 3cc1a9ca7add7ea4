/**
 * Pairs two devices in one network: both announce themselves and search for the other device, one
 * joins the other, and users compare a number.
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

/** The duration of the discovery before the first number, so that all nearby devices are known. */
const DISCOVERY_MILLISECONDS = 3000;
/**
 * The time without another device after which the address is printed: the network may block
 * multicast.
 */
const SHOW_ADDRESS_AFTER_MILLISECONDS = 10_000;
/** The time after which the device with the larger id also joins. */
const CONNECT_MILLISECONDS = 5000;
/** The shortest time-out for one address of the other device. */
const MIN_CONNECT_MILLISECONDS = 1000;
const REJOIN_MILLISECONDS = 1000;
/** How long the invitation stays open after a no, so that the joiner gets the refusal. */
const REFUSAL_DELAY_MILLISECONDS = 2000;
const TOTAL_TIMEOUT_SECONDS = 600;
const USE_A_LINE = 'pair by a line, with "degu invite" on one and "degu join -" on the other';

/** The options of `degu pair`. */
export interface PairSessionOptions {
  readonly peerName: string | undefined;
  readonly serving: HostOrScopedAddress[] | undefined;
  readonly listen: HostOrScopedAddress[] | undefined;
}

/** Pairs with a device that runs the same command. */
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

/** A device that was announced. */
interface DiscoveredDevice {
  readonly offer: DiscoveredService;
  /** The end of the announcement; `Infinity` while it lasts. */
  until: number;
}

class PairSession {
  readonly #context: Context;
  readonly #device: Device;
  readonly #questions: NumberPrompt;
  readonly #options: PairSessionOptions;
  /** The time of the first number. */
  #lookedAt = -Infinity;
  readonly #over = new AbortController();
  /** Aborted when the session ends. */
  readonly #ends: AbortSignal;
  readonly #failed = Promise.withResolvers<never>();
  #invitation!: Invitation;
  #announcement: AsyncDisposable | null = null;
  #concealed: PromiseLike<void> | undefined;
  /** The announced devices, by their short ids. */
  readonly #heard = new Map<string, DiscoveredDevice>();
  #found = Promise.withResolvers<void>();
  #isAddressShown = false;
  #numbers = 0;
  /** Whether the numbers of the invitation are used up, so that no device can join. */
  #isUsedUp = false;
  /** The short id of the chosen device; `null` before the choice. */
  #chosen: string | null = null;
  /** Resolves when the user has chosen; `null` if no choice was necessary. */
  #choosing: Promise<void> | null = null;
  /** Resolves when the open question ends. At most one question is open. */
  #question: PromiseWithResolvers<void> | null = null;
  /** Aborts an attempt to join that has not reached a number. */
  #attempt: AbortController | null = null;
  /** The codes of failed attempts that are already printed. */
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
    // After an interruption the invitation decides: its peer may be just being stored.
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

  /** Announces the invitation, except while a number is shown, so that no third device joins. */
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
   * Lists the nearby devices, or the chosen device. A device withdraws its announcement while it
   * shows a number, but still counts for a moment.
   */
  #near(): DiscoveredDevice[] {
    const since = performance.now() - DISCOVERY_MILLISECONDS;
    return [...this.#heard.values()].filter(({ offer, until }) =>
      until >= since && this.#isChosen(offer.id)
    );
  }

  /** Whether the device with this short id can be the chosen one. */
  #isChosen(id: string): boolean {
    return this.#chosen === null || this.#chosen === id;
  }

  /** Finds the only nearby device, or the chosen one; `null` if it is not announced. */
  async #choose(): Promise<DiscoveredService | null> {
    const near = this.#near();
    if (near.length > 1) await (this.#choosing ??= this.#askWhich(near.length));
    const [only] = this.#near();
    return only?.until === Infinity ? only.offer : null;
  }

  /** Lists the nearby devices, and asks for one. */
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

  /** Prints that the chosen device has disappeared meanwhile. */
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

  /** Repeats joining the other device while no question is open. */
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
        // Let the other device join first. It may be unable to connect.
        await wait(CONNECT_MILLISECONDS);
        isTurn = true;
      }
    }
  }

  async #wait(event: Promise<void>): Promise<void> {
    await Promise.race([event, pause(Infinity, this.#ends)]);
    this.#ends.throwIfAborted();
  }

  /** Tries each address; resolves to `null` if no attempt has reached a number. */
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

  /** Waits for the end of the discovery. */
  #waitForLook(signal?: AbortSignal): Promise<void> {
    return pause(Math.max(0, this.#lookedAt - performance.now()), this.#ends, signal);
  }

  /** Asks the user about a device that has joined this one. */
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
    // An aborted question rejects.
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

  /** Handles a question that the other device has ended. */
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

  /** Ends the command if the numbers are used up, and no device is left to join. */
  #endIfUsedUp(): void {
    const isReachableFromNetwork = this.#heard.values().some(({ until }) => until === Infinity);
    const isJoining = this.#question !== null || this.#attempt !== null;
    if (!this.#isUsedUp || isReachableFromNetwork || isJoining || this.#ends.aborted) return;
    const problem =
      `${MAX_NUMBERS} numbers were not confirmed, so no other device can ask: ${USE_A_LINE}`;
    this.#failed.reject(new Failure(problem, "REFUSED"));
  }
}

/** The texts of failed attempts to join, in front of the address. */
const JOIN_REASONS: Readonly<Record<string, string>> = {
  BUSY: "asks about another device: if nobody has started that, the answer there is no; at",
  NOT_OPEN: "takes no number now, or a firewall is in between: trying again, at",
  UNREACHABLE: "does not answer, so it may come by itself: is a firewall in between? At",
};
