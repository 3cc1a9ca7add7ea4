/**
 * Error codes of transfers, in both directions: for the state of the target, and for names and files
 * that the target refuses. Disks on Windows.
 */
import { type AppFunction, Client, Server } from "@degu/degu";
import {
  deleteEntry,
  download,
  downloadTree,
  FilesApp,
  fileUri,
  makeDirectory,
  type StatusError,
  TransferError,
  type TransferErrorCode,
  type TransferOptions,
  upload,
  uploadTree,
  type UploadTreeOptions,
} from "@degu/degu/files";
import { isTransient } from "@degu/degu/client";
import { createTempDir, fill, listNames, readTree } from "@degu/testing/directories.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { serveFiles, serveFilesApp } from "@degu/testing/transferring.ts";
import {
  copyInProcess,
  DIRECTIONS,
  makeCopy,
  makeTrees,
  type TreeDirection,
} from "@degu/testing/trees.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  BUNDLE_TYPE,
  formatPaths,
  GET_RESPONSE,
  parsePaths,
} from "@degu/internal/files/wire/bundle.ts";
import { makeBundle, readRecords } from "./bundles.ts";
import { findOddDiskObstacle, makeOddDiskScript } from "./odd_disk.ts";
import { patch } from "@degu/testing/patching.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { makeUploadHeaders, serveWritableDirectory } from "./written_directory.ts";
import { listText } from "./directory_entries.ts";
import { IN_MOUNT_NAMESPACE } from "./refused_writes.ts";
import { windowsDeletions } from "@degu/internal/files/disk/names.ts";
import { speedUpTimeouts } from "@degu/testing/clock.ts";
import { chmodSync } from "node:fs";

type Files = Awaited<ReturnType<typeof setUp>>;

/** Creates a file `f` with the text "source", and a target for it. */
async function setUp(direction: TreeDirection, target: Record<string, string | null>) {
  const files = await serveFilesApp({ write: true });
  const { client } = files;
  const { sourceDir, targetDir } = makeCopy(direction, files);
  await fill(sourceDir, { f: "source" });
  await fill(targetDir, target);
  const copy = (path: string, options: TransferOptions = {}) =>
    direction === "upload"
      ? upload(client, `${sourceDir}/f`, path.split("/"), options)
      : download(client, ["f"], `${targetDir}/${path}`, options);
  return { ...files, to: targetDir, copy };
}

interface Row {
  readonly fact: string;
  readonly target: Record<string, string | null>;
  readonly path: string;
  readonly options?: TransferOptions;
  /** `null` if the call resolves. */
  readonly code: TransferErrorCode | null;
  /** The status of the response, for an upload. */
  readonly status?: number;
  readonly prepare?: (files: Files) => Promise<void>;
}

const rows: readonly Row[] = [
  {
    fact: "a different file exists, with replace: false",
    target: { x: "other" },
    path: "x",
    options: { replace: false },
    code: "EXISTS",
    status: 412,
  },
  {
    fact: "a different file of the same size exists, with replace: false",
    target: { x: "Source" },
    path: "x",
    options: { replace: false },
    code: "EXISTS",
    status: 412,
  },
  {
    fact: "an identical file exists, with replace: false",
    target: { x: "source" },
    path: "x",
    options: { replace: false },
    code: null,
  },
  { fact: "a different file exists", target: { x: "other" }, path: "x", code: null },
  {
    fact: "a directory has the name of the file",
    target: { "x/y": "" },
    path: "x",
    code: "IN_THE_WAY",
    status: 409,
  },
  {
    fact: "a file has the name of a parent directory",
    target: { x: "" },
    path: "x/y",
    code: "IN_THE_WAY",
    status: 409,
  },
];

