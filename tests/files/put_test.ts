/** PUT: files and directories that peers write, preconditions, and what gives way. */
import { Body, BodyIter, type HeaderDict } from "@degu/degu/base";
import { type FileEvent, FilesApp } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import { Temporary } from "@degu/internal/disk/temporary.ts";
import { replaceDirectory } from "@degu/internal/files/replace_directory.ts";
import { digestTree, type TreeEntry } from "@degu/internal/files/entries.ts";
import { fileUri } from "@degu/internal/files/file_name.ts";
import { Refusal } from "@degu/internal/files/refusal.ts";
import { ASIDE, RESERVED, unusedPath } from "@degu/internal/files/reserved.ts";
import { NOTHING, Root } from "@degu/internal/files/root.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { entries, fill, mode, tempDir } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { pattern } from "@degu/testing/served_directory.ts";
import { makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";
import { chunked, digestOf, serveForWriting, upload } from "@degu/testing/written_directory.ts";
import { assert, assertEquals } from "@std/assert";
import { dirname } from "@std/path";

// PUT: files that peers write.

const linux = Deno.build.os === "linux";
/** The bits that this process takes from the mode of a new file. */
const UMASK_FILE = await modeOfNewFile();

async function modeOfNewFile(): Promise<number> {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "");
  return await mode(`${dir.path}/file`);
}

Deno.test("files of every size are written, whatever the kind of body", async (t) => {
  await using files = await serveForWriting();
  for (const size of [0, 1, 32768, 524287, 524288, 524289, 1_048_577, 3_000_000]) {
    await t.step(`${size} bytes`, async () => {
      const content = pattern(size);
      const bodies = [
        content,
        new BodyIter([content.subarray(0, 7), content.subarray(7)], size),
        size > 0 ? chunked(content) : chunked(),
      ];
      for (const [i, body] of bodies.entries()) {
        assertEquals(await files.put(`/new-${size}-${i}`, body), 201);
        assertEquals(await Deno.readFile(`${files.root}/new-${size}-${i}`), content);
      }
      assertEquals(await files.unfinished(), []);
    });
  }
  assertEquals(await files.put("/no-body", null), 201);
  assertEquals(await files.read("no-body"), "");
  assertEquals(files.warnings, []);
});

Deno.test("a new file is answered with 201, a replaced one with 204, both with the digest that was sent", async () => {
  await using files = await serveForWriting();
  const body = latin1("hello");
  const digest = digestOf(body);
  const put = async (headers: HeaderDict) => {
    const response = await files.request("PUT", "/a", headers, body);
    await response.body?.bytes();
    return [response.status, response.reason, response.headers["repr-digest"]];
  };
  assertEquals(await put({}), [201, "Created", undefined]);
  assertEquals(await put({}), [204, "No Content", undefined]);
  assertEquals(await put({ "repr-digest": digest }), [204, "No Content", digest]);
  await Deno.remove(`${files.root}/a`);
  const others = `sha-512=:AAAA:, ${digest}`;
  assertEquals(await put({ "repr-digest": others }), [201, "Created", digest]);
  assertEquals(await put({ "repr-digest": "sha-512=:AAAA:" }), [204, "No Content", undefined]);
});

Deno.test("the modification time that a peer sends is kept", async () => {
  await using files = await serveForWriting();
  const times = [
    "2020-02-29T12:34:56.789Z",
    "2024-02-29T12:34:56.679Z",
    "1999-12-31T23:59:59Z",
    "2099-01-01T00:00:00.001Z",
    "1969-12-31T23:59:59.999Z",
    "1960-01-01T00:00:00.001Z",
  ];
  for (const time of times) {
    const status = await files.put(`/${times.indexOf(time)}`, null, { "upload-modified": time });
    assertEquals(status, 201);
    const { mtime } = await Deno.stat(`${files.root}/${times.indexOf(time)}`);
    assertEquals(mtime?.toISOString(), new Date(time).toISOString());
  }
});

Deno.test("a new file has the default mode, a replaced one keeps its mode", async () => {
  await using files = await serveForWriting();
  await files.put("/new", latin1("x"));
  assertEquals(await mode(`${files.root}/new`), UMASK_FILE);
  for (const [kept, becomes] of [[0o600, 0o600], [0o755, 0o755], [0o444, 0o444], [0o4755, 0o755]]) {
    await Deno.chmod(`${files.root}/file`, kept!);
    assertEquals(await files.put("/file", latin1("x")), 204);
    assertEquals(await mode(`${files.root}/file`), becomes);
  }
  assertEquals(await mode(`${files.root}/${RESERVED}`), 0o700);
});

