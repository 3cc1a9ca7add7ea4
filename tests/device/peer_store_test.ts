/** The peers of a device: what is written down, and what is believed of what is there. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import type { Address } from "@degu/degu/base";
import type { Device, Peer } from "@degu/degu/device";
import { makeAuthority } from "@degu/testing/authorities.ts";
import { authorityOf, record, storeOf, TestDevices } from "@degu/testing/device_pairs.ts";
import { entries } from "@degu/testing/directories.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

const onPosix = Deno.build.os !== "windows";

/** A device, and others that it may be paired with. */
async function setUp(...names: string[]) {
  const devices = await TestDevices.create();
  const logger = new RecordingLogger();
  const camera = await devices.open("camera", { logger });
  const others: Device[] = [];
  for (const [index, name] of names.entries()) {
    others.push(await devices.open(`other-${index}`, { name }));
  }
  return {
    devices,
    logger,
    camera,
    others,
    fileOf: ({ id }: { id: string }) => join(camera.dir, "peers", `${id}.json`),
    [Symbol.asyncDispose]: () => devices[Symbol.asyncDispose](),
  };
}

const namesOf = (peers: readonly Peer[]) => peers.map(({ name }) => name);

Deno.test("peers lists what was written, by name, and peer finds it by id or name", async () => {
  await using setup = await setUp("b", "A", "c");
  const { camera, others: [b, a, c] } = setup;
  const addresses: Address[] = [
    ["192.168.1.5", 7443],
    ["camera.local", 80],
    ["fe80::1", 7443, 0, 3],
    ["fe80::1%eth0", 7443],
    "/run/a.socket",
  ];
  const before = Date.now();
  await record(camera, b!, { addresses });
  await record(camera, a!);
  await record(camera, c!);
  assertEquals(namesOf(await camera.peers()), ["A", "b", "c"]);
  const peer = await camera.peer(b!.id);
  assertEquals(peer!.addresses, addresses);
  assertEquals(peer!.certificate, (await authorityOf(b!.dir)).certificate);
  assert(before <= peer!.pairedAt.getTime() && peer!.pairedAt.getTime() <= Date.now());
  assertEquals(await camera.peer("B"), peer);
  assertEquals(await camera.peer("d"), null);
  assertEquals(await camera.peer("a".repeat(52)), null);
  await assertRejects(() => camera.peer(1 as unknown as string), TypeError);
});

Deno.test("an address that can't be read back is refused, and the entry stays as it was", async () => {
  await using setup = await setUp("b");
  const { camera, others: [b], fileOf } = setup;
  const addresses: Address[] = [["unix", 80]];
  await assertRejects(() => record(camera, b!, { addresses }), RangeError, "unix");
  assertEquals(await camera.peers(), []);
  const before = await record(camera, b!, { addresses: [["UNIX", 80]] });
  const text = await Deno.readTextFile(fileOf(b!));
  await assertRejects(() => record(camera, b!, { addresses }), RangeError, "unix");
  assertEquals(await Deno.readTextFile(fileOf(b!)), text);
  assertEquals(await camera.peers(), [before]);
});

Deno.test("a received name that is taken gets a number, a given one is a RangeError", async () => {
  await using setup = await setUp("cam", "Cam", "CAM", "other");
  const { camera, others: [one, two, three, four] } = setup;
  for (const each of [one!, two!, three!]) await record(camera, each);
  assertEquals(namesOf(await camera.peers()), ["cam", "Cam-2", "CAM-3"]);
  await assertRejects(() => record(camera, four!, { peerName: "cAm" }), RangeError, "is taken");
  assertEquals(await camera.peer(four!.id), null);
  await assertRejects(() => record(camera, four!, { peerName: "a b" }), RangeError, "peerName");
  assertEquals((await record(camera, four!, { peerName: "cam-4" })).name, "cam-4");
});

Deno.test("the same device again renews its entry, which keeps its name", async () => {
  await using setup = await setUp("cam", "other");
  const { camera, others: [one, two] } = setup;
  const first = await record(camera, one!, { peerName: "mine", addresses: [["127.0.0.1", 1]] });
  await record(camera, two!);
  const second = await record(camera, one!, { addresses: [["127.0.0.1", 2]] });
  assertEquals([second.id, second.name, second.addresses], [first.id, "mine", [["127.0.0.1", 2]]]);
  assert(second.pairedAt >= first.pairedAt);
  assertEquals((await record(camera, one!, { peerName: "MINE" })).name, "MINE");
  await assertRejects(() => record(camera, one!, { peerName: "other" }), RangeError, "is taken");
  assertEquals(namesOf(await camera.peers()), ["MINE", "other"]);
});

Deno.test("a device is no peer of its own", async () => {
  await using setup = await setUp();
  const { camera } = setup;
  await assertRejects(() => record(camera, camera), RangeError, "copy of its directory");
  assertEquals(await camera.peers(), []);
});

