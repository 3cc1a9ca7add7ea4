/**
 * The peers of a device: storing, finding, renaming and forgetting them; their files, and which
 * files are trusted.
 */
import type { Address } from "@degu/degu/base";
import { Device, DeviceError, PairingError, type Peer } from "@degu/degu/device";
import { PeerStore } from "@degu/internal/device/peers/peer_store.ts";
import { makeAuthority } from "../../tests/net/tls/authorities.ts";
import { authorityOf, namesOf, record, setUpPeers, storeOf } from "@degu/testing/device_pairs.ts";
import { listNames } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { retryReplace } from "@degu/internal/internal/retry_replace.ts";
import { join } from "@degu/internal/internal/paths.ts";
import { FakeTime } from "@std/testing/time";

Deno.test("peers() lists the stored peers by name, and peer() finds an entry by id or name", async () => {
  await using setup = await setUpPeers("b", "A", "c");
  const { camera, others: [b, a, c] } = setup;
  const addresses: Address[] = [
    ["192.168.1.5", 7443],
    ["camera.local", 80],
    ["fe80::1", 7443, 0, 3],
    ["fe80::1%eth0", 7443],
    "/run/a.socket",
  ];
  const withFlow: Address[] = [["fe80::2", 7443, 7, 3]];
  const timeBefore = Date.now();
  await record(camera, b!, { addresses });
  const { addresses: storedAddresses } = await record(camera, a!, { addresses: withFlow });
  assertEquals(storedAddresses, [["fe80::2", 7443, 0, 3]]);
  await record(camera, c!);
  assertEquals(namesOf(await camera.peers()), ["A", "b", "c"]);
  const peer = await camera.peer(b!.id);
  assertEquals(peer!.addresses, addresses);
  assertEquals(peer!.ca, (await authorityOf(b!.dir)).ca);
  assert(timeBefore <= peer!.pairedAt.getTime() && peer!.pairedAt.getTime() <= Date.now());
  assertEquals(await camera.peer("B"), peer);
  assertEquals(await camera.peer("d"), null);
  assertEquals(await camera.peer("a".repeat(52)), null);
  await assertRejects(() => camera.peer(1 as unknown as string), TypeError, "peer");
});

Deno.test("the file of a peer has the documented fields", async () => {
  await using setup = await setUpPeers("b");
  const { camera, others: [b], fileOf } = setup;
  const { name, pairedAt, ca } = await record(camera, b!, { addresses: ["/run/a.socket"] });
  assertEquals(JSON.parse(await Deno.readTextFile(fileOf(b!))), {
    version: 1,
    name,
    addresses: ["unix:/run/a.socket"],
    pairedAt: pairedAt.toISOString(),
    certificate: ca,
  });
});

Deno.test("rename() gives a peer a free name, and rejects a taken one", async () => {
  await using setup = await setUpPeers("one", "two");
  const { camera, others: [one, two] } = setup;
  const peer = await record(camera, one!);
  await record(camera, two!);
  assertEquals((await camera.rename(peer, "ONE")).name, "ONE");
  assertEquals((await camera.rename("one", "three")).name, "three");
  assertEquals((await camera.rename(one!.id, "four")).name, "four");
  assertEquals(namesOf(await camera.peers()), ["four", "two"]);
  await assertRejects(() => camera.rename("four", "TWO"), RangeError, "is taken");
  await assertRejects(() => camera.rename("four", "CAMERA"), RangeError, "by this device itself");
  await assertRejects(() => camera.rename("four", "a b"), RangeError, "name:");
  await assertRejects(() => camera.rename({} as Peer, "five"), TypeError);
  await assertRejects(() => camera.rename("four", 5 as unknown as string), TypeError);
});

Deno.test("peerName can't be the name of this device, which another process may have renamed; the peer's own name can", async () => {
  await using setup = await setUpPeers("one", "two");
  const { camera, others: [one, two] } = setup;
  await using renamed = await Device.open(camera.dir, { name: "ONE", rename: true });
  assertEquals((await record(camera, one!)).name, "one");
  const problem = 'peerName: the name "One" is taken, by this device itself; choose another name';
  await assertRejects(() => record(camera, two!, { peerName: "One" }), PairingError, problem);
  await assertRejects(() => camera.invite({ peerName: "One" }), PairingError, problem);
  assertEquals(namesOf(await renamed.peers()), ["one"]);
});