Deno.test("no file exceeds the size limit", async () => {
  await using files = await serveForWriting({ maxBytes: 1000 });
  assertEquals(await files.put("/a", pattern(1000)), 201);
  assertEquals(await files.put("/b", pattern(1001)), 413);
  assertEquals(await files.put("/c", chunked(pattern(1000))), 201);
  assertEquals(await files.put("/d", chunked(pattern(1001))), 413);
  assertEquals(await files.put("/e", chunked(pattern(600), pattern(401))), 413);
  assertEquals(await files.unfinished(), []);
  await using nothing = await serveForWriting({ maxBytes: 0 });
  assertEquals(await nothing.put("/empty", chunked()), 201);
  assertEquals(await nothing.put("/a", pattern(0)), 201);
  assertEquals(await nothing.put("/b", pattern(1)), 413);
});

Deno.test("a refusal comes before the body is sent", async () => {
  await using files = await serveForWriting({ maxBytes: 1000 });
  const refused = [
    ["/sub", "content-length: 5", "409"],
    ["/new", "content-length: 1001", "413"],
    ["/new", "transfer-encoding: chunked\r\nupload-length: 1001", "413"],
    ["/new", "content-length: 5\r\nif-match: *", "412"],
    ["/", "content-length: 5", "403"],
    ["/new", "content-length: 5\r\nrepr-digest: x", "400"],
  ];
  for (const [uri, headers, status] of refused) {
    using peer = await RawPeer.connect(files.serving.address);
    await peer.send(`PUT ${uri} HTTP/1.1\r\n${headers}\r\n\r\n`);
    const preamble = await peer.readUntil("\r\n\r\n");
    assertEquals(preamble.slice(9, 12), status, uri);
  }
});

Deno.test("a truncated body leaves nothing behind", async () => {
  await using files = await serveForWriting();
  for (const uri of ["/file", "/new", "/deep/new"]) {
    for (const sent of ["", "12345"]) {
      {
        using peer = await RawPeer.connect(files.serving.address);
        await peer.send(`PUT ${uri} HTTP/1.1\r\ncontent-length: 10\r\n\r\n${sent}`);
        while ((await files.unfinished()).length === 0);
      }
      while ((await files.unfinished()).length > 0);
    }
  }
  assertEquals(await files.read("file"), "public");
  assertEquals((await entries(files.root)).filter((name) => name !== RESERVED), ["file", "sub"]);
});

Deno.test({
  name: "during a replacement GET returns the old file or the new one, always whole",
  ignore: !linux,
  async fn() {
    await using files = await serveForWriting();
    const contents = [1, 2, 3].map((value) => new Uint8Array(400_000).fill(value));
    await files.put("/a", contents[0]!);
    let over = false;
    const write = async () => {
      for (let i = 1; i < 15; i++) await files.put("/a", contents[i % 3]!);
      over = true;
    };
    const read = async () => {
      while (!over) {
        // A connection of its own: one has a limit of requests, and a slow disk lets many pass.
        const { status, body } = await files.request("GET", "/a");
        assertEquals(status, 200);
        const bytes = await body!.bytes();
        assertEquals(bytes.length, 400_000);
        assertEquals(bytes.indexOf(bytes[0]! % 3 + 1), -1, "bytes of two versions");
      }
    };
    await Promise.all([write(), read()]);
    assertEquals(files.serving.logger.at("error"), []);
  },
});

// PUT: preconditions, at its start and at its end.