Deno.test("checkFree says what record would", async () => {
  await using setup = await setUp("cam");
  const { camera, others: [one] } = setup;
  await record(camera, one!);
  const store = await storeOf(camera.dir);
  await store.checkFree("other");
  await store.checkFree("CAM", one!.id);
  await assertRejects(() => store.checkFree("CAM"), RangeError, one!.id);
  await assertRejects(() => store.checkFree("a b"), RangeError, "peerName");
});

Deno.test("rename gives a peer a name that is free", async () => {
  await using setup = await setUp("one", "two");
  const { camera, others: [one, two] } = setup;
  const peer = await record(camera, one!);
  await record(camera, two!);
  assertEquals((await camera.rename(peer, "ONE")).name, "ONE");
  assertEquals((await camera.rename("one", "three")).name, "three");
  assertEquals((await camera.rename(one!.id, "four")).name, "four");
  assertEquals(namesOf(await camera.peers()), ["four", "two"]);
  await assertRejects(() => camera.rename("four", "TWO"), RangeError, "is taken");
  await assertRejects(() => camera.rename("four", "a b"), RangeError, "name:");
  await assertRejects(() => camera.rename("nobody", "five"), RangeError, '"nobody"');
  await assertRejects(() => camera.rename({} as Peer, "five"), TypeError);
  await assertRejects(() => camera.rename("four", 5 as unknown as string), TypeError);
});

Deno.test("forget removes a peer by itself, its id or its name, once", async () => {
  await using setup = await setUp("one", "two", "three");
  const { camera, others: [one, two, three] } = setup;
  const peer = await record(camera, one!);
  await record(camera, two!);
  await record(camera, three!);
  assertEquals(await camera.forget(peer), true);
  assertEquals(await camera.forget(peer), false);
  assertEquals(await camera.forget(two!.id), true);
  assertEquals(await camera.forget("THREE"), true);
  assertEquals(await camera.forget("three"), false);
  assertEquals(await camera.peers(), []);
  assertEquals(await entries(join(camera.dir, "peers")), []);
  await assertRejects(() => camera.forget(1 as unknown as string), TypeError);
  await assertRejects(() => camera.forget(null as unknown as string), TypeError);
});

Deno.test("a peer that was renamed or renewed meanwhile is forgotten by the object of before", async () => {
  await using setup = await setUp("one", "two");
  const { camera, others: [one, two] } = setup;
  const peer = await record(camera, one!);
  await camera.rename(peer, "uno");
  await record(camera, two!, { peerName: "one" });
  assertEquals(await camera.forget(peer), true);
  assertEquals(namesOf(await camera.peers()), ["one"]);
});

Deno.test("a torn or foreign file is reported by its name, skipped, and never trusted", async (t) => {
  await using setup = await setUp("one", "two");
  const { camera, others: [one, two], fileOf, logger } = setup;
  await record(camera, one!);
  await record(camera, two!);
  const path = fileOf(two!);
  const original = await Deno.readTextFile(path);
  const fields = JSON.parse(original);
  // At once: the device watches.
  const put = async (text: string) => {
    await Deno.writeTextFile(join(camera.dir, "new"), text, { mode: 0o600 });
    await Deno.rename(join(camera.dir, "new"), path);
  };
  const changed = (change: Record<string, unknown>) => JSON.stringify({ ...fields, ...change });
  const { pem } = await makeAuthority();
  const rows: [name: string, text: string][] = [
    ["empty", ""],
    ["cut", original.slice(0, -10)],
    ["no JSON", "-----BEGIN PRIVATE KEY-----"],
    ["a list", "[]"],
    ["null", "null"],
    ["a field more", changed({ more: 1 })],
    ["a field less", JSON.stringify({ ...fields, name: undefined })],
    ["another version", changed({ version: 2 })],
    ["no name", changed({ name: "a b" })],
    ["no time", changed({ pairedAt: "yesterday" })],
    ["another authority", changed({ certificate: pem })],
    ["no certificate", changed({ certificate: "" })],
    ["a certificate of another type", changed({ certificate: 1 })],
    ["addresses that are none", changed({ addresses: ["camera"] })],
    ["an address with port 0", changed({ addresses: ["127.0.0.1:0"] })],
    ["no list of addresses", changed({ addresses: "127.0.0.1:1" })],
    ["too long", original + " ".repeat(16384)],
  ];
  for (const [name, text] of rows) {
    await t.step(name, async () => {
      await put(original);
      assertEquals(namesOf(await camera.peers()), ["one", "two"]);
      logger.lines.length = 0;
      await put(text);
      assertEquals(namesOf(await camera.peers()), ["one"]);
      assertEquals(await camera.peer(two!.id), null);
      assertEquals(await camera.peer("two"), null);
      const [line = "", ...more] = logger.at("warn");
      assertStringIncludes(line, `${two!.id}.json`);
      assertEquals(line.includes(camera.dir) || line.includes("BEGIN"), false, line);
      assertEquals(more, []);
    });
  }
  await t.step("a file of another name", async () => {
    logger.lines.length = 0;
    await Deno.rename(path, join(camera.dir, "peers", "two.json"));
    await Deno.writeTextFile(join(camera.dir, "peers", "notes.txt"), "mine");
    assertEquals(namesOf(await camera.peers()), ["one"]);
    assertEquals(logger.at("warn").length, 2);
    await camera.peers();
    assertEquals(logger.at("warn").length, 2); // once
  });
  await t.step("a copy under another id", async () => {
    await Deno.copyFile(fileOf(one!), path);
    assertEquals(namesOf(await camera.peers()), ["one"]);
  });
  await t.step("it can be forgotten by its id, and written again", async () => {
    assertEquals(await camera.forget(two!.id), true);
    await record(camera, two!);
    assertEquals(namesOf(await camera.peers()), ["one", "two"]);
  });
});

