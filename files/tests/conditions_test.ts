/**
 * Conditions of requests: a request replaces or deletes only the version that the client has seen.
 */
import type { HeadersToSend } from "@degu/degu/base";
import { isTransient } from "@degu/degu/client";
import {
  deleteEntry,
  download,
  downloadTree,
  FilesApp,
  type FilesOptions,
  StatusError,
  TransferError,
  type TransferOptions,
  type TreeEvent,
  upload,
  uploadTree,
} from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import {
  createTempDir,
  fill,
  listNames,
  listNamesWithoutVersions,
  readTree,
} from "@degu/testing/directories.ts";
import { importMapFlags, runProgram, runScript } from "@degu/testing/processes.ts";
import { serveVersion } from "./served_version.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { assertSynced, recordSyncedPaths } from "@degu/testing/synced.ts";
import {
  assertTransferError,
  listParts,
  randomBytes,
  serveFiles,
  serveFilesApp,
} from "@degu/testing/transferring.ts";
import { makeTrees } from "@degu/testing/trees.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { makeUploadHeaders as announced } from "./written_directory.ts";
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { canMount, IN_MOUNT_NAMESPACE } from "./refused_writes.ts";
import { Client } from "@degu/degu";
import { setClockAhead } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { HoldingRelay } from "./holding_relay.ts";
import { retryUntilInTime } from "@degu/testing/raw_peer.ts";

/**
 * Serves a directory, and delays the first request with a method until it is released, like a slow
 * network.
 */
async function serveDelayed(method: string) {
  const arrived = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  let isDelayed = false;
  const files = await serveFilesApp({ write: true }, async (request) => {
    if (request.method === method && !isDelayed) {
      isDelayed = true;
      arrived.resolve();
      await released.promise;
    }
    return null;
  });
  return { ...files, arrived: arrived.promise, release: released.resolve };
}

/** Files that a delayed request would replace, and the options of the call. */
const DELAYED_PUTS: readonly [
  label: string,
  size: number,
  existing: string | null,
  TransferOptions,
][] = [
  ["a small file that replaces another", 5, "old", {}],
  ["a large file that replaces another", 300_000, "old", {}],
  ["a small new file", 5, null, {}],
  ["a new file without resuming", 5, null, { resume: false }],
];

for (const [label, size, before, options] of DELAYED_PUTS) {
  Deno.test(`a delayed PUT doesn't replace a newer file: ${label}`, async () => {
    await using files = await serveDelayed("PUT");
    const { clientDir, serverDir, client } = files;
    if (before !== null) await Deno.writeTextFile(`${serverDir}/f`, before);
    await fill(clientDir, { late: "l".repeat(size), newer: "n".repeat(size) });
    const uploadLate = () => upload(client, `${clientDir}/late`, "/f", options);
    const delayedCall = assertTransferError(
      uploadLate,
      "TARGET_CHANGED",
      "changed during the call",
    );
    await files.arrived;
    assertEquals((await upload(client, `${clientDir}/newer`, "/f")).total, size);
    files.release();
    assertEquals(((await delayedCall).cause as StatusError).status, 412);
    assertEquals((await Deno.readTextFile(`${serverDir}/f`))[0], "n");
    // The next call replaces the newer version, which it has seen.
    await uploadLate();
    assertEquals((await Deno.readTextFile(`${serverDir}/f`))[0], "l");
  });
}

