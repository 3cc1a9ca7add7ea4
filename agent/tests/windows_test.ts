/** The differences on Windows that every system can test. */
import { AgentHomes } from "@degu/testing/agents.ts";
import { fill } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { toListenFailure } from "@degu/internal/agent/machine/addresses.ts";
import { findPatternProblem } from "@degu/internal/agent/copy/exclude_pattern.ts";
import { IgnoreList } from "@degu/internal/agent/copy/ignore_list.ts";
import { toLocalPath } from "@degu/internal/agent/machine/local_paths.ts";
import { windowsDeletions } from "@degu/internal/agent/peer/deletions.ts";
import { windowsDeletions as libraryDeletions } from "@degu/internal/files/disk/names.ts";
import { makeEntryPath } from "@degu/internal/agent/copy/download_target.ts";
import { findHome } from "@degu/internal/agent/machine/open_device.ts";
import { findHomeDirectory } from "@degu/internal/agent/machine/paths.ts";
import { isRemotePath, parseRemotePath } from "@degu/internal/agent/peer/remote_files.ts";
import { HOSTILE_NAMES } from "../../files/tests/hostile_names.ts";

/** Runs as on Windows, on which deleting is disabled. */
function setWindows(): Disposable {
  const stack = new DisposableStack();
  stack.use(patch(Deno, "build", (build) => ({ ...build, os: "windows" as const })));
  for (const deletions of [libraryDeletions, windowsDeletions]) {
    stack.use(patch(deletions, "areTested", () => false));
  }
  return stack;
}

Deno.test("on Windows a single letter before a colon is a drive, and a longer name is a peer", () => {
  const id = "a".repeat(52);
  for (const path of ["C:x", "c:\\x", "C:/x", "x:"]) {
    assertEquals(isRemotePath(path), Deno.build.os !== "windows", path);
  }
  using _windows = setWindows();
  for (const path of ["C:x", "c:\\x", "C:/x", "x:", "dir\\a:b", ".\\a:b"]) {
    assertEquals(isRemotePath(path), false, path);
  }
  for (const [path, peer] of [["camera:x", "camera"], [`${id}:x`, id], ["ab:", "ab"]] as const) {
    assertEquals(parseRemotePath(path).peer, peer);
  }
});

Deno.test("on Windows the device is in the local data of the profile, and no other variable is read", async () => {
  using _windows = setWindows();
  const values: Record<string, string> = { LOCALAPPDATA: "/local", USERPROFILE: "/profile" };
  const read: string[] = [];
  using _environment = patch(Deno.env, "get", () => (name) => {
    read.push(name);
    return values[name];
  });
  assertEquals([await findHome(undefined), findHomeDirectory()], ["/local/degu", "/profile"]);
  assertEquals(read, ["LOCALAPPDATA", "USERPROFILE"]);
  delete values["LOCALAPPDATA"];
  const expectedMessage = "LOCALAPPDATA is not set: name the directory";
  await assertRejects(() => findHome(undefined), Error, expectedMessage);
});

Deno.test("the program deletes on Windows if the library does", () => {
  assertEquals(windowsDeletions.areTested, libraryDeletions.areTested);
});

Deno.test("on Windows no command deletes: each command reports it before its first request", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  await homes.pair("camera", "viewer");
  await fill(homes.path, { "here/a": "1" });
  const localDirectory = homes.joinPath("here");
  using _windows = setWindows();
  const rows: [what: string, args: string[]][] = [
    ["rm", ["rm", "camera:a"]],
    ["--delete", ["sync", "--delete", localDirectory, "camera:"]],
    ["--move", ["sync", "--move", localDirectory, "camera:"]],
  ];
  for (const [what, args] of rows) {
    const expectedMessage = `${what}: not tested on Windows yet: no file is deleted`;
    await homes.runToFailure("viewer", 1, expectedMessage, args);
  }
  assertEquals(await Deno.readTextFile(`${localDirectory}/a`), "1");
});

Deno.test("on Windows a path of this device never contains a hostile name of a peer", () => {
  using _windows = setWindows();
  for (const name of HOSTILE_NAMES) {
    assertThrows(() => makeEntryPath("/dir", name), Error, "the disk can't hold the name", name);
  }
});

Deno.test("on Windows a path of the command line may have backslashes, ~ and a drive alone; elsewhere it is unchanged", () => {
  const rows: [text: string, path: string][] = [
    ["new\\", "new/"],
    ["a\\b c.txt", "a/b c.txt"],
    ["C:", "C:/"],
    ["C:\\x\\", "C:/x/"],
    ["\\\\server\\share\\x", "//server/share/x"],
    ["~", "/profile"],
    ["~\\Inbox\\", "/profile/Inbox/"],
    ["~x", "~x"],
  ];
  if (Deno.build.os !== "windows") {
    for (const [text] of rows) {
      if (!/^~(?:\/|$)/.test(text)) assertEquals(toLocalPath(text), text);
    }
    for (const text of ["con", "x:y", "a?"]) assertEquals(toLocalPath(text), text);
  }
  using _windows = setWindows();
  using _environment = patch(Deno.env, "get", () => () => "/profile");
  for (const [text, path] of rows) assertEquals(toLocalPath(text), path, text);
});

