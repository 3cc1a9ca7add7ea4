import { formatAddress } from "@degu/degu/base";
import {
  type ConfirmNumber,
  type Device,
  type JoinOptions,
  PairingError,
  parseInvitation,
  type Peer,
} from "@degu/degu/device";
import { joinNearby, nearby, type NearbyDevice } from "@degu/degu/device/discovery";
import { type Context, DEFAULT_INBOX, STDIO } from "../machine/context.ts";
import { makeLogger } from "../machine/open_device.ts";
import { explainDiscoveryProblem, RUN_AGAIN } from "../words/explain.ts";
import { toUsageFailure } from "../words/error_codes.ts";
import { Failure } from "../failure.ts";
import { LINE_PREFIXES, type LineCommand, toDeviceLine } from "./line_kinds.ts";
import { SEND_SERVICE } from "./shown_invitation.ts";
import type { NumberPrompt } from "../terminal/number_prompt.ts";
import { formatDevice, type Output } from "../terminal/output.ts";

export const UNATTENDED_TIMEOUT_SECONDS = 600;

export interface LineAdvice {
  readonly command: LineCommand;
  readonly noLine: string;
  readonly unusableLine?: string;
}

export async function readInvitationLine(
  { output, signal }: Context,
  lineOrDash: string,
  advice: LineAdvice,
  seconds = Infinity,
): Promise<string> {
  const text = lineOrDash === STDIO ? await readLine(output, signal, advice, seconds) : lineOrDash;
  const { command, noLine } = advice;
  if (!text.trimStart().startsWith(LINE_PREFIXES[command])) {
    const other = command === "degu join" ? "degu receive" : "degu join";
    const isForOther = text.trimStart().startsWith(LINE_PREFIXES[other]);
    const problem = isForOther
      ? `is for "${other}": run "${other} -" and give it the line`
      : `must begin with "${LINE_PREFIXES[command]}": ${noLine}`;
    throw new Failure(`the line ${problem}`, "USAGE");
  }
  const line = toDeviceLine(text);
  parseInvitation(line);
  return line;
}

export async function joinByLine(
  { signal }: Context,
  device: Device,
  line: string,
  options: JoinOptions,
  advice: LineAdvice,
): Promise<Peer> {
  return await device.join(line, { ...options, signal }).catch((error) => {
    throw withLineAdvice(toUsageFailure(error), advice);
  });
}

export function printPairing(output: Output, peer: Peer): void {
  const { name, id } = peer;
  const addresses = peer.addresses.map(formatAddress);
  output.printResult(`paired with ${formatDevice(peer)}`, { name, id, addresses });
}

/** Prints the commands that come after the pairing. */
export function printNextSteps(output: Output, name: string, isServing: boolean): void {
  if (isServing) output.note(`degu serve runs on this device, also for ${name}`);
  // With --home, these commands would be for another device.
  if (output.home !== undefined) return;
  const receiving = `to receive its files, run "degu serve --inbox ${DEFAULT_INBOX}"; `;
  output.note(`${isServing ? "" : receiving}to send it a file, run "degu put FILE ${name}:"`);
}

function withLineAdvice(error: unknown, { unusableLine }: LineAdvice): unknown {
  const isUnusable = error instanceof PairingError && error.reason === "line unusable";
  if (!isUnusable || unusableLine === undefined) return error;
  return new Failure(`${error.problem}; ${unusableLine}`, null, { cause: error });
}

/** @param numberPrompt `null` without a terminal: the call finds the sender, and then fails. */
export async function joinSender(
  context: Context,
  device: Device,
  numberPrompt: NumberPrompt | null,
  name: string | undefined,
  options: JoinOptions,
): Promise<Peer> {
  const { options: { address } } = context;
  if (address !== undefined) {
    if (numberPrompt === null) throw noTerminalFailure("");
    const join = (options: NumberJoinOptions) => device.join([address], options);
    return await joinWithPrompt(context, numberPrompt, options, join);
  }
  const sender = await findSender(context, device, name, numberPrompt !== null);
  if (numberPrompt === null) {
    throw noTerminalFailure(`${formatDevice(sender)} sends, but `);
  }
  const join = (options: NumberJoinOptions) => joinNearby(device, sender, options);
  return await joinWithPrompt(context, numberPrompt, options, join);
}

/** Fails the command, because a "yes" from a pipe would confirm a number without a comparison. */
function noTerminalFailure(prefix: string): Failure {
  return new Failure(
    `${prefix}a number can be compared on a terminal only, and without --json: give the line that the ` +
      "other device prints, or - to read it from stdin",
    "USAGE",
  );
}

type NumberJoinOptions = JoinOptions & { readonly confirm: ConfirmNumber };

export async function joinWithPrompt(
  { signal, output }: Context,
  numberPrompt: NumberPrompt,
  options: JoinOptions,
  join: (options: NumberJoinOptions) => Promise<Peer>,
): Promise<Peer> {
  using _waiting = output.animate(1000, () => numberPrompt.waitingLine ?? "");
  return await join({ ...options, confirm: numberPrompt.confirm, signal }).catch((error) => {
    throw toUsageFailure(error);
  });
}

/** Strangers can announce any number of devices. */
const MAX_LISTED_DEVICES = 9;

