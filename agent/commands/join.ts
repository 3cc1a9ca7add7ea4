/** `degu join`: pairs with the device that has invited this one, by the line of the invitation. */

import { formatAddress } from "@degu/degu/base";
import { type PairingOptions, servingAddresses } from "../addresses.ts";
import type { AgentCommand, Context } from "../command.ts";
import { openOrCreateDevice } from "../open_device.ts";
import { joinByLine } from "../join_device.ts";

export function addJoin(program: AgentCommand): void {
  program.command("join")
    .summary("pair with the device that has invited this one, by a line")
    .description(
      "Pairs with the device that has printed the line; nothing has to be compared. White space in the line is " +
        "ignored. With -, the line is read from stdin, which keeps it out of process lists and the shell's history. " +
        "In one network, degu pair on both devices needs no line.",
    )
    .usage("[OPTION]... LINE|-")
    .argument("<line>", 'what "degu invite" has printed, or - to read it from stdin')
    .addPairingOptions()
    .addExample("degu join -", "then paste the line")
    .addExample("degu join --as laptop - < line.txt", "from a file, under another name")
    .setHandler(join);
}

async function join(
  context: Context,
  line: string,
  { as, serving: givenServing }: PairingOptions,
): Promise<void> {
  const { output } = context;
  await using device = await openOrCreateDevice(context);
  const serving = await servingAddresses(output, device, givenServing);
  const options = { peerName: as, serving };
  const { name, id, addresses } = await joinByLine(context, device, line, options);
  output.result(`paired with ${name} ${id}`, { name, id, addresses: addresses.map(formatAddress) });
  output.note(
    `compare the id with what "degu id" prints on ${name}; then try "degu ping ${name}"`,
  );
}
