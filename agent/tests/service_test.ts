/**
 * The differences between systems: degu service, its units, their command lines and permissions,
 * degu permissions, and the differences on Windows that every system can test.
 * tests/project/permissions_test.ts installs the units with a real systemd.
 */
import { realPath } from "@degu/internal/files/disk/paths.ts";
import { parseObjects } from "@degu/testing/agent_files.ts";
import { AgentHomes, runAgentCommands } from "@degu/testing/agents.ts";
import { fill, listNames } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { makeLinks } from "@degu/testing/special_files.ts";
import { toListenFailure } from "@degu/internal/agent/addresses.ts";
import { findPatternProblem } from "@degu/internal/agent/exclude_pattern.ts";
import { IgnoreList } from "@degu/internal/agent/ignore_list.ts";
import { toLocalPath } from "@degu/internal/agent/local_paths.ts";
import { windowsDeletions } from "@degu/internal/agent/deletions.ts";
import { windowsDeletions as libraryDeletions } from "@degu/internal/files/disk/names.ts";
import { makeEntryPath } from "@degu/internal/agent/download_target.ts";
import { findHome } from "@degu/internal/agent/open_device.ts";
import { findHomeDirectory } from "@degu/internal/agent/paths.ts";
import { describeSystemProblem } from "@degu/internal/agent/system_errors.ts";
import { isRemotePath, parseRemotePath } from "@degu/internal/agent/remote_files.ts";
import { HOSTILE_NAMES } from "@degu/testing/hostile_names.ts";

/** Splits the command of a unit, as in systemd.service(5), into words after the program. */
function wordsOf(unit: string): string[] {
  const [, line = ""] = /^ExecStart=((?:.*\\\n)*.*)$/m.exec(unit) ?? [];
  const words = line.replaceAll("\\\n", " ").matchAll(/"((?:[^"\\]|\\.)*)"|[^\s"]+/g);
  return Array.from(
    words,
    ([word, quoted]) =>
      (quoted?.replaceAll(/\\(.)/g, "$1") ?? word).replaceAll("%%", "%").replaceAll("$$", "$"),
  );
}