Deno.test("a delayed DELETE doesn't delete a newer file, and succeeds if the file is already gone", async () => {
  // The newer file replaces one, or is new.
  for (const before of [{ f: "old" }, {}]) {
    await using files = await serveDelayed("DELETE");
    const { clientDir, serverDir, client } = files;
    await fill(serverDir, before);
    await fill(clientDir, { newer: "newer" });
    const delayedCall = assertRejects(() => deleteEntry(client, ["f"]), TransferError);
    await files.arrived;
    await upload(client, `${clientDir}/newer`, ["f"]);
    files.release();
    const { code, cause } = await delayedCall;
    assertEquals([code, (cause as StatusError).status], ["TARGET_CHANGED", 412]);
    assertEquals(await Deno.readTextFile(`${serverDir}/f`), "newer");
    await deleteEntry(client, ["f"]);
    assertEquals((await assertRejects(() => deleteEntry(client, ["f"]), StatusError)).status, 404);
  }
  await using otherFiles = await serveDelayed("DELETE");
  await fill(otherFiles.serverDir, { g: "1" });
  const repeatedDelete = deleteEntry(otherFiles.client, ["g"]);
  await otherFiles.arrived;
  await Deno.remove(`${otherFiles.serverDir}/g`);
  otherFiles.release();
  await repeatedDelete;
});

Deno.test("an upload that is refused with 412 succeeds if the server has the same content", async () => {
  await using files = await serveFilesApp({ write: true }, async ({ method }, respond) => {
    const response = await respond();
    // As if the response to the first PUT was lost, and the request was repeated.
    return method === "PUT" ? [412, "Precondition Failed", {}, null] : response;
  });
  await fill(files.clientDir, { f: "new" });
  await fill(files.serverDir, { f: "older" });
  assertEquals((await upload(files.client, `${files.clientDir}/f`, "/f")).total, 3);
  assertEquals(await readTree(files.serverDir), { f: "new" });
});

Deno.test("an upload that is refused with 412 rejects as cut, if the connection breaks before the comparison", async () => {
  let isRefused = false;
  await using files = await serveFilesApp({ write: true }, ({ method }, _respond, session) => {
    if (isRefused) session.close();
    isRefused ||= method === "PUT";
    return method === "PUT" ? [412, "Precondition Failed", {}, null] : null;
  });
  await fill(files.clientDir, { f: "new" });
  const rejected = upload(files.client, `${files.clientDir}/f`, "/f");
  assertEquals(isTransient(await rejected.catch((error) => error)), true);
});

Deno.test("a server that doesn't report a file-stamp gets no PUT and no DELETE", async () => {
  const methods: string[] = [];
  await using files = await serveFilesApp({ write: true }, async ({ method }, respond) => {
    methods.push(method);
    const [status, reason, headers, body] = await respond();
    const { "file-stamp": _stamp, ...otherHeaders } = headers as HeadersToSend;
    return [status, reason, otherHeaders, body];
  });
  await fill(files.clientDir, { f: "new" });
  await fill(files.serverDir, { f: "older" });
  const uploadFile = () => upload(files.client, `${files.clientDir}/f`, "/f");
  for (const call of [uploadFile, () => deleteEntry(files.client, "/f")]) {
    await assertTransferError(call, "UNEXPECTED_RESPONSE", "file-stamp");
  }
  assertEquals([methods, await readTree(files.serverDir)], [["HEAD", "HEAD"], { f: "older" }]);
});

const TIME = "2020-02-29T12:34:56.789Z";

Deno.test("if-file-stamp: a file is replaced and deleted only if it has this size and time", async () => {
  const rows: [stamp: string, file: string, status: number][] = [
    [`3,${TIME}`, "f", 204],
    [`4,${TIME}`, "f", 412],
    ["3,2020-02-29T12:34:56.788Z", "f", 412],
    ["none", "f", 412],
    [`3,${TIME}`, "new", 412],
    ["none", "new", 201],
    ...["3", `03,${TIME}`, "3,2020-02-29T12:34:56Z", "None"]
      .map((stamp): [string, string, number] => [stamp, "f", 400]),
  ];
  const text = encodeLatin1("x");
  for (const [stamp, file, status] of rows) {
    for (const way of [{}, announced(text, 0), "DELETE"]) {
      await using dir = await createTempDir();
      await fill(dir.path, { f: "old" });
      await Deno.utime(`${dir.path}/f`, new Date(TIME), new Date(TIME));
      const app = new FilesApp(dir.path, { write: true });
      const condition = { "if-file-stamp": stamp };
      const isDelete = way === "DELETE";
      const request = isDelete
        ? mkreq("DELETE", `/${file}`, condition)
        : mkreq("PUT", `/${file}`, { ...condition, ...(way as HeadersToSend) }, text);
      const expected = isDelete && file === "new" ? 404 : status;
      assertEquals((await app.handle(request))[0], expected, `${stamp} ${Deno.inspect(way)}`);
      const newFiles = isDelete ? {} : { [file]: "x" };
      const expectedTree = expected < 300
        ? { ...file === "new" ? { f: "old" } : {}, ...newFiles }
        : { f: "old" };
      assertEquals(await readTree(dir.path), expectedTree);
    }
  }
});

