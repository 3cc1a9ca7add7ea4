/** Writing: links are never followed. */
import { assert, assertEquals } from "@std/assert";
import { BodyIter, type HeaderDict } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import { entries } from "@degu/testing/directories.ts";
import { makeTree } from "@degu/testing/served_directory.ts";
import { makeFifo, makeLinks, startExchanging } from "@degu/testing/special_files.ts";
import { digestOf, serveForWriting, statusOf } from "@degu/testing/written_directory.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";
import { serve } from "@degu/testing/serving.ts";

const CONTENT = latin1("1234567890");

/** The headers of a request that writes all of the content, in both ways that there are. */
const WAYS: HeaderDict[] = [
  {},
  { "repr-digest": digestOf(CONTENT), "upload-length": "10", "upload-offset": "0" },
];

Deno.test("a link, or a path through one, is neither written nor deleted", async () => {
  await using files = await serveForWriting();
  const { path, root } = files;
  const links = {
    [`${root}/in`]: "file",
    [`${root}/in-dir`]: "sub",
    [`${root}/out`]: "../outside/secret",
    [`${root}/out-absolute`]: `${path}/outside/secret`,
    [`${root}/out-dir`]: "../outside",
    [`${root}/none`]: "nothing",
    [`${root}/new-outside`]: "../outside/new",
    [`${root}/loop`]: "loop",
    [`${root}/self`]: ".",
    [`${root}/sub/up`]: "..",
  };
  await makeLinks(links);
  const fifo = await makeFifo(`${root}/fifo`);
  using _listener = Deno.listen({ transport: "unix", path: `${root}/socket` });
  const reached = ["/in-dir/file", "/in-dir/new", "/out-dir/secret", "/out-dir/new", "/self/file"];
  const deeper = ["/out-dir/new/deep", "/none/new", "/sub/up/file", "/loop/a"];
  const itself = Object.keys(links).map((link) => link.slice(root.length));
  const special = fifo ? ["/fifo", "/socket"] : ["/socket"];
  for (const uri of [...reached, ...deeper, ...itself, ...special]) {
    for (const headers of WAYS) assertEquals(await files.put(uri, CONTENT, headers), 403, uri);
    assertEquals(await statusOf(await files.request("DELETE", uri)), 403, uri);
  }
  assertEquals(await files.read("file"), "public");
  assertEquals(await files.read("sub/file"), "public");
  assertEquals(await entries(`${root}/sub`), ["file", "up"]);
  for (const link of Object.keys(links)) assert((await Deno.lstat(link)).isSymlink, link);
  assertEquals(await files.unfinished(), []);
});

Deno.test("a link that replaces a directory during a PUT is not followed", async () => {
  for (const headers of WAYS) {
    for (const uri of ["/sub/file", "/sub/new", "/sub/deep/new", "/file"]) {
      await using files = await serveForWriting();
      const { root } = files;
      const swapped = uri === "/file" ? "file" : "sub";
      const target = uri === "/file" ? "../outside/secret" : "../outside";
      const body = new BodyIter(
        (async function* () {
          yield CONTENT.subarray(0, 5);
          while ((await files.unfinished()).length === 0);
          await Deno.rename(`${root}/${swapped}`, `${root}/kept`);
          await makeLinks({ [`${root}/${swapped}`]: target });
          yield CONTENT.subarray(5);
        })(),
        10,
      );
      assertEquals(await files.put(uri, body, headers), 403, uri);
      assertEquals(await files.unfinished(), []);
      assert((await Deno.lstat(`${root}/${swapped}`)).isSymlink);
    }
  }
});

Deno.test("a reserved directory that is replaced meanwhile exposes nothing", async () => {
  await using files = await serveForWriting();
  const reserved = `${files.root}/${RESERVED}`;
  const body = new BodyIter(
    (async function* () {
      yield CONTENT.subarray(0, 5);
      while ((await files.unfinished()).length === 0);
      await Deno.rename(reserved, `${files.root}/kept`);
      await makeLinks({ [reserved]: "../outside" });
      yield CONTENT.subarray(5);
    })(),
    10,
  );
  assertEquals(await files.put("/new", body), 409);
  assertEquals(await files.put("/new", CONTENT), 403, "a link instead of it");
  await Deno.remove(reserved);
  await Deno.writeTextFile(reserved, "");
  assertEquals(await files.put("/new", CONTENT), 403, "a file instead of it");
});

Deno.test({
  name: "nothing escapes while a directory is repeatedly exchanged for a link",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using tree = await makeTree();
    await using serving = serve(new FilesApp(tree.root, { write: true }));
    const statuses = new Set<number>();
    // A link inside of the root: what was followed is seen, and nothing is lost.
    await Deno.mkdir(`${tree.root}/decoy`);
    await Deno.writeTextFile(`${tree.root}/decoy/file`, "decoy");
    {
      await using exchanger = await startExchanging(`${tree.root}/sub`, "decoy");
      const over = performance.now() + 1500;
      while (performance.now() < over) {
        // In the moment without a directory none is to be made.
        const client = serving.makeClient();
        const response = await client.request("PUT", "/sub/file", { "if-match": "*" }, CONTENT);
        statuses.add(await statusOf(response));
      }
      assert(exchanger.running);
    }
    // Microseconds are left between the last look and the rename: it is rare, and noticed.
    const followed = await Deno.readTextFile(`${tree.root}/decoy/file`) !== "decoy";
    if (followed) assert(statuses.has(409), `${[...statuses]}`);
    for (const status of statuses) assert([204, 403, 409, 412].includes(status), `${status}`);
    assertEquals(await entries(`${tree.root}/${RESERVED}`), []);
  },
});
