/**
 * Searched addresses of a peer: the devices that are accepted, and the addresses that are stored.
 */
import type { Address, HostAddress } from "@degu/degu/base";
import { type DeviceClientOptions, DeviceError } from "@degu/device";
import { authorityOf, record, storeOf, TestDevices } from "@degu/testing/device_pairs.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { isTransient } from "@degu/degu/client";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";

/** Makes a viewer with an outdated address of a camera. Both devices listen at other addresses. */
async function setUp() {
  const stack = new AsyncDisposableStack();
  const devices = stack.use(await TestDevices.create());
  const logger = new RecordingLogger();
  const [camera, viewer, otherDevice] = await Promise.all(
    ["camera", "viewer", "other"].map((name) => devices.open(name, { logger })),
  );
  const dead: Address = ["127.0.0.1", await findUnusedPort()];
  const peer = await record(viewer!, camera!, { addresses: [dead] });
  await record(camera!, viewer!);
  await record(otherDevice!, viewer!);
  const serve = async (device: typeof camera) => {
    const server = stack.use(await device!.serve(["127.0.0.1", 0], () => [200, "OK", {}, null]));
    return ["127.0.0.1", server.port] as const;
  };
  const addresses = async () => (await viewer!.peer("camera"))!.addresses.map(([, port]) => port);
  const authority = await authorityOf(camera!.dir);
  return {
    ...{ viewer: viewer!, peer, dead, addresses, logger },
    /** Replaces the addresses of the pairing. */
    setAddresses: (addresses: Address[]) =>
      storeOf(viewer!.dir).record({ authority, receivedName: "camera", addresses }),
    cameraAddress: await serve(camera),
    otherAddress: await serve(otherDevice),
    /** Requests from the camera with these search results. */
    ask: async (foundAddresses: readonly HostAddress[], options: DeviceClientOptions = {}) => {
      let searches = 0;
      const find = () => (searches++, Promise.resolve(foundAddresses));
      const client = await viewer!.client("camera", { find, ...options });
      const { status, body } = await client.request("GET", "/");
      await body?.cancel();
      return [status, searches];
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

Deno.test("a peer with a new address is found, and its address is stored, so that the next connection needs no search", async () => {
  await using test = await setUp();
  const { cameraAddress, dead } = test;
  assertEquals(await test.ask([cameraAddress]), [200, 1]);
  assertEquals(await test.addresses(), [cameraAddress[1], dead[1]]);
  assertEquals(await test.ask([]), [200, 0]);
  // Renaming a peer keeps the addresses.
  await test.viewer.rename("camera", "garden");
  assertEquals((await storeOf(test.viewer.dir).read(test.peer.id))?.addresses.length, 2);
});

Deno.test("a peer without a stored address is searched for at once, also if its address was removed later", async () => {
  await using test = await setUp();
  const { cameraAddress, otherAddress, viewer, setAddresses } = test;
  await setAddresses([]);
  for (const found of [[], [otherAddress]]) {
    const error = await assertRejects(() => test.ask(found, { findAfter: 60 }), DeviceError);
    assertEquals([error.code, isTransient(error)], ["UNREACHABLE", true]);
    assertStringIncludes(error.message, 'no address of "camera" is known, and find() has found');
  }
  assertEquals(await test.ask([cameraAddress], { findAfter: 60 }), [200, 1]);
  assertEquals(await test.addresses(), [cameraAddress[1]]);
  assertEquals(await test.ask([]), [200, 0]);
  const client = await viewer.client("camera", { find: () => Promise.resolve([cameraAddress]) });
  await setAddresses([]);
  await (await client.request("GET", "/")).discard();
});

Deno.test("another device at a found address is ignored, and the address is not stored", async () => {
  await using test = await setUp();
  const { cameraAddress, otherAddress, dead } = test;
  const error = await assertRejects(() => test.ask([otherAddress]), DeviceError);
  assertEquals(error.code, "UNREACHABLE");
  assert(!error.message.includes(`${otherAddress[1]}`), error.message);
  assertEquals(await test.addresses(), [dead[1]]);
  assertEquals(await test.ask([otherAddress, cameraAddress]), [200, 1]);
  assertEquals(await test.addresses(), [cameraAddress[1], dead[1]]);
});

Deno.test("the newest four found addresses are stored, in addition to all addresses of the pairing", async () => {
  await using test = await setUp();
  const store = storeOf(test.viewer.dir);
  const addresses = Array.from({ length: 7 }, (_, i): Address => ["192.0.2.1", 1 + i]);
  for (const address of addresses) await store.recordAnswer(test.peer.id, address, true);
  await store.recordAnswer(test.peer.id, addresses[5]!, true);
  const { addresses: storedAddresses } = (await store.read(test.peer.id))!;
  assertEquals(storedAddresses.map(([, port]) => port), [6, 7, 5, 4, test.dead[1]]);
  const six = addresses.slice(0, 6);
  await test.setAddresses(six);
  await store.recordAnswer(test.peer.id, addresses[6]!, true);
  assertEquals((await store.read(test.peer.id))!.addresses, [addresses[6]!, ...six]);
});

Deno.test("a failed search has no result, and the reason is logged", async () => {
  await using test = await setUp();
  const { dead, logger } = test;
  const searches: [find: () => unknown, why: string][] = [
    [() => Promise.reject(new Error("no network")), "no network"],
    [() => {
      throw new Error("not ready");
    }, "not ready"],
    [() => Promise.resolve("127.0.0.1:80"), "find(): must be an array of addresses; got string"],
    [() => Promise.resolve([["a b", 80]]), "find()[0][0]: "],
  ];
  for (const [search, expectedReason] of searches) {
    const find = search as NonNullable<DeviceClientOptions["find"]>;
    const error = await assertRejects(() => test.ask([], { find }), DeviceError);
    assertEquals(error.code, "UNREACHABLE");
    assertStringIncludes(error.message, `:${dead[1]}`);
    const line = logger.messagesOf("warn").at(-1) ?? "";
    assertStringIncludes(line, 'the search for addresses of "camera" failed: ');
    assertStringIncludes(line, expectedReason);
  }
});

Deno.test("the signal of a search is aborted if the peer answers, or if connecting is aborted", async () => {
  await using test = await setUp();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const silentAddress: Address = ["127.0.0.1", listener.addr.port];
  const searchStarted = Promise.withResolvers<AbortSignal>();
  const find = (signal: AbortSignal) => {
    searchStarted.resolve(signal);
    return new Promise<HostAddress[]>((resolve) => {
      signal.addEventListener("abort", () => resolve([]));
    });
  };
  const aborting = new AbortController();
  const options = { addresses: [silentAddress], find, findAfter: 0, signal: aborting.signal };
  const request = assertRejects(() => test.ask([], options), Error, "enough");
  const signal = await withTimeout(searchStarted.promise, "the search begins");
  assertEquals(signal.aborted, false);
  aborting.abort(new Error("enough"));
  await request;
  assertEquals(signal.aborted, true);
  listener.close();
  assertEquals(test.logger.messagesOf("warn"), []);

  const secondSearch = Promise.withResolvers<AbortSignal>();
  const findCamera = (signal: AbortSignal) => {
    secondSearch.resolve(signal);
    return Promise.resolve([test.cameraAddress]);
  };
  assertEquals(await test.ask([], { find: findCamera }), [200, 0]);
  assertEquals((await secondSearch.promise).aborted, true);
});

Deno.test("a peer that answers at a stored address is not searched for", async () => {
  await using test = await setUp();
  assertEquals(await test.ask([test.otherAddress], { addresses: [test.cameraAddress] }), [200, 0]);
});

Deno.test("the address at which a peer answers comes first, and is written only when it changes", async () => {
  await using test = await setUp();
  const { viewer, cameraAddress, dead, peer } = test;
  const otherDead: Address = ["127.0.0.1", await findUnusedPort()];
  await test.setAddresses([dead, otherDead, cameraAddress]);
  const path = `${viewer.dir}/peers/${peer.id}.json`;
  const connect = async () => {
    const client = await viewer.client("camera");
    await (await client.request("GET", "/")).discard();
    const { ino, mtime } = await Deno.stat(path);
    return [ino, Number(mtime)];
  };
  const written = await connect();
  assertEquals(await test.addresses(), [cameraAddress[1], dead[1], otherDead[1]]);
  for (let i = 0; i < 3; i++) assertEquals(await connect(), written);
});
