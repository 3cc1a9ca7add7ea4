/** `degu invite`: lets one other device pair with this one. */

import { renderUnicodeCompact } from "npm:uqr@^0.1.3";
import type { Device, Invitation, Peer } from "../../device.ts";
import {
  type AgentCommand,
  type Context,
  listenError,
  openOrMakeDevice,
  type PairingOptions,
  parseInvitingAddress,
  repeated,
  type SentAddress,
  servingAddresses,
  usageError,
} from "../commands.ts";
import { Failure, OutputClosed } from "../failure.ts";
import type { Output } from "../output.ts";

interface Options extends PairingOptions {
  readonly qr?: boolean;
  readonly seconds?: number;
  readonly listen?: SentAddress[];
}

export function addInvite(program: AgentCommand): void {
  program.command("invite")
    .summary("let one other device pair with this one")
    .description(
      "Prints a line of text for one other device, and waits until that has joined with it. Whoever has the line " +
        "can pair: keep it secret, and unchanged, until it has been used.",
    )
    .option("--qr", "draw the line as a QR code, too")
    .option("--seconds <seconds>", "how long it waits (default: 600)", Number)
    .option(
      "--listen <address>",
      "where to wait for the other device; can be repeated (default: every address, any port)",
      repeated(parseInvitingAddress),
    )
    .pairs()
    .example(
      "degu invite",
      "prints the line: carry it to the other device, and give it to degu join - there",
    )
    .example("degu invite --qr", "for a device with a camera")
    .example("degu invite | ssh other degu join -", "pairs with a machine that you have a shell on")
    .does(invite);
}

async function invite(context: Context, options: Options): Promise<void> {
  const { output } = context;
  await using device = await openOrMakeDevice(context);
  await using invitation = await open(context, device, options);
  const { line, expires } = invitation;
  output.result(line, { line, expires: expires.toISOString() });
  if (options.qr === true) drawQr(output, line);
  output.note(
    'on the other device run "degu join -" and give it this line, which is secret until it has been used',
  );
  const { name, id } = await paired(context, invitation);
  try {
    output.result(`paired with ${name} ${id}`, { name, id });
  } catch (error) {
    // If the other device reads the line from a pipe, its end of the pipe may be closed by now.
    if (!(error instanceof OutputClosed)) throw error;
  }
}

async function open(context: Context, device: Device, options: Options): Promise<Invitation> {
  const { as, seconds, listen } = options;
  const serving = await servingAddresses(context, device, options.serving);
  try {
    return await device.invite({ peerName: as, seconds, listen, serving });
  } catch (error) {
    throw usageError(listen === undefined ? error : listenError(listen, error));
  }
}

/** Waits for the other device, and shows the time that is left. */
async function paired({ output, signal }: Context, invitation: Invitation): Promise<Peer> {
  const end = performance.now() + invitation.expires.getTime() - Date.now();
  // A line that the terminal has wrapped can't be removed, so the beginning is cut off.
  const line = () => countdownText(end - performance.now()).slice(1 - output.columns);
  using _countdown = output.animate(1000, line);
  // A peer that is being stored at this moment is stored and printed: it is trusted from now on.
  const close = () => invitation.close();
  signal.addEventListener("abort", close);
  try {
    signal.throwIfAborted();
    return await invitation.paired;
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof Deno.errors.TimedOut)) throw error;
    throw new Failure('nobody has joined in time: run "degu invite" again for a new line');
  } finally {
    signal.removeEventListener("abort", close);
  }
}

export function countdownText(milliseconds: number): string {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const minutes = Math.floor(seconds / 60);
  return `waiting for the other device: ${minutes}:${String(seconds % 60).padStart(2, "0")} left`;
}

/** Width of the quiet zone in modules (ISO/IEC 18004). */
const QUIET_ZONE = 4;

/**
 * Draws a text as a QR code if the terminal is large enough; otherwise says how large it must be.
 */
function drawQr(output: Output, text: string): void {
  if (output.json) return;
  // A terminal shows a filled character in a light color, as the library assumes.
  const lines = renderUnicodeCompact(text, { ecc: "L", border: QUIET_ZONE }).split("\n");
  const columns = lines[0]!.length;
  if (!output.streams.stdout.isTerminal()) {
    return output.warn("--qr: the output is not a terminal, so no QR code is drawn");
  }
  const size = output.streams.consoleSize();
  if (size.columns >= columns && size.rows > lines.length) return output.result(lines, {});
  output.warn(
    `--qr: needs a terminal of ${columns} columns and ${lines.length + 1} rows, and this one has ` +
      `${size.columns} and ${size.rows}: make it larger, or its text smaller, and invite again`,
  );
}
