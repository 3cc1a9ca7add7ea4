/** Starts the programs in examples/ as their first lines say. */

import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { runAgentHere, startAgentHere } from "./agents.ts";
import { allowsRequest, flagsOf, permissionsOf, readAudit } from "./permissions.ts";
import { RunningProcess } from "./processes.ts";
import { readProjectFile, ROOT } from "./tree.ts";

/** How the first line of a program begins: what it is to be run with, and its path, follow. */
const PROGRAM = "// deno run ";
/** The longest that a program may take, in seconds. */
const TIME_LIMIT = 240;

export interface Start {
  /** The flags, in place of those in its first line. */
  readonly flags?: readonly string[];
  readonly cwd?: string;
  readonly args?: readonly string[];
  /** A command that runs the command that is its arguments. */
  readonly through?: readonly string[];
  /** The file in which Deno records the permissions that it asks for. */
  readonly audit?: string;
}

/** The flags that the first line of a program names. */
export async function readExampleFlags(path: string): Promise<string[]> {
  const [firstLine = ""] = (await readProjectFile(path)).split("\n", 1);
  assert(
    firstLine.startsWith(PROGRAM) && firstLine.endsWith(` ${path}`),
    `${path}: its first line must be "${PROGRAM}<flags> ${path}"`,
  );
  assert(!/ (-A|--allow-all)\b/.test(firstLine), `${path} takes every permission`);
  return firstLine.slice(PROGRAM.length, -path.length).split(" ").filter((flag) => flag !== "");
}

/** Starts a program of examples/. */
export async function startExample(path: string, options: Start = {}): Promise<RunningProcess> {
  const { flags = await readExampleFlags(path), cwd = ROOT, args = [], through = [] } = options;
  const { audit } = options;
  const program = fromFileUrl(new URL(path, ROOT));
  const run = [...through, Deno.execPath(), "run", "--quiet", "--no-prompt", ...flags, program];
  const [command = "", ...rest] = [...run, ...args];
  const child = new Deno.Command(command, {
    args: rest,
    cwd,
    env: { NO_COLOR: "1", ...audit && { DENO_AUDIT_PERMISSIONS: audit } },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  return new RunningProcess(child);
}

/** Runs a program of examples/ to its end. */
export async function runExample(path: string, options?: Start) {
  await using running = await startExample(path, options);
  return await running.waitForEnd(TIME_LIMIT);
}

/**
 * Asserts that a program has asked for each permission in its first line, or else, for what Deno
 * doesn't record, that it fails without it.
 *
 * @param run Runs the program with other flags.
 */
export async function assertNeeded(
  path: string,
  audit: string,
  cwd: string | URL,
  run: (flags: string[]) => Promise<{ success: boolean }> = (flags) => runExample(path, { flags }),
): Promise<void> {
  const flags = await readExampleFlags(path);
  const requested = (await readAudit(audit)).flat();
  const directory = cwd instanceof URL ? fromFileUrl(cwd) : cwd;
  const isPermission = (flag: string) => flag.startsWith("--allow-");
  const permissions = flags.filter(isPermission).flatMap(permissionsOf);
  const otherFlags = flags.filter((flag) => !isPermission(flag));
  for (const one of permissions) {
    if (requested.some((each) => allowsRequest(one, each, directory))) continue;
    const fewerFlags = flagsOf(permissions.filter((other) => other !== one));
    const { success } = await run([...fewerFlags, ...otherFlags]);
    assert(!success, `${path} runs without ${one}, too`);
  }
}

/** Makes the device of a program, as `degu init` does. */
export async function initDevice(directory: string, name: string): Promise<void> {
  const { code, stderr } = await runAgentHere(["--home", directory, "init", "--name", name]);
  assertEquals(code, 0, stderr);
}

/**
 * Pairs the devices of two programs by a line, because no person can compare a number.
 *
 * @param as The name of the joining device at the inviting device.
 * @param serving The address of the inviting device, if it differs from the one where it serves.
 */
export async function pairDevices(
  inviting: string,
  joining: string,
  as: string,
  serving: readonly string[] = [],
): Promise<void> {
  const args = ["--home", inviting, "invite", "--listen", "127.0.0.1:0", "--as", as];
  for (const address of serving) args.push("--serving", address);
  await using invite = startAgentHere(args);
  const joined = await runAgentHere(["--home", joining, "join", await invite.waitForLine("degu:")]);
  assertEquals(joined.code, 0, joined.stderr);
  assertEquals((await invite.waitForEnd()).code, 0);
}
