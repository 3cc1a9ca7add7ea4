/** `degu init`: creates the device. */

import { Device } from "@degu/degu/device";
import type { AgentCommand, Context } from "../command.ts";
import { makeDefaultName, makeLogger, openIfCreated } from "../open_device.ts";
import { Failure, toUsageFailure } from "../failure.ts";

export function addInit(program: AgentCommand): void {
  program.command("init")
    .summary("create this device")
    .description(
      "Creates this device: its name, its keys, and a directory for them. Prints the name and the id of the device. " +
        "The commands pair, invite, join and serve also create a missing device, with the name of this machine.",
    )
    .option("--name <name>", "the name of this device (default: the name of this machine)")
    .addExample("degu init", "create a device with the name of this machine")
    .addExample(
      "degu init --name anna-laptop",
      "create a device with another name, of letters, digits, - and _",
    )
    .setHandler(init);
}

async function init(context: Context, initOptions: { readonly name?: string }): Promise<void> {
  const { home, output } = context;
  await using existingDevice = await openIfCreated(context);
  // The peers of the existing device would not know a new device.
  if (existingDevice !== null) {
    throw new Failure(
      `there is a device in ${home} already: ${existingDevice.name} ${existingDevice.id}; to create another ` +
        "device, name another directory with --home",
      "ALREADY_THERE",
      { path: home },
    );
  }
  try {
    const options = { name: initOptions.name ?? makeDefaultName(), logger: makeLogger(context) };
    await using device = await Device.open(home, options);
    const { name, id } = device;
    output.printResult(`${name} ${id}`, { name, id, home });
  } catch (error) {
    throw toUsageFailure(error);
  }
  output.note(
    `created ${home}; to pair, run "degu pair" on this device and on the other device`,
  );
}
