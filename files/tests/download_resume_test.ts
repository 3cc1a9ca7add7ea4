/** The part of a download and its record, and which parts are resumed. */
import type { Api, AppFunction } from "@degu/degu";
import type { Client, Connection, Connector, Requester } from "@degu/degu/client";
import { download, TransferError, type TransferOptions, type TransferProgress } from "@degu/files";
import { PartFile, type PartVersion } from "@degu/internal/files/transfer/part_file.ts";
import { speedUpTimeouts } from "@degu/testing/clock.ts";
import {
  createTempDir,
  findPart,
  listNames,
  listNamesWithoutVersions,
  readMode,
  readPartSize,
} from "@degu/testing/directories.ts";
import { makeProgramCommand } from "@degu/testing/programs.ts";
import { waitUntilRefused } from "@degu/testing/raw_peer.ts";
import { type ServedVersion, serveVersion } from "@degu/testing/served_version.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { assertTransferError, randomBytes, serveFiles } from "@degu/testing/transferring.ts";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";

// Which downloads are resumed, and which start over.

const SIZE = 1_000_000;
const PART = ".copy.degu-part";

/** Serves a file, with functions that interrupt and complete downloads of it. */
async function setUp() {
  const files = await serveVersion(SIZE);
  const { servedFile, dir, file, client, get } = files;
  return {
    ...files,
    /** Downloads this many more bytes of the file; then the connection is cut. */
    async downloadPart(
      cutAfter: number,
      options?: TransferOptions,
      connector: Requester | Connector = client,
    ): Promise<void> {
      const wantedSize = (await readPartSize(dir) ?? 0) + cutAfter;
      // A cut connection may lose bytes in transit. Then some bytes are downloaded again.
      let size: number | null = wantedSize - cutAfter;
      for (let tries = 0; tries < 10 && size !== null && size < wantedSize; tries++) {
        servedFile.cutAfterBytes = wantedSize - size;
        await assertRejects(() => download(connector, "/file", file, options));
        size = await readPartSize(dir);
      }
      servedFile.cutAfterBytes = Infinity;
      servedFile.requests.length = 0;
    },
    /** Downloads the rest of the file, and checks the result. */
    async complete(resumedFrom: number, options?: TransferOptions): Promise<void> {
      const total = servedFile.content.length;
      const sha256 = servedFile.computeSha256();
      const bytes = total - resumedFrom;
      assertEquals(await get(options), { bytes, total, resumedFrom, reused: 0, sha256, unset: [] });
      assertEquals(await Deno.readFile(file), servedFile.content);
      assertEquals((await listNames(dir)).filter((name) => name !== "second"), ["copy"]);
    },
  };
}

Deno.test("an interrupted download resumes at its offset", async () => {
  for (const cutAfter of [1, 65536, SIZE - 1]) {
    await using files = await setUp();
    await files.downloadPart(cutAfter);
    assertEquals(await listNamesWithoutVersions(files.dir), [PART]);
    const reported: TransferProgress[] = [];
    await files.complete(cutAfter, { onProgress: (progress) => reported.push(progress) });
    const progress = {
      done: cutAfter,
      total: SIZE,
      transferred: 0,
      resumedFrom: cutAfter,
      reused: 0,
    };
    assertEquals(reported[0], progress);
    assertEquals(files.servedFile.requests, ["HEAD", `GET bytes=${cutAfter}-${SIZE - 1}`, "HEAD"]);
  }
});

const isRoot = Deno.build.os !== "windows" && Deno.uid() === 0;

/** Replaces the part of a directory by another entry. */
async function replacePart(dir: string, make: (part: string) => Promise<unknown>): Promise<void> {
  const part = (await findPart(dir))!;
  await Deno.remove(part);
  await make(part);
}

/** A download that is interrupted, and the expected result of the next download. */
interface ResumedRow {
  /** The served file during the interrupted download, and during the next one. */
  readonly first?: Partial<ServedVersion>;
  readonly second?: Partial<ServedVersion>;
  /** The options of the interrupted download, and of the next one. */
  readonly firstOptions?: TransferOptions;
  readonly options?: TransferOptions;
  readonly isKept?: boolean;
  /** The change of the part between the two downloads. */
  readonly change?: (dir: string) => Promise<void>;
  readonly resumedFrom?: number;
  readonly requests?: readonly string[];
}

const RANGE_REQUEST = `GET bytes=600000-${SIZE - 1}`;
const ANOTHER = { etag: '"two"', content: randomBytes(500_000) };