Deno.test("forget() removes a peer once, by id, by name or by object, even an outdated one", async () => {
  await using setup = await setUpPeers("one", "two", "three");
  const { camera, others: [one, two, three] } = setup;
  const peer = await record(camera, one!);
  await record(camera, two!);
  await record(camera, three!);
  const assertUnknown = async (unknownPeer: Peer | string) => {
    const error = await assertRejects(() => camera.forget(unknownPeer), DeviceError, "no peer has");
    assertEquals(error.code, "UNKNOWN");
  };
  await camera.forget(peer);
  await assertUnknown(peer);
  await camera.forget(two!.id);
  await camera.forget("THREE");
  for (const nameOrId of ["three", "thre", "", two!.id, "x".repeat(52)]) {
    await assertUnknown(nameOrId);
  }
  assertEquals(await camera.peers(), []);
  assertEquals(await listNames(join(camera.dir, "peers")), []);
  for (const invalidValue of [1, null] as unknown[] as string[]) {
    await assertRejects(() => camera.forget(invalidValue), TypeError);
  }
  // An outdated object identifies a peer that was renamed, not the peer that has its name now.
  const earlier = await record(camera, one!);
  await camera.rename(earlier, "uno");
  await record(camera, two!, { peerName: "one" });
  await camera.forget(earlier);
  assertEquals(namesOf(await camera.peers()), ["one"]);
});

Deno.test("forget() removes a peer even if the others can't be read", async () => {
  await using setup = await setUpPeers("one", "two");
  const { camera, others: [one, two] } = setup;
  await record(camera, one!);
  await record(camera, two!);
  const store = storeOf(camera.dir);
  await store.refresh();
  {
    using patched = new DisposableStack();
    const breakDisk = () =>
      patch(Deno, "readDir", () => () => {
        throw new Error("the disk is broken");
      });
    patched.use(patch(Deno, "remove", (remove) => async (path) => {
      await remove(path);
      patched.use(breakDisk());
    }));
    await store.forget(one!.id);
  }
  assertEquals(namesOf(store.current), ["two"]);
});

Deno.test("no change by simultaneous writers is lost", async () => {
  const names = Array.from({ length: 6 }, (_, index) => index % 2 === 0 ? "cam" : `other-${index}`);
  await using setup = await setUpPeers(...names);
  const { camera, others } = setup;
  await Promise.all(others.map((other) => record(camera, other)));
  const expected = ["cam", "cam-2", "cam-3", "other-1", "other-3", "other-5"];
  assertEquals(namesOf(await camera.peers()), expected);
  const changes = others.map(({ id }, index) =>
    index % 2 === 0 ? camera.forget(id) : storeOf(camera.dir).rename(id, `new-${index}`)
  );
  await Promise.all<unknown>(changes);
  assertEquals(namesOf(await camera.peers()), ["new-1", "new-3", "new-5"]);
});

Deno.test("an incomplete or foreign file is reported by its name, skipped, and never trusted", async (t) => {
  await using setup = await setUpPeers("one", "two");
  const { camera, others: [one, two], fileOf, logger } = setup;
  await record(camera, one!);
  await record(camera, two!);
  const path = fileOf(two!);
  const original = await Deno.readTextFile(path);
  const fields = JSON.parse(original);
  // Write in one call: the device watches the directory, and on Windows it has the file open for a
  // moment.
  const replaceFile = async (text: string) => {
    await Deno.writeTextFile(join(camera.dir, "new"), text, { mode: 0o600 });
    await retryReplace(() => Deno.renameSync(join(camera.dir, "new"), path));
  };
  const changedText = (change: Record<string, unknown>) =>
    `${JSON.stringify({ ...fields, ...change }, null, 2)}\n`;
  assertEquals(changedText({}), original);
  const { pem } = makeAuthority();
  const rows: [name: string, text: string][] = [
    ["empty", ""],
    ["cut", original.slice(0, -10)],
    ["the same JSON in another form", JSON.stringify(fields)],
    ["an additional field", changedText({ more: 1 })],
    ["a missing field", changedText({ name: undefined })],
    ["no whole version", changedText({ version: 1.5 })],
    ["no name", changedText({ name: "a b" })],
    ["another authority", changedText({ certificate: pem })],
    ["a certificate of another type", changedText({ certificate: 1 })],
    ["invalid addresses", changedText({ addresses: ["camera"] })],
    ["an address with port 0", changedText({ addresses: ["127.0.0.1:0"] })],
    ["too long", original + " ".repeat(16384)],
  ];
  for (const [name, text] of rows) {
    await t.step(name, async () => {
      await replaceFile(original);
      assertEquals(namesOf(await camera.peers()), ["one", "two"]);
      logger.lines.length = 0;
      await replaceFile(text);
      assertEquals(namesOf(await camera.peers()), ["one"]);
      assertEquals(await camera.peer(two!.id), null);
      assertEquals(await camera.peer("two"), null);
      const [line = "", ...more] = logger.messagesOf("warn");
      assertStringIncludes(line, `${two!.id}.json`);
      if (name.startsWith("no ")) assertStringIncludes(line, "is truncated, or not of the form");
      assertStringIncludes(line, "; pair the two devices again");
      assertEquals(line.includes(camera.dir) || line.includes("BEGIN"), false, line);
      assertEquals(more, []);
    });
  }
  await t.step("a file with another name", async () => {
    logger.lines.length = 0;
    await Deno.rename(path, join(camera.dir, "peers", "two.json"));
    await Deno.writeTextFile(join(camera.dir, "peers", "notes.txt"), "mine");
    assertEquals(namesOf(await camera.peers()), ["one"]);
    assertEquals(logger.messagesOf("warn").length, 2);
    await camera.peers();
    assertEquals(logger.messagesOf("warn").length, 2); // once
    for (const line of logger.messagesOf("warn")) {
      assertStringIncludes(line, "its name is not an id with .json");
    }
    await Deno.remove(join(camera.dir, "peers", "notes.txt"));
    await camera.peers();
    await Deno.writeTextFile(join(camera.dir, "peers", "notes.txt"), "mine");
    // A problem is logged again if it recurs, and for each time the device is opened.
    await camera.peers();
    assertEquals(logger.messagesOf("warn").length, 3);
    const otherLogger = new RecordingLogger();
    await using _camera = await Device.open(camera.dir, { logger: otherLogger });
    assertEquals(otherLogger.messagesOf("warn").length, 2);
  });
  await t.step("a copy under another id", async () => {
    await Deno.copyFile(fileOf(one!), path);
    assertEquals(namesOf(await camera.peers()), ["one"]);
  });
  await t.step("a damaged entry can be forgotten by its id, and stored again", async () => {
    await camera.forget(two!.id);
    await record(camera, two!);
    assertEquals(namesOf(await camera.peers()), ["one", "two"]);
  });
});

