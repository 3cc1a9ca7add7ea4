/** DELETE, links that are never followed, and what the file system refuses. */
import type { HeaderDict } from "@degu/degu/base";
import {
  type BundleFormat,
  formatPaths,
  GET_ANSWER,
  PUT_ANSWER,
} from "@degu/internal/files/bundle.ts";
import { fileUri } from "@degu/internal/files/file_name.ts";
import { Refusal, refusalOf } from "@degu/internal/files/refusal.ts";
import { isReservedName, RESERVED } from "@degu/internal/files/reserved.ts";
import {
  makeBundle,
  parseBundle,
  readPutStatuses,
  type SentRecord,
} from "@degu/testing/bundles.ts";
import { createTempDir, listNames } from "@degu/testing/directories.ts";
import { addTraps, LINKS } from "@degu/testing/served_directory.ts";
import { makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  makeUploadHeaders,
  readStatus,
  serveWritableDirectory,
} from "@degu/testing/written_directory.ts";
import { assert, assertEquals } from "@std/assert";
import {
  answersOf,
  AS_USER,
  type Asked,
  canMount,
  canRun,
  checkAsked,
  MOUNTING,
} from "./refused_writes.ts";

// DELETE: files and empty directories that peers remove.

Deno.test("only files and empty directories are deleted", async () => {
  await using files = await serveWritableDirectory();
  await Deno.mkdir(`${files.root}/empty/deep`, { recursive: true });
  await Deno.writeTextFile(`${files.root}/a b`, "");
  const cases: [uri: string, status: number, headers?: HeaderDict][] = [
    ["/none", 404],
    ["/none/", 404],
    ["/none/none", 404],
    ["/file/", 404],
    ["/file/none", 409],
    ["/sub", 409],
    ["/sub/", 409],
    ["/empty", 409],
    ["/file", 412, { "if-match": '"a"' }],
    ["/file", 412, { "if-none-match": "*" }],
    ["/file", 412, { "if-unmodified-since": new Date(0).toUTCString() }],
    ["/empty/deep/", 412, { "if-match": '"a"' }],
    ["/empty/deep/", 204],
    ["/empty", 204],
    ["/file", 204, { "if-match": "*" }],
    ["/file", 404],
    [fileUri("a b"), 204],
  ];
  for (const [uri, status, headers = {}] of cases) {
    const response = await files.request("DELETE", uri, headers);
    assertEquals(await readStatus(response), status, uri);
  }
  assertEquals(await listNames(files.root), ["sub"]);
  assertEquals(await files.read("sub/file"), "public");
});

Deno.test("a directory that vanishes while a file is sent to it is made again", async () => {
  await using files = await serveWritableDirectory();
  await Deno.mkdir(`${files.root}/dir`);
  for (const [uri, deleted] of [["/dir/a", "/dir"], ["/file", "/file"]] as const) {
    const body = files.makeBodyWithAction(async () => {
      assertEquals(await readStatus(await files.request("DELETE", deleted)), 204);
    });
    assertEquals(await files.put(uri, body), 201);
    assertEquals(await files.read(uri.slice(1)), "1234567890");
  }
});