const RESUMED: Readonly<Record<string, ResumedRow>> = {
  "a part of the same version": {
    resumedFrom: 600_000,
    requests: ["HEAD", RANGE_REQUEST, "HEAD"],
  },
  "another entity tag starts over": { second: ANOTHER, requests: ["HEAD", "GET", "HEAD"] },
  "another length starts over": {
    second: { content: randomBytes(SIZE + 1) },
    requests: ["HEAD", "GET", "HEAD"],
  },
  "resume: false starts over": { options: { resume: false } },
  "resume: false keeps no part": { firstOptions: { resume: false }, isKept: false },
  "without an entity tag no part is kept": { first: { etag: null }, isKept: false },
  "no part of a small file is kept": { first: { content: randomBytes(65535) }, isKept: false },
  "a part of a larger file is kept": { first: { content: randomBytes(65536) }, resumedFrom: 39321 },
  "with another version in its name": {
    change: async (dir) => {
      const part = (await findPart(dir))!;
      const flip = (digit: string) => digit === "0" ? "1" : "0";
      await Deno.rename(part, part.replace(/.(?=\.degu-part)/, flip));
    },
  },
  "longer than the file": {
    change: async (dir) => Deno.truncate((await findPart(dir))!, SIZE + 1),
  },
  "a directory": {
    change: async (dir) => {
      await replacePart(dir, Deno.mkdir);
    },
  },
  "a FIFO": { change: async (dir) => await replacePart(dir, makeFifo) },
  "a file of another user": {
    change: async (dir) => {
      if (isRoot) await Deno.chown((await findPart(dir))!, 12345, 12345);
      else await replacePart(dir, Deno.mkdir);
    },
  },
  "a hard link to another file": {
    change: async (dir) => Deno.link((await findPart(dir))!, `${dir}/second`),
  },
  "missing": { change: async (dir) => Deno.remove((await findPart(dir))!) },
};

Deno.test("resumes only a part that certainly belongs to the file, and otherwise starts over", async (t) => {
  for (const [label, row] of Object.entries(RESUMED)) {
    await t.step(label, async () => {
      await using files = await setUp();
      Object.assign(files.servedFile, row.first);
      await files.downloadPart(Math.floor(files.servedFile.content.length * 0.6), row.firstOptions);
      assertEquals(await listNamesWithoutVersions(files.dir), row.isKept === false ? [] : [PART]);
      await row.change?.(files.dir);
      Object.assign(files.servedFile, row.second);
      await files.complete(row.resumedFrom ?? 0, row.options);
      assertEquals((await Deno.stat(files.file)).uid, (await Deno.stat(files.dir)).uid);
      if (row.requests !== undefined) assertEquals(files.servedFile.requests, row.requests);
    });
  }
});

Deno.test("a download from another URI or server starts over", async () => {
  await using files = await setUp();
  await files.downloadPart(600_000);
  await download(files.client, "/other", files.file);
  assertEquals(files.servedFile.requests, ["HEAD", "GET", "HEAD"]);
  await Deno.remove(files.file);
  await files.downloadPart(600_000);
  await using otherServer = serve(files.servedFile.app);
  const result = await download(otherServer.makeClient(), "/file", files.file);
  assertEquals(result.resumedFrom, 0);
});

Deno.test("a part belongs to the host name of the client, whatever it resolves to; without an address no part is kept", async () => {
  await using files = await setUp();
  const { client } = files;
  const clientWithoutAddress: Requester = { request: (...request) => client.request(...request) };
  await files.downloadPart(600_000, {}, clientWithoutAddress);
  assertEquals(await listNames(files.dir), []);
  assertEquals((await download(clientWithoutAddress, "/file", files.file)).resumedFrom, 0);
  await Deno.remove(files.file);
  const makeNamedClient = (client: Client): Connector & Pick<Client, "address"> => ({
    address: ["device.local", 80],
    connect: (options) => client.connect(options),
  });
  await files.downloadPart(600_000, {}, makeNamedClient(client));
  await using otherServer = serve(files.servedFile.app);
  const movedClient = makeNamedClient(otherServer.makeClient());
  assertEquals((await download(movedClient, "/file", files.file)).resumedFrom, 600_000);
});

Deno.test("a call that fails before it begins keeps the part of another call", async () => {
  await using files = await setUp();
  await files.downloadPart(600_000);
  await using failingServer = serve(() => [503, "Service Unavailable", {}, null]);
  const failing = () => download(failingServer.makeClient(), "/file", files.file);
  await assertRejects(failing, Error, "503");
  await files.serving[Symbol.asyncDispose]();
  await waitUntilRefused(files.serving.address);
  await assertRejects(() => files.get(), Deno.errors.ConnectionRefused);
  assertEquals(await listNamesWithoutVersions(files.dir), [PART]);
});

const VERSION: PartVersion = { peer: "p", uri: "/f", etag: '"e"', total: 5 };

/** Opens the part of a target. */
async function openPart(target: string): Promise<PartFile> {
  const part = await PartFile.find(target);
  await part.open(VERSION);
  part.temporaryFile.isKept = false;
  return part;
}

