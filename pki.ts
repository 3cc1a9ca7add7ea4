/**
 * Persistent identities: a device's own authority, its certificate and its keys, in a directory.
 *
 * @example
 * ```ts
 * import { SSLClient, SSLServer } from "@degu/degu";
 * import { createDevicePki } from "@degu/degu/pki";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir(); // in real use: two machines
 * const camera = await createDevicePki(`${dir}/camera`, "camera");
 * const viewer = await createDevicePki(`${dir}/viewer`, "viewer");
 *
 * // Each trusts the authority of the other, and nothing else.
 * const at = ["127.0.0.1", 0] as const;
 * const app = () => [204, "No Content", {}, null] as const;
 * const { certFile, keyFile } = camera;
 * await using server = new SSLServer({ certFile, keyFile, caFile: viewer.caFile }, at, app);
 * server.serveForever();
 * await server.ready;
 * const identity = { certFile: viewer.certFile, keyFile: viewer.keyFile };
 * const sslconfig = { ...identity, caFile: camera.caFile, checkHostname: false };
 * const client = new SSLClient(sslconfig, server.address);
 * assertEquals((await client.request("GET", "/")).status, 204);
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @module
 */

export { createDevicePki, type DevicePki, type DevicePkiOptions } from "./identity/device_pki.ts";
