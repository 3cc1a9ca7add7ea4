import { formatAddress, type HostAddress, parseHost } from "../../base.ts";
import type { Logger } from "../../server.ts";
import {
  checkObject,
  checkString,
  copyOptions,
  makeIntegerCheck,
  makeNumberCheck,
  notAllowedError,
} from "../../internal/checks.ts";
import { quote } from "../../internal/quote.ts";
import type { Device } from "../device.ts";
import { PairingError } from "../errors.ts";
import type { Invitation, InviteOptions } from "../pairing/invite.ts";
import type { JoinOptions } from "../pairing/join.ts";
import type { Peer } from "../peers/peer_file.ts";
import type { ConfirmNumber, PairingQuestion } from "../pairing/plain_ports.ts";
import {
  Announcement,
  discoverServices,
  findAddresses,
  type NearbyDevice,
  shortenId,
} from "./mdns.ts";
import { isDiscoveryPermitted } from "./mdns_network.ts";

/** A day. */
const MAX_SEARCH_SECONDS = 86_400;

/** The service of an announcement, and the logger of its problems. */
export interface AnnounceOptions {
  /**
   * The name of the service: 1 to 15 letters `a` to `z`, digits and single hyphens (RFC 6335 §5.1).
   * {@linkcode nearby} and {@linkcode find} find the devices that announce the same service. `degu
   * serve` announces `"degu"`.
   *
   * @default {"degu"}
   */
  service?: string | undefined;
  /**
   * The logger of problems.
   *
   * @default {all but level `debug` to stderr}
   */
  logger?: Logger | undefined;
}

/** The service that a search is for, and the end of the search. */
export interface NearbyOptions extends AnnounceOptions {
  /**
   * The longest duration of the search in seconds, 0 to 86,400.
   *
   * @default {3}
   */
  seconds?: number | undefined;
  /** Aborts the search, which then rejects with the reason of the signal. */
  signal?: AbortSignal | undefined;
  /**
   * Called after each response with the devices that are announced at this time. If the function
   * returns `true`, the search ends 1.2 seconds later, after which most devices have responded.
   */
  onChange?: ((devices: readonly NearbyDevice[]) => boolean | void) | undefined;
}

/** The options of `device.invite()`, with the service of the announcement. */
export interface InviteNearbyOptions extends InviteOptions, AnnounceOptions {}

/** The options of `device.join()` by a number. */
export interface JoinNearbyOptions extends JoinOptions {
  /** Asks whether the other device shows the same number. */
  confirm: ConfirmNumber;
}

const DEFAULT_SERVICE = "degu";
const MAX_SERVICE_LENGTH = 15;
const SERVICE_PATTERN = /^[a-z0-9](?:-?[a-z0-9])*$/;

function formatServiceType(service: string = DEFAULT_SERVICE): string {
  checkString("service", service);
  if (service.length > MAX_SERVICE_LENGTH || !SERVICE_PATTERN.test(service)) {
    const rule = `1 to ${MAX_SERVICE_LENGTH} letters a to z, digits and single hyphens`;
    throw notAllowedError("service", `must be ${rule}; got ${quote(service)}`);
  }
  return `_${service}._tcp.local`;
}

/**
 * Announces a port of this device on every network of this machine, until disposed of. A network
 * that the machine joins later gets the announcement within five seconds.
 *
 * The announcement has the name of the device, the first 16 characters of its id, and the addresses
 * of this machine. Everyone on the network can read the announcement.
 *
 * @param device The device whose name and id are announced.
 * @param port The port of a server of the device, or the port of an invitation.
 * @throws {Deno.errors.NotCapable} without the permissions of this entry.
 * @throws {RangeError} if the port or the service isn't allowed.
 *
 * @example
 * ```ts
 * import { Device } from "@degu/degu/device";
 * import { announce } from "@degu/degu/device/discovery";
 * import type { App } from "@degu/degu";
 *
 * async function serve(device: Device, app: App): Promise<void> {
 *   await using server = await device.serve(["0.0.0.0", 7443], app);
 *   await using _announcement = announce(device, server.port);
 *   await server.serveUntilSignal();
 * }
 * ```
 */