Deno.test({
  name: "a file that is a link, a directory, or that others could write, is not trusted",
  ignore: !onPosix,
  async fn() {
    await using setup = await setUp("one");
    const { camera, others: [one], fileOf } = setup;
    await record(camera, one!);
    const path = fileOf(one!);
    await Deno.chmod(path, 0o622);
    assertEquals(await camera.peers(), []);
    await Deno.chmod(path, 0o600);
    assertEquals(namesOf(await camera.peers()), ["one"]);
    await Deno.rename(path, `${camera.dir}/elsewhere`);
    await Deno.mkdir(path);
    assertEquals(await camera.peers(), []);
    await Deno.remove(path);
    await new Deno.Command("python3", {
      args: ["-c", "import os, sys; os.symlink(*sys.argv[1:])", `${camera.dir}/elsewhere`, path],
    }).output();
    assertEquals(await camera.peers(), []);
    assertEquals(await camera.peer(one!.id), null);
  },
});

Deno.test("changes of several writers at once are all there", async () => {
  const names = Array.from({ length: 6 }, (_, index) => index % 2 === 0 ? "cam" : `other-${index}`);
  await using setup = await setUp(...names);
  const { camera, others } = setup;
  await Promise.all(others.map((other) => record(camera, other)));
  const expected = ["cam", "cam-2", "cam-3", "other-1", "other-3", "other-5"];
  assertEquals(namesOf(await camera.peers()), expected);
  await Promise.all(
    others.map(async (other, index) =>
      index % 2 === 0
        ? await camera.forget(other.id)
        : await (await storeOf(camera.dir)).rename(other.id, `new-${index}`)
    ),
  );
  assertEquals(namesOf(await camera.peers()), ["new-1", "new-3", "new-5"]);
});

Deno.test("a change waits for that of another process", async () => {
  await using setup = await setUp("one");
  const { camera, others: [one] } = setup;
  const peer = await record(camera, one!);
  using lock = await Deno.open(join(camera.dir, "lock"), { write: true });
  await lock.lock(true);
  let done = false;
  const renaming = camera.rename(peer, "two").then(() => done = true);
  assertEquals(namesOf(await camera.peers()), ["one"]);
  assertEquals(done, false);
  await lock.unlock();
  await within(renaming, "the name is changed");
});

Deno.test("a directory whose peers are gone trusts nobody", async () => {
  await using setup = await setUp("one");
  const { camera, others: [one] } = setup;
  await record(camera, one!);
  await Deno.remove(join(camera.dir, "peers"), { recursive: true });
  assertEquals(await camera.peers(), []);
  assertEquals(await camera.peer(one!.id), null);
});

Deno.test("servingAddresses has the servers of processes that live", async () => {
  await using setup = await setUp();
  const { camera } = setup;
  const store = await storeOf(camera.dir);
  assertEquals(await store.servingAddresses(), []);
  await using server = camera.listen(["127.0.0.1", 0], () => [204, "No Content", {}, null]);
  assertEquals(setup.logger.lines, []);
  const serving = server.serveForever();
  await server.ready;
  assertEquals(await store.servingAddresses(), [server.address]);
  // What a process that was killed has left: nobody holds its lock.
  const left = join(camera.dir, "serving", "0123456789abcdef");
  await Deno.writeTextFile(left, "127.0.0.1:9");
  assertEquals(await store.servingAddresses(), [server.address]);
  assertEquals(await entries(join(camera.dir, "serving")).then(({ length }) => length), 1);
  server.close();
  await serving;
  assertEquals(await store.servingAddresses(), []);
  assertEquals(await entries(join(camera.dir, "serving")), []);
});