Deno.test("a directory with nothing but left-over parts is deleted, unless one of them is held", async () => {
  await using files = await serveWritableDirectory();
  const { root } = files;
  const unfinished = [`put-${"0".repeat(32)}`, `part-${"0".repeat(32)}-${"1".repeat(64)}`];
  const parts = [".a.degu-part", ".b.degu-part"];
  const make = async (...names: string[]) => {
    await Deno.mkdir(`${root}/dir/${RESERVED}`, { recursive: true });
    for (const name of names) await Deno.writeTextFile(`${root}/dir/${name}`, "part");
  };
  const all = [...parts, ...unfinished.map((name) => `${RESERVED}/${name}`)];
  const remove = async () => await readStatus(await files.request("DELETE", "/dir"));
  await make(...all);
  assertEquals(await remove(), 204);
  assertEquals((await listNames(root)).includes("dir"), false);
  await make();
  assertEquals(await remove(), 204);
  // Anything that is not a part keeps all of it.
  for (const name of ["file", `${RESERVED}/mine`, `${RESERVED}/put-1`]) {
    await make(...all, name);
    assertEquals(await remove(), 409, name);
    assertEquals((await listNames(`${root}/dir`)).length, parts.length + (name === "file" ? 2 : 1));
    await Deno.remove(`${root}/dir/${name}`);
  }
  // Nor is what only has the name of one: to open a FIFO would block until somebody reads it.
  const other = `${root}/dir/${RESERVED}/put-${"1".repeat(32)}`;
  for (const makeOther of [Deno.mkdir, makeFifo, (path: string) => makeLinks({ [path]: "none" })]) {
    await make(...all);
    if (await makeOther(other) === false) continue;
    assertEquals(await remove(), 409, makeOther.name);
    const left = await listNames(`${root}/dir/${RESERVED}`);
    assertEquals(left.length, unfinished.length + 1, makeOther.name);
    await Deno.remove(other);
  }
  for (const name of [parts[0]!, `${RESERVED}/${unfinished[1]}`]) {
    {
      using held = await Deno.open(`${root}/dir/${name}`, { write: true });
      await held.lock(true);
      assertEquals(await remove(), 409, name);
      assertEquals(files.warnings.at(-1)?.includes(name), true);
      assertEquals((await listNames(`${root}/dir`)).length, parts.length + 1);
      // A process that is just being started would keep the lock for a moment.
      await held.unlock();
    }
  }
  assertEquals(await remove(), 204);
  await Deno.mkdir(`${root}/${RESERVED}`, { recursive: true });
  await Deno.mkdir(`${root}/dir`);
  await makeLinks({ [`${root}/dir/${RESERVED}`]: "../../outside" });
  assertEquals(await remove(), 409);
  assertEquals((await listNames(`${root}/dir`)).length, 1);
});

// Writing: links are never followed.

const CONTENT = encodeLatin1("1234567890");

/** The headers of a request that writes all of the content, in both ways that there are. */
const WAYS: readonly HeaderDict[] = [{}, makeUploadHeaders(CONTENT, 0)];

/**
 * Paths, and the answers to PUT of a file and of a directory, DELETE, HEAD for an upload's offset, and GET where that is no matter of
 * what is there.
 */
const REFUSED: readonly [what: string, paths: readonly string[], statuses: readonly number[]][] = [
  ["the root", [""], [403, 204, 403, 403, 404]],
  ["a directory", ["sub"], [409, 204, 409, 409, 301]],
  ["below a file", ["file/a", "file/a/b"], [409, 409, 409, 409, 404]],
  ["a link", Object.keys(LINKS).filter((name) => !isReservedName(name)), [403, 409, 403, 403]],
  [
    "through a link",
    [
      ...["in-dir/file", "in-dir/new", "out-dir/secret", "out-dir/new", "out-dir/new/deep"],
      ...["self/file", "none/new", "sub/up/file", "loop/a"],
    ],
    [403, 403, 403, 403],
  ],
  ["a path that is too long", [`${"n".repeat(255)}/`.repeat(20) + "a"], [414, 414, 404, 200, 404]],
  [
    "what is reserved",
    [
      ...[RESERVED, `${RESERVED}/a`, `${RESERVED}/a/b`, `sub/${RESERVED}`, `sub/${RESERVED}/part`],
      ...[`new/${RESERVED}`, `new/${RESERVED}/a`, `sub/${RESERVED.toUpperCase()}/part`],
      ...["sub/.a.degu-part", ".a.Degu-Part", "new/.a.degu-part/a"],
      // FAT drops dots and spaces at the end, ext4 with casefold ignores what is not seen.
      ...[`${RESERVED}.`, `new/${RESERVED}~20.`, ".a.degu-part.", ".a.degu-part~20"],
      ...[".a.de~C2~ADgu-part", "~E2~80~8B.degu-files", ".a.degu-part~EF~B8~8F"],
    ],
    [403, 403, 403, 403, 404],
  ],
  [
    "what can't be a name",
    ["a:b", "~61", "~66ile", ".", "~2E~2E", "~2E~2E/a", "~2Fetc", "n".repeat(256)],
    [404, 404, 404, 404, 404],
  ],
];

