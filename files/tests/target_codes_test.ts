/**
 * Error codes of transfers for the state of the target: one code for each state, in both
 * directions.
 */
import type { AppFunction } from "@degu/degu";
import {
  deleteEntry,
  download,
  FilesApp,
  makeDirectory,
  type StatusError,
  TransferError,
  type TransferErrorCode,
  type TransferOptions,
  upload,
} from "@degu/files";
import { isTransient } from "@degu/degu/client";
import { fill, readTree } from "@degu/testing/directories.ts";
import { serveFiles, serveFilesApp } from "@degu/testing/transferring.ts";
import { DIRECTIONS, makeCopy, makeTrees, type TreeDirection } from "@degu/testing/trees.ts";
import { assertEquals, assertRejects } from "@std/assert";

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
  const statuses: unknown[] = [];
  await using files = await serveFiles((dir): AppFunction => {
    const app = new FilesApp(dir, { write: "add" });
    return async (request, session, api) => {
      const response = await app.handle(request, session, api);
      const [status, , { allow, "retry-after": retryAfter }] = response;
      if (status >= 400) statuses.push([request.method, status, allow, retryAfter]);
      return response;
    };
  });
  const { client, serverDir, clientDir } = files;
  await fill(serverDir, { x: "old", "d/y": "" });
  await fill(clientDir, { f: "new" });
  const sendPut = (uri: string, headers = {}) =>
    client.request("PUT", uri, headers, new TextEncoder().encode("new"));
  for (const headers of [{}, { "if-none-match": "*" }, { "if-file-stamp": "none" }]) {
    await (await sendPut("/x", headers)).discard();
  }
  await (await sendPut("/d")).discard();
  await (await sendPut("/x/y")).discard();
  await (await client.request("DELETE", "/x")).discard();
  const allow = "GET, HEAD, PUT";
  assertEquals(statuses.splice(0), [
    ["PUT", 409, allow, undefined],
    ["PUT", 412, allow, undefined],
    ["PUT", 412, allow, undefined],
    ["PUT", 409, undefined, undefined],
    ["PUT", 409, undefined, undefined],
    ["DELETE", 405, allow, undefined],
  ]);
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