Deno.test("on Windows a path that leads to a device, a stream or a place of a drive is wrong usage, with the reason", () => {
  using _windows = setWindows();
  const rows: [text: string, problem: string][] = [
    ["con", '"con" is reserved by Windows'],
    ["C:\\dir\\aux.txt", '"aux.txt" is reserved by Windows'],
    ["x:y", "x: is a drive: write x:/y for a file in its root"],
    ["C:dir\\x", "C: is a drive: write C:/dir/x"],
    ["dir\\a:b", '"a:b" has a colon'],
    ["end.", '"end." ends with a dot or a space'],
    ["a|b", '"a|b" has one of the characters'],
  ];
  for (const [text, problem] of rows) {
    assertThrows(() => toLocalPath(text), Error, problem, text);
  }
  assertThrows(() => toLocalPath("*.txt"), Error, '"*.txt" has one of the characters');
});

Deno.test("on Windows every command and option converts its local path, and no request is sent for a wrong one", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  await homes.pair("camera", "viewer");
  await fill(homes.path, { "here/a": "1" });
  using _windows = setWindows();
  const rows: string[][] = [
    ["get", "camera:a"],
    ["put"],
    ["sync", "camera:"],
    ["receive", "--address", "127.0.0.1:1"],
    ["send"],
    ["serve", "--share"],
    ["serve", "--inbox"],
    ["serve", "--inbox-for-all"],
  ];
  for (const start of rows) {
    for (const [path, problem] of [["nul", "is reserved by Windows"], ["x:y", "x: is a drive"]]) {
      const args = [...start, path!, ...start[0] === "put" ? ["camera:"] : []];
      const message = await homes.runToFailure("viewer", 2, problem!, args);
      assertEquals(message.match(/error:/g)?.length, 1, message);
    }
  }
  const { code, stderr } = await homes.run("viewer", ["--home", "nul", "peers"]);
  assertEquals([code, stderr.includes("is reserved by Windows")], [2, true], stderr);
});

Deno.test("on Windows a remote path with a backslash is wrong usage, with the path to write", () => {
  const text = "camera:a\\b.txt";
  if (Deno.build.os !== "windows") assertEquals(parseRemotePath(text).names, ["a\\b.txt"]);
  using _windows = setWindows();
  const problem = "separate the names with slashes, as in camera:a/b.txt";
  assertThrows(() => parseRemotePath(text), Error, problem);
});

Deno.test("on Windows a pattern in which a backslash separates names is an error, in the list and on the command line", async () => {
  const wrongPatterns = ["Sub\\build", "a\\1", "x\\.git", "x\\_y", "build\\", "*\\Öl", "\\\\\\a"];
  const rightPatterns = ["Sub/build", "\\#a", "\\!a", "a\\ ", "a\\*b", "a\\[1]", "\\\\", "a\\?"];
  await using homes = await AgentHomes.create("camera", "viewer");
  await homes.pair("camera", "viewer");
  const localDirectory = homes.joinPath("here");
  if (Deno.build.os !== "windows") {
    for (const pattern of [...wrongPatterns, ...rightPatterns]) {
      assertEquals(findPatternProblem(pattern), null, pattern);
    }
  }
  using _windows = setWindows();
  for (const pattern of rightPatterns) assertEquals(findPatternProblem(pattern), null, pattern);
  for (const pattern of wrongPatterns) {
    const advice = `separate names by slashes, as in ${pattern.replaceAll("\\", "/")}`;
    assertEquals(findPatternProblem(pattern), advice);
    await fill(homes.path, { "here/.deguignore": `# a\\b\n*.tmp\n${pattern}\n` });
    await assertRejects(() => IgnoreList.read(localDirectory, []), Error, advice);
    await Deno.remove(`${localDirectory}/.deguignore`);
    const args = ["sync", "--exclude", pattern, localDirectory, "camera:"];
    await homes.runToFailure("viewer", 2, advice, args);
  }
});

Deno.test("on Windows degu service prints only that there is no systemd", async () => {
  await using homes = await AgentHomes.create("viewer");
  using _windows = setWindows();
  for (
    const args of [["install", "--inbox"], ["install", "sync", "a:", "b"], ["remove"], ["list"]]
  ) {
    const { code, stdout, stderr } = await homes.run("viewer", ["service", ...args]);
    assertEquals([code, stdout, stderr.trim().split("\n").length], [1, "", 1], stderr);
    assertStringIncludes(stderr, "needs systemd, which Windows does not have");
  }
});

Deno.test("a line on stdin in UTF-16, as PowerShell writes a file with >, is named as the problem", async () => {
  await using homes = await AgentHomes.create("viewer");
  const stdin = `\ufffd\ufffd${[..."degu:AAAA\r\n"].join("\0")}\0`;
  using _name = patch(Deno, "hostname", () => () => "viewer.lan");
  for (const args of [["join", "-"], ["receive", "-", homes.path]]) {
    const { code, stderr } = await homes.run("viewer", args, { stdin });
    assertEquals([code, stderr.includes("stdin is UTF-16")], [2, true], stderr);
  }
});

Deno.test("on Windows an address can be forbidden to a user", () => {
  using _windows = setWindows();
  const denied = toListenFailure([["::", 80]], new Deno.errors.PermissionDenied());
  assertStringIncludes(`${denied}`, "is not permitted to this user");
});