Deno.test("what no peer may write is refused to each kind of request, and stays", async (t) => {
  await using files = await serveWritableDirectory();
  using traps = await addTraps(files);
  const { root } = files;
  for (
    const [what, paths, [ofFile, ofDirectory, ...others]] of [
      ...REFUSED,
      ["a special file", traps.specialNames, [403, 409, 403, 403, 404]] as const,
    ]
  ) {
    await t.step(what, async () => {
      for (const path of paths) {
        const uri = `/${path}`;
        const requests: Parameters<typeof files.request>[] = [
          ["PUT", uri, {}, CONTENT],
          ["PUT", uri, makeUploadHeaders(CONTENT, 0), CONTENT],
          ["PUT", uri.endsWith("/") ? uri : `${uri}/`],
          ["DELETE", uri],
          ["HEAD", uri, makeUploadHeaders(CONTENT)],
        ];
        if (others.length > 2) requests.push(["GET", uri]);
        const statuses = [];
        for (const request of requests) {
          statuses.push(await readStatus(await files.request(...request)));
        }
        assertEquals(statuses, [ofFile, ofFile, ofDirectory, ...others], uri.slice(0, 100));
      }
      if (what === "the root" || what === "what can't be a name") return;
      const sent = paths.map((path) => decodeURIComponent(path.replaceAll("~", "%")))
        .flatMap((path): SentRecord[] => [[path, "1"], [path, null]]);
      const response = await files.request("POST", "/?bundle=put", {}, makeBundle(sent));
      assertEquals(await readPutStatuses(response), paths.flatMap(() => [ofFile, ofDirectory]));
    });
  }
  const left = [RESERVED, "file", "sub", ...traps.specialNames];
  for (const link of Object.keys(LINKS)) {
    assert((await Deno.lstat(`${root}/${link}`)).isSymlink, link);
    if (!link.includes("/")) left.push(link);
  }
  assertEquals(await listNames(root), left.toSorted());
  const below = [".a.degu-part", RESERVED, "file", "index.html", "up"];
  assertEquals(await listNames(`${root}/sub`), below);
  for (const file of ["file", "sub/file"]) assertEquals(await files.read(file), "public");
  for (const dir of ["", "sub/"]) {
    assertEquals(await listNames(`${root}/${dir}${RESERVED}`), ["part"]);
  }
});

Deno.test("a link that replaces a directory during a PUT is not followed", async () => {
  for (const headers of WAYS) {
    for (const uri of ["/sub/deep/new", "/file"]) {
      await using files = await serveWritableDirectory();
      const { root } = files;
      const swapped = uri === "/file" ? "file" : "sub";
      const target = uri === "/file" ? "../outside/secret" : "../outside";
      const body = files.makeBodyWithAction(async () => {
        await Deno.rename(`${root}/${swapped}`, `${root}/kept`);
        await makeLinks({ [`${root}/${swapped}`]: target });
      });
      assertEquals(await files.put(uri, body, headers), 403, uri);
      assertEquals(await files.listUnfinished(), []);
      assert((await Deno.lstat(`${root}/${swapped}`)).isSymlink);
    }
  }
});

Deno.test("a reserved directory that is replaced meanwhile exposes nothing", async () => {
  await using files = await serveWritableDirectory();
  const reserved = `${files.root}/${RESERVED}`;
  const body = files.makeBodyWithAction(async () => {
    await Deno.rename(reserved, `${files.root}/kept`);
    await makeLinks({ [reserved]: "../outside" });
  });
  assertEquals(await files.put("/new", body), 409);
  assertEquals(await files.put("/new", CONTENT), 403, "a link instead of it");
  await Deno.remove(reserved);
  await Deno.writeTextFile(reserved, "");
  assertEquals(await files.put("/new", CONTENT), 403, "a file instead of it");
  assert(files.warnings.at(-1)?.includes("is not a directory"));
  assertEquals(await Deno.readTextFile(reserved), "");
});

// Refusals: disks that are full or read-only, and the meaning of file system errors.