Deno.test("preconditions of a PUT: a file is replaced if it is still the version that the peer knows", async () => {
  await using files = await serveForWriting();
  using _clock = setClockAhead();
  const etag = String((await files.request("HEAD", "/file")).headers.etag);
  const other = '"1-2-3-4-5"';
  const [past, future] = [0, Date.now() + 9e6].map((time) => new Date(time).toUTCString());
  const cases: [uri: string, headers: HeaderDict, status: number][] = [
    ["/new", { "if-match": "*" }, 412],
    ["/new", { "if-match": other }, 412],
    ["/file", { "if-match": other }, 412],
    ["/sub/file", { "if-match": etag }, 412],
    ["/file", { "if-none-match": etag }, 412],
    ["/file", { "if-match": etag }, 204],
    ["/file", { "if-match": etag }, 412],
    ["/file", { "if-match": "*" }, 204],
    ["/file", { "if-none-match": "*" }, 412],
    ["/file", { "if-none-match": other }, 204],
    ["/file", { "if-unmodified-since": past! }, 412],
    ["/file", { "if-unmodified-since": future! }, 204],
    ["/new", { "if-none-match": "*" }, 201],
    ["/new", { "if-none-match": "*" }, 412],
    ["/newer", { "if-none-match": other }, 201],
    ["/newest", { "if-unmodified-since": past! }, 201],
  ];
  for (const [i, [uri, headers, status]] of cases.entries()) {
    const name = uri.slice(1);
    const before = await files.read(name).catch(() => null);
    const shown = Deno.inspect([uri, headers]);
    assertEquals(await files.put(uri, latin1(`${i}`), headers), status, shown);
    assertEquals(await files.read(name).catch(() => null), status === 412 ? before : `${i}`, shown);
  }
  assertEquals(await files.unfinished(), []);
});

Deno.test("exactly one of several simultaneous PUTs of a new file gets 201", async () => {
  await using files = await serveForWriting();
  // Two apps of one directory, as two processes have.
  const apps = [0, 1].map(() => new FilesApp(files.root, { write: true }));
  for (let turn = 0; turn < 4; turn++) {
    const statuses = await Promise.all(Array.from({ length: 8 }, async (_, i) => {
      const body = new Body(new Blob([`${i}`]).stream(), 1);
      const request = mkreq("PUT", `/new/${turn}`, { "if-none-match": "*" }, body);
      const [status] = await apps[i % 2]!.handle(request);
      return status;
    }));
    assertEquals(statuses.filter((status) => status === 201).length, 1, `${statuses}`);
    assertEquals(statuses.filter((status) => status === 412).length, 7, `${statuses}`);
    const winner = statuses.indexOf(201);
    assertEquals(await files.read(`new/${turn}`), `${winner}`);
  }
  assertEquals(await files.unfinished(), []);
});

Deno.test("a condition that no longer holds when the body has arrived is detected", async () => {
  const conditions: [name: string, HeaderDict, left: string][] = [
    ["new", { "if-none-match": "*" }, "of somebody else"],
    ["file", { "if-match": "*" }, "gone"],
  ];
  for (const [name, condition, left] of conditions) {
    for (const way of [{}, upload(latin1("1234567890"), 0)]) {
      await using files = await serveForWriting();
      const path = `${files.root}/${name}`;
      const body = files.bodyAround(async () => {
        if (left === "gone") await Deno.remove(path);
        else await Deno.writeTextFile(path, left);
      });
      assertEquals(await files.put(`/${name}`, body, { ...way, ...condition }), 412);
      assertEquals(await Deno.readTextFile(path).catch(() => "gone"), left);
      assertEquals(await files.unfinished(), []);
    }
  }
});

Deno.test("what another process does between the last look and the rename is noticed, and refused", async () => {
  const rows: [change: (root: string, path: string) => void, left: string | null][] = [
    // Another file in the place of the one that was given its name; its directory elsewhere, and a link instead of it.
    [(_, path) => {
      Deno.removeSync(path);
      Deno.writeTextFileSync(path, "theirs");
    }, "theirs"],
    [(root) => Deno.renameSync(`${root}/sub`, `${root}/moved`), null],
    [(root) => {
      Deno.renameSync(`${root}/sub`, `${root}/moved`);
      Deno.renameSync(`${root}/link`, `${root}/sub`);
    }, "x"],
  ];
  for (const [change, left] of rows) {
    await using files = await serveForWriting();
    await makeLinks({ [`${files.root}/link`]: "moved" });
    using _changing = patch(Deno, "linkSync", (linkSync) => (from, to) => {
      linkSync(from, to);
      change(files.root, `${to}`);
    });
    assertEquals(await files.put("/sub/new", latin1("x"), { "if-none-match": "*" }), 409);
    assertEquals(await files.read("sub/new").catch(() => null), left);
  }
  // In the place of the unfinished one.
  await using files = await serveForWriting();
  const body = files.bodyAround(async () => {
    const [name] = await files.unfinished();
    await Deno.writeTextFile(`${files.root}/other`, "theirs");
    await Deno.rename(`${files.root}/other`, `${files.root}/${RESERVED}/${name}`);
  });
  assertEquals(await files.put("/file", body), 409);
  assertEquals(await files.read("file"), "public");
});