Deno.test("a peer whose file has another version is not trusted, a warning names it, and its file stays until the two are paired again", async () => {
  await using setup = await setUpPeers("one", "two");
  const { camera, others: [one, two], fileOf } = setup;
  const peer = await record(camera, one!);
  await record(camera, two!);
  const path = fileOf(one!);
  const write = async (fields: Record<string, unknown>) => {
    await Deno.writeTextFile(path, JSON.stringify(fields));
    return await Deno.readTextFile(path);
  };
  for (const [version, name, shownName] of [[2, "one", "one"], [0, "a b", one!.id]] as const) {
    const text = await write({ version, name, more: [] });
    const logger = new RecordingLogger();
    await using openedDevice = await Device.open(camera.dir, { logger });
    const file = `${one!.id}.json`;
    const message =
      `the peer "${shownName}" can't be used: its file "${file}" has version ${version}, and this ` +
      "version of Degu reads version 1; use the version that has written it, or pair the two devices again";
    assertEquals(logger.messagesOf("warn"), [message]);
    assertEquals(namesOf(await openedDevice.peers()), ["two"]);
    for (const nameOrPeer of [shownName, one!.id, peer]) {
      const renaming = () => openedDevice.rename(nameOrPeer, "three");
      for (const call of [() => openedDevice.client(nameOrPeer), renaming]) {
        const error = await assertRejects(call, DeviceError);
        assertEquals([error.code, error.message], ["UNKNOWN", message]);
      }
      if (typeof nameOrPeer === "string") assertEquals(await openedDevice.peer(nameOrPeer), null);
    }
    // No other peer can get its name.
    if (name === "one") {
      const rename = () => openedDevice.rename("two", "ONE");
      await assertRejects(rename, RangeError, `is taken, by the peer with the id ${one!.id}`);
    }
    assertEquals(await Deno.readTextFile(path), text);
  }
  await write({ version: 2, name: "one" });
  assertEquals((await record(camera, one!)).name, "one");
  assertEquals(namesOf(await camera.peers()), ["one", "two"]);
  for (const nameOrId of ["ONE", one!.id]) {
    await write({ version: 2, name: "one" });
    await camera.forget(nameOrId);
    assertEquals(await camera.peer("one"), null);
  }
});

Deno.test("a link, a directory, or a file that others could write is not trusted", async () => {
  await using setup = await setUpPeers("one");
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
  await makeLinks({ [path]: `${camera.dir}/elsewhere` });
  assertEquals(await camera.peers(), []);
  assertEquals(await camera.peer(one!.id), null);
});