Deno.test("the responses to HEAD and GET have the file's stamp", async () => {
  await using dir = await createTempDir();
  await fill(dir.path, { f: "old" });
  await Deno.utime(`${dir.path}/f`, new Date(TIME), new Date(TIME));
  const app = new FilesApp(dir.path, { write: true });
  const stampOf = async (method: "GET" | "HEAD", uri: string, headers: HeadersToSend = {}) =>
    ((await app.handle(mkreq(method, uri, headers)))[2] as HeadersToSend)["file-stamp"];
  const stamp = `${await stampOf("GET", "/f")}`;
  assertMatch(stamp, /^3,2[^,]*Z(,[0-9a-f]+(-[0-9a-f]+){4})$/);
  assertEquals(stamp.split(",", 2).join(), `3,${TIME}`);
  assertEquals(await stampOf("HEAD", "/f"), stamp);
  assertEquals(await stampOf("HEAD", "/f", announced(encodeLatin1("x"))), stamp);
  const sendPut = async (stamp: string) =>
    (await app.handle(mkreq("PUT", "/f", { "if-file-stamp": stamp }, "new")))[0];
  await Deno.writeTextFile(`${dir.path}/other`, "two");
  await Deno.utime(`${dir.path}/other`, new Date(TIME), new Date(TIME));
  await Deno.rename(`${dir.path}/other`, `${dir.path}/f`);
  assertEquals(await sendPut(stamp), 412);
  assertEquals(await sendPut(`3,${TIME}`), 204);
  assertEquals(await stampOf("HEAD", "/new", announced(encodeLatin1("x"))), "none");
});

Deno.test("a download replaces the target that existed at its start, but not one that appeared or changed later", async () => {
  for (const before of [null, "old"]) {
    await using files = await serveVersion(200_000);
    const { servedFile, file, dir, get } = files;
    if (before !== null) await Deno.writeTextFile(file, before);
    servedFile.beforePiece = () => Deno.writeTextFileSync(file, "theirs");
    await assertTransferError(get, "TARGET_CHANGED", "changed during the call, and was kept");
    assertEquals(await Deno.readTextFile(file), "theirs");
    servedFile.beforePiece = () => {};
    assertEquals((await get()).resumedFrom, 200_000);
    assertEquals(await Deno.readFile(file), servedFile.content);
    assertEquals(await listNamesWithoutVersions(dir), ["copy"]);
    // A file with the expected content counts as downloaded.
    await Deno.remove(file);
    servedFile.beforePiece = () => Deno.writeFileSync(file, servedFile.content);
    assertEquals((await get()).total, 200_000);
    assertEquals(await listNamesWithoutVersions(dir), ["copy"]);
    servedFile.content = randomBytes(200_000);
    servedFile.beforePiece = (sent) => sent === 0 ? Deno.removeSync(file) : undefined;
    await assertTransferError(get, "TARGET_CHANGED");
  }
});

