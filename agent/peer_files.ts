/**
 * The files of a peer, as a command uses them.
 *
 * @module
 */

import type { Device } from "../device.ts";
import { type Context, openClient } from "./context.ts";
import { PeerConnections } from "./peer_connections.ts";
import { type Area, RemoteFiles } from "./remote_files.ts";

/** A peer whose files are listed, moved or deleted. */
export interface PeerFiles extends Disposable {
  /** What it is called here. */
  readonly peer: string;
  readonly connections: PeerConnections;
  readonly files: RemoteFiles;
}

/** How to use the files of a peer. */
export interface PeerFilesOptions {
  /** How often a call is made again; by default 3 times. */
  readonly retries?: number;
  /** Prints a note. */
  readonly note?: (text: string) => void;
}

/** Opens the share or the inbox of a peer; connects later. */
export async function openPeerFiles(
  context: Context,
  device: Device,
  peer: string,
  area: Area,
  options: PeerFilesOptions = {},
): Promise<PeerFiles> {
  const { signal, output } = context;
  const client = await openClient(context, device, peer);
  const { note = (text: string) => output.note(text), retries } = options;
  const connections = new PeerConnections(client, signal, note, retries);
  const files = new RemoteFiles(connections, area, signal);
  return { peer, connections, files, [Symbol.dispose]: () => connections[Symbol.dispose]() };
}
