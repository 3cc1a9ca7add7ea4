import { assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { Failure } from "@degu/internal/agent/failure.ts";
import { checkServed } from "@degu/internal/agent/served_directory.ts";
import { entries, tempDir } from "@degu/testing/directories.ts";
import { makeLinks } from "@degu/testing/special_files.ts";

Deno.test("a directory is served unless it contains the device's keys, under any name", async () => {
  await using dir = await tempDir();
  const at = (...names: string[]) => join(dir.path, ...names);
  for (const path of ["state/home", "state/home-2", "share"]) {
    await Deno.mkdir(at(path), { recursive: true });
  }
  await makeLinks({ [at("link")]: at("state"), [at("other")]: at("share") });
  const home = at("state", "home");
  const served = { path: await Deno.realPath(at("share")), isMade: false };
  assertEquals(await checkServed("--share", at("share"), home), served);
  assertEquals(await checkServed("--share", at("other"), home), served);
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
  await assertRejects(() => checkServed("--share", absent, home), Failure, `mkdir -p ${absent}`);
  const deep = join(absent, "inbox");
  await assertRejects(() => checkServed("--inbox", deep, home), Failure, `mkdir -p ${deep}`);
  await assertRejects(() => checkServed("--inbox", join(home, "inbox"), home), Failure, "keys");
  await assertRejects(() => checkServed("--inbox", join(file, "inbox"), home), Failure);
  await makeLinks({ [join(dir.path, "dangling")]: absent });
  await assertRejects(() => checkServed("--inbox", join(dir.path, "dangling"), home), Error);
  assertEquals(await entries(dir.path), ["dangling", "file", "home"]);
  assertEquals(await entries(home), []);
  await assertRejects(() => checkServed("--inbox", file, home), Failure, "is no directory");
});

Deno.test("an inbox that is not there is made, for its owner alone", async () => {
  await using dir = await tempDir();
  const [home, inbox] = [join(dir.path, "home"), join(dir.path, "inbox")];
  await Deno.mkdir(home);
  const path = join(await Deno.realPath(dir.path), "inbox");
  assertEquals(await checkServed("--inbox", inbox, home), { path, isMade: true });
  assertEquals((await Deno.stat(inbox)).mode! & 0o777, 0o700);
  assertEquals(await checkServed("--inbox", inbox, home), { path, isMade: false });
});
