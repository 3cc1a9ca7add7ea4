/**
 * `degu forget`: ends the trust in a peer.
 *
 * @module
 */

import type { Command } from "npm:commander@^15.1.0";
import { addExamples, type Run } from "../commands.ts";
import { type Context, openDevice, openPeer } from "../context.ts";

/** Adds `degu forget`. */
export function addForget(program: Command, run: Run): void {
  const command = program.command("forget")
    .summary("end the trust in a peer")
    .description(
      "Ends the trust in a peer. Its connections to this device are closed within a second, and it can't connect " +
        "again. The other device is not told: forget this one there, too.",
    )
    .argument("<peer>", "its name or id")
    .action((peer: string, _options: unknown, command: Command) =>
      run(command, (context) => forget(context, peer))
    );
  addExamples(command, [["degu forget old-phone", "after it was lost, sold or stolen"]]);
}

async function forget(context: Context, peerName: string): Promise<void> {
  await using device = await openDevice(context);
  const { name, id } = await openPeer(device, peerName);
  await device.forget(id);
  context.output.result(`forgotten: ${name} ${id}`, { name, id });
}
