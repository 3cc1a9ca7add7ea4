/**
 * Pairs two devices in one network: both announce themselves and search for the other device, one
 * joins the other, and users compare a number.
 */

import { type Address, formatAddress } from "../../base.ts";
import { awaitUntilAborted, joinSignals, pause } from "../../internal/pause.ts";
import { checkFunction, checkObject } from "../../internal/checks.ts";
import type { Device } from "../device.ts";
import { PairingError } from "../errors.ts";
import type { Invitation } from "../pairing/invite.ts";
import type { Peer } from "../peers/peer_file.ts";
import type { ConfirmNumber, PairingQuestion } from "../pairing/plain_ports.ts";
import {
  type Announcement,
  MORE_RESPONSES_MILLISECONDS,
  type NearbyDevice,
  shortenId,
} from "./mdns.ts";
import {
  inviteNearby,
  type InviteNearbyOptions,
  isReachable,
  joinNearby,
  nearby,
} from "./nearby.ts";

/** The shortest search before the call ends because its numbers are used up. */
const MIN_SEARCH_MILLISECONDS = 3000;
/** The time for which a device stays in the list after the end of its announcement. */
const LISTED_AFTER_END_MILLISECONDS = 3000;
/** The time after which the address matters, because the network may block multicast. */
const ALONE_AFTER_MILLISECONDS = 10_000;
/** The time after which the device with the larger id also joins. */
const MAX_CONNECT_MILLISECONDS = 5000;
const MIN_CONNECT_MILLISECONDS = 1000;
const REJOIN_PAUSE_MILLISECONDS = 1000;
/** The time for which the invitation stays open after a no, so that the joiner gets the refusal. */
const REFUSAL_DELAY_MILLISECONDS = 2000;
/** The time in which a function must end after its question was aborted. */
const MAX_REPLY_DELAY_MILLISECONDS = 1000;
const DEFAULT_SERVICE = "degu-pair";
const DEFAULT_SECONDS = 600;
const MAX_NUMBERS = 5;
/** More devices are remembered only as long as they are listed. */
const MAX_DISCOVERED_DEVICES = 64;

/** The functions that ask a person, and the options of an invitation. */
export interface PairOptions extends Omit<InviteNearbyOptions, "confirm"> {
  /**
   * Asks whether the other device shows the same number. Only `true` confirms. The signal of the
   * question is aborted when the reply is no longer needed. Ignore what was typed before the
   * question: it may be the reply to another question.
   */
  confirm: ConfirmNumber;
  /**
   * Asks which of several devices is meant, and returns its `id`. If the function throws, `pair`
   * rejects with this error.
   *
   * @param list Returns the devices, which may change until the person replies.
   * @param signal Aborted when the reply is no longer needed.
   */
  choose: (
    list: () => readonly NearbyDevice[],
    signal: AbortSignal,
  ) => string | Promise<string>;
  /** Called when something happens. If the function throws, `pair` rejects with this error. */
  onEvent?: ((event: PairEvent) => void) | undefined;
}

/** What happens while `pair` looks for the other device. */
export type PairEvent =
  /** The invitation of this device is open, until `invitation.expires`. */
  | { readonly type: "open"; readonly invitation: Invitation }
  /**
   * No device was found for ten seconds, or this machine has no network. If the network blocks
   * multicast, the other device can join these addresses, by `device.join` or `degu pair
   * --address`.
   */
  | { readonly type: "alone"; readonly addresses: readonly Address[] }
  /**
   * A device was found, but could not be joined at this address. Reported once for each code.
   * With the code `"BAD_ANSWER"`, another device may have answered: see the reason of the error.
   */
  | {
    readonly type: "unreached";
    readonly device: NearbyDevice;
    readonly address: Address;
    readonly error: Error;
  }
  /** The chosen device isn't announced any more. Reported once. */
  | { readonly type: "gone"; readonly device: NearbyDevice }
  /** A device that wasn't found has not confirmed its number. `pair` continues. */
  | { readonly type: "unconfirmed"; readonly question: PairingQuestion };

