/** The invitation on the screen: its line, the ways to join, and the remaining time. */

import { formatAddress } from "@degu/degu/base";
import {
  type Device,
  type Invitation,
  type InviteOptions,
  PairingError,
  type Peer,
} from "@degu/degu/device";
import { isReachableByOthers, openAtEveryAddress, toListenFailure } from "./addresses.ts";
import type { Context } from "./command.ts";
import { makeLogger } from "./open_device.ts";
import { Failure, toUsageFailure } from "./failure.ts";
import { Announcement, type PAIR_SERVICE, SEND_SERVICE } from "./mdns.ts";
import { isMdnsPermitted } from "./mdns_permissions.ts";
import type { NumberPrompt } from "./number_prompt.ts";

export interface ShownInvitationOptions {
  readonly options: Omit<InviteOptions, "confirm" | "signal">;
  /** The command for the other device. */
  readonly command: string;
  /** The message if no device joins in time. */
  readonly timeoutMessage: string;
}

/**
 * An open invitation, with its announcement if numbers are compared; both end when it is disposed
 * of.
 */
export class ShownInvitation implements AsyncDisposable {
  readonly invitation: Invitation;
  readonly #context: Context;
  readonly #device: Device;
  readonly #options: ShownInvitationOptions;
  readonly #numberPrompt: NumberPrompt | null;
  readonly #announcement: AsyncDisposable | null;

  private constructor(
    context: Context,
    device: Device,
    prompt: ShownInvitationOptions,
    questions: NumberPrompt | null,
    invitation: Invitation,
  ) {
    this.invitation = invitation;
    this.#context = context;
    this.#device = device;
    this.#options = prompt;
    this.#numberPrompt = questions;
    this.#announcement = questions === null
      ? null
      : announceInvitation(context, device, invitation, SEND_SERVICE);
  }

  /** @param questions `null` where the line is the only way. */
  static async open(
    context: Context,
    device: Device,
    questions: NumberPrompt | null,
    prompt: ShownInvitationOptions,
  ): Promise<ShownInvitation> {
    const confirm = questions === null ? undefined : makeConfirm(questions, context);
    const invitation = await openInvitation(context, device, { ...prompt.options, confirm });
    return new ShownInvitation(context, device, prompt, questions, invitation);
  }

  /** Prints how the other device can join: first by a number, then by the line. */
  show(): void {
    const { output } = this.#context;
    const { invitation: { addresses: [firstAddress], line, expires } } = this;
    const { command } = this.#options;
    output.note(describeThisDevice(this.#device));
    if (this.#numberPrompt !== null) {
      output.note(
        `on the other device, in the same network, run "${command}", and compare a number; ` +
          `if that finds nothing: "${command} --address ${formatAddress(firstAddress!)}"`,
      );
    }
    const location = this.#numberPrompt === null ? "on the other device" : "from elsewhere";
    output.note(
      `${location} run "${command} -" and give it this line, which is secret until it has been used`,
    );
    output.printResult(line, { line, expires: expires.toISOString() });
  }

  /** Waits for the other device, and shows the remaining time. */
  async paired(): Promise<Peer> {
    const { signal } = this.#context;
    const { invitation } = this;
    using _countdown = showCountdown(this.#context, invitation);
    try {
      // A peer that is being stored at an interruption is still printed, because this device trusts
      // it from now on.
      return await invitation.paired;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Deno.errors.TimedOut)) throw error;
      throw new Failure(this.#options.timeoutMessage, null, { cause: error });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#announcement?.[Symbol.asyncDispose]();
    await this.invitation.close();
  }
}

/** Returns the name and the beginning of the id of this device, as the other device shows them. */
export function describeThisDevice({ name, id }: Device): string {
  return `this is ${name} ${id.slice(0, 8)}…`;
}

/** Opens an invitation, which ends with the command. */
export async function openInvitation(
  { signal }: Context,
  device: Device,
  { listen, ...options }: Omit<InviteOptions, "signal">,
): Promise<Invitation> {
  const open = (listen: InviteOptions["listen"]) => device.invite({ ...options, listen, signal });
  try {
    const isByLine = options.confirm === undefined;
    if (isByLine || listen !== undefined) return await open(listen);
    // The plain port is the same at every address, so that it can be announced.
    return await openAtEveryAddress((address) => open([address]), 0);
  } catch (error) {
    throw toUsageFailure(listen === undefined ? error : toListenFailure(listen, error));
  }
}

/** Whether devices of the network can reach an invitation. */
export function isReachableFromNetwork({ addresses }: Invitation): boolean {
  return addresses.some(isReachableByOthers);
}

/** Announces an invitation until disposed of; `null` where it can't be announced. */
export function announceInvitation(
  context: Context,
  { name, id }: Device,
  invitation: Invitation,
  type: typeof PAIR_SERVICE | typeof SEND_SERVICE,
): AsyncDisposable | null {
  const [port, ...otherPorts] = new Set(invitation.addresses.map(([, port]) => Number(port)));
  // A service has one port.
  const isAnnounced = isReachableFromNetwork(invitation) && otherPorts.length === 0 &&
    isMdnsPermitted();
  return isAnnounced
    ? new Announcement({ name, id, port: port!, type, logger: makeLogger(context) })
    : null;
}

/** Shows the remaining time, until disposed of. */
export function showCountdown({ output }: Context, { expires }: Invitation): Disposable {
  const endsAt = performance.now() + expires.getTime() - Date.now();
  // A line that the terminal has wrapped can't be removed, so the beginning is cut off.
  return output.animate(
    1000,
    () => formatCountdown(endsAt - performance.now()).slice(1 - output.columns),
  );
}

/** Asks the user about a number, and prints the reason if the pairing ends before the reply. */
function makeConfirm({ confirm }: NumberPrompt, { output, signal: commandSignal }: Context) {
  return (question: Parameters<typeof confirm>[0]) => {
    const { name, signal } = question;
    const reply = confirm(question);
    const onEnd = async () => {
      await Promise.allSettled([reply]); // the open question delays other output
      if (commandSignal.aborted) return;
      const { reason } = signal;
      const reasonText = reason instanceof PairingError && reason.reason === "local"
        ? "you have answered no"
        : reason instanceof Deno.errors.TimedOut
        ? reason.message
        : "it has left, or its user has answered no";
      output.note(`${name} has not come in: ${reasonText}`);
    };
    signal.addEventListener("abort", onEnd, { once: true });
    return reply;
  };
}

export function formatCountdown(milliseconds: number): string {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const minutes = Math.floor(seconds / 60);
  return `waiting for the other device: ${minutes}:${String(seconds % 60).padStart(2, "0")} left`;
}
