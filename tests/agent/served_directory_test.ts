import { assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { Failure } from "@degu/internal/agent/failure.ts";
import { checkServed } from "@degu/internal/agent/served_directory.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { makeLinks } from "@degu/testing/special_files.ts";

Deno.test("a directory is served unless it contains the device's keys, under any name", async () => {
  await using dir = await tempDir();
  const at = (...names: string[]) => join(dir.path, ...names);
  for (const path of ["state/home", "state/home-2", "share"]) {
    await Deno.mkdir(at(path), { recursive: true });
  }
  await makeLinks({ [at("link")]: at("state"), [at("other")]: at("share") });
  const home = at("state", "home");
  assertEquals(await checkServed("--share", at("share"), home), await Deno.realPath(at("share")));
  assertEquals(await checkServed("--share", at("other"), home), await Deno.realPath(at("share")));
  await checkServed("--share", at("state", "home-2"), home);
  await Deno.mkdir(at("state", "home", "inside"));
  for (const path of ["state", "state/home", "state/home/inside", "link", ".", "link/home"]) {
    const error = await assertRejects(
      () => checkServed("--share", at(path), home),
      Failure,
      "keys",
      path,
    );
    assertEquals(error.exitCode, 2);
  }
});

Deno.test("a path that is not a directory is refused with what to do", async () => {
  await using dir = await tempDir();
  const home = join(dir.path, "home");
  const file = join(dir.path, "file");
  await Deno.mkdir(home);
  await Deno.writeTextFile(file, "");
  const absent = join(dir.path, "absent");
  await assertRejects(() => checkServed("--inbox", absent, home), Failure, `mkdir -p ${absent}`);
  await assertRejects(() => checkServed("--inbox", file, home), Failure, "is no directory");
});
