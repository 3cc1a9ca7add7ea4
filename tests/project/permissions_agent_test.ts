/**
 * What docs/permissions.md says of the program: each command works and asks for nothing but those of its row, and without any one of
 * them it fails and says which one is missing.
 */
import { makeProgram } from "@degu/internal/agent/program.ts";
import { type AgentEnd, AgentHomes } from "@degu/testing/agents.ts";
import { mustRun } from "@degu/testing/commands.ts";
import { fill, tempDir } from "@degu/testing/directories.ts";
import {
  assertAsked,
  flagsOf,
  inFewProcesses,
  type Lacking,
  permissionsOf,
  readAudit,
} from "@degu/testing/permissions.ts";
import { systemdObstacle, THROUGH_SYSTEMD } from "@degu/testing/namespaces.ts";
import { testUnless } from "@degu/testing/terminals.ts";
import { importMapFlags, runProgram } from "@degu/testing/programs.ts";
import { read } from "@degu/testing/tree.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { patch } from "@degu/testing/patching.ts";
import type { Step } from "../programs/agent_permissions.ts";

/** Processes at a time: each needs most of a core for as long as it starts. */
const AT_A_TIME = 3;

/**
 * A permission that every command does without: tests/integration/agent_work_test.ts has full disks
 * with it and without.
 */
const OPTIONAL = "sys=statfs";

/** What a command says of a permission that is missing. */
const MISSING = /Requires \w+ access|--allow-\w+/;

/** The permissions of each row of the table of docs/permissions.md. */
const [, section = ""] = (await read("docs/permissions.md")).split("\n## The program\n");
const ROWS = new Map(
  Array.from(
    section.split("\n## ")[0]!.matchAll(/^\| `([^`]+)` +\| (?:none|`([^`]+)`) +\|$/gm),
    ([, row = "", flags = ""]) => [row, flags.split(" ").filter(Boolean).flatMap(permissionsOf)],
  ),
);

/** Whether a row needs a systemd. */
const isOfService = (row: string) => row.startsWith("service ");

/** Those that open the device. */
const OPENING = ROWS.get("id")!;

/** A command for a row of the table. */
interface Case {
  readonly args: readonly string[];
  /** Whose home it is; the viewer's if left out. `null` to find it by the environment. */
  readonly home?: string | null;
  /** What the other words in capitals of the row stand for. */
  readonly values?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  /** What is waited for until it is interrupted; if left out, it ends by itself. */
  readonly until?: string;
  /** The exit code with all permissions; 0 if left out. */
  readonly code?: number;
}

