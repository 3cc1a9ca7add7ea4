/**
 * The permissions of the commands: each command in agent/docs/permissions.md works, and requests
 * exactly the permissions of its row, which are also those that `degu permissions` prints.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { createTempDir, fill } from "@degu/testing/directories.ts";
import {
  assertRequested,
  formatFlags,
  parsePermissions,
  readAudit,
} from "@degu/testing/permissions.ts";
import { importMapFlags, runProgram } from "@degu/testing/processes.ts";
import { Inbox } from "@degu/internal/agent/serve/inbox.ts";
import { makeProgram } from "@degu/internal/agent/program.ts";
import { AgentHomes, type AgentResult, watch } from "@degu/testing/agents.ts";
import { findObstacle, runOrThrow, startCommand } from "@degu/testing/commands.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { readProjectFile } from "@degu/testing/project_files.ts";
import { patch } from "@degu/testing/patching.ts";
import { dirname } from "node:path";
import type { Step } from "../../tests/programs/agent_permissions.ts";

/**
 * A command that runs the appended command in a namespace with only the loopback interface, beside
 * a user's systemd.
 */
const THROUGH_SYSTEMD: readonly string[] = [
  ..."unshare --map-root-user --net --mount --pid --fork --mount-proc bash -c".split(" "),
  `mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && mkdir -m 700 /run/user || exit
ip link set lo up
export XDG_RUNTIME_DIR=/run/user
/usr/lib/systemd/systemd --user &> /dev/null &
for ((i = 0; i < 300; i++)); do
  systemctl --user show &> /dev/null && break
  sleep 0.1
done
systemctl --user show > /dev/null && "$@"
code=$?
systemctl --user exit && wait # it removes its groups of processes, but not its own
rmdir /sys/fs/cgroup/*/init.scope &> /dev/null
exit $code`,
  "bash",
];

/** Returns the reason why {@linkcode THROUGH_SYSTEMD} can't start; `null` if it can. */
function findSystemdObstacle(): Promise<string | null> {
  return findObstacle([...THROUGH_SYSTEMD, "true"]);
}

/**
 * An optional permission for all commands. files/tests/full_disks_test.ts tests full disks with and
 * without it.
 */
const OPTIONAL = "sys=statfs";

/** The log of a day on which a file was stored. */
const LIST = "1.new";
const LINE = '"2020-01-01T09_1"';

