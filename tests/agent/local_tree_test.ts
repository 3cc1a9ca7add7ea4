/** Trees of this device. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { localDigest } from "@degu/internal/agent/local_digest.ts";
import { readLocalTree } from "@degu/internal/agent/local_tree.ts";
import { OwnDirectory } from "@degu/internal/agent/own_directory.ts";
import { makeTreeAt } from "@degu/testing/agent_files.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { randomBytes, sha256 } from "@degu/testing/transferring.ts";

const { signal } = new AbortController();

Deno.test("files and directories are listed by name; links and special files are left out, with the reason", async () => {
  await using dir = await tempDir();
  const root = `${dir.path}/root`;
  await makeTreeAt(root, { "b/d": "12", "b/c": "1", "a": "", "e": null });
  await makeTreeAt(root, { "own/home/identity/key.pem": "" });
  await makeTreeAt(root, { ".degu-files/part": "", ".a.degu-part": "", ".a.degu-part.json": "" });
  await makeLinks({ [`${root}/link`]: `${root}/b`, [`${dir.path}/top`]: root });
  const hasFifo = await makeFifo(`${root}/fifo`);
  const own = await OwnDirectory.at(`${root}/own/home`);
  const tree = await readLocalTree(`${dir.path}/top`, own, signal);
  assertEquals(tree.entries.map(({ names, kind, size }) => `${names.join("/")} ${kind} ${size}`), [
    "a file 0",
    "b directory 0",
    "e directory 0",
    "own directory 0",
    "b/c file 1",
    "b/d file 2",
  ]);
  const skipped = [
    ...(hasFifo ? [{ names: ["fifo"], problem: "neither a file nor a directory" }] : []),
    { names: ["link"], problem: "a symbolic link, which is not followed" },
    { names: ["own", "home"], problem: "the directory of this device, with its keys" },
  ];
  assertEquals([tree.skipped, tree.failed], [skipped, []]);
});

Deno.test("a directory that can't be listed is named", async () => {
  await using dir = await tempDir();
  const own = await OwnDirectory.at(dir.path);
  const tree = await readLocalTree(`${dir.path}/none`, own, signal);
  assertEquals(tree.failed.map(({ names }) => names), [[]]);
  assertStringIncludes(tree.failed[0]!.problem, "No such file");
  await assertRejects(
    () => readLocalTree(dir.path, own, AbortSignal.abort(new Error("stop"))),
    Error,
    "stop",
  );
});

Deno.test("a file is hashed piece by piece, until a signal aborts it", async () => {
  await using dir = await tempDir();
  for (const size of [0, 1, 3_000_000]) {
    const content = randomBytes(size);
    await Deno.writeFile(`${dir.path}/a`, content);
    assertEquals(await localDigest(`${dir.path}/a`, undefined), await sha256(content));
  }
  const signal = AbortSignal.abort(new Error("stop"));
  await assertRejects(() => localDigest(`${dir.path}/a`, signal), Error, "stop");
});
