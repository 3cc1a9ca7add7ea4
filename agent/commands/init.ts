import { Device } from "@degu/degu/device";
import type { Context } from "../machine/context.ts";
import { makeDefaultName, makeLogger, openIfCreated } from "../machine/open_device.ts";
import { toUsageFailure } from "../words/error_codes.ts";
import { Failure } from "../failure.ts";
import { formatDevice, PAIR_ADVICE } from "../terminal/output.ts";

export async function init(
  context: Context,
  { name: requestedName }: { readonly name?: string },
): Promise<void> {
  const { home, output } = context;
  await using existingDevice = await openIfCreated(context, requestedName !== undefined);
  // The peers of the existing device would not know a new device.
  if (existingDevice !== null && requestedName === undefined) {
    const problem = `there is a device in ${home} already: ${formatDevice(existingDevice)}`;
    const advice = "to rename it, add --name NAME; to create another device, name another " +
      "directory with --home";
    throw new Failure(`${problem}; ${advice}`, "ALREADY_EXISTS", { path: home });
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
    return output.note(`the device is in ${home}; to pair, ${PAIR_ADVICE}`);
  }
  if (existingDevice.name === name) return;
  output.note(
    `renamed from ${existingDevice.name}; peers keep the name that they use for this device`,
  );
  if ((await device.serving()).length === 0) return;
  output.note("a running degu serve keeps the name with which it began until it is restarted");
}
