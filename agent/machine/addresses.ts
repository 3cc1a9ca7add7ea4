import { InvalidArgumentError } from "commander";
import {
  type Address,
  describeArgumentError,
  formatAddress,
  type HostAddress,
  parseAddress,
  parseHost,
  type ScopedAddress,
} from "@degu/degu/base";
import type { Device, InviteOptions } from "@degu/degu/device";
import { Failure } from "../failure.ts";
import type { Output } from "../terminal/output.ts";

export const DEFAULT_PORT = 7443;

export type HostOrScopedAddress = HostAddress | ScopedAddress;

export interface PairingOptions {
  readonly as?: string;
  readonly serving?: HostOrScopedAddress[];
}

export function isUnixAddress(address: Address): address is string | Uint8Array {
  return typeof address === "string" || address instanceof Uint8Array;
}

export function isReachableByOthers(address: Address): address is HostOrScopedAddress {
  return !isUnixAddress(address) && parseHost(address[0])?.reach !== "loopback";
}

/** Reports whether a host is an IPv6 address that needs a zone (RFC 4291 §2.5.6). */
export function isLinkLocal(host: string): boolean {
  return /^fe[89ab][0-9a-f]:/i.test(host);
}

/**
 * Returns the addresses that other machines can use for a listening address, which may be a
 * wildcard. Without the permission to read the addresses of this machine, or without a network,
 * returns the listening address.
 */
export function listUsableAddresses(address: Address): readonly Address[] {
  const permission = { name: "sys", kind: "networkInterfaces" } as const;
  if (isUnixAddress(address) || !["::", "0.0.0.0"].includes(address[0])) return [address];
  if (Deno.permissions.querySync(permission).state !== "granted") return [address];
  const [host, port] = address;
  const hosts = Deno.networkInterfaces().map((each) => each.address).filter((each) =>
    // Link-local addresses need the zone of the other machine.
    isReachableByOthers([each, 0]) && !isLinkLocal(each)
  );
  const { IPv4 = [], IPv6 = [] } = Object.groupBy(
    hosts,
    (each) => each.includes(":") ? "IPv6" : "IPv4",
  );
  const usableHosts = IPv4.length > 0 || host === "0.0.0.0" ? IPv4 : IPv6;
  return usableHosts.length === 0 ? [address] : usableHosts.map((each) => [each, port]);
}

export function withNextPort([host, port, ...scope]: HostOrScopedAddress): HostOrScopedAddress {
  const nextPort = port === 0 ? 0 : port + 1;
  return scope.length === 0 ? [host, nextPort] : [host, nextPort, scope[0], scope[1]];
}

const HOST_AND_PORT_PATTERN = /^(\[[^\]]*\]|[^:[\]]*):([^:]*)$/;

export function parseAddressOption(text: string): Address {
  return parseAddressText(text, 1);
}

