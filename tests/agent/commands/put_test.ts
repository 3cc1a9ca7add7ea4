/** degu put: files to the inbox of a peer. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { AgentFiles, makeTreeAt, objectsOf, treeOf } from "@degu/testing/agent_files.ts";
import { makeLinks } from "@degu/testing/special_files.ts";

Deno.test("put -r keeps names, times, trees and empty directories; links are skipped", async () => {
  await using files = await AgentFiles.start();
  const { here, inbox } = files;
  const tree = { "日本 語/a\tb": "1", "日本 語/עברית": "2", "e/f/g": null, "~": "3", "-x": "4" };
  await makeTreeAt(here, {
    ...Object.fromEntries(Object.entries(tree).map(([k, v]) => [`top/${k}`, v])),
  });
  await makeTreeAt(here, { "top/.a.degu-part": "part", "top/.degu-files/x": "" });
  const time = new Date(1_234_567_890_123);
  await Deno.utime(`${here}/top/~`, time, time);
  await makeLinks({ [`${here}/top/link`]: `${here}/top/~`, [`${here}/linked`]: `${here}/top/~` });
  const { stderr } = await files.succeed("put", "-r", `${here}/top`, `${here}/linked`, "camera:");
  const expected = { "top": null, "top/e": null, "top/e/f": null, "top/e/f/g": null };
  const sent = Object.fromEntries(Object.entries(tree).map(([k, v]) => [`top/${k}`, v]));
  const all = { ...sent, ...expected, "top/日本 語": null, "linked": "3" };
  assertEquals(await treeOf(inbox), sorted(all));
  assertEquals((await Deno.stat(`${inbox}/top/~`)).mtime, time);
  assertStringIncludes(stderr, `${here}/top/link: skipped: a symbolic link`);
  assertStringIncludes(stderr, "5 files copied");
  const again = await files.succeed("put", "-r", `${here}/top`, `${here}/linked`, "camera:");
  assertEquals(again.stdout, "");
  assertStringIncludes(again.stderr, "0 files copied, 0 B; 5 up to date");
  await files.succeed("put", "-r", `${here}/top/.`, "camera:sub/dir");
  assertEquals((await treeOf(`${inbox}/sub/dir`))["~"], "3");
});

Deno.test("an existing different file is kept, unless --force is given", async () => {
  await using files = await AgentFiles.start();
  const { here, inbox } = files;
  await makeTreeAt(here, { "a": "new", "b": "other" });
  await makeTreeAt(inbox, { "a": "old", "b": "shorter", "dir/c": "" });
  const refused = await files.run("put", `${here}/a`, `${here}/b`, "camera:");
  assertEquals(refused.code, 1);
  assertStringIncludes(
    refused.stderr,
    `${here}/a: another file of this name is there: replace it with --force`,
  );
  assertStringIncludes(refused.stderr, `${here}/b: another file of this name is there`);
  assertStringIncludes(refused.stderr, "degu: error: 2 errors: see above");
  assertEquals(await treeOf(inbox), { "a": "old", "b": "shorter", "dir": null, "dir/c": "" });
  const single = await files.run("put", `${here}/a`, "camera:");
  const why = "another file of this name is there: replace it with --force";
  assertEquals([single.code, single.stderr], [1, `degu: error: ${here}/a: ${why}\n`]);
  const [object] = objectsOf(
    await files.succeed("put", "--json", "--force", `${here}/a`, "camera:"),
  );
  assertEquals([object?.["from"], object?.["to"], object?.["bytes"]], [`${here}/a`, "camera:a", 3]);
  await files.succeed("put", `${here}/b`, "camera:dir");
  await files.succeed("put", `${here}/b`, "camera:c");
  // The very same file is no other one.
  await Deno.utime(`${here}/a`, 1, 1);
  const same = await files.succeed("put", `${here}/a`, "camera:");
  assertStringIncludes(same.stderr, "1 up to date");
  const forced = await files.succeed("put", "--force", `${here}/a`, "camera:");
  assertEquals(forced.stderr, "0 files copied, 0 B; 1 up to date\n");
  const expected = {
    "a": "new",
    "b": "shorter",
    "c": "other",
    "dir": null,
    "dir/b": "other",
    "dir/c": "",
  };
  assertEquals(await treeOf(inbox), expected);
  const directory = await files.run("put", "--force", `${here}/a`, "camera:dir/", "camera:x");
  assertEquals(directory.code, 2);
  const below = await files.run("put", "--force", `${here}/a`, "camera:a/x");
  assertEquals(below.code, 1);
  assertStringIncludes(below.stderr, "a file has that of its directory");
});

Deno.test("put -r keeps other files too, unless --force is given; the same ones are up to date", async () => {
  await using files = await AgentFiles.start();
  const { here, inbox } = files;
  await makeTreeAt(here, { "top/a": "new", "top/b": "same", "top/c": "3" });
  await makeTreeAt(inbox, { "top/a": "old", "top/b": "same" });
  const refused = await files.run("put", "-r", `${here}/top`, "camera:");
  assertEquals(refused.code, 1);
  assertStringIncludes(
    refused.stderr,
    `${here}/top/a: another file of this name is there: replace it with --force`,
  );
  assertStringIncludes(refused.stderr, "1 file copied, 1 B");
  assertStringIncludes(refused.stderr, "1 up to date");
  assertEquals((await treeOf(inbox))["top/a"], "old");
  await files.succeed("put", "--force", "-r", `${here}/top`, "camera:");
  assertEquals(await treeOf(inbox), await treeOf(here));
});

Deno.test("files that can't be uploaded are named with the reason, and the rest is transferred", async () => {
  await using files = await AgentFiles.start();
  const { here, inbox } = files;
  await makeTreeAt(here, { "a": "1", "dir/b": "2", "other/a": "3", "x": "" });
  await Deno.chmod(`${here}/x`, 0o600);
  const fail = async (...args: string[]) => {
    const { code, stderr } = await files.run("put", ...args);
    assertEquals(code, 1, stderr);
    return stderr;
  };
  assertStringIncludes(await fail(`${here}/dir`, "camera:"), "is a directory: put it with -r");
  assertStringIncludes(await fail(`${here}/none`, "camera:"), "is not there");
  const several = await fail(`${here}/none`, `${here}/a`, `${here}/other/a`, "camera:new");
  assertStringIncludes(several, "has the same name");
  assertStringIncludes(several, "2 errors");
  assertEquals(await treeOf(inbox), { "new": null, "new/a": "1" });
  assertStringIncludes(await fail(`${here}/a`, "camera:.degu-files/a"), "the name is reserved");
  await files.serve("--share", files.share);
  assertStringIncludes(
    await fail(`${here}/a`, "camera:"),
    'takes no files: it has to run "degu serve --inbox DIR"',
  );
  assertEquals((await files.run("put", `${here}/a`)).code, 2);
  assertEquals((await files.run("put", `${here}/a`, "camera:../b")).code, 2);
});

Deno.test("what is wrong with files here is reported before anything is connected", async () => {
  await using files = await AgentFiles.start();
  const { here } = files;
  await files.kill();
  await makeTreeAt(here, { "report.pdf": "" });
  const none = await files.run("put", `${here}/none`, "camera:");
  const hint = "check the name, and the directory that you are in";
  assertEquals([none.code, none.stderr], [
    1,
    `degu: error: "${here}/none" is not there: ${hint}\n`,
  ]);
  const near = await files.run("put", `${here}/raport.pdf`, "camera:");
  assertStringIncludes(near.stderr, `is not there: did you mean "${here}/report.pdf"?`);
  const both = await files.run("put", `${here}/none`, here, "camera:");
  assertEquals(both.code, 1);
  const [first, second, third] = both.stderr.split("\n");
  assertEquals(first, `degu: error: ${here}/none: "${here}/none" is not there: ${hint}`);
  assertEquals(second, `degu: error: ${here}: ${here} is a directory: put it with -r`);
  assertStringIncludes(third ?? "", "degu: error: 2 errors: see above");
});

function sorted<T>(object: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(object).sort(([a], [b]) => a < b ? -1 : 1));
}
