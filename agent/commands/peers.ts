/**
 * `degu id`, `degu peers`, `degu rename`, `degu forget`: the names of this device and of its peers.
 */

import { describeArgumentError, formatAddress } from "@degu/degu/base";
import type { AgentCommand, Context } from "../command.ts";
import { openDevice } from "../open_device.ts";
import { openPeer, unknownPeerFailure } from "../peer_client.ts";
import { Failure } from "../failure.ts";
import { nameKey } from "../inbox.ts";

export function addId(program: AgentCommand): void {
  program.command("id")
    .summary("print the name and the id of this device")
    .description(
      "Prints the name and the id of this device, to compare with what the other device shows.",
    )
    .addExample("degu id", "name and id")
    .setHandler(printId);
}

async function printId(context: Context): Promise<void> {
  await using device = await openDevice(context);
  const { name, id } = device;
  context.output.result(`${name} ${id}`, { name, id });
}

export function addPeers(program: AgentCommand): void {
  program.command("peers")
    .summary("list the devices that this one is paired with")
    .description(
      "Lists the devices that this one is paired with: name, id, and where each can be found. They can do what " +
        '"degu serve" offers; no other device can connect.',
    )
    .addExample("degu peers", "a line for each")
    .addExample("degu peers --json", "an object for each, with the time of the pairing")
    .setHandler(listPeers);
}

async function listPeers(context: Context): Promise<void> {
  const { output } = context;
  await using device = await openDevice(context);
  const peers = await device.peers();
  const width = Math.max(...peers.map(({ name }) => name.length));
  for (const { name, id, addresses, pairedAt } of peers) {
    const texts = addresses.map(formatAddress);
    const text = `${name.padEnd(width)}  ${id}  ${texts.join(" ") || "(no address)"}`;
    output.result(text, { name, id, addresses: texts, pairedAt: pairedAt.toISOString() });
  }
  if (peers.length > 0) return;
  output.note('none yet: run "degu pair" on this device and on the other one');
}

export function addRename(program: AgentCommand): void {
  program.command("rename")
    .summary("give a peer another name")
    .description(
      "Gives a peer another name, by which it is known on this device only. In the inbox it gets a directory of the " +
        "new name; the files that it has put stay in that of the old one.",
    )
    .argument("<peer>", "its name or id")
    .argument("<name>", "the new name: 1 to 63 letters, digits, - and _")
    .addExample("degu rename localhost-2 annas-phone", "from now on degu ls annas-phone:")
    .setHandler(rename);
}

async function rename(context: Context, oldName: string, newName: string): Promise<void> {
  await using device = await openDevice(context);
  const peer = await openPeer(device, oldName);
  const { id } = peer;
  try {
    const { name } = await device.rename(id, newName);
    context.output.result(`${name} ${id}`, { name, id });
    if (nameKey(name) === nameKey(peer.name)) return;
    context.output.note(`its files in an inbox on this device stay in the directory ${peer.name}`);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const problem = describeArgumentError(error)?.problem ?? error.message;
    throw new Failure(`NAME: ${problem}`, "USAGE", { cause: error });
  }
}

export function addForget(program: AgentCommand): void {
  program.command("forget")
    .summary("end the trust in a peer")
    .description(
      "Ends the trust in a peer. Its connections to this device are closed within a second, and it can't connect " +
        "again. The other device does not notice: also forget this one on it.",
    )
    .argument("<peer>", "its name or id")
    .addExample("degu forget old-phone", "after it was lost, sold or stolen")
    .setHandler(forget);
}

async function forget(context: Context, peerName: string): Promise<void> {
  await using device = await openDevice(context);
  const peer = await device.peer(peerName);
  // The file of a peer that can't be used is removed, too: another version would trust the peer.
  if (!await device.forget(peer ?? peerName)) throw await unknownPeerFailure(device, peerName);
  const { name, id } = peer ?? { name: peerName, id: null };
  context.output.result(`forgotten: ${id === null ? name : `${name} ${id}`}`, { name, id });
}
