/** The permissions of programs: as flags, and as requests. */

import { assert, assertEquals } from "@std/assert";
import { resolve } from "node:path";

/** The request of an audited program that marks its next step. */
const NEXT_STEP = "NEXT_STEP";

/** The request of `node:worker_threads` for the whole environment, whose refusal is harmless. */
const WORKER_REQUEST = "env";

/** Parses a flag into permissions: `--allow-read=A,B` into `read=A` and `read=B`. */
export function parsePermissions(flag: string): string[] {
  const [, kind, list] = /^--allow-([a-z]+)(?:=(.*))?$/.exec(flag) ?? [];
  assert(kind !== undefined, `${flag} is no permission`);
  return list === undefined ? [kind] : list.split(",").map((value) => `${kind}=${value}`);
}

/** Formats permissions as flags. A permission without a value includes all values of its kind. */
export function formatFlags(permissions: Iterable<string>): string[] {
  const kinds = Map.groupBy(Array.from(permissions, split), ([kind]) => kind);
  return Array.from(kinds, ([kind, parts]) => {
    const values = parts.map(([, value]) => value);
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
 * Reads the requests of a program in each of its steps from the file that `DENO_AUDIT_PERMISSIONS`
 * names. Deno doesn't record requests to run programs.
 *
 * @param temporary The directory for temporary files.
 */
export async function readAudit(path: string, temporary = "/tmp"): Promise<string[][]> {
  const steps: string[][] = [[]];
  for (const line of (await Deno.readTextFile(path)).trimEnd().split("\n")) {
    const { permission, value } = JSON.parse(line);
    const request = value === null
      ? permission
      : `${permission}=${value === "<TMP>" ? temporary : value}`;
    if (request === `env=${NEXT_STEP}`) steps.push([]);
    else steps.at(-1)!.push(request);
  }
  return steps;
}

/** Reports whether a permission allows a request of a program in a directory. */
export function allowsRequest(permission: string, request: string, cwd = "/"): boolean {
  const [[kind, value], [requestedKind, requestedValue]] = [split(permission), split(request)];
  if (kind !== requestedKind) return false;
  if (value === undefined || value === requestedValue) return true;
  if (requestedValue === undefined) return false;
  if (kind === "net") return value === requestedValue.replace(/:\d+$/, "");
  const isPath = kind === "read" || kind === "write";
  return isPath && `${resolve(cwd, requestedValue)}/`.startsWith(`${resolve(cwd, value)}/`);
}

/** Asserts that a program with all permissions has requested exactly the given permissions. */
export function assertRequested(
  requests: readonly string[],
  permissions: readonly string[],
  label: string,
): void {
  const extraRequests = requests.filter((request) =>
    request !== WORKER_REQUEST &&
    !permissions.some((permission) => allowsRequest(permission, request))
  );
  assertEquals(extraRequests, [], `${label} asks for more`);
  const unusedPermissions = permissions.filter((permission) =>
    !requests.some((request) => allowsRequest(permission, request))
  );
  assertEquals(unusedPermissions, [], `${label} asks for less`);
}