Deno.test("a condition with * in a list, or behind other white space than spaces, replaces no file", async () => {
  await using dir = await createTempDir();
  await fill(dir.path, { f: "old" });
  const app = new FilesApp(dir.path, { write: true });
  const rows: readonly HeadersToSend[] = [
    { "if-none-match": "*, *" },
    { "if-none-match": '*, "x"' },
    { "if-none-match": '"x"\t,\t*' },
    { "if-match": "\xa0*" },
    { "if-match": "*, *" },
    { "if-match": '*, "x"' },
  ];
  for (const headers of rows) {
    const [status] = await app.handle(mkreq("PUT", "/f", headers, encodeLatin1("new")));
    assertEquals(status, 412, JSON.stringify(headers));
  }
  assertEquals(await readTree(dir.path), { f: "old" });
});

// Apps that only add files.

const ADD: FilesOptions = { write: "add", list: true };

Deno.test('write: "add": new files and directories are created, and existing ones are not replaced or deleted', async () => {
  await using dir = await createTempDir();
  await fill(dir.path, { f: "old", d: null });
  const app = new FilesApp(dir.path, ADD);
  const text = encodeLatin1("new");
  const status = async (...request: Parameters<typeof mkreq>) =>
    (await app.handle(mkreq(...request)))[0];
  assertEquals(await status("PUT", "/f", {}, text), 409);
  assertEquals(await status("PUT", "/f", announced(text, 0), text), 409);
  assertEquals(await status("PUT", "/f", { "if-none-match": "*" }, text), 412);
  assertEquals(await status("PUT", "/f", { "if-match": "*" }, text), 412);
  assertEquals(await status("PUT", "/d", {}, text), 409);
  assertEquals(await status("PUT", "/new", {}, text), 201);
  assertEquals(await status("PUT", "/larger", announced(text, 0), text), 201);
  // All bytes were sent before, and the file has them.
  assertEquals(await status("PUT", "/larger", announced(text, text.length), null), 204);
  assertEquals(await status("PUT", "/f", announced(text, text.length), null), 409);
  assertEquals([await status("PUT", "/d/e/"), await status("PUT", "/d/")], [201, 204]);
  const [refusedStatus, , { allow }] = await app.handle(mkreq("DELETE", "/new"));
  assertEquals([refusedStatus, allow], [405, "GET, HEAD, PUT"]);
  const expectedTree = { d: null, "d/e": null, f: "old", larger: "new", new: "new" };
  assertEquals(await readTree(dir.path), expectedTree);
});

Deno.test('write: "add": an identical file succeeds, alone and in a tree, and keeps its time; a dry run reports that others fail', async () => {
  await using files = await serveFilesApp(ADD);
  const { client, clientDir, serverDir } = files;
  const large = "l".repeat(100_000);
  await fill(clientDir, { large, small: "s", new: "n" });
  await fill(serverDir, { large, small: "other" });
  await Deno.utime(`${serverDir}/large`, new Date(TIME), new Date(TIME));
  const modified = new Date(0);
  for (const resume of [true, false]) {
    const { sha256 } = await upload(client, `${clientDir}/large`, "/large", { modified, resume });
    assertEquals(sha256?.length, 64);
  }
  const uploadDifferent = () => upload(client, `${clientDir}/small`, "/small");
  await assertTransferError(uploadDifferent, "ONLY_ADDS");
  for (const dryRun of [true, false]) {
    const options = { dryRun, partial: true, onEvent: () => {} };
    const { failed, files, unchanged } = await uploadTree(client, clientDir, "/", options);
    assertEquals([failed, files, unchanged], [1, 1, 1]);
  }
  const { mtime } = await Deno.stat(`${serverDir}/large`);
  assertEquals(mtime, new Date(TIME));
  assertEquals(await Deno.readTextFile(`${serverDir}/small`), "other");
});

