/** The common parts of commands. */

import { isAbsolute, resolve } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import {
  type Address,
  formatAddress,
  type HostAddress,
  parseAddress,
  type ScopedAddress,
} from "../../base.ts";
import { canonicalIPAddress, isUnixAddress, withoutZone } from "../../base/address.ts";
import type { Client, ClientOptions } from "../../client.ts";
import { Device, PairingError, type Peer } from "../../device.ts";
import { searchWith } from "../device/device_client.ts";
import type { Logger } from "../../server.ts";
import { isDeviceName, MAX_NAME_LENGTH } from "../identity/names.ts";
import { plainMessageOf } from "../../net/thrown.ts";
import { explainLine, FAILED, Failure, NoAddress, REFUSED, USAGE, userName } from "./failure.ts";
import { findAddresses } from "./mdns.ts";
import { mayUseMdns } from "./mdns_links.ts";
import type { Output } from "./output.ts";

/**
 * How long to wait for an address: an address at which nothing answers looks like a slow one, and
 * people wait for it. All addresses are tried side by side.
 */
export const CONNECT_SECONDS = 5;

/** A peer that has not answered for so long is also looked for. */
const LOOK_AFTER_MILLISECONDS = 2000;

/** The context in which every command runs. */
export interface Context {
  /** The absolute path of the directory of the device. */
  readonly home: string;
  readonly output: Output;
  /** Is aborted by the first SIGINT or SIGTERM: commands clean up and reject with its reason. */
  readonly signal: AbortSignal;
  readonly options: CommonOptions;
  /** The name of the peer that was asked for last: of an error that names none. */
  peer?: string;
}

/** The options that every command has, and those of commands that connect to a peer. */
export interface CommonOptions {
  readonly home?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly address?: Address;
  /** False with `--no-find`. */
  readonly find?: boolean;
  /** Seconds to wait for a peer that is off. */
  readonly wait?: number;
}

/** The directory of the person; `null` where it is not known. */
export function personalDirectory(): string | null {
  const home = Deno.env.get("HOME");
  return home !== undefined && isAbsolute(home) ? home : null;
}

/** Where the device is; the environment is read only without `--home`. */
export function findHome(given: string | undefined): string {
  // An empty value usually comes from an unset variable in a script.
  if (given === "") throw new Failure("--home: must be a directory; it is empty", USAGE);
  if (given !== undefined) return resolve(given);
  const state = Deno.env.get("XDG_STATE_HOME");
  // The specification of these variables says to ignore relative paths.
  if (state !== undefined && isAbsolute(state)) return `${state}/degu`;
  const home = personalDirectory();
  if (home !== null) return `${home}/.local/state/degu`;
  throw new Failure("HOME is not set: use --home DIR to say where the device is");
}

/** Opens the device. Dispose of it. */
export async function openDevice(context: Context): Promise<Device> {
  const device = await openIfMade(context);
  if (device !== null) return device;
  const message = `there is no device in ${context.home} yet: make one with "degu init"`;
  throw new Failure(message, REFUSED, NOT_PAIRED);
}

const NOT_PAIRED = { code: "NOT_PAIRED" } as const;

/** Opens the device; makes it first where there is none, with the name of this machine. */
export async function openOrMakeDevice(context: Context): Promise<Device> {
  const there = await openIfMade(context);
  if (there !== null) return there;
  const { home, output } = context;
  const device = await Device.open(home, { name: nameHere(home), logger: loggerOf(context) });
  output.note(`created the device ${device.name} ${device.id} in ${home}`);
  return device;
}

