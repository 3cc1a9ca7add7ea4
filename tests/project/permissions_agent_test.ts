/**
 * What docs/agent.md says of permissions: each command works in a process with exactly the flags of its row, and without any one of them
 * it fails and says which one is missing.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { makeProgram } from "@degu/internal/agent/program.ts";
import { fill } from "@degu/testing/trees.ts";
import { AgentHomes, runAgent, spawnAgent } from "@degu/testing/agents.ts";
import { flagsOf } from "@degu/testing/permission_cases.ts";
import { read } from "@degu/testing/tree.ts";

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
  /** Whose home it is; the viewer's if left out. */
  readonly home?: string;
  /** What the other words in capitals of the row stand for. */
  readonly values?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  readonly env?: Record<string, string>;
  /** What is waited for until it is interrupted; if left out, it ends by itself. */
  readonly until?: string;
  /** The exit code with all permissions; 0 if left out. */
  readonly code?: number;
  /** One of the permissions that open the device: a run without it, too. Each of them is left out for `id` and `init`. */
  readonly without?: string;
}

/** A camera, that serves a share and an inbox, a viewer, that is paired with it, others, and the commands. */
async function setUp(homes: AgentHomes): Promise<Record<string, Case>> {
  const [share, inbox, here] = [homes.at("share"), homes.at("inbox"), homes.at("here")];
  await fill(homes.path, { "inbox": null, "here/target": null, "here/synced": null });
  await fill(share, { "shared": "x", "dir/file": "x" });
  await fill(here, { "file": "x", "own/file": "x" });
  await homes.init("camera", "viewer", "old", "guest");
  await homes.must("state/degu", ["init", "--name", "x"]);
  await homes.pair("camera", "viewer");
  await homes.pair("camera", "old");
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
    "init": { args: ["init"], home: "unnamed" },
    "init --name NAME": { args: ["init", "--name", "x"], home: "named" },
    "id": { args: ["id"] },
    "id, without --home": {
      args: ["id"],
      home: "state/degu",
      env: { XDG_STATE_HOME: homes.at("state"), HOME: "" },
    },
    "peers": { args: ["peers"] },
    "rename": { args: ["rename", "camera", "camera"], without: "sys=uid" },
    "forget": { args: ["forget", "camera"], home: "old" },
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
      without: "write=HOME",
      stdin: await invite.line("degu:"),
    },
    "serve --listen ADDRESS --share SHARE --inbox INBOX": {
      args: ["serve", "--listen", ADDRESS, ...files],
      values: { SHARE: share, INBOX: inbox, ADDRESS },
      without: "read=HOME",
      until: "serving",
    },
    "ping": { args: ["ping", "camera"], values: { PEER } },
    "ls": { args: ["ls", "camera:"], values: { PEER } },
    "get PEER:PATH... TARGET": {
      args: ["get", "camera:shared", target],
      values: { PEER, TARGET: target },
      without: "write=HOME",
    },
    "put FILE PEER:PATH": {
      args: ["put", `${here}/file`, "camera:"],
      values: { PEER, FILE: `${here}/file` },
      without: "sys=uid",
    },
    "rm": { args: ["rm", "camera:old"], values: { PEER } },
    "sync PEER:DIR DIR": {
      args: ["sync", "camera:dir", synced],
      values: { PEER, DIR: synced },
      without: "read=HOME",
    },
    "sync DIR PEER:DIR": {
      args: ["sync", own, "camera:there"],
      values: { PEER, DIR: own },
    },
  };
}

/** Runs a command with the flags of its row, and once more without each of them. */
async function run(homes: AgentHomes, row: string, given: Case): Promise<void> {
  const { values = {}, stdin = "", env, until, code = 0, without } = given;
  const home = homes.at(given.home ?? "viewer");
  const args = [...env === undefined ? ["--home", home] : [], ...given.args];
  const valueOf = (name: string) => name === "HOME" ? home : values[name] ?? name;
  const found = ROWS.get(row) ?? [];
  const permissions = found.map((each) => each.replace(/(?<==)[A-Z]+$/, valueOf));
  // Of what every command needs to open the device only these leave out all: each process takes its time.
  const isOfDevice = row === "id" || row === "init";
  const options = { stdin, env: env ?? {} };
  for (const [i, left] of permissions.entries()) {
    if (!isOfDevice && OPENING.includes(found[i]!) && found[i] !== without) continue;
    const flags = flagsOf(permissions.filter((permission) => permission !== left));
    await assertMissing(`${row} without ${left}`, args, { ...options, flags });
    if (row.startsWith("init")) await Deno.remove(home, { recursive: true }).catch(() => {});
  }
  const flags = flagsOf(permissions);
  await using agent = spawnAgent(args, { ...options, flags });
  if (until !== undefined) {
    await agent.line(until);
    agent.kill("SIGINT");
  }
  const { code: ended, stderr } = await agent.ended();
  assertEquals(ended, code, `${row} with ${flags.join(" ")}: ${stderr}`);
}

/** Asserts that a command fails, and says which permission is missing. */
async function assertMissing(what: string, ...run: Parameters<typeof runAgent>): Promise<void> {
  const { code, stdout, stderr } = await runAgent(...run);
  assertEquals(code, 1, `${what}: ${stdout}${stderr}`);
  assertMatch(stderr, MISSING, what);
}

Deno.test("each command needs the flags of its row, every command has a row, and every row a test", async () => {
  await using homes = await AgentHomes.create();
  const cases = await setUp(homes);
  assertEquals([...ROWS.keys()].toSorted(), Object.keys(cases).toSorted());
  for (const command of makeProgram(() => () => Promise.resolve()).commands) {
    const isRow = (row: string) => row.split(/[ ,]/)[0] === command.name();
    assert([...ROWS.keys()].some(isRow), command.name());
  }
  const waiting = Object.entries(cases);
  await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      await run(homes, ...next);
    }
  }));
});

Deno.test("--announce and --find need the groups of mDNS, and the interfaces", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera", "viewer");
  await homes.pair("camera", "viewer");
  const commands = [
    { words: ["serve", "--listen", "127.0.0.1:0", "--announce"], net: "net=127.0.0.1:0" },
    { words: ["ping", "--find", "camera"], net: "net=127.0.0.1:1" },
  ];
  // With both they would speak on every interface: tests/integration/agent_network_test.ts does, in namespaces.
  await Promise.all(
    commands.flatMap(({ words, net }) =>
      ["net=224.0.0.251:5353", "sys=networkInterfaces"].map(async (more) => {
        const flags = [...homes.flags("viewer"), ...flagsOf([net, more])];
        const args = ["--home", homes.at("viewer"), ...words];
        await assertMissing(`${words.join(" ")} with ${flags.join(" ")}`, args, { flags });
      })
    ),
  );
});
