import { formatAddress } from "@degu/degu/base";
import {
  type Device,
  type Invitation,
  type InviteOptions,
  PairingError,
  type Peer,
} from "@degu/degu/device";
import { inviteNearby } from "@degu/degu/device/discovery";
import { explainDiscoveryProblem, RUN_AGAIN } from "../words/explain.ts";
import { toListenFailure, withNextPort } from "../machine/addresses.ts";
import type { Context } from "../machine/context.ts";
import { makeLogger } from "../machine/open_device.ts";
import { toUsageFailure } from "../words/error_codes.ts";
import { Failure } from "../failure.ts";
import type { NumberPrompt } from "../terminal/number_prompt.ts";
import { formatDevice } from "../terminal/output.ts";
import { pause } from "../machine/pause.ts";
import { LINE_PREFIXES, type LineCommand } from "./line_kinds.ts";

interface ShownInvitationOptions {
  readonly options: Omit<InviteOptions, "confirm" | "signal">;
  readonly command: LineCommand;
  readonly showsLine?: boolean | undefined;
}

export const SEND_SERVICE = "degu-send";
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
  { options, command, showsLine }: ShownInvitationOptions,
): Promise<Peer> {
  const { output, signal } = context;
  const joiner: Joiner = { signal: null };
  const confirm = numberPrompt === null ? undefined : makeConfirm(numberPrompt, joiner, context);
  await using stack = new AsyncDisposableStack();
  const invitation = await openInvitation(context, device, { ...options, confirm }, stack);
  const showLine = () => {
    const { expires } = invitation;
    const line = invitation.line.replace("degu:", LINE_PREFIXES[command]);
    const location = numberPrompt === null ? "the other device" : "a device elsewhere";
    output.note(
      `run "${command} -" on ${location}, and give it this line, which is secret until it has been used`,
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
  const problem = options.listen === undefined ? explainDiscoveryProblem() : null;
  if (problem?.code === "no network") {
    output.warn(`${problem.text}: only a device on this machine can connect`);
  } else if (numberPrompt !== null) {
    if (problem !== null) output.note(`not announced, because ${problem.text}`);
    const address = formatAddress(invitation.addresses[0]!);
    output.note(
      `run "${command}" on the other device, in the same network, and compare a number; ` +
        `if that finds nothing, run "${command} --address ${address}" on it`,
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
    throw new Failure(`no device has joined in time: ${RUN_AGAIN}`, "TIMED_OUT", { cause: error });
  } finally {
    endController.abort();
  }
}

export function describeThisDevice(device: Device): string {
  return `this is ${formatDevice(device)}`;
}

/** An invitation that is joined by its line is not announced. */
async function openInvitation(
  context: Context,
  device: Device,
  inviteOptions: Omit<InviteOptions, "signal">,
  stack: AsyncDisposableStack,
): Promise<Invitation> {
  const options = { ...inviteOptions, signal: context.signal };
  try {
    if (options.confirm === undefined) return stack.use(await device.invite(options));
    const nearbyOptions = { ...options, service: SEND_SERVICE, logger: makeLogger(context) };
    const { invitation, announce } = await inviteNearby(device, nearbyOptions);
    stack.use(invitation);
    stack.use(announce());
    return invitation;
  } catch (error) {
    throw toInvitationFailure(error, options.listen);
  }
}

export function toInvitationFailure(
  error: unknown,
  listen: InviteOptions["listen"],
): unknown {
  const addresses = listen?.flatMap((address) => [address, withNextPort(address)]);
  return toUsageFailure(addresses === undefined ? error : toListenFailure(addresses, error));
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