Deno.test("a unit has the options of the command line, and only the permissions of its row", async (t) => {
  await using homes = await AgentHomes.create("desk", "laptop");
  await homes.pair("laptop", "desk", undefined, "192.0.2.1:7443");
  const hostile = `a b%s "$HOME" 'c;\\`;
  await fill(homes.path, { "share": null, "inbox": null, [hostile]: null });
  const joinPath = (name: string) => homes.joinPath(name);
  const home = joinPath("laptop");
  const mdns = "0.0.0.0:5353,224.0.0.251:5353";
  const listen = ["--listen", "127.0.0.1:7443", "--listen", "[::1]:7444"];
  const sync = ["sync", "--checksum", "--delete", "--exclude", "*.t p", "--exclude", "/a/"];
  const options = ["--inbox", "--settled", "1.5", "--address", "[fe80::1%3]:7443"];
  const rows: [rule: string, args: string[], flags: string[]][] = [
    [
      "a share",
      ["--share", joinPath("share")],
      [
        `${home},${joinPath("share")}`,
        home,
        `[::]:7443,0.0.0.0:7443,${mdns}`,
        "uid,networkInterfaces",
      ],
    ],
    [
      "an inbox, not announced",
      ["--inbox", joinPath("inbox"), "--no-announce"],
      [
        `${home},${joinPath("inbox")}`,
        `${home},${joinPath("inbox")}`,
        "[::]:7443,0.0.0.0:7443",
        "uid,statfs",
      ],
    ],
    [
      "one directory for both",
      ["--share", joinPath(hostile), "--inbox-for-all", joinPath(hostile)],
      [
        `${home},${joinPath(hostile)}`,
        `${home},${joinPath(hostile)}`,
        `[::]:7443,0.0.0.0:7443,${mdns}`,
        "uid,statfs,networkInterfaces",
      ],
    ],
    [
      "addresses",
      ["--share", joinPath("share"), ...listen],
      [`${home},${joinPath("share")}`, home, "127.0.0.1:7443,[::1]:7444", "uid"],
    ],
    [
      "every address, at another port",
      ["--share", joinPath("share"), "--listen", "[::]:8080", "--no-announce"],
      [`${home},${joinPath("share")}`, home, "[::]:8080,0.0.0.0:8080", "uid"],
    ],
    [
      "to a peer, which is not looked for",
      [...sync, "--no-find", joinPath(hostile), "desk:a b"],
      [`${home},${joinPath(hostile)}`, home, "192.0.2.1:7443", "uid"],
    ],
    [
      "from a peer",
      ["sync", ...options, "desk:$HOME", joinPath("inbox")],
      [
        `${home},${joinPath("inbox")}`,
        `${home},${joinPath("inbox")}`,
        "[fe80::1%3]:7443",
        "uid,statfs",
      ],
    ],
    [
      "a peer to look for",
      ["sync", "--verbose", joinPath("share"), "desk:"],
      [`${home},${joinPath("share")}`, home, "", "uid,networkInterfaces"],
    ],
  ];
  await testEachRow(t, rows, async (_rule, args, [read, write, net, sys]) => {
    const installArgs = ["--json", "service", "install", ...args, "--print"];
    const { code, stdout, stderr } = await homes.run("laptop", installArgs);
    const [{ text, path } = {}, ...others] = parseObjects({ code, stdout, stderr });
    assertEquals([code, stderr, others.length], [0, "", args[0] === "sync" ? 1 : 0]);
    assertMatch(String(path), /^~\/\.config\/systemd\/user\/degu/);
    const [, , ...words] = wordsOf(String(text));
    const begin = words.findIndex((word) => word === "serve" || word === "sync");
    assertEquals(words.slice(begin), args[0] === "sync" ? args : ["serve", ...args]);
    assertEquals(words.slice(2, begin).filter((word) => word.startsWith("--allow")), [
      `--allow-read=${read}`,
      `--allow-write=${write}`,
      net === "" ? "--allow-net" : `--allow-net=${net}`,
      `--allow-sys=${sys}`,
    ]);
    assertEquals(words.slice(0, 3), [
      "--no-prompt",
      "--cached-only",
      "--minimum-dependency-age=0",
    ]);
  });
});

Deno.test("a service that can't be installed, or is only printed, makes no inbox", async () => {
  await using homes = await AgentHomes.create("laptop");
  const args = ["service", "install", "serve", "--inbox", homes.joinPath("new inbox")];
  const stderr = await homes.runToFailure(
    "laptop",
    1,
    /degu may not run systemctl: run this command in a terminal, .*; no service is installed: --print prints its files\n$/,
    args,
  );
  assertEquals(stderr.split("\n").length, 2);
  const unit = await homes.runToSuccess("laptop", [...args, "--print"]);
  assertStringIncludes(unit, "new inbox");
  assertEquals((await listNames(homes.path)).includes("new inbox"), false);
});

Deno.test("the timer of sync has the interval of --every, and its command does not", async () => {
  await using homes = await AgentHomes.create("desk", "laptop");
  await homes.pair("laptop", "desk", undefined, "192.0.2.1:7443");
  await fill(homes.path, { "share": null });
  const rows: [options: string[], interval: string][] = [[[], "60s"], [
    ["--every", "3600"],
    "3600s",
  ]];
  for (const [options, interval] of rows) {
    const sync = ["sync", ...options, homes.joinPath("share"), "desk:copy"];
    const result = await homes.run("laptop", ["--json", "service", "install", "--print", ...sync]);
    const [service, timer] = parseObjects(result).map(({ text }) => String(text));
    assert(!service!.includes("--every"), service);
    assert(timer!.includes(`\nOnUnitInactiveSec=${interval}\n`), timer);
  }
});

