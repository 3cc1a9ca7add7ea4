/** A device that serves another device, and the responses that clients get. */

import { assert, assertEquals } from "@std/assert";
import { type Address, EmptyPreambleError, type HostAddress, TlsError } from "@degu/degu/base";
import type { Client, SSLClient } from "@degu/degu/client";
import { type Device, type DeviceServer, peerOf } from "@degu/degu/device";
import { readAuthority } from "@degu/internal/device/identity/authority.ts";
import type { App } from "@degu/degu/server";
import type { TestAuthority } from "../../tests/net/tls/authorities.ts";
import { record, storeOf, TestDevices } from "@degu/testing/device_pairs.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

export const LOOPBACK: HostAddress = ["127.0.0.1", 0];
/** The result of a client that the server refuses. */
export const REFUSED = "refused";

export const respondWithName: App = (
  _request,
  session,
) => [200, "OK", { name: peerOf(session).name }, null];

export async function serveDevice(
  device: Device,
  app: App = respondWithName,
): Promise<DeviceServer> {
  return await device.serve(LOOPBACK, app);
}

/** Sets up a camera that serves, and a viewer; each is a peer of the other. */
export async function setUp(app: App = respondWithName) {
  const devices = await TestDevices.create();
  const logger = new RecordingLogger();
  const camera = await devices.open("camera", { logger });
  const viewer = await devices.open("viewer");
  await record(camera, viewer);
  const server = await camera.serve(LOOPBACK, app);
  const serverEnded = server.serveForever();
  await record(viewer, camera, { addresses: [server.address] });
  return {
    devices,
    camera,
    viewer,
    server,
    logger,
    ask: async (device = viewer, address?: Address) => {
      const options = address === undefined ? {} : { addresses: [address] };
      return await requestName(await device.client(camera.id, options));
    },
    [Symbol.asyncDispose]: async () => {
      await devices[Symbol.asyncDispose]();
      await withTimeout(serverEnded, "the server ends");
    },
  };
}

/** Requests the name that the server has for a client; {@linkcode REFUSED} if it refuses. */
export async function requestName(client: { request: SSLClient["request"] }): Promise<string> {
  try {
    return String((await client.request("GET", "/")).headers["name"]);
  } catch (error) {
    const isRefusal = [
      EmptyPreambleError,
      TlsError,
      Deno.errors.ConnectionReset,
      Deno.errors.BrokenPipe,
    ].some((errorClass) => error instanceof errorClass);
    assert(isRefusal, Deno.inspect(error));
    return REFUSED;
  }
}

export async function recordAuthority(
  device: Device,
  { pem }: TestAuthority,
  receivedName: string,
  addresses: Address[] = [],
) {
  const authority = readAuthority(pem);
  const peer = await storeOf(device.dir).record({ authority, receivedName, addresses });
  await device.peers();
  return peer;
}

export const helloApp: App = () => [200, "OK", { hello: "world" }, null];

/** Sets up the devices of {@linkcode setUp} for tests of a client, and addresses that don't work. */
export async function setUpClient() {
  const setup = await setUp(helloApp);
  const { devices, camera, viewer } = setup;
  const stack = new AsyncDisposableStack();
  return {
    ...setup,
    /** Replaces the addresses of the camera that the viewer has stored. */
    recordAddresses: (addresses: Address[]) => record(viewer, camera, { addresses }),
    /** Starts another device that serves and admits the viewer. */
    serveImpostor: async () => {
      const otherDevice = await devices.open("other");
      await record(otherDevice, viewer);
      return (await serveDevice(otherDevice, helloApp)).address;
    },
    findDeadAddress: async () => ["127.0.0.1", await findUnusedPort()] as const,
    /** Listens without a response, and records the connections. */
    listenSilently: () => {
      const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const conns: Deno.Conn[] = [];
      const acceptLoop = (async () => {
        for await (const conn of listener) conns.push(conn);
      })().catch(() => {});
      stack.defer(async () => {
        listener.close();
        for (const conn of conns) conn.close();
        await acceptLoop;
      });
      return { address: ["127.0.0.1", listener.addr.port] as const, conns };
    },
    [Symbol.asyncDispose]: async () => {
      await setup[Symbol.asyncDispose]();
      await stack.disposeAsync();
    },
  };
}

/** Asserts that a client reaches the serving device. */
export async function assertWorks(client: Client): Promise<void> {
  const { status, headers } = await client.request("GET", "/");
  assertEquals([status, headers["hello"]], [200, "world"]);
}
