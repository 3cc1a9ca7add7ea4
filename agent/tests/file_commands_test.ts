/** degu ls, get, put and rm, and the paths that commands are given. */
import { routes } from "@degu/degu";
import { ChunkedBody } from "@degu/degu/base";
import { Device } from "@degu/degu/device";
import { FilesApp } from "@degu/degu/files";
import { Failure } from "@degu/internal/agent/failure.ts";
import { PeerConnections } from "@degu/internal/agent/peer/peer_connections.ts";
import { RemoteFiles } from "@degu/internal/agent/peer/remote_files.ts";
import { AgentFiles, parseObjects } from "./agent_files.ts";
import { fill, listNames, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { serve } from "@degu/testing/serving.ts";
import { HAS_LINKS, makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";

const EXISTS = "another file of this name exists on this device: --force replaces it";

// degu ls: the shared files of a peer.

Deno.test("ls lists by name, optionally with sizes and times; names are printed escaped", async () => {
  await using files = await AgentFiles.start();
  await fill(files.share, { "b": "12345", "a\nb": "", "日本": "1", "dir/x": "1" });
  await fill(files.inbox, { "in": "" });
  assertEquals((await files.runToSuccess("ls", "camera:")).stdout, "a\\u{a}b\nb\ndir/\n日本\n");
  assertEquals((await files.runToSuccess("ls", "camera:dir")).stdout, "x\n");
  assertEquals((await files.runToSuccess("ls", "camera:b")).stdout, "b\n");
  await files.runToFailure(1, '"camera:b" is a file', "ls", "camera:b/");
  assertEquals((await files.runToSuccess("ls", "--inbox", "camera:")).stdout, "in\n");
  const { stdout } = await files.runToSuccess("ls", "-l", "camera:");
  assertMatch(stdout, /^5 B {2}\d{4}-\d\d-\d\d \d\d:\d\d {2}b$/m);
  const modified = new Date(1_234_567_890_123);
  await Deno.utime(`${files.share}/b`, modified, modified);
  const [, object] = parseObjects(await files.runToSuccess("ls", "--json", "camera:"));
  assertEquals(object, { name: "b", kind: "file", size: 5, modified: modified.toISOString() });
});

Deno.test("put, rm and sync use /inbox/ of a program's server, get and ls use /share/", async () => {
  await using files = await AgentFiles.start();
  const { share, inbox, local } = files;
  await files.kill();
  await fill(share, { "a": "1" });
  await fill(local, { "b": "2", "dir/c": "3" });
  const options = { list: true };
  const app = routes({
    "/inbox/": new FilesApp(inbox, { ...options, write: true }),
    "/share/": new FilesApp(share, options),
  });
  await using device = await Device.open(files.homes.joinPath("camera"));
  await using _server = await device.serve(files.address, app);
  assertEquals((await files.runToSuccess("ls", "camera:")).stdout, "a\n");
  await files.runToSuccess("get", "camera:a", local);
  await files.runToSuccess("put", `${local}/a`, `${local}/b`, "camera:");
  await files.runToSuccess("rm", "camera:b");
  await files.runToSuccess("sync", `${local}/dir`, "camera:to");
  assertEquals(await readTree(inbox), { "a": "1", "to": null, "to/c": "3" });
});

Deno.test("put and sync create the missing directories of a path, get only the last one", async () => {
  await using files = await AgentFiles.start();
  const { share, inbox, local } = files;
  await fill(share, { "dir/a": "1" });
  await fill(local, { "b": "2" });
  await files.runToSuccess("put", `${local}/b`, "camera:x/y/");
  await files.runToSuccess("sync", `${local}`, "camera:s/t");
  await files.runToSuccess("sync", "camera:dir", `${local}/m/n`);
  await files.runToSuccess("get", "camera:dir/a", `${local}/o/`);
  const problem = `there is no directory "${local}/p" on this device: mkdir -p ${local}/p\n`;
  for (const args of [["camera:dir/a"], ["-r", "camera:dir"]]) {
    await files.runToFailure(1, problem, "get", ...args, `${local}/p/q/`);
  }
  const sent = { "x": null, "x/y": null, "x/y/b": "2", "s": null, "s/t": null, "s/t/b": "2" };
  assertEquals(await readTree(inbox), sent);
  assertEquals(await listNames(local), ["b", "m", "o"]);
});

Deno.test("a name is also found in the other Unicode normal form", async () => {
  await using files = await AgentFiles.start();
  await fill(files.share, { ["Ö".normalize("NFD")]: "1" });
  await files.runToSuccess("get", `camera:${"Ö".normalize("NFC")}`, files.local);
  const { stdout } = await files.runToSuccess("ls", `camera:${"Ö".normalize("NFC")}`);
  assertEquals(stdout, `${"Ö".normalize("NFD")}\n`);
});

Deno.test("a missing file is reported at once", async () => {
  await using files = await AgentFiles.start();
  await fill(files.share, { "photos/1": "" });
  await files.runToFailure(1, '"camera:phots" does not exist\n', "ls", "camera:phots");
  await files.serve("--inbox", files.inboxes);
  const advice = "camera shares no directory; --inbox reads its inbox";
  await files.runToFailure(1, advice, "sync", "camera:", `${files.local}/new`);
  await files.kill();
  const { code, stderr } = await files.run("ls", "camera:");
  assertEquals([code, stderr.includes("trying again")], [1, false], stderr);
});

// degu get: files from the share of a peer.

/** Names that file systems allow, in many scripts and with all kinds of characters. */
const NAMES = [
  ...["日本語.txt", "Ünïcödé", "emoji 👩‍👩‍👧", "עברית", "العربية", "हिन्दी", "ไทย", "한국어"],
  ...["-rf", "a\nb", " ", "~", "*", "a:b", '"', "\u202egpj.exe", "\ufeff", "x".repeat(255)],
];

Deno.test("get -r keeps names, times and trees; a second run transfers no file", async () => {
  await using files = await AgentFiles.start();
  const { local, share } = files;
  const photos = Object.fromEntries(NAMES.map((name, i) => [`photos/${name}`, `text ${i}`]));
  await fill(share, { ...photos, "photos/empty/e": null, "photos/a/b/c": "deep", "b": "b" });
  const time = new Date(1_234_567_890_123);
  await Deno.utime(`${share}/photos/a/b/c`, time, time);
  const command = ["get", "-r", "camera:photos", "camera:b", `${local}/new`];
  const { stdout, stderr } = await files.runToSuccess(...command);
  assertEquals(await readTree(`${local}/new`), await readTree(share));
  assertEquals((await Deno.stat(`${local}/new/photos/a/b/c`)).mtime, time);
  // Named files are printed; files in a directory are printed only with --verbose.
  assertEquals(stdout, `${local}/new/b\n`);
  assertStringIncludes(stderr, `${NAMES.length + 2} files copied`);
  const verbose = ["get", "--verbose", "-r", "camera:photos", `${local}/verbose`];
  const printedPaths = (await files.runToSuccess(...verbose)).stdout;
  assertEquals(printedPaths.split("\n").length - 1, NAMES.length + 1);
  assertStringIncludes(printedPaths, `${local}/verbose/photos/a/b/c\n`);
  assertStringIncludes(printedPaths, `/a\\u{a}b\n`);
  assertStringIncludes(printedPaths, `/\\u{202e}gpj.exe\n`);
  const secondRun = await files.runToSuccess(...command);
  assertEquals(secondRun.stdout, "");
  assertStringIncludes(secondRun.stderr, `${NAMES.length + 2} up to date`);
  assertEquals(await readTree(`${local}/new`), await readTree(share));
});

Deno.test("get writes to the file that the link TARGET leads to; with --force, a link in the directory TARGET is replaced itself", async () => {
  await using files = await AgentFiles.start();
  const { share, local, homes } = files;
  await fill(share, { "f": "new" });
  await fill(local, { "other/f": "old", "dst": null });
  const links = {
    "link": "other/f",
    "directory": "dst",
    "dangling": "nowhere",
    "loop": "loop",
    "dst/f": "../other/f",
    "key": homes.joinPath("viewer", "key"),
  };
  await makeLinks(
    Object.fromEntries(Object.entries(links).map(([path, target]) => [`${local}/${path}`, target])),
  );
  await Deno.writeTextFile(links.key, "secret");
  const problems = {
    "dangling": "is a symbolic link to a file that does not exist",
    "loop": "too many levels of symbolic links",
    "key": "is the directory of the device, or in it",
  };
  for (const [name, problem] of Object.entries(problems)) {
    await files.runToFailure(1, problem, "get", "camera:f", `${local}/${name}`);
  }
  await files.runToFailure(1, EXISTS, "get", "camera:f", `${local}/directory`);
  assertEquals(await Deno.readLink(`${local}/dst/f`), "../other/f");
  await files.runToSuccess("get", "--force", "camera:f", `${local}/directory`);
  assertEquals(await Deno.readTextFile(`${local}/other/f`), "old");
  assertEquals(await readTree(`${local}/dst`), { f: "new" });
  await files.runToFailure(
    1,
    `error: ${local}/link: ${EXISTS}`,
    "get",
    "camera:f",
    `${local}/link`,
  );
  await files.runToSuccess("get", "--force", "camera:f", `${local}/link`);
  assertEquals(await Deno.readTextFile(`${local}/other/f`), "new");
  assertEquals(await Deno.readLink(`${local}/link`), "other/f");
});

Deno.test("get -r does not write through a link below the target; the target itself can be a link", async () => {
  await using files = await AgentFiles.start();
  const { share, local } = files;
  await fill(share, { "photos/a": "1", "other/b": "2" });
  await fill(local, { "dst/kept": "3", "elsewhere": null });
  const links = {
    "dst/photos": `${local}/elsewhere`,
    "dst/other": "nowhere",
    "linked": "elsewhere",
  };
  await makeLinks(
    Object.fromEntries(Object.entries(links).map(([path, target]) => [`${local}/${path}`, target])),
  );
  const treeBefore = await readTree(local);
  for (const name of ["photos", "other"]) {
    const problem =
      `"${local}/dst/${name}" is a symbolic link, which is not followed below the target`;
    await files.runToFailure(1, problem, "get", "-r", `camera:${name}`, `${local}/dst`);
  }
  assertEquals(await readTree(local), treeBefore);
  await files.runToSuccess("get", "-r", "camera:photos", `${local}/linked`);
  await files.runToSuccess("get", "-r", "camera:", `${local}/dst/photos`);
  assertEquals(await readTree(`${local}/elsewhere`), {
    ...{ "other": null, "other/b": "2", "photos": null, "photos/a": "1" },
  });
});

Deno.test("the target is an existing directory, a new directory, or the new name", async () => {
  await using files = await AgentFiles.start();
  const { local, share } = files;
  await fill(share, { "a": "1", "sub/a": "2", "b": "3" });
  const [first] = parseObjects(await files.runToSuccess("get", "--json", "camera:a", local));
  const sha256 = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
  const result = { bytes: 1, total: 1, resumedFrom: 0, reused: 0, sha256 };
  assertEquals(first, { from: "camera:a", to: `${local}/a`, ...result });
  assertEquals(parseObjects(await files.runToSuccess("get", "--json", "camera:a", local)), [
    { from: "camera:a", to: `${local}/a`, unchanged: true },
  ]);
  const quiet = await files.runToSuccess("get", "--quiet", "camera:a", `${local}/renamed`);
  assertEquals([quiet.stdout, quiet.stderr], ["", ""]);
  await files.runToSuccess("get", "camera:sub/a", `${local}/made/`);
  await files.runToSuccess("get", "camera:a", "camera:b", `${local}/new`);
  // A directory is always copied below the target.
  for (const target of ["tree", "trees/", "made"]) {
    await files.runToSuccess("get", "-r", "camera:sub", `${local}/${target}`);
  }
  await files.runToSuccess("get", "--force", "camera:sub/a", "camera:b", local);
  assertEquals(await readTree(local), {
    ...{ "a": "2", "b": "3", "made": null, "made/a": "2", "made/sub": null, "made/sub/a": "2" },
    ...{ "new": null, "new/a": "1", "new/b": "3", "renamed": "1" },
    ...{ "tree": null, "tree/sub": null, "tree/sub/a": "2" },
    ...{ "trees": null, "trees/sub": null, "trees/sub/a": "2" },
  });
  const file = `${local}/renamed`;
  const problem = " is not a directory";
  await files.runToFailure(1, problem, "get", "-r", "camera:sub", file);
  await files.runToFailure(1, problem, "get", "camera:a", "camera:b", file);
  await files.runToFailure(1, problem, "get", "camera:a", `${file}/`);
});

Deno.test("files that can't be downloaded are reported, and all other files are copied", async () => {
  await using files = await AgentFiles.start();
  const { local, share } = files;
  await fill(share, { "photos/holiday.jpg": "1", "a": "2", "sub/a": "3" });
  await fill(files.inbox, { "sub/report.pdf": "" });
  const { inbox } = files;
  await fill(share, { "sub/deep/a": "" });
  await makeLinks({
    [`${share}/link`]: "/",
    [`${share}/sub/deep/link`]: "/",
    [`${inbox}/link`]: local,
  });
  const linkMessage = '"camera:link" is a symbolic link, which is not followed';
  // What is behind a link may exist.
  const throughLink = ["camera:link/x/y"];
  for (const args of [["rm"], ["rm", "-r"], ["ls", "--inbox"], ["put", `${share}/a`]]) {
    await files.runToFailure(1, linkMessage, ...args, ...throughLink);
  }
  for (const args of [["ls"], ["sync"]]) {
    const operands = args[0] === "sync" ? [...throughLink, local] : throughLink;
    await files.runToFailure(1, linkMessage, ...args, ...operands);
  }
  await files.runToFailure(1, linkMessage, "sync", local, ...throughLink);
  const missing = (path: string) => `"camera:${path}" does not exist\n`;
  const otherAreaMessage = '"camera:sub/report.pdf" is not in the share: it is in the inbox;';
  await fill(inbox, { ".degu-kept": null });
  const keptMessage = '"camera:.degu-kept" is not in the share: it is in the inbox;';
  await files.runToFailure(1, keptMessage, "ls", "camera:.degu-kept");
  const rows: [path: string, expectedMessage: string][] = [
    ["photos/holliday.jpg", missing("photos/holliday.jpg")],
    ["sub/report.pdf", otherAreaMessage],
    ["link", linkMessage],
    ["link/etc/passwd", linkMessage],
    ["sub/deep/link/a", '"camera:sub/deep/link" is a symbolic link, which is not followed'],
    ["photos", '"camera:photos/" is a directory: get it with -r'],
  ];
  for (const [path, expectedMessage] of rows) {
    await files.runToFailure(1, expectedMessage, "get", `camera:${path}`, local);
  }
  assertEquals(await listNames(local), []);
  const getArgs = ["get", "camera:none", "camera:a", "camera:sub/a", local];
  const stderr = await files.runToFailure(1, '"camera:none" does not exist', ...getArgs);
  assertStringIncludes(stderr, 'camera:sub/a: "camera:a" has the same name: get the two into');
  assertStringIncludes(stderr, "2 errors");
  assertEquals(await readTree(local), { "a": "2" });
  await Deno.mkdir(`${local}/dir/a`, { recursive: true });
  const json = await files.run("get", "--json", "camera:a", `${local}/dir`);
  assertEquals(json.code, 1);
  assertStringIncludes(JSON.stringify(parseObjects(json)[0]?.["error"]), "is a directory");
  await files.runToFailure(2, "what to get?", "get", "here");
});

Deno.test("a link or special file in the inbox is named by each command that would change it, or a path through it", async () => {
  await using files = await AgentFiles.start();
  const { local, inbox } = files;
  await fill(local, { "f": "1", "s/x": "2", "d/g": "3" });
  await fill(inbox, { "file": "x", "dir/y": "z" });
  await makeLinks({
    [`${inbox}/to-file`]: "file",
    [`${inbox}/to-dir`]: "dir",
    [`${inbox}/dangling`]: "none",
    // The names of local files and directories.
    [`${inbox}/f`]: "file",
    [`${inbox}/s`]: "dir",
    [`${inbox}/d`]: "none",
  });
  const treeBefore = await readTree(inbox);
  const hasFifo = await makeFifo(`${inbox}/fifo`);
  const rows: [name: string, ...args: string[]][] = [
    ["f", "put", `${local}/f`, "camera:"],
    ["s", "put", "-r", `${local}/s`, "camera:"],
    ["d", "put", "-r", `${local}/d`, "camera:"],
  ];
  for (const name of ["to-file", "to-dir", "dangling", ...hasFifo ? ["fifo"] : []]) {
    for (const path of name === "fifo" ? [name] : [name, `${name}/`, `${name}/n/n`]) {
      rows.push(
        [name, "put", `${local}/f`, `camera:${path}`],
        [name, "put", "-r", `${local}/s`, `camera:${path}`],
        [name, "sync", `${local}/s`, `camera:${path}`],
        [name, "rm", `camera:${path}`],
      );
    }
    rows.push([name, "put", "-", `camera:${name}`], [name, "rm", "-r", `camera:${name}`]);
  }
  for (const [name, command, ...args] of rows) {
    const problem = name === "fifo"
      ? "neither a file nor a directory"
      : "a symbolic link, which is not followed";
    const message = `"camera:${name}" is ${problem}`;
    for (const force of command === "put" ? [[], ["--force"]] : [[]]) {
      const end = await files.run(command!, "--json", ...force, ...args);
      assertEquals([end.code, end.stderr], [1, `degu: error: ${message}\n`], args.join(" "));
      const error = parseObjects(end)[0]!["error"] as Record<string, string>;
      assertEquals([error["code"], error["message"]], ["ALREADY_EXISTS", message]);
    }
  }
  if (hasFifo) await Deno.remove(`${inbox}/fifo`);
  assertEquals(await readTree(inbox), treeBefore);
});

Deno.test("a link that gets the name of a file after the list is the reason of the failure", async () => {
  await using files = await AgentFiles.start();
  const { local, inbox } = files;
  await files.kill();
  await fill(local, { "f": "1" });
  const inboxApp = new FilesApp(inbox, { list: true, write: true });
  let isLinked = false;
  const app = routes({
    "/inbox/": async (request) => {
      if (request.method !== "GET" && !isLinked) {
        isLinked = true;
        await makeLinks({ [`${inbox}/f`]: "none" });
      }
      return await inboxApp.handle(request);
    },
  });
  await using device = await Device.open(files.homes.joinPath("camera"));
  await using _server = await device.serve(files.address, app);
  const end = await files.run("put", "--json", "--force", `${local}/f`, "camera:");
  const message = "its path on camera has a symbolic link, which is not followed";
  assertEquals([end.code, end.stderr], [1, `degu: error: ${local}/f: ${message}\n`]);
  assertEquals(parseObjects(end)[0]!["error"], { code: "ALREADY_EXISTS", message });
});

Deno.test("if two sources have the same target, the second source fails, and no file is replaced", async () => {
  await using files = await AgentFiles.start();
  const { local, share, inbox } = files;
  await fill(share, { "photos/f": "first", "f": "second" });
  for (const sources of [["photos/f", ""], ["", "photos/f"]]) {
    const [first, second] = sources;
    const target = `${local}/to-${sources.indexOf("")}`;
    await Deno.mkdir(target);
    const getArgs = ["get", "-r", ...sources.map((source) => `camera:${source}`), target];
    const expectedMessage =
      `camera:${second}: "camera:${first}" has an overlapping target: get the`;
    await files.runToFailure(1, expectedMessage, ...getArgs);
    assertEquals((await readTree(target))["f"], first === "" ? "second" : "first");
  }
  await fill(local, { "photos/f": "first", "one/photos/f": "second" });
  const sources = [`${local}/photos`, `${local}/one/photos`];
  await files.runToFailure(1, "has the same name", "put", "-r", ...sources, "camera:");
  assertEquals((await readTree(inbox))["photos/f"], "first");
});

Deno.test("if a peer has no share, ls and get read its inbox and report it; rm and sync don't change", async () => {
  await using files = await AgentFiles.start();
  const { local, inbox } = files;
  await fill(local, { "a": "1", "top/b": "2" });
  await files.serve("--inbox", files.inboxes);
  await files.runToSuccess("put", "-r", `${local}/a`, `${local}/top`, "camera:dir/");
  const note = "camera shares no directory: this is its inbox\n";
  const listings = { "": "dir/\n", "dir": "a\ntop/\n", "dir/a": "a\n" };
  for (const [path, expected] of Object.entries(listings)) {
    const { stdout, stderr } = await files.runToSuccess("ls", `camera:${path}`);
    assertEquals([stdout, stderr], [expected, note]);
  }
  const getArgs = ["get", "-r", "camera:dir/a", "camera:dir/top", `${local}/got/`];
  const getEnd = await files.runToSuccess(...getArgs);
  assertEquals(await readTree(`${local}/got`), { "a": "1", "top": null, "top/b": "2" });
  assertEquals(getEnd.stderr.split(note).length, 2, getEnd.stderr);
  const quiet = await files.runToSuccess("get", "--quiet", "camera:dir/a", `${local}/quiet`);
  assertEquals(quiet.stderr, "");
  assertEquals((await files.runToSuccess("ls", "--inbox", "camera:dir")).stderr, "");
  const missingMessage = 'camera:none" does not exist\n';
  await files.runToFailure(1, missingMessage, "get", "camera:none");
  // A server that was started without its share must not make a backup disappear.
  const syncArgs = ["sync", "--delete", "camera:dir", `${local}/got`];
  await files.runToFailure(1, '"camera:dir" is not in the share: it is in the inbox', ...syncArgs);
  await files.runToSuccess("rm", "camera:dir/a");
  await files.serve("--share", inbox);
  assertEquals((await files.runToSuccess("ls", "camera:dir")).stderr, "");
});

Deno.test("one directory as share and inbox: uploaded files are listed, downloaded and removed without an option", async () => {
  await using files = await AgentFiles.start();
  const { local, homes } = files;
  await fill(local, { "a": "1" });
  const directory = homes.joinPath("both");
  await files.serve("--share", directory, "--inbox-for-all", directory);
  const part = ".a.degu-part";
  await fill(directory, { [part]: "", ".degu-files/x": "" });
  await files.runToSuccess("put", `${local}/a`, "camera:dir/");
  const listed = await files.runToSuccess("ls", "camera:dir");
  assertEquals([listed.stdout, listed.stderr], ["a\n", ""]);
  await files.runToSuccess("get", "camera:dir/a", `${local}/b`);
  assertEquals(await Deno.readTextFile(`${local}/b`), "1");
  await files.runToSuccess("sync", local, "camera:dir");
  await files.runToSuccess("rm", "camera:dir/a");
  assertEquals((await files.runToSuccess("ls", "camera:dir")).stdout, "b\n");
  assertEquals((await files.runToSuccess("ls", "camera:")).stdout, "dir/\n");
  await files.runToFailure(1, "does not exist", "get", `camera:${part}`, local);
});

// degu put: files to the inbox of a peer.

Deno.test("put -r prints that a directory goes into the directory of its own name", async () => {
  await using files = await AgentFiles.start();
  const { local, inbox } = files;
  await fill(local, { "photos/1": "1" });
  const args = (target: string) => ["put", "-r", `${local}/photos`, `camera:${target}`];
  const first = await files.runToSuccess(...args(""));
  assertEquals(first.stderr.includes("photos/photos"), false, first.stderr);
  const { stderr } = await files.runToSuccess(...args("photos"));
  // Nothing was read yet.
  assertStringIncludes(stderr, `copying ${local}/photos to camera:photos/photos/\n`);
  assertEquals(await readTree(inbox), {
    ...{ "photos": null, "photos/1": "1", "photos/photos": null, "photos/photos/1": "1" },
  });
});

for (const verb of ["get", "put"] as const) {
  Deno.test(`${verb} keeps a different file without --force`, async () => {
    await using files = await AgentFiles.start();
    const { local } = files;
    const isGet = verb === "get";
    const [sourceDir, targetDir] = isGet ? [files.share, local] : [local, files.inbox];
    const large = "0123456789".repeat(10_000);
    const kept = {
      ...{ other: "old!", longer: "new, and more", log: "ne", empty: "" },
      "large.log": large.slice(0, 70_000),
    };
    const existing = { ...kept, touched: "new", directory: null };
    const source = {
      ...{ other: "new", longer: "new", log: "new", empty: "new", touched: "new" },
      ...{ missing: "new", "large.log": large, directory: "new" },
    };
    const location = isGet ? "on this device" : "on camera";
    const problem = `another file of this name exists ${location}: --force replaces it`;
    for (const isTree of [false, true]) {
      await fill(sourceDir, { d: null });
      await fill(`${sourceDir}/d`, source);
      await fill(`${targetDir}/d`, existing);
      for (const [dir, time] of [[sourceDir, 2_000_000], [targetDir, 1_000_000]] as const) {
        for (const { name } of Deno.readDirSync(`${dir}/d`)) {
          await Deno.utime(`${dir}/d/${name}`, time, time);
        }
      }
      const operands = isTree ? [isGet ? "camera:d" : `${local}/d`, isGet ? local : "camera:"] : [
        ...Object.keys(source).map((name) => isGet ? `camera:d/${name}` : `${local}/d/${name}`),
        isGet ? `${local}/d` : "camera:d",
      ];
      const args = [verb, ...(isTree ? ["-r"] : []), "--json", ...operands];
      const end = await files.run(...args);
      assertEquals(end.code, 1);
      const failed = parseObjects(end).filter((object) => object["error"] !== undefined);
      const nameOf = ({ from }: Record<string, unknown>) => String(from).split("/").at(-1)!;
      assertEquals(failed.map(nameOf).toSorted(), Object.keys({ ...kept, directory: null }).sort());
      for (const object of failed) {
        const { code, message } = object["error"] as { code: string; message: string };
        assertEquals(code, "ALREADY_EXISTS");
        if (nameOf(object) !== "directory") assertEquals(message, problem);
      }
      const summary = end.stderr.match(/\d+ files? copied.*/)?.[0] ?? "";
      assertMatch(summary, /^1 file copied(?: into \S+)?, .*; 1 up to date$/);
      assertEquals(await readTree(`${targetDir}/d`), { ...source, ...kept, directory: null });
      await Deno.remove(`${targetDir}/d/directory`);
      await files.runToSuccess(...args, "--force");
      assertEquals(await readTree(`${targetDir}/d`), source);
      await Deno.remove(`${targetDir}/d`, { recursive: true });
      await Deno.remove(`${sourceDir}/d`, { recursive: true });
    }
  });
}

Deno.test("files that can't be uploaded are reported with the reason, and all other files are copied", async () => {
  await using files = await AgentFiles.start();
  const { local, inbox } = files;
  await fill(local, { "a": "1", "dir/b": "2", "other/a": "3" });
  await fill(inbox, { "file": "" });
  const paths = [`${local}/none`, `${local}/a`, `${local}/other/a`];
  const stderr = await files.runToFailure(1, "2 errors", "put", ...paths, "camera:new");
  const sameName = `${local}/other/a: "${local}/a" has the same name: put the two into`;
  assertStringIncludes(stderr, sameName);
  assertEquals(await readTree(inbox), { "file": "", "new": null, "new/a": "1" });
  const a = `${local}/a`;
  const fileMessage = '"camera:file" is a file, not a directory';
  await files.runToFailure(1, fileMessage, "put", a, "camera:file/");
  await files.runToFailure(
    1,
    "is a file, not a directory",
    "put",
    "-r",
    `${local}/dir`,
    "camera:file",
  );
  await fill(inbox, { "dir": "" });
  for (const options of [["-r"], ["-r", "--force"]]) {
    const advice = '"camera:dir" is a file: copy the directory to another path';
    await files.runToFailure(1, advice, "put", ...options, `${local}/dir`, "camera:");
    assertEquals((await readTree(inbox))["dir"], "");
  }
  await files.serve("--share", files.share);
  const advice = "accepts no files: end degu serve on it, and run it with --inbox";
  await files.runToFailure(1, advice, "put", a, "camera:");
  await files.runToFailure(2, "what to put?", "put", "camera:");
});

Deno.test({
  name: "if a directory can't be copied, the other directories are copied",
  ignore: !HAS_LINKS,
  async fn() {
    await using files = await AgentFiles.start();
    const { local, share, inbox } = files;
    await fill(local, { "a/1": "", "b/2": "", "target/x": "" });
    await fill(share, { "c/3": "", "d/4": "" });
    await makeLinks({ [`${inbox}/a`]: local, [`${local}/target/c`]: `${local}/none` });
    const putArgs = ["put", "-r", `${local}/a`, `${local}/b`, "camera:"];
    const put = await files.run(...putArgs);
    const get = await files.run("get", "-r", "camera:c", "camera:d", `${local}/target`);
    assertEquals([put.code, get.code], [1, 1], `${put.stderr}${get.stderr}`);
    assertStringIncludes(put.stderr, `${local}/a: `);
    assertStringIncludes(put.stderr, "1 file copied");
    assertEquals(Object.keys(await readTree(`${inbox}/b`)), ["2"]);
    assertEquals(Object.keys(await readTree(`${local}/target/d`)), ["4"], get.stderr);
  },
});

Deno.test("a named file that was replaced after its lookup has its own time at the target", async () => {
  await using files = await AgentFiles.start();
  let seconds = 1000;
  // `degu put` looks up a file with stat. `degu get` calls mkdir right before its request.
  for (const [command, call] of [["put", "stat"], ["get", "mkdir"]] as const) {
    const { local, share, inbox } = files;
    const [from, to, ...operands] = command === "put"
      ? [`${local}/d/x`, `${inbox}/d/x`, `${local}/d/x`, "camera:d/"] as const
      : [`${share}/d/x`, `${local}/d/x`, "camera:d/x", `${local}/d/`] as const;
    for (const dir of [local, share, inbox]) {
      await Deno.mkdir(`${dir}/d`, { recursive: true });
      await Deno.remove(`${dir}/d/x`).catch(() => {});
    }
    await Deno.writeTextFile(from, "before");
    {
      // deno-lint-ignore no-explicit-any -- the two functions have different parameters
      using _replacing = patch(Deno as any, call, (original) => async (...args: unknown[]) => {
        const result = await original(...args);
        Deno.writeTextFileSync(from, "behind");
        Deno.utimeSync(from, ++seconds, seconds);
        return result;
      });
      assertEquals((await files.run(command, ...operands)).code, 0);
    }
    assertEquals(await Deno.readTextFile(to), "behind");
    assertEquals((await Deno.stat(to)).mtime, new Date(seconds * 1000), command);
  }
});

// degu rm: removes from the inbox of a peer.

Deno.test("rm removes a file or an empty directory of the inbox, not of the share", async () => {
  await using files = await AgentFiles.start();
  await fill(files.inbox, { "a": "1", "日本 語/b": "2", "empty": null });
  await fill(files.share, { "a": "1" });
  assertEquals((await files.runToSuccess("rm", "camera:a")).stdout, "removed camera:a\n");
  const objects = parseObjects(await files.runToSuccess("rm", "--json", "camera:empty/"));
  assertEquals(objects, [{ removed: "camera:empty/" }]);
  const expectedMessage = "語: the directory is not empty: -r removes it";
  await files.runToFailure(1, expectedMessage, "rm", "camera:日本 語");
  const { stdout } = await files.runToSuccess("rm", "camera:日本 語/b", "camera:日本 語");
  assertEquals(stdout, "removed camera:日本 語/b\nremoved camera:日本 語\n");
  await fill(files.inbox, { "a": "1" });
  const keptMessage = "degu rm keeps the inbox itself: name its entries\n";
  await files.runToFailure(2, keptMessage, "rm", "camera:a", "camera:");
  assertEquals(await readTree(files.inbox), { "a": "1" });
  assertEquals(await readTree(files.share), { "a": "1" });
});

Deno.test("rm -r removes a directory with its content, the deepest entries first, or reports the remaining entries", async () => {
  await using files = await AgentFiles.start();
  const { inbox } = files;
  await fill(inbox, { "top/a": "1", "top/sub/b": "2", "top/sub/c/d": null, "file": "3" });
  await fill(inbox, { "top/sub/.left.degu-part": "part" });
  const { stdout } = await files.runToSuccess("rm", "-r", "camera:top", "camera:file");
  const removed = stdout.trimEnd().split("\n").map((line) => line.replace(/^removed /, ""));
  assertEquals(removed.slice(0, 2).toSorted(), ["camera:top/a", "camera:top/sub/b"]);
  assertEquals(removed.slice(2), [
    ...["camera:top/sub/c/d/", "camera:top/sub/c/", "camera:top/sub/", "camera:top/"],
    "camera:file",
  ]);
  assertEquals(await readTree(inbox), {});
  await files.runToFailure(1, "does not exist", "rm", "-r", "camera:none");
  if (!HAS_LINKS) return;
  // An entry that can't be removed is reported, and stays with its parent directories.
  await fill(inbox, { "top/a": "1", "top/sub/b": "2", "top/other/c": "3" });
  await makeLinks({ [`${inbox}/top/sub/link`]: "/nowhere" });
  const expectedMessage = "camera:top/sub/link: it is kept, because it is a symbolic link";
  const stderr = await files.runToFailure(1, expectedMessage, "rm", "--json", "-r", "camera:top");
  assertEquals(stderr.match(/degu: error/g)?.length, 1, stderr);
  await Deno.remove(`${inbox}/top/sub/link`);
  assertEquals(await readTree(inbox), { "top": null, "top/sub": null });
});

// Paths on another device.

Deno.test("a path on the disk of the peer, as for scp, is wrong usage in each command; ./~ is a name", async () => {
  await using files = await AgentFiles.start();
  const { local, share, inbox } = files;
  await fill(local, { "a": "1" });
  for (const dir of [share, inbox]) await fill(dir, { "~": "1", "x": "2", "dir/~": "3" });
  const treeBefore = await readTree(inbox);
  const commands = [
    ["put", `${local}/a`, "camera:~"],
    ["put", `${local}/a`, "camera:/home/a"],
    ["get", "camera:~", local],
    ["ls", "camera://~"],
    ["rm", "-r", "camera:x", "camera:~anna/x"],
    ["sync", local, "camera:~"],
    ["sync", "camera:~", local],
  ];
  for (const args of commands) {
    await files.runToFailure(2, "a path begins at the share or the inbox of the peer", ...args);
  }
  assertEquals(await readTree(inbox), treeBefore);
  assertEquals((await files.runToSuccess("ls", "camera:/")).stdout, "dir/\nx\n~\n");
  assertEquals((await files.runToSuccess("ls", "camera:./~")).stdout, "~\n");
  assertEquals((await files.runToSuccess("ls", "camera:dir/~")).stdout, "~\n");
  await files.runToSuccess("put", `${local}/a`, "camera:new/~");
  await fill(share, { "~t/y": "" });
  // The name of an error can be typed.
  await files.runToFailure(1, '"camera:./~t/none" does not', "ls", "camera:./~t/none");
});

Deno.test("ls of the share mentions the inbox if it has entries", async () => {
  await using files = await AgentFiles.start();
  await fill(files.share, { "d/x": "1" });
  const stderrOf = async (...args: string[]) => (await files.runToSuccess("ls", ...args)).stderr;
  assertEquals(await stderrOf("camera:"), "");
  await fill(files.inbox, { "a": "1" });
  const hint = "this is its share; --inbox lists its inbox\n";
  assertEquals(await stderrOf("camera:"), hint);
  for (const args of [["camera:d"], ["--inbox", "camera:"], ["--json", "camera:"]]) {
    assertEquals(await stderrOf(...args), "");
  }
});

Deno.test("an endless list is an error", async () => {
  let sent = 0;
  const entry = { kind: "file", size: 0, modified: "2020-01-01T00:00:00.000Z" };
  const endless = ReadableStream.from((function* () {
    for (;;) {
      const begin = sent === 0 ? "[\n" : "";
      const text = `${begin}${JSON.stringify({ ...entry, name: `${sent++}` })},\n`;
      yield new TextEncoder().encode(`${text.length.toString(16)}\r\n${text}\r\n`);
    }
  })());
  const headers = { "content-type": "application/json" };
  await using serving = serve(() => [200, "OK", headers, new ChunkedBody(endless)]);
  const { signal } = new AbortController();
  const context = { signal, output: { note: () => {} }, options: {} };
  using connections = new PeerConnections(context, "camera", serving.makeClient());
  const list = () => new RemoteFiles(connections, "share", signal, 500).list([]);
  const problem = '"camera:" has more than 500 files and directories: name its subdirectories';
  await assertRejects(list, Failure, problem);
});
