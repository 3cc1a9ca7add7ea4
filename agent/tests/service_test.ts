/**
 * degu service: its units, their command lines and permissions.
 * command_permissions_test.ts installs the units with a real systemd.
 */
import { join, realPath } from "@degu/internal/internal/paths.ts";
import { parseObjects } from "./agent_files.ts";
import { AgentHomes, makeAgentCommand, runAgent, runAgentCommands } from "@degu/testing/agents.ts";
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

/** Runs `degu service install`, `remove` and `list` in one process, with this path of programs. */
async function runServiceWithPath(homes: AgentHomes, path: string, ...installs: string[][]) {
  await fill(homes.path, { inbox: null });
  const inbox = homes.joinPath("inbox");
  const actions = [["install", "--inbox", inbox], ...installs, ["remove"], ["list"]];
  const commands = actions.map((
    action,
  ) => ["--home", homes.joinPath("desk"), "service", ...action]);
  return await runAgentCommands(commands, ["bash", "-c", 'PATH="$0" exec "$@"', path]);
}

Deno.test("without systemd, install, remove and list report that", async () => {
  await using homes = await AgentHomes.create("desk");
  for (const { code, stdout, stderr } of await runServiceWithPath(homes, homes.joinPath("bin"))) {
    assertEquals([code, stdout], [1, ""], stderr);
    assertStringIncludes(stderr, "degu: error: there is no systemd on this machine");
  }
});

Deno.test("without a running systemd of the user, install, remove and list fail with advice", async () => {
  await using homes = await AgentHomes.create("desk", "laptop");
  await fill(homes.path, { bin: null });
  // The message of systemctl without a bus, as in a container or after su.
  const problem = "Failed to connect to bus: No medium found";
  const script = `#!/bin/sh\necho '${problem}' >&2\nexit 1\n`;
  await Deno.writeTextFile(homes.joinPath("bin/systemctl"), script, { mode: 0o755 });
  const path = `${homes.joinPath("bin")}:/bin:/usr/bin`;
  await homes.pair("desk", "laptop", undefined, "192.0.2.1:7443");
  const sync = ["install", "sync", homes.joinPath("bin"), "laptop:"];
  const ends = await runServiceWithPath(homes, path, sync);
  for (const [i, { code, stderr }] of ends.entries()) {
    assertEquals(code, 1, stderr);
    assertMatch(
      stderr,
      /^degu: error: the systemd of this user does not run: if this machine has systemd, log in as this user/,
    );
    // Only a service that is to be installed can run in another way.
    const advice = /; else run "setsid -f degu (serve|sync --every 60)" with the same options\n$/;
    assertEquals(advice.exec(stderr)?.[1], ["serve", "sync --every 60"][i], stderr);
  }
});

