import type { Command } from "commander";
import { dirname } from "node:path";
import { type Address, formatAddress } from "@degu/degu/base";
import { parseInvitation } from "@degu/degu/device";
import { type HostOrScopedAddress, isLinkLocal, withNextPort } from "../machine/addresses.ts";
import { type CommonOptions, type Context, DEFAULT_INBOX, STDIO } from "../machine/context.ts";
import { formatShellCommand } from "../terminal/shell_command.ts";
import { Failure } from "../failure.ts";
import { isDumbTerminal, Output } from "../terminal/output.ts";
import { findKeepingDirectory, toLocalPath } from "../machine/local_paths.ts";
import {
  EVERY_HOST,
  findModule,
  listDirectoryPaths,
  listPaths,
  makeConnectPermissions,
  makeCopyPermissions,
  makeDevicePermissions,
  makeRunCommand,
  makeServePermissions,
  mergePermissions,
  type Permissions,
} from "../machine/needed_permissions.ts";
import { openDevice, openIfCreated } from "../machine/open_device.ts";
import { resolve } from "../machine/paths.ts";
import { isLine, toDeviceLine } from "../pair/line_kinds.ts";
import { findPeer } from "../peer/peer_client.ts";
import { isRemotePath, parseRemotePath, parseSyncOperands } from "../peer/remote_files.ts";
import { checkDirectories, checkServesAny } from "../serve/served_directories.ts";
import type { ServeOptions } from "./serve.ts";

type Options = Omit<ServeOptions, "listen"> & CommonOptions & {
  readonly delete?: boolean;
  readonly dryRun?: boolean;
  readonly every?: number;
  readonly listen?: HostOrScopedAddress[];
  readonly move?: boolean;
  readonly serving?: Address[];
};

/** Prints the line with which Deno runs a command with only the permissions that it needs. */
export async function printPermissions(
  context: Context,
  command: Command,
  version: string,
  isJson: boolean,
): Promise<void> {
  if (Deno.build.standalone) {
    throw new Failure("an executable has the permissions that it was compiled with");
  }
  const { home, output, options: { json, quiet } } = context;
  const resultOutput = new Output({ json: isJson }, output.streams);
  if (command.parent!.opts<{ flags?: boolean }>().flags === true) {
    return await printFlags(context, command, resultOutput);
  }
  const permissions = await findPermissions(context, command);
  const words = [
    ...makeRunCommand(mergePermissions(permissions, { env: isDumbTerminal() ? ["TERM"] : [] })),
    findModule(version),
    ...["--home", home, ...json ? ["--json"] : [], ...quiet ? ["--quiet"] : []],
    ...listWords(command),
  ];
  resultOutput.printSource(formatShellCommand(...words), { command: words });
}

/** Keeps warnings, which the command itself prints if it can run. */
class WarningBuffer extends Output {
  readonly warnings: string[] = [];

  override warn(text: string): void {
    this.warnings.push(text);
  }
}

/** Prints each flag in a line, which a shell can split without reading quotes. */
async function printFlags(context: Context, command: Command, output: Output): Promise<void> {
  const buffer = new WarningBuffer({ quiet: true }, output.streams);
  const found = await findPermissions({ ...context, output: buffer }, command).catch((error) => {
    for (const warning of buffer.warnings) context.output.warn(warning);
    throw error;
  });
  const permissions = mergePermissions(found, {
    env: [
      ...isDumbTerminal() ? ["TERM"] : [],
      // The command finds its home itself.
      ...context.options.home === undefined ? ["HOME", "XDG_STATE_HOME"] : [],
    ],
  });
  const path = [...permissions.read, ...permissions.write].find((each) => /[,\n]/.test(each));
  if (path !== undefined) {
    const reason = `no flag of Deno can name ${JSON.stringify(path)}`;
    return output.warn(`${command.name()} runs with the permissions of all commands: ${reason}`);
  }
  const flags = makeRunCommand(permissions).slice(2);
  output.printSource(flags.join("\n"), { flags });
}

/** Returns the words of a command as they were typed, without the options of every command. */
function listWords({ parent, args }: Command): readonly string[] {
  const [name = "", ...words] = parent!.args;
  // commander removes a "--" before which there is no option.
  const isCut = !words.includes("--") && args.some((word) => /^-./.test(word));
  return isCut ? [name, "--", ...words] : [name, ...words];
}

const ANY_NETWORK: Partial<Permissions> = { net: [EVERY_HOST], sys: ["networkInterfaces"] };

