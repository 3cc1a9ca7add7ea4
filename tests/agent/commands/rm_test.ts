/** degu rm: removes from the inbox of a peer. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { AgentFiles, makeTreeAt, objectsOf, treeOf } from "@degu/testing/agent_files.ts";
import { makeLinks } from "@degu/testing/special_files.ts";

Deno.test("rm removes a file or an empty directory, and nothing of the share", async () => {
  await using files = await AgentFiles.start();
  await makeTreeAt(files.inbox, { "a": "1", "日本 語/b": "2", "empty": null });
  await makeTreeAt(files.share, { "a": "1" });
  assertEquals((await files.succeed("rm", "camera:a")).stdout, "camera:a\n");
  assertEquals(objectsOf(await files.succeed("rm", "--json", "camera:empty/")), [{
    removed: "camera:empty/",
  }]);
  const full = await files.run("rm", "camera:日本 語");
  assertEquals(full.code, 1);
  assertStringIncludes(full.stderr, "camera:日本 語: the directory is not empty: -r removes it");
  const both = await files.succeed("rm", "camera:日本 語/b", "camera:日本 語");
  assertEquals(both.stdout, "camera:日本 語/b\ncamera:日本 語\n");
  assertEquals(await treeOf(files.inbox), {});
  assertEquals(await treeOf(files.share), { "a": "1" });
});

Deno.test("rm reports what does not exist, and what can't be removed", async () => {
  await using files = await AgentFiles.start();
  await makeTreeAt(files.inbox, { "report.pdf": "1" });
  const { code, stderr } = await files.run("rm", "camera:report.pd");
  assertEquals(code, 1);
  assertStringIncludes(stderr, 'did you mean "camera:report.pdf"?');
  await makeTreeAt(files.share, { "shared": "1" });
  assertStringIncludes(
    (await files.run("rm", "camera:shared")).stderr,
    '"camera:shared" is not in the inbox: it is in the share, as "degu ls camera:" shows',
  );
  const some = await files.run("rm", "--json", "camera:none", "camera:report.pdf");
  assertEquals(some.code, 1);
  const [none, removed] = objectsOf(some);
  assertEquals(none?.["path"], "camera:none");
  assertStringIncludes(String(none?.["error"]), "is not there");
  assertEquals(removed, { removed: "camera:report.pdf" });
  await makeTreeAt(files.inbox, { "report.pdf": "1" });
  const root = await files.run("rm", "camera:report.pdf", "camera:");
  assertEquals(root.code, 2);
  assertStringIncludes(
    root.stderr,
    'the inbox itself stays: name what is in it, as "degu ls --inbox camera:" lists it',
  );
  await files.forgetViewer();
  assertEquals((await files.run("rm", "camera:report.pdf")).code, 3);
  assertEquals(await treeOf(files.inbox), { "report.pdf": "1" });
});

Deno.test("rm -r removes a directory with everything in it, the innermost first", async () => {
  await using files = await AgentFiles.start();
  const { inbox } = files;
  await makeTreeAt(inbox, { "top/a": "1", "top/sub/b": "2", "top/sub/c/d": null, "file": "3" });
  await makeTreeAt(inbox, { "top/sub/.left.degu-part": "part" });
  const { stdout } = await files.succeed("rm", "-r", "camera:top", "camera:file");
  const removed = stdout.trimEnd().split("\n");
  assertEquals(removed.slice(0, 2).toSorted(), ["camera:top/a", "camera:top/sub/b"]);
  assertEquals(removed.slice(2), [
    ...["camera:top/sub/c/d/", "camera:top/sub/c/", "camera:top/sub/", "camera:top/"],
    "camera:file",
  ]);
  assertEquals(await treeOf(inbox), {});
  const none = await files.run("rm", "-r", "camera:none");
  assertEquals(none.code, 1);
  assertStringIncludes(none.stderr, "is not there");
});

Deno.test("rm -r names what can't be removed, which stays with its directories", async () => {
  await using files = await AgentFiles.start();
  const { inbox } = files;
  await makeTreeAt(inbox, { "top/a": "1", "top/sub/b": "2", "top/other/c": "3" });
  await makeLinks({ [`${inbox}/top/sub/link`]: "/nowhere" });
  const { code, stderr } = await files.run("rm", "--json", "-r", "camera:top");
  assertEquals(code, 1);
  assertStringIncludes(stderr, "camera:top/sub/link: it stays, as it is a symbolic link");
  assertStringIncludes(stderr, "1 error: camera:top/ stays, with what is named above");
  await Deno.remove(`${inbox}/top/sub/link`);
  assertEquals(await treeOf(inbox), { "top": null, "top/sub": null });
});
