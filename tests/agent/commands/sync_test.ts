/** degu sync: a directory is made what another one is. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { AgentFiles, makeTreeAt, objectsOf, treeOf } from "@degu/testing/agent_files.ts";
import { makeLinks, makeNonUtf8Name } from "@degu/testing/special_files.ts";

const TREE = { "a": "1", "b/c": "2", "b/日本": "3", "e/f": null, "x": "same size" };

for (const direction of ["to here", "to a peer"] as const) {
  Deno.test(`sync ${direction}: new and changed files are copied, once; --delete removes the rest`, async () => {
    await using files = await AgentFiles.start();
    const isToHere = direction === "to here";
    const source = isToHere ? `${files.share}/top` : `${files.here}/top`;
    const target = isToHere ? `${files.here}/copy` : `${files.inbox}/copy`;
    const both = isToHere
      ? ["camera:top", `${files.here}/copy`]
      : [`${files.here}/top`, "camera:copy"];
    await makeTreeAt(source, TREE);
    const dry = await files.succeed("sync", "--dry-run", ...both);
    assertStringIncludes(dry.stderr, "4 files would be copied");
    assertEquals((await treeOf(isToHere ? files.here : files.inbox))["copy"], undefined);

    await files.succeed("sync", ...both);
    assertEquals(await treeOf(target), await treeOf(source));
    const second = await files.succeed("sync", "--delete", ...both);
    assertEquals(second.stdout, "");
    assertStringIncludes(second.stderr, "0 files copied, 0 B; 4 up to date");

    await Deno.writeTextFile(`${source}/x`, "SAME SIZE");
    await makeTreeAt(source, { "new/n": "n" });
    await makeTreeAt(target, { "old/o/o": "o", "old/p": null, "z": "z" });
    const plain = objectsOf(await files.succeed("sync", "--json", ...both));
    const copied = plain.map(({ to }) => to).filter((to) => to !== undefined);
    const nameOf = (path: string) =>
      isToHere ? `${files.here}/copy/${path}` : `camera:copy/${path}`;
    assertEquals(copied.toSorted(), [nameOf("new/n"), nameOf("x")]);
    assertEquals((await treeOf(target))["z"], "z");

    const before = await treeOf(target);
    const would = await files.succeed("sync", "--dry-run", "--delete", ...both);
    assertStringIncludes(would.stdout, `would delete ${nameOf("old/o/o")}\n`);
    assertStringIncludes(would.stderr, "5 would be deleted");
    assertEquals(await treeOf(target), before);
    await files.succeed("sync", "--delete", ...both);
    assertEquals(await treeOf(target), await treeOf(source));
  });
}

Deno.test("sync --inbox brings back what was synced there", async () => {
  await using files = await AgentFiles.start();
  const { here, inbox, share } = files;
  await makeTreeAt(`${here}/top`, { "a": "1", "b/c": "2", "d.tmp": "3", ".deguignore": "*.tmp\n" });
  await makeTreeAt(share, { "top/shared": "1" });
  await files.succeed("sync", `${here}/top`, "camera:top");
  await makeTreeAt(`${here}/back`, { "b/old": "4", "kept.tmp": "5" });
  await files.succeed("sync", "--inbox", "--delete", "camera:top", `${here}/back`);
  const { "kept.tmp": kept, ...back } = await treeOf(`${here}/back`);
  assertEquals(kept, "5");
  assertEquals(back, await treeOf(`${inbox}/top`));
  await files.succeed("sync", "--inbox", "--delete", `${here}/top`, "camera:top");
  const missing = await files.run("sync", "camera:top/b", `${here}/none`);
  assertEquals(missing.code, 1);
  assertStringIncludes(missing.stderr, "add --inbox to read it there");
});

Deno.test("--checksum compares contents, whatever the times", async () => {
  await using files = await AgentFiles.start();
  const { here, share, inbox } = files;
  await makeTreeAt(share, { "a": "old", "b": "new" });
  await makeTreeAt(here, { "a": "old", "b": "old" });
  for (const [dir, time] of [[share, 1000], [here, 2000]] as const) {
    await Deno.utime(`${dir}/a`, time, time);
    await Deno.utime(`${dir}/b`, 1000, 1000);
  }
  // The same size and time: only the contents tell.
  assertEquals(
    (await files.succeed("sync", "--dry-run", "camera:", here)).stdout,
    `would copy camera:a to ${here}/a\n`,
  );
  const { stdout } = await files.succeed("sync", "--checksum", "camera:", here);
  assertEquals(stdout, `${here}/b\n`);
  assertEquals(await treeOf(here), { "a": "old", "b": "new" });
  assertEquals((await Deno.stat(`${here}/a`)).mtime, new Date(2_000_000));
  await files.succeed("sync", here, "camera:");
  assertEquals(await treeOf(inbox), await treeOf(here));
  assertEquals((await files.succeed("sync", "--checksum", here, "camera:")).stdout, "");
});

for (const direction of ["to here", "to a peer"] as const) {
  Deno.test(`sync ${direction}: --exclude and .deguignore leave things out, at both ends`, async () => {
    await using files = await AgentFiles.start();
    const isToHere = direction === "to here";
    const source = isToHere ? files.share : `${files.here}/from`;
    const target = isToHere ? `${files.here}/to` : files.inbox;
    const both = isToHere ? ["camera:", target] : [source, "camera:"];
    await makeTreeAt(source, {
      ".deguignore": "# what is made anew\r\n*.o\n/build/\n!kept.o\n",
      ...{ "a.o": "1", "sub/b.o": "2", "kept.o": "3", "build/c": "4", "sub/build/d": "5" },
      ...{ "..a/x.tmp": "", "..a/b": "6", "A.TMP": "7", "notes": "8" },
    });
    await makeTreeAt(target, { "old.o": "9", "build/e": "10", "old": "11", "x.tmp": "12" });
    const exclude = ["--exclude", "*.tmp", "--exclude", "notes"];
    const { stderr } = await files.succeed("sync", "--delete", ...exclude, ...both);
    assertStringIncludes(stderr, "5 files copied");
    assertStringIncludes(stderr, "1 deleted");
    const { ".deguignore": lines, ...tree } = await treeOf(target);
    assertStringIncludes(lines!, "*.o");
    assertEquals(tree, {
      ...{
        "..a": null,
        "..a/b": "6",
        "A.TMP": "7",
        "build": null,
        "build/e": "10",
        "kept.o": "3",
        "old.o": "9",
      },
      ...{ "sub": null, "sub/build": null, "sub/build/d": "5", "x.tmp": "12" },
    });
    await Deno.remove(`${source}/.deguignore`);
    await Deno.mkdir(`${source}/.deguignore`);
    const { code, stderr: why } = await files.run("sync", "--delete", ...both);
    assertEquals(code, 1);
    assertStringIncludes(why, "can't be read: it has to be a file");
    assertEquals((await treeOf(target))["old.o"], "9");
  });
}

Deno.test("an entry with the same name as a skipped link is kept", async () => {
  await using files = await AgentFiles.start();
  const { here, inbox } = files;
  await makeTreeAt(here, { "top/a": "1" });
  await makeTreeAt(inbox, { "old": "o", "linked/c": "3" });
  await makeLinks({ [`${here}/top/linked`]: here });
  const { stderr } = await files.succeed("sync", "--delete", `${here}/top`, "camera:");
  assertStringIncludes(stderr, `${here}/top/linked: skipped: a symbolic link`);
  assertEquals(await treeOf(inbox), { "a": "1", "linked": null, "linked/c": "3" });
});

Deno.test("nothing is deleted for a source that is empty, or that could not be copied as a whole", async () => {
  await using files = await AgentFiles.start();
  const { here, share, inbox } = files;
  await makeTreeAt(here, { "to/a": "1", "empty": null });
  await makeTreeAt(inbox, { "b": "2" });
  for (const both of [["camera:", `${here}/to`], [`${here}/empty`, "camera:"]]) {
    const { code, stdout, stderr } = await files.run("sync", "--delete", ...both);
    assertEquals([code, stdout], [1, ""]);
    assertStringIncludes(stderr, "it is empty, so nothing is deleted: is its disk mounted?");
  }
  assertEquals([await treeOf(`${here}/to`), await treeOf(inbox)], [{ "a": "1" }, { "b": "2" }]);

  // A link is replaced by a file; a directory with a link in it stays.
  await makeTreeAt(share, { "c": "3", "moved": "1" });
  await makeLinks({ [`${here}/to/c`]: here });
  await Deno.mkdir(`${here}/to/moved`);
  await makeLinks({ [`${here}/to/moved/link`]: here });
  const { code, stderr } = await files.run("sync", "--delete", "camera:", `${here}/to`);
  assertEquals(code, 1);
  assertStringIncludes(stderr, "nothing more is deleted, as not everything could be copied");
  await Deno.remove(`${here}/to/moved`, { recursive: true });
  assertEquals(await treeOf(`${here}/to`), { "a": "1", "c": "3" });
  await files.succeed("sync", "--delete", "camera:", `${here}/to`);
  assertEquals(await treeOf(`${here}/to`), { "c": "3", "moved": "1" });
});

Deno.test("nothing is deleted where not everything could be listed", async () => {
  await using files = await AgentFiles.start();
  const { here, inbox } = files;
  await makeTreeAt(here, { "top/a": "1" });
  await makeTreeAt(inbox, { "old": "o" });
  if (!await makeNonUtf8Name(`${here}/top`)) return;
  const { code, stderr } = await files.run("sync", "--delete", `${here}/top`, "camera:");
  assertEquals(code, 1);
  assertStringIncludes(stderr, "its name can't be sent: it is not UTF-8");
  assertStringIncludes(stderr, "nothing is deleted");
  assertEquals(await treeOf(inbox), { "a": "1", "old": "o" });
});

Deno.test("a file in place of a directory, and the reverse", async () => {
  await using files = await AgentFiles.start();
  const { here, share } = files;
  await makeTreeAt(share, { "a/b": "1", "c": "2", "d": "3" });
  await makeTreeAt(here, { "a": "file", "c/deep/e": "directory" });
  const { code, stderr } = await files.run("sync", "camera:", here);
  assertEquals(code, 1);
  assertStringIncludes(
    stderr,
    "camera:a: a file has this name at the target; with --delete it gives way",
  );
  assertStringIncludes(
    stderr,
    "camera:c: a directory has this name at the target; with --delete it gives way",
  );
  assertEquals(await treeOf(here), {
    "a": "file",
    "c": null,
    "c/deep": null,
    "c/deep/e": "directory",
    "d": "3",
  });
  await files.succeed("sync", "--delete", "camera:", here);
  assertEquals(await treeOf(here), await treeOf(share));
  assertEquals((await files.run("sync", here, share)).code, 2);
  const file = await files.run("sync", "camera:c", here);
  assertStringIncludes(file.stderr, 'is a file: get it with "degu get"');
  const missing = await files.run("sync", "--delete", "camera:aa", here);
  assertStringIncludes(missing.stderr, 'did you mean "camera:a"?');
  assertEquals(await treeOf(here), await treeOf(share));
});
