/** The directory of the device, which is neither sent, nor written or deleted in. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { Failure } from "@degu/internal/agent/failure.ts";
import { OwnDirectory } from "@degu/internal/agent/own_directory.ts";
import { AgentFiles, makeTreeAt, treeOf } from "@degu/testing/agent_files.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { content, makeTrees } from "@degu/testing/trees.ts";

Deno.test("the directory is known by whatever path, and so is what is in it", async () => {
  await using dir = await tempDir();
  const { path } = dir;
  await makeTreeAt(path, { "state/home/peers": null, "state/home-2": null });
  await makeLinks({ [`${path}/link`]: `${path}/state/home` });
  const own = await OwnDirectory.at(`${path}/link`);
  assert(own.is(await Deno.lstat(`${path}/state/home`)));
  assert(!own.is(await Deno.lstat(`${path}/state/home-2`)));
  for (const each of ["link", "link/peers", "state/home", "state/../state/home/peers"]) {
    await assertRejects(() => own.check(`${path}/${each}`), Failure, "keys", each);
  }
  const real = await Deno.realPath(path);
  await assertRejects(() => own.check(`${real}/state/home/new`), Failure);
  for (const each of ["state", "state/home-2", "new"]) await own.check(`${path}/${each}`);
});

Deno.test("a new path is known by the directory that it would be in", async () => {
  await using dir = await tempDir();
  const { path } = dir;
  await makeTreeAt(path, { "home": null });
  await makeLinks({ [`${path}/link`]: `${path}/home` });
  const own = await OwnDirectory.at(`${path}/home`);
  await assertRejects(() => own.check(`${path}/link/new/deep`), Failure);
  await own.check(`${path}/new/deep`);
});

for (const direction of ["download", "upload"] as const) {
  Deno.test(`${direction}: a tree that it is in is copied without it, and nothing in it is written or deleted`, async () => {
    const keys = { "state/own/key": "secret", "state/own/peers/a": "peer" };
    for (const there of [{ "state/own/key": "forged" }, { "state/own": "a file" }, {}]) {
      const [source, target] = direction === "download" ? [there, keys] : [keys, there];
      await using trees = await makeTrees(direction, { ...source, "a": "1" }, {
        ...target,
        "old": "2",
      });
      const root = direction === "download" ? trees.target : trees.source;
      const before = await content(`${trees.target}/state`).catch(() => null);
      const own = await OwnDirectory.at(`${root}/state/own`);
      const told = new Set<string>();
      const filter = await own.filter(root, (path) => told.add(path.join("/")));
      const { result, outcomes } = await trees.copy({ filter, delete: true });
      assertEquals([result.failed, outcomes["a"]], [0, "copied"]);
      assertEquals([...told], ["state/own"]);
      const after = await content(trees.target);
      assertEquals([after["a"], after["old"]], ["1", undefined]);
      if (before !== null) assertEquals(await content(`${trees.target}/state`), before);
      else assertEquals(after, { "a": "1", "state": null });
    }
  });
}

Deno.test("no command moves files out of it or into it, or deletes there", async () => {
  await using files = await AgentFiles.start();
  const { home, share, inbox } = files;
  await makeTreeAt(share, { "d/device.json": "forged" });
  const before = await treeOf(home);
  for (
    const command of [
      ["get", "camera:d/device.json", `${home}/`],
      ["get", "-r", "camera:d", `${home}/peers`],
      ["sync", "--delete", "camera:d", home],
      ["sync", `${home}/identity`, "camera:"],
      ["put", "-r", home, "camera:"],
      ["put", `${home}/device.json`, "camera:"],
    ]
  ) {
    const { code, stderr } = await files.run(...command);
    assertEquals(code, 1, command.join(" "));
    assertStringIncludes(stderr, "is the directory of this device, or in it");
  }
  assertEquals(await treeOf(home), before);
  assertEquals(await treeOf(inbox), {});
});
