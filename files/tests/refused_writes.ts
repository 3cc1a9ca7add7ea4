/**
 * Requests to an app in a separate process, which may mount file systems or run as another user.
 */

import type { HeadersToSend, Method } from "@degu/degu/base";
import { runCommand } from "@degu/testing/commands.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { runProgram } from "@degu/testing/processes.ts";
import { makeUploadHeaders } from "./written_directory.ts";
import { assertEquals } from "@std/assert";

/** A request, and the expected status of its response. */
export type ExpectedRequest = readonly [
  method: "PUT" | "DELETE" | "GET",
  uri: string,
  bytes: number,
  offset: number | null,
  status: number,
];

/** A shell in a namespace that may mount. Argument 0 is the directory, the others the command. */
export const IN_MOUNT_NAMESPACE: readonly string[] = ["unshare", "-rm", "sh", "-c"];
/** A command that runs another command as an unprivileged user who owns the same files. */
export const AS_USER: readonly string[] = ["unshare", "--user", "--map-user=54321"];

/** Returns whether this user can mount a file system in a namespace. */
export function canMount(): Promise<boolean> {
  return canRun(...IN_MOUNT_NAMESPACE, 'mount -t tmpfs tmpfs /mnt && exec "$@"', "sh");
}

/** Returns whether this user can run the command `through`. */
export async function canRun(...wrapper: string[]): Promise<boolean> {
  const { success } = await runCommand([...wrapper, "true"]);
  if (!success) console.warn(`This user can't run ${wrapper.join(" ")}: a test is skipped`);
  return success;
}

/** Sends requests to an app in a separate process, and compares the statuses. */
export async function checkStatuses(
  dir: string,
  wrapper: readonly string[],
  expectedRequests: readonly ExpectedRequest[],
  write = true,
): Promise<void> {
  const requests = expectedRequests.map(([method, uri, bytes, offset]) => {
    const headers = offset === null ? {} : makeUploadHeaders(new Uint8Array(bytes).fill(7), offset);
    return [method, uri, bytes, headers] as const;
  });
  const responses = await requestResponses(dir, wrapper, requests, write);
  const actual = responses.map(([status], i) => `${expectedRequests[i]?.slice(0, 4)} ${status}`);
  assertEquals(actual, expectedRequests.map((request) => `${request.slice(0, 4)} ${request[4]}`));
}

/** A request; only PUT and POST send the body: bytes, or a number of bytes of value 7. */
type FileRequest = readonly [
  method: Method,
  uri: string,
  body?: Uint8Array | number,
  headers?: HeadersToSend,
];

/**
 * Sends requests to a FilesApp in a separate process, HEAD with `want-repr-digest`, and returns
 * status and body of each response.
 */
export async function requestResponses(
  dir: string,
  wrapper: readonly string[],
  requests: readonly FileRequest[],
  write = true,
): Promise<[status: number, body: Uint8Array][]> {
  const encoded = requests.map(([method, uri, body, headers]) => {
    return [method, uri, typeof body === "number" ? body : body?.toBase64() ?? "", headers ?? {}];
  });
  // In a file, because the list can exceed the maximal length of an argument.
  await using requestsDir = await createTempDir();
  await Deno.writeTextFile(`${requestsDir.path}/requests`, JSON.stringify(encoded));
  await Deno.chmod(requestsDir.path, 0o755);
  const flags = ["--allow-read", ...(write ? [`--allow-write=${dir}`] : [])];
  const args = [dir, `${requestsDir.path}/requests`];
  const output = await runProgram("answer_files.ts", {
    flags,
    args,
    through: wrapper,
  });
  const responses: [number, string][] = JSON.parse(output);
  return responses.map(([status, body]) => [status, Uint8Array.fromBase64(body)]);
}
