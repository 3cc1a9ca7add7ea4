/** `degu join`: pairs with the device that has invited this one, by the line of the invitation. */

import { formatAddress } from "@degu/degu/base";
import { isDeviceName } from "@degu/degu/device";
import { Option } from "commander";
import { type PairingOptions, servingAddresses } from "../addresses.ts";
import type { AgentCommand, Context } from "../command.ts";
import { openOrMakeDevice } from "../own_device.ts";
import { Failure, USAGE } from "../failure.ts";
import { joinByLine } from "../joining.ts";

interface Options extends PairingOptions {
  readonly address?: string;
}

export function addJoin(program: AgentCommand): void {
  program.command("join")
    .summary("pair with the device that has invited this one, by a line")
    .description(
      "Pairs with the device that has printed the line; nothing has to be compared. White space in the line is " +
        "ignored. With -, the line is read from stdin, which keeps it out of process lists and the shell's history. " +
        "In one network, degu pair on both devices needs no line.",
    )
    .usage("[OPTION]... LINE|-")
    .argument("[line]", 'what "degu invite" has printed, or - to read it from stdin')
    .addOption(new Option("--address <address>").hideHelp())
    .pairs()
    .example("degu join -", "then paste the line")
    .example("degu join --as laptop - < line.txt", "from a file, under another name")
    .does(join);
}

async function join(
  context: Context,
  line: string | undefined,
  { as, serving: givenServing, address }: Options,
): Promise<void> {
  const { output } = context;
  if (line === undefined || isDeviceName(line) || address !== undefined) {
    throw new Failure(
      'join needs the line of "degu invite", or - to read it from stdin; to compare a number instead, run ' +
        '"degu pair" on both devices',
      USAGE,
    );
  }
  await using device = await openOrMakeDevice(context);
  const serving = await servingAddresses(output, device, givenServing);
  const options = { peerName: as, serving };
  const { name, id, addresses } = await joinByLine(context, device, line, options);
  output.result(`paired with ${name} ${id}`, { name, id, addresses: addresses.map(formatAddress) });
  output.note(
    `compare the id with what "degu id" prints on ${name}; then try "degu ping ${name}"`,
  );
}
