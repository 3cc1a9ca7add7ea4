/** The permissions of programs: as flags, what is asked for, and what is done without one of them. */

import { assert, assertEquals } from "@std/assert";
import { resolve } from "node:path";

/** What a program that is audited asks for before each of its steps. */
const NEXT_STEP = "NEXT_STEP";

/** What `node:worker_threads` asks for, and does without: the whole environment. */
const OF_WORKERS = "env";

/** The permissions of a flag, without `--allow-`: of `--allow-read=A,B` those to read A, and B. */
export function permissionsOf(flag: string): string[] {
  const [, kind, list] = /^--allow-([a-z]+)(?:=(.*))?$/.exec(flag) ?? [];
  assert(kind !== undefined, `${flag} is no permission`);
  return list === undefined ? [kind] : list.split(",").map((value) => `${kind}=${value}`);
}

/** Makes flags of permissions: those of one kind become one list, which is none if one has no value. */
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

/** Gives up a permission of this process. */
export function revoke(permission: string): void {
  const [name, value] = split(permission);
  const keys = { read: "path", write: "path", net: "host", sys: "kind", env: "variable" };
  const key = keys[name as keyof typeof keys];
  const descriptor = value === undefined ? { name } : { name, [key]: value };
  Deno.permissions.revokeSync(descriptor as Deno.PermissionDescriptor);
}

/** Begins the next step of an audited program. */
export function beginStep(): void {
  try {
    Deno.env.get(NEXT_STEP);
  } catch {
    // Nothing else is wanted than that it has been asked for.
  }
}

/**
 * What a program has asked for, in each of its steps, from the file that `DENO_AUDIT_PERMISSIONS` named. Of programs that are run
 * Deno records nothing.
 */
export async function readAudit(path: string): Promise<string[][]> {
  const steps: string[][] = [[]];
  for (const line of (await Deno.readTextFile(path)).trimEnd().split("\n")) {
    const { permission, value } = JSON.parse(line);
    const asked = value === null
      ? permission
      : `${permission}=${value === "<TMP>" ? "/tmp" : value}`;
    if (asked === `env=${NEXT_STEP}`) steps.push([]);
    else steps.at(-1)!.push(asked);
  }
  return steps;
}

/** Whether a permission grants what a program in a directory asks for. What it grants Deno grants, too. */
export function grants(permission: string, asked: string, cwd = "/"): boolean {
  const [[kind, value], [askedKind, askedValue]] = [split(permission), split(asked)];
  if (kind !== askedKind) return false;
  if (value === undefined || value === askedValue) return true;
  if (askedValue === undefined) return false;
  if (kind === "net") return value === askedValue.replace(/:\d+$/, "");
  const isPath = kind === "read" || kind === "write";
  return isPath && `${resolve(cwd, askedValue)}/`.startsWith(`${resolve(cwd, value)}/`);
}

/** What is done without one of its permissions. */
export interface Lacking {
  readonly permissions: readonly string[];
  readonly missing: string;
}

/** Puts them in few processes, in an order in which each gives up one permission that nobody behind it needs. */
export function inFewProcesses<T extends Lacking>(all: readonly T[]): T[][] {
  const processes: T[][] = [];
  const users = (missing: string) =>
    all.filter(({ permissions }) => permissions.some((each) => each.startsWith(missing))).length;
  // What most need is given up last.
  for (const next of all.toSorted((a, b) => users(b.missing) - users(a.missing))) {
    const process = processes.find((each) => each.every((later) => mayPrecede(next, later)));
    if (process === undefined) processes.push([next]);
    else process.unshift(next);
  }
  return processes;
}

/** Whether one takes nothing that a later one needs, and none has a wider permission than what the other one is to do without. */
function mayPrecede(next: Lacking, later: Lacking): boolean {
  const [gone, goneLater] = [next.missing, later.missing];
  return later.permissions.every((each) =>
    gone === each && gone === goneLater || !each.startsWith(gone) && !gone.startsWith(each)
  ) && next.permissions.every((each) => each === goneLater || !goneLater.startsWith(each));
}

/** Asserts that a program that may do all has asked for what these permissions grant, and for nothing else. */
export function assertAsked(
  asked: readonly string[],
  permissions: readonly string[],
  what: string,
): void {
  const more = asked.filter((each) =>
    each !== OF_WORKERS && !permissions.some((one) => grants(one, each))
  );
  assertEquals(more, [], `${what} asks for more`);
  const unused = permissions.filter((one) => !asked.some((each) => grants(one, each)));
  assertEquals(unused, [], `${what} asks for less`);
}