async function findSender(
  context: Context,
  device: Device,
  name: string | undefined,
  isInteractive: boolean,
): Promise<NearbyDevice> {
  const { output } = context;
  const duration = isInteractive ? "until Ctrl-C" : "for ten minutes";
  const search = `looking for the other device in this network, ${duration}`;
  output.note(`${search}: run "degu send FILE" on the other device`);
  const problem = explainDiscoveryProblem();
  if (problem?.code === "only IPv6") {
    output.note(`${problem.text}: run the command with --address that the other device prints`);
  } else if (problem !== null) {
    output.warn(problem.text);
  }
  using timeout = startTimeout(
    isInteractive ? Infinity : UNATTENDED_TIMEOUT_SECONDS,
    `no sending device was found in ten minutes: ${RUN_AGAIN}`,
  );
  const signal = AbortSignal.any([context.signal, timeout.signal]);
  const select = (devices: readonly NearbyDevice[]) => selectDevices(devices, name);
  const onChange = (devices: readonly NearbyDevice[]) => select(devices).length > 0;
  const options = { service: SEND_SERVICE, signal, logger: makeLogger(context), onChange };
  let senders: readonly NearbyDevice[] = [];
  while (senders.length === 0) senders = select(await nearby(device, options));
  const [sender, ...otherSenders] = senders;
  if (otherSenders.length === 0) return sender!;
  const listedSenders = senders.slice(0, MAX_LISTED_DEVICES);
  for (const each of listedSenders) output.ask(formatDevice(each));
  const moreCount = senders.length - listedSenders.length;
  if (moreCount > 0) output.ask(`and ${moreCount} more`);
  throw new Failure(
    `${senders.length} devices were found: run "degu receive --from NAME" with the name of one of them, or with the first ` +
      "characters of its id",
  );
}

/** The length of an announced name, which may be the beginning of a longer name. */
const MAX_NEARBY_NAME_LENGTH = 46;

/** A text with an ellipsis, such as `yvvslmqp…`, means an id: any machine can announce any name. */
export function selectDevices<T extends Pick<NearbyDevice, "name" | "id">>(
  devices: readonly T[],
  nameOrId: string | undefined,
): readonly T[] {
  if (nameOrId === undefined) return devices;
  const text = nameOrId.toLowerCase().replace(/…$/, "");
  const nearbyName = text.slice(0, MAX_NEARBY_NAME_LENGTH);
  const devicesOfName = nameOrId.endsWith("…")
    ? []
    : devices.filter(({ name }) => name.toLowerCase() === nearbyName);
  return devicesOfName.length > 0
    ? devicesOfName
    : devices.filter(({ id }) =>
      text.length <= id.length ? id.startsWith(text) : text.startsWith(id)
    );
}

/** Starts a time limit: unless it is disposed of before, its signal is aborted with a failure. */
function startTimeout(
  seconds: number,
  problem: string,
): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const abort = () => controller.abort(new Failure(problem, "TIMED_OUT"));
  const timer = seconds === Infinity ? undefined : setTimeout(abort, seconds * 1000);
  return { signal: controller.signal, [Symbol.dispose]: () => clearTimeout(timer) };
}

const REST_PROMPT_DELAY_MILLISECONDS = 500;
/** The limit of the input, which is far longer than any invitation with white space. */
const MAX_INPUT_LENGTH = 65536;

/**
 * Reads a line that may be wrapped, until the line is complete, an empty line follows, or the input
 * ends. Doesn't wait for the end of the input, because `degu invite` keeps the pipe open.
 */
async function readLine(
  output: Output,
  commandSignal: AbortSignal,
  advice: LineAdvice,
  seconds: number,
): Promise<string> {
  const { stdin } = output.streams;
  const isTerminal = stdin.isTerminal() && !output.json;
  if (isTerminal) output.note("paste the line of the invitation, then press Enter:");
  const problem = `no line has arrived on stdin in ten minutes: ${RUN_AGAIN}`;
  using timeout = startTimeout(isTerminal ? Infinity : seconds, problem);
  const signal = AbortSignal.any([commandSignal, timeout.signal]);
  const reader = stdin.readable.pipeThrough(new TextDecoderStream(), { signal }).getReader();
  const promptForRest = () =>
    output.note("the line is incomplete: paste the rest of it, or an empty line to end it");
  let text = "";
  let line: string | null = null;
  try {
    while (line === null) {
      // A line that a terminal has wrapped is pasted as several lines, which arrive at once.
      const promptTimer = text.includes("\n")
        ? setTimeout(promptForRest, REST_PROMPT_DELAY_MILLISECONDS)
        : undefined;
      // The end also ends the last line.
      const { done, value = "\n" } = await reader.read().finally(() => clearTimeout(promptTimer));
      text += value;
      if (text.includes("\0")) {
        throw new Failure(
          "stdin is UTF-16, as PowerShell writes a file with >: write the file as UTF-8, or paste the line",
          "USAGE",
        );
      }
      if (text.length > MAX_INPUT_LENGTH) {
        throw new Failure(`stdin is not the line of an invitation: ${advice.noLine}`, "USAGE");
      }
      line = findLine(text) ?? (done ? text : null);
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
  if (line.trim() !== "") return line.trim();
  throw new Failure(`stdin is empty: ${advice.noLine}`, "USAGE");
}

/**
 * Returns the line, which may be wrapped, without what follows it, such as the rest of what
 * `degu invite` prints; `null` if it is incomplete.
 */
function findLine(text: string): string | null {
  for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", end + 1)) {
    const head = text.slice(0, end).trim();
    if (head !== "" && isCompleteLine(head)) return head;
  }
  return /\n\s*\n$/.test(text) ? text : null;
}

/**
 * Returns false if the text is garbled as the line of an invitation, because the rest of the line
 * may still arrive.
 */
function isCompleteLine(text: string): boolean {
  try {
    parseInvitation(toDeviceLine(text));
    return true;
  } catch (error) {
    return !(error instanceof PairingError && error.code === "GARBLED");
  }
}