for (const direction of DIRECTIONS) {
  for (const { fact, target, path, options, code, status } of rows) {
    Deno.test(`${direction}: ${fact}: ${code ?? "copied"}`, async () => {
      await using files = await setUp(direction, target);
      if (code === null) {
        assertEquals((await files.copy(path, options)).total, 6);
        assertEquals(await Deno.readTextFile(`${files.to}/${path}`), "source");
        return;
      }
      const treeBefore = await readTree(files.to);
      const error = await assertRejects(() => files.copy(path, options), TransferError);
      assertEquals([error.code, isTransient(error)], [code, false], error.message);
      if (direction === "upload") assertEquals((error.cause as StatusError).status, status);
      assertEquals(await readTree(files.to), treeBefore, "no file is replaced, and no part stays");
    });
  }
}

Deno.test("a path that is a link, or leads through one, is IN_THE_WAY at each FilesApp that peers may write", async () => {
  for (const options of [{ write: true, list: true, keep: 1 }, { write: "add" }] as const) {
    await using files = await serveFilesApp(options);
    const { client, serverDir, clientDir } = files;
    await fill(serverDir, { file: "old", "dir/y": "" });
    await fill(clientDir, { f: "new", "tree/f": "new", "tree/sub/f": "new" });
    await makeLinks({
      [`${serverDir}/to-file`]: "file",
      [`${serverDir}/to-dir`]: "dir",
      [`${serverDir}/dangling`]: "none",
    });
    const treeBefore = await readTree(serverDir);
    for (const name of ["to-file", "to-dir", "dangling"]) {
      const paths = [[name], [name, "y"], [name, "new", "deep"]];
      const calls = paths.flatMap((path): (() => Promise<unknown>)[] => [
        () => upload(client, `${clientDir}/f`, path),
        () => upload(client, `${clientDir}/f`, path, { resume: false, replace: false }),
        () => upload(client, new Blob(["new"]).stream(), path),
        () => makeDirectory(client, [...path, ""]),
        () => uploadTree(client, `${clientDir}/tree`, [...path, ""]),
        ...options.write === true ? [() => deleteEntry(client, path)] : [],
      ]);
      for (const [index, call] of calls.entries()) {
        const error = await assertRejects(call, TransferError, "symbolic link", `${name} ${index}`);
        assertEquals([error.code, (error.cause as StatusError).status], ["IN_THE_WAY", 403]);
      }
    }
    assertEquals(await readTree(serverDir), treeBefore);
  }
});

Deno.test("an add-only FilesApp gives that reason if it refuses a replacement, and not for other refusals", async () => {
  await using files = await serveFilesApp({ write: "add" });
  const { client, serverDir, clientDir } = files;
  await fill(serverDir, { x: "old", "d/y": "" });
  await fill(clientDir, { f: "new" });
  const calls: [() => Promise<unknown>, TransferErrorCode, number][] = [
    [() => upload(client, `${clientDir}/f`, ["x"]), "ONLY_ADDS", 412],
    [() => upload(client, `${clientDir}/f`, ["x"], { resume: false }), "ONLY_ADDS", 412],
    [() => upload(client, `${clientDir}/f`, ["x"], { replace: false }), "ONLY_ADDS", 412],
    [() => upload(client, `${clientDir}/f`, ["d"]), "IN_THE_WAY", 409],
    [() => makeDirectory(client, ["x"]), "IN_THE_WAY", 409],
    [() => deleteEntry(client, ["x"]), "ONLY_ADDS", 405],
  ];
  for (const [call, code, status] of calls) {
    const error = await assertRejects(call, TransferError);
    assertEquals([error.code, (error.cause as StatusError).status], [code, status], error.message);
  }
  assertEquals(await Deno.readTextFile(`${serverDir}/x`), "old");
});

