/** `degu init`: creates the device, or renames it. */

import { Device } from "@degu/degu/device";
import { type AgentCommand, type Context, parseDeviceName } from "../command.ts";
import { makeDefaultName, makeLogger, openIfCreated } from "../open_device.ts";
import { Failure, toUsageFailure } from "../failure.ts";
import { formatId } from "../output.ts";

export function addInit(program: AgentCommand): void {
  program.command("init")
    .summary("create or rename this device")
    .description(
      "Creates this device: its name, its keys, and a directory for them. Prints the name and the id of the device. " +
        "The commands pair, invite, join and serve also create a missing device, with the name of this machine. With " +
        "--name, renames an existing device.",
    )
    .option(
      "--name <name>",
      "the name of this device (default: the name of this machine)",
      parseDeviceName,
    )
    .addExample("degu init", "create a device with the name of this machine")
    .addExample(
      "degu init --name anna-laptop",
      "create a device with another name, or rename the device",
    )
    .setHandler(init);
}

async function init(
  context: Context,
  { name: requestedName }: { readonly name?: string },
): Promise<void> {
  const { home, output } = context;
  await using existingDevice = await openIfCreated(context);
  // The peers of the existing device would not know a new device.
  if (existingDevice !== null && requestedName === undefined) {
    throw new Failure(
      `there is a device in ${home} already: ${existingDevice.name} ${
        formatId(existingDevice.id)
      }; to rename it, ` +
        "add --name NAME; to create another device, name another directory with --home",
      "ALREADY_THERE",
      { path: home },
    );
  }
  const options = {
    name: requestedName ?? makeDefaultName(),
    rename: existingDevice !== null,
    logger: makeLogger(context),
  };
  await using device = await Device.open(home, options).catch((error) => {
    throw toUsageFailure(error);
  });
  const { name, id } = device;
  output.printResult(`${name} ${id}`, { name, id, home });
  if (existingDevice === null) {
    return output.note(
      `created ${home}; to pair, run "degu pair" on this device and on the other device`,
    );
  }
  if (existingDevice.name === name) return;
  output.note(
    `renamed from ${existingDevice.name}; peers keep the name that they use for this device`,
  );
  if ((await device.serving()).length === 0) return;
  output.note(`"degu serve" announces the name ${existingDevice.name} until you restart it`);
}
