/** Trees that are copied between two directories, in both directions. */

import type { Api, AppFunction, Request, Session } from "@degu/degu";
import {
  downloadTree,
  FilesApp,
  type FilesOptions,
  type TreeEvent,
  uploadTree,
  type UploadTreeOptions,
} from "@degu/degu/files";
import { fill } from "./directories.ts";
import { importMapFlags, runProgram } from "./programs.ts";
import { serveFiles } from "./transferring.ts";

/** The direction of a copy: from the server, or to it. */
export type TreeDirection = "download" | "upload";

export const DIRECTIONS: readonly TreeDirection[] = ["download", "upload"];

/** A test in both directions. */
export function both(name: string, fn: (direction: TreeDirection) => Promise<void>): void {
  for (const direction of DIRECTIONS) Deno.test(`${direction}: ${name}`, () => fn(direction));
}

export type Answer = Awaited<ReturnType<FilesApp["handle"]>>;

/** Changes some of the answers of an app; `null` leaves one as it is. */
export function changing(
  change: (
    request: Request,
    answer: () => Promise<Answer>,
  ) => Promise<Answer | null> | Answer | null,
): (app: FilesApp) => AppFunction {
  return (app) => async (request: Request, session: Session, api: Api) => {
    const answer = () => app.handle(request, session, api);
    let changed;
    try {
      changed = await change(request, answer);
    } catch (error) {
      // If the app of a test throws, the connection is cut.
      session.close(error);
      throw error;
    }
    if (changed !== null && request.body?.used === false) await request.body.bytes();
    return changed ?? await answer();
  };
}

/** Makes a source with this content, an empty target, and a server. */
export async function makeTrees(
  direction: TreeDirection,
  source: Readonly<Record<string, string | null>> = {},
  target: Readonly<Record<string, string | null>> = {},
  wrap: (app: FilesApp) => AppFunction = (app) => (...args) => app.handle(...args),
  options: FilesOptions = {},
) {
  const allOptions = { list: true, write: true, ...options };
  const files = await serveFiles((dir) => wrap(new FilesApp(dir, allOptions)));
  const { there, here, serving, client } = files;
  for (const dir of [there, here]) await Deno.mkdir(`${dir}/tree`);
  const [from, to] = direction === "download" ? [there, here] : [here, there];
  const trees = {
    direction,
    source: `${from}/tree`,
    target: `${to}/tree`,
    serving,
    client,
    copy: (options: UploadTreeOptions = {}, over: Parameters<typeof downloadTree>[0] = client) => {
      return copyTree(direction, over, `${here}/tree`, "/tree/", options);
    },
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  };
  await fill(trees.source, source);
  await fill(trees.target, target);
  return trees;
}

/** Copies a tree, and collects its events; resolves although some files have failed. */
export async function copyTree(
  direction: TreeDirection,
  over: Parameters<typeof downloadTree>[0],
  dir: string,
  uri: string,
  options: UploadTreeOptions = {},
) {
  const events: TreeEvent[] = [];
  /** The outcome of each path, with the paths of deletions and removals apart. */
  const outcomes: Record<string, string> = {};
  const errors: Record<string, unknown> = {};
  const deleted: string[] = [];
  const removed: string[] = [];
  const onEvent = (event: TreeEvent) => {
    events.push(event);
    options.onEvent?.(event);
    if (!("path" in event)) return;
    const path = event.path.join("/");
    if (event.type === "deleted") return void deleted.push(path);
    if (event.type === "removed") return void removed.push(path);
    if (Object.hasOwn(outcomes, path)) throw new Error(`${path} has two outcomes`);
    outcomes[path] = event.type === "skipped" ? `skipped: ${event.reason}` : event.type;
    if (event.type === "failed") errors[path] = event.error;
  };
  const result = direction === "download"
    ? await downloadTree(over, uri, dir, { partial: true, ...options, onEvent })
    : await uploadTree(over, dir, uri, { partial: true, ...options, onEvent });
  return { result, events, outcomes, deleted, removed, errors };
}

type CopiedTree = Awaited<ReturnType<typeof copyTree>>;

/** A tree to copy in a separate process: from `source` to `target` in a directory. */
export interface CopyJob {
  readonly dir: string;
  readonly direction: TreeDirection;
  /** The options of the copy; if left out, only `delete`. */
  readonly options?: UploadTreeOptions;
  /** Whether the files have not changed for some seconds. */
  readonly isLater?: boolean;
}

export interface CopiedElsewhere extends Pick<CopiedTree, "result" | "outcomes" | "deleted"> {
  /** The reason why the whole copy was rejected. */
  readonly rejected?: string;
  /** The paths at the target after the copy. */
  readonly left: readonly string[];
}

/** Copies trees, one after the other, in a process that another program starts. */
export async function copyElsewhere(
  through: readonly string[],
  jobs: readonly CopyJob[],
): Promise<CopiedElsewhere[]> {
  const printed = await runProgram("copy_trees.ts", {
    flags: ["--allow-all", ...importMapFlags()],
    args: [JSON.stringify(jobs)],
    through,
    patience: 120,
  });
  return JSON.parse(printed);
}
