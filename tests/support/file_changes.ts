/** Changes that another program makes to a file, at once, while the file is copied. */

import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { patch } from "./patching.ts";
import { concat } from "./streams.ts";
import { randomBytes } from "./transferring.ts";

/** The most bytes of a file: two pieces of a sender, and some more of a server. */
export const LARGE_BYTES = 2_200_000;
/** Fewer bytes than a file has that travels alone. */
export const SMALL_BYTES = 40_000;

const OTHER = randomBytes(LARGE_BYTES);
const MORE = randomBytes(1000);

export interface FileChange {
  readonly what: string;
  /** Changes a file that has this content; returns the content that it has then. */
  readonly apply: (path: string, before: Uint8Array) => Uint8Array;
  /** Whether only the ctime of the file differs then. */
  readonly isHidden?: boolean;
  /** Whether the file arrives, whenever this happens. */
  readonly mustArrive?: boolean;
}

function writeAt(path: string, at: number, bytes: Uint8Array): void {
  using file = Deno.openSync(path, { write: true });
  file.seekSync(at, Deno.SeekMode.Start);
  for (let written = 0; written < bytes.length;) written += file.writeSync(bytes.subarray(written));
}

function withOldTime(path: string, change: () => void): void {
  const { mtime } = Deno.statSync(path);
  change();
  Deno.utimeSync(path, mtime!, mtime!);
}

export const FILE_CHANGES: readonly FileChange[] = [
  {
    what: "overwritten in place, and longer",
    apply: (path, before) => {
      const after = concat([OTHER.subarray(0, before.length), MORE]);
      writeAt(path, 0, after);
      return after;
    },
  },
  {
    what: "truncated, and written longer",
    apply: (path, before) => {
      const after = concat([OTHER.subarray(0, before.length), MORE]);
      Deno.writeFileSync(path, after);
      return after;
    },
  },
  {
    what: "given another header and another tail, and appended to",
    apply: (path, before) => {
      const tail = concat([OTHER.subarray(0, 1000), MORE]);
      writeAt(path, 0, MORE);
      writeAt(path, before.length - 1000, tail);
      return concat([MORE, before.subarray(1000, -1000), tail]);
    },
  },
  {
    what: "overwritten in place, and longer, with the old mtime",
    apply: (path, before) => {
      const after = concat([OTHER.subarray(0, before.length), MORE]);
      withOldTime(path, () => writeAt(path, 0, after));
      return after;
    },
  },
  {
    what: "overwritten in place",
    apply: (path, before) => {
      const after = OTHER.slice(0, before.length);
      writeAt(path, 0, after);
      return after;
    },
  },
  {
    what: "overwritten in place, with the old mtime",
    isHidden: true,
    apply: (path, before) => {
      const after = OTHER.slice(0, before.length);
      withOldTime(path, () => writeAt(path, 0, after));
      return after;
    },
  },
  {
    what: "written shorter",
    apply: (path, before) => {
      const after = OTHER.slice(0, before.length - 1000);
      Deno.writeFileSync(path, after);
      return after;
    },
  },
  {
    what: "renamed over",
    apply: (path, before) => {
      const after = concat([OTHER.subarray(0, before.length), MORE]);
      // Not beside the file, where a copy of the directory would find it.
      const other = `${dirname(dirname(path))}/other`;
      Deno.writeFileSync(other, after);
      Deno.renameSync(other, path);
      return after;
    },
  },
  {
    what: "appended to",
    mustArrive: true,
    apply: (path, before) => {
      Deno.writeFileSync(path, MORE, { append: true });
      return concat([before, MORE]);
    },
  },
];

/**
 * Waits until another change of a file shows in its ctime, of which Deno gives whole seconds, while
 * the clock of this process may be ahead.
 */
export async function untilNextSecond(path: string): Promise<void> {
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

/** Something that happens once, while a program waits for it. */
export interface Moment extends Disposable {
  readonly isOver: boolean;
}

/** Does something once so many reads of files have ended: before any begins, or after the last one. */
export async function atRead(count: number, act: () => void): Promise<Moment> {
  await using handle = await open(import.meta.filename!);
  let reads = 0;
  let isOver = false;
  const actIfDue = () => {
    if (isOver || reads < count) return;
    isOver = true;
    act();
  };
  const around = async <T>(read: () => Promise<T>, bytesOf: (result: T) => number) => {
    if (count === 0) actIfDue();
    const result = await read();
    if (bytesOf(result) > 0) reads++;
    actIfDue();
    return result;
  };
  const ofFile = patch(Deno.FsFile.prototype, "read", (read) => {
    return function (this: Deno.FsFile, into) {
      return around(() => read.call(this, into), (bytes) => bytes ?? 0);
    };
  });
  type Read = (...args: unknown[]) => Promise<{ bytesRead: number }>;
  const ofHandle = patch(Object.getPrototypeOf(handle) as { read: Read }, "read", (read) => {
    return function (this: unknown, ...args) {
      return around(() => read.apply(this, args), ({ bytesRead }) => bytesRead);
    };
  });
  return {
    get isOver() {
      return isOver;
    },
    [Symbol.dispose]() {
      ofFile[Symbol.dispose]();
      ofHandle[Symbol.dispose]();
    },
  };
}

/** Does something when the program has looked at the clock so many times. */
export function atLookAtClock(count: number, act: () => void): Moment {
  let remaining = count;
  const patched = patch(Date, "now", (now) => () => {
    const time = now();
    if (--remaining === 0) act();
    return time;
  });
  return {
    get isOver() {
      return remaining <= 0;
    },
    [Symbol.dispose]: () => patched[Symbol.dispose](),
  };
}
