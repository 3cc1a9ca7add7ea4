/** What gives way to a PUT: only what the client says it has seen. */
import { assert, assertEquals } from "@std/assert";
import { BodyIter, type HeaderDict } from "@degu/degu/base";
import type { FileEvent } from "@degu/degu/files";
import { digestTree, type TreeEntry } from "@degu/internal/files/entries.ts";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import { entries } from "@degu/testing/directories.ts";
import { makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { serveForWriting, upload } from "@degu/testing/written_directory.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const CONTENT = latin1("new");
/** The headers of a request that writes all of the content, in both ways that there are. */
const WAYS: readonly HeaderDict[] = [{}, upload(CONTENT, 0)];

type Files = Awaited<ReturnType<typeof serveForWriting>>;

/** The header that names what is in a directory, as its list has it. */
async function seen(files: Files, uri: string): Promise<HeaderDict> {
  const { body } = await files.request("GET", `${uri}/?tree`);
  const elements = JSON.parse(new TextDecoder().decode(await body!.bytes()));
  const tree: TreeEntry[] = elements.slice(0, -1).map((entry: { modified: string }) => ({
    ...entry,
    modified: new Date(entry.modified),
  }));
  return { "replace-directory": digestTree(tree) };
}

/** The header that names a file. */
async function seenFile(files: Files, name: string): Promise<HeaderDict> {
  const { size, mtime } = await Deno.stat(`${files.root}/${name}`);
  return { "replace-file": `${size},${mtime!.toISOString()}` };
}

Deno.test("a directory gives way to a file if it has what the client has seen", async () => {
  for (const way of WAYS) {
    const events: FileEvent[] = [];
    const onFile = (event: FileEvent) => void events.push(event);
    await using files = await serveForWriting({ list: true, onFile });
    const { root } = files;
    for (const dir of ["a/b c/d", "a/empty", "kept"]) {
      await Deno.mkdir(`${root}/${dir}`, { recursive: true });
    }
    for (const file of ["a/é", "a/b c/x", "a/b c/d/y"]) {
      await Deno.writeTextFile(`${root}/${file}`, file);
    }
    await Deno.mkdir(`${root}/a/b c/${RESERVED}`);
    const leftovers = [
      `b c/${RESERVED}/put-${"0".repeat(32)}`,
      ".x.degu-part",
      "b c/.x.degu-part.json",
    ];
    for (const name of leftovers) await Deno.writeTextFile(`${root}/a/${name}`, "part");
    const header = await seen(files, "/a");
    assertEquals(await files.put("/a", CONTENT, way), 409);
    assertEquals(await files.put("/a", CONTENT, { ...way, ...await seen(files, "/kept") }), 409);
    assertEquals(await files.put("/a", CONTENT, { ...way, ...header, "if-none-match": "*" }), 412);
    assertEquals(events, []);
    assertEquals(await files.put("/a", CONTENT, { ...way, ...header }), 201);
    assertEquals(await files.read("a"), "new");
    assertEquals(
      events.map(({ action, path }) => `${action} ${path.join("/")}`).toSorted(),
      ["delete a/b c/d/y", "delete a/b c/x", "delete a/é", "put a"],
    );
    assertEquals(await files.unfinished(), []);
    // What it has seen is gone, and nothing else is removed for it.
    assertEquals(await files.put("/a", CONTENT, { ...way, ...header }), 204);
    assertEquals(await files.put("/kept", CONTENT, { ...way, ...await seen(files, "/kept") }), 201);
  }
});

Deno.test("a directory that has anything else, or what no peer may delete, stays whole", async () => {
  await using files = await serveForWriting({ list: true });
  const { root } = files;
  await Deno.mkdir(`${root}/a/deep`, { recursive: true });
  await Deno.writeTextFile(`${root}/a/one`, "1");
  await Deno.writeTextFile(`${root}/a/deep/two`, "2");
  const tree = ["deep", "one"];
  const changes: [what: string, make: () => Promise<unknown>, undo: () => Promise<unknown>][] = [
    [
      "a new file",
      () => Deno.writeTextFile(`${root}/a/deep/new`, ""),
      () => Deno.remove(`${root}/a/deep/new`),
    ],
    [
      "a new directory",
      () => Deno.mkdir(`${root}/a/deep/new`),
      () => Deno.remove(`${root}/a/deep/new`),
    ],
    ["another size", () => Deno.writeTextFile(`${root}/a/one`, "11"), () => Promise.resolve()],
    [
      "another time",
      () => Deno.utime(`${root}/a/one`, new Date(0), new Date(5)),
      () => Promise.resolve(),
    ],
    [
      "another kind",
      async () => {
        await Deno.remove(`${root}/a/deep/two`);
        await Deno.mkdir(`${root}/a/deep/two`);
      },
      async () => {
        await Deno.remove(`${root}/a/deep/two`);
        await Deno.writeTextFile(`${root}/a/deep/two`, "2");
      },
    ],
  ];
  for (const [what, make, undo] of changes) {
    const header = await seen(files, "/a");
    await make();
    for (const way of WAYS) {
      assertEquals(await files.put("/a", CONTENT, { ...way, ...header }), 409, what);
    }
    await undo();
    assertEquals(await entries(`${root}/a`), tree, what);
    assertEquals(await entries(`${root}/a/deep`), ["two"], what);
  }
  // What is deeper would be removed before it.
  const assertWhole = async (...more: string[]) => {
    assertEquals(await entries(`${root}/a`), [...tree, ...more].toSorted());
    assertEquals((await entries(`${root}/a/deep`)).includes("two"), true);
  };
  const fifo = await makeFifo(`${root}/a/fifo`);
  for (const name of [...(fifo ? ["fifo"] : []), "link"]) {
    if (name === "link") await makeLinks({ [`${root}/a/${name}`]: "one" });
    assertEquals(await files.put("/a", CONTENT, await seen(files, "/a")), 409, name);
    await assertWhole(name);
    await Deno.remove(`${root}/a/${name}`);
  }
  {
    using part = await Deno.open(`${root}/a/deep/.two.degu-part`, { write: true, createNew: true });
    await part.lock(true);
    assertEquals(await files.put("/a", CONTENT, await seen(files, "/a")), 409);
    await assertWhole();
  }
  await Deno.mkdir(`${root}/a/deep/${RESERVED}`);
  await Deno.writeTextFile(`${root}/a/deep/${RESERVED}/mine`, "");
  assertEquals(await files.put("/a", CONTENT, await seen(files, "/a")), 409);
  await Deno.remove(`${root}/a/deep/${RESERVED}/mine`);
  assertEquals(await files.put("/a", CONTENT, await seen(files, "/a")), 201);
  assertEquals(await files.unfinished(), []);
});

Deno.test("a directory that changes while the file arrives stays", async () => {
  await using files = await serveForWriting({ list: true });
  await Deno.mkdir(`${files.root}/a`);
  await Deno.writeTextFile(`${files.root}/a/one`, "1");
  const body = new BodyIter(
    (async function* () {
      yield latin1("12345");
      while ((await files.unfinished()).length === 0);
      await Deno.writeTextFile(`${files.root}/a/two`, "2");
      yield latin1("67890");
    })(),
    10,
  );
  assertEquals(await files.put("/a", body, await seen(files, "/a")), 409);
  assertEquals(await entries(`${files.root}/a`), ["one", "two"]);
  assertEquals(await files.unfinished(), []);
});

Deno.test("a file gives way to a directory if it is the one that the client has seen", async () => {
  for (const way of WAYS) {
    await using files = await serveForWriting();
    const { root } = files;
    const put = (uri: string, headers: HeaderDict) =>
      files.put(uri, CONTENT, { ...way, ...headers });
    const header = await seenFile(files, "file");
    assertEquals(await put("/file/a/b", {}), 409);
    assertEquals(await put("/file/a/b", { "replace-file": "6,1970-01-01T00:00:00.000Z" }), 409);
    const [, time] = `${header["replace-file"]}`.split(",");
    assertEquals(await put("/file/a/b", { "replace-file": `7,${time}` }), 409);
    assertEquals(await files.read("file"), "public");
    // Neither a file that is a file's target nor a directory is concerned.
    assertEquals(await put("/sub", header), 409);
    assertEquals(await put("/file/a/b", header), 201);
    assertEquals(await files.read("file/a/b"), "new");
    assertEquals(await put("/file/a/c", header), 201);
    // A request that fails in the end removes nothing.
    const inner = await seenFile(files, "file/a/b");
    assertEquals(await put("/file/a/b/c", { ...inner, "if-match": "*" }), 412);
    assertEquals(await put(`/file/a/b/${`${"n".repeat(255)}/`.repeat(20)}c`, inner), 414);
    assertEquals(await files.read("file/a/b"), "new");
    assertEquals(await entries(`${root}/file/a`), ["b", "c"]);
    assertEquals(await put("/file/a/b/c/d", inner), 201);
    assertEquals(await files.unfinished(), []);
    await Deno.writeTextFile(`${root}/other`, "1");
    assertEquals(await files.put("/other/", null), 409);
    assertEquals(await files.put("/other/", null, await seenFile(files, "other")), 201);
    assertEquals(await entries(`${root}/other`), []);
    await Deno.writeTextFile(`${root}/third`, "1");
    assertEquals(await files.put("/third/x/y/", null, await seenFile(files, "third")), 201);
    assertEquals(await entries(`${root}/third/x`), ["y"]);
    assertEquals(await files.unfinished(), []);
  }
});

Deno.test("a link gives way only as the last name, and what it leads to stays", async () => {
  for (const way of WAYS) {
    await using files = await serveForWriting();
    const { root } = files;
    const targets = ["file", "sub", "../outside/secret", "../outside", "nothing", "link-5"];
    const links = targets.map((target, i) => [`${root}/link-${i}`, target]);
    await makeLinks(Object.fromEntries(links));
    const header = { "replace-link": "*" };
    for (const i of targets.keys()) {
      assertEquals(await files.put(`/link-${i}/new`, CONTENT, { ...way, ...header }), 403);
      assertEquals(await files.put(`/link-${i}`, CONTENT, way), 403);
      const isNew = { ...way, ...header, "if-none-match": "*" };
      assertEquals(await files.put(`/link-${i}`, CONTENT, isNew), 412);
      assert((await Deno.lstat(`${root}/link-${i}`)).isSymlink);
      assertEquals(await files.put(`/link-${i}`, CONTENT, { ...way, ...header }), 204);
      assert((await Deno.lstat(`${root}/link-${i}`)).isFile);
      assertEquals(await files.read(`link-${i}`), "new");
    }
    await makeLinks({ [`${root}/to-dir`]: "sub" });
    assertEquals(await files.put("/to-dir/", null), 409);
    assertEquals(await files.put("/to-dir/", null, header), 201);
    assertEquals(await entries(`${root}/to-dir`), []);
    assertEquals([await files.read("file"), await files.read("sub/file")], ["public", "public"]);
    assertEquals(await files.unfinished(), []);
  }
});

Deno.test("a header that is not valid changes nothing", async () => {
  await using files = await serveForWriting();
  const hex = "0".repeat(64);
  const time = "1970-01-01T00:00:00.000Z";
  const bad: HeaderDict[] = [
    ...["", "x", hex.slice(1), hex.replaceAll("0", "A"), `${hex}0`].map((value) => ({
      "replace-directory": value,
    })),
    ...[
      "",
      "5",
      "5,",
      `,${time}`,
      `05,${time}`,
      `-1,${time}`,
      `5,${time},`,
      "5,1970-01-01",
      `5, ${time}`,
    ]
      .map((value) => ({ "replace-file": value })),
    ...["", "file", "**"].map((value) => ({ "replace-link": value })),
  ].filter((headers) => !Object.values(headers).includes(""));
  for (const headers of bad) {
    for (const uri of ["/new", "/new/a", "/new/"]) {
      const body = uri.endsWith("/") ? null : CONTENT;
      assertEquals(await files.put(uri, body, headers), 400, Deno.inspect(headers));
    }
  }
  assertEquals((await entries(files.root)).filter((name) => name !== RESERVED), ["file", "sub"]);
});
