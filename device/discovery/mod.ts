/**
 * Devices on the local network: they announce themselves, find each other by mDNS, and pair by a
 * number.
 *
 * - {@linkcode announce} announces a server of a device until it is disposed of.
 * - {@linkcode find} is for the option `find` of `device.client`: the client then follows the peer
 *   to its current address.
 * - {@linkcode nearby} lists announced devices.
 * - {@linkcode pair} pairs this device with another device that calls `pair`, or runs `degu pair`.
 *   {@linkcode inviteNearby} and {@linkcode joinNearby} are its two halves, for devices with
 *   different roles.
 * - {@linkcode findDiscoveryProblem} says why nothing can be announced or found.
 *
 * Only this entry loads a package of npm, `multicast-dns`, at the first announcement or search.
 * Announcements and searches need `--allow-sys=networkInterfaces` and
 * `--allow-net=0.0.0.0:5353,224.0.0.251:5353`.
 *
 * @module
 */

export { pair, type PairEvent, type PairOptions } from "./pair.ts";
export {
  announce,
  type AnnounceOptions,
  find,
  inviteNearby,
  type InviteNearbyOptions,
  joinNearby,
  type JoinNearbyOptions,
  nearby,
  type NearbyOptions,
} from "./nearby.ts";
export type { Announcement, NearbyDevice } from "./mdns.ts";
export {
  DISCOVERY_HOSTS,
  type DiscoveryProblem,
  findDiscoveryProblem,
  isDiscoveryPermitted,
} from "./mdns_network.ts";
