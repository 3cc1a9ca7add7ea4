/** degu get: files from the share of a peer. */
import { assert, assertEquals } from "@std/assert";
import { AgentFiles, makeTreeAt, objectsOf, treeOf } from "@degu/testing/agent_files.ts";

/** Names that file systems take, in many scripts, with all kinds of characters. */
const NAMES = [
  "日本語.txt",
  "Ünïcödé",
  "emoji 👩‍👩‍👧",
  "עברית",
  "العربية",
  "-rf",
  "a\nb",
  " ",
  "~",
  "x".repeat(255),
];

Deno.test("get keeps names, times and trees", async () => {
  await using files = await AgentFiles.start();
  const tree = Object.fromEntries(NAMES.map((name, i) => [`photos/${name}`, `text ${i}`]));
  await makeTreeAt(files.share, {
    ...tree,
    "photos/empty": null,
    "photos/a/b/c": "deep",
    "b": "b",
  });
  const time = new Date(1_234_567_890_123);
  await Deno.utime(`${files.share}/photos/a/b/c`, time, time);
  const { stdout, stderr } = await files.succeed("get", "-r", "camera:photos", "camera:b", "new");
  assertEquals(await treeOf(`${files.here}/new`), await treeOf(files.share));
  assertEquals((await Deno.stat(`${files.here}/new/photos/a/b/c`)).mtime, time);
  assert(stdout.includes("new/photos/a/b/c\n") && stdout.includes("a\\u{a}b"), stdout);
  assert(stderr.includes("12 files moved"), stderr);
  const again = await files.succeed("get", "-r", "camera:photos", "camera:b", "new");
  assertEquals(again.stdout, "");
  assert(again.stderr.includes("0 files moved, 0 B; 12 there already"), again.stderr);
});