async function findPermissions(context: Context, command: Command): Promise<Permissions> {
  const { home, output } = context;
  const { args } = command;
  const options = command.opts<Options>();
  const { address, create = true, every, listen, move = false, serving } = options;
  const ofDevice = await makeDevicePermissions(home);
  const mayCreateDevice = async () => {
    await using device = await openIfCreated(context);
    return { sys: device === null ? ["hostname"] : [] };
  };
  const ofPeers = async (operands: readonly string[]) => {
    await using device = await openDevice(context);
    const findNamed = (operand: string) =>
      findPeer(device, command.name() === "ping" ? operand : parseRemotePath(operand).peer);
    const peers = await Promise.all(operands.map(findNamed));
    return mergePermissions(ofDevice, makeConnectPermissions(peers, options));
  };
  const ofServing = serving === undefined ? { sys: ["networkInterfaces"] } : {};
  switch (command.name()) {
    case "completions":
      return mergePermissions();
    case "id":
    case "peers":
    case "rename":
    case "forget":
      return ofDevice;
    case "init":
      return mergePermissions(ofDevice, { sys: options.name === undefined ? ["hostname"] : [] });
    case "pair":
    case "invite": {
      const ofListening = listen === undefined ? ANY_NETWORK : { net: listPorts(listen, 2) };
      const ofNetwork = address === undefined ? ofListening : { net: [formatHost(address)] };
      return mergePermissions(ofDevice, await mayCreateDevice(), ofServing, ofNetwork);
    }
    case "join":
      return mergePermissions(ofDevice, await mayCreateDevice(), ofServing, ofLine(args[0]));
    case "serve": {
      checkServesAny(options);
      const { share, inbox } = await checkDirectories(options, home, output, false);
      const withTyped = async (path: string | null, typed: string | undefined) => [
        ...typed === undefined || typed === DEFAULT_INBOX ? [] : await listPaths(typed),
        ...path === null ? [] : [path],
      ];
      const ofServer = await makeServePermissions(home, {
        ...options,
        share: await withTyped(share, options.share),
        inbox: await withTyped(inbox, options.inbox ?? options.inboxForAll),
      });
      return mergePermissions(ofServer, await mayCreateDevice(), {
        env: options.inbox === DEFAULT_INBOX ? ["HOME"] : [],
      });
    }
    case "ping":
    case "ls":
    case "rm":
      return await ofPeers(args);
    case "get": {
      const target = isRemotePath(args.at(-1)!) ? "." : args.at(-1)!;
      const sources = args.filter(isRemotePath);
      const dir = target === STDIO ? null : await listDirectoryPaths(toLocalPath(target));
      return mergePermissions(
        await ofPeers(sources.length > 0 ? sources : args),
        dir === null ? {} : makeCopyPermissions(dir, true, false),
      );
    }
    case "put": {
      const sources = args.slice(0, -1).filter((source) => source !== STDIO)
        .map((source) => resolve(toLocalPath(source)));
      const paths = await Promise.all(sources.map(listPaths));
      return mergePermissions(
        await ofPeers(args.slice(-1)),
        makeCopyPermissions(paths.flat(), false, false),
      );
    }
    case "sync": {
      const [from = "", to = ""] = args;
      const { isDownload, remote, local } = parseSyncOperands(from, to);
      const mayCreate = isDownload && create && every === undefined;
      const dir = await (mayCreate ? listDirectoryPaths : listPaths)(toLocalPath(local));
      return mergePermissions(
        await ofPeers([remote]),
        makeCopyPermissions(dir, isDownload, move),
        // `checkMirrorTarget()` refuses the home directory.
        { env: options.delete && isDownload ? ["HOME"] : [] },
      );
    }
    case "restore": {
      const [dir = "", target] = args.map((path) => toLocalPath(path));
      const to = target === undefined ? [] : await listDirectoryPaths(target);
      const from = await listPaths(await findKeepingDirectory(dir));
      const write = options.dryRun ? [] : to;
      return mergePermissions({ read: [...ofDevice.read, ...from, ...to], write });
    }
    case "send":
    case "receive": {
      const [line] = args.filter(isLine);
      const isSending = command.name() === "send";
      const dirs = isSending ? args : [args.find((word) => !isLine(word)) ?? "."];
      const paths = await Promise.all(dirs.map((dir) => listDirectoryPaths(toLocalPath(dir))));
      const tmp = await listPaths(await probeTemporaryDirectory());
      const ofNetwork = isSending && listen !== undefined
        ? { net: listPorts([command.getOptionValue("listen")], 3) }
        : address !== undefined
        ? { net: [formatHost(address)] }
        : isSending || line === undefined
        ? ANY_NETWORK
        : ofLine(line);
      return mergePermissions(
        { read: [...ofDevice.read, ...tmp], write: tmp, sys: ["uid", "hostname"] },
        makeCopyPermissions(paths.flat(), !isSending, false),
        ofNetwork,
      );
    }
  }
  throw new Error(`no permissions of ${command.name()}`);
}

function listPorts(addresses: readonly HostOrScopedAddress[], count: number): string[] {
  if (count === 0) return [];
  return [...addresses.map(formatAddress), ...listPorts(addresses.map(withNextPort), count - 1)];
}

function formatHost(address: Address): string {
  return formatAddress(address).replace(/:\d+$/, "");
}

/** The line of stdin, which isn't read here, may have any address. */
function ofLine(line = STDIO): Partial<Permissions> {
  if (line === STDIO) return ANY_NETWORK;
  const hosts = parseInvitation(toDeviceLine(line)).addresses.map(([host]) => host);
  return {
    // A link-local address of a line has no scope, and a permission needs none.
    net: hosts.map((host) => host.includes(":") ? `[${host}]` : host),
    sys: hosts.some(isLinkLocal) ? ["networkInterfaces"] : [],
  };
}

/** Finds the directory without permission to read the environment. */
async function probeTemporaryDirectory(): Promise<string> {
  const dir = await Deno.makeTempDir();
  await Deno.remove(dir);
  return dirname(dir);
}