/** The permissions in each row of the table in agent/docs/permissions.md. */
const section = await readProjectFile("agent/docs/permissions.md");
const ROWS = new Map(
  Array.from(
    section.split("\n## ")[0]!.matchAll(/^\| `([^|]+)` +\| (?:none|`([^`]+)`) +\|$/gm),
    ([, rows = "", flags = ""]) => [rows.split("`, `"), flags.split(" ").filter(Boolean)] as const,
  ).flatMap(([rows, flags]) => rows.map((row) => [row, flags.flatMap(parsePermissions)])),
);

/** Whether a row needs systemd. */
const isOfService = (row: string) => row.startsWith("service ");

/** A command for a row of the table. */
interface Case {
  readonly args: readonly string[];
  /** The home to use; by default the viewer's. `null` to find it by the environment. */
  readonly home?: string | null;
  /** The values for the other capitalized words of the row. */
  readonly values?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  /**
   * The output after which the test interrupts the command; by default the command ends by itself.
   */
  readonly until?: string;
  readonly onTerminal?: boolean;
  /** The exit code with all permissions; 0 by default. */
  readonly code?: number;
}

/**
 * Makes a camera that serves a share and an inbox, a viewer that is paired with it, other devices,
 * and the commands.
 */
async function setUp(homes: AgentHomes): Promise<Record<string, Case>> {
  const [share, inbox] = [homes.joinPath("share"), homes.joinPath("inbox")];
  const [localDirectory, tmp] = [homes.joinPath("here"), homes.joinPath("tmp")];
  await fill(homes.path, { "inbox": null, "person/Inbox": null, "tmp": null });
  await fill(share, { "shared": "x", "dir/file": "x".repeat(100_000) });
  await fill(localDirectory, {
    ...{ "restored": null, "copy/file": "x", [`copy/.degu-kept/${LIST}`]: LINE },
    ...{ "target": null, "synced": null },
    ...{ "file": "x", "own/file": "x", "outbox/file": "x" },
  });
  const outbox = `${localDirectory}/outbox`;
  const [, viewer] = await homes.init("camera", "viewer", "old", "guest", "degu");
  await Deno.mkdir(homes.joinPath("state"));
  await Deno.rename(homes.joinPath("degu"), homes.joinPath("state", "degu"));
  await homes.pair("camera", "viewer");
  await homes.pair("viewer", "old");
  const files = ["--share", share, "--inbox", inbox];
  const { address: PEER } = await homes.serve("camera", files, "viewer");
  const directory = await new Inbox(inbox).assignDirectory({ id: viewer!, name: "viewer" });
  await fill(inbox, { [`${directory}/old`]: "x" });
  const local = ["--listen", "127.0.0.1:0", "--serving", "127.0.0.1:7443"];
  const invite = homes.start("camera", ["invite", ...local]);
  const [ADDRESS, INVITER] = ["127.0.0.1:0", "127.0.0.1"];
  const invited = { until: "degu:", code: 130 };
  const send = homes.start("camera", ["send", "--listen", ADDRESS, `${share}/dir`]);
  const [copy, restored] = [`${localDirectory}/copy`, `${localDirectory}/restored`];
  const [target, synced] = [`${localDirectory}/target`, `${localDirectory}/synced`];
  const [file, ownDirectory] = [`${localDirectory}/file`, `${localDirectory}/own`];
  // A file is moved three seconds after its last change, whose time (ctime) no test can set.
  const changedAt = (await Deno.stat(`${outbox}/file`)).ctime!.getTime();
  await new Promise((resolve) => setTimeout(resolve, changedAt + 3_100 - Date.now()));
  return {
    "send --listen ADDRESS DIR": {
      args: ["send", "--listen", ADDRESS, ownDirectory],
      values: { ADDRESS, DIR: ownDirectory, TMP: tmp },
      ...invited,
      until: "degu-send:",
    },
    "receive LINE TARGET": {
      args: ["receive", "-", target],
      values: { INVITER, TARGET: target, TMP: tmp },
      stdin: await send.waitForLine("degu-send:"),
    },
    "permissions get PEER:PATH TARGET": {
      args: ["permissions", "get", "camera:shared", target],
      values: { TARGET: target },
    },
    "completions": { args: ["completions", "bash"] },
    "init": { args: ["init"], home: "new" },
    "init --name NAME": { args: ["init", "--name", "x"], home: "new" },
    "id": { args: ["id"] },
    "id, without --home": { args: ["id"], home: null },
    "peers": { args: ["peers"] },
    "rename": { args: ["rename", "camera", "camera"] },
    "forget": { args: ["forget", "old"] },
    "pair --listen ADDRESS --serving ADDRESS": {
      args: ["pair", ...local],
      values: { ADDRESS },
      onTerminal: true,
      until: "--address",
      code: 130,
    },
    "invite": { args: ["invite"], ...invited },
    "invite --listen ADDRESS --serving ADDRESS": {
      args: ["invite", ...local],
      values: { ADDRESS },
      ...invited,
    },
    "join --serving ADDRESS": {
      args: ["join", "-", "--serving", "127.0.0.1:2"],
      home: "guest",
      values: { INVITER },
      stdin: await invite.waitForLine("degu:"),
    },
    "serve --listen ADDRESS --share SHARE --inbox INBOX": {
      args: ["serve", "--listen", ADDRESS, ...files],
      values: { SHARE: share, INBOX: inbox, ADDRESS },
      until: "serving",
    },
    "serve --listen ADDRESS --inbox": {
      args: ["serve", "--listen", ADDRESS, "--inbox"],
      values: { INBOX: homes.joinPath("person", "Inbox"), ADDRESS },
      until: "serving",
    },
    "ping": { args: ["ping", "camera"], values: { PEER } },
    "ls": { args: ["ls", "camera:"], values: { PEER } },
    "get PEER:PATH... TARGET": {
      args: ["get", "camera:shared", target],
      values: { PEER, TARGET: target },
    },
    "put FILE PEER:PATH": { args: ["put", file, "camera:"], values: { PEER, FILE: file } },
    "rm": { args: ["rm", "camera:old"], values: { PEER } },
    "sync PEER:DIR DIR": { args: ["sync", "camera:dir", synced], values: { PEER, DIR: synced } },
    "sync DIR PEER:DIR": {
      args: ["sync", ownDirectory, "camera:there"],
      values: { PEER, DIR: ownDirectory },
    },
    "restore DIR NEW": {
      args: ["restore", "--at", "2020-01-01T09_1", copy, restored],
      values: { DIR: copy, NEW: restored },
    },
    "sync --move DIR PEER:DIR": {
      args: ["sync", "--move", outbox, "camera:moved"],
      values: { PEER, DIR: outbox },
    },
  };
}

/** A command with its permissions. */
interface Command extends Case {
  readonly row: string;
  readonly permissions: readonly string[];
}

Deno.test("each command needs the flags of its row, every command has a row, and every row a test", async () => {
  await using homes = await AgentHomes.create();
  using _name = patch(Deno, "hostname", () => () => "camera");
  const cases = await setUp(homes);
  const rows = [...ROWS.keys()].filter((row) => !isOfService(row));
  assertEquals(rows.toSorted(), Object.keys(cases).toSorted());
  for (const command of (await makeProgram(() => () => Promise.resolve())).commands) {
    const isRow = (row: string) => row.split(/[ ,]/)[0] === command.name();
    assert([...ROWS.keys()].some(isRow), command.name());
  }
  const commands = Object.entries(cases).map(([row, testCase]): Command => {
    const { home = "viewer", values = {} } = testCase;
    const valueOf = (name: string) =>
      name === "HOME" ? homes.joinPath(home ?? "state/degu") : values[name] ?? name;
    const permissions = ROWS.get(row)!.map((each) =>
      each.replace(/(?<==)(?<!^env=)[A-Z]+$/, valueOf)
    );
    return { ...testCase, row, permissions };
  });
  const steps = commands.map(({ args, home = "viewer", stdin = "", until, onTerminal }): Step => {
    const homeArguments = home === null ? [] : ["--home", homes.joinPath(home)];
    const newHome = home === "new" ? homes.joinPath(home) : undefined;
    return { args: [...homeArguments, ...args], stdin, until, onTerminal, made: newHome };
  });
  const audit = homes.joinPath(crypto.randomUUID());
  const env = {
    XDG_STATE_HOME: homes.joinPath("state"),
    HOME: homes.joinPath("person"),
    TMPDIR: homes.joinPath("tmp"),
    DENO_AUDIT_PERMISSIONS: audit,
  };
  const granted = new Set(commands.flatMap(({ permissions }) => permissions));
  const options = {
    flags: [...formatFlags(granted), ...importMapFlags()],
    args: [JSON.stringify(steps)],
    env,
  };
  const results: AgentResult[] = JSON.parse(await runProgram("agent_permissions.ts", options));
  const [, ...requestedPermissions] = await readAudit(audit, env.TMPDIR);
  for (const [i, command] of commands.entries()) {
    const { code, stdout, stderr } = results[i]!;
    assertEquals(code, command.code ?? 0, `${command.row}: ${stdout}${stderr}`);
    // A server asks for the free space only when a file arrives.
    const later = command.row.startsWith("serve ") ? [OPTIONAL] : [];
    assertRequested([...requestedPermissions[i]!, ...later], command.permissions, command.row);
  }
});

/** The rows whose printed line runs in a process: one of each kind of flags. */
const RUN_LINES = [
  "id, without --home",
  "receive LINE TARGET",
  "serve --listen ADDRESS --share SHARE --inbox INBOX",
  "get PEER:PATH... TARGET",
  "sync DIR PEER:DIR",
];

/** The commands that search for a peer, unless an option says otherwise. */
const SEARCHING = ["ping", "ls", "get", "put", "rm", "sync"];

Deno.test("degu permissions prints the flags of each row, with which the command works", async (t) => {
  await using homes = await AgentHomes.create();
  const HOME = homes.joinPath("person");
  using _name = patch(Deno, "hostname", () => () => "camera");
  using _env = patch(
    Deno.env,
    "get",
    (get) => (name) => name === "HOME" ? HOME : get.call(Deno.env, name),
  );
  const cases = await setUp(homes);
  const { denoDir: DENO_DIR } = JSON.parse(await runOrThrow([Deno.execPath(), "info", "--json"]));
  const temporary = await Deno.makeTempDir();
  await Deno.remove(temporary);
  const TMP = await Deno.realPath(dirname(temporary));
  /** Runs a printed line; stops the command after the output of its case. */
  const runLine = async (words: readonly string[], { until }: Partial<Case>) => {
    const [program = "", run = "", ...rest] = words;
    const line = [program, run, "--quiet", "--no-check", ...importMapFlags(), ...rest];
    const env = { NO_COLOR: "1", HOME, DENO_DIR };
    await using agent = watch(startCommand(line, { cwd: homes.path, env }), "", words.join(" "));
    if (until !== undefined) {
      await agent.waitForLine(until);
      agent.kill("SIGINT");
    }
    return await agent.waitForEnd();
  };
  for (const [row, testCase] of Object.entries(cases)) {
    if (row.startsWith("permissions")) continue;
    await t.step(row, async () => {
      const { args: [name = "", ...args], stdin = "", values = {}, code = 0 } = testCase;
      const home = testCase.home ?? "viewer";
      const typed = [
        name,
        ...SEARCHING.includes(name) ? ["--no-find"] : [],
        ...args.map((arg) => arg === "-" ? stdin : arg),
      ];
      const print = (...options: string[]) =>
        homes.runToSuccess(home, [...options, "permissions", ...typed]);
      const { command }: { command: string[] } = JSON.parse(await print("--json"));
      // The line for a shell has the same words.
      const shellLine = `printf '%s\\n' ${(await print()).trimEnd()}`;
      const withoutJson = command.filter((word) => word !== "--json");
      assertEquals((await runOrThrow(["bash", "-c", shellLine])).trimEnd(), withoutJson.join("\n"));
      const permissions = withoutJson.filter((word) => word.startsWith("--allow-"))
        .flatMap(parsePermissions);
      const valueOf = (word: string) =>
        word === "HOME" ? homes.joinPath(home) : { ...values, TMP }[word] ?? word;
      const expected = ROWS.get(row)!
        // The printed line has the option --home.
        .filter((each) => each !== "env=XDG_STATE_HOME")
        .map((each) => each.replace(/(?<==)(?<!^env=)[A-Z]+$/, valueOf));
      assertEquals(permissions.toSorted(), expected.toSorted());
      if (!RUN_LINES.includes(row)) return;
      if (row.startsWith("get")) {
        for (const missing of permissions.filter((each) => each !== OPTIONAL)) {
          const rest = formatFlags(permissions.filter((each) => each !== missing));
          const others = withoutJson.filter((word) => !word.startsWith("--allow-"));
          const { code, stderr } = await runLine(others.toSpliced(2, 0, ...rest), testCase);
          assert(code !== 0, `${row} works without ${missing}`);
          assertMatch(stderr, new RegExp(`--allow-${missing.split("=")[0]}`));
        }
      }
      const result = await runLine(withoutJson, testCase);
      assertEquals(result.code, code, `${withoutJson.join(" ")}: ${result.stdout}${result.stderr}`);
    });
  }
});

Deno.test(
  "degu service installs serve and sync, which work, lists and removes them, with the flags of its rows",
  ignoreIf(await findSystemdObstacle()),
  async () => {
    await using dir = await createTempDir();
    const { denoDir: DENO_DIR } = JSON.parse(await runOrThrow([Deno.execPath(), "info", "--json"]));
    const rows = Object.fromEntries([...ROWS].filter(([row]) => isOfService(row)));
    const printed = await runProgram("agent_service.ts", {
      flags: ["--allow-all", ...importMapFlags()],
      args: [dir.path, JSON.stringify(rows)],
      through: THROUGH_SYSTEMD,
      env: { HOME: dir.path, DENO_DIR },
    });
    const { ends, own: said, ...seen } = JSON.parse(printed);
    const exists = /degu\.service" exists, but was not written by degu service install/;
    assertMatch(said, exists);
    for (const [row, { code, stdout, stderr }] of Object.entries<AgentResult>(ends)) {
      assertEquals(code, 0, `${row}: ${stdout}${stderr}`);
    }
    const sync = ["service", "timer"].map((kind) => `degu-sync-to-desk-copy.${kind}`);
    const customUnit = "degu-sync-own.service"; // the unit of the user who wrote it
    const targets = ["default.target.wants", "timers.target.wants"];
    const installed = [...targets, customUnit, ...sync, "degu.service"];
    assertEquals(seen, { installed: installed.toSorted(), left: [customUnit], serves: false });
  },
);
