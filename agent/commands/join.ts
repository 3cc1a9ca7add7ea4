/** `degu join`: pairs with the device that has invited this one. */

import { DeguError, formatAddress } from "../../base.ts";
import {
  type AgentCommand,
  type Context,
  openOrMakeDevice,
  type PairingOptions,
  servingAddresses,
  usageError,
} from "../commands.ts";
import { isWholeLine } from "../../device/invitation_line.ts";
import { FAILED, Failure, noAddressAnswers, REFUSED, USAGE } from "../failure.ts";
import type { Output } from "../output.ts";

export function addJoin(program: AgentCommand): void {
  program.command("join")
    .summary("pair with the device that has invited this one")
    .description(
      "Pairs with the device that printed the line. White space in it is ignored. With - it is read from " +
        "stdin, which keeps it out of process lists and the shell's history.",
    )
    .argument("<line>", 'what "degu invite" has printed, or - to read it from stdin')
    .pairs()
    .example("degu join -", "then paste the line")
    .example("degu join --as laptop - < line.txt", "from a file, under another name")
    .does(join);
}

async function join(
  context: Context,
  given: string,
  { as, serving }: PairingOptions,
): Promise<void> {
  const { output, signal } = context;
  await using device = await openOrMakeDevice(context);
  const line = given === "-" ? await readLine(output, signal) : given;
  const served = await servingAddresses(context, device, serving);
  const joining = device.join(line, { peerName: as, serving: served, signal });
  const { name, id, addresses } = await joining.catch((error) => {
    throw joinError(error);
  });
  output.result(`paired with ${name} ${id}`, { name, id, addresses: addresses.map(formatAddress) });
  output.note(`compare the id with what "degu id" prints on ${name}; then try "degu ping ${name}"`);
}

/** The error of a failed pairing; if nothing has answered, the invitation was not refused. */
function joinError(error: unknown): unknown {
  if (!(error instanceof DeguError)) return usageError(error);
  const { message, cause } = error;
  const errors: unknown[] = cause instanceof AggregateError ? cause.errors : [cause];
  const isOutOfReach = errors.every((each) =>
    noAddressAnswers(each) && !(each instanceof Deno.errors.ConnectionRefused)
  );
  return new Failure(message, isOutOfReach ? FAILED : REFUSED, { cause: error });
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
    'stdin is empty: give "degu join -" the line that "degu invite" has printed',
    USAGE,
  );
}

function isEnd(text: string): boolean {
  return text.includes("\n") && (isWholeLine(text) || /\n\s*\n$/.test(text));
}
