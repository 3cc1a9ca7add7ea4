/**
 * Copies files to `disk` of the directory in the first argument, an odd disk over `backing` whose
 * faults are in `faults`. Each row of the second argument is the faults, as lines without their
 * patterns, and the direction. Prints the outcomes of each row as JSON.
 */
import { download, FilesApp, type TreeEvent, upload } from "@degu/files";
import { makeRefusingTrees } from "@degu/testing/refusing_disk.ts";
import { serve } from "@degu/testing/serving.ts";
import { copyTree, type TreeDirection } from "@degu/testing/trees.ts";

const [dir = "", rowsText = ""] = Deno.args;
const rows: [faults: string[], direction: TreeDirection][] = JSON.parse(rowsText);

/** Returns the refused properties of each file. */
function findUnset(events: readonly TreeEvent[]): Record<string, string> {
  const unset: Record<string, string> = {};
  for (const event of events) {
    if (event.type !== "copied" && event.type !== "unchanged") continue;
    if ((event.unset ?? []).length > 0) unset[event.path.join("/")] = event.unset!.join(" ");
  }
  return unset;
}

const outcomes: unknown[] = [];
for (const [index, [faults, direction]] of rows.entries()) {
  const trees = await makeRefusingTrees(dir, `${index}`);
  const { source, target } = trees;
  const isUpload = direction === "upload";
  const makeServing = () =>
    serve(new FilesApp(isUpload ? target : source, { list: true, write: isUpload, reuse: true }));
  await using serving = makeServing();
  const client = serving.makeClient();
  const copy = (other = client) => copyTree(direction, other, isUpload ? source : target, "/", {});
  const copyOne = (name: string) =>
    isUpload
      ? upload(client, `${source}/${name}`, [name])
      : download(client, [name], `${target}/${name}`);
  trees.refuse(faults);
  const runs = [await copy(), await copy()].map(({ result, events }) => ({
    result,
    unset: findUnset(events),
  }));
  const differences = trees.findDifferentContents();
  const single = await copyOne("large");
  await Deno.writeTextFile(`${source}/single`, "single".repeat(20_000));
  const singles = [await copyOne("single"), await copyOne("single")];
  let streamed = null;
  if (isUpload) {
    const modified = new Date(1_000_000_000_000);
    const stream = new Blob(["streamed"]).stream();
    streamed = (await upload(client, stream, ["streamed"], { modified })).unset;
  }
  const isSingleSame = await Deno.readTextFile(`${target}/single`) ===
    await Deno.readTextFile(`${source}/single`);
  trees.refuse([]);
  // An app remembers whether its disk has permission bits.
  await using laterServing = makeServing();
  const repaired = await copy(laterServing.makeClient());
  outcomes.push({
    runs,
    differences,
    unchanged: [single.bytes, singles[1]!.bytes],
    singles: singles.map(({ unset }) => unset.join(" ")),
    isSingleSame,
    streamed,
    repaired: [repaired.result.files, repaired.result.failed, repaired.result.unset],
    otherTimes: trees.findOtherTimes(),
    log: serving.logger.messagesOf("info"),
  });
}
console.log(JSON.stringify(outcomes));
