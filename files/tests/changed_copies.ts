/** Copies of a file that changes at a given moment, in all ways to copy a file. */

import { Buffer } from "node:buffer";
import { Client } from "@degu/degu";
import {
  download,
  downloadTree,
  TransferError,
  type TransferOptions,
  upload,
  uploadTree,
  type UploadTreeOptions,
} from "@degu/degu/files";
import { assert, assertEquals } from "@std/assert";
import { setClockAhead } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import {
  FILE_CHANGES,
  type FileChange,
  LARGE_BYTES,
  type PendingAction,
  runAfterReads,
  runAtClockRead,
  SMALL_BYTES,
  waitForNextSecond,
} from "./file_changes.ts";
import { randomBytes, serveFilesApp } from "@degu/testing/transferring.ts";
import { makeCopy } from "@degu/testing/trees.ts";

/** The age at which a file counts as settled, although Deno reports its changes in whole seconds. */
export const SETTLED_MILLISECONDS = 10_000;
export const LARGE = randomBytes(LARGE_BYTES);
export const SMALL = randomBytes(SMALL_BYTES);
/** The older version of the file at the target, whose bytes can be reused. */
const OLDER = LARGE.subarray(0, 300_000);
const OLD_TIME = new Date("2026-01-02T03:04:05.678Z");

interface CopyArguments {
  readonly client: Client;
  readonly localDir: string;
}

interface CopyMethod {
  readonly name: string;
  readonly direction: "upload" | "download";
  readonly isSmall?: boolean;
  /** What the target has: an older version under the same name, or the file under another name. */
  readonly target?: "older" | "renamed";
  /** Runs before the file may change. */
  readonly begin?: (copyArguments: CopyArguments) => Promise<unknown>;
  /** Copies the file; resolves to the errors of single files, or rejects. */
  readonly copy: (copyArguments: CopyArguments) => Promise<unknown>;
  /** Whether the source is removed if it has not changed. */
  readonly removesSource?: boolean;
  /** Whether a file that has just changed is copied. */
  readonly copiesUnsettled?: boolean;
}

const makeUpload = (options: TransferOptions = {}) => ({ client, localDir }: CopyArguments) => {
  return upload(client, `${localDir}/tree/x`, "/tree/x", options);
};
const makeDownload = (options: TransferOptions = {}) => ({ client, localDir }: CopyArguments) => {
  return download(client, "/tree/x", `${localDir}/tree/x`, options);
};

/** Makes a function that copies a tree, and rejects if a file has failed. */
function makeTreeCopy(
  direction: CopyMethod["direction"],
  options: UploadTreeOptions = {},
): CopyMethod["copy"] {
  return async ({ client, localDir }) => {
    let failure: { readonly error: unknown } | null = null;
    const onEvent: UploadTreeOptions["onEvent"] = (event) => {
      if (event.type === "failed") failure = event;
    };
    const allOptions = { ...options, onEvent };
    if (direction === "upload") await uploadTree(client, `${localDir}/tree`, "/tree/", allOptions);
    else await downloadTree(client, "/tree/", `${localDir}/tree`, allOptions);
    if (failure !== null) throw (failure as { readonly error: unknown }).error;
  };
}

/** Makes a function that copies a megabyte of the file; then the connection is cut. */
function makeInterruptedCopy(copy: CopyMethod["copy"]): CopyMethod["copy"] {
  return async ({ localDir, client }) => {
    await using relay = new CuttingRelay(client.address);
    relay.cutAfter(1_000_000);
    const cutClient = new Client(relay.address, { timeout: 60 });
    await copy({ client: cutClient, localDir }).catch(() => {});
  };
}