/** A camera, that serves a share and an inbox, a viewer, that is paired with it, others, and the commands. */
async function setUp(homes: AgentHomes): Promise<Record<string, Case>> {
  const [share, inbox, here] = [homes.at("share"), homes.at("inbox"), homes.at("here")];
  await fill(homes.path, {
    "inbox": null,
    "here/target": null,
    "here/synced": null,
    "person/Inbox": null,
    "tmp": null,
  });
  await fill(share, { "shared": "x", "dir/file": "x".repeat(100_000) });
  await fill(here, { "file": "x", "own/file": "x" });
  await homes.init("camera", "viewer", "old", "guest", "degu");
  await Deno.mkdir(homes.at("state"));
  await Deno.rename(homes.at("degu"), homes.at("state", "degu"));
  await homes.pair("camera", "viewer");
  await homes.pair("viewer", "old");
  const files = ["--share", share, "--inbox", inbox];
  const { address: PEER } = await homes.serve("camera", files, "viewer");
  await fill(inbox, { "old": "x" });
  const local = ["--listen", "127.0.0.1:0", "--serving", "127.0.0.1:7443"];
  const invite = homes.start("camera", ["invite", ...local]);
  const [ADDRESS, INVITER] = ["127.0.0.1:0", "127.0.0.1"];
  const invited = { until: "degu:", code: 130 };
  const send = homes.start("camera", ["send", "--listen", ADDRESS, `${share}/dir`]);
  const [target, synced, own] = [`${here}/target`, `${here}/synced`, `${here}/own`];
  return {
    "send --listen ADDRESS DIR": {
      args: ["send", "--listen", ADDRESS, own],
      values: { ADDRESS, DIR: own, TMP: homes.at("tmp") },
      ...invited,
    },
    "receive LINE TARGET": {
      args: ["receive", "-", target],
      values: { INVITER, TARGET: target, TMP: homes.at("tmp") },
      stdin: await send.line("degu:"),
    },
    "completions": { args: ["completions", "bash"] },
    "init": { args: ["init"], home: "new" },
    "init --name NAME": { args: ["init", "--name", "x"], home: "new" },
    "id": { args: ["id"] },
    "id, without --home": { args: ["id"], home: null },
    "peers": { args: ["peers"] },
    "rename": { args: ["rename", "camera", "camera"] },
    "forget": { args: ["forget", "old"] },
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
      stdin: await invite.line("degu:"),
    },
    "serve --listen ADDRESS --share SHARE --inbox INBOX": {
      args: ["serve", "--listen", ADDRESS, ...files],
      values: { SHARE: share, INBOX: inbox, ADDRESS },
      until: "serving",
    },
    "serve --listen ADDRESS --inbox": {
      args: ["serve", "--listen", ADDRESS, "--inbox"],
      values: { INBOX: homes.at("person", "Inbox"), ADDRESS },
      until: "serving",
    },
    "ping": { args: ["ping", "camera"], values: { PEER } },
    "ls": { args: ["ls", "camera:"], values: { PEER } },
    "get PEER:PATH... TARGET": {
      args: ["get", "camera:shared", target],
      values: { PEER, TARGET: target },
    },
    "put FILE PEER:PATH": {
      args: ["put", `${here}/file`, "camera:"],
      values: { PEER, FILE: `${here}/file` },
    },
    "rm": { args: ["rm", "camera:old"], values: { PEER } },
    "sync PEER:DIR DIR": {
      args: ["sync", "camera:dir", synced],
      values: { PEER, DIR: synced },
    },
    "sync DIR PEER:DIR": {
      args: ["sync", own, "camera:there"],
      values: { PEER, DIR: own },
    },
  };
}

/** A command with its permissions. */
interface Command extends Case {
  readonly row: string;
  readonly permissions: readonly string[];
}

/** A command, and which of its permissions is missing, if one is. */
type Look = { readonly command: Command } & Partial<Lacking>;

/** Runs commands in one process, which gives up what is missing; checks how they have ended, and what the others have asked for. */
async function run(homes: AgentHomes, looks: readonly Look[]): Promise<void> {
  const steps = looks.map(({ command, missing }): Step => {
    const { args, home = "viewer", stdin = "", until } = command;
    const at = home === null ? [] : ["--home", homes.at(home)];
    const made = home === "new" ? homes.at(home) : undefined;
    return { missing, args: [...at, ...args], stdin, until, made };
  });
  const audit = homes.at(crypto.randomUUID());
  const env = {
    XDG_STATE_HOME: homes.at("state"),
    HOME: homes.at("person"),
    TMPDIR: homes.at("tmp"),
    DENO_AUDIT_PERMISSIONS: audit,
  };
  const granted = new Set(looks.flatMap(({ command }) => command.permissions));
  const options = {
    flags: [...flagsOf(granted), ...importMapFlags()],
    args: [JSON.stringify(steps)],
    env,
  };
  const ends: AgentEnd[] = JSON.parse(await runProgram("agent_permissions.ts", options));
  const [, ...asked] = await readAudit(audit, env.TMPDIR);
  for (const [i, { command, missing }] of looks.entries()) {
    const { code, stdout, stderr } = ends[i]!;
    const what = `${command.row} without ${missing}: ${stdout}${stderr}`;
    assertEquals(code, missing === undefined ? command.code ?? 0 : 1, what);
    if (missing !== undefined) assertMatch(stderr, MISSING, what);
    // A server asks for it when a peer sends something, which none does here.
    const unasked = command.until === undefined ? null : OPTIONAL;
    const expected = command.permissions.filter((each) => each !== unasked);
    if (missing === undefined) assertAsked(asked[i]!, expected, command.row);
  }
}

