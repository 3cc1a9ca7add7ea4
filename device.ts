/**
 * Devices that know one another: an identity, pairing, and servers and clients for peers alone.
 *
 * @module
 */

export { Device, type DeviceOptions } from "./device/device.ts";
export type { DeviceClientOptions } from "./device/device_client.ts";
export { DeviceServer } from "./device/device_server.ts";
export { Invitation, type InviteOptions } from "./device/invitation.ts";
export type { JoinOptions } from "./device/join.ts";
export type { Peer } from "./device/peer.ts";
export { peerOf } from "./device/peer_sessions.ts";
export type * from "./base/app/app_types.ts";
export type { Client, ClientOptions, Connection, RequestOptions } from "./client.ts";
export type {
  Exchange,
  Logger,
  Server,
  ServerOptions,
  ServerSslconfig,
  ServerSslctx,
  Sslctx,
  SSLServer,
} from "./server.ts";
