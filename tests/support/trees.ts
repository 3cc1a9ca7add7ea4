/** Copies of directory trees from a server and to a server. */

import type { Client } from "@degu/degu";
import {
  download,
  downloadTree,
  type FilesOptions,
  TransferError,
  type TransferOptions,
  type TreeEvent,
  upload,
  uploadTree,
  type UploadTreeOptions,
} from "@degu/degu/files";
import { fill } from "./directories.ts";
import { importMapFlags, runProgram } from "./processes.ts";
import { type ChangeResponse, type serveFiles, serveFilesApp } from "./transferring.ts";

/** The direction of a copy: from the server, or to it. */
export type TreeDirection = "download" | "upload";

/** The cases of a test in both directions: `Deno.test.each(DIRECTIONS)("%s: …", …)`. */
export const DIRECTIONS: readonly TreeDirection[] = ["download", "upload"];

/** Returns the directories of a direction, and a function that copies a file between them. */
export function makeCopy(
  direction: TreeDirection,
  { client, clientDir, serverDir }: Pick<
    Awaited<ReturnType<typeof serveFiles>>,
    "client" | "clientDir" | "serverDir"
  >,
) {
  const isUpload = direction === "upload";
  return {
    sourceDir: isUpload ? clientDir : serverDir,
    targetDir: isUpload ? serverDir : clientDir,
    copy: (path: string, options: TransferOptions = {}, peer: Client = client) =>
      isUpload
        ? upload(peer, `${clientDir}/${path}`, path.split("/"), options)
        : download(peer, path.split("/"), `${clientDir}/${path}`, options),
  };
}

/** Creates a source and a target with the given content, and serves one of them. */
export async function makeTrees(
  direction: TreeDirection,
  source: Readonly<Record<string, string | null>> = {},
  target: Readonly<Record<string, string | null>> = {},
  change: ChangeResponse = () => null,
  options: FilesOptions = {},
) {
  const files = await serveFilesApp({ list: true, write: true, ...options }, change);
  const { serverDir, clientDir, serving, client } = files;
  for (const dir of [serverDir, clientDir]) await Deno.mkdir(`${dir}/tree`);
  const { sourceDir, targetDir } = makeCopy(direction, files);
  const trees = {
    direction,
    source: `${sourceDir}/tree`,
    target: `${targetDir}/tree`,
    serving,
    client,
    copy: (
      options: UploadTreeOptions = {},
      otherClient: Parameters<typeof downloadTree>[0] = client,
    ) => {
      return copyTree(direction, otherClient, `${clientDir}/tree`, "/tree/", options);
    },
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  };
  await fill(trees.source, source);
  await fill(trees.target, target);
  return trees;
}

/** Copies a tree, and collects its events. Resolves even if some files fail. */
export async function copyTree(
  direction: TreeDirection,
  client: Parameters<typeof downloadTree>[0],
  dir: string,
  uri: string,
  options: UploadTreeOptions = {},
) {
  const events: TreeEvent[] = [];
  /** Outcomes by path, without deletions and removals. */
  const outcomes: Record<string, string> = {};
  const errors: Record<string, unknown> = {};
  const deletedPaths: string[] = [];
  const removedPaths: string[] = [];
  const onEvent = (event: TreeEvent) => {
    events.push(event);
    options.onEvent?.(event);
    if (event.type === "retry") {
      // The next attempt reports the unchanged files again.
      for (const path in outcomes) if (outcomes[path] === "unchanged") delete outcomes[path];
    }
    if (!("path" in event)) return;
    const path = event.path.join("/");
    if (event.type === "deleted") return void deletedPaths.push(path);
    if (event.type === "moved") return void removedPaths.push(path);
    // An obstacle that can't be deleted is reported in addition to the entry that is not copied.
    const isObstacle = event.type === "failed" && event.at === "target" &&
      errors[path] instanceof TransferError && errors[path].code === "IN_THE_WAY";
    if (Object.hasOwn(outcomes, path) && !isObstacle) throw new Error(`${path} has two outcomes`);
    outcomes[path] = event.type === "skipped" ? `skipped: ${event.reason}` : event.type;
    if (event.type === "failed") errors[path] = event.error;
  };
  const result = direction === "download"
    ? await downloadTree(client, uri, dir, { partial: true, ...options, onEvent })
    : await uploadTree(client, dir, uri, { partial: true, ...options, onEvent });
  return { result, events, outcomes, deletedPaths, removedPaths, errors };
}

/** Returns the bytes of the last event of progress that have arrived, and all. */
export function lastProgress(
  events: readonly TreeEvent[],
): [done: number | undefined, total: number | undefined] {
  const last = events.findLast((event) => event.type === "progress");
  return [last?.done, last?.total];
}

/** A copy from `source` to `target` in a directory, for a separate process. */
export interface CopyJob {
  readonly dir: string;
  readonly direction: TreeDirection;
  /** The options of the copy. By default only `delete` is set. */
  readonly options?: UploadTreeOptions;
  /** Whether the files have not changed for some seconds. */
  readonly isSettled?: boolean;
}

export interface SeparateCopy
  extends Pick<Awaited<ReturnType<typeof copyTree>>, "result" | "outcomes" | "deletedPaths"> {
  /** The code and message of each failed entry, by path. */
  readonly errors: Readonly<Record<string, string>>;
  readonly requests: readonly string[];
  /** The code and message of the error that rejected the whole copy. */
  readonly rejection?: string;
}

/** Copies trees one after another, in a Deno process that the command `through` starts. */
export async function copyInProcess(
  through: readonly string[],
  jobs: readonly CopyJob[],
): Promise<SeparateCopy[]> {
  const output = await runProgram("copy_trees.ts", {
    flags: ["--allow-all", ...importMapFlags()],
    args: [JSON.stringify(jobs)],
    through,
  });
  return JSON.parse(output);
}
