/**
 * Error codes of transfers, in both directions: for the state of the target, and for names and files
 * that the target refuses.
 */
import type { AppFunction } from "@degu/degu";
import {
  deleteEntry,
  download,
  FilesApp,
  fileUri,
  makeDirectory,
  type StatusError,
  TransferError,
  type TransferErrorCode,
  type TransferOptions,
  upload,
} from "@degu/files";
import { isTransient } from "@degu/degu/client";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { serveFiles, serveFilesApp } from "@degu/testing/transferring.ts";
import {
  copyInProcess,
  DIRECTIONS,
  makeCopy,
  makeTrees,
  type TreeDirection,
} from "@degu/testing/trees.ts";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { BUNDLE_TYPE, formatPaths, GET_RESPONSE, parsePaths } from "@degu/internal/files/bundle.ts";
import { makeBundle, readRecords } from "@degu/testing/bundles.ts";
import { makeOddDiskScript } from "@degu/testing/odd_disk.ts";
import { patch } from "@degu/testing/patching.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { makeUploadHeaders, serveWritableDirectory } from "@degu/testing/written_directory.ts";
import { listText } from "./directory_entries.ts";
import { canMount, IN_MOUNT_NAMESPACE } from "./refused_writes.ts";

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

Deno.test("an add-only FilesApp gives that reason if it refuses a replacement, and not for other refusals", async () => {
  await using files = await serveFilesApp({ write: "add" });
  const { client, serverDir, clientDir } = files;
  await fill(serverDir, { x: "old", "d/y": "" });
  await fill(clientDir, { f: "new" });
  const calls: [() => Promise<unknown>, TransferErrorCode, number][] = [
    [() => upload(client, `${clientDir}/f`, ["x"]), "ONLY_ADDS", 412],
    [() => upload(client, `${clientDir}/f`, ["x"], { resume: false }), "ONLY_ADDS", 412],
    [() => upload(client, `${clientDir}/f`, ["x"], { replace: false }), "EXISTS", 412],
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
    const source = { first: "1", large: LARGE, other: "2" };
    await using trees = await makeTrees("upload", source, {}, async (request) => {
      if (request.query === "bundle=put") {
        // The server reports that it has refused the first file, and has stored the other one.
        await request.body!.bytes();
        const first = JSON.stringify(isValid ? { status: 403, reason } : { status: 403 });
        const bundle = new TextEncoder().encode(`${first}\n{"status":201}\n{"end":true}\n`);
        return [200, "OK", { "content-type": BUNDLE_TYPE }, bundle];
      }
      return request.uri.endsWith("/large")
        ? [403, "Forbidden", { "refusal-reason": reason }, null]
        : null;
    });
    const { errors, outcomes } = await trees.copy();
    for (const name of ["first", "large"]) {
      assertEquals(describe(errors[name]), [code, nameProblem], name);
    }
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
  const list = await (await files.request("GET", "/")).body!.text();
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

for (const direction of DIRECTIONS) {
  Deno.test({
    name:
      `${direction}: names that a file system like FAT refuses fail alone, with their reason (needs unshare, FUSE and python3-fusepy)`,
    ignore: !await canMount(),
    async fn() {
      await using dir = await createTempDir();
      const faults = ["create", "mkdir", "rename"].map((operation) =>
        `${operation} 0 EINVAL [?:*]`
      );
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
      await fill(`${dir.path}/source`, source);
      await makeLinks({ [`${dir.path}/target`]: "disk" });
      const job = { dir: dir.path, direction, options: {} };
      const copies = await copyInProcess([...IN_MOUNT_NAMESPACE, script, dir.path], [job, job]);
      for (const { errors, outcomes, requests } of copies) {
        const failedPaths = ["d/small?", "d:", "d:/x", "large?", "small?"];
        assertEquals(Object.keys(errors).toSorted(), failedPaths);
        for (const path of failedPaths) assertStringIncludes(errors[path]!, "BAD_NAME: ", path);
        assertEquals([outcomes["ok"], outcomes["large"]].includes("failed"), false);
        if (direction === "upload" || copies[0]!.requests === requests) continue;
        assertEquals(requests.filter((request) => !request.includes("?tree")), []);
      }
      const { mounted: _mounted, ...copied } = await readTree(`${dir.path}/backing`);
      assertEquals(copied, { d: null, ok: "4", large: LARGE });
    },
  });
}

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
