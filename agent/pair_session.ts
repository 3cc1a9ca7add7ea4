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
} from "@degu/device";
import { pause } from "./pause.ts";
import {
  findNetworkProblem,
  type HostOrScopedAddress,
  IPV6_ONLY_TEXT,
  NO_NETWORK_TEXT,
} from "./addresses.ts";
import type { Context } from "./command.ts";
import { makeLogger } from "./open_device.ts";
import {
  describeRemoteRefusal,
  MAX_NUMBERS,
  NOT_CONFIRMED_LOCALLY,
  RUN_BOTH_AGAIN,
} from "./explain.ts";
import { toUsageFailure } from "./error_codes.ts";
import { Failure } from "./failure.ts";
import {
  announceInvitation,
  describeThisDevice,
  isReachableFromNetwork,
  openInvitation,
  showCountdown,
} from "./shown_invitation.ts";
import { verifyDevice } from "./join_device.ts";
import {
  type DiscoveredService,
  discoverServices,
  MORE_RESPONSES_MILLISECONDS,
  PAIR_SERVICE,
  shortenId,
} from "./mdns.ts";
import type { NumberPrompt } from "./number_prompt.ts";
import { formatId } from "./output.ts";

/** The shortest search before the command ends because its numbers are used up. */
const MIN_SEARCH_MILLISECONDS = 3000;
/** The time for which a device stays in the list after the end of its announcement. */
const LISTED_AFTER_END_MILLISECONDS = 3000;
/**
 * The time after which the address is printed if no other device is found: the network may block
 * multicast.
 */
const SHOW_ADDRESS_AFTER_MILLISECONDS = 10_000;
/** The time after which the device with the larger id also joins. */
const MAX_CONNECT_MILLISECONDS = 5000;
const MIN_CONNECT_MILLISECONDS = 1000;
const REJOIN_PAUSE_MILLISECONDS = 1000;
/** The time for which the invitation stays open after a no, so that the joiner gets the refusal. */
const REFUSAL_DELAY_MILLISECONDS = 2000;
const TOTAL_TIMEOUT_SECONDS = 600;
const PAIR_BY_LINE_ADVICE =
  'pair by a line, with "degu invite" on one device and "degu join -" on the other';

interface PairSessionOptions {
  readonly peerName: string | undefined;
  readonly serving: HostOrScopedAddress[] | undefined;
  readonly listen: HostOrScopedAddress[] | undefined;
}

export async function pairByDiscovery(
  context: Context,
  device: Device,
  prompt: NumberPrompt,
  options: PairSessionOptions,
): Promise<Peer> {
  const session = new PairSession(context, device, prompt, options);
  const confirm = (question: PairingQuestion) => session.askAboutJoiner(question);
  const inviteOptions = { ...options, seconds: TOTAL_TIMEOUT_SECONDS, confirm };
  await using invitation = await openInvitation(context, device, inviteOptions);
  return await session.run(invitation);
}

interface DiscoveredDevice {
  readonly service: DiscoveredService;
  /** The end of the announcement; `Infinity` while it lasts. */
  endedAt: number;
}

class PairSession {
  readonly #context: Context;
  readonly #device: Device;
  readonly #prompt: NumberPrompt;
  readonly #options: PairSessionOptions;
  /** No number is shown before this time, so that devices that respond at once are found first. */
  #discoveryEndsAt = -Infinity;
  readonly #closeController = new AbortController();
  readonly #closeSignal: AbortSignal;
  readonly #failure = Promise.withResolvers<never>();
  #invitation!: Invitation;
  #announcement: AsyncDisposable | null = null;
  #announcementEnded: PromiseLike<void> | undefined;
  readonly #discoveredDevices = new Map<string, DiscoveredDevice>();
  #deviceDiscovered = Promise.withResolvers<void>();
  #hasDiscoveredDevice = false;
  #isAddressShown = false;
  #numberCount = 0;
  #areNumbersUsedUp = false;
  #chosenId: string | null = null;
  #choiceMade: Promise<void> | null = null;
  /** Resolves when the open question ends. At most one question is open. */
  #openQuestion: PromiseWithResolvers<void> | null = null;
  /** Aborts an attempt to join that has not reached a number. */
  #attemptController: AbortController | null = null;
  readonly #printedCodes = new Set<string>();