Deno.test('write: "add": a tree with delete is rejected before any file is copied', async () => {
  await using files = await serveFilesApp(ADD);
  const { client, clientDir, serverDir } = files;
  await fill(clientDir, { new: "n" });
  await fill(serverDir, { old: "o", "sub/old": "o" });
  for (const uri of ["/", "/sub/", "/none/"]) {
    const copying = () => uploadTree(client, clientDir, uri, { delete: true });
    const error = await assertTransferError(copying, "ONLY_ADDS", "call without `delete`");
    assertEquals(error.cause, undefined, "no status came");
    assertEquals(error.problem, "the server only adds files");
  }
  const expectedTree = { none: null, old: "o", sub: null, "sub/old": "o" };
  assertEquals(await readTree(serverDir), expectedTree);
});

Deno.test("create: the app creates its directory and the parents of it", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/a/b`;
  const app = new FilesApp(path, { create: true, write: true });
  assertEquals(await listNames(`${dir.path}/a`), ["b"]);
  new FilesApp(path, { create: true });
  assertEquals((await app.handle(mkreq("PUT", "/x", {}, encodeLatin1("x"))))[0], 201);
  await Deno.writeTextFile(`${dir.path}/f`, "");
  const overFile = () => Promise.try(() => new FilesApp(`${dir.path}/f`, { create: true }));
  await assertRejects(overFile, Error);
  await using copied = await createTempDir();
  await using serving = serve(new FilesApp(`${dir.path}/c`, { create: true, list: true }));
  assertEquals((await downloadTree(serving.makeClient(), "/", `${copied.path}/x`)).files, 0);
  await assertRejects(() => download(serving.makeClient(), "/f", `${copied.path}/y`));
});

Deno.test("no directory is created through a link to a missing directory", async () => {
  await using dir = await createTempDir();
  await makeLinks({ [`${dir.path}/link`]: "missing" });
  await using serving = serve(new FilesApp(`${dir.path}/c`, { create: true, list: true }));
  for (const path of [`${dir.path}/link`, `${dir.path}/link/sub`]) {
    const advice = "is its disk mounted?";
    assertThrows(() => new FilesApp(path, { create: true }), Deno.errors.NotFound, advice);
    const copying = downloadTree(serving.makeClient(), "/", path);
    await assertRejects(() => copying, Deno.errors.NotFound, advice);
  }
  assertEquals((await listNames(dir.path)).toSorted(), ["c", "link"]);
});

/**
 * An app whose directory, `a/b` of a temporary directory, was removed after the app was created.
 */
async function makeAppWithoutDirectory(options: FilesOptions) {
  const dir = await createTempDir();
  const path = `${dir.path}/a/b`;
  await Deno.mkdir(path, { recursive: true });
  const app = new FilesApp(path, { list: true, write: true, ...options });
  await Deno.remove(path);
  const status = async (...request: Parameters<typeof mkreq>) =>
    (await app.handle(mkreq(...request)))[0];
  const sendPut = () => status("PUT", "/x", {}, encodeLatin1("x"));
  const { [Symbol.asyncDispose]: dispose } = dir;
  return { dir: dir.path, path, status, put: sendPut, [Symbol.asyncDispose]: dispose };
}

Deno.test("create: the next request creates a removed directory again, and syncs it before the response", async () => {
  for (const method of ["GET", "HEAD", "DELETE"] as const) {
    await using missing = await makeAppWithoutDirectory({ create: true });
    const uri = method === "DELETE" ? "/x" : "/";
    const statuses: number[] = [];
    const synced = await recordSyncedPaths(missing.dir, async () => {
      const requests = Array.from({ length: 5 }, () => missing.status(method, uri));
      statuses.push(...await Promise.all(requests));
    });
    assertEquals(statuses, new Array(5).fill(method === "DELETE" ? 404 : 200));
    assertSynced(missing.dir, synced, ["./a"]);
    assertEquals(await missing.put(), 201);
    await Deno.remove(missing.path, { recursive: true });
    assertEquals(await missing.put(), 201);
    assertEquals((await readTree(missing.dir))["a/b/x"], "x");
  }
});

Deno.test("create: a removed directory is not created again if its parent was replaced, its name is taken, or without the option", async () => {
  const rows: Readonly<
    Record<string, (paths: { dir: string; path: string }) => Promise<unknown>>
  > = {
    "the parent was replaced": async ({ dir }) => {
      // Keep the old inode in use, so that the new directory gets another one.
      await Deno.rename(`${dir}/a`, `${dir}/old`);
      await Deno.mkdir(`${dir}/a`);
    },
    "the parent is missing": ({ dir }) => Deno.remove(`${dir}/a`),
    "a file has the name": ({ path }) => Deno.writeTextFile(path, "file"),
    "a link has the name": ({ path }) => makeLinks({ [path]: "none" }),
  };
  for (const [rule, change] of Object.entries(rows)) {
    await using missing = await makeAppWithoutDirectory({ create: true });
    await change(missing);
    const treeBefore = await readTree(missing.dir);
    assertEquals([await missing.put(), await missing.status("GET", "/")], [503, 503], rule);
    assertEquals(await readTree(missing.dir), treeBefore);
  }
  await using gone = await makeAppWithoutDirectory({});
  assertEquals([await gone.put(), await readTree(gone.dir)], [503, { a: null }]);
  // A read-only directory is a source. If it was moved away, it must not seem empty.
  await using source = await makeAppWithoutDirectory({ create: true, write: false });
  assertEquals([await source.status("GET", "/"), await readTree(source.dir)], [503, { a: null }]);
});

Deno.test("create: a removed directory is not created again without the permission to read its parent", async () => {
  await using dir = await createTempDir();
  const script = `
    import { FilesApp } from ${JSON.stringify(import.meta.resolve("../mod.ts"))};
    import { mkreq } from ${JSON.stringify(import.meta.resolve("../../misc.ts"))};
    const path = ${JSON.stringify(`${dir.path}/a`)};
    const app = new FilesApp(path, { create: true, list: true, write: true });
    Deno.removeSync(path);
    console.log((await app.handle(mkreq("GET", "/")))[0]);`;
  for (const [readable, status] of [[`${dir.path}/a`, 503], [dir.path, 200]] as const) {
    const flags = [`--allow-read=${readable}`, `--allow-write=${dir.path}/a`];
    assertEquals(await runScript(script, flags, {}), `${status}\n`);
  }
});

Deno.test({
  name:
    "create: a removed mount point is not created again, because uploads would fill the disk below (needs unshare)",
  ignore: !await canMount(),
  async fn() {
    await using dir = await createTempDir();
    await Deno.mkdir(`${dir.path}/disk`);
    const printed = await runProgram("removed_mount_point.ts", {
      flags: ["--allow-all", ...importMapFlags()],
      args: [`${dir.path}/disk`],
      through: [...IN_MOUNT_NAMESPACE, 'mount -t tmpfs tmpfs "$0/disk" && exec "$@"', dir.path],
    });
    assertEquals(JSON.parse(printed), [503, false]);
  },
});

// A request that the network delays, so that the server gets it after a newer file.

/** Uploads the file `f`. */
const single = (client: Client, localDir: string, signal?: AbortSignal) =>
  upload(client, `${localDir}/f`, "/f", { signal });

Deno.test("a delayed request doesn't change a newer file: a resumed upload", async () => {
  await using files = await serveFiles((dir) => new FilesApp(dir, { write: true }));
  const { clientDir, serverDir, client } = files;
  const size = 2 ** 22;
  await fill(serverDir, { f: "old" });
  await fill(clientDir, { f: "l".repeat(size) });
  using _clock = setClockAhead(10_000);
  await using cutting = new CuttingRelay(files.serving.address);
  // After a reset, a busy server may not have read the received bytes.
  await retryUntilInTime("nothing was kept", async () => {
    cutting.cutAfter(size / 2);
    await assertRejects(() => single(new Client(cutting.address, { timeout: 30 }), clientDir));
    const [part] = await listParts(serverDir);
    return part !== undefined && Deno.statSync(`${serverDir}/.degu-files/${part}`).size > 0;
  });
  await using relay = new HoldingRelay(files.serving.address, (text) => text.startsWith("PUT /f"));
  const abortController = new AbortController();
  const relayedClient = new Client(relay.address, { timeout: 30 });
  const abortedCall = assertRejects(() => single(relayedClient, clientDir, abortController.signal));
  const [, offset] = /\r\nupload-offset: (\d+)/.exec(await relay.requestReceived) ?? [];
  assert(Number(offset) > 0, offset);
  abortController.abort();
  await abortedCall;
  await fill(clientDir, { f: "newest" });
  await single(client, clientDir);
  assert((await relay.release()).startsWith("HTTP/1.1 412"));
  assertEquals((await readTree(serverDir)).f, "newest");
});

for (const [method, seconds] of [["PUT", 1], ["DELETE", 1]] as const) {
  Deno.test(`a delayed ${method} doesn't change a newer file with the same size and time, if the older file was just written: ${seconds} s since 1970`, async () => {
    await using files = await serveFiles((dir) => new FilesApp(dir, { write: true }));
    const { clientDir, serverDir, client } = files;
    const send = async (text: string, to = client, signal?: AbortSignal) => {
      await fill(clientDir, { f: text });
      await Deno.utime(`${clientDir}/f`, seconds, seconds);
      await upload(to, `${clientDir}/f`, "/f", { signal });
    };
    await send("older");
    await using relay = new HoldingRelay(files.serving.address, (text) => text.startsWith(method));
    const abortController = new AbortController();
    const { signal } = abortController;
    const relayedClient = new Client(relay.address, { timeout: 30 });
    const call = () =>
      method === "PUT"
        ? send("later", relayedClient, signal)
        : deleteEntry(relayedClient, "/f", { signal });
    const abortedCall = assertRejects(call);
    await relay.requestReceived;
    abortController.abort();
    await abortedCall;
    await send("newer");
    assert((await relay.release()).includes("412"));
    assertEquals((await readTree(serverDir)).f, "newer");
  });
}

