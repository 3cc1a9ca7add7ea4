/**
 * degu service: its units, their command lines and permissions.
 * tests/project/permissions_test.ts installs the units with a real systemd.
 */
import { realPath } from "@degu/internal/internal/paths.ts";
import { parseObjects } from "@degu/testing/agent_files.ts";
import { AgentHomes, makeAgentCommand, runAgentCommands } from "@degu/testing/agents.ts";
import { fill, listNames } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { findTerminalObstacle, ignoreIf, runOnTerminal } from "@degu/testing/terminals.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

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
    // A service creates no directory on the disk below the one that is not mounted.
    const isDownload = args.at(-2)!.startsWith("desk:");
    const expected = args[0] !== "sync"
      ? ["serve", ...args, "--no-create"]
      : isDownload
      ? args.toSpliced(-2, 0, "--no-create")
      : args;
    assertEquals(words.slice(begin), expected);
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
  const args = ["service", "install", "serve", "--inbox", homes.joinPath("new\u200d inbox")];
  const stderr = await homes.runToFailure(
    "laptop",
    1,
    "Deno does not permit degu to run systemctl (--allow-run=systemctl)\n",
    args,
  );
  assertEquals(stderr.split("\n").length, 2);
  const unit = await homes.runToSuccess("laptop", [...args, "--print"]);
  assertStringIncludes(unit, "new\u200d inbox");
  assertEquals((await listNames(homes.path)).includes("new\u200d inbox"), false);
});

Deno.test("the timer of sync has the interval of --every, and its command does not", async () => {
  await using homes = await AgentHomes.create("desk", "laptop");
  await homes.pair("laptop", "desk", undefined, "192.0.2.1:7443");
  await fill(homes.path, { "share": null });
  const rows: [options: string[], interval: string][] = [
    [[], "60s"],
    [["--every", "3600"], "3600s"],
    [["--every", "1d"], "86400s"],
  ];
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
    [["--share", share], ["--home", home, "serve", "--share", share, "--no-create"]],
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
    [2, "unknown command 'put'; usage: degu service install serve|sync", "put", "a"],
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
  await homes.runToFailure("laptop", 1, "Deno does not permit degu to run systemctl", [
    "service",
    "remove",
  ]);
  for (const args of [["install", "--share", homes.joinPath("dir")], ["remove"]]) {
    const terminal = { columns: 500, rows: 24 };
    const agent = homes.start("laptop", ["service", ...args], { terminal, stdin: null });
    const { stdout } = await agent.waitForEnd();
    assertStringIncludes(stdout, "degu asks Deno for systemctl, to start and stop services");
  }
  const help = await homes.runToSuccess("laptop", ["service", "--help"]);
  for (const command of ["install", "remove"]) assert(help.includes(command), help);
});

const noTerminal = await findTerminalObstacle();

Deno.test(
  "Ctrl-C ends the question of Deno whether degu may run systemctl",
  ignoreIf(noTerminal),
  async () => {
    await using homes = await AgentHomes.create("laptop");
    const args = ["--home", homes.joinPath("laptop"), "service", "remove"];
    const command = makeAgentCommand(args, homes.makeFlags("laptop"))
      .filter((word) => word !== "--no-prompt");
    const { code, shown } = await runOnTerminal({ command, steps: [["Allow?", "\x03"]] });
    // SIGINT ends the process, or first a system call of the question, which then is a refusal.
    assert(code === -2 || code === 1, `${code}: ${shown}`);
  },
);

/** Creates a stand-in for systemctl, which prints a list of directories, and returns the path of programs. */
async function createSystemctl(homes: AgentHomes, printedPaths: string): Promise<string> {
  await fill(homes.path, { "bin/paths": printedPaths });
  const script = `#!/bin/sh\n[ "$2" != show ] || cat '${homes.joinPath("bin/paths")}'\n`;
  await Deno.writeTextFile(homes.joinPath("bin/systemctl"), script, { mode: 0o755 });
  return `${homes.joinPath("bin")}:/bin:/usr/bin`;
}

