/** A served directory that keeps versions, and a clock for it. */
import { setClockAhead } from "@degu/testing/clock.ts";
import { fill, readTree } from "@degu/testing/directories.ts";
import { readStatus, serveWritableDirectory } from "./written_directory.ts";
import { existsSync } from "node:fs";
import { assertMatch } from "@std/assert";

export const KEPT = ".degu-kept";

type Version = readonly [path: string, content: string];

/** Returns the paths below the directories of the periods, with the contents, sorted. */
export async function listVersions(root: string): Promise<Version[]> {
  const tree = await readTree(`${root}/${KEPT}`).catch(() => ({}));
  return Object.entries(tree).flatMap(([path, content]): Version[] => {
    const [period, ...names] = path.split("/");
    if (content === null || names.length === 0) return [];
    assertMatch(period!, /^\d{4}-\d\d-\d\dT\d\d_\d+$/);
    return [[names.join("/"), content as string]];
  }).sort(([a, x], [b, y]) => a === b ? (x < y ? -1 : 1) : a < b ? -1 : 1);
}

/** Returns the names of the directories of the periods, in their order. */
export function listPeriods(root: string): string[] {
  const directory = `${root}/${KEPT}`;
  if (!existsSync(directory)) return [];
  return [...Deno.readDirSync(directory)].filter(({ name }) => /_\d+$/.test(name))
    .map(({ name }) => name).sort((one, other) => numberOf(one) - numberOf(other));
}

function numberOf(period: string): number {
  return Number(period.split("_")[1]);
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
    /** Copies a file to a new name, and deletes the old name, as a tree does. */
    async rename(from: string, to: string): Promise<number> {
      const status = await served.put(
        `/${to}`,
        await Deno.readFile(`${served.root}/${decodeURIComponent(from)}`),
      );
      await readStatus(await served.request("DELETE", `/${from}`));
      return status;
    },
    versions: () => listVersions(served.root),
    [Symbol.asyncDispose]: () => served[Symbol.asyncDispose](),
  };
}

/** Sets the clock ahead step by step until disposed of. */
export function startClock() {
  let ahead = 0;
  let clock: Disposable | null = null;
  return {
    advance(milliseconds: number): void {
      clock?.[Symbol.dispose]();
      clock = setClockAhead(ahead += milliseconds);
    },
    [Symbol.dispose](): void {
      clock?.[Symbol.dispose]();
    },
  };
}