Deno.test("an invalid service is refused before a unit is written", async () => {
  await using homes = await AgentHomes.create("desk", "laptop");
  await homes.pair("laptop", "desk", undefined, "192.0.2.1:7443");
  await fill(homes.path, { "a,b": null, "dir": null, "file": "" });
  const unix = ["--share", homes.joinPath("dir"), "--listen", "unix:/run/a"];
  const rows: [code: number, expectedMessage: string, ...args: string[]][] = [
    [1, "its path has a comma", "--share", homes.joinPath("a,b")],
    [2, "its keys must not leave it", "--share", homes.joinPath("laptop")],
    [2, "--listen: a service can listen only at IP addresses", ...unix],
    [2, "unknown command 'put'; usage: degu service install serve|sync", "put", "a"],
    [2, "--dry-run is for a single run", "sync", "-n", homes.joinPath("dir"), "desk:"],
    [3, 'there is no peer "toaster"', "sync", homes.joinPath("dir"), "toaster:"],
    [1, "its keys", "sync", homes.joinPath("laptop"), "desk:"],
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
  for (const args of [["install", "--share", homes.joinPath("dir")], ["remove"], ["list"]]) {
    const terminal = { columns: 500, rows: 24 };
    const agent = homes.start("laptop", ["service", ...args], { terminal, stdin: null });
    const { stdout } = await agent.waitForEnd();
    const note = "degu needs systemctl, to start and stop services: if Deno asks, type y";
    assertStringIncludes(stdout, note);
  }
  const help = await homes.runToSuccess("laptop", ["service", "--help"]);
  for (const command of ["install", "list", "remove"]) assert(help.includes(command), help);
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

/**
 * Creates a stand-in for systemctl, which prints a list of directories and what systemd 252 has
 * printed of units, and records its calls. Returns the path of programs.
 */
async function createSystemctl(homes: AgentHomes, printedPaths: string): Promise<string> {
  const recorded = Object.fromEntries(
    Object.entries(SHOWN_UNITS).map(([unit, text]) => [`bin/shown/${unit}`, text]),
  );
  await fill(homes.path, { "bin/paths": printedPaths, "bin/timers": SHOWN_TIMERS, ...recorded });
  const script = `#!/bin/sh
cd '${homes.joinPath("bin")}' || exit
case "$*" in
*UnitPath*) exec cat paths ;;
*list-timers*) exec cat timers ;;
'--user show '*) ;;
*) echo "$*" >> calls; exit ;;
esac
[ "$TZ" = UTC ] || exit
shift 3
end=
for unit; do
  printf "$end"
  cat "shown/$unit" 2> refused || sed "s/degu-9.service/$unit/" shown/none
  end='\\n'
done
`;
  await Deno.writeTextFile(homes.joinPath("bin/systemctl"), script, { mode: 0o755 });
  return `${homes.joinPath("bin")}:/bin:/usr/bin`;
}

const SHOWN_TIMERS =
  `[{"next":1796076988851245,"left":1796076988851245,"last":1796076963608182,"passed":1796076963608182,"unit":"degu-sync-to-desk-old.timer","activates":"degu-sync-to-desk-old.service"},{"next":null,"left":null,"last":1796076968361921,"passed":1796076968361921,"unit":"degu-sync-to-desk-Documents.timer","activates":"degu-sync-to-desk-Documents.service"}]
`;

/** A running service, a broken file, a sync that runs, a timer without a service, and no unit. */
const SHOWN_UNITS = {
  "degu.service": `ExecMainStartTimestamp=Mon 2026-11-30 22:15:42 UTC
ExecMainExitTimestamp=
ExecMainCode=0
ExecMainStatus=0
ExecStart={ path=/usr/lib/node_modules/deno/deno ; argv[]=/usr/lib/node_modules/deno/deno run --no-prompt --cached-only --minimum-dependency-age=0 --no-config --allow-read=/home/anna/.local/state/degu,/home/anna/Share 100%$$HOME "x" --allow-write=/home/anna/.local/state/degu --allow-net=127.0.0.1:7443 --allow-sys=uid /home/anna/.deno/lib/degu-0.1.0/main.ts --home /home/anna/.local/state/degu serve --share /home/anna/Share 100%$$HOME "x" --listen 127.0.0.1:7443 --no-create ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }
Id=degu.service
LoadState=loaded
ActiveState=active
`,
  "degu-2.service": `ExecMainStartTimestamp=Mon 2026-11-30 22:15:48 UTC
ExecMainExitTimestamp=Mon 2026-11-30 22:15:48 UTC
ExecMainCode=2
ExecMainStatus=15
Id=degu-2.service
LoadState=bad-setting
ActiveState=inactive
`,
  "degu-sync-to-desk-Documents.service": `ExecMainStartTimestamp=Mon 2026-11-30 22:16:08 UTC
ExecMainExitTimestamp=
ExecMainCode=0
ExecMainStatus=0
ExecStart={ path=/usr/lib/node_modules/deno/deno ; argv[]=/usr/lib/node_modules/deno/deno run --no-prompt --cached-only --minimum-dependency-age=0 --no-config --allow-read=/home/anna/.local/state/degu,/home/anna/Documents --allow-write=/home/anna/.local/state/degu --allow-net=127.0.0.1:7444 --allow-sys=uid /home/anna/.deno/lib/degu-0.1.0/main.ts --home /home/anna/.local/state/degu --quiet sync --no-find /home/anna/Documents desk:Documents ; ignore_errors=no ; start_time=[Mon 2026-11-30 22:16:08 UTC] ; stop_time=[n/a] ; pid=310 ; code=(null) ; status=0/0 }
Id=degu-sync-to-desk-Documents.service
LoadState=loaded
ActiveState=activating
`,
  "degu-sync-to-desk-old.service": `ExecMainStartTimestamp=Mon 2026-11-30 22:16:03 UTC
ExecMainExitTimestamp=Mon 2026-11-30 22:16:05 UTC
ExecMainCode=1
ExecMainStatus=1
Id=degu-sync-to-desk-old.service
LoadState=not-found
ActiveState=failed
`,
  "none": `ExecMainStartTimestamp=
ExecMainExitTimestamp=
ExecMainCode=0
ExecMainStatus=0
Id=degu-9.service
LoadState=not-found
ActiveState=inactive
`,
  "degu-sync-to-desk-Documents.timer": `Id=degu-sync-to-desk-Documents.timer
LoadState=loaded
ActiveState=active
`,
  "degu-sync-to-desk-old.timer": `Id=degu-sync-to-desk-old.timer
LoadState=loaded
ActiveState=active
`,
};

/** Creates the units of {@linkcode SHOWN_UNITS}, a timer without a service, and units of others. */
async function createUnits(homes: AgentHomes): Promise<{ units: string; through: string[] }> {
  const units = homes.joinPath("systemd/user");
  const makeUnit = (...job: string[]) =>
    `# Written by degu service install; degu service remove takes it away.\n# ${
      JSON.stringify(job)
    }\n[Unit]\n`;
  const sync = makeUnit("sync", homes.joinPath("desk"), "/home/anna/Documents", "to", "desk");
  await fill(units, {
    "degu.service": makeUnit("serve", homes.joinPath("desk")),
    "degu-2.service": makeUnit("serve", homes.joinPath("laptop")),
    "degu-sync-to-desk-Documents.service": sync,
    "degu-sync-to-desk-Documents.timer": sync,
    "degu-sync-to-desk-old.timer": makeUnit("sync", homes.joinPath("desk"), "/old", "to", "desk"),
    "degu-sync-own.service": "[Unit]\n",
    "degu-sync-a b.service": makeUnit("sync"),
    "other.service": makeUnit("serve"),
  });
  const path = await createSystemctl(homes, `${units}.control /etc/systemd/user\n`);
  return { units, through: ["bash", "-c", 'TZ=Etc/GMT-2 PATH="$0" exec "$@"', path] };
}

Deno.test("degu service list prints what systemd knows of each service, also of a broken one", async () => {
  await using homes = await AgentHomes.create("desk");
  const { through } = await createUnits(homes);
  const list = ["--home", homes.joinPath("desk"), "service", "list"];
  const [text, json] = await runAgentCommands([list, ["--json", ...list]], through);
  assertEquals([text!.code, json!.code], [0, 0], text!.stderr + json!.stderr);
  const serve =
    `degu --home /home/anna/.local/state/degu serve --share /home/anna/Share 100%$HOME ` +
    `"x" --listen 127.0.0.1:7443 --no-create`;
  const sync = "degu --home /home/anna/.local/state/degu --quiet sync --no-find " +
    "/home/anna/Documents desk:Documents";
  assertEquals(
    text!.stdout,
    `degu.service: active; last run 2026-12-01 00:15, exit code none; next run none
  ${serve}
degu-2.service: bad-setting; last run 2026-12-01 00:15, exit code 143; next run none
  (no command)
degu-sync-to-desk-Documents.service: activating; last run 2026-12-01 00:16, exit code none; next run none
  ${sync}
degu-sync-to-desk-old.service: not-found; last run 2026-12-01 00:16, exit code 1; next run 2026-12-01 00:16
  (no command)
`,
  );
  const [running, none] = [{ exitCode: null, nextRun: null }, { command: null }];
  assertEquals(parseObjects(json!), [
    {
      ...{ unit: "degu.service", state: "active", command: serve },
      ...{ lastRun: "2026-11-30T22:15:42.000Z", ...running },
    },
    {
      ...{ unit: "degu-2.service", state: "bad-setting", ...none },
      ...{ lastRun: "2026-11-30T22:15:48.000Z", exitCode: 143, nextRun: null },
    },
    {
      ...{ unit: "degu-sync-to-desk-Documents.service", state: "activating", command: sync },
      ...{ lastRun: "2026-11-30T22:16:08.000Z", ...running },
    },
    {
      ...{ unit: "degu-sync-to-desk-old.service", state: "not-found", ...none },
      ...{ lastRun: "2026-11-30T22:16:03.000Z", exitCode: 1, nextRun: "2026-11-30T22:16:28.851Z" },
    },
  ]);
});

Deno.test("with --allow-run=systemctl, degu runs systemctl also if LD_LIBRARY_PATH has a value", async () => {
  await using homes = await AgentHomes.create("desk");
  const path = await createSystemctl(homes, `${homes.joinPath("systemd")}/systemd/user.control\n`);
  const variables = `LD_LIBRARY_PATH="${homes.path}" PATH="$0"`;
  const result = await runAgent(["--home", homes.joinPath("desk"), "service", "list"], {
    flags: ["--allow-read", "--allow-run=systemctl"],
    through: ["bash", "-c", `${variables} exec "$@"`, path],
  });
  const stderr = "degu service install has not installed any service\n";
  assertEquals(result, { code: 0, stdout: "", stderr });
});

Deno.test("degu service remove removes only the service that it names, once, and no unit of others", async () => {
  await using homes = await AgentHomes.create("desk");
  const { units, through } = await createUnits(homes);
  const documents = ["degu-sync-to-desk-Documents.service", "degu-sync-to-desk-Documents.timer"];
  const old = "degu-sync-to-desk-old.timer";
  const rows: [name: string, removed: string[], stopped: string[]][] = [
    ["degu.service", ["degu.service"], ["degu.service"]],
    ["degu-sync-to-desk-Documents", documents, documents],
    // systemd refuses to stop a broken one.
    ["degu-2", ["degu-2.service"], []],
    [old, [old], [old]],
  ];
  const others = [
    "degu-sync-own",
    "other",
    "degu-sync-a b",
    "ssh",
    "../user/degu",
    "a\"b%c'$d",
    "",
  ];
  const names = [...rows.flatMap(([name]) => [name, name]), ...others];
  const home = homes.joinPath("desk");
  const results = await runAgentCommands(
    names.map((name) => ["--home", home, "--json", "service", "remove", "--", name]),
    through,
  );
  for (const [, removed] of rows) {
    const [first, second] = results.splice(0, 2);
    assertEquals(first!.code, 0, first!.stderr);
    assertEquals(parseObjects(first!), removed.map((unit) => ({ removed: join(units, unit) })));
    results.push(second!);
  }
  for (const [index, name] of [...others, ...rows.map(([name]) => name)].entries()) {
    const { code, stdout, stderr } = results[index]!;
    const message = `degu service install has not installed ${JSON.stringify(name)}`;
    assertEquals(JSON.parse(stdout), { error: { code: "NOT_FOUND", message } });
    assertEquals([code, stderr], [1, `degu: error: ${message}\n`]);
  }
  const calls = rows.flatMap(([, removed, stopped]) => [
    `--user disable ${removed.join(" ")}`,
    ...stopped.length > 0 ? [`--user stop ${stopped.join(" ")}`] : [],
    "--user daemon-reload",
  ]);
  const recordedCalls = await Deno.readTextFile(homes.joinPath("bin/calls"));
  assertEquals(recordedCalls.trimEnd().split("\n"), calls);
  const remaining = ["degu-sync-a b.service", "degu-sync-own.service", "other.service"];
  assertEquals(await listNames(units), remaining);
});

Deno.test("a service at the port of another service of the user is refused before anything is created", async () => {
  await using homes = await AgentHomes.create("desk");
  await fill(homes.path, { share: null });
  const { units, through } = await createUnits(homes);
  const before = await listNames(units);
  const rows: [home: string, unit: string | null, ...listen: string[]][] = [
    ["refused", null],
    ["refused", null, "127.0.0.1:7443"],
    ["refused", null, "127.0.0.1:7445", "[::1]:7443"],
    ["desk", "degu", "127.0.0.1:7443"],
    ["new", "degu-3", "127.0.0.1:7445"],
    ["newer", "degu-4", "127.0.0.1:0"],
  ];
  const makeCommand = (home: string, ...args: string[]) => [
    ...["--home", homes.joinPath(home), "--json", "service", ...args],
  ];
  const results = await runAgentCommands(
    rows.map(([home, , ...listen]) =>
      makeCommand(
        home,
        ...["install", "--share", homes.joinPath("share")],
        ...listen.flatMap((address) => ["--listen", address]),
      )
    ),
    through,
  );
  for (const [index, [, unit]] of rows.entries()) {
    const { code, stdout, stderr } = results[index]!;
    const message = "degu.service has port 7443: choose another port with --listen";
    if (unit === null) {
      const error = { code: "IN_USE", message, unit: "degu.service", port: 7443 };
      assertEquals([JSON.parse(stdout), code, stderr], [{ error }, 1, `degu: error: ${message}\n`]);
    } else assertEquals(JSON.parse(stdout).path, join(units, `${unit}.service`), stderr);
  }
  const added = ["degu-3.service", "degu-4.service"];
  assertEquals(await listNames(units), [...before, ...added].toSorted());
  assertEquals((await listNames(homes.path)).includes("refused"), false);
});

Deno.test("a service keeps its name when it is installed again, also if a lower number is free", async () => {
  await using homes = await AgentHomes.create("desk", "laptop");
  await fill(homes.path, { share: null, units: null });
  const units = homes.joinPath("systemd/user");
  const path = await createSystemctl(homes, `${units}.control\n`);
  const install = ["install", "--share", homes.joinPath("share"), "--listen", "127.0.0.1:0"];
  const rows: [home: string, ...args: string[]][] = [
    ["desk", ...install],
    ["laptop", ...install],
    ["desk", "remove", "degu"],
    ["laptop", ...install],
  ];
  const results = await runAgentCommands(
    rows.map(([home, ...args]) => ["--home", homes.joinPath(home), "service", ...args]),
    ["bash", "-c", 'PATH="$0" exec "$@"', path],
  );
  assertStringIncludes(results[3]!.stdout, `wrote ${units}/degu-2.service\n`);
  assertEquals(await listNames(units), ["degu-2.service"]);
});

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
    ["degu-2", "desk", "--share", a, "--listen", "127.0.0.1:7444"],
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