/**
 * Pairs this device with another device of the local network that also calls `pair`, or that runs
 * `degu pair`. Both devices announce themselves and search for the other device, and one device
 * joins the other. A device shows one number at a time, at most five numbers.
 *
 * A stranger can show a number, but can't make it the same number: see
 * [the security of devices](https://jsr.io/@degu/degu/doc/device). Needs the permissions of this
 * entry and of `device.invite` and `device.join`.
 *
 * @param device The device to pair.
 * @param options The functions that ask a person, and the options of an invitation.
 * @returns The other device, which both devices have stored as a peer.
 * @throws {PairingError} `NOT_CONFIRMED` if the person at either device has answered no, with the
 * reason `"local"` or `"remote"`; `NOT_OPEN` with the reason `"no numbers left"` if five numbers
 * were not confirmed; `NAME_TAKEN` if another peer has the name `peerName`.
 * @throws {Deno.errors.TimedOut} if no device was paired within `seconds`.
 * @throws {Deno.errors.NotCapable} without a permission.
 * @throws the error of `choose` or `onEvent`, and the reason of `signal`.
 *
 * @example
 * ```ts
 * import type { Device, Peer } from "@degu/degu/device";
 * import { pair } from "@degu/degu/device/discovery";
 *
 * async function pairAtTerminal(device: Device): Promise<Peer> {
 *   return await pair(device, {
 *     // What was typed before the question can't be the number.
 *     confirm({ number, name }) {
 *       return prompt(`Type the number that ${name} shows, if it is ${number}:`) === number;
 *     },
 *     choose(list) {
 *       const devices = list();
 *       const names = devices.map(({ name }, index) => `${index}: ${name}`).join(", ");
 *       return devices[Number(prompt(`Which device do you mean? ${names}`))]!.id;
 *     },
 *   });
 * }
 * ```
 */
export async function pair(device: Device, options: PairOptions): Promise<Peer> {
  checkObject("options", options);
  const { confirm, choose, onEvent, ...otherOptions } = options;
  const { service = DEFAULT_SERVICE, seconds = DEFAULT_SECONDS } = options;
  const inviteOptions = { ...otherOptions, service, seconds };
  for (const [label, value] of Object.entries({ confirm, choose })) checkFunction(label, value);
  if (onEvent !== undefined) checkFunction("onEvent", onEvent);
  const session = new PairSession(device, { ...inviteOptions, confirm, choose, onEvent });
  const { invitation, announce } = await inviteNearby(device, {
    ...inviteOptions,
    confirm: (question) => session.askAboutJoiner(question),
  });
  await using _invitation = invitation;
  return await session.run(invitation, announce);
}

interface DiscoveredDevice {
  readonly service: NearbyDevice;
  /** The end of the announcement; `Infinity` while it lasts. */
  endedAt: number;
}

class PairSession {
  readonly #device: Device;
  readonly #options: PairOptions;
  /** No number is shown before this time, so that devices that respond at once are found first. */
  #discoveryEndsAt = -Infinity;
  readonly #closeController = new AbortController();
  readonly #closeSignal: AbortSignal;
  readonly #failure = Promise.withResolvers<never>();
  #startAnnouncement: () => Announcement | null = () => null;
  #announcement: Announcement | null = null;
  #announcementEnded: PromiseLike<void> | undefined;
  readonly #discoveredDevices = new Map<string, DiscoveredDevice>();
  #deviceDiscovered = Promise.withResolvers<void>();
  #isAddressShown = false;
  #numberCount = 0;
  #areNumbersUsedUp = false;
  #chosenId: string | null = null;
  #choiceMade: Promise<void> | null = null;
  #isGoneReported = false;
  /** Resolves when the open question ends. At most one question is open. */
  #openQuestion: PromiseWithResolvers<void> | null = null;
  /** Aborts an attempt to join that has not reached a number. */
  #attemptController: AbortController | null = null;
  readonly #reportedCodes = new Set<string>();

  constructor(device: Device, options: PairOptions) {
    this.#device = device;
    this.#options = options;
    this.#closeSignal = joinSignals(options.signal, this.#closeController.signal)!;
  }

