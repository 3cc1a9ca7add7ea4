/**
 * The flags of docs/agent.md: commands run in processes with exactly these, and without each of them.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { AgentHomes, type AgentOptions, runAgent, spawnAgent } from "./agents.ts";
import { flagsOf } from "./permission_cases.ts";
import { read } from "./tree.ts";

/** Processes at a time: each needs most of a core for as long as it starts. */
const AT_A_TIME = 3;

/** What a command says of a permission that is missing. */
const MISSING = /Requires \w+ access|--allow-\w+/;

/** A command for a row of the table. */
export interface AgentCase {
  readonly args: readonly string[];
  /** What the words in capitals of the row stand for. */
  readonly values: Readonly<Record<string, string>>;
  readonly stdin?: string;
  readonly env?: Record<string, string>;
  /** What is waited for until it is interrupted; if left out, it ends by itself. */
  readonly until?: string;
  /** The exit code with all permissions; 0 if left out. */
  readonly code?: number;
  /** One of the permissions that open the device: a run without it, too. All of them are left out for `id` and `init`. */
  readonly without?: string;
  /** What has to be done before each run. */
  before?(): Promise<void>;
}

/** Makes the cases, by the first cells of their rows. */
export type AgentCases = Readonly<
  Record<string, (setup: PermissionSetup) => AgentCase | Promise<AgentCase>>
>;

/** The flags of each row of the table of docs/agent.md. */
export async function documentedFlags(): Promise<Map<string, readonly string[]>> {
  const [, section = ""] = (await read("docs/agent.md")).split("\n## Permissions\n");
  const [table = ""] = section.split("\n## ");
  const rows = [...table.matchAll(/^\| `([^`]+)` +\| (none|`[^`]+`) +\|$/gm)];
  assert(rows.length > 5, "docs/agent.md has no table of permissions");
  return new Map(rows.map(([, row = "", cell = ""]) => {
    const flags = cell === "none" ? [] : cell.slice(1, -1).split(" ");
    return [row, flags.flatMap(permissionsOf)];
  }));
}

/** `--allow-read=A,B` as two permissions. */
function permissionsOf(flag: string): string[] {
  const [, kind = "", list] = /^--allow-([a-z]+)(?:=(.*))?$/.exec(flag) ?? [];
  assert(kind !== "", `docs/agent.md: ${flag} is no permission`);
  return list === undefined ? [kind] : list.split(",").map((value) => `${kind}=${value}`);
}

/**
 * Runs cases, a few at a time, each with the flags of its row, and once more without each of them. Of what every command needs
 * to open the device only `id` and `init` leave out all, and others one: each process takes its time.
 */
export async function runAgentCases(cases: AgentCases): Promise<void> {
  await using setup = await setUpForPermissions();
  const documented = await documentedFlags();
  const waiting = Object.entries(cases);
  await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [row, makeCase] = next;
      await runAgentCase(documented, row, await makeCase(setup));
    }
  }));
}

/** Runs a command with the flags of its row, and once more without each of them. */
async function runAgentCase(
  documented: ReadonlyMap<string, readonly string[]>,
  row: string,
  { args, values, stdin = "", env = {}, until, code = 0, without, before }: AgentCase,
): Promise<void> {
  const found = documented.get(row);
  assert(found !== undefined, `docs/agent.md has no row ${row}`);
  const permissions = found.map((each) =>
    each.replace(
      /=([A-Z]+)$/,
      (_all, name) => `=${values[name] ?? assert(false, `${row}: ${name}`)}`,
    )
  );
  const opening = documented.get("id")!;
  assert(without === undefined || opening.includes(without), `${row}: ${without}`);
  const kept = /^(id|init)\b/.test(row) ? [] : opening.filter((each) => each !== without);
  for (const [i, left] of permissions.entries()) {
    if (kept.includes(found[i]!)) continue;
    await before?.();
    const fewer = permissions.filter((permission) => permission !== left);
    await assertMissing(`${row} without ${left}`, { args, flags: flagsOf(fewer), stdin, env });
  }
  await before?.();
  await using agent = spawnAgent(args, { flags: flagsOf(permissions), stdin, env });
  if (until !== undefined) {
    await agent.line(until);
    agent.kill("SIGINT");
  }
  const { code: ended, stderr } = await agent.ended();
  assertEquals(ended, code, `${row} with ${flagsOf(permissions).join(" ")}: ${stderr}`);
}

/** Asserts that a command fails with these flags, and says which one is missing. */
export async function assertMissing(
  what: string,
  { args, ...options }: AgentOptions & { readonly args: readonly string[] },
): Promise<void> {
  const { code, stdout, stderr } = await runAgent(args, options);
  assertEquals(code, 1, `${what}: ${stdout}${stderr}`);
  assertMatch(stderr, MISSING, what);
}

/** What cases are made from. */
export type PermissionSetup = Awaited<ReturnType<typeof setUpForPermissions>>;

/** A camera, that serves a share and an inbox, and a viewer, that is paired with it. */
async function setUpForPermissions() {
  const homes = await AgentHomes.create();
  await homes.init("camera", "viewer");
  const [share, inbox] = [homes.at("camera-share"), homes.at("camera-inbox")];
  for (const path of [share, inbox]) await Deno.mkdir(path);
  const { address } = await homes.serve("camera", ["--share", share, "--inbox", inbox]);
  await homes.pair("camera", "viewer", address);
  const home = homes.at("viewer");
  return {
    homes,
    share,
    inbox,
    home,
    peer: address,
    at: (...args: string[]) => ["--home", home, ...args],
    [Symbol.asyncDispose]: () => homes[Symbol.asyncDispose](),
  };
}