const mayMount = await canMount();
const canBeUser = await canRun(...AS_USER);

/** Disks that are mounted at a directory, and what is asked of an app there. */
const DISKS: readonly {
  readonly name: string;
  readonly mount: string;
  readonly asked: readonly Asked[];
  /** What is in the directory of the app afterwards, outside of the namespace. */
  readonly left?: readonly string[];
}[] = [
  {
    name: "a disk without room for one more name is answered with 507",
    // The root, the reserved directory, and one more.
    mount: 'mount -t tmpfs -o nr_inodes=3 tmpfs "$0"',
    asked: [
      ["PUT", "/a/b", 5, null, 507],
      ["GET", "/a", 0, null, 404],
      ["PUT", "/a", 5, null, 201],
      ["PUT", "/b", 5, null, 507],
      ["DELETE", "/a", 0, null, 204],
      ["PUT", "/b", 5, null, 201],
    ],
  },
  {
    name: "another file system below the root can be read, and writing to it is answered with 507",
    mount: 'mount -t tmpfs tmpfs "$0/other" && echo text > "$0/other/file"',
    asked: [
      ["PUT", "/other/new", 5, null, 507],
      ["PUT", "/other/new", 5, 0, 507],
      ["PUT", "/other/deep/new", 5, null, 507],
      ["PUT", "/other/file", 5, null, 507],
      ["GET", "/other/file", 0, null, 200],
      ["DELETE", "/other/file", 0, null, 204],
      ["DELETE", "/other", 0, null, 409],
      ["PUT", "/new", 5, null, 201],
    ],
    left: [RESERVED, "file", "new", "other"],
  },
  {
    name: "a read-only disk is answered with 403",
    mount: 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"',
    asked: [
      ["PUT", "/new", 5, null, 403],
      ["PUT", "/file", 5, 0, 403],
      ["DELETE", "/file", 0, null, 403],
      ["GET", "/file", 0, null, 200],
    ],
  },
];

for (const { name, mount, asked, left = ["file", "other"] } of DISKS) {
  Deno.test({
    name: `${name} (needs unshare)`,
    ignore: !mayMount,
    async fn() {
      await using dir = await createTempDir();
      await Deno.mkdir(`${dir.path}/other`);
      await Deno.writeTextFile(`${dir.path}/file`, "text");
      await checkAsked(dir.path, [...MOUNTING, `${mount} && exec "$@"`, dir.path], asked);
      assertEquals(await listNames(dir.path), left);
      assertEquals(await listNames(`${dir.path}/${RESERVED}`).catch(() => []), []);
    },
  });
}

/** What a user finds who owns it, and is not root; each directory has a file `a`. */
const MODES: Readonly<Record<string, number>> = {
  ...{ secret: 0o200, mine: 0o600, public: 0o644, fixed: 0o444 },
  ...{ box: 0o300, closed: 0o555, "d-r": 0o644, "d-x": 0o311, d: 0o700 },
};

