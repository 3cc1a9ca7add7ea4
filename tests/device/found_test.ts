/** Addresses at which a peer is found: who answers there, and what is stored. */
import type { Address } from "@degu/degu/base";
import { DeviceError } from "@degu/degu/device";
import { searchWith } from "@degu/internal/kit/device/device_client.ts";
import { record, storeOf, TestDevices } from "@degu/testing/device_pairs.ts";
import { unusedPort } from "@degu/testing/ports.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";

/** A viewer that knows a camera at an address where nobody listens; both listen elsewhere. */
async function setUp() {
  const stack = new AsyncDisposableStack();
  const devices = stack.use(await TestDevices.create());
  const [camera, viewer, other] = await Promise.all(
    ["camera", "viewer", "other"].map((name) => devices.open(name)),
  );
  const dead: Address = ["127.0.0.1", await unusedPort()];
  const peer = await record(viewer!, camera!, { addresses: [dead] });
  await record(camera!, viewer!);
  await record(other!, viewer!);
  const serve = async (device: typeof camera) => {
    const server = stack.use(await device!.serve(["127.0.0.1", 0], () => [200, "OK", {}, null]));
    return server.address as Address;
  };
  const addresses = async () => (await viewer!.peer("camera"))!.addresses.map(([, port]) => port);
  return {
    ...{ viewer: viewer!, peer, dead, addresses },
    here: await serve(camera),
    elsewhere: await serve(other),
    /** Asks the camera, which is looked for with this result. */
    ask: async (found: readonly Address[], options: { addresses?: Address[] } = {}) => {
      let searches = 0;
      const client = await viewer!.client("camera", options);
      searchWith(client, {
        after: 2000,
        find: () => (searches++, Promise.resolve(found)),
      });
      const { status, body } = await client.request("GET", "/");
      await body?.cancel();
      return [status, searches];
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

Deno.test("a peer that has moved is found, and its new address is stored, so that nobody looks again", async () => {
  await using test = await setUp();
  const { here, dead } = test;
  assertEquals(await test.ask([here]), [200, 1]);
  assertEquals(await test.addresses(), [dead[1], here[1]]);
  assertEquals(await test.ask([]), [200, 0]);
  // Of a peer that is renamed they are kept.
  await test.viewer.rename("camera", "garden");
  assertEquals((await storeOf(test.viewer.dir).read(test.peer.id))?.addresses.length, 2);
});

Deno.test("another device that is found counts as none: neither its answer nor its address is kept", async () => {
  await using test = await setUp();
  const { here, elsewhere, dead } = test;
  const error = await assertRejects(() => test.ask([elsewhere]), DeviceError);
  assertEquals(error.code, "UNREACHABLE");
  assert(!error.message.includes(`${elsewhere[1]}`), error.message);
  assertEquals(await test.addresses(), [dead[1]]);
  assertEquals(await test.ask([elsewhere, here]), [200, 1]);
  assertEquals(await test.addresses(), [dead[1], here[1]]);
});

Deno.test("of the addresses that were found the last ones are kept, at most six with those of the pairing, which stay", async () => {
  await using test = await setUp();
  const store = storeOf(test.viewer.dir);
  const found = Array.from({ length: 7 }, (_, i): Address => ["192.0.2.1", 1 + i]);
  for (const address of found) await store.addFound(test.peer.id, address);
  await store.addFound(test.peer.id, found[5]!);
  assertEquals((await store.read(test.peer.id))!.addresses.map(([, port]) => port), [
    test.dead[1],
    ...[7, 6, 5, 4, 3],
  ]);
  const authority = { id: test.peer.id, certificate: test.peer.certificate };
  const six = found.slice(0, 6);
  const pairing = { receivedName: "camera", addresses: six };
  await store.record({
    ...pairing,
    authority: authority as Parameters<typeof store.record>[0]["authority"],
  });
  await store.addFound(test.peer.id, found[6]!);
  assertEquals((await store.read(test.peer.id))!.addresses, six);
});
