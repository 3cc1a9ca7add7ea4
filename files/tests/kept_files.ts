/** A served directory that keeps versions, and a clock for it. */
import { setClockAhead } from "@degu/testing/clock.ts";
import { fill, readTree } from "@degu/testing/directories.ts";
import { readStatus, serveWritableDirectory } from "@degu/testing/written_directory.ts";
import { makeBundle, readPutStatuses, type SentRecord, sha256Of } from "@degu/testing/bundles.ts";
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
