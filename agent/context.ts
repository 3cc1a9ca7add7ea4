/**
 * What every command is given.
 *
 * @module
 */

import { isAbsolute, resolve } from "node:path";
import { type Address, formatAddress } from "../base.ts";
import { type Client, Device, type Logger, type Peer } from "../device.ts";
import { plainMessageOf } from "../net/thrown.ts";
import { Failure, REFUSED, USAGE } from "./failure.ts";
import { findAddresses } from "./mdns/find.ts";
import type { Output } from "./output.ts";

/** How long to wait for an address: one at which nothing answers looks like a slow one, and people wait for it. */
const CONNECT_SECONDS = 10;

/** What every command is given. */
export interface Context {
  /** The absolute path of the directory of the device. */
  readonly home: string;
  /** Where to print. */
  readonly output: Output;
  /** Is aborted by the first SIGINT or SIGTERM: commands clean up and reject with its reason. */
  readonly signal: AbortSignal;
  readonly options: CommonOptions;
}

/** The options that every command has, and those of commands that connect to a peer. */
export interface CommonOptions {
  readonly home?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
  /** Where to look for the peer, instead of the addresses that are known. */
  readonly address?: Address;
  /** Whether to look for the peer in the local network first. */
  readonly find?: boolean;
}

/** Where the device is; the environment is read only without `--home`. */
export function findHome(given: string | undefined): string {
  // Usually from an unset variable in a script.
  if (given === "") throw new Failure("--home: must be a directory; it is empty", USAGE);
  if (given !== undefined) return resolve(given);
  const state = Deno.env.get("XDG_STATE_HOME");
  // The specification of these variables says to ignore relative paths.
  if (state !== undefined && isAbsolute(state)) return `${state}/degu`;
  const home = Deno.env.get("HOME");
  if (home !== undefined && isAbsolute(home)) return `${home}/.local/state/degu`;
  throw new Failure("HOME is not set: use --home DIR to say where the device is");
}

/** Opens the device that `degu init` has made. Dispose of it. */
export async function openDevice(context: Context): Promise<Device> {
  try {
    return await Device.open(context.home, { logger: loggerOf(context) });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const message = `there is no device in ${context.home} yet: make one with "degu init"`;
    throw new Failure(message, REFUSED, { cause: error });
  }
}

/** The library's log lines as messages of the program. */
export function loggerOf({ output }: Context): Logger {
  const ignore = () => {};
  const warn = (...args: unknown[]) => output.warn(args.map(plainMessageOf).join(" "));
  return { debug: ignore, info: ignore, warn, error: warn };
}

/** The peer of a name or an id. */
export async function openPeer(device: Device, peerName: string): Promise<Peer> {
  const peer = await device.peer(peerName);
  if (peer !== null) return peer;
  const hint = (await device.peers()).length === 0
    ? 'this device is not paired with any yet: run "degu invite" on one of the two and "degu join" on the other'
    : '"degu peers" lists those that there are';
  throw new Failure(`there is no peer ${JSON.stringify(peerName)}: ${hint}`, REFUSED);
}

/** Makes a client of a peer by its name or id. */
export async function openClient(
  context: Context,
  device: Device,
  peerName: string,
): Promise<Client> {
  const peer = await openPeer(device, peerName);
  const { signal, options: { address, find } } = context;
  const addresses = address !== undefined ? [address] : find ? await lookFor(context, peer) : [];
  const options = { signal, connectTimeout: CONNECT_SECONDS };
  if (addresses.length > 0) return await device.client(peer, { ...options, addresses });
  if (peer.addresses.length > 0) return await device.client(peer, options);
  throw new Failure(
    `no address of ${peer.name} is known, as it did not serve when the two were paired: give it with ` +
      '--address, or run "degu serve" there and pair the two again',
  );
}

/** The addresses to try for a peer: those found on the local network, then the known ones. */
async function lookFor(context: Context, { id, name, addresses }: Peer): Promise<Address[]> {
  const { signal, output } = context;
  const found = await findAddresses(id, { signal, logger: loggerOf(context) });
  if (found.length === 0) {
    output.note(
      `${name} was not found in the local network: is "degu serve --announce" running there?`,
    );
  }
  // Anyone can claim that a peer is at an address, so the known ones are tried, too.
  const seen = new Map([...found, ...addresses].map((each) => [formatAddress(each), each]));
  return [...seen.values()];
}
