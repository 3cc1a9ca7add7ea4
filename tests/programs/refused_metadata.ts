/**
 * Copies files to `disk` of the directory in the first argument, an odd disk over `backing` whose
 * faults are in `faults`. Each row of the second argument is the faults, as lines without their
 * patterns, and the direction. Prints the outcomes of each row as JSON.
 */
import { download, FilesApp, upload } from "@degu/degu/files";
import { serve } from "@degu/testing/serving.ts";
import { copyTree, type TreeDirection } from "@degu/testing/trees.ts";

interface SourceFile {
  readonly content: string;
  readonly mode: number;
}

const LARGE = "large".repeat(20_000);

/** Files of every kind of transfer: in a bundle, by themselves, empty, private, replaced. */
const SOURCE: Readonly<Record<string, SourceFile>> = {
  small: { content: "small", mode: 0o644 },
  large: { content: LARGE, mode: 0o755 },
  private: { content: "private", mode: 0o600 },
  "private large": { content: LARGE, mode: 0o600 },
  empty: { content: "", mode: 0o644 },
  "sub/replaced": { content: "new", mode: 0o644 },
  "sub/replaced large": { content: LARGE, mode: 0o644 },
};
const SECONDS = 1_600_000_000;

/**
 * Makes the tree, and a target with older files, one of which is identical.
 *
 * @param dir A directory with an odd disk, `disk`, over `backing`.
 */
async function makeRefusingTrees(dir: string, name: string) {
  const source = `${dir}/plain/${name}`;
  const backing = `${dir}/backing/${name}`;
  for (const path of [source, backing]) await Deno.mkdir(`${path}/sub`, { recursive: true });
  for (const [path, { content, mode }] of Object.entries(SOURCE)) {
    await Deno.writeTextFile(`${source}/${path}`, content);
    await Deno.chmod(`${source}/${path}`, mode);
    await Deno.utime(`${source}/${path}`, SECONDS, SECONDS);
  }
  for (const path of ["sub/replaced", "sub/replaced large"]) {
    await Deno.writeTextFile(`${backing}/${path}`, "replaced content");
    await Deno.chmod(`${backing}/${path}`, 0o640);
    await Deno.utime(`${backing}/${path}`, 1, 1);
  }
  const findDifferent = (isDifferent: (path: string) => boolean) =>
    Object.keys(SOURCE).filter(isDifferent);
  return {
    source,
    target: `${dir}/disk/${name}`,
    /** Lets the disk refuse operations of this target, such as `"chmod 0 EPERM"`. */
    refuse(faults: readonly string[]) {
      const lines = faults.map((line) => `${line} ^/${name}/.\n`);
      Deno.writeTextFileSync(`${dir}/faults`, lines.join(""));
    },
    findDifferentContents: () =>
      findDifferent((path) =>
        Deno.readTextFileSync(`${backing}/${path}`) !== SOURCE[path]!.content
      ),
    findOtherTimes: () =>
      findDifferent((path) => Number(Deno.statSync(`${backing}/${path}`).mtime) !== SECONDS * 1000),
  };
}

const [dir = "", rowsText = ""] = Deno.args;
const rows: [faults: string[], direction: TreeDirection][] = JSON.parse(rowsText);

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
  const runs = [(await copy()).result, (await copy()).result];
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
