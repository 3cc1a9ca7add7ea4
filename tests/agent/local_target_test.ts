/** Where files go on this device. */
import { assertEquals, assertRejects } from "@std/assert";
import { Failure } from "@degu/internal/agent/failure.ts";
import { directoryPathIn, filePathIn, findLocalTarget } from "@degu/internal/agent/local_target.ts";
import { makeTreeAt } from "@degu/testing/agent_files.ts";
import { tempDir } from "@degu/testing/directories.ts";

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
