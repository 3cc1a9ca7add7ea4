/**
 * Requests that an app answers in a separate process, which may mount file systems or run as another user.
 */

import type { HeaderDict, Method } from "@degu/degu/base";
import { runCommand } from "@degu/testing/commands.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { runProgram } from "@degu/testing/programs.ts";
import { makeUploadHeaders } from "@degu/testing/written_directory.ts";
import { assertEquals } from "@std/assert";

/** A request with the status that it is to be answered with. */
export type Asked = readonly [
  method: "PUT" | "DELETE" | "GET",
  uri: string,
  bytes: number,
  offset: number | null,
  status: number,
];

/** A shell in a namespace that may mount; its argument 0 is the directory, the rest the command. */
export const MOUNTING: readonly string[] = ["unshare", "-rm", "sh", "-c"];
/** A user that is not root, whose files are those of this user. */
export const AS_USER: readonly string[] = ["unshare", "--user", "--map-user=54321"];

/** Whether this user can mount a file system in a namespace. */
export function canMount(): Promise<boolean> {
  return canRun(...MOUNTING, 'mount -t tmpfs tmpfs /mnt && exec "$@"', "sh");
}

/** Whether this user can run a command through this wrapper. */
export async function canRun(...through: string[]): Promise<boolean> {
  const { success } = await runCommand([...through, "true"]);
  if (!success) console.warn(`This user can't run ${through.join(" ")}: a test is skipped`);
  return success;
}

/** Makes requests in a process of its own, and compares the statuses. */
export async function checkAsked(
  dir: string,
  through: readonly string[],
  asked: readonly Asked[],
  write = true,
): Promise<void> {
  const requests = asked.map(([method, uri, bytes, offset]) => {
    const headers = offset === null ? {} : makeUploadHeaders(new Uint8Array(bytes).fill(7), offset);
    return [method, uri, bytes, headers] as const;
  });
  const answers = await answersOf(dir, through, requests, write);
  const got = answers.map(([status], i) => `${asked[i]?.slice(0, 4)} ${status}`);
  assertEquals(got, asked.map((request) => `${request.slice(0, 4)} ${request[4]}`));
}

/** A request, whose body only PUT and POST send: bytes, or so many sevens. */
type FileAsked = readonly [
  method: Method,
  uri: string,
  body?: Uint8Array | number,
  headers?: HeaderDict,
];

/** Makes requests to a FilesApp in a process of its own, HEAD with the wish for a digest; returns the status and the body of each. */
export async function answersOf(
  dir: string,
  through: readonly string[],
  requests: readonly FileAsked[],
  write = true,
): Promise<[status: number, body: Uint8Array][]> {
  const encoded = requests.map(([method, uri, body, headers]) => {
    return [method, uri, typeof body === "number" ? body : body?.toBase64() ?? "", headers ?? {}];
  });
  // A file, since arguments can't have that many bytes.
  await using other = await createTempDir();
  await Deno.writeTextFile(`${other.path}/requests`, JSON.stringify(encoded));
  await Deno.chmod(other.path, 0o755);
  const flags = ["--allow-read", ...(write ? [`--allow-write=${dir}`] : [])];
  const args = [dir, `${other.path}/requests`];
  const printed = await runProgram("answer_files.ts", { flags, args, through, patience: 60 });
  const answers: [number, string][] = JSON.parse(printed);
  return answers.map(([status, body]) => [status, Uint8Array.fromBase64(body)]);
}