Deno.test(
  "a file of another user is not trusted",
  ignoreIf(Deno.uid() === 0 ? null : "only root can give a file to another user"),
  async () => {
    await using setup = await setUpPeers("one");
    const { camera, others: [one], fileOf, logger } = setup;
    await record(camera, one!);
    const trusted = [[0, 0], [7, 0], [7, 7]];
    for (const [user, owner] of [...trusted, [0, 1], [0, 12345], [7, 8]] as [number, number][]) {
      await Deno.chown(fileOf(one!), owner, 0);
      using _user = patch(Deno, "uid", () => () => user);
      const store = new PeerStore(camera.dir, logger);
      const names = user === owner || owner === 0 ? ["one"] : [];
      assertEquals(namesOf(await store.list()), names, `${user} ${owner}`);
      assertEquals((await store.read(one!.id))?.name, names[0]);
      if (names.length === 0) {
        const warning = logger.messagesOf("warn").at(-1)!;
        assertMatch(warning, /belongs to another user; pair the two devices again$/);
      }
    }
  },
);

Deno.test("the file of a peer has at most 16384 bytes", async () => {
  await using setup = await setUpPeers("one");
  const { camera, others: [one], fileOf } = setup;
  const sizeWith = async (hosts: string[]) => {
    await record(camera, one!, { addresses: hosts.map((host) => [host, 80]) });
    return (await Deno.stat(fileOf(one!))).size;
  };
  const minSize = await sizeWith(["a"]);
  const line = await sizeWith(["a".repeat(50), "a"]) - minSize;
  for (const bytes of [16383, 16384, 16385]) {
    const hosts: string[] = Array(Math.floor((bytes - minSize) / line)).fill("a".repeat(50));
    const lastLine = "a".repeat(1 + (bytes - minSize) % line);
    assertEquals(await sizeWith([...hosts, lastLine]), bytes);
    assertEquals(namesOf(await camera.peers()), bytes > 16384 ? [] : ["one"]);
  }
});

Deno.test("watch() detects the changes of other processes, even if the directory is replaced", async () => {
  await using setup = await setUpPeers("one", "two");
  const { camera, others: [one, two] } = setup;
  const logger = new RecordingLogger();
  const store = new PeerStore(camera.dir, logger);
  const [path, movedPath] = [join(camera.dir, "peers"), join(camera.dir, "away")];
  const { setTimeout } = globalThis;
  let [checkCount, changeCount] = [0, 0];
  store.onChange(() => {
    throw new Error("not now"); // the other listeners are still called
  });
  store.onChange(() => changeCount++);
  using _looks = patch(Deno, "lstat", (lstat) => (path) => {
    checkCount++;
    return lstat(path);
  });
  using time = new FakeTime();
  const waitUntil = async (hasHappened: () => boolean, event: string) => {
    for (const deadline = performance.now() + 20_000; !hasHappened();) {
      assert(performance.now() < deadline, `${event} is not detected`);
      time.tick(400);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
  const waitForNames = (names: string[], event: string) =>
    waitUntil(() => namesOf(store.current).join() === names.join(), event);
  const waitForChecks = (maxChecks = checkCount + 60) =>
    waitUntil(() => checkCount > maxChecks, "a further change");
  const countReadErrors = () =>
    logger.messagesOf("error").filter((line) => line.includes("can't be read")).length;
  const failToRead = async (change: () => Promise<void>) => {
    const fail = () => Promise.reject(new Error("Too many open files"));
    const errorsBefore = countReadErrors();
    using _failing = patch(Deno, "readTextFile", () => fail);
    // A running check has opened its file, and must not read the change.
    await waitUntil(() => countReadErrors() > errorsBefore, "a failed read");
    await change();
    await waitForChecks();
  };
  {
    await using _watch = store.watch();
    await record(camera, one!);
    await waitForNames(["one"], "a first change");
    await record(camera, two!);
    await waitForNames(["one", "two"], "a second change in the same tick");
    await waitForChecks();
    assertEquals(changeCount, 2);
    const errors = logger.messagesOf("error");
    assertEquals(errors.map((line) => /processed: .*not now$/.test(line)), [true, true]);
    const file = join(path, (await Array.fromAsync(Deno.readDir(path)))[0]!.name);
    const text = await Deno.readTextFile(file);
    await failToRead(() => Deno.truncate(file));
    await waitUntil(() => store.current.length === 1, "an emptied file");
    await failToRead(() => Deno.writeTextFile(file, text));
    await waitForNames(["one", "two"], "a restored file");
    assertEquals(countReadErrors(), 2);
    await Deno.rename(path, movedPath);
    await waitForNames([], "a missing directory");
    assertEquals([await camera.peers(), await camera.peer(one!.id)], [[], null]);
    await Deno.rename(movedPath, path);
    await waitForNames(["one", "two"], "a restored directory");
    await Deno.rename(path, movedPath);
    await Deno.mkdir(path);
    await waitForNames([], "a replaced directory");
  }
});
