/**
 * `degu rename`: what a peer is called here.
 *
 * @module
 */

import type { Command } from "npm:commander@^15.1.0";
import { addExamples, type Run } from "../commands.ts";
import { type Context, openDevice, openPeer } from "../context.ts";
import { Failure, USAGE } from "../failure.ts";

/** Adds `degu rename`. */
export function addRename(program: Command, run: Run): void {
  const command = program.command("rename")
    .summary("give a peer another name")
    .description("Gives a peer another name, by which it is known on this device only.")
    .argument("<peer>", "its name or id")
    .argument("<name>", "the new name: 1 to 63 letters, digits, - and _")
    .action((peer: string, name: string, _options: unknown, command: Command) =>
      run(command, (context) => rename(context, peer, name))
    );
  addExamples(command, [[
    "degu rename localhost-2 annas-phone",
    "from now on degu ls annas-phone:",
  ]]);
}

async function rename(context: Context, peerName: string, name: string): Promise<void> {
  await using device = await openDevice(context);
  const peer = await openPeer(device, peerName);
  try {
    const renamed = await device.rename(peer, name);
    context.output.result(`${renamed.name} ${renamed.id}`, { name: renamed.name, id: renamed.id });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new Failure(USAGE, error.message.replace(/^name: /, "NAME: "), { cause: error });
  }
}