Deno.test("a directory of more than 100,000 entries, or that changes while it is read, gives way to no file", async () => {
  await using files = await serveForWriting();
  const header = { "replace-directory": "0".repeat(64) };
  const { readDir } = Deno;
  /** Lets a directory be read in another way. */
  const reading = (read: (path: string | URL) => Promise<Deno.DirEntry[]>) => {
    Deno.readDir = (path) => ({
      async *[Symbol.asyncIterator]() {
        yield* await read(path);
      },
    });
  };
  try {
    for (const [count, why] of [[100_000, "is not what"], [100_001, "more than 100000"]] as const) {
      reading(async (path) => {
        const entries = await Array.fromAsync(readDir(path));
        if (!`${path}`.endsWith("/sub")) return entries;
        // Names that nothing can have, which no look at the disk is needed for.
        return Array.from({ length: count }, (_, i) => ({ ...entries[0]!, name: `/${i}` }));
      });
      assertEquals(await files.put("/sub", latin1("x"), header), 409);
      assert(files.warnings.at(-1)!.includes(why), files.warnings.at(-1));
    }
    // One that is replaced while it is read is another one; what can't be read is no conflict.
    reading(async (path) => {
      const entries = await Array.fromAsync(readDir(path));
      Deno.renameSync(path, `${path}.away`);
      Deno.mkdirSync(path);
      return entries;
    });
    assertEquals(await files.put("/sub", latin1("x"), header), 409);
    reading(() => Promise.reject(Object.assign(new Error("a bad sector"), { code: "EIO" })));
    assertEquals(await files.put("/sub", latin1("x"), header).catch(() => "failed"), "failed");
  } finally {
    Deno.readDir = readDir;
  }
});

// PUT of a path that ends with a slash: directories that peers make.

const EMPTY = new Uint8Array(0);

Deno.test("PUT creates a directory and its parents with 201, and answers 204 if it exists", async () => {
  await using files = await serveForWriting();
  const uri = fileUri("new", "Ö", "a b", "");
  assertEquals(await files.put(uri, null), 201);
  assertEquals(await entries(`${files.root}/new/Ö/a b`), []);
  assertEquals(await files.put(uri, EMPTY), 204);
  assertEquals(await files.put(fileUri("new", ""), null), 204);
  assertEquals(await files.put(uri, null, { "if-none-match": "*" }), 412);
  assertEquals(await files.put(fileUri("other", ""), null, { "if-match": "*" }), 412);
  assertEquals((await entries(files.root)).includes("other"), false);
});

Deno.test("only an empty body creates a directory", async () => {
  await using files = await serveForWriting();
  for (const uri of ["/new/", "/file/", "/sub/"]) {
    assertEquals(await files.put(uri, latin1("x")), 409, uri);
  }
  assertEquals(await files.put("/new/", chunked()), 409);
  assertEquals((await entries(files.root)).includes("new"), false);
});

// What gives way to a PUT: only what the client says it has seen.

const CONTENT = latin1("new");
const EPOCH = "1970-01-01T00:00:00.000Z";
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
      events.map(({ action, path, status }) => `${action} ${path.join("/")} ${status}`).toSorted(),
      ["delete a/b c/d/y 204", "delete a/b c/x 204", "delete a/é 204", "put a 201"],
    );
    assertEquals(await files.unfinished(), []);
    // What it has seen is gone, and nothing else is removed for it.
    assertEquals(await files.put("/a", CONTENT, { ...way, ...header }), 204);
    assertEquals(events.at(-1)?.status, 204);
    assertEquals(await files.put("/kept", CONTENT, { ...way, ...await seen(files, "/kept") }), 201);
  }
});