/** @param minPort 0 for a server, which then listens on a free port. */
function parseAddressText(text: string, minPort: 0 | 1): Address {
  // An at sign may follow a password, which isn't quoted.
  const got = text.includes("@") ? "" : `; got ${JSON.stringify(text)}`;
  const hasPort = text.startsWith("unix:") || HOST_AND_PORT_PATTERN.test(text);
  // An IPv6 address without brackets has no port.
  const host = text.includes(":") && !text.startsWith("[") ? `[${text}]` : text;
  let address: Address;
  try {
    address = parseAddress(hasPort ? text : `${host}:${DEFAULT_PORT}`);
  } catch (error) {
    const description = describeArgumentError(error);
    if (description === null) throw error;
    const { argument, problem } = description;
    if (argument === "address" && !hasPort && !text.includes("%")) {
      throw new InvalidArgumentError(`must be HOST, HOST:PORT or [IPv6]:PORT${got}`);
    }
    // Replace the example of a program by an example of the command line.
    const problemText = problem.replace(/: write \[.*/s, ": write it as in fe80::1%eth0");
    throw new InvalidArgumentError(
      argument === "address[1]"
        ? `the port ${problemText.replace("from 0", `from ${minPort}`)}`
        : problemText,
    );
  }
  if (isUnixAddress(address) || address[1] >= minPort) return address;
  throw new InvalidArgumentError("the port must be an integer from 1 to 65535; got 0");
}

export function parseListenAddress(text: string): Address {
  const [, hostBeforePort = text] = HOST_AND_PORT_PATTERN.exec(text) ?? [];
  const host = hostBeforePort.replace(/^\[(.*)\]$/, "$1");
  const { type = "name" } = parseHost(host) ?? {};
  if (type !== "name" || text.startsWith("unix:")) return parseAddressText(text, 0);
  const got = text.includes("@") ? "" : `; the host is ${JSON.stringify(host)}`;
  throw new InvalidArgumentError(
    "must be HOST:PORT, [IPv6]:PORT or HOST, and HOST an IP address of this machine, 0.0.0.0 " +
      `or ::${got}`,
  );
}

export function parseInvitationAddress(text: string): HostOrScopedAddress {
  const address = parseListenAddress(text);
  if (isUnixAddress(address)) {
    throw new InvalidArgumentError("must be an IP address; got a Unix socket");
  }
  if (address[1] < 65535) return address;
  throw new InvalidArgumentError(
    "the port must be below 65535, because the next port is also used; got 65535",
  );
}

export function parseConnectAddress(text: string): HostOrScopedAddress {
  const address = parseAddressOption(text);
  if (isUnixAddress(address)) {
    throw new InvalidArgumentError("must be an IP address or a DNS name; got a Unix socket");
  }
  const [host] = address;
  const isMulticast = /^(?:22[4-9]|2[345]\d)\.|^ff[0-9a-f]{2}:/.test(parseHost(host)?.text ?? "");
  if (!isMulticast && !host.endsWith(".")) return address;
  throw new InvalidArgumentError(
    `must be an IP address or a DNS name of one machine; got ${JSON.stringify(host)}`,
  );
}

/** A `degu serve` may start or end before the other device joins. */
export async function chooseServingAddresses(
  output: Output,
  device: Device,
  optionAddresses: HostOrScopedAddress[] | undefined,
): Promise<InviteOptions["serving"]> {
  if (optionAddresses !== undefined) return optionAddresses;
  const isServing = async () => (await device.serving()).length > 0;
  const permission = { name: "sys", kind: "networkInterfaces" } as const;
  if (Deno.permissions.querySync(permission).state === "granted") {
    return async () => await isServing() ? undefined : [["::", DEFAULT_PORT]];
  }
  if (await isServing()) return undefined;
  output.note(
    "the addresses of this machine are not sent, because --allow-sys=networkInterfaces is missing: give them with " +
      "--serving if this device serves the other device",
  );
  return undefined;
}

export function toListenFailure(addresses: readonly Address[], error: unknown): unknown {
  const listText = addresses.map(formatAddress).join(" or ");
  const { AddrInUse, AddrNotAvailable, PermissionDenied } = Deno.errors;
  const hasReservedPort = addresses.some((each) =>
    !isUnixAddress(each) && each[1] > 0 && each[1] < 1024
  );
  const permissionAdvice = hasReservedPort
    ? ": ports below 1024 need a permission, and ports from 1024 need none"
    : "";
  const problem = error instanceof AddrNotAvailable
    ? "is not an address of this machine"
    : error instanceof AddrInUse
    ? "is in use: end its program, or choose another with --listen"
    : error instanceof PermissionDenied && !addresses.some(isUnixAddress)
    ? `is not permitted to this user${permissionAdvice}`
    : null;
  if (problem === null) return error;
  return new Failure(`${listText} ${problem}`, null, { cause: error });
}

export async function listen<T>(
  start: (address: Address) => Promise<T>,
  addresses: Address[] | undefined,
  port: number = DEFAULT_PORT,
): Promise<T[]> {
  const bind = (address: Address) =>
    start(address).catch((error) => {
      throw toListenFailure([address], error);
    });
  if (addresses !== undefined) return await Promise.all(addresses.map(bind));
  try {
    return [await bind(["::", port])];
  } catch (error) {
    // The attempt with IPv4 would fail with the same error.
    const finalErrors = [Failure, RangeError, Deno.errors.NotCapable];
    if (finalErrors.some((errorClass) => error instanceof errorClass)) throw error;
    return [await bind(["0.0.0.0", port])];
  }
}

export async function checkCanListen(addresses: Address[] | undefined): Promise<void> {
  const { Server } = await import("@degu/degu/server");
  await using servers = new AsyncDisposableStack();
  const bind = (address: Address) =>
    Promise.try(() => servers.use(new Server(address, () => [404, "Not Found", {}, null])));
  await listen(bind, addresses);
}

export async function checkCanInvite(
  addresses: readonly HostOrScopedAddress[] = [],
): Promise<void> {
  await checkCanListen(addresses.flatMap((address) => [address, withNextPort(address)]));
}