function nameHere(home: string): string {
  try {
    return defaultName();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
    // The name is needed only because there is no device here, often because --home names another
    // directory.
    const message =
      `there is no device in ${home} yet: make one with "degu init", or allow it its ` +
      "name with --allow-sys=hostname";
    throw new Failure(message, FAILED, { cause: error });
  }
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

export async function openIfMade(context: Context): Promise<Device | null> {
  try {
    return await Device.open(context.home, { logger: loggerOf(context) });
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

/** The library's log lines as messages of the program. */
export function loggerOf({ output }: Context): Logger {
  const ignore = () => {};
  const warn = (...args: unknown[]) => output.warn(explainLine(args.map(plainMessageOf).join(" ")));
  return { debug: ignore, info: ignore, warn, error: warn };
}

export async function openPeer(device: Device, peerName: string): Promise<Peer> {
  const peer = await device.peer(peerName);
  if (peer !== null) return peer;
  const hint = (await device.peers()).length === 0
    ? 'this device is not paired with any yet: run "degu pair" on both'
    : '"degu peers" lists those that there are';
  throw new Failure(`there is no peer ${JSON.stringify(peerName)}: ${hint}`, REFUSED, {
    ...NOT_PAIRED,
    peer: peerName,
  });
}

/**
 * Makes a client of a peer, which is also looked for in the local network.
 *
 * @param given Options of the client.
 * @param isAgain Whether the peer is silent at an address, so that all others are tried, too.
 */
export async function openClient(
  context: Context,
  device: Device,
  peerName: string,
  given: ClientOptions = {},
  isAgain = false,
): Promise<Client> {
  const peer = await openPeer(device, peerName);
  context.peer = peer.name;
  const { signal, options: { address, find } } = context;
  const options = { signal, connectTimeout: CONNECT_SECONDS, ...given };
  if (address !== undefined) {
    const others = isAgain ? peer.addresses : [];
    return await device.client(peer, { ...options, addresses: [address, ...others] });
  }
  const looks = find !== false && mayUseMdns();
  // Whoever is found has to prove its identity, and what can't be found fails like the rest.
  const look = async (signal: AbortSignal) => {
    if (!looks) return [];
    const found = await findAddresses(peer.id, { signal, logger: loggerOf(context) })
      .catch(() => []);
    // For others Deno would ask on the terminal.
    return found.filter((each) => {
      const host = formatAddress(each);
      return Deno.permissions.querySync({ name: "net", host }).state === "granted";
    });
  };
  if (peer.addresses.length > 0) {
    const client = await device.client(peer, options);
    const after = isAgain ? 0 : LOOK_AFTER_MILLISECONDS;
    if (looks) searchWith(client, { after, find: look });
    return client;
  }
  const bounded = given.signal ?? signal;
  const addresses = await look(bounded);
  bounded.throwIfAborted();
  if (addresses.length === 0) {
    throw new NoAddress(
      `no address of ${peer.name} is known${
        looks ? ", and it was not found in this network" : ""
      }: ` +
        'run "degu serve" there, or give its address with --address',
      FAILED,
      { code: "NO_ADDRESS", peer: peer.name },
    );
  }
  const client = await device.client(peer, { ...options, addresses });
  searchWith(client, { after: 0, find: () => Promise.resolve([]) });
  return client;
}

export const DEFAULT_PORT = 7443;

/**
 * The work of a command, with its operands and its options. The result is the exit code, if it is
 * not 0.
 */
type Action<Args extends unknown[]> = (context: Context, ...args: Args) => Promise<number | void>;

export type Run = <Args extends unknown[]>(
  action: Action<Args>,
) => (...args: Args) => Promise<void>;

/** A command of the program, with what several of them have. */
export class AgentCommand extends Command {
  /** Runs what a command does. */
  readonly run: Run;
  #heading = "\nExamples:\n";

  constructor(name: string, run: Run) {
    super(name);
    this.run = run;
  }

  override createCommand(name: string): AgentCommand {
    return new AgentCommand(name, this.run);
  }

  does<Args extends unknown[]>(action: Action<Args>): this {
    return this.action(this.run(action));
  }

  /** Adds an example: a line to type, and the effect of that line. */
  example(line: string, does: string): this {
    const heading = this.#heading;
    this.#heading = "";
    return this.addHelpText("after", `${heading}  ${line}\n      ${does}`);
  }

  /** Adds the options of commands that connect to a peer. */
  connects(): this {
    return this
      .option("--address <address>", "where the peer is, for this call", parseAddressOption)
      .addOption(new Option("--find").hideHelp())
      .option(
        "--no-find",
        "don't look for the peer on the local network (mDNS) if it does not answer",
      );
  }

  /** Adds the option of commands that copy directories. */
  settles(): this {
    return this.option(
      "--settled <seconds>",
      "in directories, skip files that were modified less than so many seconds ago: they may still be written to",
      parseSeconds,
    );
  }

  /** Adds the option of commands that can wait for a peer. */
  waits(): this {
    return this.option(
      "--wait <seconds>",
      "if the peer is off, wait for it quietly, up to so many seconds",
      parseSeconds,
    );
  }

  /** Adds the option of commands that look for another device, which need not be a peer. */
  meets(): this {
    return this.option(
      "--address <address>",
      "where the other device is, with the port that it shows: HOST:PORT",
      parseServingAddress,
    );
  }

  /** Adds the options of all commands that pair. */
  pairs(): this {
    return this
      .option("--as <name>", "what the other device is called here (default: its own name)")
      .option(
        "--serving <address>",
        'where the other device finds this one later; can be repeated (default: where "degu serve" listens)',
        repeated(parseServingAddress),
      );
  }
}

/** An address that can be sent to another machine. */
export type SentAddress = HostAddress | ScopedAddress;

export interface PairingOptions {
  readonly as?: string;
  readonly serving?: SentAddress[];
}

/** Reads an option that may be given several times. */
export function repeated<T>(parse: (text: string) => T): (text: string, before?: T[]) => T[] {
  return (text, before = []) => [...before, parse(text)];
}

/**
 * The library's error about an argument, with the argument's name on the command line; any other
 * error as it is.
 */
export function usageError(error: unknown): unknown {
  const isName = error instanceof PairingError && error.code === "NAME_TAKEN";
  if (!(error instanceof RangeError || isName)) return error;
  const { message } = error;
  const [, argument = "", rest = message] = /^(\w+): (.*)$/s.exec(message) ?? [];
  const isOption = ["listen", "name", "seconds", "serving"].includes(argument);
  const text = argument === "peerName" ? `--as: ${rest}` : isOption ? `--${message}` : message;
  return new Failure(text, USAGE, { cause: error });
}

/**
 * Reads an option that may be given once: otherwise the first of two directories would be ignored
 * silently.
 */
export function parseOnce(text: string, before?: string): string {
  if (before === undefined) return text;
  throw new InvalidArgumentError(
    `it can be given only once, and ${JSON.stringify(before)} is given already`,
  );
}

/** The error of addresses at which nothing can listen; of several, nobody knows which is meant. */
export function listenError(addresses: readonly Address[], error: unknown): unknown {
  const texts = addresses.map(formatAddress);
  const said = texts.join(", or ");
  const fail = (message: string) => new Failure(message, FAILED, { cause: error });
  const { AddrInUse, AddrNotAvailable, PermissionDenied } = Deno.errors;
  const other = `--listen ${texts[0]!.replace(/\d+$/, "7444")}`;
  if (error instanceof AddrNotAvailable && texts.some((text) => !text.startsWith("[::]"))) {
    return fail(`${said} is not an address of this machine: use one that is, or 0.0.0.0`);
  }
  if (error instanceof AddrInUse) {
    const advice = `If it is another program, take another port, as in ${other}`;
    return fail(`${said} is in use: does another "degu serve" run? ${advice}`);
  }
  const isLow = addresses.some(([, port]) => typeof port === "number" && port < 1024);
  if (error instanceof PermissionDenied && isLow) {
    return fail(
      `${userName()} may not listen at ${said}: ports below 1024 are for root; take another one, as in ${other}`,
    );
  }
  return error;
}

/** Reads a number of seconds, such as `1.5`. */
export function parseSeconds(text: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  throw new InvalidArgumentError(
    `must be a number of seconds, 0 or more; got ${JSON.stringify(text)}`,
  );
}

/** Refuses an option that does nothing without directories: nobody would see that. */
export function checkSettled(settled: number | undefined, recursive: boolean): void {
  if (settled === undefined || recursive) return;
  throw new Failure("--settled is for directories: add -r", USAGE);
}

/** Reads an address of an option; the port may be left out. */
export function parseAddressOption(text: string): Address {
  const hasPort = text.startsWith("unix:") || /^(\[[^\]]*\]|[^:[\]]*):[^:]*$/.test(text);
  // An IPv6 address without brackets has no port.
  const host = text.includes(":") && !text.startsWith("[") ? `[${text}]` : text;
  try {
    return parseAddress(hasPort ? text : `${host}:${DEFAULT_PORT}`);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    // The library's message has an example for programs; people get one for the command line.
    const message = error.message.replace(/^address(\[\d\])?: /, "")
      .replace(/: write \[.*/s, ": write it as in fe80::1%eth0");
    throw new InvalidArgumentError(message);
  }
}

export function parseListenAddress(text: string): Address {
  const [, port] = /^:?(\d{1,5})$/.exec(text) ?? [];
  if (port !== undefined) {
    throw new InvalidArgumentError(
      `it is a port without an address: write 0.0.0.0:${port} for every address of this machine`,
    );
  }
  const address = parseAddressOption(text);
  if (isUnixAddress(address)) return address;
  const [host] = address;
  if (canonicalIPAddress(withoutZone(host)) !== null) return address;
  throw new InvalidArgumentError(
    `must be an IP address of this machine, with or without a port; got ${JSON.stringify(host)}: ` +
      "0.0.0.0 and :: are all of them",
  );
}

/** Reads an address of this machine that another one can connect to. */
export function parseInvitingAddress(text: string): SentAddress {
  const address = parseListenAddress(text);
  if (!isUnixAddress(address)) return address;
  throw new InvalidArgumentError("must be an IP address; got a Unix socket");
}

/** Reads an address at which another device finds this one later. */
export function parseServingAddress(text: string): SentAddress {
  const address = parseAddressOption(text);
  if (isUnixAddress(address)) {
    throw new InvalidArgumentError("must be an IP address or a DNS name; got a Unix socket");
  }
  if (address[1] !== 0) return address;
  throw new InvalidArgumentError("must have a port from 1 to 65535; got 0");
}

/**
 * The addresses to send to a new peer: those given; else those where `degu serve` runs, which are
 * looked up when they are sent; else the default port of every address of this machine, where
 * `degu serve` may be started later.
 *
 * @returns `undefined` for those that are looked up.
 */
export async function servingAddresses(
  { output }: Context,
  device: Device,
  given: SentAddress[] | undefined,
): Promise<SentAddress[] | undefined> {
  if (given !== undefined || (await device.serving()).length > 0) return given;
  const permission = { name: "sys", kind: "networkInterfaces" } as const;
  if (Deno.permissions.querySync(permission).state === "granted") return [["::", DEFAULT_PORT]];
  output.note(
    "the addresses of this machine are not sent, as --allow-sys=networkInterfaces is missing: give them with " +
      "--serving, if this device is to serve the other one",
  );
  return undefined;
}
