/** The option `maxSilence`: a peer that is silent on one connection, and answers on another one. */
import { type App, retry } from "@degu/degu";
import { type Client, type ConnectionError, ConnectionPool } from "@degu/degu/client";
import type { DeviceClientOptions } from "@degu/degu/device";
import { FilesApp, uploadTree } from "@degu/degu/files";
import { captureIntervals, stopPerformanceClock } from "@degu/testing/clock.ts";
import { CuttingRelay, passOn } from "@degu/testing/cutting_relay.ts";
import { record, TestDevices } from "@degu/testing/device_pairs.ts";
import { LOOPBACK } from "@degu/testing/device_serving.ts";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { dial, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { assertEquals } from "@std/assert";

const SECONDS = 54;
const TICKS_PER_SILENCE = 8;
const CLIENT_OPTIONS = { maxSilence: SECONDS, connectTimeout: 60, timeout: 3600 };

/** Two paired devices, of which the camera serves an app. */
async function setUp(app: App) {
  const devices = await TestDevices.create();
  const [camera, viewer] = [await devices.open("camera"), await devices.open("viewer")];
  await record(camera, viewer);
  const server = await camera.serve(LOOPBACK, app);
  const address = server.address as [string, number];
  await record(viewer, camera, { addresses: [address] });
  const intervals = captureIntervals(SECONDS * 1000 / TICKS_PER_SILENCE);
  return {
    viewer,
    address,
    openClient: (options: DeviceClientOptions = {}) =>
      viewer.client("camera", { ...CLIENT_OPTIONS, ...options }),
    /** Lets silences pass, at the end of which the client may connect anew. */
    async passSilences(count: number) {
      // A wait may begin just before a tick.
      for (let ticks = count * TICKS_PER_SILENCE + 1; ticks > 0; ticks--) {
        intervals.tick();
        await waitForTick();
      }
    },
    async [Symbol.asyncDispose]() {
      await devices[Symbol.asyncDispose]();
      intervals[Symbol.dispose]();
    },
  };
}

/** An app that doesn't answer its first requests, and the arrival of its requests. */
function makeSilentApp(silentRequests: number) {
  const arrivals = Array.from(
    { length: silentRequests + 1 },
    () => Promise.withResolvers<void>(),
  );
  let requestCount = 0;
  const app: App = async (_request, { signal }) => {
    const number = requestCount++;
    arrivals[number]?.resolve();
    if (number < silentRequests) {
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    }
    return [204, "No Content", {}, null];
  };
  /** Resolves once the client waits for the response to a request. */
  const waitForRequest = async (number: number) => {
    await withTimeout(arrivals[number]!.promise, `request ${number}`);
    await waitForTick();
  };
  return { app, waitForRequest };
}

/**
 * Makes a request with retries; returns the seconds of silence after which each attempt was lost.
 */
async function requestWithRetries(client: Client): Promise<unknown[]> {
  await using pool = new ConnectionPool(client);
  const losses: unknown[] = [];
  const onRetry = ({ error }: { readonly error: unknown }) => {
    const { fault, silentSeconds } = error as ConnectionError;
    losses.push(fault === "broken" ? silentSeconds : error);
  };
  const { status } = await retry(() => pool.get("/"), { seconds: 0, onRetry });
  return [...losses, status];
}

Deno.test("a request over a silent connection is retried on another one on which the peer answers, later after each time", async () => {
  const { app, waitForRequest } = makeSilentApp(2);
  await using setup = await setUp(app);
  const requested = requestWithRetries(await setup.openClient());
  await waitForRequest(0);
  await setup.passSilences(1);
  await waitForRequest(1);
  await setup.passSilences(2);
  assertEquals(await requested, [SECONDS, 2 * SECONDS, 204]);
});

Deno.test("after a longer time, the limit is as short as at first: the peer was not silent meanwhile", async () => {
  const { app, waitForRequest } = makeSilentApp(2);
  await using setup = await setUp(app);
  using clock = stopPerformanceClock();
  const requested = requestWithRetries(await setup.openClient());
  await waitForRequest(0);
  await setup.passSilences(1);
  await waitForRequest(1);
  clock.pass(8 * SECONDS + 1);
  await setup.passSilences(1);
  assertEquals(await requested, [SECONDS, SECONDS, 204]);
});

Deno.test("the limit stays short for a peer that has moved to another address", async () => {
  const { app, waitForRequest } = makeSilentApp(2);
  await using setup = await setUp(app);
  // The first address accepts a single connection.
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const relayed = (async () => {
    using conn = await listener.accept();
    listener.close();
    using server = await dial(setup.address);
    const directions = [passOn(conn, server, () => {}), passOn(server, conn, () => {})];
    for (const direction of directions) direction.catch(() => {});
    await Promise.race(directions).catch(() => {});
  })();
  const addresses = [["127.0.0.1", listener.addr.port] as const, setup.address];
  const requested = requestWithRetries(await setup.openClient({ addresses }));
  await waitForRequest(0);
  await setup.passSilences(1);
  await waitForRequest(1);
  await setup.passSilences(1);
  assertEquals(await requested, [SECONDS, SECONDS, 204]);
  await relayed;
});

Deno.test("without maxSilence, and with a time-out that isn't longer, a connection asks nothing", async () => {
  await using setup = await setUp(() => [204, "No Content", {}, null]);
  for (const options of [{ maxSilence: undefined }, { timeout: SECONDS }]) {
    const client = await setup.openClient(options);
    const socket = await client.createSocket();
    assertEquals(socket.silence, undefined);
    socket.close();
  }
});

Deno.test("a tree continues at another address of the peer", async () => {
  await using dir = await createTempDir();
  const files = { small: "1", "d/large": "l".repeat(900_000) };
  await Deno.mkdir(`${dir.path}/source`);
  await fill(`${dir.path}/source`, files);
  const app = new FilesApp(`${dir.path}/target`, { create: true, list: true, write: true });
  await using setup = await setUp(app);
  await using relay = new CuttingRelay(setup.address);
  relay.stallAfter(400_000);
  const client = await setup.openClient({ addresses: [relay.address, setup.address] });
  const copied = uploadTree(client, `${dir.path}/source`, [], { retries: 5, connections: 1 });
  // On a busy machine, the client may have connected to the other address.
  await Promise.race([withTimeout(relay.stalled, "a connection has stalled"), copied]);
  let hasEnded = false;
  copied.then(() => hasEnded = true, () => hasEnded = true);
  // The client may still send when the relay stalls.
  while (!hasEnded) await setup.passSilences(1);
  await copied;
  assertEquals(await readTree(`${dir.path}/target`), { ...files, d: null });
});
