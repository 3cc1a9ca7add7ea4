/** downloadTree and uploadTree: links at the target, some of which have just replaced a directory. */
import { assertEquals } from "@std/assert";
import { downloadTree, FilesApp, type TreeEvent, uploadTree } from "@degu/degu/files";
import { tempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeLinks } from "@degu/testing/special_files.ts";

/** Directories for a source and a target, one that is neither, and a link to that one. */
async function makeDirectories() {
  const dir = await tempDir();
  const path = await Deno.realPath(dir.path);
  for (const name of ["source", "target", "outside"]) await Deno.mkdir(`${path}/${name}`);
  await makeLinks({ [`${path}/link`]: `${path}/outside` });
  return {
    source: `${path}/source`,
    target: `${path}/target`,
    outside: `${path}/outside`,
    /** Puts the link in the place of a directory of the target, or where nothing is. */
    exchange(name: string, isThere = true): void {
      if (isThere) Deno.renameSync(`${path}/target/${name}`, `${path}/exchanged`);
      Deno.renameSync(`${path}/link`, `${path}/target/${name}`);
    },
    [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose](),
  };
}

function failedPaths(events: readonly TreeEvent[]): string[] {
  return events.flatMap((event) => event.type === "failed" ? [event.path.join("/")] : []);
}

Deno.test("uploadTree: a link to a file of the target gives way to a file with delete, and fails without", async () => {
  await using dirs = await makeDirectories();
  const { source, target } = dirs;
  for (const [name, text] of [["small", "new"], ["large", "n".repeat(70_000)], ["other", "same"]]) {
    await Deno.writeTextFile(`${source}/${name}`, text!);
  }
  await Deno.writeTextFile(`${target}/other`, "same");
  await Deno.utime(`${source}/other`, 1_700_000_000, 1_700_000_000);
  await Deno.utime(`${target}/other`, 1_700_000_000, 1_700_000_000);
  await makeLinks({ [`${target}/small`]: "other", [`${target}/large`]: "other" });
  await using serving = serve(new FilesApp(target, { list: true, write: true }));
  const upload = async (isDeleting: boolean) => {
    const { files, failed } = await uploadTree(serving.makeClient(), source, "/", {
      delete: isDeleting,
    });
    return [files, failed];
  };
  assertEquals(await upload(false), [0, 2]);
  assertEquals(await Deno.readTextFile(`${target}/small`), "same");
  assertEquals(await upload(true), [2, 0]);
  assertEquals(await Deno.readTextFile(`${target}/small`), "new");
  assertEquals((await Deno.lstat(`${target}/large`)).isFile, true);
  assertEquals(await Deno.readTextFile(`${target}/other`), "same");
});

Deno.test("uploadTree: a directory that a link replaces meanwhile fails alone", async () => {
  await using dirs = await makeDirectories();
  const { source, target } = dirs;
  for (const path of [`${source}/linked`, `${source}/empty`, `${target}/linked`]) {
    await Deno.mkdir(path);
  }
  await Deno.writeTextFile(`${source}/linked/large`, "l".repeat(70_000));
  await using serving = serve(new FilesApp(target, { list: true, write: true }));
  const events: TreeEvent[] = [];
  await uploadTree(serving.makeClient(), source, "/", {
    onEvent(event) {
      events.push(event);
      if (event.type === "plan") dirs.exchange("linked");
    },
  });
  assertEquals(failedPaths(events), ["linked/large"]);
  assertEquals((await Deno.stat(`${target}/empty`)).isDirectory, true);
  assertEquals(await Array.fromAsync(Deno.readDir(dirs.outside)), []);
});

Deno.test("downloadTree: no part is written through a link that has replaced a directory, beside what is in the way either", async () => {
  await using dirs = await makeDirectories();
  const { source, target, outside } = dirs;
  for (const path of [`${source}/linked`, `${source}/linked/sub`, `${target}/linked`]) {
    await Deno.mkdir(path);
  }
  await Deno.writeTextFile(`${source}/linked/sub/large`, "l".repeat(70_000));
  await Deno.writeTextFile(`${target}/linked/sub`, "in the way");
  await Deno.utime(outside, 1_700_000_000, 1_700_000_000);
  await using serving = serve(new FilesApp(source, { list: true }));
  const events: TreeEvent[] = [];
  await downloadTree(serving.makeClient(), "/", target, {
    delete: true,
    onEvent(event) {
      events.push(event);
      if (event.type === "plan") dirs.exchange("linked");
    },
  });
  assertEquals(failedPaths(events), ["linked/sub/large"]);
  assertEquals((await Deno.stat(outside)).mtime?.getTime(), 1_700_000_000_000);
});

Deno.test("a link gives way to a directory with nothing but directories in it, and all of them are made", async () => {
  await using dirs = await makeDirectories();
  const { source, target, outside } = dirs;
  await Deno.mkdir(`${source}/linked/sub/deep`, { recursive: true });
  await using serving = serve(new FilesApp(source, { list: true }));
  dirs.exchange("linked", false);
  const result = await downloadTree(serving.makeClient(), "/", target, { delete: true });
  assertEquals(result.failed, 0);
  assertEquals((await Deno.lstat(`${target}/linked/sub/deep`)).isDirectory, true);
  assertEquals(await Array.fromAsync(Deno.readDir(outside)), []);
});