Deno.test("the unit of a compiled program runs that program by its own path, without flags of Deno", async () => {
  await using homes = await AgentHomes.create("desk", "laptop");
  await homes.pair("laptop", "desk", undefined, "192.0.2.1:7443");
  await fill(homes.path, { "share": null });
  const [share, home] = [await realPath(homes.joinPath("share")), homes.joinPath("laptop")];
  using _build = patch(Deno, "build", (build) => ({ ...build, standalone: true }));
  using _path = patch(Deno, "execPath", () => () => "/opt/a b/degu");
  const rows: [args: string[], words: string[]][] = [
    [["--share", share], ["--home", home, "serve", "--share", share]],
    [["sync", share, "desk:copy"], ["--home", home, "--quiet", "sync", share, "desk:copy"]],
  ];
  for (const [args, words] of rows) {
    const all = ["--json", "service", "install", ...args, "--print"];
    const [unit] = parseObjects(await homes.run("laptop", all));
    assertEquals(wordsOf(String(unit?.["text"])), ["/opt/a b/degu", ...words]);
  }
});

/** Runs `degu service install` and `remove` in one process, with this path of programs. */
async function runServiceWithPath(homes: AgentHomes, path: string) {
  await fill(homes.path, { inbox: null });
  const actions = [["install", "--inbox", homes.joinPath("inbox")], ["remove"]];
  const commands = actions.map((
    action,
  ) => ["--home", homes.joinPath("desk"), "service", ...action]);
  return await runAgentCommands(commands, ["bash", "-c", 'PATH="$0" exec "$@"', path]);
}

Deno.test("without systemd, install and remove report that", async () => {
  await using homes = await AgentHomes.create("desk");
  for (const { code, stdout, stderr } of await runServiceWithPath(homes, homes.joinPath("bin"))) {
    assertEquals([code, stdout], [1, ""], stderr);
    assertMatch(stderr, /^degu: error: there is no systemd on this machine/);
  }
});

Deno.test("without a running systemd of the user, install and remove fail with advice", async () => {
  await using homes = await AgentHomes.create("desk");
  await fill(homes.path, { bin: null });
  // The message of systemctl without a bus, as in a container or after su.
  const problem = "Failed to connect to bus: No medium found";
  const script = `#!/bin/sh\necho '${problem}' >&2\nexit 1\n`;
  await Deno.writeTextFile(homes.joinPath("bin/systemctl"), script, { mode: 0o755 });
  const path = `${homes.joinPath("bin")}:/bin:/usr/bin`;
  for (const { code, stderr } of await runServiceWithPath(homes, path)) {
    assertEquals(code, 1, stderr);
    assertMatch(stderr, /^degu: error: the systemd of this user does not run: log in as this user/);
  }
});

Deno.test("an invalid service is refused before a unit is written", async () => {
  await using homes = await AgentHomes.create("desk", "laptop");
  await homes.pair("laptop", "desk", undefined, "192.0.2.1:7443");
  await fill(homes.path, { "a,b": null, "dir": null, "file": "" });
  const unix = ["--share", homes.joinPath("dir"), "--listen", "unix:/run/a"];
  const rows: [code: number, expectedMessage: string, ...args: string[]][] = [
    [1, "its path has a comma", "--share", homes.joinPath("a,b")],
    [2, "peers could read its keys", "--share", homes.joinPath("laptop")],
    [2, "--listen: a service can listen only at IP addresses", ...unix],
    [2, '"put", "a": only serve and sync can be services', "put", "a"],
    [2, "--dry-run is for a single run", "sync", "-n", homes.joinPath("dir"), "desk:"],
    [3, 'there is no peer "toaster"', "sync", homes.joinPath("dir"), "toaster:"],
    [1, "its keys must not leave it", "sync", homes.joinPath("laptop"), "desk:"],
    // The line end would start another line of the unit.
    [
      2,
      "can't be in a unit",
      "sync",
      "--exclude",
      "a\nExecStart=b",
      homes.joinPath("dir"),
      "desk:",
    ],
  ];
  for (const [code, expectedMessage, ...args] of rows) {
    await homes.runToFailure("laptop", code, expectedMessage, ["service", "install", ...args]);
  }
  await homes.runToFailure("laptop", 1, "degu may not run systemctl", ["service", "remove"]);
  const help = await homes.runToSuccess("laptop", ["service", "--help"]);
  for (const command of ["install", "remove"]) assert(help.includes(command), help);
});

