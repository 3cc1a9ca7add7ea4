import { type Address, formatAddress } from "@degu/degu/base";
import type { Connector } from "@degu/degu/client";
import { isUnixAddress } from "../machine/addresses.ts";
import type { Context } from "../machine/context.ts";
import { openDevice } from "../machine/open_device.ts";
import { findPeer, openClient, requestInfo } from "../peer/peer_client.ts";
import { PeerConnections } from "../peer/peer_connections.ts";
import { formatDevice } from "../terminal/output.ts";

export async function ping(context: Context, operand: string): Promise<void> {
  const { output, options } = context;
  await using device = await openDevice(context);
  const peer = await findPeer(device, operand);
  let startedAt = 0;
  const client = await openClient(context, device, peer);
  const connect: Connector["connect"] = (options) => {
    startedAt = performance.now();
    return client.connect(options);
  };
  using connections = new PeerConnections(context, peer.name, { connect }, 0);
  using connection = await connections.connect();
  const storedPeer = (await device.peer(peer.id)) ?? peer;
  const { name, id, addresses } = storedPeer;
  const connectedAt = performance.now();
  const { share, inbox } = await requestInfo(connection, name);
  const respondedAt = performance.now();
  const typedAddresses = options.address === undefined ? [] : [options.address];
  const knownAddresses = [...typedAddresses, ...addresses];
  const address = formatRemoteAddress(connection.sock.remoteAddr, knownAddresses);
  const connectMs = roundMilliseconds(connectedAt - startedAt);
  const answerMs = roundMilliseconds(respondedAt - connectedAt);
  const servedText = [share ? "a share" : [], inbox ? "an inbox" : []].flat().join(" and ") ||
    "no files";
  const times = `connected in ${connectMs} ms, answered in ${answerMs} ms`;
  output.printResult(
    `${formatDevice(storedPeer)} at ${address}: ${times}, has ${servedText}`,
    { name, id, address, connectMs, answerMs, share, inbox },
  );
}

/**
 * Sockets don't return the scope of an address, and over TLS no path of a Unix socket, so prefers a
 * known address.
 */
function formatRemoteAddress(remoteAddress: unknown, knownAddresses: readonly Address[]): string {
  const { hostname = "", port = 0 } = (remoteAddress ?? {}) as Partial<Deno.NetAddr>;
  const knownAddress = knownAddresses.find((each) =>
    isUnixAddress(each) ? hostname === "" : each[0] === hostname && each[1] === port
  );
  return formatAddress(knownAddress ?? [hostname, port]);
}

function roundMilliseconds(milliseconds: number): number {
  return Math.round(milliseconds * 10) / 10;
}
