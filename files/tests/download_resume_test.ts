/** The part of a download and its record, which parts are resumed, and downloads to a stream. */
import { ConnectionError } from "@degu/degu/base";
import type { Api, AppFunction } from "@degu/degu";
import {
  Client,
  type Connection,
  ConnectionPool,
  type Connector,
  isTransient,
  type Requester,
  retry,
} from "@degu/degu/client";
import {
  download,
  FilesApp,
  StatusError,
  TransferError,
  type TransferOptions,
  type TransferProgress,
} from "@degu/degu/files";
import { PartFile, type PartVersion } from "@degu/internal/files/transfer/part_file.ts";
import { speedUpClock, speedUpTimeouts } from "@degu/testing/clock.ts";
import {
  createTempDir,
  findPart,
  listNames,
  listNamesWithoutVersions,
  readMode,
  readPartSize,
} from "@degu/testing/directories.ts";
import { makeProgramCommand } from "@degu/testing/processes.ts";
import { waitUntilRefused } from "@degu/testing/raw_peer.ts";
import { type ServedVersion, serveVersion } from "./served_version.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { assertTransferError, randomBytes, serveFiles } from "@degu/testing/transferring.ts";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { assertReason, makeAbortController } from "@degu/testing/aborts.ts";
import { sha256Of } from "./bundles.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { concat, RecordingStream } from "@degu/testing/streams.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { withRandom } from "@degu/testing/random.ts";

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

const notRoot = Deno.build.os !== "windows" && Deno.uid() === 0
  ? null
  : "only root can give a file to another user";

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

Deno.test("a part that belongs to another user is not resumed", ignoreIf(notRoot), async () => {
  await using files = await setUp();
  await files.downloadPart(600_000);
  await Deno.chown((await findPart(files.dir))!, 12345, 12345);
  await files.complete(0);
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
  const error = await assertRejects(() => files.get(), ConnectionError);
  assertEquals(error.fault, "refused");
  assertEquals(await listNamesWithoutVersions(files.dir), [PART]);
});

const VERSION: PartVersion = { peer: "p", uri: "/f", etag: '"e"', total: 5 };