  constructor(
    context: Context,
    device: Device,
    prompt: NumberPrompt,
    options: PairSessionOptions,
  ) {
    this.#context = context;
    this.#device = device;
    this.#prompt = prompt;
    this.#options = options;
    this.#closeSignal = AbortSignal.any([context.signal, this.#closeController.signal]);
  }

  async run(invitation: Invitation): Promise<Peer> {
    this.#invitation = invitation;
    const { signal, output } = this.#context;
    output.note(`${describeThisDevice(this.#device)}; also run "degu pair" on the other device`);
    using _countdown = showCountdown(this.#context, invitation, this.#prompt);
    this.#announce();
    const isReachable = isReachableFromNetwork(invitation);
    const startedAt = performance.now();
    if (isReachable) this.#discoveryEndsAt = startedAt + MORE_RESPONSES_MILLISECONDS;
    invitation.exhausted.then(async () => {
      if (isReachable) await this.#waitUntil(startedAt + MIN_SEARCH_MILLISECONDS);
      this.#areNumbersUsedUp = true;
      this.#failIfUsedUp();
    });
    const joinedPeer = Promise.withResolvers<Peer>();
    const tasks = [
      ...isReachable ? [this.#discover(), this.#join().then(joinedPeer.resolve)] : [],
      this.#showAddress(isReachable ? SHOW_ADDRESS_AFTER_MILLISECONDS : 0),
    ];
    // After an interruption, only the invitation ends the session: it may be storing its peer.
    for (const task of tasks) task.catch((error) => signal.aborted || this.#failure.reject(error));
    try {
      return await Promise.race([invitation.paired, joinedPeer.promise, this.#failure.promise]);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Deno.errors.TimedOut)) throw error;
      throw new Failure(`no device has joined in ten minutes: ${RUN_BOTH_AGAIN}`, null, {
        cause: error,
      });
    } finally {
      this.#closeController.abort();
      this.#stopAnnouncing();
      await Promise.allSettled([...tasks, this.#announcementEnded]);
    }
  }

  #announce(): void {
    this.#announcement = announceInvitation(
      this.#context,
      this.#device,
      this.#invitation,
      PAIR_SERVICE,
    );
  }

  #stopAnnouncing(): void {
    this.#announcementEnded = this.#announcement?.[Symbol.asyncDispose]() ??
      this.#announcementEnded;
    this.#announcement = null;
  }

  async #discover(): Promise<void> {
    const logger = makeLogger(this.#context);
    const options = { signal: this.#closeSignal, seconds: TOTAL_TIMEOUT_SECONDS, logger };
    await discoverServices(PAIR_SERVICE, options, undefined, (services) => {
      const otherServices = services.filter(({ id }) => id !== shortenId(this.#device.id));
      const now = performance.now();
      for (const discoveredDevice of this.#discoveredDevices.values()) {
        discoveredDevice.endedAt = Math.min(discoveredDevice.endedAt, now);
      }
      for (const service of otherServices) {
        this.#discoveredDevices.set(service.id, { service, endedAt: Infinity });
      }
      if (otherServices.length === 0) return;
      if (!this.#hasDiscoveredDevice) this.#discoveryEndsAt = now + MORE_RESPONSES_MILLISECONDS;
      this.#hasDiscoveredDevice = true;
      this.#deviceDiscovered.resolve();
    });
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

  async #findChosen(): Promise<DiscoveredService | null> {
    const nearbyDevices = this.#listNearby();
    if (nearbyDevices.length > 1) {
      await (this.#choiceMade ??= this.#askForChoice(nearbyDevices.length));
    }
    const [device] = this.#listNearby();
    return device?.endedAt === Infinity ? device.service : null;
  }

  async #askForChoice(count: number): Promise<void> {
    const listChoices = () =>
      new Map(
        this.#listNearby().map(({ service: { name, id, addresses } }) => [
          id,
          `${name} ${formatId(id)} at ${formatAddress(addresses[0]!)}`,
        ]),
      );
    this.#context.output.ask(`${count} other devices run "degu pair":`);
    const question = "which one do you mean? Type its number, and press Enter:";
    this.#chosenId = await this.#prompt.choose(listChoices, question, this.#closeSignal);
    this.#closeSignal.throwIfAborted();
    if (this.#chosenId !== null) return this.#noteDisappearance(this.#chosenId);
    throw new Failure(`${count} devices were found, and none was chosen: run "degu pair" again`);
  }

  #noteDisappearance(id: string): void {
    if (this.#listNearby().length > 0) return;
    const { name } = this.#discoveredDevices.get(id)!.service;
    this.#context.output.note(`${name} is not found any more: run "degu pair" on it again`);
  }

  async #showAddress(milliseconds: number): Promise<void> {
    await pause(milliseconds, this.#closeSignal);
    const isAlone = this.#discoveredDevices.size === 0 && this.#openQuestion === null;
    if (!isAlone || this.#closeSignal.aborted) return;
    this.#isAddressShown = true;
    const address = formatAddress(this.#invitation.addresses[0]!);
    if (this.#options.listen === undefined && !isReachableFromNetwork(this.#invitation)) {
      return this.#context.output.note(
        `no other device was found, because ${NO_NETWORK_TEXT}: connect both devices to one network`,
      );
    }
    if (this.#options.listen === undefined && findNetworkProblem() === IPV6_ONLY_TEXT) {
      return this.#context.output.note(
        `no other device was found, because ${IPV6_ONLY_TEXT}: run "degu pair --address ${address}" on the other device`,
      );
    }
    this.#context.output.note(
      `no other device was found; if the other device does not find this one, run "degu pair --address ${address}" on it`,
    );
  }

  async #join(): Promise<Peer> {
    const wait = (milliseconds: number) => pause(milliseconds, this.#closeSignal);
    let hasDiscovered = false;
    let isOurTurn = false;
    for (;;) {
      await this.#waitFor(this.#deviceDiscovered.promise);
      if (!hasDiscovered) await wait(MORE_RESPONSES_MILLISECONDS);
      hasDiscovered = true;
      if (this.#openQuestion !== null) {
        isOurTurn = false;
        await this.#waitFor(this.#openQuestion.promise);
      }
      this.#closeSignal.throwIfAborted();
      const service = await this.#findChosen();
      if (service === null) {
        this.#failIfUsedUp();
        this.#deviceDiscovered = Promise.withResolvers();
        hasDiscovered = isOurTurn = false;
      } else if (isOurTurn || shortenId(this.#device.id) < service.id) {
        const peer = await this.#tryToJoin(service);
        if (peer !== null) return peer;
        await wait(REJOIN_PAUSE_MILLISECONDS);
      } else {
        // Let the other device join first. It may be unable to connect.
        await wait(MAX_CONNECT_MILLISECONDS);
        isOurTurn = true;
      }
    }
  }

  async #waitFor(event: Promise<void>): Promise<void> {
    await Promise.race([event, pause(Infinity, this.#closeSignal)]);
    this.#closeSignal.throwIfAborted();
  }

  async #tryToJoin({ name, id, addresses }: DiscoveredService): Promise<Peer | null> {
    const { output } = this.#context;
    const { peerName, serving } = this.#options;
    for (const address of addresses) {
      if (this.#openQuestion !== null) return null;
      const attemptController = this.#attemptController = new AbortController();
      const timeoutMilliseconds = Math.max(
        MIN_CONNECT_MILLISECONDS,
        MAX_CONNECT_MILLISECONDS / addresses.length,
      );
      const timeoutTimer = setTimeout(() => attemptController.abort(), timeoutMilliseconds);
      let hasNumber = false;
      const confirm = async (question: PairingQuestion) => {
        clearTimeout(timeoutTimer);
        this.#attemptController = null;
        hasNumber = verifyDevice(question, id, output);
        return hasNumber && await this.#ask(question);
      };
      const signal = AbortSignal.any([this.#closeSignal, attemptController.signal]);
      try {
        return await this.#device.join([address], { peerName, serving, signal, confirm });
      } catch (error) {
        this.#closeSignal.throwIfAborted();
        const isFinal = hasNumber || error instanceof Deno.errors.NotCapable ||
          error instanceof PairingError && error.code === "NAME_TAKEN";
        if (isFinal) throw toUsageFailure(error);
        const code = error instanceof PairingError ? error.code : "UNREACHABLE";
        if (this.#printedCodes.has(code)) continue;
        this.#printedCodes.add(code);
        output.note(
          `${name} at ${formatAddress(address)} ${
            JOIN_FAILURE_TEXTS[code] ?? JOIN_FAILURE_TEXTS.UNREACHABLE
          }`,
        );
      } finally {
        clearTimeout(timeoutTimer);
        if (this.#attemptController === attemptController) this.#attemptController = null;
      }
    }
    return null;
  }

  #waitUntil(time: number, signal?: AbortSignal): Promise<void> {
    return pause(Math.max(0, time - performance.now()), this.#closeSignal, signal);
  }

  async askAboutJoiner(question: PairingQuestion): Promise<boolean> {
    const { signal } = question;
    while (performance.now() < this.#discoveryEndsAt && !this.#closeSignal.aborted) {
      // The first response may set a later end.
      await this.#waitUntil(this.#discoveryEndsAt, signal);
      if (signal.aborted) return false;
    }
    try {
      if (this.#openQuestion === null) await this.#findChosen();
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
    const { signal } = question;
    // An aborted question rejects.
    const isYes = await this.#prompt.confirm(question).catch(() => false);
    const onEnd = () => this.#onUnconfirmed(question, questionEnded);
    if (signal.aborted) onEnd();
    else if (isYes) signal.addEventListener("abort", onEnd, { once: true });
    else this.#failAfterRefusal(delayMilliseconds);
    return isYes && !signal.aborted;
  }

  async #failAfterRefusal(delayMilliseconds: number): Promise<void> {
    await pause(delayMilliseconds, this.#context.signal);
    this.#failure.reject(new Failure(NOT_CONFIRMED_LOCALLY, "REFUSED"));
  }

  #onUnconfirmed(
    { name, id, signal: { reason } }: PairingQuestion,
    questionEnded: PromiseWithResolvers<void>,
  ): void {
    if (this.#closeSignal.aborted) return;
    if (reason instanceof PairingError && reason.code !== "NOT_CONFIRMED") {
      return this.#failure.reject(reason);
    }
    const reasonText = describeRemoteRefusal(name);
    const isExpected = this.#chosenId !== null ||
      (this.#discoveredDevices.size === 0
        ? this.#isAddressShown
        : this.#discoveredDevices.has(shortenId(id)));
    if (isExpected) {
      return this.#failure.reject(new Failure(`${reasonText}: ${RUN_BOTH_AGAIN}`, "REFUSED"));
    }
    if (this.#numberCount === MAX_NUMBERS) {
      const problem =
        `${MAX_NUMBERS} numbers were shown, and none was confirmed: ${PAIR_BY_LINE_ADVICE}`;
      return this.#failure.reject(new Failure(problem, "REFUSED"));
    }
    this.#context.output.note(`${reasonText}; the device that you mean may still connect`);
    this.#openQuestion = null;
    questionEnded.resolve();
    this.#announce();
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
    const problem =
      `${MAX_NUMBERS} numbers were not confirmed, so no other device can ask: ${PAIR_BY_LINE_ADVICE}`;
    this.#failure.reject(new Failure(problem, "REFUSED"));
  }
}

const JOIN_FAILURE_TEXTS: Readonly<Record<string, string>> = {
  BUSY: "asks about another device: if you have not started that, answer no on it",
  NOT_OPEN: "accepts no number now, or a firewall blocks the connection: trying again",
  UNREACHABLE: "does not answer: a firewall may block the connection; waiting for it to connect",
};