Deno.test("a directory that has anything else, or what no peer may delete, stays whole", async () => {
  await using files = await serveForWriting({ list: true });
  const dir = `${files.root}/a`;
  const rows: [what: string, isSeen: boolean, change: () => Promise<unknown>, ...more: string[]][] =
    [
      ["a new file", false, () => Deno.writeTextFile(`${dir}/deep/new`, "")],
      ["a new directory", false, () => Deno.mkdir(`${dir}/deep/new`)],
      ["another size", false, () => Deno.writeTextFile(`${dir}/one`, "11")],
      ["another time", false, () => Deno.utime(`${dir}/one`, new Date(0), new Date(5))],
      ["another kind", false, async () => {
        await Deno.remove(`${dir}/deep/two`);
        await Deno.mkdir(`${dir}/deep/two`);
      }],
      ["a link", true, () => makeLinks({ [`${dir}/link`]: "one" }), "link"],
      ["somebody's file below the reserved directory", true, async () => {
        await Deno.mkdir(`${dir}/deep/${RESERVED}`);
        await Deno.writeTextFile(`${dir}/deep/${RESERVED}/mine`, "");
      }],
    ];
  if (await makeFifo(`${files.path}/fifo`)) {
    rows.push(["a FIFO", true, () => Deno.rename(`${files.path}/fifo`, `${dir}/fifo`), "fifo"]);
  }
  const make = async () => {
    await Deno.mkdir(`${dir}/deep`, { recursive: true });
    await Deno.writeTextFile(`${dir}/one`, "1");
    await Deno.writeTextFile(`${dir}/deep/two`, "2");
  };
  const assertStays = async (header: HeaderDict, what: string, more: readonly string[] = []) => {
    for (const way of WAYS) {
      assertEquals(await files.put("/a", CONTENT, { ...way, ...header }), 409, what);
    }
    // What is deeper would be removed before it.
    assertEquals(await entries(dir), ["deep", "one", ...more].toSorted(), what);
    assertEquals((await entries(`${dir}/deep`)).includes("two"), true, what);
  };
  for (const [what, isSeen, change, ...more] of rows) {
    await make();
    const before = await seen(files, "/a");
    await change();
    await assertStays(isSeen ? await seen(files, "/a") : before, what, more);
    await Deno.remove(dir, { recursive: true });
  }
  await make();
  for (const name of [".two.degu-part", "deep/.two.degu-part"]) {
    using part = await Deno.open(`${dir}/${name}`, { write: true, createNew: true });
    await part.lock(true);
    await assertStays(
      await seen(files, "/a"),
      "a part that is held",
      [name].filter((it) => it[0] === "."),
    );
    await Deno.remove(`${dir}/${name}`);
  }
  await Deno.mkdir(`${dir}/deep/${RESERVED}`);
  assertEquals(await files.put("/a", CONTENT, await seen(files, "/a")), 201);
  assertEquals(await files.unfinished(), []);
});

Deno.test("a directory that changes while the file arrives stays", async () => {
  await using files = await serveForWriting({ list: true });
  await Deno.mkdir(`${files.root}/a`);
  await Deno.writeTextFile(`${files.root}/a/one`, "1");
  const body = files.bodyAround(() => Deno.writeTextFile(`${files.root}/a/two`, "2"));
  assertEquals(await files.put("/a", body, await seen(files, "/a")), 409);
  assertEquals(await entries(`${files.root}/a`), ["one", "two"]);
  assertEquals(await files.unfinished(), []);
});

Deno.test("what changes just before it would be removed with its directory stays, there or aside", async () => {
  const rows: [entry: TreeEntry["kind"] | null, change: (path: string) => void][] = [
    ["file", (path) => {
      Deno.writeTextFileSync(path, "longer");
      Deno.utimeSync(path, 1, 1);
    }],
    ["file", (path) => Deno.utimeSync(path, 2, 2)],
    ["file", (path) => {
      Deno.removeSync(path);
      Deno.mkdirSync(path);
    }],
    ["file", (path) => {
      Deno.renameSync(`${dirname(dirname(path))}/fifo`, path);
      Deno.utimeSync(path, 1, 1);
    }],
    ["directory", (path) => {
      Deno.removeSync(path);
      Deno.writeTextFileSync(path, "");
    }],
    [null, (path) => {
      Deno.renameSync(dirname(path), `${dirname(path)}.away`);
      Deno.mkdirSync(dirname(path));
    }],
  ];
  for (const [kind, change] of rows) {
    await using dir = await tempDir();
    const root = new Root(await Deno.realPath(dir.path));
    const path = `${root.path}/a/one`;
    await makeFifo(`${root.path}/fifo`);
    if (kind === null) await Deno.mkdir(dirname(path));
    else await fill(dir.path, { "a/one": kind === "file" ? "" : null });
    if (kind === "file") await Deno.utime(path, 1, 1);
    const entry = { path: ["one"], kind: kind ?? "file", size: 0, modified: new Date(1000) };
    const replaceable = { ...NOTHING, directory: digestTree(kind === null ? [] : [entry]) };
    const at = kind === null ? dirname(path) : path;
    let changed: Deno.FileInfo;
    const confirm = () => {
      change(path);
      changed = Deno.lstatSync(at);
      return Promise.resolve();
    };
    let kept = at;
    const condition = (existing: unknown) => {
      if (existing !== null) return;
      const [{ name } = { name: "" }] = Deno.readDirSync(`${root.path}/${ASIDE}`);
      kept = `${root.path}/${ASIDE}/${name}/a/one`;
    };
    using file = Temporary.create(unusedPath(root.path));
    const move = { condition, isNew: false, replaceable };
    const replacing = replaceDirectory(root, ["a"], file, move, confirm);
    const refusal = await replacing.then(({ kept }) => kept, (error) => error);
    assert(refusal instanceof Refusal && refusal.status === 409, Deno.inspect(refusal));
    const { ino, size, mtime, isDirectory, isFile } = await Deno.lstat(kept);
    const before = [changed!.ino, changed!.size, changed!.mtime, changed!.isDirectory];
    assertEquals([ino, size, mtime, isDirectory, isFile], [...before, changed!.isFile]);
    if (kind === null) assertEquals(kept, at);
  }
});