Deno.test("a directory with the name of a part keeps its entries", async () => {
  await using dir = await createTempDir();
  const { temporaryFile } = await openPart(`${dir.path}/copy`);
  const takenPath = temporaryFile.path;
  await Deno.remove(takenPath);
  await Deno.mkdir(`${takenPath}/precious`, { recursive: true });
  temporaryFile[Symbol.dispose]();
  await assertRejects(() => openPart(`${dir.path}/copy`), Error, "not empty");
  assertEquals(await listNames(takenPath), ["precious"]);
});

Deno.test("removing a part keeps an entry that has replaced it, and the target of a link", async () => {
  await using dir = await createTempDir();
  const precious = `${dir.path}/precious`;
  await Deno.writeTextFile(precious, "");
  {
    using part = await openPart(`${dir.path}/copy`);
    const { path } = part.temporaryFile;
    await Deno.remove(path);
    await makeLinks({ [path]: precious });
  }
  assertEquals(await listNamesWithoutVersions(dir.path), [PART, "precious"]);
});

Deno.test("a complete part is verified without a transfer", async () => {
  await using files = await setUp();
  files.servedFile.digest = "never";
  await assertRejects(() => files.get(), Error, "does not report the SHA-256 of the file");
  assertEquals(await listNamesWithoutVersions(files.dir), [PART]);
  files.servedFile.requests.length = 0;
  files.servedFile.digest = "head";
  await files.complete(SIZE);
  assertEquals(files.servedFile.requests, ["HEAD", "HEAD"]);
  files.servedFile.digest = "never";
  await assertRejects(() => files.get());
  files.servedFile.etag = '"two"';
  files.servedFile.digest = "head";
  await files.complete(0);
});

Deno.test("a link in place of the part is not followed", async () => {
  await using files = await setUp();
  await files.downloadPart(600_000);
  const part = (await findPart(files.dir))!;
  const victim = `${files.dir}/victim`;
  await Deno.rename(part, victim);
  await Deno.writeTextFile(victim, "precious");
  await makeLinks({ [part]: victim });
  await files.get();
  assertEquals(await Deno.readTextFile(victim), "precious");
  assertEquals(await listNames(files.dir), ["copy", "victim"]);
});

Deno.test("a damaged part is detected by its digest, and not kept", async () => {
  await using files = await setUp();
  await files.downloadPart(600_000);
  using part = await Deno.open((await findPart(files.dir))!, { write: true });
  await part.write(new Uint8Array(100));
  await assertTransferError(() => files.get(), "DIGEST_MISMATCH", "different SHA-256 digests");
  assertEquals(await listNames(files.dir), []);
  await files.complete(0);
});

Deno.test("a response with another range, version or length is refused, and a 412 or 416 starts over", async () => {
  const [size, cutPosition] = [100_000, 60_000];
  await using files = await serveVersion(size);
  const { servedFile, dir } = files;
  const rows: [
    start: number,
    stop: number,
    total: number,
    etag: string | null,
    isRight: boolean,
    cutAt?: number,
  ][] = [
    [cutPosition, size, size, '"one"', false, size - 1],
    [0, 10, size, '"one"', false],
    [cutPosition + 1, size, size, '"one"', false],
    [cutPosition, size - 1, size, '"one"', false],
    [cutPosition, size, size + 1, '"one"', false],
    [cutPosition, size, size, '"two"', false],
    [cutPosition, size, size, null, true],
  ];
  let respond: (api: Api) => Awaited<ReturnType<AppFunction>>;
  await using oddServer = serve((request, session, api) => {
    if (request.headers["range"] === undefined) return servedFile.app(request, session, api);
    return respond(api);
  });
  const interruptDownload = async (client: Client | Connection) => {
    for (const name of await listNames(dir)) await Deno.remove(`${dir}/${name}`);
    servedFile.cutAfterBytes = cutPosition;
    await assertRejects(() => download(client, "/file", files.file));
    servedFile.cutAfterBytes = Infinity;
  };
  for (const [start, stop, total, etag, isAccepted, cutAt = stop] of rows) {
    using first = await oddServer.makeClient().connect();
    await interruptDownload(first);
    respond = ({ ContentRange }) => {
      const headers = { "content-range": new ContentRange(start, stop, total) };
      const bytes = servedFile.content.slice(start, cutAt);
      const body = cutAt === stop ? bytes : ReadableStream.from([bytes]);
      return [206, "OK", { ...headers, ...(etag === null ? {} : { etag }) }, body];
    };
    using connection = await oddServer.makeClient().connect();
    const downloading = () => download(connection, "/file", files.file);
    if (isAccepted) assertEquals((await downloading()).resumedFrom, cutPosition);
    else {
      await assertTransferError(downloading, "UNEXPECTED_RESPONSE", "another range");
      // The unwanted body was read, so the connection is usable.
      assertEquals((await connection.head("/file")).status, 200);
    }
  }
  for (const status of [412, 416]) {
    await interruptDownload(oddServer.makeClient());
    respond = () => [status, "No", {}, new Uint8Array(3)];
    assertEquals((await download(oddServer.makeClient(), "/file", files.file)).resumedFrom, 0);
    assertEquals(await Deno.readFile(files.file), servedFile.content);
  }
});