Deno.test("a file of a tree that changes after its comparison is neither replaced nor deleted, and fails alone", async () => {
  const large = "l".repeat(100_000);
  for (const direction of ["download", "upload"] as const) {
    const source = { small: "new", large, other: "other" };
    const target = { small: "older", large: "older", old: "old", other: "another" };
    await using trees = await makeTrees(direction, source, target);
    const changedNames = ["large", "old", "small"];
    const onEvent = ({ type }: TreeEvent) => {
      if (type !== "plan") return;
      for (const name of changedNames) Deno.writeTextFileSync(`${trees.target}/${name}`, "theirs");
    };
    const { outcomes, result, errors } = await trees.copy({ delete: true, onEvent });
    for (const name of ["large", "small"]) {
      assertEquals(outcomes[name], "failed", `${direction} ${name}`);
      assert(
        String(errors[name]).includes("changed during the call"),
        String(errors[name]),
      );
    }
    assertEquals([outcomes.other, result.deletionsSkipped], ["copied", "failed"]);
    const remaining = await readTree(trees.target);
    for (const name of changedNames) {
      assertEquals(remaining[name], "theirs", `${direction} ${name}`);
    }
    // Deletions are made, because no other entry fails.
    const deleteOld = ({ type, ...event }: TreeEvent) => {
      const isLast = type === "copied" && "path" in event && event.path[0] === "large";
      if (isLast) Deno.writeTextFileSync(`${trees.target}/old`, "newer");
    };
    const secondCopy = await trees.copy({ delete: true, onEvent: deleteOld });
    assertEquals([secondCopy.outcomes.old, secondCopy.deletedPaths], ["failed", []]);
    assertEquals((await readTree(trees.target)).old, "newer");
  }
});