Deno.test("the error of a call to a server whose directory is missing is transient, and has the code ROOT_GONE", async () => {
  await using files = await setUp("upload", {});
  await Deno.remove(files.serverDir, { recursive: true });
  for (const call of [() => files.copy("x"), () => deleteEntry(files.client, ["x"])]) {
    const error = await assertRejects(call, TransferError);
    const { status } = error.cause as StatusError;
    assertEquals([error.code, status, isTransient(error)], ["ROOT_GONE", 503, true]);
  }
  await Deno.mkdir(files.serverDir);
});

for (const lists of [true, false]) {
  const suffix = lists ? "" : ", also if it does not list its directory";
  Deno.test(`upload: a tree reports for each file that its server only adds files${suffix}`, async () => {
    const large = "l".repeat(100_000);
    await using trees = await makeTrees(
      "upload",
      { large },
      { large: large.toUpperCase() },
      undefined,
      { write: "add", list: lists },
    );
    await Deno.utime(`${trees.target}/large`, 1, 1);
    const { errors } = await trees.copy();
    assertEquals((errors.large as TransferError).code, "ONLY_ADDS", String(errors.large));
  });
}

// Names and files that the target refuses: a server sends the reason as a code, and each file has
// its reason.

const TEXT = new TextEncoder().encode("text");
const LARGE = "l".repeat(70_000);

/** Runs with the rules of Windows. */
const setWindows = () => patch(Deno, "build", (build) => ({ ...build, os: "windows" as const }));

/** Names that Windows can't store, with the reasons that a server sends. */
const REASONS: Readonly<Record<string, string>> = {
  "con": "name-device",
  "aux.txt": "name-device",
  "a:b": "name-stream",
  "a?b": "name-character",
  "sp ": "name-end",
  "dot.": "name-end",
  "AB~1.X": "name-short",
};

Deno.test("a FilesApp sends the reason with the 403 for a name that its disk can't hold", async () => {
  await using files = await serveWritableDirectory({ list: true });
  using _windows = setWindows();
  const requestReason = async (...request: Parameters<typeof files.request>) => {
    const response = await files.request(...request);
    await response.discard();
    return [response.status, response.headers["refusal-reason"]];
  };
  for (const [name, reason] of Object.entries(REASONS)) {
    const results = [
      await requestReason("PUT", fileUri(name), {}, TEXT),
      await requestReason("PUT", fileUri(name, "file"), {}, TEXT),
      await requestReason("PUT", fileUri(name, "")),
      await requestReason("HEAD", fileUri(name), makeUploadHeaders(TEXT)),
    ];
    assertEquals(results, new Array(4).fill([403, reason]), name);
  }
  const bundle = makeBundle(Object.keys(REASONS).map((name) => ["", "x", { path: [name] }]));
  const response = await files.request("POST", "/?bundle=put", {}, bundle);
  const lines = (await response.body!.text()).split("\n").slice(0, Object.keys(REASONS).length);
  const records = Object.values(REASONS).map((reason) => ({ status: 403, reason }));
  assertEquals(lines.map((line) => JSON.parse(line)), records);
});

/** The reasons of a server, with the code and the `nameProblem` of the error. */
const CODE_ROWS: readonly (readonly [reason: string, code: string, nameProblem: string | null])[] =
  [
    ["name-device", "BAD_NAME", "is reserved by Windows"],
    ["name", "BAD_NAME", "is refused by its file system"],
    ["name-reserved", "BAD_NAME", "is reserved for unfinished files"],
    ["open", "IN_USE", null],
    ["other-disk", "OTHER_DISK", null],
    ["no-deletions", "NO_DELETIONS", null],
    ["reason-of-later-versions", "FORBIDDEN", null],
    ["Not a reason", "FORBIDDEN", null],
  ];

/** Describes an error by its code; a `StatusError` has none. */
const describe = (error: unknown) =>
  error instanceof TransferError ? [error.code, error.nameProblem] : ["FORBIDDEN", null];

