/**
 * A device that serves, and another one that is its client.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import type { Address } from "@degu/degu/base";
import type { Client } from "@degu/degu/client";
import type { App } from "@degu/degu/server";
import { record, TestDevices } from "./device_pairs.ts";
import { unusedPort } from "./ports.ts";

/** Any port of this machine. */
export const LOOPBACK: Address = ["127.0.0.1", 0];

/** What the device serves. */
export const hello: App = () => [200, "OK", { hello: "world" }, null];

/** A device that serves, one that is its client, and ways to be in the way. */
export async function setUpClient() {
  const devices = await TestDevices.create();
  const stack = new AsyncDisposableStack();
  const [camera, viewer] = [await devices.open("camera"), await devices.open("viewer")];
  await record(camera, viewer);
  const server = camera.listen(LOOPBACK, hello);
  server.serveForever();
  await server.ready;
  const at = (addresses: Address[]) => record(viewer, camera, { addresses });
  await at([server.address]);
  return {
    devices,
    camera,
    viewer,
    server,
    at,
    /** Another device that serves, and lets the viewer in. */
    impostor: async () => {
      const other = await devices.open("other");
      await record(other, viewer);
      const server = other.listen(LOOPBACK, hello);
      server.serveForever();
      await server.ready;
      return server.address;
    },
    /** An address at which nobody listens. */
    dead: async () => ["127.0.0.1", await unusedPort()] as const,
    /** An address at which nobody answers; counts who has connected. */
    mute: () => {
      const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const conns: Deno.Conn[] = [];
      const accepting = (async () => {
        for await (const conn of listener) conns.push(conn);
      })().catch(() => {});
      stack.defer(async () => {
        listener.close();
        for (const conn of conns) conn.close();
        await accepting;
      });
      return { address: ["127.0.0.1", listener.addr.port] as const, conns };
    },
    [Symbol.asyncDispose]: async () => {
      await devices[Symbol.asyncDispose]();
      await stack.disposeAsync();
    },
  };
}

/** Asserts that a client reaches the device that serves. */
export async function assertWorks(client: Client): Promise<void> {
  const { status, headers } = await client.request("GET", "/");
  assertEquals([status, headers["hello"]], [200, "world"]);
}
