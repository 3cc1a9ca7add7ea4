/** degu ls, get, put and rm. */
import { AgentFiles, makeTreeAt, objectsOf, treeOf } from "@degu/testing/agent_files.ts";
import { entries, makeEmptyFiles } from "@degu/testing/directories.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

// degu ls: what a peer shares.

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

// degu get: files from the share of a peer.

/** Names that file systems take, in many scripts and with all kinds of characters. */
const NAMES = [
  ...["日本語.txt", "Ünïcödé", "emoji 👩‍👩‍👧", "עברית", "العربية", "हिन्दी", "ไทย", "한국어"],
  ...["-rf", "a\nb", " ", "~", "*", "a:b", '"', "\u202egpj.exe", "\ufeff", "x".repeat(255)],
];

Deno.test("get -r keeps names, times and trees; a second run transfers nothing", async () => {
  await using files = await AgentFiles.start();
  const { here, share } = files;
  const photos = Object.fromEntries(NAMES.map((name, i) => [`photos/${name}`, `text ${i}`]));
  await makeTreeAt(share, { ...photos, "photos/empty/e": null, "photos/a/b/c": "deep", "b": "b" });
  const time = new Date(1_234_567_890_123);
  await Deno.utime(`${share}/photos/a/b/c`, time, time);
  const command = ["get", "-r", "camera:photos", "camera:/b", `${here}/new`];
  const { stdout, stderr } = await files.succeed(...command);
  assertEquals(await treeOf(`${here}/new`), await treeOf(share));
  assertEquals((await Deno.stat(`${here}/new/photos/a/b/c`)).mtime, time);
  assertStringIncludes(stdout, `${here}/new/photos/a/b/c\n`);
  assertStringIncludes(stdout, `/a\\u{a}b\n`);
  assertStringIncludes(stdout, `/\\u{202e}gpj.exe\n`);
  assertStringIncludes(stderr, `${NAMES.length + 2} files copied`);
  const again = await files.succeed(...command);
  assertEquals(again.stdout, "");
  assertStringIncludes(again.stderr, `0 files copied, 0 B; ${NAMES.length + 2} up to date`);
  assertEquals(await treeOf(`${here}/new`), await treeOf(share));
  await files.succeed("get", "--quiet", "-r", "camera:", `${here}/all`);
  assertEquals(await treeOf(`${here}/all`), await treeOf(share));
});

Deno.test("the target is an existing directory, a new one, or the new name", async () => {
  await using files = await AgentFiles.start();
  const { here, share } = files;
  await makeTreeAt(share, { "a": "1", "sub/a": "2", "b": "3" });
  const [first] = objectsOf(await files.succeed("get", "--json", "camera:a", here));
  const sha256 = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
  const result = { bytes: 1, total: 1, resumedFrom: 0, sha256 };
  assertEquals(first, { from: "camera:a", to: `${here}/a`, ...result });
  assertEquals(objectsOf(await files.succeed("get", "--json", "camera:a", here)), [
    { from: "camera:a", to: `${here}/a`, unchanged: true },
  ]);
  const quiet = await files.succeed("get", "--quiet", "camera:a", `${here}/renamed`);
  assertEquals([quiet.stdout, quiet.stderr], ["", ""]);
  await files.succeed("get", "camera:sub/a", `${here}/made/`);
  // Another file of the name is replaced.
  await files.succeed("get", "camera:sub/a", "camera:b", here);
  assertEquals(await treeOf(here), {
    "a": "2",
    "b": "3",
    "made": null,
    "made/a": "2",
    "renamed": "1",
  });
});

Deno.test("files that can't be downloaded are named, and the rest is transferred", async () => {
  await using files = await AgentFiles.start();
  const { here, share } = files;
  await makeTreeAt(share, { "photos/holiday.jpg": "1", "a": "2", "sub/a": "3" });
  const fail = async (...args: string[]) => {
    const { code, stderr } = await files.run("get", ...args);
    assertEquals(code, 1, stderr);
    return stderr;
  };
  assertStringIncludes(
    await fail("camera:photos/holliday.jpg", here),
    '"camera:photos/holliday.jpg" is not there: did you mean "camera:photos/holiday.jpg"?',
  );
  assertStringIncludes(
    await fail("camera:photos/zzz/1", here),
    '"camera:photos/zzz/1" is not there: "degu ls camera:photos/" lists what is there',
  );
  await makeTreeAt(files.inbox, { "sub/report.pdf": "" });
  assertStringIncludes(
    await fail("camera:sub/report.pdf", here),
    '"camera:sub/report.pdf" is not in the share: it is in the inbox, as "degu ls --inbox camera:sub/" shows',
  );
  assertStringIncludes(await fail("camera:photos", here), "is a directory: get it with -r");
  assertStringIncludes(await fail("camera:a/", here), "leave out the slash");
  assertStringIncludes(await fail("camera:a", `${here}/no/dir`), 'make it first, with "mkdir -p"');
  assertEquals(await entries(here), []);
  const several = await fail("camera:none", "camera:a", "camera:sub/a", here);
  assertStringIncludes(several, '"camera:none" is not there');
  assertStringIncludes(several, "camera:a has the same name");
  assertStringIncludes(several, "2 errors");
  assertEquals(await treeOf(here), { "a": "2" });
  await Deno.mkdir(`${here}/dir/a`, { recursive: true });
  assertStringIncludes(await fail("camera:a", `${here}/dir`), "is a directory");
  const json = await files.run("get", "--json", "camera:a", `${here}/dir`);
  assertStringIncludes(String(objectsOf(json)[0]?.["error"]), "is a directory");
  const { code, stderr } = await files.run("get", "here");
  assertEquals(code, 2);
  assertStringIncludes(stderr, "what to get?");
});

Deno.test("no name of a peer escapes the target through a link", async () => {
  await using files = await AgentFiles.start();
  const { here, share } = files;
  await makeTreeAt(share, { "top/link/a": "new", "top/b": "new" });
  await makeTreeAt(here, { "outside/a": "old", "top": null });
  await makeLinks({
    [`${here}/top/link`]: `${here}/outside`,
    [`${here}/top/b`]: `${here}/outside/a`,
  });
  const { code, stderr } = await files.run("get", "-r", "camera:top", here);
  assertEquals(code, 1);
  for (const name of ["link", "b"]) {
    const problem = "a symbolic link, which is not followed, has this name at the target";
    assertStringIncludes(stderr, `camera:top/${name}: ${problem}`);
  }
  assertEquals(await Deno.readTextFile(`${here}/outside/a`), "old");
  assertEquals(await entries(`${here}/outside`), ["a"]);
  assertEquals((await Deno.lstat(`${here}/top/b`)).isSymlink, true);
});

Deno.test("get --inbox gets back what was put", async () => {
  await using files = await AgentFiles.start();
  const { here, inbox } = files;
  await makeTreeAt(inbox, { "a": "1", "dir/b": "2" });
  const refused = await files.run("get", "camera:a", here);
  assertStringIncludes(refused.stderr, "add --inbox to read it there");
  await files.succeed("get", "--inbox", "-r", "camera:a", "camera:dir", `${here}/back`);
  assertEquals(await treeOf(`${here}/back`), await treeOf(inbox));
});

// degu put: files to the inbox of a peer.

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

// degu rm: removes from the inbox of a peer.

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