for (const [reason, code, nameProblem] of CODE_ROWS) {
  Deno.test(`the reason ${reason} of a 403 is the code ${code}, for a file, a directory and a deletion`, async () => {
    const refuse: AppFunction = async ({ method, headers, body }) => {
      await body?.bytes();
      return method === "HEAD" && headers["upload-length"] === undefined
        ? [404, "Not Found", {}, null]
        : [403, "Forbidden", { "refusal-reason": reason }, null];
    };
    await using files = await serveFiles(() => refuse);
    await fill(files.clientDir, { file: "1" });
    for (
      const call of [
        () => upload(files.client, `${files.clientDir}/file`, ["x"], { resume: false }),
        () => makeDirectory(files.client, ["x"]),
        () => deleteEntry(files.client, ["x"]),
      ]
    ) {
      const error = await assertRejects(call);
      assertEquals(describe(error), [code, nameProblem], `${error}`);
    }
  });

  Deno.test(`upload: a tree in which files are refused with the reason ${reason} has the code ${code} for each`, async () => {
    const isValid = /^[a-z-]+$/.test(reason);
    const source = { first: "1", large: LARGE, other: "2", "d/below": "3" };
    await using trees = await makeTrees("upload", source, {}, async (request) => {
      if (request.query === "bundle=put") {
        // The server reports that it has refused the directory, and the first file, and has stored
        // the other one.
        const isOfDirectories = (await request.body!.text()).includes('"directory"');
        const first = JSON.stringify(isValid ? { status: 403, reason } : { status: 403 });
        const rest = isOfDirectories ? "" : '{"status":201}\n';
        const bundle = new TextEncoder().encode(`${first}\n${rest}{"end":true}\n`);
        return [200, "OK", { "content-type": BUNDLE_TYPE }, bundle];
      }
      return request.uri.endsWith("/large")
        ? [403, "Forbidden", { "refusal-reason": reason }, null]
        : null;
    });
    const { errors, outcomes } = await trees.copy();
    for (const name of ["first", "large", "d"]) {
      assertEquals(describe(errors[name]), [code, nameProblem], name);
    }
    const codeBelow = code === "FORBIDDEN" ? "IN_THE_WAY" : code;
    assertEquals((errors["d/below"] as TransferError).code, codeBelow);
    assertEquals(outcomes["other"], "copied");
  });
}

Deno.test("download: small files that the disk can't hold fail alone, and no call requests them", async () => {
  const names = Object.keys(REASONS);
  const source = Object.fromEntries([...names, "ok"].map((name) => [name, "1"]));
  const requested: string[] = [];
  await using trees = await makeTrees("download", {}, {}, async ({ query, body }) => {
    if (query === "tree") {
      const entry = { kind: "file", size: 1, modified: "2024-05-06T07:08:09.123Z" };
      const entries = Object.keys(source).map((name) => ({ path: [name], ...entry }));
      const list = new TextEncoder().encode(listText([...entries, { end: true }]));
      return [200, "OK", { "content-type": "application/json" }, list];
    }
    if (query !== "bundle=get") return null;
    const paths = [...parsePaths(await body!.bytes())];
    requested.push(...paths.flat());
    const modified = "2024-05-06T07:08:09.123Z";
    const records = paths.map((path) => ["", "1", { status: 200, path, modified }] as const);
    return [200, "OK", { "content-type": BUNDLE_TYPE }, makeBundle(records)];
  });
  using _windows = setWindows();
  for (let run = 1; run <= 2; run++) {
    const { errors, result } = await trees.copy();
    assertEquals(Object.keys(errors).toSorted(), names.toSorted());
    for (const name of names) {
      const { code, nameProblem } = errors[name] as TransferError;
      assertEquals([code, typeof nameProblem], ["BAD_NAME", "string"], name);
    }
    assertEquals([result.files, result.failed], [run === 1 ? 1 : 0, names.length]);
  }
  assertEquals(requested, ["ok"]);
});

