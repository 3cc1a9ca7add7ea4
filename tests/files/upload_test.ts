/** upload: whole files, files that change, broken connections, headers, and responses of other servers. */
import type { AppFunction, Session } from "@degu/degu";
import type { HeaderDict } from "@degu/degu/base";
import { Client, type Connection } from "@degu/degu/client";
import {
  FilesApp,
  StatusError,
  TransferError,
  type TransferProgress,
  upload,
} from "@degu/degu/files";
import { readUploadHeaders } from "@degu/internal/files/serve/put_request.ts";
import { Refusal } from "@degu/internal/files/refusal.ts";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import { SourceFile } from "@degu/internal/files/transfer/source_file.ts";
import { sha256Of } from "@degu/testing/bundles.ts";
import { setClockAhead, slowDownClock } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { createTempDir, fill } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { serve } from "@degu/testing/serving.ts";
import { HAS_LINKS, makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { listParts, listVisible, randomBytes, serveFiles } from "@degu/testing/transferring.ts";
import { digestOf } from "@degu/testing/written_directory.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Buffer } from "node:buffer";

// upload: whole files, and what a call checks, reports and leaves.

const writable = (dir: string) => new FilesApp(dir, { write: true });

Deno.test("an existing file with the same content is not sent, and gets the specified time", async () => {
  const sessions = new Set<Session>();
  await using files = await serveFiles((dir) => {
    const app = writable(dir);
    return (request, session, api) => {
      sessions.add(session);
      return app.handle(request, session, api);
    };
  });
  for (const size of [0, 5, 100_000, 2_000_000]) {
    await Deno.writeFile(`${files.clientDir}/file`, randomBytes(size));
    const first = await upload(files.client, `${files.clientDir}/file`, "/copy");
    assertEquals([first.bytes, first.resumedFrom], [size, 0]);
    const before = await Deno.stat(`${files.serverDir}/copy`);
    const modified = new Date("2020-01-02T03:04:05.678Z");
    sessions.clear();
    const again = await upload(files.client, `${files.clientDir}/file`, "/copy", { modified });
    assertEquals(again, { ...first, bytes: 0, resumedFrom: size });
    assertEquals(sessions.size, 1);
    const { ino, mtime } = await Deno.stat(`${files.serverDir}/copy`);
    assertEquals(mtime, modified);
    // Of an empty file it can't be seen whether it is there.
    if (size > 0) assertEquals(ino, before.ino);
    const whole = await upload(files.client, `${files.clientDir}/file`, "/copy", { resume: false });
    assertEquals(whole, first);
    const other = randomBytes(size);
    await Deno.writeFile(`${files.clientDir}/file`, other);
    assertEquals((await upload(files.client, `${files.clientDir}/file`, "/copy")).bytes, size);
    assertEquals(await Deno.readFile(`${files.serverDir}/copy`), other, "of the same length");
  }
});

Deno.test("progress is reported at the end, and counts what this call transfers", async () => {
  await using files = await serveFiles(writable);
  await Deno.writeFile(`${files.clientDir}/file`, randomBytes(3_000_000));
  const reports: TransferProgress[] = [];
  const onProgress = (progress: TransferProgress) => void reports.push(progress);
  {
    using _slow = slowDownClock();
    await upload(files.client, `${files.clientDir}/file`, "/copy", { onProgress });
  }
  assertEquals(reports.at(-1), { bytes: 3_000_000, total: 3_000_000, resumedFrom: 0, reused: 0 });
  const bytes = reports.map(({ bytes }) => bytes);
  assert(bytes.length > 1 && bytes.every((count, i) => count > (bytes[i - 1] ?? 0)), `${bytes}`);
  reports.length = 0;
  await upload(files.client, `${files.clientDir}/file`, "/copy", { onProgress });
  // What is there already is reported at once, too.
  assertEquals(
    reports,
    new Array(2).fill({ bytes: 0, total: 3_000_000, resumedFrom: 3_000_000, reused: 0 }),
  );
});

Deno.test("what is no file of this device is refused before a connection is made", async () => {
  await using files = await serveFiles(writable);
  const { client, clientDir } = files;
  const file = `${clientDir}/file`;
  await Deno.writeTextFile(file, "content");
  if (HAS_LINKS) await makeLinks({ [`${clientDir}/link`]: "file", [`${clientDir}/up`]: "." });
  for (const directory of HAS_LINKS ? [clientDir, `${clientDir}/up`] : [clientDir]) {
    const uploading = () => upload(client, directory, "/f");
    await assertRejects(uploading, Deno.errors.IsADirectory, "one by one");
  }
  const none = `${clientDir}/none`;
  await assertRejects(() => upload(client, none, "/f"), Deno.errors.NotFound, `file: ${none}: `);
  if (await makeFifo(`${clientDir}/fifo`)) {
    await assertRejects(
      () => upload(client, `${clientDir}/fifo`, "/f"),
      RangeError,
      "a regular file",
    );
  }
  const reason = new Error("enough");
  const signal = AbortSignal.abort(reason);
  assertEquals(await assertRejects(() => upload(client, file, "/f", { signal }), Error), reason);
  assertEquals(await listVisible(files.serverDir), []);
  if (HAS_LINKS) assertEquals((await upload(client, `${clientDir}/link`, "/f")).total, 7);
});

Deno.test("the URI of a directory is refused before a connection is made", async () => {
  await using files = await serveFiles(writable);
  const file = `${files.clientDir}/file`;
  await Deno.writeTextFile(file, "content");
  for (const uri of ["/", "/directory/", "/directory/?a=b"]) {
    const uploading = () => upload(files.client, file, uri);
    await assertRejects(uploading, RangeError, "add the name of the file");
  }
  assertEquals(files.serving.server.sessions.size, 0);
  assertEquals(await listVisible(files.serverDir), []);
});

Deno.test("over a connection, too, an upload in place of a directory says that it is one", async () => {
  await using files = await serveFiles(writable);
  await fill(files.serverDir, { "directory": null });
  await Deno.writeTextFile(`${files.clientDir}/file`, "content");
  for (const options of [{}, { resume: false }]) {
    using conn = await files.client.connect();
    const uploading = () => upload(conn, `${files.clientDir}/file`, "/directory", options);
    const { message } = await assertRejects(uploading, TransferError, "a directory has this name");
    assertEquals([/call again/, /part/].some((other) => other.test(message)), false, message);
  }
});

Deno.test("a server that does not accept a file says why", async () => {
  const cases: [(dir: string) => FilesApp, string, number, string][] = [
    [(dir) => new FilesApp(dir), "/new", 404, "write: true"],
    [(dir) => new FilesApp(dir, { write: true, maxBytes: 99_999 }), "/new", 413, "maxBytes"],
    [writable, "/directory", 409, "a directory has this name"],
    [writable, "/directory/file/x", 409, "or a file that of a directory on the way"],
  ];
  for (const [makeApp, uri, status, hint] of cases) {
    await using files = await serveFiles(makeApp);
    await fill(files.serverDir, { "directory/file": "" });
    for (const size of [100_000, 5_000_000]) {
      await Deno.writeFile(`${files.clientDir}/file`, randomBytes(size));
      for (const options of [{}, { resume: false }]) {
        const failed = () => upload(files.client, `${files.clientDir}/file`, uri, options);
        const error = await assertRejects(failed, Error);
        assertEquals(error instanceof TransferError && error.code, status === 409 && "IN_THE_WAY");
        const { status: found } = (status === 409 ? error.cause : error) as StatusError;
        if (found === 405) assert(error.message.includes("write: true"), error.message);
        else assert(found === status && error.message.includes(hint), error.message);
      }
    }
    assertEquals(await listVisible(files.serverDir), ["directory"]);
    assertEquals(await listParts(files.serverDir), []);
  }
});

Deno.test("replace: false keeps a different existing file, and accepts an identical one", async () => {
  await using files = await serveFiles(writable);
  const file = `${files.clientDir}/file`;
  for (const size of [0, 5, 2_000_000]) {
    const content = randomBytes(size);
    await Deno.writeFile(file, content);
    const uri = `/copy-${size}`;
    const put = (options = {}, to: Client | Connection = files.client) =>
      upload(to, file, uri, { replace: false, ...options });
    assertEquals((await put()).bytes, size);
    assertEquals([(await put()).total, (await put({ resume: false })).total], [size, size]);
    using connection = await files.client.connect();
    for (let again = 0; again < 2; again++) assertEquals((await put({}, connection)).bytes, 0);
    assertEquals(connection.closed, false);
    await Deno.writeFile(file, randomBytes(size + 1));
    for (const options of [{}, { resume: false }]) {
      using other = await files.client.connect();
      for (const to of [files.client, other]) {
        const failed = () => put(options, to);
        const error = await assertRejects(failed, TransferError, "with replace: true");
        assertEquals([error.code, (error.cause as StatusError).status], ["EXISTS", 412]);
      }
    }
    assertEquals(await Deno.readFile(`${files.serverDir}${uri}`), content);
    assertEquals(await listParts(files.serverDir), []);
  }
});

// upload: files that change, calls that are aborted, and responses of other servers.

const SIZE = 20_000_000;
const CONTENT = randomBytes(SIZE);

Deno.test("a file that is appended to arrives, if reading it again takes longer than the server waits", async () => {
  await using dir = await createTempDir();
  const file = `${dir.path}/file`;
  // All pieces are as long as possible, but for one.
  const content = randomBytes(2 * 2_097_152 + 1);
  await Deno.writeFile(file, content);
  await Deno.mkdir(`${dir.path}/there`);
  const app = new FilesApp(`${dir.path}/there`, { write: true });
  await using serving = serve(app, { timeout: 1 });
  using _later = setClockAhead();
  let bytes = 0;
  using _slow = patch(Deno.FsFile.prototype, "read", (read) => {
    return async function (this: Deno.FsFile, into) {
      if (bytes === 0) await Deno.writeFile(file, new Uint8Array(100), { append: true });
      if (bytes >= content.length) await new Promise((resolve) => setTimeout(resolve, 1500));
      const count = await read.call(this, into);
      bytes += count ?? 0;
      return count;
    };
  });
  const { total, sha256 } = await upload(serving.makeClient(), file, "/copy");
  assertEquals([total, sha256], [content.length, sha256Of(content)]);
  assertEquals(bytes, 2 * content.length);
  assertEquals(Buffer.compare(await Deno.readFile(`${dir.path}/there/copy`), content), 0);
});

Deno.test("a signal aborts an upload with its reason, and the next call resumes it", async () => {
  const controller = new AbortController();
  const reason = new Error("enough");
  await using files = await serveFiles((dir): AppFunction => {
    const app = new FilesApp(dir, { write: true });
    return async (request, session, api) => {
      if (request.method === "PUT") controller.abort(reason);
      return await app.handle(request, session, api);
    };
  });
  const path = `${files.clientDir}/file`;
  await Deno.writeFile(path, CONTENT);
  const { signal } = controller;
  assertEquals(
    await assertRejects(() => upload(files.client, path, "/f", { signal }), Error),
    reason,
  );
  assertEquals(await listVisible(files.serverDir), []);
  const { total, sha256 } = await upload(files.client, path, "/f");
  assertEquals([total, sha256?.length], [SIZE, 64]);
});

// ───────────────────────── what is resumed

const RESUMED_SIZE = 3_000_000;
/** With a clock that is behind each file was just changed, however long this test is kept waiting. */
const asJustChanged = () => setClockAhead(-3_600_000);

/** Uploads what a relay lets through: less than the whole. */
async function interrupt(files: Awaited<ReturnType<typeof serveFiles>>, file: string) {
  await using relay = new CuttingRelay(files.serving.address);
  relay.cutAfter(RESUMED_SIZE / 2);
  const client = new Client(relay.address, { timeout: 60 });
  const error = await upload(client, file, "/copy").catch((error) => error);
  assert(error instanceof Error && !(error instanceof TransferError), Deno.inspect(error));
}

/** How much of a file is kept at the server. */
async function offsetThere(
  { serverDir }: Awaited<ReturnType<typeof serveFiles>>,
  file: string,
) {
  const sizes = [];
  for (const name of await listParts(serverDir)) {
    sizes.push((await Deno.stat(`${serverDir}/${RESERVED}/${name}`)).size);
  }
  const { size } = await Deno.stat(file);
  return sizes.find((each) => each < size) ?? 0;
}

/** Counts the bytes that are read of files while something is done. */
async function readWhile(work: () => Promise<unknown>): Promise<number> {
  let bytes = 0;
  using _counted = patch(Deno.FsFile.prototype, "read", (read) => {
    return async function (this: Deno.FsFile, into) {
      const count = await read.call(this, into);
      bytes += count ?? 0;
      return count;
    };
  });
  await work();
  return bytes;
}

Deno.test("an upload reads the file once, also one that is resumed; one that was just changed twice", async () => {
  await using files = await serveFiles(writable);
  const file = `${files.clientDir}/file`;
  const content = randomBytes(RESUMED_SIZE);
  await Deno.writeFile(file, content);
  {
    using _now = asJustChanged();
    assertEquals(await readWhile(() => upload(files.client, file, "/fresh")), 2 * RESUMED_SIZE);
  }
  using _later = setClockAhead();
  assertEquals(await readWhile(() => upload(files.client, file, "/settled")), RESUMED_SIZE);
  // A reset takes back what a busy server has not read yet: that may have been all of it.
  do await interrupt(files, file); while (await offsetThere(files, file) === 0);
  let part = 0;
  const bytes = await readWhile(async () => {
    const { resumedFrom, sha256: digest } = await upload(files.client, file, "/copy");
    part = resumedFrom;
    assertEquals(digest, sha256Of(content));
  });
  assert(part > 0);
  // The server reads what it has.
  assertEquals(bytes, RESUMED_SIZE + part);
});

Deno.test("a signal aborts an upload while the file is compared, before all of it is read", async () => {
  await using files = await serveFiles(writable);
  const file = `${files.clientDir}/file`;
  const content = randomBytes(3 * RESUMED_SIZE);
  await Deno.writeFile(file, content);
  await Deno.writeFile(`${files.serverDir}/copy`, content);
  const controller = new AbortController();
  const { signal } = controller;
  using _aborting = patch(Deno.FsFile.prototype, "read", (read) => {
    return function (this: Deno.FsFile, into) {
      controller.abort(new Error("enough"));
      return read.call(this, into);
    };
  });
  const uploading = () => upload(files.client, file, "/copy", { signal });
  const bytes = await readWhile(() => assertRejects(uploading, Error, "enough"));
  assert(bytes > 0 && bytes < content.length, `${bytes}`);
});

Deno.test("a file has settled two seconds after its last change, and no two have one version", async () => {
  await using dir = await createTempDir();
  const versions = new Set<string>();
  for (const name of ["a", "b"]) {
    const path = `${dir.path}/${name}`;
    await Deno.writeTextFile(path, "12345");
    await Deno.utime(path, 1, 1);
    const changed = (await Deno.stat(path)).ctime!.getTime();
    const { now } = Date;
    try {
      for (const [age, isSettled] of [[1999, false], [2000, true]] as const) {
        Date.now = () => changed + age;
        await using source = await SourceFile.open(path);
        versions.add(source.version);
        const bytes = await readWhile(() => source.hash(undefined));
        assertEquals([source.isSettled, bytes], [isSettled, isSettled ? 5 : 10], `${age}`);
      }
    } finally {
      Date.now = now;
    }
  }
  assertEquals(versions.size, 2);
});

Deno.test("an upload of a file that was just changed is not resumed", async () => {
  using _now = asJustChanged();
  await using files = await serveFiles(writable);
  const file = `${files.clientDir}/file`;
  await Deno.writeFile(file, randomBytes(RESUMED_SIZE));
  await interrupt(files, file);
  const parts = await listParts(files.serverDir);
  assertEquals(parts.filter((name) => name.startsWith("part-")), []);
  assertEquals((await upload(files.client, file, "/copy")).resumedFrom, 0);
});

const REWRITES: [name: string, rewrite: (file: string, content: Uint8Array) => Promise<void>][] = [
  ["in place", (file, content) => Deno.writeFile(file, content)],
  ["by another file", async (file, content) => {
    await Deno.writeFile(`${file}.new`, content);
    await Deno.rename(`${file}.new`, file);
  }],
];

Deno.test("a file that is rewritten between two attempts, same size and same mtime, arrives as it is now", async () => {
  // To the client every file has settled: a version can lie, and the digests have to find it.
  using _later = setClockAhead();
  await using files = await serveFiles(writable);
  const file = `${files.clientDir}/file`;
  for (const [name, rewrite] of REWRITES) {
    await Deno.writeFile(file, randomBytes(RESUMED_SIZE));
    const { atime, mtime } = await Deno.stat(file);
    await interrupt(files, file);
    const content = randomBytes(RESUMED_SIZE);
    await rewrite(file, content);
    await Deno.utime(file, atime!, mtime!);
    const result = await upload(files.client, file, "/copy").catch((error) => error);
    if (result instanceof Error) {
      assertEquals((result as StatusError).status, 400, name);
      assertEquals(await listVisible(files.serverDir), [], name);
      await upload(files.client, file, "/copy");
    }
    assertEquals(await Deno.readFile(`${files.serverDir}/copy`), content, name);
    await Deno.remove(`${files.serverDir}/copy`);
  }
});

// ───────────────────────── answers

interface Answers {
  readonly head?: [number, HeaderDict];
  readonly put?: [number, HeaderDict];
}

const OFFSET = { "upload-offset": "0", "file-stamp": "none" };

async function uploadTo(answers: Answers) {
  let puts = 0;
  await using serving = serve(async ({ method, body, headers }) => {
    if (method === "PUT") puts++;
    await body?.bytes();
    const echo = { "repr-digest": `${headers["repr-digest"]}` };
    const [status, fields] = (method === "HEAD" ? answers.head : answers.put) ??
      (method === "HEAD" ? [200, OFFSET] : [201, echo]);
    return [status, "Answer", fields, method === "HEAD" ? null : new Uint8Array(3)];
  });
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/f`, "hello");
  const uploading = () => upload(serving.makeClient(), `${dir.path}/f`, "/f");
  const error = await assertRejects(uploading, Error);
  assert(error instanceof TransferError || error instanceof StatusError, error.name);
  return { error, puts };
}

Deno.test("responses of other servers are refused if they are not reliable", async () => {
  const refused: [Answers, string | null, string][] = [
    [{ head: [200, {}] }, "UNEXPECTED_RESPONSE", "write: true"],
    [{ head: [200, { "upload-offset": "0" }] }, "UNEXPECTED_RESPONSE", "write: true"],
    [{ head: [200, { "upload-offset": "6" }] }, "UNEXPECTED_RESPONSE", "how much"],
    [{ head: [200, { "upload-offset": "-1" }] }, "UNEXPECTED_RESPONSE", "how much"],
    [{ head: [200, { "upload-offset": "01" }] }, "UNEXPECTED_RESPONSE", "how much"],
    [{ head: [404, {}] }, null, "write: true"],
    [{ head: [301, {}] }, null, "301"],
    [{ head: [507, { "upload-offset": "2" }] }, "DISK_FULL", "too little space for the 3 bytes"],
    [{ put: [201, {}] }, "UNEXPECTED_RESPONSE", "does not report whether it is the same"],
    [
      { put: [201, { "repr-digest": "sha-256=:AA==:" }] },
      "UNEXPECTED_RESPONSE",
      "invalid repr-digest",
    ],
    [
      { put: [201, { "repr-digest": `sha-256=:${"A".repeat(43)}=:` }] },
      "DIGEST_MISMATCH",
      "SHA-256",
    ],
    [{ put: [200, {}] }, null, "200"],
    [{ put: [400, {}] }, null, "may have changed"],
    [{ put: [403, {}] }, null, "may not write"],
    [{ put: [405, {}] }, null, "write: true"],
    [
      { head: [409, {}] },
      "IN_THE_WAY",
      "a directory has this name, or a file that of a directory on the way",
    ],
    [{ put: [409, {}] }, "IN_THE_WAY", "a directory has this name"],
    [{ put: [409, { "retry-after": "1" }] }, "IN_USE", "is at work there"],
    [{ put: [409, { allow: "GET, PUT" }] }, "ONLY_ADDS", "it only adds files"],
    [{ put: [409, OFFSET] }, "IN_USE", "another upload"],
    [{ put: [412, {}] }, "TARGET_CHANGED", "the file there changed meanwhile"],
    [{ put: [412, { allow: "GET, PUT" }] }, "ONLY_ADDS", "it only adds files"],
    [{ put: [412, { allow: "PUT, DELETE" }] }, "TARGET_CHANGED", "changed meanwhile"],
    [{ put: [413, {}] }, null, "maxBytes"],
    [{ put: [500, {}] }, null, "its log"],
    [{ put: [503, { "root-gone": "?1" }] }, "ROOT_GONE", "is its disk mounted?"],
    [{ put: [503, {}] }, null, "is overloaded"],
    [{ put: [503, { "retry-after": "1" }] }, null, "too many files open"],
    [{ put: [507, {}] }, "DISK_FULL", "no space left"],
  ];
  for (const [answers, code, message] of refused) {
    const { error, puts } = await uploadTo(answers);
    // Once more only from another offset.
    assertEquals(puts, answers.head ? 0 : message === "another upload" ? 2 : 1);
    assert(error.message.includes(message) && error.message.includes('"/f"'), error.message);
    const { problem } = error as TransferError | StatusError;
    assert(!/"\/f"|; /.test(problem), problem);
    const [status] = answers.put ?? answers.head!;
    if (error instanceof StatusError) {
      assertEquals([code, error.status], [null, status]);
      assertEquals(error.retryAfter, message === "too many files open" ? 1 : null);
    } else assertEquals(error.code, code, error.message);
  }
});

Deno.test("a different offset is used once", async () => {
  using _later = setClockAhead();
  const digest = digestOf(new TextEncoder().encode("hello"));
  const offsets: string[] = [];
  let conflicts = 1;
  await using serving = serve(async ({ method, body, headers }) => {
    const bytes = await body?.bytes();
    if (method === "HEAD") return [200, "OK", { ...OFFSET, "upload-offset": "4" }, null];
    offsets.push(`${headers["upload-offset"]} ${bytes?.length}`);
    if (conflicts-- > 0) return [409, "Conflict", { "upload-offset": "2" }, new Uint8Array(3)];
    return [201, "Created", { "repr-digest": digest }, new Uint8Array(3)];
  });
  await using dir = await createTempDir();
  const file = `${dir.path}/f`;
  await Deno.writeTextFile(file, "hello");
  const result = await upload(serving.makeClient(), file, "/f");
  assertEquals([result.bytes, result.resumedFrom, offsets], [3, 2, ["4 1", "2 3"]]);
  conflicts = 1;
  using conn = await serving.makeClient().connect();
  assertEquals((await upload(conn, file, "/f")).resumedFrom, 2);
  assertEquals((await conn.head("/f")).status, 200, "all responses have been read");
  for (
    const [options, requests] of [[{}, 2], [{ resume: false }, 1]] as const
  ) {
    conflicts = 2;
    offsets.length = 0;
    const failed = () => upload(serving.makeClient(), file, "/f", options);
    assertEquals((await assertRejects(failed, TransferError)).code, "IN_USE");
    assertEquals(offsets.length, requests);
  }
});

// The headers of uploads.

Deno.test("a malformed header is refused by its name", () => {
  const counts = ["", "-1", "+1", "01", "1.0", "1e3", " 1", "9007199254740992", "0x1"];
  const bad: Record<string, string[]> = {
    "repr-digest": ["", "sha-256", "sha-256=AA==", "sha-256=:AA==:", "sha-256=:!:"],
    "upload-modified": [
      ...["", "2024-02-29", "2024-02-30T00:00:00Z", "2024-02-29T00:00:00"],
      ...["2024-02-29T00:00:00.1Z", "2024-02-29T24:00:00Z", "2024-02-29T00:00:00+01:00"],
      "Thu, 29 Feb 2024 00:00:00 GMT",
    ],
    "upload-offset": counts,
    "upload-length": counts,
    "upload-version": ["", "A", "g", " a", "a a", "a".repeat(65)],
  };
  for (const [name, values] of Object.entries(bad)) {
    for (const value of values) {
      const read = () => readUploadHeaders({ [name]: value });
      assertEquals(assertThrows(read, Refusal, name, `${name}: ${value}`).status, 400);
    }
  }
});

Deno.test("a source that can't be looked at once it is open fails the upload, and is closed", async () => {
  await using files = await serveFiles(writable);
  await Deno.writeTextFile(`${files.clientDir}/file`, "x");
  using _ = patch(Deno.FsFile.prototype, "stat", () => () => Promise.reject(new Error("no stat")));
  await assertRejects(
    () => upload(files.client, `${files.clientDir}/file`, "/copy"),
    Error,
    "no stat",
  );
});
