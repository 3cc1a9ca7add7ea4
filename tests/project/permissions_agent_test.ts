/**
 * What docs/agent.md says of permissions: each command works with exactly those of its row, and without any one of them it
 * fails and says which one is missing.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { makeProgram } from "@degu/internal/agent/program.ts";
import { type AgentEnd, AgentHomes } from "@degu/testing/agents.ts";
import { flagsOf } from "@degu/testing/permission_cases.ts";
import { importMapFlags, runProgram } from "@degu/testing/programs.ts";
import type { Step } from "@degu/testing/programs/agent_permissions.ts";
import { read } from "@degu/testing/tree.ts";
import { fill } from "@degu/testing/directories.ts";

/** Processes at a time: each needs most of a core for as long as it starts. */
const AT_A_TIME = 3;

/** What a command says of a permission that is missing. */
const MISSING = /Requires \w+ access|--allow-\w+/;

/** The permissions of each row of the table of docs/agent.md. */
const [, section = ""] = (await read("docs/agent.md")).split("\n## Permissions\n");
const ROWS = new Map(
  Array.from(
    section.split("\n## ")[0]!.matchAll(/^\| `([^`]+)` +\| (?:none|`([^`]+)`) +\|$/gm),
    ([, row = "", flags = ""]) => [row, flags.split(" ").flatMap(permissionsOf)],
  ),
);

/** Those that open the device. */
const OPENING = ROWS.get("id")!;

/** `--allow-read=A,B` as two permissions. */
function permissionsOf(flag: string): string[] {
  if (flag === "") return [];
  const [, kind, list] = /^--allow-([a-z]+)(?:=(.*))?$/.exec(flag) ?? [];
  assert(kind !== undefined, `docs/agent.md: ${flag} is no permission`);
  return list === undefined ? [kind] : list.split(",").map((value) => `${kind}=${value}`);
}

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
  await fill(homes.path, { "inbox": null, "here/target": null, "here/synced": null });
  await fill(share, { "shared": "x", "dir/file": "x" });
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
  const [target, synced, own] = [`${here}/target`, `${here}/synced`, `${here}/own`];
  return {
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

/** What a process does, with all permissions at first. */
interface Process {
  readonly permissions: Set<string>;
  readonly revoked: Set<string>;
  readonly steps: { command: Command; missing?: string; revoked: readonly string[] }[];
}

/** The commands with all of their permissions: where those of one are among those of another one, in one process. */
function whole(commands: readonly Command[]): Process[] {
  const processes: Process[] = [];
  const most = commands.toSorted((a, b) => b.permissions.length - a.permissions.length);
  for (const command of most) {
    const left = ({ permissions, revoked }: Process) => permissions.difference(revoked);
    const own = new Set(command.permissions);
    let process = processes.find((each) => own.isSubsetOf(left(each)));
    if (process === undefined) {
      process = { permissions: own, revoked: new Set(), steps: [] };
      processes.push(process);
    }
    const revoked = [...left(process).difference(own)];
    for (const each of revoked) process.revoked.add(each);
    process.steps.push({ command, revoked });
  }
  return processes;
}

/** Each command without each of its permissions: in one process as long as all others are there, and none covers another one. */
function lacking(
  pairs: readonly { readonly command: Command; readonly missing: string }[],
): Process[] {
  const processes: Process[] = [];
  for (const { command, missing } of pairs) {
    const { permissions } = command;
    const covers = (a: string, b: string) => a !== b && (a.startsWith(b) || b.startsWith(a));
    let process = processes.find((each) =>
      !permissions.some((one) => one !== missing && each.revoked.has(one)) &&
      !permissions.some((one) => [...each.permissions].some((other) => covers(one, other)))
    );
    if (process === undefined) {
      process = { permissions: new Set(), revoked: new Set(), steps: [] };
      processes.push(process);
    }
    for (const each of permissions) process.permissions.add(each);
    process.revoked.add(missing);
    process.steps.push({ command, missing, revoked: [missing] });
  }
  return processes;
}

/** Runs a process, and checks how its commands have ended. */
async function run(homes: AgentHomes, { permissions, steps }: Process): Promise<void> {
  const given = steps.map(({ command, revoked }): Step => {
    const { args, home = "viewer", stdin = "", until } = command;
    const at = home === null ? [] : ["--home", homes.at(home)];
    const made = home === "new" ? homes.at(home) : undefined;
    return { revoked, args: [...at, ...args], stdin, until, made };
  });
  const env = { XDG_STATE_HOME: homes.at("state"), HOME: "" };
  const flags = [...flagsOf([...permissions]), ...importMapFlags()];
  const options = { flags, args: [JSON.stringify(given)], env };
  const ends: AgentEnd[] = JSON.parse(await runProgram("agent_permissions.ts", options));
  for (const [i, { command, missing }] of steps.entries()) {
    const { code, stdout, stderr } = ends[i]!;
    const what = `${command.row} without ${missing}: ${stdout}${stderr}`;
    assertEquals(code, missing === undefined ? command.code ?? 0 : 1, what);
    if (missing !== undefined) assertMatch(stderr, MISSING, what);
  }
}

Deno.test("each command needs the flags of its row, every command has a row, and every row a test", async () => {
  await using homes = await AgentHomes.create();
  const cases = await setUp(homes);
  assertEquals([...ROWS.keys()].toSorted(), Object.keys(cases).toSorted());
  for (const command of makeProgram(() => () => Promise.resolve()).commands) {
    const isRow = (row: string) => row.split(/[ ,]/)[0] === command.name();
    assert([...ROWS.keys()].some(isRow), command.name());
  }
  const commands = Object.entries(cases).map(([row, given]): Command => {
    const { home = "viewer", values = {} } = given;
    const valueOf = (name: string) =>
      name === "HOME" ? homes.at(home ?? "state/degu") : values[name] ?? name;
    const permissions = ROWS.get(row)!.map((each) => each.replace(/(?<==)[A-Z]+$/, valueOf));
    return { ...given, row, permissions };
  });
  const opening = commands.find(({ row }) => row === "id")!.permissions;
  const pairs = commands.flatMap((command, i) => {
    // Of what every command needs to open the device only two leave out all, and each other one the next: a process takes time.
    const kept = ["id", "init"].includes(command.row)
      ? []
      : OPENING.toSpliced(i % OPENING.length, 1);
    const tried = command.permissions.filter((_, i) => !kept.includes(ROWS.get(command.row)![i]!));
    return tried.map((missing) => ({ command, missing }));
  });
  // With both groups of mDNS they would speak on every interface: tests/integration/agent_network_test.ts does, in namespaces.
  const mdns = ["net=224.0.0.251:5353", "sys=networkInterfaces"];
  const serve = ["serve", "--listen", "127.0.0.1:0", "--announce"];
  for (const args of [serve, ["ping", "--find", "camera"]]) {
    const permissions = [...opening, "net=127.0.0.1:0", ...mdns];
    for (const missing of mdns) {
      pairs.push({ command: { row: args.join(" "), args, permissions }, missing });
    }
  }
  pairs.sort((a, b) => a.missing < b.missing ? -1 : 1);
  // What works needs no work a second time.
  for (const waiting of [lacking(pairs), whole(commands)]) {
    await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        await run(homes, next);
      }
    }));
  }
});
