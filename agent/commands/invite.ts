/** `degu invite`: lets one other device pair with this device. */

import {
  checkInviting,
  findServingAddresses,
  type HostOrScopedAddress,
  type PairingOptions,
  parseInvitingAddress,
} from "../addresses.ts";
import {
  type AgentCommand,
  type Context,
  makeAddressListParser,
  parseInvitationSeconds,
} from "../command.ts";
import { openOrCreateDevice } from "../open_device.ts";
import { ShownInvitation } from "../shown_invitation.ts";
import { formatId, OutputClosedError } from "../output.ts";

interface Options extends PairingOptions {
  readonly seconds?: number;
  readonly listen?: HostOrScopedAddress[];
}

export function addInvite(program: AgentCommand): void {
  program.command("invite")
    .summary("pair with one other device by a line of text")
    .description(
      "Prints a line of text for one other device, and waits until that device has joined. Any device with the line " +
        "can pair: keep the line secret until it has been used, and don't change it. In the same network, you can run " +
        "degu pair on both devices instead.",
    )
    .option(
      "--seconds <seconds>",
      "the duration of the invitation (default: 600)",
      parseInvitationSeconds,
    )
    .option(
      "--listen <address>",
      "an address to listen on; can be repeated (default: every address, with free ports)",
      makeAddressListParser(parseInvitingAddress),
    )
    .addPairingOptions()
    .addExample("degu invite", "print the line for degu join -")
    .addExample(
      "degu invite | ssh other degu join -",
      "pair with a machine on which you have a shell",
    )
    .setHandler(runInvite);
}

async function runInvite(context: Context, options: Options): Promise<void> {
  const { output } = context;
  const { as, seconds, listen } = options;
  await using device = await openOrCreateDevice(context, () => checkInviting(listen));
  const serving = await findServingAddresses(output, device, options.serving);
  await using invitation = await ShownInvitation.open(context, device, null, {
    options: { peerName: as, seconds, listen, serving },
    command: "degu join",
    timeoutMessage: 'no device has joined in time: run "degu invite" again for a new line',
  });
  invitation.show();
  const { name, id } = await invitation.paired();
  try {
    output.printResult(`paired with ${name} ${formatId(id)}`, { name, id });
  } catch (error) {
    // If the other device reads the line from a pipe, it may have closed its end of the pipe.
    if (!(error instanceof OutputClosedError)) throw error;
  }
}
