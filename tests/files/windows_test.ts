/** Names that differ by case alone, on a disk of Windows that ignores case. */
import { downloadTree, TransferError, type TreeEvent } from "@degu/degu/files";
import { BUNDLE_TYPE, parsePaths } from "@degu/internal/files/bundle.ts";
import { bundleBytes, type Sent } from "@degu/testing/bundles.ts";
import { content, fill, tempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { assert, assertEquals } from "@std/assert";

const ENTRY = { kind: "file", modified: "2024-05-06T07:08:09.123Z" };

/** A server whose list has these paths, each a file with its path as content, or a directory. */
function serveList(paths: readonly string[]) {
  const entries = paths.map((path) =>
    path.endsWith("/")
      ? { path: path.slice(0, -1).split("/"), ...ENTRY, kind: "directory", size: 0 }
      : { path: path.split("/"), ...ENTRY, size: path.length }
  );
  const list = new TextEncoder().encode(JSON.stringify([...entries, { end: true }]));
  return serve(async ({ query, body }) => {
    if (query === "tree") return [200, "OK", { "content-type": "application/json" }, list];
    if (query !== "bundle=get") return [404, "Not Found", {}, null];
    const records = [...parsePaths(await body!.bytes())].map((path): Sent => {
      return ["", path.join("/"), { status: 200, path, modified: ENTRY.modified }];
    });
    return [200, "OK", { "content-type": BUNDLE_TYPE }, bundleBytes(records)];
  });
}

/** Downloads the list; returns what has failed with its code. */
async function mirror(paths: readonly string[], dir: string, dryRun = false) {
  await using serving = serveList(paths);
  const failed: Record<string, unknown> = {};
  const onEvent = (event: TreeEvent) => {
    if (event.type !== "failed") return;
    const { error, path } = event;
    failed[path.join("/")] = error instanceof TransferError ? error.code : error;
  };
  await downloadTree(serving.makeClient(), "/", dir, { partial: true, dryRun, onEvent });
  return failed;
}

Deno.test({
  name: "of names that differ by case alone the first in the list is copied, and the others fail",
  ignore: Deno.build.os !== "windows",
  async fn() {
    const paths = ["b", "B", "D/", "D/x", "d/", "d/y", "a", "sub/", "sub/N", "sub/n", "sub/NN"];
    await using dir = await tempDir();
    assertEquals(await mirror(paths, dir.path, true), {});
    assertEquals(await content(dir.path), {});
    const failed = await mirror(paths, dir.path);
    assertEquals(Object.keys(failed).sort(), ["B", "d", "d/y", "sub/n"]);
    assertEquals([failed["B"], failed["d"], failed["sub/n"]], Array(3).fill("SAME_NAME"));
    assertEquals(await content(dir.path), {
      ...{ "D": null, "D/x": "D/x", "a": "a", "b": "b" },
      ...{ "sub": null, "sub/N": "sub/N", "sub/NN": "sub/NN" },
    });
  },
});

Deno.test({
  name: "a name that the target lists is preferred to one that differs by case",
  ignore: Deno.build.os !== "windows",
  async fn() {
    await using dir = await tempDir();
    await fill(dir.path, { "B": "old" });
    const failed = await mirror(["b", "B"], dir.path);
    assertEquals(failed, { "b": "SAME_NAME" });
    assert((await content(dir.path))["B"] !== undefined);
  },
});
