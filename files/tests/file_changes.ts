/** Changes of a file by another program while the file is copied. */

import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { patch } from "@degu/testing/patching.ts";
import { concat } from "@degu/testing/streams.ts";
import { randomBytes } from "@degu/testing/transferring.ts";

/** More bytes than two pieces of a sender, or than several pieces of a server. */
export const LARGE_BYTES = 2_200_000;
/** Few enough bytes for a file to travel in a bundle. */
export const SMALL_BYTES = 40_000;

const REPLACEMENT_BYTES = randomBytes(LARGE_BYTES);
const APPENDED_BYTES = randomBytes(1000);

export interface FileChange {
  readonly description: string;
  /** Changes a file that has the content `before`, and returns its new content. */
  readonly apply: (path: string, before: Uint8Array) => Uint8Array;
  /** Whether the change keeps the size and the mtime of the file. */
  readonly changesOnlyCtime?: boolean;
  /** True if the copy succeeds whenever the file changes. */
  readonly mustArrive?: boolean;
}

function writeAt(path: string, position: number, bytes: Uint8Array): void {
  using file = Deno.openSync(path, { write: true });
  file.seekSync(position, Deno.SeekMode.Start);
  for (let writtenCount = 0; writtenCount < bytes.length;) {
    writtenCount += file.writeSync(bytes.subarray(writtenCount));
  }
}

function withOldTime(path: string, change: () => void): void {
  const { mtime } = Deno.statSync(path);
  change();
  Deno.utimeSync(path, mtime!, mtime!);
}

export const FILE_CHANGES: readonly FileChange[] = [
  {
    description: "overwritten in place, and longer",
    apply: (path, before) => {
      const after = concat([REPLACEMENT_BYTES.subarray(0, before.length), APPENDED_BYTES]);
      writeAt(path, 0, after);
      return after;
    },
  },
  {
    description: "truncated, and written longer",
    apply: (path, before) => {
      const after = concat([REPLACEMENT_BYTES.subarray(0, before.length), APPENDED_BYTES]);
      Deno.writeFileSync(path, after);
      return after;
    },
  },
  {
    description: "given another header and another tail, and appended to",
    apply: (path, before) => {
      const tail = concat([REPLACEMENT_BYTES.subarray(0, 1000), APPENDED_BYTES]);
      writeAt(path, 0, APPENDED_BYTES);
      writeAt(path, before.length - 1000, tail);
      return concat([APPENDED_BYTES, before.subarray(1000, -1000), tail]);
    },
  },
  {
    description: "overwritten in place, and longer, with the old mtime",
    apply: (path, before) => {
      const after = concat([REPLACEMENT_BYTES.subarray(0, before.length), APPENDED_BYTES]);
      withOldTime(path, () => writeAt(path, 0, after));
      return after;
    },
  },
  {
    description: "overwritten in place",
    apply: (path, before) => {
      const after = REPLACEMENT_BYTES.slice(0, before.length);
      writeAt(path, 0, after);
      return after;
    },
  },
  {
    description: "overwritten in place, with the old mtime",
    changesOnlyCtime: true,
    apply: (path, before) => {
      const after = REPLACEMENT_BYTES.slice(0, before.length);
      withOldTime(path, () => writeAt(path, 0, after));
      return after;
    },
  },
  {
    description: "written shorter",
    apply: (path, before) => {
      const after = REPLACEMENT_BYTES.slice(0, before.length - 1000);
      Deno.writeFileSync(path, after);
      return after;
    },
  },
  {
    description: "renamed over",
    apply: (path, before) => {
      const after = concat([REPLACEMENT_BYTES.subarray(0, before.length), APPENDED_BYTES]);
      // A file in the same directory would also be copied.
      const replacementPath = `${dirname(dirname(path))}/other`;
      Deno.writeFileSync(replacementPath, after);
      Deno.renameSync(replacementPath, path);
      return after;
    },
  },
  {
    description: "appended to",
    mustArrive: true,
    apply: (path, before) => {
      Deno.writeFileSync(path, APPENDED_BYTES, { append: true });
      return concat([before, APPENDED_BYTES]);
    },
  },
];

/**
 * Waits until a change of a file would change its ctime. Deno reads the ctime in whole seconds, and
 * the clock of this process may be ahead of the disk's.
 */
export async function waitForNextSecond(path: string): Promise<void> {
  const { ctime } = await Deno.stat(path);
  const clock = await Deno.makeTempFile({ prefix: "degu-test-" });
  try {
    do {
      await new Promise((resolve) => setTimeout(resolve, 20));
      await Deno.utime(clock, 1, 1);
    } while (Number((await Deno.stat(clock)).ctime) === Number(ctime));
  } finally {
    await Deno.remove(clock);
  }
}

/** An action that runs once, unless it is disposed before. */
export interface PendingAction extends Disposable {
  readonly hasRun: boolean;
}

/** Runs an action after `count` reads of files, or before the first read if `count` is 0. */
export async function runAfterReads(count: number, action: () => void): Promise<PendingAction> {
  await using handle = await open(import.meta.filename!);
  let reads = 0;
  let hasRun = false;
  const runIfDue = () => {
    if (hasRun || reads < count) return;
    hasRun = true;
    action();
  };
  const runRead = async <T>(read: () => Promise<T>, bytesOf: (result: T) => number) => {
    if (count === 0) runIfDue();
    const result = await read();
    if (bytesOf(result) > 0) reads++;
    runIfDue();
    return result;
  };
  const filePatch = patch(Deno.FsFile.prototype, "read", (read) => {
    return function (this: Deno.FsFile, into) {
      return runRead(() => read.call(this, into), (bytes) => bytes ?? 0);
    };
  });
  type Read = (...args: unknown[]) => Promise<{ bytesRead: number }>;
  const handlePatch = patch(Object.getPrototypeOf(handle) as { read: Read }, "read", (read) => {
    return function (this: unknown, ...args) {
      return runRead(() => read.apply(this, args), ({ bytesRead }) => bytesRead);
    };
  });
  return {
    get hasRun() {
      return hasRun;
    },
    [Symbol.dispose]() {
      filePatch[Symbol.dispose]();
      handlePatch[Symbol.dispose]();
    },
  };
}

/** Runs an action when the program reads the clock for the `count`th time. */
export function runAtClockRead(count: number, action: () => void): PendingAction {
  let remainingCount = count;
  const clockPatch = patch(Date, "now", (now) => () => {
    const time = now();
    if (--remainingCount === 0) action();
    return time;
  });
  return {
    get hasRun() {
      return remainingCount <= 0;
    },
    [Symbol.dispose]: () => clockPatch[Symbol.dispose](),
  };
}
