/** `degu invite`: lets one other device pair with this one. */

import {
  type HostOrScopedAddress,
  type PairingOptions,
  parseInvitingAddress,
  servingAddresses,
} from "../addresses.ts";
import { type AgentCommand, type Context, parseSeconds, repeated } from "../command.ts";
import { openOrCreateDevice } from "../open_device.ts";
import { ShownInvitation } from "../shown_invitation.ts";
import { OutputClosedError } from "../output.ts";

interface Options extends PairingOptions {
  readonly seconds?: number;
  readonly listen?: HostOrScopedAddress[];
}

export function addInvite(program: AgentCommand): void {
  program.command("invite")
    .summary("let one other device pair with this one, by a line")
    .description(
      "Prints a line of text for one other device, and waits until that device has joined. Anyone who has the " +
        "line can pair: keep it secret and unchanged until it has been used. In one network, degu pair on both devices " +
        "needs no line.",
    )
    .option("--seconds <seconds>", "how long it waits (default: 600)", parseSeconds)
    .option(
      "--listen <address>",
      "where to wait for the other device; can be repeated (default: every address, any port)",
      repeated(parseInvitingAddress),
    )
    .addPairingOptions()
    .addExample("degu invite", "prints the line for degu join -")
    .addExample(
      "degu invite | ssh other degu join -",
      "pairs with a machine that you have a shell on",
    )
    .setHandler(runInvite);
}

async function runInvite(context: Context, options: Options): Promise<void> {
  const { output } = context;
  await using device = await openOrCreateDevice(context);
  const { as, seconds, listen } = options;
  const serving = await servingAddresses(output, device, options.serving);
  await using invitation = await ShownInvitation.open(context, device, null, {
    options: { peerName: as, seconds, listen, serving },
    command: "degu join",
    timeoutMessage: 'no device has joined in time: run "degu invite" again for a new line',
  });
  invitation.show();
  const { name, id } = await invitation.paired();
  try {
    output.result(`paired with ${name} ${id}`, { name, id });
  } catch (error) {
    // If the other device reads the line from a pipe, its end of the pipe may be closed by now.
    if (!(error instanceof OutputClosedError)) throw error;
  }
}
