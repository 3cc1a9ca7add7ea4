/** DELETE, links in paths of writing requests, and errors of the file system. */
import type { HeadersToSend } from "@degu/degu/base";
import {
  type BundleFormat,
  formatPaths,
  GET_RESPONSE,
  PUT_RESPONSE,
} from "@degu/internal/files/wire/bundle.ts";
import { fileUri } from "@degu/internal/files/wire/file_name.ts";
import { Refusal, refusalOf } from "@degu/internal/files/refusal.ts";
import { isReservedName, RESERVED_DIRECTORY_NAME } from "@degu/internal/files/reserved.ts";
import { makeBundle, parseBundle, readPutStatuses, type SentRecord } from "./bundles.ts";
import { createTempDir, listNames } from "@degu/testing/directories.ts";
import { addTraps, LINKS } from "./served_directory.ts";
import { makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { makeUploadHeaders, readStatus, serveWritableDirectory } from "./written_directory.ts";
import { assert, assertEquals } from "@std/assert";
import {
  AS_USER,
  canMount,
  canRun,
  checkStatuses,
  type ExpectedRequest,
  IN_MOUNT_NAMESPACE,
  requestResponses,
} from "./refused_writes.ts";

Deno.test("DELETE removes only files and empty directories", async () => {
  await using files = await serveWritableDirectory();
  await Deno.mkdir(`${files.root}/empty/deep`, { recursive: true });
  await Deno.writeTextFile(`${files.root}/a b`, "");
  const cases: [uri: string, status: number, headers?: HeadersToSend][] = [
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

Deno.test("PUT creates a directory again if it is deleted while the body arrives", async () => {
  await using files = await serveWritableDirectory();
  await Deno.mkdir(`${files.root}/dir`);
  for (const [uri, deletedUri] of [["/dir/a", "/dir"], ["/file", "/file"]] as const) {
    const body = files.makeBodyWithAction(async () => {
      assertEquals(await readStatus(await files.request("DELETE", deletedUri)), 204);
    });
    assertEquals(await files.put(uri, body), 201);
    assertEquals(await files.read(uri.slice(1)), "1234567890");
  }
});

Deno.test("DELETE removes a directory of abandoned parts, except if a part is locked", async () => {
  await using files = await serveWritableDirectory();
  const { root } = files;
  const unfinishedNames = [`put-${"0".repeat(32)}`, `part-${"0".repeat(32)}-${"1".repeat(64)}`];
  const partNames = [".a.degu-part", ".b.degu-part"];
  const createDirectory = async (...names: string[]) => {
    await Deno.mkdir(`${root}/dir/${RESERVED_DIRECTORY_NAME}`, { recursive: true });
    for (const name of names) await Deno.writeTextFile(`${root}/dir/${name}`, "part");
  };
  const leftovers = [
    ...partNames,
    ...unfinishedNames.map((name) => `${RESERVED_DIRECTORY_NAME}/${name}`),
  ];
  const remove = async () => await readStatus(await files.request("DELETE", "/dir"));
  await createDirectory(...leftovers);
  assertEquals(await remove(), 204);
  assertEquals((await listNames(root)).includes("dir"), false);
  await createDirectory();
  assertEquals(await remove(), 204);
  // A directory with anything other than parts stays as it is.
  for (
    const name of ["file", `${RESERVED_DIRECTORY_NAME}/mine`, `${RESERVED_DIRECTORY_NAME}/put-1`]
  ) {
    await createDirectory(...leftovers, name);
    assertEquals(await remove(), 409, name);
    const remainingCount = partNames.length + (name === "file" ? 2 : 1);
    assertEquals((await listNames(`${root}/dir`)).length, remainingCount);
    await Deno.remove(`${root}/dir/${name}`);
  }
  // The same applies to other entries with the name of a part. Opening a FIFO would block.
  const fakePart = `${root}/dir/${RESERVED_DIRECTORY_NAME}/put-${"1".repeat(32)}`;
  for (
    const makeFakePart of [Deno.mkdir, makeFifo, (path: string) => makeLinks({ [path]: "none" })]
  ) {
    await createDirectory(...leftovers);
    if (await makeFakePart(fakePart) === false) continue;
    assertEquals(await remove(), 409, makeFakePart.name);
    const remainingNames = await listNames(`${root}/dir/${RESERVED_DIRECTORY_NAME}`);
    assertEquals(remainingNames.length, unfinishedNames.length + 1, makeFakePart.name);
    await Deno.remove(fakePart);
  }
  for (const name of [partNames[0]!, `${RESERVED_DIRECTORY_NAME}/${unfinishedNames[1]}`]) {
    {
      using lockedPart = await Deno.open(`${root}/dir/${name}`, { write: true });
      await lockedPart.lock(true);
      assertEquals(await remove(), 409, name);
      assertEquals(files.warnings.at(-1)?.includes(name), true);
      assertEquals((await listNames(`${root}/dir`)).length, partNames.length + 1);
      // A child process that inherits the descriptor would keep the lock for a moment.
      await lockedPart.unlock();
    }
  }
  assertEquals(await remove(), 204);
  await Deno.mkdir(`${root}/${RESERVED_DIRECTORY_NAME}`, { recursive: true });
  await Deno.mkdir(`${root}/dir`);
  await makeLinks({ [`${root}/dir/${RESERVED_DIRECTORY_NAME}`]: "../../outside" });
  assertEquals(await remove(), 409);
  assertEquals((await listNames(`${root}/dir`)).length, 1);
});

// Links in the paths of writing requests.

const CONTENT = encodeLatin1("1234567890");

/** Headers of a plain upload and of a resumable upload of the whole content. */
const UPLOAD_HEADERS: readonly HeadersToSend[] = [{}, makeUploadHeaders(CONTENT, 0)];

/**
 * Paths, and the statuses of PUT of a file, PUT of a directory, DELETE, HEAD for the upload offset,
 * and GET, except where the status of GET depends on the entry.
 */
const REJECTED_PATHS: readonly [
  description: string,
  paths: readonly string[],
  statuses: readonly number[],
][] = [
  ["the root", [""], [403, 204, 403, 403, 404]],
  ["a directory", ["sub"], [409, 204, 409, 409, 301]],
  ["below a file", ["file/a", "file/a/b"], [409, 409, 409, 409, 404]],
  ["a link", Object.keys(LINKS).filter((name) => !isReservedName(name)), [403, 403, 403, 403]],
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
    "a reserved name",
    [
      ...["", "/a", "/a/b"].map((path) => RESERVED_DIRECTORY_NAME + path),
      ...["", "/part"].map((path) => `sub/${RESERVED_DIRECTORY_NAME}${path}`),
      ...["", "/a"].map((path) => `new/${RESERVED_DIRECTORY_NAME}${path}`),
      `sub/${RESERVED_DIRECTORY_NAME.toUpperCase()}/part`,
      ...["sub/.a.degu-part", ".a.Degu-Part", "new/.a.degu-part/a"],
      // FAT ignores dots and spaces at the end; ext4 with casefold ignores invisible characters.
      ...[`${RESERVED_DIRECTORY_NAME}.`, `new/${RESERVED_DIRECTORY_NAME}%20.`],
      ...[".a.degu-part.", ".a.degu-part%20"],
      ...[".a.de%C2%ADgu-part", "%E2%80%8B.degu-files", ".a.degu-part%EF%B8%8F"],
    ],
    [403, 403, 403, 403, 404],
  ],
  [
    "an invalid name",
    ["n".repeat(256), "%C3%A9".repeat(128)],
    [404, 404, 404, 404, 404],
  ],
];

const REASONS_OF_PATHS: Readonly<Record<string, string>> = {
  "a link": "link",
  "through a link": "link",
  "a reserved name": "name-reserved",
};

Deno.test("writing requests reject paths that peers may not write, and change no file", async (t) => {
  await using files = await serveWritableDirectory();
  using traps = await addTraps(files);
  const { root } = files;
  for (
    const [description, paths, [fileStatus, directoryStatus, ...otherStatuses]] of [
      ...REJECTED_PATHS,
      ["a special file", traps.specialNames, [403, 409, 403, 403, 404]] as const,
    ]
  ) {
    await t.step(description, async () => {
      for (const path of paths) {
        const uri = `/${path}`;
        const requests: Parameters<typeof files.request>[] = [
          ["PUT", uri, {}, CONTENT],
          ["PUT", uri, makeUploadHeaders(CONTENT, 0), CONTENT],
          ["PUT", uri.endsWith("/") ? uri : `${uri}/`],
          ["DELETE", uri],
          ["HEAD", uri, makeUploadHeaders(CONTENT)],
        ];
        if (otherStatuses.length > 2) requests.push(["GET", uri]);
        const statuses = [];
        for (const request of requests) {
          const response = await files.request(...request);
          statuses.push(await readStatus(response));
          if (request[0] === "GET") continue;
          assertEquals(response.headers["refusal-reason"], REASONS_OF_PATHS[description], uri);
        }
        const expected = [fileStatus, fileStatus, directoryStatus, ...otherStatuses];
        assertEquals(statuses, expected, uri.slice(0, 100));
      }
      if (description === "the root" || description === "an invalid name") return;
      const records = paths.map((path) => decodeURIComponent(path))
        .flatMap((path): SentRecord[] => [[path, "1"], [path, null]]);
      const response = await files.request("POST", "/?bundle=put", {}, makeBundle(records));
      const expected = paths.flatMap(() => [fileStatus, directoryStatus]);
      assertEquals(await readPutStatuses(response), expected);
    });
  }
  const rootNames = [RESERVED_DIRECTORY_NAME, "file", "sub", ...traps.specialNames];
  for (const link of Object.keys(LINKS)) {
    assert((await Deno.lstat(`${root}/${link}`)).isSymlink, link);
    if (!link.includes("/")) rootNames.push(link);
  }
  assertEquals(await listNames(root), rootNames.toSorted());
  const subdirectoryNames = [".a.degu-part", RESERVED_DIRECTORY_NAME, "file", "index.html", "up"];
  assertEquals(await listNames(`${root}/sub`), subdirectoryNames);
  for (const file of ["file", "sub/file"]) assertEquals(await files.read(file), "public");
  for (const dir of ["", "sub/"]) {
    assertEquals(await listNames(`${root}/${dir}${RESERVED_DIRECTORY_NAME}`), ["part"]);
  }
});

Deno.test("PUT doesn't follow a link that replaces a directory while the body arrives", async () => {
  for (const headers of UPLOAD_HEADERS) {
    for (const uri of ["/sub/deep/new", "/file"]) {
      await using files = await serveWritableDirectory();
      const { root } = files;
      const swappedName = uri === "/file" ? "file" : "sub";
      const target = uri === "/file" ? "../outside/secret" : "../outside";
      const body = files.makeBodyWithAction(async () => {
        await Deno.rename(`${root}/${swappedName}`, `${root}/kept`);
        await makeLinks({ [`${root}/${swappedName}`]: target });
      });
      assertEquals(await files.put(uri, body, headers), 403, uri);
      assertEquals(await files.listUnfinished(), []);
      assert((await Deno.lstat(`${root}/${swappedName}`)).isSymlink);
    }
  }
});

Deno.test("PUT doesn't write through a link or file that replaces the reserved directory", async () => {
  await using files = await serveWritableDirectory();
  const reservedPath = `${files.root}/${RESERVED_DIRECTORY_NAME}`;
  const body = files.makeBodyWithAction(async () => {
    await Deno.rename(reservedPath, `${files.root}/kept`);
    await makeLinks({ [reservedPath]: "../outside" });
  });
  assertEquals(await files.put("/new", body), 409);
  assertEquals(await files.put("/new", CONTENT), 403, "a link instead of it");
  await Deno.remove(reservedPath);
  await Deno.writeTextFile(reservedPath, "");
  assertEquals(await files.put("/new", CONTENT), 403, "a file instead of it");
  assert(files.warnings.at(-1)?.includes("is not a directory"));
  assertEquals(await Deno.readTextFile(reservedPath), "");
});

// Errors of the file system: full and read-only disks, missing permissions.

const canMountDisks = await canMount();
const canRunAsUser = await canRun(...AS_USER);

/** Disks to mount at the app's directory, and requests with their expected statuses. */
const DISKS: readonly {
  readonly name: string;
  readonly mount: string;
  readonly requests: readonly ExpectedRequest[];
}[] = [
  {
    name: "a disk that is full for one more name gets 507",
    // Room for the root, the reserved directory, and one file.
    mount: 'mount -t tmpfs -o nr_inodes=3 tmpfs "$0"',
    requests: [
      ["PUT", "/a/b", 5, null, 507],
      ["GET", "/a", 0, null, 404],
      ["PUT", "/a", 5, null, 201],
      ["PUT", "/b", 5, null, 507],
      ["DELETE", "/a", 0, null, 204],
      ["PUT", "/b", 5, null, 201],
    ],
  },
  {
    name: "a write to a read-only disk gets 403",
    mount: 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"',
    requests: [
      ["PUT", "/new", 5, null, 403],
      ["PUT", "/file", 5, 0, 403],
      ["DELETE", "/file", 0, null, 403],
      ["GET", "/file", 0, null, 200],
    ],
  },
];

for (const { name, mount, requests } of DISKS) {
  Deno.test({
    name: `${name} (needs unshare)`,
    ignore: !canMountDisks,
    async fn() {
      await using dir = await createTempDir();
      await Deno.writeTextFile(`${dir.path}/file`, "text");
      const through = [...IN_MOUNT_NAMESPACE, `${mount} && exec "$@"`, dir.path];
      await checkStatuses(dir.path, through, requests);
      assertEquals(await listNames(dir.path), ["file"]);
      assertEquals(await listNames(`${dir.path}/${RESERVED_DIRECTORY_NAME}`).catch(() => []), []);
    },
  });
}

/** Modes of entries of an unprivileged user; each directory has a file `a`. */
const MODES: Readonly<Record<string, number>> = {
  ...{ secret: 0o200, mine: 0o600, public: 0o644, fixed: 0o444 },
  ...{ box: 0o300, closed: 0o555, "d-r": 0o644, "d-x": 0o311, d: 0o700 },
};

Deno.test({
  name:
    "an unreadable or unwritable entry gets its own error, and other entries are served (needs unshare)",
  ignore: !canRunAsUser,
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
    const records: SentRecord[] = [
      ...[["closed/a", "1"], ["d/a", "2"], ["closed/b/c", "3"], ["a", "4"]] as const,
      // Enough records for the server to list their directory, if that were readable.
      ...Array.from({ length: 100 }, (_, i): SentRecord => [`box/${i}`, `${i}`]),
    ];
    const content = new Uint8Array(5);
    const [listResponse, treeResponse, getResponse, putResponse, ...otherResponses] =
      await requestResponses(dir.path, AS_USER, [
        ["GET", "/", 0, { accept: "application/json" }],
        ["GET", "/?tree"],
        ["POST", "/?bundle=get", formatPaths(paths)],
        ["POST", "/?bundle=put", makeBundle(records)],
        ["GET", "/d-r/"],
        ["GET", "/d-x/?tree"],
        ["PUT", "/closed/new", content],
        ["PUT", "/closed/a", content, makeUploadHeaders(content, 0)],
        ["PUT", "/closed/deep/new", content],
        ["DELETE", "/closed/a"],
        // An unwritable file can be replaced, because only the directory must be writable.
        ["PUT", "/fixed", content],
      ]);
    await Deno.chmod(dir.path, 0o555);
    await checkStatuses(dir.path, AS_USER, [["PUT", "/new", 5, null, 403]]);
    for (const name of ["", "d-r", "d-x", "closed", "box"]) {
      await Deno.chmod(`${dir.path}/${name}`, 0o700);
    }
    assertEquals(otherResponses.map(([status]) => status), [403, 403, 403, 403, 403, 403, 204]);
    const listedEntries = ([, text]: readonly [number, Uint8Array] = [0, new Uint8Array(0)]) =>
      JSON.parse(new TextDecoder().decode(text)).flatMap((
        { name, path, kind, reason, end }: Record<string, string & string[]>,
      ) => end ? [] : `${name ?? path?.join("/")} ${reason ?? kind}`).toSorted();
    const nestedEntries = ["closed", "d"].map((name) => `${name}/a file`);
    // A list of a directory doesn't open its subdirectories.
    const unreadableDirectories = ["box", "d-r", "d-x"];
    const otherEntries = [
      ...["secret unreadable", "link link"],
      ...["closed directory", "d directory", "fixed file", "mine file", "public file"],
    ];
    const expected = [...unreadableDirectories.map((name) => `${name} directory`), ...otherEntries];
    assertEquals(listedEntries(listResponse), expected.toSorted());
    const expectedTree = [
      ...unreadableDirectories.map((name) => `${name} unreadable`),
      ...[...otherEntries, ...nestedEntries],
    ];
    assertEquals(listedEntries(treeResponse), expectedTree.toSorted());
    const recordStatuses = <R extends { readonly status: number }>(
      format: BundleFormat<R>,
      response: readonly [number, Uint8Array],
    ) => parseBundle(format, response[1]).map(({ record }) => record.status);
    assertEquals(recordStatuses(GET_RESPONSE, getResponse!), [200, 403, 403, 200]);
    const boxStatuses = records.slice(4).map(() => 201);
    assertEquals(recordStatuses(PUT_RESPONSE, putResponse!), [403, 204, 403, 201, ...boxStatuses]);
    assertEquals(await listNames(`${dir.path}/${RESERVED_DIRECTORY_NAME}`), []);
  },
});

Deno.test("a path that Deno may not write gets 403", async () => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "text");
  await checkStatuses(dir.path, [], [
    ["PUT", "/new", 5, null, 403],
    ["PUT", "/file", 5, 0, 403],
    ["DELETE", "/file", 0, null, 403],
    ["GET", "/file", 0, null, 200],
  ], false);
  assertEquals(await listNames(dir.path), ["file"]);
});