export function announce(
  { name, id }: Pick<Device, "name" | "id">,
  port: number,
  options: AnnounceOptions = {},
): Announcement {
  makeIntegerCheck(1, 65_535)("port", port);
  const { service, logger } = copyOptions(options, ["service", "logger"]);
  return new Announcement({ name, id, port, type: formatServiceType(service), logger });
}

/**
 * Finds the addresses of a peer that announces itself, for the option `find` of `device.client()`.
 * Omits addresses to which the program may not connect.
 *
 * **The addresses are hints**, because any machine can announce any id. A client accepts only the
 * peer at them.
 *
 * @param signal Aborts the search, which then rejects with the reason of the signal.
 * @param peer The peer. Its name isn't used.
 * @param options The service that the peer announces.
 * @throws {Deno.errors.NotCapable} without the permissions of this entry.
 *
 * @example
 * ```ts
 * import type { Device } from "@degu/degu/device";
 * import { find } from "@degu/degu/device/discovery";
 *
 * async function readStatus(device: Device): Promise<string> {
 *   const client = await device.client("camera", { find });
 *   return await (await client.get("/status")).text();
 * }
 * ```
 */
export async function find(
  signal: AbortSignal,
  { id }: Pick<Peer, "id">,
  options: AnnounceOptions = {},
): Promise<HostAddress[]> {
  const { service, logger } = copyOptions(options, ["service", "logger"]);
  const type = formatServiceType(service);
  const addresses = await findAddresses(type, id, { signal, logger });
  // Deno would prompt for an address without a permission.
  return addresses.filter((address) => {
    const host = formatAddress(address);
    return Deno.permissions.querySync({ name: "net", host }).state === "granted";
  });
}

/**
 * Lists the other devices that announce a service, at most 32.
 *
 * **Names, ids and addresses are hints**, because any machine can announce any of them. Only a
 * client of a peer or a pairing proves the identity of a device.
 *
 * @param device This device, which isn't in the list.
 * @throws {Deno.errors.NotCapable} without the permissions of this entry.
 * @throws {RangeError} if the service or the seconds aren't allowed.
 *
 * @example
 * ```ts
 * import type { Device } from "@degu/degu/device";
 * import { nearby } from "@degu/degu/device/discovery";
 *
 * async function printNearby(device: Device): Promise<void> {
 *   for (const { name, id } of await nearby(device)) console.log(`${name} ${id}`);
 * }
 * ```
 */
export async function nearby(
  { id: ownId }: Pick<Device, "id">,
  options: NearbyOptions = {},
): Promise<NearbyDevice[]> {
  const { service, onChange, ...searchOptions } = copyOptions(
    options,
    ["service", "logger", "seconds", "signal", "onChange"],
  );
  const { seconds } = searchOptions;
  if (seconds !== undefined) makeNumberCheck(0, MAX_SEARCH_SECONDS)("seconds", seconds);
  const omitOwn = (devices: readonly NearbyDevice[]) =>
    devices.filter(({ id }) => id !== shortenId(ownId));
  const type = formatServiceType(service);
  const onServices = (devices: readonly NearbyDevice[]) => onChange?.(omitOwn(devices));
  return omitOwn(await discoverServices(type, searchOptions, undefined, onServices));
}

