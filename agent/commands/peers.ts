/**
 * `degu id`, `degu peers`, `degu rename`, `degu forget`: the names of this device and of its peers.
 */

import { describeArgumentError, formatAddress } from "@degu/degu/base";
import type { AgentCommand, Context } from "../command.ts";
import { openDevice } from "../open_device.ts";
import { makeUnknownPeerFailure, openPeer } from "../peer_client.ts";
import { Failure } from "../failure.ts";
import { formatId } from "../output.ts";
import { makeNameKey } from "../inbox.ts";

export function addId(program: AgentCommand): void {
  program.command("id")
    .summary("print the name and the id of this device")
    .description(
      "Prints the name and the id of this device. Compare them with the name and the id that the other device shows.",
    )
    .addExample("degu id", "print the name and the id")
    .setHandler(printId);
}

async function printId(context: Context): Promise<void> {
  await using device = await openDevice(context);
  const { name, id } = device;
  context.output.printResult(`${name} ${id}`, { name, id });
}

export function addPeers(program: AgentCommand): void {
  program.command("peers")
    .summary("list the peers, which are the paired devices")
    .description(
      "Lists the devices that are paired with this device: name, id and addresses. Only these devices can connect to " +
        '"degu serve" on this device.',
    )
    .addExample("degu peers", "print a line for each peer")
    .addExample(
      "degu peers --json",
      "print a JSON object for each peer, with the time of the pairing",
    )
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
    output.printResult(text, { name, id, addresses: texts, pairedAt: pairedAt.toISOString() });
  }
  if (peers.length > 0) return;
  output.note('there are no peers yet: run "degu pair" on this device and on the other device');
}

export function addRename(program: AgentCommand): void {
  program.command("rename")
    .summary("rename a peer")
    .description(
      "Changes the name of a peer on this device only. In the inbox, the peer gets a directory with the new name; its " +
        "existing files stay in the directory with the old name.",
    )
    .argument("<peer>", "the name or id of the peer")
    .argument("<name>", "the new name: 1 to 63 letters, digits, - and _")
    .addExample(
      "degu rename localhost-2 annas-phone",
      "rename a peer; then use it as in degu ls annas-phone:",
    )
    .setHandler(rename);
}

async function rename(context: Context, oldName: string, newName: string): Promise<void> {
  await using device = await openDevice(context);
  const peer = await openPeer(device, oldName);
  const { id } = peer;
  try {
    const { name } = await device.rename(id, newName);
    context.output.printResult(`${name} ${formatId(id)}`, { name, id });
    if (makeNameKey(name) === makeNameKey(peer.name)) return;
    context.output.note(`its files in an inbox on this device stay in the directory ${peer.name}`);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const problem = describeArgumentError(error)?.problem ?? error.message;
    throw new Failure(`NAME: ${problem}`, "USAGE", { cause: error });
  }
}

export function addForget(program: AgentCommand): void {
  program.command("forget")
    .summary("stop trusting a peer")
    .description(
      "Stops trusting a peer. Its connections to this device are closed within a second, and it can't connect again. " +
        "The other device is not notified, and trusts this device until you also run degu forget on it.",
    )
    .argument("<peer>", "the name or id of the peer")
    .addExample("degu forget old-phone", "forget a device that was lost, sold or stolen")
    .setHandler(forget);
}

async function forget(context: Context, peerName: string): Promise<void> {
  await using device = await openDevice(context);
  const peer = await device.peer(peerName);
  // Also removes the unusable file of a peer, because another version may trust that peer.
  if (!await device.forget(peer ?? peerName)) throw await makeUnknownPeerFailure(device, peerName);
  const { name, id } = peer ?? { name: peerName, id: null };
  context.output.printResult(`forgotten: ${id === null ? name : `${name} ${formatId(id)}`}`, {
    name,
    id,
  });
}