/** The ways that exist in both directions. */
function makeCopyMethods(direction: CopyMethod["direction"]): CopyMethod[] {
  const makeFileCopy = direction === "upload" ? makeUpload : makeDownload;
  const base = { direction, copiesUnsettled: true };
  const [copy, copyTree] = [makeFileCopy(), makeTreeCopy(direction)];
  const name = `${direction}Tree`;
  return [
    { ...base, name: direction, copy },
    { ...base, name: `${direction} without resume`, copy: makeFileCopy({ resume: false }) },
    { ...base, name: `${direction}, resumed`, begin: makeInterruptedCopy(copy), copy },
    { ...base, name: `${direction} with reuse`, target: "older", copy },
    { ...base, name, copy: copyTree },
    { ...base, name: `${name} with reuse`, target: "older", copy: copyTree },
    { ...base, name: `${name} in a bundle`, isSmall: true, copy: copyTree },
  ];
}

const UPLOAD = { direction: "upload", copiesUnsettled: true } as const;
const MOVE = { ...UPLOAD, removesSource: true };
const moveUnsettled = makeTreeCopy("upload", { move: true, settled: 0 });

const COPY_METHODS: readonly CopyMethod[] = [
  ...makeCopyMethods("upload"),
  ...makeCopyMethods("download"),
  {
    ...UPLOAD,
    name: "uploadTree of a renamed file",
    target: "renamed",
    copy: makeTreeCopy("upload"),
  },
  { ...MOVE, name: "move with settled: 0", copy: moveUnsettled },
  {
    ...MOVE,
    name: "move with settled: 3",
    copiesUnsettled: false,
    copy: makeTreeCopy("upload", { move: true, settled: 3 }),
  },
  { ...MOVE, name: "move in a bundle", isSmall: true, copy: moveUnsettled },
];

/** Creates two directories, and a file to copy that has just been written. */
async function prepareCopy({ direction, isSmall = false, target }: CopyMethod) {
  const files = await serveFilesApp({ list: true, write: true, reuse: true });
  const { sourceDir, targetDir } = makeCopy(direction, files);
  for (const dir of [sourceDir, targetDir]) await Deno.mkdir(`${dir}/tree`);
  const [source, copy] = [`${sourceDir}/tree/x`, `${targetDir}/tree/x`];
  const content = isSmall ? SMALL : LARGE;
  await Deno.writeFile(source, content);
  const olderFile = target === "older" ? copy : `${targetDir}/tree/renamed`;
  if (target !== undefined) {
    await Deno.writeFile(olderFile, target === "older" ? OLDER : LARGE);
    const { mtime } = await Deno.stat(source);
    const modified = target === "older" ? OLD_TIME : mtime!;
    await Deno.utime(olderFile, modified, modified);
  }
  return { ...files, source, copy, content };
}

/** Returns the bytes of a file, or the kind of another entry. */
export function contentOf(path: string): Uint8Array | string {
  try {
    return Deno.statSync(path).isDirectory ? "a directory" : Deno.readFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "nothing";
    throw error;
  }
}

export function isSame(a: Uint8Array | string, b: Uint8Array | string): boolean {
  return typeof a === "string" || typeof b === "string" ? a === b : Buffer.compare(a, b) === 0;
}

/** Reports whether a copy is the first version of a file that has grown since it was opened. */
function isPrefix(prefix: Uint8Array | string, whole: Uint8Array): boolean {
  return prefix.length === LARGE_BYTES && isSame(prefix, whole.subarray(0, LARGE_BYTES));
}

export function hasChanged(error: unknown): boolean {
  return error instanceof TransferError && error.code === "CHANGED";
}