/**
 * Opens an invitation at one port of every address of this machine. The other device joins it by
 * {@linkcode joinNearby}, if the invitation has `confirm`.
 *
 * @returns The invitation, and a function that announces it. The function returns `null` if the
 * invitation can't be announced: without the permissions of this entry, on a machine without a
 * network, or with different ports in `listen`.
 * @throws the errors of `device.invite()`.
 * @throws {RangeError} if the service isn't allowed.
 *
 * @example
 * ```ts
 * import type { Device, Peer } from "@degu/degu/device";
 * import { inviteNearby } from "@degu/degu/device/discovery";
 *
 * async function inviteOne(device: Device): Promise<Peer> {
 *   const { invitation, announce } = await inviteNearby(device, {
 *     service: "our-lamps",
 *     confirm: ({ number, name }) => confirm(`Does ${name} also show ${number}?`),
 *   });
 *   await using _invitation = invitation;
 *   await using _announcement = announce();
 *   return await invitation.paired;
 * }
 * ```
 */
export async function inviteNearby(
  device: Device,
  options: InviteNearbyOptions = {},
): Promise<{ readonly invitation: Invitation; announce(): Announcement | null }> {
  checkObject("options", options);
  const { service, logger, listen, ...inviteOptions } = options;
  const type = formatServiceType(service);
  const open = (listen: InviteOptions["listen"]) => device.invite({ ...inviteOptions, listen });
  const invitation = await (listen !== undefined ? open(listen) : openAtEveryAddress(open));
  const [port, ...otherPorts] = new Set(invitation.addresses.map(([, port]) => Number(port)));
  // A service record has one port.
  const canAnnounce = isReachable(invitation) && otherPorts.length === 0 && isDiscoveryPermitted();
  const { name, id } = device;
  return {
    invitation,
    announce: () => canAnnounce ? new Announcement({ name, id, port: port!, type, logger }) : null,
  };
}

/** An announcement has one port, so the plain port must be the same at every address. */
async function openAtEveryAddress(
  open: (listen: InviteOptions["listen"]) => Promise<Invitation>,
): Promise<Invitation> {
  try {
    return await open([["::", 0]]);
  } catch (error) {
    // The attempt with IPv4 would fail with the same error.
    const finalErrors = [PairingError, RangeError, TypeError, Deno.errors.NotCapable];
    if (finalErrors.some((errorClass) => error instanceof errorClass)) throw error;
    return await open([["0.0.0.0", 0]]);
  }
}

export function isReachable({ addresses }: Pick<Invitation, "addresses">): boolean {
  return addresses.some(([host]) => parseHost(`${host}`)?.reach !== "loopback");
}

/**
 * Joins the invitation of a device that {@linkcode nearby} has listed, by a number. If a device
 * with another id answers, no number is shown.
 *
 * @throws {PairingError} as `device.join()`; `BAD_ANSWER` with the reason `"other id"` if a device
 * with another id than the announced id has answered.
 *
 * @example
 * ```ts
 * import type { Device, Peer } from "@degu/degu/device";
 * import { joinNearby, nearby } from "@degu/degu/device/discovery";
 *
 * async function joinFirst(device: Device): Promise<Peer> {
 *   const [inviter] = await nearby(device, { service: "our-lamps", onChange: () => true });
 *   if (inviter === undefined) throw new Error("no lamp was found");
 *   return await joinNearby(device, inviter, {
 *     confirm: ({ number, name }) => confirm(`Does ${name} also show ${number}?`),
 *   });
 * }
 * ```
 */
export async function joinNearby(
  device: Device,
  { id, addresses }: NearbyDevice,
  options: JoinNearbyOptions,
): Promise<Peer> {
  checkObject("options", options);
  const { confirm, ...joinOptions } = options;
  const impostors: PairingQuestion[] = [];
  const confirmOfDevice = (question: PairingQuestion) => {
    if (question.id.startsWith(id)) return confirm(question);
    impostors.push(question);
    return false;
  };
  try {
    return await device.join(addresses, { ...joinOptions, confirm: confirmOfDevice });
  } catch (error) {
    const [impostor] = impostors;
    if (impostor === undefined) throw error;
    const answerer = `${impostor.name} (${impostor.id})`;
    const problem = `${answerer} answers, but it is not the device that was found (${id}…)`;
    throw new PairingError("BAD_ANSWER", problem, { problem, reason: "other id", cause: error });
  }
}
