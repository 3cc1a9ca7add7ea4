import { describeArgumentError, formatAddress } from "@degu/degu/base";
import { DeviceError } from "@degu/degu/device";
import type { Context } from "../machine/context.ts";
import { makeNameKey, openDevice } from "../machine/open_device.ts";
import { findPeer, lookUpPeer, makeUnknownPeerFailure } from "../peer/peer_client.ts";
import { Failure } from "../failure.ts";
import { formatDevice, PAIR_ADVICE } from "../terminal/output.ts";

export async function listPeers(context: Context): Promise<void> {
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
  output.note(`there are no peers: ${PAIR_ADVICE}`);
}

export async function rename(context: Context, operand: string, newName: string): Promise<void> {
  await using device = await openDevice(context);
  const peer = await findPeer(device, operand);
  const { id } = peer;
  try {
    const { name } = await device.rename(id, newName);
    context.output.printResult(formatDevice({ name, id }), { name, id });
    if (makeNameKey(name) === makeNameKey(peer.name)) return;
    context.output.note(
      `in the inbox, its files stay where they are, and new files go to a directory of the name ${name}`,
    );
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const problem = describeArgumentError(error)?.problem ?? error.message;
    throw new Failure(`NAME: ${problem}`, "USAGE", { cause: error });
  }
}

export async function forget(context: Context, peerName: string): Promise<void> {
  await using device = await openDevice(context);
  const peer = await lookUpPeer(device, peerName);
  // Also removes the unusable file of a peer, because another version may trust that peer.
  try {
    await device.forget(peer ?? peerName);
  } catch (error) {
    if (!(error instanceof DeviceError && error.code === "UNKNOWN")) throw error;
    throw await makeUnknownPeerFailure(device, peerName);
  }
  const { name, id } = peer ?? { name: peerName, id: null };
  const text = peer === null ? name : formatDevice(peer);
  context.output.printResult(`forgotten: ${text}`, { name, id });
  context.output.note(
    "on this device only: its files stay, and the trust of your other devices is unchanged",
  );
}