/** Copies a file that changes at a given moment; returns false if the copy was complete before. */
async function copyChanged(
  method: CopyMethod,
  { description, apply, mustArrive = false }: FileChange,
  prepared: Awaited<ReturnType<typeof prepareCopy>>,
  scheduleChange: (change: () => void) => PendingAction | Promise<PendingAction>,
): Promise<boolean> {
  const { client, clientDir, source, copy, content } = prepared;
  const copyArguments: CopyArguments = { client, localDir: clientDir };
  await method.begin?.(copyArguments);
  const contentBefore = contentOf(copy);
  let changedContent = content;
  let hasRun = false;
  let failure: unknown = null;
  {
    using moment = await scheduleChange(() =>
      changedContent = apply(source, content) as typeof content
    );
    await method.copy(copyArguments).catch((error) => failure = error);
    ({ hasRun } = moment);
  }
  const actualContent = contentOf(copy);
  const context = `${method.name}: ${description}: ${failure}`;
  if (failure === null) {
    assert(
      isSame(actualContent, content) || isSame(actualContent, changedContent) ||
        !method.isSmall && isPrefix(actualContent, changedContent),
      context,
    );
  } else {
    // A server has no other way to end a body than to cut the connection.
    const isReported = method.direction === "download" || hasChanged(failure);
    assertEquals([isReported, mustArrive], [true, false], context);
    assert(isSame(actualContent, contentBefore), context);
  }
  // With `move`, a source that has changed since it was read stays, or the new version was copied.
  const sourceContent = contentOf(source);
  assert(
    isSame(sourceContent, changedContent) ||
      method.removesSource && sourceContent === "nothing" && isSame(actualContent, changedContent),
    context,
  );
  return hasRun;
}

/**
 * A large file changes after this many reads of it, and a small file after this many reads of the
 * clock during its copy. A small file is opened and read between the fourth and the sixth read of
 * the clock.
 */
const MOMENTS = { large: [0, 1, 2, 3, 4], small: [1, 2, 3, 4, 5, 6] };

/** A copy of a file with a change, by the indexes of its properties. */
interface CopyCase {
  readonly changeIndex: number;
  readonly methodIndex: number;
  readonly momentIndex: number;
  readonly momentCount: number;
  /** 0 if the file is settled, and 1 if it was written just before. */
  readonly ageIndex: number;
  readonly ageCount: number;
  readonly isSmall: boolean;
}

/**
 * Yields tests that a file which changes while it is copied arrives as one version, or not at all.
 *
 * @param isChosen Chooses the copies to test.
 */
export function* makeChangedCopyTests(
  isChosen: (copyCase: CopyCase) => boolean,
): Generator<Deno.TestDefinition> {
  for (const [changeIndex, change] of FILE_CHANGES.entries()) {
    for (const size of ["large", "small"] as const) {
      const name =
        `a ${size} file that is ${change.description} arrives as one version, or not at all`;
      const fn = async () => {
        const isSmall = size === "small";
        const schedule = isSmall ? runAtClockRead : runAfterReads;
        const methods = COPY_METHODS.filter((method) => isSmall === (method.isSmall ?? false));
        const momentCount = MOMENTS[size].length;
        const errors: string[] = [];
        const missedMoments = new Set(MOMENTS[size]);
        for (const [ageIndex, age] of ["settled", "just written"].entries()) {
          const isSettled = age === "settled";
          await using stack = new AsyncDisposableStack();
          const cases: [CopyMethod, number, Awaited<ReturnType<typeof prepareCopy>>][] = [];
          for (const [methodIndex, method] of methods.entries()) {
            const ageCount = method.copiesUnsettled ? 2 : 1;
            if (ageIndex >= ageCount) continue;
            for (const [momentIndex, moment] of MOMENTS[size].entries()) {
              const indexes = { changeIndex, methodIndex, momentIndex, momentCount };
              if (!isChosen({ ...indexes, ageIndex, ageCount, isSmall })) continue;
              cases.push([method, moment, stack.use(await prepareCopy(method))]);
            }
          }
          if (isSettled && change.changesOnlyCtime) {
            await waitForNextSecond(cases.at(-1)![2].source);
          }
          using _clock = setClockAhead(isSettled ? SETTLED_MILLISECONDS : 0);
          for (const [method, moment, prepared] of cases) {
            try {
              const scheduleChange = (act: () => void) => schedule(moment, act);
              const hasRun = await copyChanged(method, change, prepared, scheduleChange);
              if (hasRun) missedMoments.delete(moment);
            } catch (error) {
              errors.push(`${age}, moment ${moment}: ${error}`);
            }
          }
        }
        assertEquals(errors, []);
        assertEquals([...missedMoments], [], "these moments are after the last read");
      };
      yield { name, fn };
    }
  }
}
