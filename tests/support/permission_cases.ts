/**
 * Programs that run with exactly the given permissions, and without each of them.
 *
 * @module
 */

import { assert, assertMatch } from "@std/assert";
import type { Address } from "@degu/degu/base";
import { spawnScript } from "./processes.ts";
import { within } from "./raw_peer.ts";

/** What Deno says of a permission that is missing; of the module of a worker it says no more than the second. */
const REFUSED = /NotCapable|Requires read access to ".*\/worker\/server_worker\.ts"/;

/** Processes at a time: each needs most of a core for as long as it starts. */
const AT_A_TIME = 3;

/** Seconds that a process may take on a busy machine. */
const PATIENCE = 30;

/** How a process ended. */
interface Ended {
  readonly success: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** Something that needs permissions, as a program. */
export interface Case {
  readonly name: string;
  /** Without `--allow-`; each is needed. */
  readonly permissions: readonly string[];
  readonly script: string;
  /** What its first line, which is JSON, is used for, where somebody else has to do something. */
  drive?(value: Address): Promise<void>;
}

/** Makes flags of permissions: those of one kind become one list. */
export function flagsOf(permissions: readonly string[]): string[] {
  const lists = new Map<string, string[]>();
  for (const permission of permissions) {
    const [kind = "", value] = permission.split(/=(.*)/s);
    const list = lists.get(kind) ?? [];
    if (value !== undefined) list.push(value);
    lists.set(kind, list);
  }
  return [...lists].map(([kind, values]) =>
    `--allow-${kind}${values.length === 0 ? "" : `=${values.join(",")}`}`
  );
}

/** Runs a program with these permissions until it ends. */
async function runProgram(
  script: string,
  permissions: readonly string[],
  drive?: Case["drive"],
): Promise<Ended> {
  const child = await spawnScript(script, flagsOf(permissions), { NO_COLOR: "1" });
  const stderr = new Response(child.stderr).text();
  let stdout = "";
  let driven = drive === undefined;
  try {
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      stdout += text;
      if (driven || !stdout.includes("\n")) continue;
      driven = true;
      await drive?.(readAddress(stdout.slice(0, stdout.indexOf("\n"))));
    }
    const { success } = await within(child.status, `the program ends: ${script}`, PATIENCE);
    return { success, stdout, stderr: await stderr };
  } catch (error) {
    child.kill("SIGKILL");
    await child.status;
    await stderr;
    throw error;
  }
}

/** An address from JSON, in which an abstract name is an array of bytes. */
function readAddress(json: string): Address {
  const value = JSON.parse(json);
  return typeof value[0] === "number" ? Uint8Array.from(value) : value;
}

/** Runs a case with its permissions, and once without each. */
async function runCase({ name, permissions, script, drive }: Case): Promise<void> {
  const { success, stderr } = await runProgram(script, permissions, drive);
  assert(success, `${name} with ${flagsOf(permissions).join(" ")}: ${stderr}`);
  for (const left of permissions) {
    const fewer = permissions.filter((permission) => permission !== left);
    const failed = await runProgram(script, fewer);
    assert(!failed.success, `${name} works without ${left}`);
    assertMatch(failed.stderr, REFUSED, `${name} without ${left}`);
  }
}

/** Runs all cases, a few at a time, and fails with the first that failed. */
export async function runCases(cases: readonly Case[]): Promise<void> {
  const waiting = [...cases];
  const errors: unknown[] = [];
  await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      await runCase(next).catch((error) => errors.push(error));
    }
  }));
  if (errors.length > 0) throw errors[0];
}