  /** An error of the function ends the call: in a listener, it would end the process. */
  #report(event: PairEvent): void {
    try {
      this.#options.onEvent?.(event);
    } catch (error) {
      this.#failure.reject(error);
    }
  }

  async run(invitation: Invitation, announce: () => Announcement | null): Promise<Peer> {
    const { signal } = this.#options;
    this.#startAnnouncement = announce;
    this.#report({ type: "open", invitation });
    this.#announcement = announce();
    const canBeFound = isReachable(invitation);
    const startedAt = performance.now();
    if (canBeFound) this.#discoveryEndsAt = startedAt + MORE_RESPONSES_MILLISECONDS;
    invitation.exhausted.then(async () => {
      if (canBeFound) await this.#waitUntil(startedAt + MIN_SEARCH_MILLISECONDS);
      this.#areNumbersUsedUp = true;
      this.#failIfUsedUp();
    });
    const joinedPeer = Promise.withResolvers<Peer>();
    const tasks = [
      ...canBeFound ? [this.#discover(), this.#join().then(joinedPeer.resolve)] : [],
      this.#reportAlone(invitation, canBeFound ? ALONE_AFTER_MILLISECONDS : 0),
    ];
    // After an interruption, only the invitation ends the call: it may be storing its peer.
    for (const task of tasks) task.catch((error) => signal?.aborted || this.#failure.reject(error));
    try {
      return await Promise.race([invitation.paired, joinedPeer.promise, this.#failure.promise]);
    } finally {
      this.#closeController.abort();
      this.#stopAnnouncing();
      await Promise.allSettled([...tasks, this.#announcementEnded]);
    }
  }

  #stopAnnouncing(): void {
    this.#announcementEnded = this.#announcement?.[Symbol.asyncDispose]() ??
      this.#announcementEnded;
    this.#announcement = null;
  }

  async #discover(): Promise<void> {
    const { service, logger, seconds } = this.#options;
    const onChange = (services: readonly NearbyDevice[]) => {
      const now = performance.now();
      const isFirst = this.#discoveredDevices.size === 0;
      for (const discoveredDevice of this.#discoveredDevices.values()) {
        discoveredDevice.endedAt = Math.min(discoveredDevice.endedAt, now);
      }
      for (const service of services) {
        this.#discoveredDevices.set(service.id, { service, endedAt: Infinity });
      }
      this.#dropEnded(now);
      if (services.length === 0) return;
      if (isFirst) this.#discoveryEndsAt = now + MORE_RESPONSES_MILLISECONDS;
      this.#deviceDiscovered.resolve();
    };
    await nearby(this.#device, { service, logger, seconds, signal: this.#closeSignal, onChange });
  }

  /** Without a limit, a stranger with many names could fill the memory. */
  #dropEnded(now: number): void {
    for (const [id, { endedAt }] of this.#discoveredDevices) {
      if (this.#discoveredDevices.size <= MAX_DISCOVERED_DEVICES) return;
      const isListed = endedAt >= now - LISTED_AFTER_END_MILLISECONDS;
      if (!isListed && id !== this.#chosenId) this.#discoveredDevices.delete(id);
    }
  }

  /**
   * A device withdraws its announcement while it shows a number, but stays in the list for a few
   * seconds.
   */
  #listNearby(): DiscoveredDevice[] {
    const earliestEnd = performance.now() - LISTED_AFTER_END_MILLISECONDS;
    return [...this.#discoveredDevices.values()].filter(({ service, endedAt }) =>
      endedAt >= earliestEnd && this.#isChosen(service.id)
    );
  }

  #isChosen(id: string): boolean {
    return this.#chosenId === null || this.#chosenId === id;
  }

  async #chooseDevice(): Promise<NearbyDevice | null> {
    if (this.#listNearby().length > 1) await (this.#choiceMade ??= this.#askForChoice());
    const [device] = this.#listNearby();
    return device?.endedAt === Infinity ? device.service : null;
  }

  async #askForChoice(): Promise<void> {
    const list = () => this.#listNearby().map(({ service }) => service);
    const choice = Promise.try(() => this.#options.choose(list, this.#closeSignal));
    // The function may wait for a person who doesn't reply any more.
    const id = await awaitUntilAborted(choice, this.#closeSignal);
    this.#chosenId = id;
    if (!this.#discoveredDevices.has(id)) {
      throw new RangeError(`choose: no device has the id ${id}`);
    }
  }

  async #reportGone(): Promise<void> {
    const chosenDevice = this.#discoveredDevices.get(this.#chosenId ?? "");
    if (chosenDevice === undefined || this.#isGoneReported) return;
    const listedUntil = chosenDevice.endedAt + LISTED_AFTER_END_MILLISECONDS;
    await Promise.race([this.#deviceDiscovered.promise, this.#waitUntil(listedUntil)]);
    const isListed = this.#listNearby().length > 0;
    if (isListed || this.#openQuestion !== null || this.#closeSignal.aborted) return;
    this.#isGoneReported = true;
    this.#report({ type: "gone", device: chosenDevice.service });
  }

  async #reportAlone({ addresses }: Invitation, milliseconds: number): Promise<void> {
    await pause(milliseconds, this.#closeSignal);
    const isAlone = this.#discoveredDevices.size === 0 && this.#openQuestion === null;
    if (!isAlone || this.#closeSignal.aborted) return;
    this.#isAddressShown = true;
    this.#report({ type: "alone", addresses });
  }

  async #join(): Promise<Peer> {
    let hasDiscovered = false;
    let isOurTurn = false;
    for (;;) {
      await this.#waitFor(this.#deviceDiscovered.promise);
      if (!hasDiscovered) await pause(MORE_RESPONSES_MILLISECONDS, this.#closeSignal);
      hasDiscovered = true;
      if (this.#openQuestion !== null) {
        isOurTurn = false;
        await this.#waitFor(this.#openQuestion.promise);
      }
      this.#closeSignal.throwIfAborted();
      const service = await this.#chooseDevice();
      if (service === null) {
        this.#failIfUsedUp();
        this.#deviceDiscovered = Promise.withResolvers();
        hasDiscovered = isOurTurn = false;
        await this.#reportGone();
      } else if (isOurTurn || shortenId(this.#device.id) < service.id) {
        const peer = await this.#tryToJoin(service);
        if (peer !== null) return peer;
        await pause(REJOIN_PAUSE_MILLISECONDS, this.#closeSignal);
      } else {
        // Let the other device join first. It may be unable to connect.
        await pause(MAX_CONNECT_MILLISECONDS, this.#closeSignal);
        isOurTurn = true;
      }
    }
  }

  async #waitFor(event: Promise<void>): Promise<void> {
    await Promise.race([event, pause(Infinity, this.#closeSignal)]);
    this.#closeSignal.throwIfAborted();
  }

  async #tryToJoin(device: NearbyDevice): Promise<Peer | null> {
    const { addresses } = device;
    const { peerName, serving } = this.#options;
    for (const address of addresses) {
      if (this.#openQuestion !== null) return null;
      const attemptController = this.#attemptController = new AbortController();
      const milliseconds = MAX_CONNECT_MILLISECONDS / addresses.length;
      const timeoutTimer = setTimeout(
        () => attemptController.abort(unreachableError(device, address)),
        Math.max(MIN_CONNECT_MILLISECONDS, milliseconds),
      );
      let hasNumber = false;
      const confirm = (question: PairingQuestion) => {
        clearTimeout(timeoutTimer);
        this.#attemptController = null;
        hasNumber = true;
        return this.#ask(question);
      };
      const signal = joinSignals(this.#closeSignal, attemptController.signal);
      try {
        const joinOptions = { peerName, serving, signal, confirm };
        return await joinNearby(this.#device, { ...device, addresses: [address] }, joinOptions);
      } catch (error) {
        this.#closeSignal.throwIfAborted();
        const isFinal = hasNumber || !(error instanceof Error) ||
          error instanceof Deno.errors.NotCapable || error instanceof RangeError ||
          error instanceof PairingError && error.code === "NAME_TAKEN";
        if (isFinal) throw error;
        if (this.#openQuestion !== null) return null;
        const code = error instanceof PairingError ? error.code : "UNREACHABLE";
        if (this.#reportedCodes.has(code)) continue;
        this.#reportedCodes.add(code);
        this.#report({ type: "unreached", device, address, error });
      } finally {
        clearTimeout(timeoutTimer);
        if (this.#attemptController === attemptController) this.#attemptController = null;
      }
    }
    return null;
  }

  #waitUntil(time: number, signal?: AbortSignal): Promise<void> {
    return pause(Math.max(0, time - performance.now()), joinSignals(this.#closeSignal, signal));
  }

  async askAboutJoiner(question: PairingQuestion): Promise<boolean> {
    const { signal } = question;
    while (performance.now() < this.#discoveryEndsAt && !this.#closeSignal.aborted) {
      // The first response may set a later end.
      await this.#waitUntil(this.#discoveryEndsAt, signal);
      if (signal.aborted) return false;
    }
    try {
      if (this.#openQuestion === null) await this.#chooseDevice();
    } catch (error) {
      if (!this.#closeSignal.aborted) this.#failure.reject(error);
      return false;
    }
    if (question.signal.aborted || !this.#isChosen(shortenId(question.id))) return false;
    return await this.#ask(question, REFUSAL_DELAY_MILLISECONDS);
  }

  async #ask(question: PairingQuestion, delayMilliseconds = 0): Promise<boolean> {
    if (this.#openQuestion !== null || this.#closeSignal.aborted) return false;
    const questionEnded = this.#openQuestion = Promise.withResolvers<void>();
    this.#attemptController?.abort();
    this.#numberCount++;
    // While a number is shown, don't attract a third device.
    this.#stopAnnouncing();
    const { signal, name } = question;
    let cause: unknown;
    const reply = Promise.try(() => this.#options.confirm(question));
    const value = await awaitUntilAborted(reply, signal).catch((error) => void (cause = error));
    const isYes = value === true;
    if (signal.aborted) {
      // The next question must not be asked before the end of this one.
      const timeout = pause(MAX_REPLY_DELAY_MILLISECONDS, this.#closeSignal);
      await Promise.race([Promise.allSettled([reply]), timeout]);
    }
    const onEnd = () => this.#onUnconfirmed(question, questionEnded);
    if (signal.aborted) onEnd();
    else if (isYes) signal.addEventListener("abort", onEnd, { once: true });
    else {
      const problem = "the number was not confirmed on this device";
      const error = notConfirmedError("local", name, problem, { cause });
      pause(delayMilliseconds, this.#closeSignal).then(() => this.#failure.reject(error));
    }
    return isYes && !signal.aborted;
  }

  #onUnconfirmed(
    question: PairingQuestion,
    questionEnded: PromiseWithResolvers<void>,
  ): void {
    if (this.#closeSignal.aborted) return;
    const { name, id, signal: { reason } } = question;
    if (reason instanceof PairingError && reason.code !== "NOT_CONFIRMED") {
      return this.#failure.reject(reason);
    }
    const isExpected = this.#chosenId !== null ||
      (this.#discoveredDevices.size === 0
        ? this.#isAddressShown
        : this.#discoveredDevices.has(shortenId(id)));
    if (isExpected) {
      const problem = `${name} did not confirm the number, or has disconnected`;
      return this.#failure.reject(notConfirmedError("remote", name, problem));
    }
    if (this.#numberCount === MAX_NUMBERS) return this.#failure.reject(noNumbersLeftError());
    this.#report({ type: "unconfirmed", question });
    this.#openQuestion = null;
    questionEnded.resolve();
    this.#announcement = this.#startAnnouncement();
    this.#failIfUsedUp();
  }

  #failIfUsedUp(): void {
    const hasAnnouncedDevice = this.#discoveredDevices.values().some(({ endedAt }) =>
      endedAt === Infinity
    );
    const isJoining = this.#openQuestion !== null || this.#attemptController !== null;
    if (
      !this.#areNumbersUsedUp || hasAnnouncedDevice || isJoining || this.#closeSignal.aborted
    ) return;
    this.#failure.reject(noNumbersLeftError());
  }
}

function unreachableError({ name }: NearbyDevice, address: Address): PairingError {
  return new PairingError("UNREACHABLE", `${name} does not answer at ${formatAddress(address)}`);
}

function notConfirmedError(
  reason: "local" | "remote",
  peerName: string,
  problem: string,
  options: ErrorOptions = {},
): PairingError {
  return new PairingError("NOT_CONFIRMED", problem, { ...options, reason, peerName });
}

function noNumbersLeftError(): PairingError {
  const problem = `${MAX_NUMBERS} numbers were not confirmed, so no other device can ask`;
  return new PairingError("NOT_OPEN", problem, { reason: "no numbers left" });
}