Deno.test("each command needs the flags of its row, every command has a row, and every row a test", async () => {
  await using homes = await AgentHomes.create();
  using _name = patch(Deno, "hostname", () => () => "camera");
  const cases = await setUp(homes);
  assertEquals(
    [...ROWS.keys()].filter((row) => !isOfService(row)).toSorted(),
    Object.keys(cases).toSorted(),
  );
  for (const command of makeProgram(() => () => Promise.resolve()).commands) {
    const isRow = (row: string) => row.split(/[ ,]/)[0] === command.name();
    assert([...ROWS.keys()].some(isRow), command.name());
  }
  const commands = Object.entries(cases).map(([row, given]): Command => {
    const { home = "viewer", values = {} } = given;
    const valueOf = (name: string) =>
      name === "HOME" ? homes.at(home ?? "state/degu") : values[name] ?? name;
    const permissions = ROWS.get(row)!.map((each) =>
      each.replace(/(?<==)(?<!^env=)[A-Z]+$/, valueOf)
    );
    return { ...given, row, permissions };
  });
  const opening = commands.find(({ row }) => row === "id")!.permissions;
  const lacking = commands.flatMap((command, i) => {
    // Of what every command needs to open the device only two leave out all, and each other one the next: a process takes time.
    const kept = ["id", "init"].includes(command.row)
      ? []
      : OPENING.toSpliced(i % OPENING.length, 1);
    const { permissions } = command;
    kept.push(OPTIONAL);
    const tried = permissions.filter((_, i) => !kept.includes(ROWS.get(command.row)![i]!));
    return tried.map((missing) => ({ command, permissions, missing }));
  });
  // With both groups of mDNS they would speak on every interface: tests/integration/agent_network_test.ts does, in namespaces.
  const mdns = ["net=224.0.0.251:5353", "sys=networkInterfaces"];
  const serve = ["serve", "--listen", "127.0.0.1:0", "--announce"];
  for (const args of [serve, ["ping", "--find", "camera"]]) {
    const permissions = [...opening, "net=127.0.0.1:0", ...mdns];
    const command = { row: args.join(" "), args, permissions };
    lacking.push(...mdns.map((missing) => ({ command, permissions, missing })));
  }
  const processes = inFewProcesses(lacking);
  await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
    for (let next = processes.shift(); next !== undefined; next = processes.shift()) {
      await run(homes, next);
    }
  }));
  // What works needs no work a second time.
  await run(homes, commands.map((command) => ({ command })));
});

testUnless(
  await systemdObstacle(),
  "service installs serve and sync, which work, and removes them, with exactly the flags of its rows",
  async () => {
    await using dir = await tempDir();
    const { denoDir: DENO_DIR } = JSON.parse(await mustRun([Deno.execPath(), "info", "--json"]));
    const rows = Object.fromEntries([...ROWS].filter(([row]) => isOfService(row)));
    const printed = await runProgram("agent_service.ts", {
      flags: ["--allow-all", ...importMapFlags()],
      args: [dir.path, JSON.stringify(rows)],
      through: THROUGH_SYSTEMD,
      env: { HOME: dir.path, DENO_DIR },
    });
    const { ends, own: said, ...seen }: {
      ends: { what: string; end: AgentEnd }[];
      own: string;
    } & Record<string, unknown> = JSON.parse(printed);
    assertMatch(said, /degu\.service is there, and not by "degu service install": remove/);
    for (const { what, end: { code, stdout, stderr } } of ends) {
      const isAllowed = what.endsWith("without null");
      assertEquals(code, isAllowed ? 0 : 1, `${what}: ${stdout}${stderr}`);
      if (!isAllowed) assertMatch(stderr, MISSING, what);
    }
    const sync = ["service", "timer"].map((kind) => `degu-sync-to-desk-copy.${kind}`);
    const own = "degu-sync-own.service"; // of the person, who has written it
    const installed = ["default.target.wants", own, ...sync, "degu.service", "timers.target.wants"];
    assertEquals(seen, { installed: installed.toSorted(), left: [own], serves: false });
  },
);
