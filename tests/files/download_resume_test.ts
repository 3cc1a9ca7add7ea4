/** download: the part of a file, its record, and what is resumed. */
import type { Api, AppFunction } from "@degu/degu";
import type { Client, Connection, Connector, Requester } from "@degu/degu/client";
import {
  download,
  TransferError,
  type TransferOptions,
  type TransferProgress,
} from "@degu/degu/files";
import {
  explainForeignPart,
  explainFullDisk,
  PartFile,
  partInUse,
  type PartRecord,
  readRecord,
  writeRecord,
} from "@degu/internal/files/part_file.ts";
import { fastTimeouts } from "@degu/testing/clock.ts";
import { entries, mode, tempDir } from "@degu/testing/directories.ts";
import { mountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";
import { patch } from "@degu/testing/patching.ts";
import { importMapFlags, programCommand } from "@degu/testing/programs.ts";
import { untilRefused } from "@degu/testing/raw_peer.ts";
import { type ServedVersion, serveVersion } from "@degu/testing/served_version.ts";
import { serve } from "@degu/testing/serving.ts";
import { giveLinkAway, makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { randomBytes, serveFiles } from "@degu/testing/transferring.ts";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";

// download: what is resumed, and what starts over.

const SIZE = 1_000_000;
const PART = ".copy.degu-part";
const RECORD = `${PART}.json`;

/** The size of a file; `null` if there is none. */
async function sizeOf(path: string): Promise<number | null> {
  try {
    return (await Deno.stat(path)).size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** A file that is served, and downloads of it that end early. */
async function setUp() {
  const files = await serveVersion(SIZE);
  const { there, dir, file, client, get } = files;
  return {
    ...files,
    /** Downloads this much more of it. */
    async cut(
      cutAfter: number,
      options?: TransferOptions,
      from: Requester | Connector = client,
    ): Promise<void> {
      const part = `${dir}/${PART}`;
      const wanted = (await sizeOf(part) ?? 0) + cutAfter;
      // A connection that is cut may lose what was on its way: then some of it is downloaded again.
      let at: number | null = wanted - cutAfter;
      for (let tries = 0; tries < 10 && at !== null && at < wanted; tries++) {
        there.cutAfter = wanted - at;
        await assertRejects(() => download(from, "/file", file, options));
        at = await sizeOf(part);
      }
      there.cutAfter = Infinity;
      there.requests.length = 0;
    },
    /** Downloads the rest, and makes sure of it. */
    async complete(resumedFrom: number, options?: TransferOptions): Promise<void> {
      const total = there.content.length;
      const sha256 = there.actual();
      assertEquals(await get(options), { bytes: total - resumedFrom, total, resumedFrom, sha256 });
      assertEquals(await Deno.readFile(file), there.content);
      assertEquals((await entries(dir)).filter((name) => name !== "second"), ["copy"]);
    },
  };
}

Deno.test("an interrupted download is resumed where it ended", async () => {
  for (const cutAfter of [1, 65536, 65537, 600_000, SIZE - 1]) {
    await using files = await setUp();
    await files.cut(cutAfter);
    assertEquals(await entries(files.dir), [PART, RECORD]);
    const told: TransferProgress[] = [];
    await files.complete(cutAfter, { onProgress: (progress) => told.push(progress) });
    assertEquals(told[0], { bytes: 0, total: SIZE, resumedFrom: cutAfter });
    assertEquals(files.there.requests, [`GET bytes=${cutAfter}-${SIZE - 1}`, "HEAD"]);
  }
});

/** What becomes of a download that is cut, and of the next one. */
interface ResumedRow {
  /** The file when the download is cut, and for the next call. */
  readonly first?: Partial<ServedVersion>;
  readonly then?: Partial<ServedVersion>;
  /** The options of both calls. */
  readonly cut?: TransferOptions;
  readonly options?: TransferOptions;
  readonly isKept?: boolean;
  /** What others do to the part in between. */
  readonly change?: (dir: string) => Promise<void>;
  readonly resumedFrom?: number;
  readonly requests?: readonly string[];
}

const REST = `GET bytes=600000-${SIZE - 1}`;
const ANOTHER = { etag: '"two"', content: randomBytes(500_000) };

const RESUMED: Readonly<Record<string, ResumedRow>> = {
  "a digest in the response saves a request": {
    first: { digest: "get" },
    resumedFrom: 600_000,
    requests: [REST],
  },
  "a digest in the first response alone is compared in the end": {
    first: { digest: "get" },
    then: { digest: "head" },
    resumedFrom: 600_000,
    requests: [REST, "HEAD"],
  },
  "a digest in the second response alone saves a request": {
    then: { digest: "get" },
    resumedFrom: 600_000,
    requests: [REST],
  },
  "another entity tag starts over": { then: ANOTHER, requests: ["GET", "HEAD"] },
  "another digest starts over": {
    first: { digest: "get" },
    then: { content: randomBytes(SIZE) },
    requests: [REST, "GET"],
  },
  "resume: false starts over": { options: { resume: false } },
  "resume: false keeps no part": { cut: { resume: false }, isKept: false },
  "without an entity tag no part is kept": { first: { etag: null }, isKept: false },
  "with a weak entity tag no part is kept": { first: { etag: 'W/"one"' }, isKept: false },
  "of a small file no part is kept": { first: { content: randomBytes(65535) }, isKept: false },
  "of a larger one it is": { first: { content: randomBytes(65536) }, resumedFrom: 39321 },
  "without a record": { change: (dir) => Deno.remove(`${dir}/${RECORD}`) },
  "with an empty record": { change: (dir) => Deno.truncate(`${dir}/${RECORD}`) },
  "with half a record": { change: (dir) => Deno.truncate(`${dir}/${RECORD}`, 50) },
  "longer than the file": { change: (dir) => Deno.truncate(`${dir}/${PART}`, SIZE + 1) },
  "empty": { change: (dir) => Deno.truncate(`${dir}/${PART}`) },
  "a directory": {
    change: async (dir) => {
      await Deno.remove(`${dir}/${PART}`);
      await Deno.mkdir(`${dir}/${PART}`);
    },
  },
  "a second name of a file": { change: (dir) => Deno.link(`${dir}/${PART}`, `${dir}/second`) },
  "a second name of a file, from when it was opened on": {
    change: (dir) => {
      const patched = patch(Deno, "openSync", (openSync) => (path, how) => {
        patched[Symbol.dispose]();
        Deno.linkSync(path as string, `${dir}/second`);
        return openSync(path, how);
      });
      return Promise.resolve();
    },
  },
  "another user's": {
    // Only root can give it away.
    change: (dir) => {
      const part = `${dir}/${PART}`;
      return Deno.uid() === 0 ? giveLinkAway(part, 12345) : Deno.truncate(part);
    },
  },
  "missing": { change: (dir) => Deno.remove(`${dir}/${PART}`) },
};

Deno.test("only a part that is certainly of this file is resumed, and anything else starts over", async (t) => {
  for (const [what, row] of Object.entries(RESUMED)) {
    await t.step(what, async () => {
      await using files = await setUp();
      Object.assign(files.there, row.first);
      await files.cut(Math.floor(files.there.content.length * 0.6), row.cut);
      assertEquals(await entries(files.dir), row.isKept === false ? [] : [PART, RECORD]);
      await row.change?.(files.dir);
      Object.assign(files.there, row.then);
      await files.complete(row.resumedFrom ?? 0, row.options);
      if (row.requests !== undefined) assertEquals(files.there.requests, row.requests);
    });
  }
});

Deno.test("another URI or another server starts over", async () => {
  await using files = await setUp();
  await files.cut(600_000);
  await download(files.client, "/other", files.file);
  assertEquals(files.there.requests, ["GET", "HEAD"]);
  await files.cut(600_000);
  await using other = serve(files.there.app);
  const result = await download(other.makeClient(), "/file", files.file);
  assertEquals(result.resumedFrom, 0);
});

Deno.test("a server is told by the address of the client, wherever the name leads by then; without any address nothing is kept", async () => {
  await using files = await setUp();
  const { client } = files;
  const nameless: Requester = { request: (...request) => client.request(...request) };
  await files.cut(600_000, {}, nameless);
  assertEquals(await entries(files.dir), []);
  assertEquals((await download(nameless, "/file", files.file)).resumedFrom, 0);
  const named = (client: Client): Connector & Pick<Client, "address"> => ({
    address: ["device.local", 80],
    connect: (options) => client.connect(options),
  });
  await files.cut(600_000, {}, named(client));
  await using other = serve(files.there.app);
  const moved = named(other.makeClient());
  assertEquals((await download(moved, "/file", files.file)).resumedFrom, 600_000);
});

Deno.test("the part of another call is kept if this one fails before it begins", async () => {
  await using files = await setUp();
  await files.cut(600_000);
  await using failing = serve(() => [503, "Service Unavailable", {}, null]);
  await assertRejects(() => download(failing.makeClient(), "/file", files.file), Error, "503");
  await files.serving[Symbol.asyncDispose]();
  await untilRefused(files.serving.address);
  await assertRejects(() => files.get(), Deno.errors.ConnectionRefused);
  assertEquals(await entries(files.dir), [PART, RECORD]);
});

Deno.test("a directory that somebody has given the name of a record, or of a part, keeps what is in it", async () => {
  await using dir = await tempDir();
  const file = `${dir.path}/copy`;
  for (const name of [PART, RECORD, `${RECORD}.tmp`]) {
    const taken = `${dir.path}/${name}`;
    {
      using part = await PartFile.open(file);
      part.temporary.isKept = false;
      if (name === PART) await Deno.remove(taken);
      await Deno.mkdir(taken);
      await Deno.writeTextFile(`${taken}/precious`, "");
    }
    assertEquals(await entries(taken), ["precious"]);
    await Deno.remove(taken, { recursive: true });
  }
  assertEquals(await entries(dir.path), []);
});

Deno.test("what has replaced a part meanwhile is not removed with it, nor what a link there leads to", async () => {
  await using dir = await tempDir();
  const precious = `${dir.path}/precious`;
  await Deno.writeTextFile(precious, "");
  {
    using _part = await PartFile.open(`${dir.path}/copy`);
    await Deno.remove(`${dir.path}/${PART}`);
    await makeLinks({ [`${dir.path}/${PART}`]: precious });
  }
  assertEquals(await entries(dir.path), [PART, "precious"]);
});

Deno.test("a complete part is verified, and nothing is transferred", async () => {
  await using files = await setUp();
  files.there.digest = "never";
  await assertRejects(() => files.get(), Error, "does not report its SHA-256");
  assertEquals(await entries(files.dir), [PART, RECORD]);
  files.there.requests.length = 0;
  files.there.digest = "head";
  await files.complete(SIZE);
  assertEquals(files.there.requests, ["HEAD"]);
  files.there.digest = "never";
  await assertRejects(() => files.get());
  files.there.etag = '"two"';
  files.there.digest = "head";
  await files.complete(0);
});

Deno.test("a link in place of the part is not followed", async () => {
  await using files = await setUp();
  const victim = `${files.dir}/victim`;
  await Deno.writeTextFile(victim, "precious");
  await makeLinks({ [`${files.dir}/${PART}`]: victim, [`${files.dir}/${RECORD}`]: victim });
  await files.get();
  assertEquals(await Deno.readTextFile(victim), "precious");
  assertEquals(await entries(files.dir), ["copy", "victim"]);
});

Deno.test("a part that was made through a link is removed where it is", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(`${dir.path}/sub`);
  await makeLinks({ [`${dir.path}/link`]: "sub" });
  {
    using _part = await PartFile.open(`${dir.path}/link/f`);
    assertEquals(await entries(`${dir.path}/sub`), [".f.degu-part"]);
    await Deno.remove(`${dir.path}/link`);
    await Deno.mkdir(`${dir.path}/link`);
  }
  assertEquals(await entries(`${dir.path}/sub`), []);
});

Deno.test("a damaged part is detected by its digest, and not kept", async () => {
  await using files = await setUp();
  await files.cut(600_000);
  using part = await Deno.open(`${files.dir}/${PART}`, { write: true });
  await part.write(new Uint8Array(100));
  const error = await assertRejects(() => files.get(), Error, "what arrived is not");
  assertEquals((error as { code?: unknown }).code, "DIGEST_MISMATCH");
  assertEquals(await entries(files.dir), []);
  await files.complete(0);
});

Deno.test("a response with another range, version or length is refused, and a 412 or 416 starts over", async () => {
  const [size, at] = [100_000, 60_000];
  await using files = await serveVersion(size);
  const { there, dir } = files;
  const rows: [
    start: number,
    stop: number,
    total: number,
    etag: string | null,
    isRight: boolean,
    cutAt?: number,
  ][] = [
    [at, size, size, '"one"', false, size - 1],
    [0, 10, size, '"one"', false],
    [at + 1, size, size, '"one"', false],
    [at, size - 1, size, '"one"', false],
    [at, size, size + 1, '"one"', false],
    [at, size, size, '"two"', false],
    [at, size, size, null, true],
  ];
  let answer: (api: Api) => Awaited<ReturnType<AppFunction>>;
  await using odd = serve((request, session, api) => {
    if (request.headers["range"] === undefined) return there.app(request, session, api);
    return answer(api);
  });
  const cut = async (from: Client | Connection) => {
    for (const name of await entries(dir)) await Deno.remove(`${dir}/${name}`);
    there.cutAfter = at;
    await assertRejects(() => download(from, "/file", files.file));
    there.cutAfter = Infinity;
  };
  for (const [start, stop, total, etag, isRight, cutAt = stop] of rows) {
    using first = await odd.makeClient().connect();
    await cut(first);
    answer = ({ ContentRange }) => {
      const headers = { "content-range": new ContentRange(start, stop, total) };
      const body = there.content.slice(start, cutAt);
      return [206, "OK", { ...headers, ...(etag === null ? {} : { etag }) }, body];
    };
    using connection = await odd.makeClient().connect();
    const downloading = () => download(connection, "/file", files.file);
    if (isRight) assertEquals((await downloading()).resumedFrom, at);
    else {
      const error = await assertRejects(downloading, TransferError, "another part");
      assertEquals(error.code, "UNEXPECTED_RESPONSE");
      // What was unwanted has been read.
      assertEquals((await connection.head("/file")).status, 200);
    }
  }
  for (const status of [412, 416]) {
    await cut(odd.makeClient());
    answer = () => [status, "No", {}, new Uint8Array(3)];
    assertEquals((await download(odd.makeClient(), "/file", files.file)).resumedFrom, 0);
    assertEquals(await Deno.readFile(files.file), there.content);
  }
});

// The part of a download: valid targets, its lock, and its completion.

Deno.test("a target that can't be written is refused before any request", async () => {
  await using files = await serveFiles(() => () => {
    throw new Error("asked");
  });
  const { client, here } = files;
  await Deno.mkdir(`${here}/d`);
  await Deno.writeTextFile(`${here}/f`, "");
  const { IsADirectory, NotFound, NotADirectory } = Deno.errors;
  const to = (file: string) => () => download(client, "/f", file);
  await assertRejects(to(`${here}/d`), IsADirectory, "is a directory");
  await assertRejects(to(`${here}/d/`), IsADirectory, "is a directory");
  await assertRejects(to(`${here}/new/`), IsADirectory, "is a directory");
  await assertRejects(to(here), IsADirectory, "is a directory");
  await assertRejects(to(`${here}/none/f`), NotFound, `file: ${here}/none/f`);
  await assertRejects(to(`${here}/f/g`), NotADirectory);
  for (const end of ["", ".json", ".json.tmp", ".new"]) {
    await assertRejects(to(`${here}/.f.degu-part${end}`), RangeError, "the name of a part");
  }
  assertEquals(await entries(here), ["d", "f"]);
  if (await makeFifo(`${here}/fifo`)) {
    await assertRejects(to(`${here}/fifo`), RangeError, "is not a regular file");
  }
  assertEquals(await entries(`${here}/d`), []);
});

Deno.test("the second of two downloads to one target is refused, and the first completes", async () => {
  await using files = await serveVersion(300_000);
  const { there, client, dir, file, get } = files;
  const arrived = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  there.beforePiece = (sent) => {
    if (sent < 200_000) return;
    arrived.resolve();
    return release.promise;
  };
  const first = get();
  await arrived.promise;
  {
    using _timeouts = fastTimeouts((milliseconds) => milliseconds === 30);
    const error = await assertRejects(() => get(), TransferError, "another download");
    const said = /^\/[^:]*: another .*, which has locked .*, a file of the user with the uid \d+; /;
    assertMatch(error.message, said);
    assertEquals(error.code, "IN_USE");
  }
  const { success, stderr } = await programCommand("transfer.ts", {
    flags: ["--allow-net=127.0.0.1", `--allow-read=${dir}`, `--allow-write=${dir}`],
    args: ["download", `${(files.serving.address as readonly [string, number])[1]}`, file, "/f"],
  }).output();
  assert(!success && new TextDecoder().decode(stderr).includes("another download"), "process");
  const other = download(client, "/f", `${dir}/g`);
  release.resolve();
  assertEquals((await first).sha256, there.actual());
  assertEquals((await other).sha256, there.actual());
  assertEquals((await get()).resumedFrom, 0);
  assertEquals(await entries(dir), ["copy", "g"]);
});

Deno.test("a download whose part others remove again and again is refused", async () => {
  await using files = await serveVersion(1);
  using _removing = patch(Deno.FsFile.prototype, "tryLock", (tryLock) => {
    return function (this: Deno.FsFile, isExclusive) {
      Deno.removeSync(`${files.dir}/${PART}`);
      return tryLock.call(this, isExclusive);
    };
  });
  const error = await assertRejects(() => files.get(), TransferError, "another download");
  assertEquals([error.code, files.there.requests], ["IN_USE", []]);
});

Deno.test("a response whose part can't be prepared is not read", async () => {
  await using files = await setUp();
  await Deno.mkdir(`${files.dir}/${RECORD}.tmp/precious`, { recursive: true });
  using connection = await files.client.connect();
  await assertRejects(() => download(connection, "/file", files.file), Error, "not empty");
  assertEquals(connection.closed, true);
});

Deno.test("a download that makes its part anew is refused if another one is faster", async () => {
  await using files = await setUp();
  await files.cut(600_000);
  using _faster = patch(Deno, "openSync", (openSync) => (path, options) => {
    // The part that was there has just been removed.
    if (`${path}`.endsWith(PART) && options?.createNew) Deno.writeTextFileSync(path, "");
    return openSync(path, options);
  });
  const error = await assertRejects(() => files.get({ resume: false }), TransferError);
  assertEquals(error.code, "IN_USE");
});

Deno.test("of many downloads to one target each succeeds or is refused", async () => {
  await using files = await serveFiles();
  const content = randomBytes(100_000);
  await Deno.writeFile(`${files.there}/f`, content);
  const calls = Array.from({ length: 20 }, () => download(files.client, "/f", `${files.here}/f`));
  const results = await Promise.allSettled(calls);
  assert(results.some(({ status }) => status === "fulfilled"));
  for (const result of results) {
    if (result.status === "rejected") assertEquals(result.reason.code, "IN_USE");
  }
  assertEquals(await Deno.readFile(`${files.here}/f`), content);
  assertEquals(await entries(files.here), ["f"]);
});

Deno.test("a file that is replaced keeps its permission bits, and a link is itself replaced", async () => {
  await using files = await serveFiles();
  await Deno.writeTextFile(`${files.there}/file`, "new");
  await Deno.writeTextFile(`${files.here}/copy`, "old", { mode: 0o600 });
  await Deno.writeTextFile(`${files.here}/another`, "another");
  await makeLinks({ [`${files.here}/link`]: `${files.here}/another` });
  await download(files.client, "/file", `${files.here}/copy`);
  assertEquals([await Deno.readTextFile(`${files.here}/copy`), await mode(`${files.here}/copy`)], [
    "new",
    0o600,
  ]);
  await download(files.client, "/file", `${files.here}/link`);
  assertEquals(await Deno.readTextFile(`${files.here}/another`), "another");
  assert((await Deno.lstat(`${files.here}/link`)).isFile);
  assertEquals(await Deno.readTextFile(`${files.here}/link`), "new");
});

Deno.test("only this user can read a part, whatever becomes of it; a new file gets the usual mode", async () => {
  await using files = await serveVersion(200_000);
  const { there, dir, file } = files;
  const modes = new Set<number>();
  const part = `${dir}/${PART}`;
  there.beforePiece = async (sent) => {
    if (sent > 0) modes.add(await mode(part));
  };
  await Deno.writeTextFile(`${dir}/plain`, "");
  const usual = await mode(`${dir}/plain`);
  assert(usual !== 0o600, "the umask must let this test see a difference");
  for (const expected of [usual, 0o600, 0o640, usual]) {
    for (const cutAfter of [131_072, Infinity]) {
      there.cutAfter = cutAfter;
      const result = await files.get().catch(() => "cut");
      assertEquals(result === "cut", cutAfter < Infinity);
      if (result === "cut") assertEquals(await mode(part), 0o600);
    }
    assertEquals([await mode(file), [...modes]], [expected, [0o600]]);
    assertEquals(await entries(dir), ["copy", "plain"]);
    // What is replaced next.
    if (expected === 0o640) await Deno.remove(file);
    else await Deno.chmod(file, expected === usual ? 0o600 : 0o640);
  }
});

Deno.test({
  name: "a part that another user has left in a sticky directory is named, with its owner",
  ignore: Deno.build.os === "windows" || Deno.uid() !== 0 || await mountObstacle() !== null,
  fn: async (t) => {
    const cases: [name: string, path: string, mode: number][] = [
      ["unreadable", ".f.degu-part", 0o600],
      ["writable", ".f.degu-part", 0o666],
      ["a record", ".f.degu-part.json", 0o644],
    ];
    for (const [name, path, bits] of cases) {
      await t.step(name, async () => {
        await using files = await serveFiles();
        await Deno.writeFile(`${files.there}/f`, randomBytes(100_000));
        const foreign = `${files.here}/${path}`;
        await Deno.writeTextFile(foreign, "content");
        await Deno.chmod(foreign, bits);
        await Deno.chmod(files.here, 0o1777);
        await giveLinkAway(foreign, 12345);
        await giveLinkAway(files.here, 12345);
        const [, port] = files.serving.address as readonly [string, number];
        const command = programCommand("transfer.ts", {
          // Whose files are of a user that the namespace doesn't know.
          through: THROUGH_MOUNT_NAMESPACE,
          flags: [
            ...importMapFlags(),
            "--allow-net=127.0.0.1",
            `--allow-read=${files.here}`,
            `--allow-write=${files.here}`,
          ],
          args: ["download", `${port}`, `${files.here}/f`, "/f"],
        });
        const { success, stderr } = await command.output();
        const text = new TextDecoder().decode(stderr);
        assertEquals(success, false);
        assert(text.includes(`${foreign}, which is left of`) && text.includes("uid 65534"), text);
        const left = await entries(files.here);
        assertEquals([left.includes(path), left.includes("f")], [true, false]);
      });
    }
  },
});

// What is kept of a part: its file, its record, and how much of it is on the disk.

const SAVED_RECORD: PartRecord = {
  peer: "authority AB:CD",
  uri: "/a",
  etag: '"e"',
  total: 5,
  sha256: null,
};

Deno.test("content that is not a record of this format is ignored", async () => {
  await using dir = await tempDir();
  const part = `${dir.path}/part`;
  // One that was being written.
  await Deno.writeTextFile(`${part}.json.tmp`, "{");
  await writeRecord(part, SAVED_RECORD);
  assertEquals([await readRecord(part), await entries(dir.path)], [SAVED_RECORD, ["part.json"]]);
  assertEquals(await mode(`${part}.json`), 0o600, "only its owner can read it");
  const good = JSON.parse(await Deno.readTextFile(`${part}.json`));
  const bad: unknown[] = [
    null,
    1,
    [],
    {},
    SAVED_RECORD,
    { ...good, format: "degu-part/2" },
    { ...good, peer: 1 },
    { ...good, uri: null },
    { ...good, etag: undefined },
    { ...good, total: -1 },
    { ...good, total: 1.5 },
    { ...good, sha256: 1 },
    { ...good, padding: "x".repeat(65536) },
  ];
  for (const text of ["", "{", ...bad.map((value) => JSON.stringify(value))]) {
    await Deno.writeTextFile(`${part}.json`, text);
    assertEquals(await readRecord(part), null, text.slice(0, 200));
  }
  // A record has at most 64 KiB.
  for (const size of [65_536, 65_537]) {
    const text = JSON.stringify({ ...good, uri: "" });
    await Deno.writeTextFile(
      `${part}.json`,
      text.replace('""', `"${"x".repeat(size - text.length)}"`),
    );
    assertEquals(await readRecord(part) === null, size > 65_536);
  }
  await Deno.remove(`${part}.json`);
  await Deno.mkdir(`${part}.json`);
  assertEquals(await readRecord(part), null);
  await Deno.remove(`${part}.json`);
  // One that can't be read may be valid: nothing starts over for that.
  await writeRecord(part, SAVED_RECORD);
  {
    const denied = new Deno.errors.PermissionDenied("denied");
    using _denying = patch(Deno, "readTextFile", () => () => Promise.reject(denied));
    assertEquals(await assertRejects(() => readRecord(part)), denied);
  }
  await Deno.remove(`${part}.json`);
  if (await makeFifo(`${part}.json`)) assertEquals(await readRecord(part), null);
});

Deno.test("a full disk and an exceeded quota are named, and other errors are unchanged", () => {
  for (const code of ["ENOSPC", "EDQUOT"]) {
    const cause = Object.assign(new Error("message"), { code });
    const error = explainFullDisk(cause, "/the/file");
    assert(error instanceof TransferError && error.message.startsWith("/the/file: "));
    assertEquals([error.code, error.cause], ["DISK_FULL", cause]);
    // Nothing has arrived, so nothing is said of it.
    assertMatch(error.message, /call again to resume$/);
  }
  for (const other of [new Error("x"), Object.assign(new Error(), { code: "EIO" }), null, "x"]) {
    assertEquals(explainFullDisk(other, "f"), other);
  }
});

Deno.test("nothing is said of the owner of a part that can't be looked at", async () => {
  await using dir = await tempDir();
  // As in a directory that may no longer be searched.
  await makeLinks({ [`${dir.path}/loop`]: "loop" });
  const denied = new Deno.errors.PermissionDenied("denied");
  for (const target of ["loop/a", "none/a", "a"]) {
    assertEquals(explainForeignPart(denied, `${dir.path}/${target}`), denied, target);
  }
  assertMatch(partInUse(`${dir.path}/a`).message, /\.a\.degu-part; wait for it/);
});
