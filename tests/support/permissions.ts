/** The permissions of programs: as flags, and as requests. */

import { assert, assertEquals } from "@std/assert";
import { resolve } from "node:path";

/** The request of an audited program that marks its next step. */
const NEXT_STEP = "NEXT_STEP";

/** The request of `node:worker_threads` for the whole environment, which it can do without. */
const OF_WORKERS = "env";

/** The permissions of a flag, without `--allow-`: `--allow-read=A,B` has those to read A, and B. */
export function permissionsOf(flag: string): string[] {
  const [, kind, list] = /^--allow-([a-z]+)(?:=(.*))?$/.exec(flag) ?? [];
  assert(kind !== undefined, `${flag} is no permission`);
  return list === undefined ? [kind] : list.split(",").map((value) => `${kind}=${value}`);
}

/**
 * Makes flags of permissions. The permissions of one kind become a list; one without a value grants
 * all.
 */
export function flagsOf(permissions: Iterable<string>): string[] {
  const kinds = Map.groupBy(Array.from(permissions, split), ([kind]) => kind);
  return Array.from(kinds, ([kind, all]) => {
    const values = all.map(([, value]) => value);
    return `--allow-${kind}${values.includes(undefined) ? "" : `=${values.join(",")}`}`;
  });
}

function split(permission: string): [kind: string, value: string | undefined] {
  const [kind = "", value] = permission.split(/=(.*)/s);
  return [kind, value];
}

/** Begins the next step of an audited program. */
export function beginStep(): void {
  try {
    Deno.env.get(NEXT_STEP);
  } catch {
    // The request itself is the mark.
  }
}

/**
 * The requests of a program, in each of its steps, from the file that `DENO_AUDIT_PERMISSIONS`
 * named. Deno doesn't record requests to run programs.
 *
 * @param temporary The directory for temporary files.
 */
export async function readAudit(path: string, temporary = "/tmp"): Promise<string[][]> {
  const steps: string[][] = [[]];
  for (const line of (await Deno.readTextFile(path)).trimEnd().split("\n")) {
    const { permission, value } = JSON.parse(line);
    const asked = value === null
      ? permission
      : `${permission}=${value === "<TMP>" ? temporary : value}`;
    if (asked === `env=${NEXT_STEP}`) steps.push([]);
    else steps.at(-1)!.push(asked);
  }
  return steps;
}

/** Whether a permission grants a request of a program in a directory. Deno grants no less. */
export function allowsRequest(permission: string, request: string, cwd = "/"): boolean {
  const [[kind, value], [askedKind, askedValue]] = [split(permission), split(request)];
  if (kind !== askedKind) return false;
  if (value === undefined || value === askedValue) return true;
  if (askedValue === undefined) return false;
  if (kind === "net") return value === askedValue.replace(/:\d+$/, "");
  const isPath = kind === "read" || kind === "write";
  return isPath && `${resolve(cwd, askedValue)}/`.startsWith(`${resolve(cwd, value)}/`);
}

/**
 * Asserts that a program with all permissions has requested exactly those that the given
 * permissions grant.
 */
export function assertAsked(
  asked: readonly string[],
  permissions: readonly string[],
  what: string,
): void {
  const extraRequests = asked.filter((each) =>
    each !== OF_WORKERS && !permissions.some((one) => allowsRequest(one, each))
  );
  assertEquals(extraRequests, [], `${what} asks for more`);
  const unused = permissions.filter((one) => !asked.some((each) => allowsRequest(one, each)));
  assertEquals(unused, [], `${what} asks for less`);
}