// degu permissions: paths through links, new files, searches, and wrong commands.

Deno.test("the flags have the paths and addresses of the arguments", async (t) => {
  await using homes = await AgentHomes.create("laptop", "desk", "phone");
  await homes.pair("laptop", "desk", undefined, "192.0.2.1:7443");
  await homes.pair("laptop", "phone", undefined, "192.0.2.2:7443");
  await fill(homes.path, { "real/file": "1", "copy/.degu-kept/a": "1", "copy/sub/b": "1" });
  await makeLinks({ [homes.joinPath("link")]: "real" });
  const [path, home] = [homes.path, homes.joinPath("laptop")];
  const [all, search] = ["--allow-net", "--allow-sys=uid,networkInterfaces"];
  const rows: [rule: string, args: string[], flags: string[]][] = [
    ["a peer that may be searched for", ["ls", "desk:"], [
      ...[`--allow-read=${home}`, `--allow-write=${home}`, all, search],
    ]],
    ["several peers", ["get", "--no-find", "desk:a", "phone:b", "-"], [
      ...[`--allow-read=${home}`, `--allow-write=${home}`],
      ...["--allow-net=192.0.2.1:7443,192.0.2.2:7443", "--allow-sys=uid"],
    ]],
    ["a new file, in its directory", ["get", "--no-find", "desk:a", `${path}/real/new/file`], [
      ...[`--allow-read=${home},${path}/real`, `--allow-write=${home},${path}/real`],
      ...["--allow-net=192.0.2.1:7443", "--allow-sys=uid,statfs"],
    ]],
    ["both paths of a link", ["put", "--no-find", `${path}/link/file`, "desk:"], [
      ...[`--allow-read=${home},${path}/link/file,${path}/real/file`, `--allow-write=${home}`],
      ...["--allow-net=192.0.2.1:7443", "--allow-sys=uid"],
    ]],
    ["an address", ["ping", "--address", "[fe80::1%3]:7443", "desk"], [
      ...[`--allow-read=${home}`, `--allow-write=${home}`],
      ...["--allow-net=[fe80::1%3]:7443", "--allow-sys=uid"],
    ]],
    [
      "a directory of an inbox with versions",
      ["restore", `${path}/copy/gone`, `${path}/real/new`],
      [
        ...[`--allow-read=${home},${path}/copy,${path}/real`, `--allow-write=${path}/real`],
      ],
    ],
    ["a restoration that writes nothing", ["restore", "-n", `${path}/copy`, `${path}/real/new`], [
      `--allow-read=${home},${path}/copy,${path}/real`,
    ]],
    ["a line of stdin, which may have any address", ["join", "--serving", "192.0.2.1:1", "-"], [
      ...[`--allow-read=${home}`, `--allow-write=${home}`, all, search],
    ]],
    ["the ports after a port", ["invite", "--listen", "192.0.2.3:7500", "--serving", "a.test:1"], [
      ...[`--allow-read=${home}`, `--allow-write=${home}`],
      ...["--allow-net=192.0.2.3:7500,192.0.2.3:7501", "--allow-sys=uid"],
    ]],
    [
      "the host of an invitation",
      ["pair", "--address", "192.0.2.3:7500", "--serving", "a.test:1"],
      [
        ...[`--allow-read=${home}`, `--allow-write=${home}`],
        ...["--allow-net=192.0.2.3", "--allow-sys=uid"],
      ],
    ],
  ];
  await testEachRow(t, rows, async (_rule, args, flags) => {
    const printed = await homes.runToSuccess("laptop", ["--json", "permissions", ...args]);
    const { command }: { command: string[] } = JSON.parse(printed);
    assertEquals(command.filter((word) => word.startsWith("--allow-")), flags);
    assertEquals(command.slice(-args.length - 3), ["--home", home, "--json", ...args]);
  });
});

