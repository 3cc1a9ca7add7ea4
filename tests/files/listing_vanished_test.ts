/** Lists of trees of which something vanishes meanwhile: what is removed is left out, and what has only lost its place is not. */
import { dirname } from "@std/path";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Turns } from "@degu/internal/disk/turns.ts";
import { readTree } from "@degu/internal/files/listing.ts";
import { readLocalTree } from "@degu/internal/files/local_tree.ts";
import { makeEmptyFiles, tempDir } from "@degu/testing/directories.ts";

/** Lists a tree, and calls a function in between; resolves to the paths. */
type List = (root: string, meanwhile: () => void) => Promise<string[]>;

const lists: readonly [name: string, list: List][] = [
  ["of a server", async (root, meanwhile) => {
    const paths: string[] = [];
    for await (const entries of readTree(dirname(root), root, new Turns())) {
      for (const { path } of entries) paths.push(path.join("/"));
      if (entries.some(({ name }) => name === "top")) meanwhile();
    }
    return paths;
  }],
  ["of this device", async (root, meanwhile) => {
    let isFirst = true;
    // It is looked at between two turns.
    const signal = Object.assign(new AbortController().signal, {
      throwIfAborted() {
        if (isFirst) meanwhile();
        isFirst = false;
      },
    });
    const paths: string[] = [];
    const collect = ({ children }: Awaited<ReturnType<typeof readLocalTree>>) => {
      for (const child of children?.values() ?? []) {
        paths.push(child.path.join("/"));
        collect(child);
      }
    };
    collect(await readLocalTree(root, signal));
    return paths;
  }],
];

const DIRECTORIES = ["a", "b", "c"];

const rows: readonly [what: string, isRefused: boolean, change: (root: string) => void][] = [
  ["the root is renamed", true, (root) => Deno.renameSync(root, `${root}.away`)],
  ["the root is replaced", true, (root) => {
    Deno.renameSync(root, `${root}.away`);
    Deno.mkdirSync(root);
  }],
  ["what holds the directories is replaced", true, (root) => {
    Deno.renameSync(`${root}/top`, `${root}/top.away`);
    Deno.mkdirSync(`${root}/top`);
  }],
  ["what holds the directories is removed", false, (root) => {
    Deno.renameSync(`${root}/top`, `${root}.away`);
  }],
  ["the directories are removed", false, (root) => {
    for (const name of DIRECTORIES) Deno.renameSync(`${root}/top/${name}`, `${root}.${name}`);
  }],
];

for (const [name, list] of lists) {
  for (const [what, isRefused, change] of rows) {
    Deno.test(`a list ${name} while ${what} is ${isRefused ? "refused" : "complete"}`, async () => {
      await using dir = await tempDir();
      const root = `${dir.path}/root`;
      for (const name of DIRECTORIES) {
        await Deno.mkdir(`${root}/top/${name}`, { recursive: true });
        makeEmptyFiles(`${root}/top/${name}`, Array.from({ length: 3000 }, (_, i) => `${i}`));
      }
      let isChanged = false;
      const listed = list(await Deno.realPath(root), () => {
        isChanged = true;
        change(root);
      });
      if (isRefused) await assertRejects(() => listed, Error, "while it was listed");
      else assert((await listed).length < 9004);
      assertEquals(isChanged, true);
    });
  }
}
