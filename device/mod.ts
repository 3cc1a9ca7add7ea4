/**
 * Devices that trust each other: an identity, pairing, and servers and clients for paired devices
 * only.
 *
 * A {@linkcode Device} makes an {@linkcode Invitation} or joins the invitation of another device,
 * and opens a {@linkcode DeviceServer} for its peers. In the app of the server, {@linkcode peerOf}
 * returns the {@linkcode Peer} of a session; {@linkcode perPeer} makes an app that passes the
 * requests of each peer to a separate app. {@linkcode createDevicePki} creates only the identity of
 * a device, and {@linkcode readAuthority} reads the authority of another device.
 * {@linkcode parseInvitation} parses the line of an invitation, {@linkcode isDeviceName} checks a
 * name. A {@linkcode PairingError} has the reason why two devices were not paired, a
 * {@linkcode DeviceError} the reason why a peer can't be reached. The requests of a
 * client throw the errors of `@degu/degu/client`.
 *
 * @example
 * ```ts
 * import { Device, peerOf } from "@degu/degu/device";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir(); // in real use: two machines
 * await using camera = await Device.open(`${dir}/camera`, { name: "camera" });
 * await using viewer = await Device.open(`${dir}/viewer`, { name: "viewer" });
 *
 * await using server = await camera.serve(["127.0.0.1", 0], (_request, session) => {
 *   return [200, "OK", { "x-peer": peerOf(session).name }, null];
 * });
 * await using invitation = await camera.invite({ listen: [["127.0.0.1", 0]] });
 * await viewer.join(invitation.line); // carried to the viewer by a person
 *
 * const client = await viewer.client("camera");
 * const response = await client.request("GET", "/");
 * assertEquals(response.headers["x-peer"], "viewer");
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @module
 */

export { Device, type DeviceOptions } from "./device.ts";
export type { DeviceClientOptions } from "./peers/device_client.ts";
export type { DeviceServer } from "./serve/device_server.ts";
export {
  DeviceError,
  type DeviceErrorCode,
  PairingError,
  type PairingErrorCode,
} from "./errors.ts";
export { parseInvitation } from "./pairing/invitation_line.ts";
export type { Invitation, InviteOptions } from "./pairing/invite.ts";
export type { JoinOptions } from "./pairing/join.ts";
export { peerOf, perPeer } from "./serve/per_peer.ts";
export type { ConfirmNumber, PairingQuestion } from "./pairing/plain_ports.ts";
export type { Peer } from "./peers/peer_file.ts";
export { readAuthority } from "./identity/authority.ts";
export { createDevicePki } from "./identity/device_identity.ts";
export { isDeviceName } from "./identity/names.ts";
export { ConnectionClosedError, TlsError } from "../base.ts";