/** Opens the part of a target. */
async function openPart(target: string): Promise<PartFile> {
  const part = await PartFile.prepare(target);
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
      // The unwanted body was read, so the connection is usable, unless the body was cut.
      if (cutAt === stop) assertEquals((await connection.head("/file")).status, 200);
    }
  }
  for (const status of [412, 416]) {
    await interruptDownload(oddServer.makeClient());
    respond = () => [status, "No", {}, new Uint8Array(3)];
    using connection = await oddServer.makeClient().connect();
    assertEquals((await download(connection, "/file", files.file)).resumedFrom, 0);
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
  // The error of the disk.
  for (const followLink of [true, false]) {
    const tooLong = download(client, "/f", `${clientDir}/${"n".repeat(300)}`, { followLink });
    const error = await catchRejection(tooLong, "a name that is too long");
    assert(!(error instanceof TransferError), `${error}`);
  }
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

// download to a stream: it continues after lost connections, and the digest is checked at the end.

/** The pauses before the download continues pass faster, but no time limit of a test. */
const skipPauses = () => speedUpTimeouts((ms) => [1000, 2000, 4000].includes(ms), 1000);

Deno.test(
  "files of random sizes are written to a stream byte for byte, over TCP and TLS, and it is closed",
  withRandom(async (random) => {
    await using files = await serveFiles();
    const app = new FilesApp(files.serverDir);
    await using tls = await startTls(await openSharedPki(), app);
    const sizes = [
      ...[0, 1, 65_535, 65_536, 65_537, 262_144, 262_145],
      ...Array.from({ length: 10 }, () => Math.floor(random.next() ** 3 * 1_500_000)),
    ];
    for (const [index, size] of sizes.entries()) {
      const content = randomBytes(size);
      await Deno.writeFile(`${files.serverDir}/file`, content);
      const client = index % 2 === 0 ? files.client : tls.client;
      const target = new RecordingStream();
      const result = await download(client, ["file"], target.writable);
      const sha256 = sha256Of(content);
      assertEquals(result, {
        bytes: size,
        total: size,
        resumedFrom: 0,
        reused: 0,
        sha256,
        unset: [],
      });
      assertEquals(target.bytes, content);
      assertEquals([target.isClosed, target.isAborted], [true, false]);
    }
  }),
);

Deno.test("the pieces of a stream stay valid after the download", async () => {
  await using files = await serveVersion(3_000_000);
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>(
    {},
    { highWaterMark: 0 },
    { highWaterMark: 100 },
  );
  await download(files.client, "/file", writable);
  const pieces = await Array.fromAsync(readable);
  assertEquals(sha256Of(concat(pieces)), sha256Of(files.servedFile.content));
  assert(pieces.length > 1);
});

Deno.test("a download to a stream continues over new connections, and writes no byte twice", async () => {
  using _fast = skipPauses();
  for (const etag of ['"one"', null]) {
    await using files = await serveVersion(1_000_000);
    const { servedFile, client } = files;
    servedFile.etag = etag;
    servedFile.cutAfterBytes = 300_000;
    await using pool = new ConnectionPool(client);
    for (const target of [client, pool]) {
      servedFile.requests.length = 0;
      const stream = new RecordingStream();
      const reports: TransferProgress[] = [];
      using _slow = speedUpClock();
      const onProgress = (progress: TransferProgress) => void reports.push(progress);
      const result = await download(target, "/file", stream.writable, { onProgress });
      assertEquals(result.sha256, servedFile.computeSha256());
      assertEquals(stream.bytes, servedFile.content);
      const ranges = servedFile.requests.slice(1, -1);
      assert(ranges.length >= 3 && ranges.every((text) => /^GET bytes=/.test(text)), `${ranges}`);
      assertEquals([servedFile.requests[0], servedFile.requests.at(-1)], ["GET", "HEAD"]);
      const [done, total] = [1_000_000, 1_000_000];
      const progress = { done, total, transferred: done, resumedFrom: 0, reused: 0 };
      assertEquals(reports.at(-1), progress);
      const positions = reports.map(({ done }) => done);
      assert(positions.length > 2, `${positions}`);
      assertEquals(positions, positions.toSorted((a, b) => a - b));
    }
  }
});

Deno.test("a download to a stream that makes no progress gives up with a final error, and aborts the stream", async () => {
  using _fast = skipPauses();
  await using files = await serveVersion(1_000_000);
  const { servedFile, client } = files;
  let cuts = 0;
  servedFile.cutAfterBytes = 300_000;
  servedFile.beforePiece = (sentBytes) => {
    if (sentBytes === 0 && cuts++ > 0) servedFile.cutAfterBytes = 0;
  };
  const stream = new RecordingStream();
  const downloading = retry(() => download(client, "/file", stream.writable));
  const error = await catchRejection(downloading, "the download");
  assertEquals([isTransient(error), stream.isAborted, cuts], [false, true, 4], `${error}`);
  assertEquals(stream.bytes, servedFile.content.slice(0, stream.bytes.length));
  // Without resumption, and over a connection, the first cut ends the call.
  using conn = await client.connect();
  for (const [target, resume] of [[client, false], [conn, true]] as const) {
    servedFile.cutAfterBytes = 300_000;
    servedFile.beforePiece = () => {};
    servedFile.requests.length = 0;
    const { writable } = new RecordingStream();
    await assertRejects(() => download(target, "/file", writable, { resume }));
    assertEquals(servedFile.requests, ["GET"]);
  }
});

Deno.test("a file that changes between two connections is not mixed: the download rejects, and the stream is aborted", async () => {
  using _fast = skipPauses();
  const other = randomBytes(1_000_000);
  for (
    const [etag, content, newEtag] of [
      ['"one"', other, '"two"'],
      ['"one"', other.slice(0, 100), '"two"'],
      [null, other, null],
      [null, other.slice(0, 100), null],
      [null, other, '"two"'],
    ] as const
  ) {
    await using files = await serveVersion(1_000_000);
    const { servedFile } = files;
    servedFile.etag = etag;
    servedFile.cutAfterBytes = 300_000;
    servedFile.beforePiece = (sentBytes) => {
      if (sentBytes < 200_000 || servedFile.cutAfterBytes === Infinity) return;
      servedFile.content = content;
      servedFile.etag = newEtag;
      queueMicrotask(() => servedFile.cutAfterBytes = Infinity);
    };
    const stream = new RecordingStream();
    const downloading = () => download(files.client, "/file", stream.writable);
    const error = await assertTransferError(downloading, "CHANGED");
    assertEquals(isTransient(error), false, `${error}`);
    assertEquals([stream.isClosed, stream.isAborted], [false, true]);
  }
});

Deno.test("a stream whose rest the server refuses ends, with CHANGED if the file may have changed", async () => {
  using _fast = skipPauses();
  for (const [status, code] of [[409, "CHANGED"], [412, "CHANGED"], [416, "CHANGED"], [404, 404]]) {
    await using files = await serveVersion(1_000_000);
    files.servedFile.cutAfterBytes = 300_000;
    await using server = serve((request, session, api) =>
      request.headers["range"] === undefined
        ? files.servedFile.app(request, session, api)
        : [status as number, "No", {}, null]
    );
    const downloading = download(server.makeClient(), "/file", new RecordingStream().writable);
    const error = await catchRejection(downloading, `${status}`);
    assertEquals(error instanceof StatusError ? error.status : (error as TransferError).code, code);
  }
});

Deno.test("a server that lies about the digest, or has none, aborts the stream after the last byte", async () => {
  for (
    const [change, code] of [
      [{ sha256: "0".repeat(64) }, "DIGEST_MISMATCH"],
      [{ sha256: "0".repeat(64), digest: "get" }, "DIGEST_MISMATCH"],
      [{ digest: "never" }, "UNEXPECTED_RESPONSE"],
    ] as const
  ) {
    await using files = await serveVersion(500_000);
    Object.assign(files.servedFile, change);
    const stream = new RecordingStream();
    const downloading = () => download(files.client, "/file", stream.writable);
    assertEquals(isTransient(await assertTransferError(downloading, code)), false);
    assertEquals([stream.bytes.length, stream.isClosed, stream.isAborted], [500_000, false, true]);
  }
});

Deno.test("a download that fails before the first byte leaves the stream as it was", async () => {
  await using files = await serveFiles();
  await Deno.writeTextFile(`${files.serverDir}/file`, "content");
  const stream = new RecordingStream();
  const { writable } = stream;
  const getMissing = () => download(files.client, "/none", writable);
  assertEquals((await assertRejects(getMissing, StatusError)).status, 404);
  const reason = new Error("enough");
  const signal = AbortSignal.abort(reason);
  await assertReason(download(files.client, "/file", writable, { signal }), reason);
  await using relay = new CuttingRelay(files.serving.address);
  relay.cutAfter(50);
  let retries = 0;
  const onRetry = () => {
    retries++;
    relay.cutAfter(Infinity);
  };
  const client = new Client(relay.address, { timeout: 30 });
  assertEquals([writable.locked, stream.isAborted], [false, false]);
  await retry(() => download(client, "/file", writable), { seconds: 0, onRetry });
  assertEquals([retries, new TextDecoder().decode(stream.bytes)], [1, "content"]);
});

Deno.test("a stream that fails ends the download with its error, and the file is not requested again", async () => {
  await using files = await serveVersion(1_000_000);
  // An error that would be transient if it were that of the connection.
  const failure = new Deno.errors.ConnectionReset("the stream broke");
  for (const failAt of [0, 1, 2, "close"] as const) {
    files.servedFile.requests.length = 0;
    let writes = 0;
    const writable = new WritableStream<Uint8Array>({
      write: () => {
        if (writes++ === failAt) throw failure;
      },
      close: () => {
        if (failAt === "close") throw failure;
      },
    });
    await assertReason(retry(() => download(files.client, "/file", writable)), failure);
    const requests = failAt === "close" ? ["GET", "HEAD"] : ["GET"];
    assertEquals([files.servedFile.requests, isTransient(failure)], [requests, false]);
  }
});

Deno.test("a slow stream slows down the download, and outlasts the time-out of the server", async () => {
  using _fast = skipPauses();
  await using files = await serveFiles();
  // More than the buffers of the sockets hold, which grow up to 36 MiB.
  const content = randomBytes(64_000_000);
  await Deno.writeFile(`${files.serverDir}/file`, content);
  const sessionEnd = Promise.withResolvers<void>();
  const app = new FilesApp(files.serverDir);
  await using serving = serve((request, session, api) => {
    session.signal.addEventListener("abort", () => sessionEnd.resolve());
    return app.handle(request, session, api);
  }, { timeout: 1 });
  const stream = new RecordingStream();
  const recorder = stream.writable.getWriter();
  const writable = new WritableStream<Uint8Array>({
    async write(bytes) {
      // The server gives up, because the client does not read.
      await sessionEnd.promise;
      await recorder.write(bytes);
    },
  });
  const { bytes } = await download(serving.makeClient(), "/file", writable);
  assertEquals([bytes, sha256Of(stream.bytes)], [content.length, sha256Of(content)]);
});

Deno.test("a signal aborts a download to a stream in each phase, and the stream with it", async () => {
  for (const phase of ["requesting", "writing", "resuming", "verifying", "closing"] as const) {
    const { signal, abort } = makeAbortController();
    const reason = new Error(phase);
    /** Aborts in this phase, which then never ends. */
    const reach = (reached: typeof phase) => {
      if (reached !== phase) return;
      abort(reason);
      return new Promise<void>(() => {});
    };
    await using files = await serveVersion(1_000_000);
    const { servedFile, client } = files;
    if (phase === "requesting") servedFile.beforePiece = () => abort(reason);
    if (phase === "resuming") servedFile.cutAfterBytes = 300_000;
    servedFile.beforeDigest = () => void reach("verifying");
    let isAborted = false;
    const writable = new WritableStream<Uint8Array>({
      write: () => reach("writing"),
      close: () => reach("closing"),
      abort: () => void (isAborted = true),
    });
    // The pause before the download continues.
    using _timeouts = speedUpTimeouts((milliseconds) => {
      if (milliseconds === 1000) reach("resuming");
      return false;
    });
    await assertReason(download(client, "/file", writable, { signal }), reason, phase);
    // A pending write or close must end before the stream is told.
    const isTold = phase === "resuming" || phase === "verifying";
    assertEquals([isAborted, writable.locked], [isTold, false], phase);
  }
});