Deno.test("a name in the form of a short name is a file's own name if the directory lists it", async () => {
  await using files = await serveWritableDirectory({ list: true });
  await fill(files.root, { "report~1.txt": "1", "DIR~1/file": "2", "sub/REPORT~1.TXT": "3" });
  using _windows = setWindows();
  const get = async (uri: string) => {
    const response = await files.request("GET", uri);
    return response.status === 200 ? await response.body!.text() : response.status;
  };
  assertEquals(await get(fileUri("report~1.txt")), "1");
  assertEquals(await get(fileUri("DIR~1", "file")), "2");
  assertEquals(await get(fileUri("OTHER~1")), 404);
  const list = await (await files.request("GET", "/", { accept: "application/json" })).body!
    .text();
  assertStringIncludes(list, '"name":"report~1.txt","kind":"file"');
  const paths = formatPaths([["report~1.txt"], ["DIR~1", "file"], ["OTHER~1"]]);
  const records = await readRecords(
    GET_RESPONSE,
    await files.request("POST", "/?bundle=get", {}, paths),
  );
  assertEquals(records.map(({ record: { status } }) => status), [200, 200, 404]);
  const put = async (uri: string) => {
    const response = await files.request("PUT", uri, {}, TEXT);
    await response.discard();
    return response.status;
  };
  assertEquals([await put("/report~1.txt"), await put("/OTHER~1")], [204, 403]);
});

Deno.test({
  name:
    "names that a file system like FAT refuses fail alone, with their reason (needs unshare, FUSE and python3-fusepy)",
  ...ignoreIf(await findOddDiskObstacle()),
  async fn(t) {
    await using dir = await createTempDir();
    const faults = ["create", "mkdir", "rename"].map((operation) => `${operation} 0 EINVAL [?:*]`);
    await Deno.writeTextFile(`${dir.path}/faults`, faults.join("\n"));
    const script = await makeOddDiskScript(dir.path, `plain "$0/faults"`);
    const source = {
      "small?": "1",
      "large?": LARGE,
      "d:/x": "2",
      "d/small?": "3",
      "ok": "4",
      "large": LARGE,
    };
    for (const direction of DIRECTIONS) {
      await fill(`${dir.path}/${direction}/source`, source);
      await makeLinks({ [`${dir.path}/${direction}/target`]: `../disk/${direction}` });
      await fill(dir.path, { [`backing/${direction}`]: null });
    }
    // Each direction copies twice.
    const jobs = DIRECTIONS.flatMap((direction) => {
      const job = { dir: `${dir.path}/${direction}`, direction, options: {} };
      return [job, job];
    });
    const copies = await copyInProcess([...IN_MOUNT_NAMESPACE, script, dir.path], jobs);
    for (const [index, { errors, outcomes, requests }] of copies.entries()) {
      await t.step(`${jobs[index]!.direction}, call ${index % 2 + 1}`, () => {
        const failedPaths = ["d/small?", "d:", "d:/x", "large?", "small?"];
        assertEquals(Object.keys(errors).toSorted(), failedPaths);
        for (const path of failedPaths) assertStringIncludes(errors[path]!, "BAD_NAME: ", path);
        assertEquals([outcomes["ok"], outcomes["large"]].includes("failed"), false);
        if (jobs[index]!.direction === "upload" || index % 2 === 0) return;
        assertEquals(requests.filter((request) => !request.includes("?tree")), []);
      });
    }
    for (const direction of DIRECTIONS) {
      const copied = await readTree(`${dir.path}/backing/${direction}`);
      assertEquals(copied, { d: null, ok: "4", large: LARGE }, direction);
    }
  },
});

