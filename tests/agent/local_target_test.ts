/** Where files go on this device. */
import { assertEquals, assertRejects } from "@std/assert";
import { Failure } from "@degu/internal/agent/failure.ts";
import {
  directoryPathIn,
  filePathIn,
  findLocalTarget,
  LocalDirectories,
} from "@degu/internal/agent/local_target.ts";
import { OwnDirectory } from "@degu/internal/agent/own_directory.ts";
import { NotMoved } from "@degu/internal/agent/failure.ts";
import { makeTreeAt } from "@degu/testing/agent_files.ts";
import { entries, tempDir } from "@degu/testing/directories.ts";
import { makeLinks } from "@degu/testing/special_files.ts";

Deno.test("a file goes into a directory, or gets the name of the target; a directory always goes into it", async () => {
  await using dir = await tempDir();
  const { path } = dir;
  await makeTreeAt(path, { "dir": null, "file": "" });
  const cases: [target: string, several: boolean, file: string, directory: string][] = [
    ["dir", false, "dir/n", "dir/n"],
    ["dir/", true, "dir/n", "dir/n"],
    ["new", false, "new", "new/n"],
    ["new", true, "new/n", "new/n"],
    ["new/", false, "new/n", "new/n"],
  ];
  for (const [name, several, file, directory] of cases) {
    const target = await findLocalTarget(`${path}/${name}`, several);
    assertEquals(filePathIn(target, "n"), `${path}/${file}`, name);
    assertEquals(await directoryPathIn(target, "n"), `${path}/${directory}`, name);
  }
  const file = await findLocalTarget(`${path}/file`, false);
  assertEquals(filePathIn(file, "n"), `${path}/file`);
  await assertRejects(() => directoryPathIn(file, "n"), Failure, "is not a directory");
  await assertRejects(() => findLocalTarget(`${path}/file`, true), Failure, "is not a directory");
  await assertRejects(() => findLocalTarget(`${path}/no/new`, false), Failure, "mkdir -p");
});

Deno.test("directories are made below the root, never by way of a link nor in that of the device", async () => {
  await using dir = await tempDir();
  const { path } = dir;
  await makeTreeAt(path, { "outside": null, "root/file": "", "root/own/home": null });
  await makeLinks({ [`${path}/root/link`]: `${path}/outside` });
  const own = await OwnDirectory.at(`${path}/root/own/home`);
  const directories = new LocalDirectories(`${path}/root`, own);
  await Promise.all([["a", "b"], ["a", "c"], ["a"]].map((names) => directories.make(names)));
  assertEquals(await entries(`${path}/root/a`), ["b", "c"]);
  await assertRejects(() => directories.make(["link", "a"]), NotMoved, "symbolic link");
  await assertRejects(() => directories.make(["file"]), NotMoved, "not a directory");
  await assertRejects(() => directories.make(["own", "home", "peers"]), NotMoved, "its keys");
  assertEquals(await entries(`${path}/outside`), []);
  assertEquals(await entries(`${path}/root/own/home`), []);
});
