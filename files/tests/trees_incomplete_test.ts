/** downloadTree and uploadTree with an incomplete copy: they reject, unless `partial` is set. */
import { isTransient, repeat, retry, routes, StatusError } from "@degu/degu";
import {
  downloadTree,
  FilesApp,
  TransferError,
  uploadTree,
  type UploadTreeOptions,
} from "@degu/files";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { assertTransferError, type ChangeResponse } from "@degu/testing/transferring.ts";
import { DIRECTIONS, makeTrees, type TreeDirection } from "@degu/testing/trees.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { listText } from "./directory_entries.ts";

type Trees = Awaited<ReturnType<typeof makeTrees>>;

/** Copies a tree with the default options of a caller. */
function copy({ direction, client, source, target }: Trees, options: UploadTreeOptions = {}) {
  return direction === "download"
    ? downloadTree(client, "/tree/", target, options)
    : uploadTree(client, source, "/tree/", options);
}

const catchIncomplete = (copying: () => Promise<unknown>) =>
  assertTransferError(copying, "INCOMPLETE");

const LARGE = "l".repeat(70_000);
const onEvent = () => {};

Deno.test.each(DIRECTIONS)(
  "%s: a call with a failed file copies the rest and rejects; with partial: true it resolves",
  async (direction) => {
    await using trees = await makeTrees(direction, { x: "1", y: "2", z: "3" }, {
      "x/a": "2",
      "y/a": "",
    });
    const dryRunResult = await copy(trees, { dryRun: true, onEvent });
    assertEquals([dryRunResult.files, dryRunResult.failed], [1, 2]);
    const errors: unknown[] = [];
    const error = await catchIncomplete(() =>
      copy(trees, {
        delete: true,
        maxDelete: 0,
        onEvent: (event) => void (event.type === "failed" && errors.push(event.error)),
      })
    );
    const { files, failed, deletionsSkipped } = error.result!;
    assertEquals([files, failed, deletionsSkipped], [1, 3, "limit"]);
    assertEquals(errors.length, 3);
    assertEquals(error.cause, errors[0]);
    assertStringIncludes(error.message, "3 entries could not be copied or deleted; the first: ");
    assertStringIncludes(error.message, (errors[0] as Error).message);
    assertEquals(isTransient(error), false);
    const singleError = await catchIncomplete(() =>
      copy(trees, { filter: { file: ({ name }) => name !== "y" }, onEvent })
    );
    const problem = '1 entry could not be copied or deleted: "x": a directory';
    assertStringIncludes(singleError.message, problem);
    const partial = await copy(trees, { partial: true, onEvent });
    assertEquals([partial.unchanged, partial.failed], [1, 2]);
  },
);

Deno.test.each(DIRECTIONS)(
  "%s: an empty source that would delete all entries of the target rejects the call",
  async (direction) => {
    await using trees = await makeTrees(direction, {}, { old: "1" });
    const error = await catchIncomplete(() => copy(trees, { delete: true }));
    const { failed, deletionsSkipped } = error.result!;
    assertEquals([failed, deletionsSkipped], [0, "empty"]);
    const advice = "is its disk mounted? To delete all entries, set deleteAll: true";
    assertStringIncludes(error.message, advice);
    assertEquals(isTransient(error), false, "no file has failed");
    assertEquals((await copy(trees, { delete: true, dryRun: true })).deletionsSkipped, "empty");
    assertEquals((await copy(trees, { delete: true, partial: true })).deletionsSkipped, "empty");
    assertEquals((await copy(trees)).deletionsSkipped, null);
    assertEquals((await copy(trees, { delete: true, deleteAll: true })).deleted, 1);
    const secondResult = await copy(trees, { delete: true });
    assertEquals(secondResult.deletionsSkipped, null, "no superfluous entry remains");
  },
);

/** Makes trees whose large files are interrupted until a function is called. */
async function makeBreaking(direction: TreeDirection, target: Record<string, string> = {}) {
  let isCut = true;
  const cut: ChangeResponse = ({ method, path }) => {
    if (isCut && method !== "HEAD" && path.at(-1) === "large") throw new Error("it breaks off");
    return null;
  };
  const trees = await makeTrees(direction, { large: LARGE, x: "1" }, target, cut);
  return Object.assign(trees, { mend: () => void (isCut = false) });
}

Deno.test.each(DIRECTIONS)(
  "%s: the error of a call is transient exactly if the error of each failed file is",
  async (direction) => {
    await using trees = await makeBreaking(direction);
    const error = await catchIncomplete(() => copy(trees, { onEvent }));
    const { files, failed } = error.result!;
    assertEquals([files, failed, isTransient(error), isTransient(error.cause)], [1, 1, true, true]);
    await using otherTrees = await makeBreaking(direction, { "x/a": "1" });
    const mixedError = await catchIncomplete(() => copy(otherTrees, { onEvent }));
    assertEquals([mixedError.result!.failed, isTransient(mixedError)], [2, false]);
  },
);

Deno.test.each(DIRECTIONS)(
  "%s: retry copies interrupted files, and repeat reports each run that has not copied them",
  async (direction) => {
    await using trees = await makeBreaking(direction);
    const stop = new AbortController();
    const waits: number[] = [];
    const copied: number[] = [];
    await repeat(async () => {
      const { files } = await retry(() => copy(trees, { onEvent }), {
        seconds: 0,
        retries: 1,
        onRetry: () => void (waits.length > 0 && trees.mend()),
      });
      copied.push(files);
      stop.abort();
    }, {
      seconds: 0.01,
      signal: stop.signal,
      onError(error, wait) {
        assert(error instanceof TransferError && error.code === "INCOMPLETE", String(error));
        waits.push(wait);
      },
    });
    assertEquals([copied, waits.length], [[1], 1]);
  },
);

Deno.test("download: a source that can't be listed completely rejects the call", async () => {
  const target = { old: "1" };
  await using trees = await makeTrees(
    "download",
    { a: "1" },
    target,
    async ({ query }, respond) => {
      if (query !== "tree") return null;
      const [status, reason, headers] = await respond();
      const modified = "2026-01-02T03:04:05.678Z";
      const list = listText([
        { path: ["a"], kind: "file", size: 1, modified },
        { path: ["b"], kind: "other", size: 0, modified, reason: "unreadable" },
        { end: true },
      ]);
      return [status, reason, headers, new TextEncoder().encode(list)];
    },
  );
  const error = await catchIncomplete(() => copy(trees, { delete: true, onEvent }));
  assertEquals([error.result!.files, error.result!.deletionsSkipped], [1, "incomplete"]);
  assertStringIncludes(error.message, '(deletionsSkipped: "incomplete")');
});

Deno.test("upload: with delete, a server without lists is refused before the target directory exists", async () => {
  await using dir = await createTempDir();
  await fill(dir.path, { "source/a": "1", "served": null });
  const source = `${dir.path}/source`;
  for (const list of [false, true]) {
    const app = new FilesApp(`${dir.path}/served`, { list, write: true });
    await using serving = serve(routes({ "/files/": app }));
    const copy = () =>
      uploadTree(serving.makeClient(), source, "/files/new/dir/", { delete: true });
    if (list) {
      assertEquals((await copy()).complete, true);
    } else {
      for (let i = 0; i < 2; i++) await assertRejects(copy, StatusError, "list: true");
      assertEquals(await readTree(`${dir.path}/served`), {});
    }
  }
});