Deno.test("an error of the file system becomes the status for its cause", () => {
  const makeError = (code: string) => Object.assign(new Error("message"), { code });
  const cases: [codes: string[], status: number][] = [
    [["ENOSPC", "EDQUOT"], 507],
    [["EFBIG"], 413],
    [["EROFS", "EACCES", "EPERM", "ELOOP", "EINVAL", "EXDEV"], 403],
    [["ENOTDIR", "EISDIR", "ENOTEMPTY", "EBUSY", "ENOENT"], 409],
    [["ENAMETOOLONG"], 414],
    [["EMFILE", "ENFILE"], 503],
  ];
  for (const [codes, status] of cases) {
    for (const code of codes) assertEquals(refusalOf(makeError(code))?.status, status, code);
  }
  // Neither Deno nor `node:fs` has a name for EDQUOT.
  const unnamedErrors = [
    new Error("Disk quota exceeded (os error 122): mkdir '/x'"),
    Object.assign(new Error("UNKNOWN: unknown error, mkdir '/x'"), {
      code: "UNKNOWN",
      errno: -122,
    }),
  ];
  for (const error of unnamedErrors) assertEquals(refusalOf(error)?.status, 507, error.message);
  assertEquals(refusalOf(new Deno.errors.NotCapable("message"))?.status, 403);
  const refusal = new Refusal(412, "message");
  assertEquals(refusalOf(refusal), refusal);
  for (
    const other of [new Error("x"), ...["EIO", "BODY_INCOMPLETE", "constructor"].map(makeError)]
  ) {
    assertEquals(refusalOf(other), null);
  }
});
