/**
 * Paired devices for tests and demos: {@linkcode TempDevices}.
 *
 * @example
 * ```ts
 * import { peerOf } from "@degu/degu/device";
 * import { TempDevices } from "@degu/degu/device/testing";
 * import { assertEquals } from "@std/assert";
 *
 * await using temp = await TempDevices.create("camera", "viewer");
 * const session = temp.peerSession("viewer");
 * assertEquals(peerOf(session).name, "viewer");
 * ```
 *
 * @module
 */

export { TempDevices } from "./temp_devices.ts";