// The part of a download: valid targets, its lock, and its completion.

Deno.test("a target that can't be written is rejected before any request", async () => {
  await using files = await serveFiles(() => () => {
    throw new Error("asked");
  });
  const { client, clientDir } = files;
  await Deno.mkdir(`${clientDir}/d`);
  await Deno.writeTextFile(`${clientDir}/f`, "");
  const { NotFound } = Deno.errors;
  const downloadTo = (file: string) => () => download(client, "/f", file);
  for (const path of [`${clientDir}/d`, `${clientDir}/d/`, clientDir]) {
    await assertTransferError(downloadTo(path), "IN_THE_WAY", "is a directory");
  }
  await assertRejects(downloadTo(`${clientDir}/new/`), RangeError, "add the name of the file");
  await assertRejects(downloadTo(`${clientDir}/none/f`), NotFound, `file: ${clientDir}/none/f`);
  await assertRejects(downloadTo(`${clientDir}/f/g`), TransferError, "is not a directory");
  await assertRejects(downloadTo(`${clientDir}/.f.degu-part`), RangeError, "the name of a part");
  assertEquals(await listNames(clientDir), ["d", "f"]);
  if (await makeFifo(`${clientDir}/fifo`)) {
    await assertRejects(downloadTo(`${clientDir}/fifo`), TransferError, "is not a regular file");
  }
  assertEquals(await listNames(`${clientDir}/d`), []);
});

Deno.test("the second of two downloads to one target rejects, and the first completes", async () => {
  await using files = await serveVersion(300_000);
  const { servedFile, client, dir, file, get } = files;
  const arrived = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  servedFile.beforePiece = (sent) => {
    if (sent < 200_000) return;
    arrived.resolve();
    return release.promise;
  };
  const first = get();
  await arrived.promise;
  {
    using _timeouts = speedUpTimeouts((milliseconds) => milliseconds === 30);
    const error = await assertTransferError(() => get(), "IN_USE", "another download");
    const lockMessage = /^(?:[A-Z]:)?\/[^:]*: another .*, which has locked .*\.degu-part; /;
    assertMatch(error.message, lockMessage);
  }
  const { success, stderr } = await makeProgramCommand("transfer.ts", {
    flags: ["--allow-net=127.0.0.1", `--allow-read=${dir}`, `--allow-write=${dir}`],
    args: ["download", `${(files.serving.address as readonly [string, number])[1]}`, file, "/f"],
  }).output();
  assert(!success && new TextDecoder().decode(stderr).includes("another download"), "process");
  const otherDownload = download(client, "/f", `${dir}/g`);
  release.resolve();
  assertEquals((await first).sha256, servedFile.computeSha256());
  assertEquals((await otherDownload).sha256, servedFile.computeSha256());
  assertEquals((await get()).bytes, 0, "it is free");
  assertEquals(await listNames(dir), ["copy", "g"]);
});

Deno.test("a part has mode 0600, whatever mode the file gets; a new file gets the default mode", async () => {
  await using files = await serveVersion(200_000);
  const { servedFile, dir, file } = files;
  const modes = new Set<number>();
  servedFile.beforePiece = async (sent) => {
    if (sent > 0) modes.add(await readMode((await findPart(dir))!));
  };
  await Deno.writeTextFile(`${dir}/plain`, "");
  const defaultMode = await readMode(`${dir}/plain`);
  assert(defaultMode !== 0o600, "the umask must let this test see a difference");
  for (const expected of [defaultMode, 0o600, 0o640, defaultMode]) {
    servedFile.content = randomBytes(200_000);
    for (const cutAfter of [131_072, Infinity]) {
      servedFile.cutAfterBytes = cutAfter;
      const result = await files.get().catch(() => "cut");
      assertEquals(result === "cut", cutAfter < Infinity);
      if (result === "cut") assertEquals(await readMode((await findPart(dir))!), 0o600);
    }
    assertEquals([await readMode(file), [...modes]], [expected, [0o600]]);
    assertEquals(await listNames(dir), ["copy", "plain"]);
    // Prepare the file that the next download replaces.
    if (expected === 0o640) await Deno.remove(file);
    else await Deno.chmod(file, expected === defaultMode ? 0o600 : 0o640);
  }
});
