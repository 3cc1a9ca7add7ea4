/** degu ls: what a peer shares. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { AgentFiles, makeTreeAt, objectsOf } from "@degu/testing/agent_files.ts";
import { makeEmptyFiles } from "@degu/testing/directories.ts";

Deno.test("ls lists by name, optionally with sizes and times; names are printed escaped", async () => {
  await using files = await AgentFiles.start();
  await makeTreeAt(files.share, { "b": "12345", "a\nb": "", "日本": "1", "dir/x": "1" });
  await makeTreeAt(files.inbox, { "in": "" });
  assertEquals((await files.succeed("ls", "camera:")).stdout, "a\\u{a}b\nb\ndir/\n日本\n");
  assertEquals((await files.succeed("ls", "camera:dir")).stdout, "x\n");
  assertEquals((await files.succeed("ls", "camera:b")).stdout, "b\n");
  assertEquals((await files.succeed("ls", "--inbox", "camera:")).stdout, "in\n");
  const { stdout } = await files.succeed("ls", "-l", "camera:");
  assertMatch(stdout, /^5 B {2}\d{4}-\d\d-\d\d \d\d:\d\d {2}b$/m);
  const modified = new Date(1_234_567_890_123);
  await Deno.utime(`${files.share}/b`, modified, modified);
  const [, object] = objectsOf(await files.succeed("ls", "--json", "camera:"));
  assertEquals(object, { name: "b", kind: "file", size: 5, modified: modified.toISOString() });
});

Deno.test("a name is also found in the other Unicode normal form", async () => {
  await using files = await AgentFiles.start();
  await makeTreeAt(files.share, { ["Ö".normalize("NFD")]: "1" });
  await files.succeed("get", `camera:${"Ö".normalize("NFC")}`, files.here);
  assertEquals(
    (await files.succeed("ls", `camera:${"Ö".normalize("NFC")}`)).stdout,
    `${"Ö".normalize("NFD")}\n`,
  );
});

Deno.test("a missing file is reported at once, with similar names", async () => {
  await using files = await AgentFiles.start();
  await makeTreeAt(files.share, { "photos/1": "" });
  const { code, stderr } = await files.run("ls", "camera:phots");
  assertEquals(code, 1);
  assertStringIncludes(stderr, '"camera:phots" is not there: did you mean "camera:photos"?');
  await files.serve("--inbox", files.inbox);
  const none = await files.run("ls", "camera:");
  assertStringIncludes(
    none.stderr,
    'camera shares no directory: it has to run "degu serve --share DIR"',
  );
  await files.kill();
  const dead = await files.run("ls", "camera:");
  assertEquals(dead.code, 1);
  assertStringIncludes(dead.stderr, "no address answers");
  assertEquals(dead.stderr.includes("trying again"), false);
});

Deno.test("10,000 files are listed, and the new ones are synchronized", async () => {
  await using files = await AgentFiles.start();
  const names = Array.from({ length: 10_000 }, (_, i) => `file ${i}`);
  makeEmptyFiles(files.share, names);
  const time = new Date(1_234_567_890_123);
  await Deno.utime(`${files.share}/file 0`, time, time);
  assertEquals((await files.succeed("ls", "camera:")).stdout, `${names.toSorted().join("\n")}\n`);
  makeEmptyFiles(files.here, names.slice(0, 9_900));
  await Deno.utime(`${files.here}/file 0`, time, time);
  const { stderr } = await files.succeed("sync", "--quiet", "camera:", files.here);
  assertEquals(stderr, "");
  assertEquals([...Deno.readDirSync(files.here)].length, 10_000);
  const again = await files.succeed("sync", "--delete", "camera:", files.here);
  assertStringIncludes(again.stderr, "0 files copied, 0 B; 10000 up to date");
});