Deno.test("a name with a hyphen is printed behind the -- before it", async () => {
  await using homes = await AgentHomes.create("laptop", "desk");
  await homes.pair("laptop", "desk");
  for (const args of [["put", "--", "-x", "desk:"], ["put", "--force", "--", "-x", "desk:"]]) {
    const line = await homes.runToSuccess("laptop", ["permissions", ...args]);
    assertEquals(line.trimEnd().split(" ").slice(-args.length), args);
  }
});

Deno.test("a wrong command is refused as without permissions", async () => {
  await using homes = await AgentHomes.create("laptop");
  const rows: [args: string[], code: number, message: string][] = [
    [[], 2, 'a command is missing; see "degu permissions --help"'],
    [["upload"], 2, "Did you mean put?"],
    [["sync", "a", "b"], 2, "b"],
    [["ls", "desk:"], 3, "this device has no peers yet"],
  ];
  for (const [args, code, message] of rows) {
    await homes.runToFailure("laptop", code, message, ["permissions", ...args]);
  }
});

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
    ["--move", ["put", "--move", `${localDirectory}/a`, "camera:"]],
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
  for (const mayHaveWildcards of [false, true]) {
    for (const [text, problem] of rows) {
      assertThrows(() => toLocalPath(text, mayHaveWildcards), Error, problem, text);
    }
  }
  assertThrows(() => toLocalPath("*.txt"), Error, '"*.txt" has one of the characters');
  assertEquals(toLocalPath("*.txt", true), "*.txt");
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
  for (const args of [["install", "--inbox"], ["install", "sync", "a:", "b"], ["remove"]]) {
    const { code, stdout, stderr } = await homes.run("viewer", ["service", ...args]);
    assertEquals([code, stdout, stderr.trim().split("\n").length], [1, "", 1], stderr);
    assertStringIncludes(stderr, "needs systemd, which Windows does not have");
  }
});

Deno.test("on Windows the reason for a file that can't be written or read is also that another program has it open", () => {
  const text = "Access is denied. (os error 5): rename 'a' -> 'C:/x'";
  const expected = [
    'this user may not write "C:/x", or another program has it open',
    "end that program, or change the permissions",
  ];
  using _windows = setWindows();
  assertEquals(describeSystemProblem(text, "EACCES"), expected as [string, string]);
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

Deno.test("on Windows advice has commands of Windows", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  await homes.pair("camera", "viewer");
  using _windows = setWindows();
  const missing = `${homes.path}/no`;
  for (const args of [["get", "camera:a", `${missing}/such/`], ["serve", "--share", missing]]) {
    const message = await homes.runToFailure("viewer", 1, "mkdir", args);
    assertEquals(message.includes("mkdir -p"), false, message);
  }
  const message = await homes.runToFailure("viewer", 2, "is on another device: get it first", [
    ...["put", "camera:a", "camera:"],
  ]);
  assertEquals(message.includes("./"), false, message);
  const denied = toListenFailure([["::", 80]], new Deno.errors.PermissionDenied());
  assertStringIncludes(`${denied}`, "Windows has reserved the port; use another port");
});

Deno.test("degu service neither replaces nor removes a unit that the user has written", async () => {
  await using homes = await AgentHomes.create("desk");
  const units = homes.joinPath("systemd/user");
  await fill(homes.path, { bin: null, "systemd/user/degu.service": "[Unit]\n" });
  const script = `#!/bin/sh\n[ "$2" != show ] || echo '${units}.control /etc/systemd/user'\n`;
  await Deno.writeTextFile(homes.joinPath("bin/systemctl"), script, { mode: 0o755 });
  const path = `${homes.joinPath("bin")}:/bin:/usr/bin`;
  const [install, remove] = await runServiceWithPath(homes, path);
  assertEquals(install!.code, 1);
  assertStringIncludes(install!.stderr, 'was not written by "degu service install"');
  assertEquals(remove!.code, 0, remove!.stderr);
  assertStringIncludes(remove!.stderr, "has not installed any service");
  assertEquals(await Deno.readTextFile(`${units}/degu.service`), "[Unit]\n");
});