Deno.test({
  name:
    "what the user may not read, search or write is said, and costs nothing else (needs unshare)",
  ignore: !canBeUser,
  async fn() {
    await using dir = await createTempDir();
    for (const [name, mode] of Object.entries(MODES)) {
      const isDirectory = (mode & 0o111) !== 0 || name === "d-r";
      if (isDirectory) await Deno.mkdir(`${dir.path}/${name}`);
      await Deno.writeTextFile(`${dir.path}/${name}${isDirectory ? "/a" : ""}`, "text");
      await Deno.chmod(`${dir.path}/${name}`, mode);
    }
    await makeLinks({ [`${dir.path}/link`]: "secret" });
    const paths = ["d/a", "secret", "d-r/a", "d/a"].map((path) => path.split("/"));
    const sent: SentRecord[] = [
      ...[["closed/a", "1"], ["d/a", "2"], ["closed/b/c", "3"], ["a", "4"]] as const,
      // So many that their directory would be listed, if it could be read.
      ...Array.from({ length: 100 }, (_, i): SentRecord => [`box/${i}`, `${i}`]),
    ];
    const content = new Uint8Array(5);
    const [list, tree, got, put, ...refused] = await answersOf(dir.path, AS_USER, [
      ["GET", "/"],
      ["GET", "/?tree"],
      ["POST", "/?bundle=get", formatPaths(paths)],
      ["POST", "/?bundle=put", makeBundle(sent)],
      ["GET", "/d-r/"],
      ["GET", "/d-x/?tree"],
      ["PUT", "/closed/new", content],
      ["PUT", "/closed/a", content, makeUploadHeaders(content, 0)],
      ["PUT", "/closed/deep/new", content],
      ["DELETE", "/closed/a"],
      // A file that can't be written can be replaced: the directory decides.
      ["PUT", "/fixed", content],
    ]);
    await Deno.chmod(dir.path, 0o555);
    await checkAsked(dir.path, AS_USER, [["PUT", "/new", 5, null, 403]]);
    for (const name of ["", "d-r", "d-x", "closed", "box"]) {
      await Deno.chmod(`${dir.path}/${name}`, 0o700);
    }
    assertEquals(refused.map(([status]) => status), [403, 403, 403, 403, 403, 403, 204]);
    const seen = ([, text]: readonly [number, Uint8Array] = [0, new Uint8Array(0)]) =>
      JSON.parse(new TextDecoder().decode(text)).flatMap((
        { name, path, kind, reason, end }: Record<string, string & string[]>,
      ) => end ? [] : `${name ?? path?.join("/")} ${reason ?? kind}`).toSorted();
    const below = ["closed", "d"].map((name) => `${name}/a file`);
    // The list of a directory reads none of those in it.
    const unread = ["box", "d-r", "d-x"];
    const others = [
      ...["secret unreadable", "link link"],
      ...["closed directory", "d directory", "fixed file", "mine file", "public file"],
    ];
    const expected = [
      [...unread.map((name) => `${name} directory`), ...others],
      [...unread.map((name) => `${name} unreadable`), ...others, ...below],
    ];
    assertEquals([seen(list), seen(tree)], expected.map((lines) => lines.toSorted()));
    const statuses = <R extends { readonly status: number }>(
      format: BundleFormat<R>,
      answer: readonly [number, Uint8Array],
    ) => parseBundle(format, answer[1]).map(({ record }) => record.status);
    assertEquals(statuses(GET_ANSWER, got!), [200, 403, 403, 200]);
    const boxed = sent.slice(4).map(() => 201);
    assertEquals(statuses(PUT_ANSWER, put!), [403, 204, 403, 201, ...boxed]);
    assertEquals(await listNames(`${dir.path}/${RESERVED}`), []);
  },
});

Deno.test("a path that the program has no permission to write is answered with 403", async () => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "text");
  await checkAsked(dir.path, [], [
    ["PUT", "/new", 5, null, 403],
    ["PUT", "/file", 5, 0, 403],
    ["DELETE", "/file", 0, null, 403],
    ["GET", "/file", 0, null, 200],
  ], false);
  assertEquals(await listNames(dir.path), ["file"]);
});

Deno.test("a file system error is translated to what it means for the client", () => {
  const failure = (code: string) => Object.assign(new Error("message"), { code });
  const cases: [codes: string[], status: number][] = [
    [["ENOSPC", "EDQUOT", "EFBIG", "EXDEV"], 507],
    [["EROFS", "EACCES", "EPERM", "ELOOP", "EINVAL"], 403],
    [["ENOTDIR", "EISDIR", "ENOTEMPTY", "EBUSY", "ENOENT"], 409],
    [["ENAMETOOLONG"], 414],
    [["EMFILE", "ENFILE"], 503],
  ];
  for (const [codes, status] of cases) {
    for (const code of codes) assertEquals(refusalOf(failure(code))?.status, status, code);
  }
  assertEquals(refusalOf(new Deno.errors.NotCapable("message"))?.status, 403);
  const refusal = new Refusal(412, "message");
  assertEquals(refusalOf(refusal), refusal);
  for (const other of [new Error("x"), ...["EIO", "BODY_INCOMPLETE", "constructor"].map(failure)]) {
    assertEquals(refusalOf(other), null);
  }
});
