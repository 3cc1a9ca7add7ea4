/** The file of a Unix socket is missed once it is gone. */
import { assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { watchFile } from "@degu/internal/pool/socket_file.ts";
import { tempDir } from "@degu/testing/directories.ts";

Deno.test("a file is missed when it is gone for two looks in a row, and once", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/file`;
  using time = new FakeTime();
  let lost = 0;
  const watching = watchFile(path, 100, () => lost++);
  time.tick(100);
  Deno.writeTextFileSync(path, "");
  time.tick(100);
  Deno.removeSync(path);
  time.tick(100);
  assertEquals(lost, 0);
  time.tick(100);
  assertEquals(lost, 1);
  time.tick(1000);
  assertEquals(lost, 1);
  clearInterval(watching);
});

Deno.test("a file that can't be looked at is not missed", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "");
  using time = new FakeTime();
  let lost = 0;
  const watching = watchFile(`${dir.path}/file/below`, 100, () => lost++);
  time.tick(1000);
  assertEquals(lost, 0);
  clearInterval(watching);
});
