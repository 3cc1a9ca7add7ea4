/** Which files of peers are trusted. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { makeAuthority } from "@degu/testing/authorities.ts";
import { namesOf, record, setUpPeers } from "@degu/testing/device_pairs.ts";

const onPosix = Deno.build.os !== "windows";

Deno.test("an incomplete or foreign file is reported by its name, skipped, and never trusted", async (t) => {
  await using setup = await setUpPeers("one", "two");
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
  await t.step("a damaged entry can be forgotten by its id, and written again", async () => {
    assertEquals(await camera.forget(two!.id), true);
    await record(camera, two!);
    assertEquals(namesOf(await camera.peers()), ["one", "two"]);
  });
});

Deno.test({
  name: "a link, a directory, or a file that others could write is not trusted",
  ignore: !onPosix,
  async fn() {
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
    await new Deno.Command("python3", {
      args: ["-c", "import os, sys; os.symlink(*sys.argv[1:])", `${camera.dir}/elsewhere`, path],
    }).output();
    assertEquals(await camera.peers(), []);
    assertEquals(await camera.peer(one!.id), null);
  },
});
