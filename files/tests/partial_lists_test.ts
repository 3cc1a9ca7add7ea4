/** `downloadTree` reads only those directories of the target that it compares. */
import type { Connector } from "@degu/degu/client";
import type { UploadTreeOptions } from "@degu/files";
import { type BodyIn, onBodyEnd } from "@degu/internal/base/body/body.ts";
import { realPath } from "@degu/internal/files/disk/paths.ts";
import { patch } from "@degu/testing/patching.ts";
import { waitForTick } from "@degu/testing/raw_peer.ts";
import { makeTrees } from "@degu/testing/trees.ts";
import { assertEquals } from "@std/assert";

const LARGE = "l".repeat(70_000);

interface Row {
  readonly name: string;
  readonly source: Record<string, string | null>;
  readonly options?: UploadTreeOptions;
  readonly isOtherRead: boolean;
  readonly reused?: number;
}

const ROWS: readonly Row[] = [
  { name: "small files are missing", source: { "a/new": "1" }, isOtherRead: false },
  { name: "a large file differs", source: { "a/large": `${LARGE}2` }, isOtherRead: false },
  {
    name: "a large file is missing, and may be a copy",
    source: { "a/new": LARGE },
    isOtherRead: true,
    reused: LARGE.length,
  },
  {
    name: "superfluous entries are deleted",
    source: { "a/large": LARGE },
    options: { delete: true },
    isOtherRead: true,
  },
];

for (const { name, source, options = {}, isOtherRead, reused = 0 } of ROWS) {
  const outcome = isOtherRead ? "reads" : "doesn't read";
  Deno.test(`a download ${outcome} the other directories of the target: ${name}`, async () => {
    const target = { "a/large": LARGE, "other/sub/copy": LARGE };
    await using trees = await makeTrees("download", source, target, undefined, { reuse: true });
    for (const path of Object.keys(source)) await setTime(`${trees.source}/${path}`);
    for (const path of Object.keys(target)) await setTime(`${trees.target}/${path}`);
    const readPaths = new Set<string>();
    const listed = Promise.withResolvers<void>();
    // Read the target after the list of the source has arrived.
    using _patch = patch(Deno, "readDir", (readDir) =>
      async function* (path) {
        readPaths.add(`${path}`);
        if (`${path}`.includes(trees.target)) await listed.promise;
        yield* readDir(path);
      });
    // After the body of the list was read, the list is parsed in the first of these ticks.
    const waitUntilListed = async (body: BodyIn) => {
      await new Promise<void>((resolve) => onBodyEnd(body, resolve));
      for (let tick = 0; tick < 10; tick++) await waitForTick();
      listed.resolve();
    };
    const waitUntilRead: Promise<void>[] = [];
    const client: Connector = {
      async connect(options) {
        const conn = await trees.client.connect(options);
        const request: typeof conn.request = async (...args) => {
          const response = await conn.request(...args);
          waitUntilRead.push(waitUntilListed(response.body));
          return response;
        };
        return {
          request,
          close: () => conn.close(),
          get closed() {
            return conn.closed;
          },
        };
      },
    };
    const { result } = await trees.copy(options, client);
    await Promise.all(waitUntilRead);
    assertEquals([result.complete, result.reused], [true, reused]);
    assertEquals(readPaths.has(await realPath(`${trees.target}/a`)), true);
    const isRead = [...readPaths].some((path) => path.endsWith("/tree/other/sub"));
    assertEquals(isRead, isOtherRead);
  });
}

async function setTime(path: string): Promise<void> {
  const time = new Date("2026-01-02T03:04:05.678Z");
  await Deno.utime(path, time, time);
}

Deno.test("a directory of the target that is not read is still in the way of a file", async () => {
  await using trees = await makeTrees("download", { x: "1", y: "2" }, { "x/in": "3" });
  const { outcomes } = await trees.copy();
  assertEquals(outcomes, { x: "failed", y: "copied" });
});
