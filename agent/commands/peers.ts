/**
 * `degu peers`: whom this device trusts.
 *
 * @module
 */

import type { Command } from "npm:commander@^15.1.0";
import { formatAddress } from "../../base.ts";
import { addExamples, type Run } from "../commands.ts";
import { type Context, openDevice } from "../context.ts";

/** Adds `degu peers`. */
export function addPeers(program: Command, run: Run): void {
  const command = program.command("peers")
    .summary("list the devices that this one is paired with")
    .description(
      "Lists the devices that this one is paired with: name, id, and where each can be found. They can do what " +
        '"degu serve" offers; nobody else can connect.',
    )
    .action((_options: unknown, command: Command) => run(command, listPeers));
  addExamples(command, [
    ["degu peers", "a line for each"],
    ["degu peers --json", "an object for each, with the time of the pairing"],
  ]);
}

async function listPeers(context: Context): Promise<void> {
  const { output } = context;
  await using device = await openDevice(context);
  const peers = await device.peers();
  const width = Math.max(...peers.map(({ name }) => name.length));
  for (const { name, id, addresses, pairedAt } of peers) {
    const texts = addresses.map(formatAddress);
    output.result(`${name.padEnd(width)}  ${id}  ${texts.join(" ") || "(no address)"}`, {
      name,
      id,
      addresses: texts,
      pairedAt: pairedAt.toISOString(),
    });
  }
  if (peers.length > 0) return;
  output.note('none yet: run "degu invite" on one device and "degu join -" on the other');
}