Deno.test.each(DIRECTIONS)(
  `%s: ${'a name that begins with ".;" or "..;" fails alone, with this reason'}`,
  async (direction) => {
    const source = { ".;a": "1", "..;b": LARGE, ".;d": null, ".;d/e": "2", "c;.;": "3" };
    await using trees = await makeTrees(direction, source, {});
    const { errors } = await trees.copy();
    for (const name of [".;a", "..;b", ".;d"]) {
      assertStringIncludes(`${errors[name]}`, "its name can't be sent: it begins with", name);
    }
    assertEquals(Object.keys(errors).length, 3);
    assertEquals(await readTree(trees.target), { "c;.;": "3" });
  },
);

Deno.test("a file whose name has a backslash is refused by a server on Windows, and its upload fails", async () => {
  await using files = await serveFiles((dir) => new FilesApp(dir, { write: true }));
  await fill(files.clientDir, { small: "1", large: LARGE });
  using _windows = setWindows();
  for (const name of ["small", "large"]) {
    const error = await assertRejects(() =>
      upload(files.client, `${files.clientDir}/${name}`, ["a\\b"])
    );
    assertStringIncludes(`${error}`, "400 Bad Request: a server on Windows accepts no backslash");
  }
  assertEquals(await readTree(files.serverDir), {});
});

// Behavior of disks on Windows: locked and read-only files, junctions, and deletions.

// Replacing files that Windows refuses to replace at first.

/** Copies the file `file` of a tree alone. */
function copyFile(direction: TreeDirection, client: Client, dir: string): Promise<unknown> {
  const uri = "/tree/file";
  return direction === "download"
    ? download(client, uri, `${dir}/file`)
    : upload(client, `${dir}/file`, uri);
}

for (const [size, text] of Object.entries({ small: "newer", large: LARGE })) {
  Deno.test.each(DIRECTIONS)(
    `%s: a ${size} file that is read-only is replaced, alone and in a tree`,
    async (direction) => {
      for (const isAlone of [true, false]) {
        await using trees = await makeTrees(direction, { file: text }, { file: "old" });
        chmodSync(`${trees.target}/file`, 0o444);
        if (isAlone) {
          const dir = direction === "download" ? trees.target : trees.source;
          await copyFile(direction, trees.client, dir);
        } else assertEquals((await trees.copy()).errors, {});
        assertEquals(await readTree(trees.target), { file: text });
      }
    },
  );

  Deno.test.each(DIRECTIONS)(
    `%s: a ${size} file that another program has open is replaced once it is closed, or fails alone with this reason`,
    async (direction) => {
      for (const attempts of [3, Infinity]) {
        for (const isAlone of [true, false]) {
          const oldFiles = { file: "old", other: "old", superfluous: "1" };
          await using trees = await makeTrees(direction, { file: text, other: text }, oldFiles);
          using lock = lockFile(`${trees.target}/file`, attempts);
          const isReplaced = attempts < Infinity;
          if (isAlone) {
            const dir = direction === "download" ? trees.target : trees.source;
            const copying = copyFile(direction, trees.client, dir);
            if (isReplaced) await copying;
            else assertEquals((await assertRejects(() => copying, TransferError)).code, "IN_USE");
          } else {
            const { errors, outcomes, result } = await trees.copy({ delete: true });
            if (!isReplaced) assertEquals((errors["file"] as TransferError).code, "IN_USE");
            assertEquals(outcomes, { file: isReplaced ? "copied" : "failed", other: "copied" });
            assertEquals(result.deletionsSkipped, isReplaced ? null : "failed");
          }
          assert(isReplaced ? lock.attempts === 4 : lock.attempts >= 20, `${lock.attempts}`);
          const { file, other: otherContent, superfluous } = await readTree(trees.target);
          assertEquals(file, isReplaced ? text : "old");
          assertEquals(otherContent, isAlone ? "old" : text);
          assertEquals(superfluous === undefined, !isAlone && isReplaced);
        }
      }
    },
  );
}

/**
 * Makes the next attempts to replace a file fail, as on Windows while another program has it open.
 */
