/** Starts the programs in examples/ with the flags in their first lines. */

import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { runAgentInProcess, startAgentInProcess } from "@degu/testing/agents.ts";
import { startCommand } from "@degu/testing/commands.ts";
import {
  allowsRequest,
  formatFlags,
  parsePermissions,
  readAudit,
} from "@degu/testing/permissions.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { readProjectFile, ROOT } from "@degu/testing/project_files.ts";

/** The start of a program's first line. The flags and the path of the program follow. */
const FIRST_LINE_START = "// deno run ";
const TIMEOUT_SECONDS = 240;

interface StartOptions {
  /** The flags, instead of the flags in the program's first line. */
  readonly flags?: readonly string[];
  readonly cwd?: string;
  readonly args?: readonly string[];
  /** The start of a command line that the command is appended to. */
  readonly through?: readonly string[];
  /** The file in which Deno records the requested permissions. */
  readonly audit?: string;
}

/** Returns the flags in the first line of a program. */
export async function readExampleFlags(path: string): Promise<string[]> {
  const [firstLine = ""] = (await readProjectFile(path)).split("\n", 1);
  assert(
    firstLine.startsWith(FIRST_LINE_START) && firstLine.endsWith(` ${path}`),
    `${path}: its first line must be "${FIRST_LINE_START}<flags> ${path}"`,
  );
  assert(!/ (-A|--allow-all)\b/.test(firstLine), `${path} takes every permission`);
  return firstLine.slice(FIRST_LINE_START.length, -path.length).split(" ").filter((flag) =>
    flag !== ""
  );
}

export async function startExample(
  path: string,
  options: StartOptions = {},
): Promise<RunningProcess> {
  const { flags = await readExampleFlags(path), cwd = ROOT, args = [], through = [] } = options;
  const { audit } = options;
  const program = fromFileUrl(new URL(path, ROOT));
  const run = [...through, Deno.execPath(), "run", "--quiet", "--no-prompt", ...flags, program];
  const env = { NO_COLOR: "1", ...audit && { DENO_AUDIT_PERMISSIONS: audit } };
  return new RunningProcess(startCommand([...run, ...args], { cwd, env, stdin: "null" }));
}

export async function runExample(path: string, options?: StartOptions) {
  await using program = await startExample(path, options);
  return await program.waitForEnd(TIMEOUT_SECONDS);
}

/**
 * Asserts that a program needs each permission in its first line: Deno recorded a request of it, or
 * the program fails without it.
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
  const requestedPermissions = (await readAudit(audit)).flat();
  const directory = cwd instanceof URL ? fromFileUrl(cwd) : cwd;
  const isPermission = (flag: string) => flag.startsWith("--allow-");
  const permissions = flags.filter(isPermission).flatMap(parsePermissions);
  const otherFlags = flags.filter((flag) => !isPermission(flag));
  for (const permission of permissions) {
    if (requestedPermissions.some((request) => allowsRequest(permission, request, directory))) {
      continue;
    }
    const fewerFlags = formatFlags(
      permissions.filter((otherPermission) => otherPermission !== permission),
    );
    const { success } = await run([...fewerFlags, ...otherFlags]);
    assert(!success, `${path} runs without ${permission}, too`);
  }
}

/**
 * Pairs the devices of two programs by an invitation line, because a test can't compare numbers.
 *
 * @param as The name that the inviting device records for the joining device.
 * @param serverAddresses The address of the inviting device, if clients use another one.
 */
export async function pairExamples(
  inviterHome: string,
  joinerHome: string,
  as: string,
  serverAddresses: readonly string[] = [],
): Promise<void> {
  const args = ["--home", inviterHome, "invite", "--listen", "127.0.0.1:0", "--as", as];
  for (const address of serverAddresses) args.push("--serving", address);
  await using inviter = startAgentInProcess(args);
  const joinEnd = await runAgentInProcess([
    "--home",
    joinerHome,
    "join",
    await inviter.waitForLine("degu:"),
  ]);
  assertEquals(joinEnd.code, 0, joinEnd.stderr);
  assertEquals((await inviter.waitForEnd()).code, 0);
}
