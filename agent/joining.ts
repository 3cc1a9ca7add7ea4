/** Joins another device: by the line of its invitation, or by a number. */

import type { Confirm, Device, JoinOptions, Peer } from "../device.ts";
import { isWholeLine } from "../device/invitation_line.ts";
import { type Context, loggerOf, usageError } from "./commands.ts";
import { Failure, USAGE } from "./failure.ts";
import {
  findOffers,
  type Offer,
  type PAIR_SERVICE,
  type SEND_SERVICE,
  shortId,
  shortName,
} from "./mdns.ts";
import { NumberQuestions } from "./numbers.ts";
import type { Output } from "./output.ts";

const LOOK_SECONDS = 5;
/** How long a device that is waited for may offer something before it is asked. */
const WAIT_SECONDS = 3;

/** A service that is looked for, and the commands to name if the search fails. */
export interface Looking {
  readonly type: typeof PAIR_SERVICE | typeof SEND_SERVICE;
  /** A name, or the first characters of an id; `undefined` for the only one that there is. */
  readonly name: string | undefined;
  /** The command to run on the other device. */
  readonly there: string;
  /** The command to run here if there are several. */
  readonly choice: string;
  /** Whether it is waited for until the command is interrupted. */
  readonly waits?: boolean;
}

/** Joins with a line, or with `-` for that on stdin. */
export async function joinByLine(
  { output, signal }: Context,
  device: Device,
  given: string,
  options: JoinOptions,
): Promise<Peer> {
  const line = given === "-" ? await readLine(output, signal) : given;
  return await device.join(line, { ...options, signal }).catch((error) => {
    throw usageError(error);
  });
}

/** The questions of a command that was given no line. */
export function questionsOn(output: Output, command: string): NumberQuestions {
  const questions = NumberQuestions.on(output);
  if (questions !== null) return questions;
  throw new Failure(
    "a number can be compared on a terminal only, and without --json: give the line of the other device, or -; " +
      `"${command} --help" explains it`,
    USAGE,
  );
}

/** Looks for another device, and joins it when a person has compared the number. */
export async function joinByNumber(
  context: Context,
  device: Device,
  { confirm }: NumberQuestions,
  looking: Looking,
  options: JoinOptions,
): Promise<Peer> {
  const { signal, options: { address } } = context;
  const offer = address === undefined ? await lookFor(context, device, looking) : null;
  const ask: Confirm = async (asked) => {
    if (offer === null || shortId(asked.id) === offer.id) return await confirm(asked);
    context.output.warn(
      `${asked.name} ${asked.id} answers, which is another device than was found`,
    );
    return false;
  };
  const addresses = offer?.addresses ?? [address!];
  return await device.join(addresses, { ...options, signal, confirm: ask }).catch((error) => {
    throw usageError(error);
  });
}

async function lookFor(
  context: Context,
  { id: own }: Device,
  { type, name, there, choice, waits = false }: Looking,
): Promise<Offer> {
  const { output, signal } = context;
  output.note(
    waits
      ? `looking for it in this network, until Ctrl-C: run "${there}" there`
      : "looking for it in this network",
  );
  const seconds = waits ? WAIT_SECONDS : LOOK_SECONDS;
  const options = { signal, seconds, logger: loggerOf(context) };
  const wanted = name?.toLowerCase() ?? "";
  const isWanted = ({ name, id }: Offer) =>
    id !== shortId(own) &&
    (wanted === "" || name.toLowerCase() === shortName(wanted) || id === shortId(wanted));
  const look = async () => (await findOffers(type, options)).filter(isWanted);
  let found = await look();
  while (waits && found.length === 0) found = await look();
  const [only, ...others] = found;
  if (only === undefined) {
    const who = name === undefined ? "no device" : `no device ${JSON.stringify(name)}`;
    throw new Failure(
      `${who} was found in this network: run "${there}" there, on a terminal; where that does not help, give ` +
        "--address, or the line, as it says there",
    );
  }
  if (others.length === 0) return only;
  for (const { name, id } of found) output.ask(`${name} ${id}`);
  throw new Failure(
    `${found.length} devices were found: run "${choice}" with the name of one, or with the 16 characters behind it`,
  );
}

/** After this silence behind a part of a line, the person is asked for the rest of it. */
const QUIET_MS = 500;
/** The limit of the input, far above the length of any invitation with white space. */
const MAX_LENGTH = 65536;

/**
 * Reads the line of an invitation from stdin. The line may be wrapped: it ends when it is complete,
 * at an empty line, or at the end of the input. The writer need not close the pipe, so
 * `degu invite` can write into it.
 */
async function readLine(output: Output, signal: AbortSignal): Promise<string> {
  const { stdin } = output.streams;
  if (stdin.isTerminal()) output.note("paste the line of the invitation, then press Enter:");
  const reader = stdin.readable.pipeThrough(new TextDecoderStream(), { signal }).getReader();
  const ask = () =>
    output.note("the line is incomplete: paste the rest of it, or an empty line to end it");
  let text = "";
  try {
    while (!isEnd(text)) {
      // A line that a terminal has wrapped is pasted as several lines, which arrive at once.
      const timer = text.includes("\n") ? setTimeout(ask, QUIET_MS) : undefined;
      const { done, value } = await reader.read().finally(() => clearTimeout(timer));
      if (done) break;
      text += value;
      if (text.length > MAX_LENGTH) {
        throw new Failure("stdin is not the line of an invitation", USAGE);
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
  if (text.trim() !== "") return text.trim();
  throw new Failure(
    "stdin is empty: give - the line that the other device has printed",
    USAGE,
  );
}

function isEnd(text: string): boolean {
  return text.includes("\n") && (isWholeLine(text) || /\n\s*\n$/.test(text));
}
