/** A served directory that keeps versions, and a clock for it. */
import { setClockAhead } from "@degu/testing/clock.ts";
import { fill, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { readStatus, serveWritableDirectory } from "@degu/testing/written_directory.ts";
import { makeBundle, readPutStatuses, type SentRecord, sha256Of } from "@degu/testing/bundles.ts";
import { assertMatch } from "@std/assert";

export const KEPT = ".degu-kept";
export const LOG = "namings.jsonl";

type Version = readonly [path: string, content: string];

/** Returns the paths below the days and times, with the contents, sorted. */
export async function listVersions(root: string): Promise<Version[]> {
  const tree = await readTree(`${root}/${KEPT}`).catch(() => ({}));
  return Object.entries(tree).flatMap(([path, content]): Version[] => {
    if (content === null || path.endsWith(`/${LOG}`)) return [];
    const [day, time, ...names] = path.split("/");
    assertMatch(day!, /^\d{4}-\d\d-\d\d$/);
    assertMatch(time!, /^\d\d(?:-\d\d){0,2}(?:\.\d{3})?_[\w.-]+$/);
    return [[names.join("/"), content as string]];
  }).sort(([a, x], [b, y]) => a === b ? (x < y ? -1 : 1) : a < b ? -1 : 1);
}

/** Returns the paths of the days. */
export function* listDays(root: string): Generator<string> {
  for (const { name } of Deno.readDirSync(`${root}/${KEPT}`)) yield `${root}/${KEPT}/${name}`;
}

/** Returns the paths of the directories of versions of a day. */
export function listTimes(day: string): string[] {
  return [...Deno.readDirSync(day)].filter(({ isDirectory }) => isDirectory)
    .map(({ name }) => `${day}/${name}`);
}

export async function serveKeeping(files: Record<string, string> = {}, keep = 2) {
  const served = await serveWritableDirectory({ keep, list: true, reuse: true });
  for (const name of ["file", "sub"]) {
    await Deno.remove(`${served.root}/${name}`, { recursive: true });
  }
  await fill(served.root, files);
  const bytesOf = (text: string) => new TextEncoder().encode(text);
  return {
    ...served,
    put: (path: string, text: string) => served.put(`/${path}`, bytesOf(text)),
    remove: async (path: string) => await readStatus(await served.request("DELETE", `/${path}`)),
    /** Renames a file by a bundle that first has these records. */
    async rename(from: string, to: string, sent: SentRecord[] = []): Promise<number | number[]> {
      const { size, mtime } = await Deno.stat(`${served.root}/${from}`);
      const rename = {
        path: to.split("/"),
        from: from.split("/"),
        sha256: sha256Of(await Deno.readFile(`${served.root}/${from}`)),
        seen: [size, mtime!.getTime()],
      };
      const bundle = makeBundle(sent, `${JSON.stringify(rename)}\n{"end":true}\n`);
      const response = await served.request("POST", "/?bundle=put", {}, bundle);
      const statuses = await readPutStatuses(response);
      return Array.isArray(statuses) && statuses.length === 1 ? statuses[0]! : statuses;
    },
    versions: () => listVersions(served.root),
    [Symbol.asyncDispose]: () => served[Symbol.asyncDispose](),
  };
}

/**
 * Sets the clock ahead step by step until disposed of. Files get their births and ctimes by this
 * clock.
 */
export function startClock() {
  const realNow = Date.now;
  const steps: { readonly since: number; readonly ahead: number }[] = [];
  let clock: Disposable | null = null;
  let areCtimesSet = false;
  const toClock = (time: number) => {
    const step = steps.findLast(({ since }) => since <= time);
    return new Date(time + (step?.ahead ?? 0));
  };
  // The ctime of Deno has no milliseconds.
  const changeTimes = new Map<number | null, Date>();
  const noteChange = (path: string | URL) =>
    void changeTimes.set(Deno.lstatSync(path).ino, new Date(Date.now()));
  const patches = [
    patch(Deno, "lstatSync", (lstatSync) => (path) => {
      const info = lstatSync(path);
      const birthtime = toClock(info.birthtime!.getTime());
      const changeTime = changeTimes.get(info.ino);
      const isOfInode = changeTime !== undefined && changeTime >= birthtime;
      // The server compares ctimes of present files with those of open files.
      if (!areCtimesSet && !`${path}`.includes(`/${KEPT}/`)) return { ...info, birthtime };
      return { ...info, birthtime, ctime: isOfInode ? changeTime : birthtime };
    }),
    patch(Deno, "linkSync", (linkSync) => (from, to) => {
      linkSync(from, to);
      noteChange(to);
    }),
    patch(Deno, "renameSync", (renameSync) => (from, to) => {
      renameSync(from, to);
      noteChange(to);
    }),
  ];
  return {
    advance(milliseconds: number): void {
      // Files of the last step must be older than this step. The clock of the kernel has ticks.
      const start = realNow();
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
      const ahead = (steps.at(-1)?.ahead ?? 0) + milliseconds;
      clock?.[Symbol.dispose]();
      clock = setClockAhead(ahead);
      steps.push({ since: start + 10, ahead });
    },
    /** Also sets the ctimes of present files, for the time after all changes. */
    setCtimes(): void {
      areCtimesSet = true;
    },
    [Symbol.dispose](): void {
      clock?.[Symbol.dispose]();
      for (const each of patches) each[Symbol.dispose]();
    },
  };
}
