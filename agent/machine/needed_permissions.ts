/**
 * The permissions that commands need, for the units of `degu service` and for `degu permissions`.
 * docs/permissions.md has them as a table.
 */

import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { type Address, formatAddress } from "@degu/degu/base";
import type { Peer } from "@degu/degu/device";
import { DEFAULT_PORT, isReachableByOthers } from "./addresses.ts";
import { type CommonOptions, RESERVED_DIRECTORY } from "./context.ts";
import { Failure } from "../failure.ts";
import { findLocalModule, ignoreNotFound, resolveRealPath } from "./local_paths.ts";
import { DISCOVERY_HOSTS } from "@degu/degu/device/discovery";
import { join, mayRead, resolve } from "./paths.ts";

export interface Permissions {
  readonly read: readonly string[];
  readonly write: readonly string[];
  /** The addresses; all of them if {@linkcode EVERY_HOST} is among them. */
  readonly net: readonly string[];
  readonly sys: readonly string[];
  readonly env: readonly string[];
}

export const EVERY_HOST = "*";

export function mergePermissions(...parts: readonly Partial<Permissions>[]): Permissions {
  const list = (kind: keyof Permissions) => [...new Set(parts.flatMap((part) => part[kind] ?? []))];
  return {
    read: list("read"),
    write: list("write"),
    net: list("net"),
    sys: list("sys"),
    env: list("env"),
  };
}

/** Returns `deno run` and its flags, of which the last ones are the permissions. */
export function makeRunCommand(permissions: Permissions): string[] {
  for (const path of [...permissions.read, ...permissions.write]) {
    if (path.includes(",")) {
      throw new Failure(
        `Deno can't be given a permission for ${JSON.stringify(path)}: its path has a comma`,
      );
    }
  }
  return [
    ...[Deno.execPath(), "run", "--no-prompt", "--cached-only", "--minimum-dependency-age=0"],
    // A deno.json of the user, above the program, is not of the program.
    ...isInCheckout() ? [] : ["--no-config"],
    ...Object.entries(permissions).filter(([, values]) => values.length > 0).map((
      [kind, values],
    ) => `--allow-${kind}${values.includes(EVERY_HOST) ? "" : `=${values.join(",")}`}`),
  ];
}

/** Only in a checkout, the program is not bundled, and has a configuration. */
function isInCheckout(): boolean {
  return import.meta.url.startsWith("file:") && import.meta.url.endsWith(".ts");
}

export function findModule(version: string): string {
  if (Deno.build.standalone) return Deno.execPath();
  return findLocalModule() ?? `jsr:@degu/agent@${version}`;
}

/** Returns an absolute path and, if it leads through links, the real path, which is also used. */
export async function listPaths(path: string): Promise<string[]> {
  const absolutePath = resolve(path);
  return [...new Set([absolutePath, await resolveRealPath(absolutePath)])];
}

/** Returns the paths of a directory, or of the directory in which a file is or will be created. */
export async function listDirectoryPaths(path: string): Promise<string[]> {
  let dir = resolve(path);
  while ((await ignoreNotFound(Deno.stat(dir)))?.isDirectory !== true && dirname(dir) !== dir) {
    dir = dirname(dir);
  }
  return await listPaths(dir);
}

export async function makeDevicePermissions(home: string): Promise<Permissions> {
  const paths = await listPaths(home);
  return mergePermissions({ read: paths, write: paths, sys: ["uid"] });
}

export async function makeServePermissions(
  home: string,
  { share, inbox, listen = [], announce = true }: {
    readonly share: readonly string[];
    readonly inbox: readonly string[];
    readonly listen?: readonly Address[] | undefined;
    readonly announce?: boolean | undefined;
  },
): Promise<Permissions> {
  const { net: addresses, ...ofSockets } = listen.length > 0
    ? makeAddressPermissions(listen)
    : { net: [`[::]:${DEFAULT_PORT}`] };
  // The program announces itself only if other machines can reach it.
  const isReachableFromNetwork = listen.length === 0 || listen.some(isReachableByOthers);
  return mergePermissions(
    await makeDevicePermissions(home),
    ofSockets,
    { read: [...share, ...inbox], write: inbox, sys: inbox.length > 0 ? ["statfs"] : [] },
    // A socket of IPv6 may accept no IPv4.
    {
      net: [
        ...addresses,
        ...addresses.flatMap((address) => /^\[::\](:\d+)$/.exec(address)?.[1] ?? [])
          .map((port) => `0.0.0.0${port}`),
      ],
    },
    announce && isReachableFromNetwork ? { net: DISCOVERY_HOSTS, sys: ["networkInterfaces"] } : {},
  );
}

export function makeConnectPermissions(
  peers: readonly Peer[],
  { address, find = true }: Pick<CommonOptions, "address" | "find">,
): Partial<Permissions> {
  const mayDiscover = find && address === undefined;
  const addresses = address === undefined ? peers.flatMap((peer) => peer.addresses) : [address];
  return mergePermissions(makeAddressPermissions(addresses), {
    // A search may find any address, so the network permission has no list.
    net: mayDiscover || addresses.length === 0 ? [EVERY_HOST] : [],
    sys: mayDiscover ? ["networkInterfaces"] : [],
  });
}

/** A Unix socket needs its path, and an abstract name every address. */
function makeAddressPermissions(
  addresses: readonly Address[],
): Pick<Permissions, "net" | "read" | "write"> {
  const paths = addresses.filter((address) => typeof address === "string");
  const formatNet = (address: Address) =>
    typeof address === "string"
      ? `unix:${address}`
      : address instanceof Uint8Array
      ? EVERY_HOST
      : formatAddress(address);
  return { net: addresses.map(formatNet), read: paths, write: paths };
}

/** @param dir The paths of the directory on this device. */
export function makeCopyPermissions(
  dir: readonly string[],
  isDownload: boolean,
  move: boolean,
): Partial<Permissions> {
  return {
    read: isDownload ? [...dir, ...findInboxRecords(dir)] : dir,
    write: isDownload || move ? dir : [],
    sys: isDownload ? ["statfs"] : [],
  };
}

/** The records of an inbox, by which its directories of peers differ from an inbox. */
function findInboxRecords(dirs: readonly string[]): string[] {
  return dirs.map((dir) => join(dirname(dir), RESERVED_DIRECTORY)).filter((path) =>
    mayRead(path) && existsSync(path)
  );
}