function lockFile(path: string, attempts: number) {
  const stack = new DisposableStack();
  stack.use(patch(Deno, "build", (build) => ({ ...build, os: "windows" as const })));
  stack.use(patch(windowsDeletions, "areTested", () => true));
  stack.use(speedUpTimeouts((milliseconds) => milliseconds === 30));
  const lock = { attempts: 0, [Symbol.dispose]: () => stack.dispose() };
  stack.use(patch(Deno, "renameSync", (rename) => (from, to) => {
    if (to === path && ++lock.attempts <= attempts) {
      const message = `Access is denied. (os error 5): rename '${from}' -> '${to}'`;
      throw Object.assign(new Deno.errors.PermissionDenied(message), { code: "EACCES" });
    }
    rename(from, to);
  }));
  return lock;
}

Deno.test({
  name: "a junction is a link: it is not followed, written through, or copied",
  ignore: Deno.build.os !== "windows",
  async fn() {
    await using trees = await makeTrees("upload", { "sub/x": "1", "y": "2" }, { "sub": null });
    await using outside = await createTempDir();
    await Deno.remove(`${trees.target}/sub`);
    for (const path of [`${trees.source}/junction`, `${trees.target}/sub`]) {
      await Deno.symlink(outside.path, path, { type: "junction" });
    }
    const { outcomes } = await trees.copy({ delete: true });
    assertEquals([outcomes["junction"], outcomes["y"]], ["skipped: link", "copied"]);
    assert(outcomes["sub/x"] !== "copied");
    assertEquals(await listNames(outside.path), []);
  },
});

// Deletion has not been tested on Windows.

Deno.test("on Windows neither peers nor transfers delete files", async () => {
  using _system = patch(Deno, "build", (build) => ({ ...build, os: "windows" as const }));
  using _deleting = patch(windowsDeletions, "areTested", () => false);
  await using dir = await createTempDir();
  const tree = { "served/a": "1", "served/d": null, "own/b": "2" };
  await fill(dir.path, tree);
  const warnings: string[] = [];
  const logger = { warn: (message: string) => void warnings.push(message) };
  const app = new FilesApp(`${dir.path}/served`, { list: true, write: true, logger });
  await using server = new Server(["127.0.0.1", 0], app);
  server.serveForever();
  const client = new Client(server.address);

  for (const uri of ["/a", "/d", "/d/"]) {
    const response = await client.request("DELETE", uri);
    await response.discard();
    const { status, headers: { "refusal-reason": reason } } = response;
    assertEquals([status, reason], [403, "no-deletions"]);
  }
  assertEquals(warnings.map((line) => line.slice(line.indexOf("DELETE"))), [
    'DELETE "/a": deleting: not tested on Windows yet',
    'DELETE "/d": deleting: not tested on Windows yet',
    'DELETE "/d/": deleting: not tested on Windows yet',
  ]);
  await assertRejects(
    () => deleteEntry(client, "/a"),
    Deno.errors.NotSupported,
    "deleting: not tested on Windows yet",
  );
  const ownDir = `${dir.path}/own`;
  const refusedOptions: UploadTreeOptions[] = [
    { delete: true },
    { delete: true, deleteAll: true },
    { delete: true, dryRun: true },
    { move: true },
  ];
  for (const options of refusedOptions) {
    const problem = `${options.move ? "move" : "delete"}: not tested on Windows yet; omit it`;
    await assertRejects(() => uploadTree(client, ownDir, "/", options), RangeError, problem);
    const { move: _, ...remainingOptions } = options;
    if (options.move) continue;
    await assertRejects(
      () => downloadTree(client, "/", ownDir, remainingOptions as never),
      RangeError,
      problem,
    );
  }
  const { files } = await downloadTree(client, "/", ownDir);
  assertEquals(files, 1);
  assertEquals(await readTree(dir.path), {
    ...{ "own": null, "own/a": "1", "own/b": "2", "own/d": null },
    ...{ "served": null, "served/a": "1", "served/d": null },
  });
});
