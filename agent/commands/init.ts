/** `degu init`: makes the device. */

import { Device } from "../../device.ts";
import { isDeviceName, MAX_NAME_LENGTH } from "../../identity/names.ts";
import { type AgentCommand, type Context, loggerOf, openIfMade, usageError } from "../commands.ts";
import { Failure } from "../failure.ts";

export function addInit(program: AgentCommand): void {
  program.command("init")
    .summary("make this device, once")
    .description(
      "Makes this device: a name, keys, and a directory for them. Prints the name and the id, by which other " +
        "devices know it.",
    )
    .option("--name <name>", "what other devices call it (default: the name of this machine)")
    .example("degu init", "names it like this machine")
    .example("degu init --name anna-laptop", "letters, digits, - and _")
    .does(init);
}

async function init(context: Context, given: { readonly name?: string }): Promise<void> {
  const { home, output } = context;
  await using there = await openIfMade(context);
  // A new device would be unknown to all peers of the device that is already there.
  if (there !== null) {
    throw new Failure(
      `there is a device in ${home} already: ${there.name} ${there.id}; give another directory with --home ` +
        "to make another one",
    );
  }
  try {
    const options = { name: given.name ?? defaultName(), logger: loggerOf(context) };
    await using device = await Device.open(home, options);
    const { name, id } = device;
    output.result(`${name} ${id}`, { name, id, home });
  } catch (error) {
    throw usageError(error);
  }
  output.note(
    `created ${home}; to pair, run "degu invite" on one device and "degu join -" on the other`,
  );
}

const FALLBACK = "device";

/**
 * The name of this machine, adapted to the rules for device names. Needs `--allow-sys=hostname`.
 */
export function defaultName(hostname: string = Deno.hostname()): string {
  const [label = ""] = hostname.split(".");
  const name = label.normalize("NFKD").replaceAll(/\p{M}/gu, "")
    .replaceAll(/[^0-9A-Za-z_-]+/g, "-").replace(/^[^0-9A-Za-z]+/, "")
    .slice(0, MAX_NAME_LENGTH).replace(/-+$/, "");
  return isDeviceName(name) ? name : FALLBACK;
}
