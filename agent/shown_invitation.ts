import { formatAddress } from "@degu/degu/base";
import {
  type Device,
  type Invitation,
  type InviteOptions,
  PairingError,
  type Peer,
} from "@degu/device";
import {
  findNetworkProblem,
  IPV6_ONLY_TEXT,
  isReachableByOthers,
  NO_NETWORK_TEXT,
  openAtEveryAddress,
  toListenFailure,
} from "./addresses.ts";
import type { Context } from "./command.ts";
import { makeLogger } from "./open_device.ts";
import { toUsageFailure } from "./error_codes.ts";
import { Failure } from "./failure.ts";
import { Announcement, type PAIR_SERVICE, SEND_SERVICE } from "./mdns.ts";
import { isMdnsPermitted } from "./mdns_network.ts";
import type { NumberPrompt } from "./number_prompt.ts";
import { formatId } from "./output.ts";
import { pause } from "./pause.ts";

interface ShownInvitationOptions {
  readonly options: Omit<InviteOptions, "confirm" | "signal">;
  readonly command: string;
  readonly showsLine?: boolean | undefined;
  readonly timeoutMessage: string;
}

const LINE_DELAY_MILLISECONDS = 10_000;

/**
 * Opens an invitation, shows how to join it, and waits until a device has joined.
 *
 * @param numberPrompt `null` if the line is the only way to join.
 */
export async function inviteOneDevice(
  context: Context,
  device: Device,
  numberPrompt: NumberPrompt | null,
  { options, command, showsLine, timeoutMessage }: ShownInvitationOptions,
): Promise<Peer> {
  const { output, signal } = context;
  const joiner: Joiner = { signal: null };
  const confirm = numberPrompt === null ? undefined : makeConfirm(numberPrompt, joiner, context);
  await using invitation = await openInvitation(context, device, { ...options, confirm });
  await using _announcement = numberPrompt === null
    ? null
    : announceInvitation(context, device, invitation, SEND_SERVICE);
  const showLine = () => {
    const { line, expires } = invitation;
    const location = numberPrompt === null ? "on the other device" : "from elsewhere";
    output.note(
      `${location} run "${command} -" and give it this line, which is secret until it has been used`,
    );
    output.printResult(line, { line, expires: expires.toISOString() });
  };
  const showLineLater = async (endSignal: AbortSignal) => {
    await pause(LINE_DELAY_MILLISECONDS, endSignal);
    while (!endSignal.aborted && joiner.signal?.aborted === false) {
      await pause(Infinity, joiner.signal, endSignal);
    }
    if (!endSignal.aborted) showLine();
  };
  output.note(describeThisDevice(device));
  if (options.listen === undefined) {
    if (!isReachableFromNetwork(invitation)) {
      output.warn(`${NO_NETWORK_TEXT}: only a device on this machine can connect`);
    } else if (numberPrompt !== null && findNetworkProblem() === IPV6_ONLY_TEXT) {
      output.note(`not announced, because ${IPV6_ONLY_TEXT}`);
    }
  }
  if (numberPrompt !== null) {
    const address = formatAddress(invitation.addresses[0]!);
    output.note(
      `on the other device, in the same network, run "${command}", and compare a number; ` +
        `if that finds nothing: "${command} --address ${address}"`,
    );
  }
  const isLineImmediate = numberPrompt === null || showsLine === true;
  if (isLineImmediate) showLine();
  using _countdown = showCountdown(context, invitation, numberPrompt);
  const endController = new AbortController();
  if (!isLineImmediate) {
    showLineLater(AbortSignal.any([signal, endController.signal])).catch(() => {});
  }
  try {
    // Also return a peer that is stored while Ctrl-C ends the command: this device trusts it.
    return await invitation.paired;
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof Deno.errors.TimedOut)) throw error;
    throw new Failure(timeoutMessage, null, { cause: error });
  } finally {
    endController.abort();
  }
}

export function describeThisDevice({ name, id }: Device): string {
  return `this is ${name} ${formatId(id)}`;
}

export async function openInvitation(
  { signal }: Context,
  device: Device,
  { listen, ...options }: Omit<InviteOptions, "signal">,
): Promise<Invitation> {
  const open = (listen: InviteOptions["listen"]) => device.invite({ ...options, listen, signal });
  try {
    const isByLine = options.confirm === undefined;
    if (isByLine || listen !== undefined) return await open(listen);
    // An announcement has one port, so the plain port must be the same at every address.
    return await openAtEveryAddress((address) => open([address]), 0);
  } catch (error) {
    throw toUsageFailure(listen === undefined ? error : toListenFailure(listen, error));
  }
}

export function isReachableFromNetwork({ addresses }: Invitation): boolean {
  return addresses.some(isReachableByOthers);
}

export function announceInvitation(
  context: Context,
  { name, id }: Device,
  invitation: Invitation,
  type: typeof PAIR_SERVICE | typeof SEND_SERVICE,
): AsyncDisposable | null {
  const [port, ...otherPorts] = new Set(invitation.addresses.map(([, port]) => Number(port)));
  // A service record has one port.
  const isAnnounced = isReachableFromNetwork(invitation) && otherPorts.length === 0 &&
    isMdnsPermitted();
  return isAnnounced
    ? new Announcement({ name, id, port: port!, type, logger: makeLogger(context) })
    : null;
}

export function showCountdown(
  { output }: Context,
  { expires }: Invitation,
  numberPrompt: NumberPrompt | null,
): Disposable {
  const endsAt = performance.now() + expires.getTime() - Date.now();
  const format = () => numberPrompt?.waitingLine ?? formatCountdown(endsAt - performance.now());
  // A wrapped line can't be removed, so cut off its start.
  return output.animate(1000, () => format().slice(1 - output.columns));
}

interface Joiner {
  /** Aborted when the pairing has failed. */
  signal: AbortSignal | null;
}

function makeConfirm(
  { confirm }: NumberPrompt,
  joiner: Joiner,
  { output, signal: commandSignal }: Context,
) {
  return (question: Parameters<typeof confirm>[0]) => {
    const { name, signal } = question;
    joiner.signal = signal;
    const answer = confirm(question);
    const onEnd = async () => {
      await Promise.allSettled([answer]); // the open question delays other output
      if (commandSignal.aborted) return;
      const { reason } = signal;
      const reasonText = reason instanceof PairingError && reason.reason === "local"
        ? "you have answered no"
        : reason instanceof Deno.errors.TimedOut
        ? reason.message
        : "it has disconnected, or its user has answered no";
      output.note(`${name} has not joined: ${reasonText}`);
    };
    signal.addEventListener("abort", onEnd, { once: true });
    return answer;
  };
}

export function formatCountdown(milliseconds: number): string {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const minutes = Math.floor(seconds / 60);
  return `waiting for the other device: ${minutes}:${String(seconds % 60).padStart(2, "0")} left`;
}