Deno.test("a file gives way to a directory if it is the one that the client has seen", async () => {
  for (const way of WAYS) {
    await using files = await serveForWriting();
    const { root } = files;
    const put = (uri: string, headers: HeaderDict) =>
      files.put(uri, CONTENT, { ...way, ...headers });
    const header = await seenFile(files, "file");
    assertEquals(await put("/file/a/b", {}), 409);
    assertEquals(await put("/file/a/b", { "replace-file": `6,${EPOCH}` }), 409);
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
      assertEquals(await mode(`${root}/link-${i}`), UMASK_FILE);
      assertEquals(await files.read(`link-${i}`), "new");
    }
    // What is neither a link nor a file gives way to nothing.
    if (await makeFifo(`${root}/fifo`)) {
      for (const headers of [header, await seenFile(files, "fifo")]) {
        assertEquals(await files.put("/fifo", CONTENT, { ...way, ...headers }), 403);
        assertEquals(await files.put("/fifo/a", CONTENT, { ...way, ...headers }), 409);
        assertEquals(await files.put("/fifo/", null, headers), 409);
      }
      assert((await Deno.lstat(`${root}/fifo`)).isFifo);
    }
    await makeLinks({ [`${root}/to-dir`]: "sub" });
    assertEquals(await files.put("/to-dir/", null), 409);
    assertEquals(await files.put("/to-dir/", null, header), 201);
    assertEquals(await entries(`${root}/to-dir`), []);
    assertEquals([await files.read("file"), await files.read("sub/file")], ["public", "public"]);
    assertEquals(await files.unfinished(), []);
  }
});

/** Headers with values that are not valid, or that say something else than is so. */
const BAD_HEADERS: Record<string, readonly string[]> = {
  "repr-digest": [digestOf(latin1("other")), "sha-256=:AAAA:", "x"],
  "upload-modified": ["yesterday"],
  "replace-directory": ["x", "0".repeat(63), "A".repeat(64), "0".repeat(65)],
  "replace-file": [
    ...["5", "5,", `,${EPOCH}`, `05,${EPOCH}`, `-1,${EPOCH}`, `5,${EPOCH},`, `5, ${EPOCH}`],
    "5,1970-01-01",
  ],
  "replace-link": ["file", "**"],
};

Deno.test("a header that is not valid, or says something else than is so, changes nothing", async () => {
  await using files = await serveForWriting();
  for (const [name, values] of Object.entries(BAD_HEADERS)) {
    for (const value of values) {
      for (const uri of ["/file", "/new", "/sub/deep/new"]) {
        const status = await files.put(uri, CONTENT, { [name]: value });
        assertEquals(status, 400, `${uri}: ${name}: ${value}`);
      }
      // What describes a file has no effect on a directory.
      if (!name.startsWith("replace-")) continue;
      assertEquals(await files.put("/new/", null, { [name]: value }), 400, `${name}: ${value}`);
    }
  }
  assertEquals(await files.read("file"), "public");
  assertEquals(await entries(`${files.root}/sub`), ["file"]);
  assertEquals((await entries(files.root)).filter((name) => name !== RESERVED), ["file", "sub"]);
  assertEquals(await files.unfinished(), []);
});
