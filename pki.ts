/**
 * Persistent identities: a device's own authority, its certificate and its keys, in a directory.
 *
 * @module
 */

export { createDevicePki, type DevicePki, type DevicePkiOptions } from "./pki/device_pki.ts";