for (const name of ["a b", "it's", "$x", `"quoted" \\ (é 日)`]) {
  Deno.test(`units are written to the home directory of systemd, also if systemd quotes it: ${name}`, async () => {
    await using homes = await AgentHomes.create("desk");
    const quoted = homes.joinPath(name).replaceAll(/["\\$`]/g, "\\$&");
    const paths = ["/systemd/user.control", "/systemd/user"].map((path) => `"${quoted}${path}"`);
    const path = await createSystemctl(homes, `/run/user ${paths.join(" /etc/systemd ")}\n`);
    const [install, remove] = await runServiceWithPath(homes, path);
    const unit = homes.joinPath(`${name}/systemd/user/degu.service`);
    assertStringIncludes(install!.stdout, `wrote ${unit}`);
    assertEquals([install!.code, remove!.code], [0, 0], install!.stderr + remove!.stderr);
    assertStringIncludes(remove!.stdout, `removed ${unit}`);
  });
}

Deno.test("a service is not installed if systemd names no directory for it", async () => {
  await using homes = await AgentHomes.create("desk");
  const path = await createSystemctl(homes, "/run/user\n");
  const [install] = await runServiceWithPath(homes, path);
  assertEquals(install!.code, 1);
  const list = `has no directory systemd/user.control; got "/run/user"`;
  assertStringIncludes(install!.stderr, list);
});

Deno.test("of two services whose names would be equal, neither replaces the other; the same service is replaced", async () => {
  await using homes = await AgentHomes.create("desk", "laptop");
  await homes.pair("laptop", "desk", undefined, "192.0.2.1:7443");
  await fill(homes.path, { A: null, B: null, units: null });
  const units = await realPath(homes.joinPath("units"));
  const path = await createSystemctl(homes, `${units}/systemd/user.control\n`);
  const [a, b] = [homes.joinPath("A"), homes.joinPath("B")];
  const long = "x".repeat(240);
  const rows: [name: string, home: string, ...args: string[]][] = [
    ["degu-sync-to-desk-a-b", "laptop", "sync", a, "desk:a/b"],
    ["degu-sync-to-desk-a-b-2", "laptop", "sync", a, "desk:a-b"],
    ["degu-sync-to-desk-a-b-3", "laptop", "sync", b, "desk:a/b"],
    ["degu-sync-to-desk-a-b-2-2", "laptop", "sync", a, "desk:a/b-2"],
    ["degu-sync-to-desk-a-b", "laptop", "sync", "--delete", a, "desk:a/b/"],
    ["degu-sync-to-desk-__", "laptop", "sync", a, "desk:日本"],
    ["degu-sync-to-desk-__-2", "laptop", "sync", a, "desk:%,"],
    ["degu-sync-from-desk-a-b", "laptop", "sync", "desk:a/b", a],
    [`degu-sync-to-desk-${long}`.slice(0, 200), "laptop", "sync", a, `desk:${long}`],
    [`${`degu-sync-to-desk-${long}`.slice(0, 200)}-2`, "laptop", "sync", a, `desk:${long}y`],
    ["degu", "laptop", "--share", a],
    ["degu-2", "desk", "--share", a],
    ["degu", "laptop", "--share", b],
  ];
  const commands = rows.map((
    [, home, ...args],
  ) => ["--home", homes.joinPath(home), "service", "install", ...args]);
  commands.push(["--home", homes.joinPath("desk"), "service", "remove"]);
  const through = ["bash", "-c", 'PATH="$0" exec "$@"', path];
  const results = await runAgentCommands(commands, through);
  const removal = results.pop()!;
  for (const [index, { code, stdout, stderr }] of results.entries()) {
    assertEquals(code, 0, stderr);
    assertStringIncludes(stdout, `wrote ${units}/systemd/user/${rows[index]![0]}.service\n`);
  }
  const names = rows.flatMap(([name]) => name.startsWith("degu-sync") ? [`${name}.timer`] : []);
  for (const name of [...names, ...rows.map(([name]) => `${name}.service`)]) {
    assertStringIncludes(removal.stdout, `removed ${units}/systemd/user/${name}\n`);
  }
  assertEquals(await listNames(`${units}/systemd/user`), []);
});

Deno.test("degu service neither replaces nor removes a unit that the user has written", async () => {
  await using homes = await AgentHomes.create("desk");
  const units = homes.joinPath("systemd/user");
  await fill(homes.path, { "systemd/user/degu.service": "[Unit]\n" });
  const path = await createSystemctl(homes, `${units}.control /etc/systemd/user\n`);
  const [install, remove] = await runServiceWithPath(homes, path);
  assertEquals(install!.code, 1);
  assertStringIncludes(install!.stderr, "was not written by degu service install");
  assertEquals(remove!.code, 0, remove!.stderr);
  assertStringIncludes(remove!.stderr, "has not installed any service");
  assertEquals(await Deno.readTextFile(`${units}/degu.service`), "[Unit]\n");
});
