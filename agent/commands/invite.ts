/** `degu invite`: lets one other device pair with this one. */

import { renderUnicodeCompact } from "uqr";
import {
  type PairingOptions,
  parseInvitingAddress,
  type SentAddress,
  servingAddresses,
} from "../addresses.ts";
import { type AgentCommand, type Context, parseSeconds, repeated } from "../command.ts";
import { openOrMakeDevice } from "../own_device.ts";
import { ShownInvitation } from "../inviting.ts";
import { type Output, OutputClosed } from "../output.ts";

interface Options extends PairingOptions {
  readonly qr?: boolean;
  readonly seconds?: number;
  readonly listen?: SentAddress[];
}

export function addInvite(program: AgentCommand): void {
  program.command("invite")
    .summary("let one other device pair with this one, by a line")
    .description(
      "Prints a line of text for one other device, and waits until that device has joined. Anyone who has the " +
        "line can pair: keep it secret and unchanged until it has been used. In one network, degu pair on both devices " +
        "needs no line.",
    )
    .option("--qr", "draw the line as a QR code, too")
    .option("--seconds <seconds>", "how long it waits (default: 600)", parseSeconds)
    .option(
      "--listen <address>",
      "where to wait for the other device; can be repeated (default: every address, any port)",
      repeated(parseInvitingAddress),
    )
    .pairs()
    .example("degu invite", "prints the line for degu join -")
    .example("degu invite --qr", "for a device with a camera")
    .example("degu invite | ssh other degu join -", "pairs with a machine that you have a shell on")
    .does(runInvite);
}

async function runInvite(context: Context, options: Options): Promise<void> {
  const { output } = context;
  await using device = await openOrMakeDevice(context);
  const { as, seconds, listen } = options;
  const serving = await servingAddresses(output, device, options.serving);
  await using shown = await ShownInvitation.open(context, device, null, {
    options: { peerName: as, seconds, listen, serving },
    command: "degu join",
    late: 'nobody has joined in time: run "degu invite" again for a new line',
  });
  shown.show();
  if (options.qr === true) drawQr(output, shown.invitation.line);
  const { name, id } = await shown.paired();
  try {
    output.result(`paired with ${name} ${id}`, { name, id });
  } catch (error) {
    // If the other device reads the line from a pipe, its end of the pipe may be closed by now.
    if (!(error instanceof OutputClosed)) throw error;
  }
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
