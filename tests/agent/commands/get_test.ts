/** degu get: files from the share of a peer. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { AgentFiles, makeTreeAt, objectsOf, treeOf } from "@degu/testing/agent_files.ts";
import { entries } from "@degu/testing/directories.ts";
import { makeLinks } from "@degu/testing/special_files.ts";

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
