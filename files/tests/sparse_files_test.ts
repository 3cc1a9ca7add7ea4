/** Holes of sparse files: each writer keeps them, and the content stays the same. */
import { Client } from "@degu/degu/client";
import { mkreq } from "@degu/degu/misc";
import { FilesApp, restoreTree, upload } from "@degu/files";
import { TemporaryFile } from "@degu/internal/files/disk/temporary.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { createTempDir, findPart } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { listParts, randomBytes, serveFiles } from "@degu/testing/transferring.ts";
import { DIRECTIONS, makeCopy, makeTrees } from "@degu/testing/trees.ts";
import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { Random } from "../../tests/fuzz/random.ts";

const BLOCK = 4096;
const MEBIBYTE = 1024 * 1024;

/** The lengths of data and holes in turn, beginning with data. */
type Extents = readonly number[];

/** Each shape has enough data for the factor of the promise. */
const SHAPES: readonly (readonly [label: string, extents: Extents])[] = [
  ["only holes", [0, 3 * MEBIBYTE]],
  ["only holes, and not whole blocks", [0, 3 * MEBIBYTE + 5]],
  ["zeros at the end", [20 * BLOCK, 2 * MEBIBYTE + 1]],
  ["zeros at the start", [0, 2 * MEBIBYTE, 10 * BLOCK + 7]],
  ["one block of data", [0, 8 * MEBIBYTE, BLOCK, 8 * MEBIBYTE]],
  ["holes of one block", Array(60).fill(BLOCK)],
  ["holes of different lengths", [BLOCK, 20_480, 65_536, 98_304, 40_960, 4096, 8192, 700_000, 3]],
];

async function writeSparse(path: string, extents: Extents): Promise<Uint8Array> {
  using file = await Deno.open(path, { write: true, createNew: true });
  const total = extents.reduce((sum, length) => sum + length, 0);
  const content = new Uint8Array(total);
  let position = 0;
  for (const [i, length] of extents.entries()) {
    if (i % 2 === 0 && length > 0) {
      // A block of data without a zero, so that its content has no hole.
      content.fill(1 + i % 255, position, position + length);
      await file.seek(position, Deno.SeekMode.Start);
      const data = content.subarray(position, position + length);
      for (let count = 0; count < length;) count += await file.write(data.subarray(count));
    }
    position += length;
  }
  await file.truncate(total);
  await file.sync();
  return content;
}

/** Returns the space that a file takes, in bytes. */
function duOf(path: string): number {
  using file = Deno.openSync(path);
  // Some file systems count delayed blocks only after a sync.
  file.syncSync();
  return (file.statSync().blocks ?? 0) * 512;
}

function assertSparseCopy(copy: string, content: Uint8Array, source: string): void {
  assert(Buffer.compare(Deno.readFileSync(copy), content) === 0, "another content");
  const [space, sourceSpace] = [duOf(copy), duOf(source)];
  assert(space <= 1.1 * sourceSpace, `${space} bytes, ${sourceSpace} in the source`);
}

async function findSparseObstacle(): Promise<string | null> {
  await using dir = await createTempDir();
  await writeSparse(`${dir.path}/file`, [0, MEBIBYTE]);
  return duOf(`${dir.path}/file`) < MEBIBYTE ? null : "the file system has no holes";
}

const noHoles = ignoreIf(await findSparseObstacle());

for (const [label, extents] of SHAPES) {
  Deno.test.each(DIRECTIONS)(
    `%s: a sparse file takes at most 1.1 of the space of its source: ${label}`,
    noHoles,
    async (direction) => {
      await using files = await serveFiles((dir) => new FilesApp(dir, { write: true }));
      const { sourceDir, targetDir, copy } = makeCopy(direction, files);
      const content = await writeSparse(`${sourceDir}/file`, extents);
      await copy("file");
      assertSparseCopy(`${targetDir}/file`, content, `${sourceDir}/file`);
    },
  );
}

Deno.test.each(DIRECTIONS)(
  "%s: random sparse files of a tree have the content of their sources, and at most 1.1 of their space",
  noHoles,
  async (direction) => {
    await using trees = await makeTrees(direction);
    const random = new Random(7);
    const contents = new Map<string, Uint8Array>();
    for (let i = 0; i < 12; i++) {
      const extents = Array.from(
        { length: 2 + random.below(9) },
        () => random.below(random.pick([3, BLOCK, 20_000, 200_000, 900_000])),
      );
      // Small files are bundled, and have no holes.
      extents.push(65_536);
      contents.set(`${i}`, await writeSparse(`${trees.source}/${i}`, extents));
    }
    await trees.copy();
    for (const [name, content] of contents) {
      assertSparseCopy(`${trees.target}/${name}`, content, `${trees.source}/${name}`);
    }
  },
);

Deno.test.each(DIRECTIONS)(
  "%s: a transfer that is cut in a hole is resumed there, and its part takes no space",
  noHoles,
  async (direction) => {
    using _clock = setClockAhead();
    await using files = await serveFiles((dir) => new FilesApp(dir, { write: true }));
    const { serverDir, clientDir } = files;
    const { sourceDir, targetDir, copy } = makeCopy(direction, files);
    const extents = [10 * BLOCK, 30 * MEBIBYTE, 10 * BLOCK];
    const content = await writeSparse(`${sourceDir}/file`, extents);
    await using relay = new CuttingRelay(files.serving.address);
    relay.cutAfter(20 * MEBIBYTE);
    const client = new Client(relay.address, { timeout: 60 });
    const error = await copy("file", {}, client).catch((error) => error);
    assert(error instanceof Error, "the connection was not cut");
    await files.becomeIdle();
    relay.cutAfter(Infinity);
    const part = direction === "upload"
      ? `${serverDir}/.degu-files/${await listParts(serverDir)}`
      : (await findPart(clientDir))!;
    const { size } = Deno.statSync(part);
    assert(size > 10 * MEBIBYTE && size < 21 * MEBIBYTE, `${size} bytes`);
    assert(duOf(part) <= 11 * BLOCK, `${duOf(part)} bytes`);
    const result = await copy("file", {}, client);
    assertEquals(result.resumedFrom, size);
    assertSparseCopy(`${targetDir}/file`, content, `${sourceDir}/file`);
  },
);

Deno.test.each(DIRECTIONS)(
  "%s: holes are kept in the bytes that the target has, and in the bytes that are sent",
  noHoles,
  async (direction) => {
    using _clock = setClockAhead(10_000);
    const options = { write: true, reuse: true };
    await using files = await serveFiles((dir) => new FilesApp(dir, options));
    const { sourceDir, targetDir, copy } = makeCopy(direction, files);
    const path = `${sourceDir}/file`;
    const start = await writeSparse(path, [BLOCK, 5 * MEBIBYTE, 20 * BLOCK]);
    await copy("file");
    // The basis file has no holes, as after a restore by another program.
    const { mtime } = Deno.statSync(`${targetDir}/file`);
    await Deno.writeFile(`${targetDir}/file`, start);
    Deno.utimeSync(`${targetDir}/file`, mtime!, mtime!);
    await Deno.rename(path, `${sourceDir}/old`);
    const content = await writeSparse(path, [BLOCK, 5 * MEBIBYTE, 20 * BLOCK, 5 * MEBIBYTE]);
    content.set(start);
    const { reused } = await copy("file");
    assertEquals(reused, start.length);
    assertSparseCopy(`${targetDir}/file`, content, path);
  },
);

Deno.test("a restored file has the holes of its source", noHoles, async () => {
  await using served = await createTempDir();
  await using restored = await createTempDir();
  const app = new FilesApp(served.path, { write: true, keep: 1 });
  await app.handle(mkreq("PUT", "/other", {}, "kept as a version"));
  await app.handle(mkreq("DELETE", "/other"));
  const path = `${served.path}/file`;
  const content = await writeSparse(path, [8 * BLOCK, 4 * MEBIBYTE, BLOCK, 300_000]);
  await Deno.chmod(path, 0o640);
  await restoreTree(served.path, { target: restored.path, at: new Date() });
  assertSparseCopy(`${restored.path}/file`, content, path);
  const [copy, source] = [Deno.statSync(`${restored.path}/file`), Deno.statSync(path)];
  assertEquals([copy.mode, copy.mtime], [source.mode, source.mtime]);
});

/** Writes pieces of random lengths to a temporary file, and returns their content. */
async function writePieces(
  file: TemporaryFile,
  content: Uint8Array,
  random: Random,
): Promise<void> {
  for (let start = 0; start < content.length;) {
    const stop = start + 1 + random.below(random.pick([1, 1000, BLOCK, 70_000, 524_288]));
    await file.write(content.subarray(start, stop));
    start = Math.min(stop, content.length);
    assertEquals(file.file.statSync().size, start, "the file ends at the received bytes");
  }
  await file.waitUntilIdle();
}

/** Makes zeros and data of random lengths, as no file system would choose them. */
function makeMixture(random: Random): Uint8Array {
  const content = new Uint8Array(1 + random.below(2 * MEBIBYTE));
  for (let start = 0; start < content.length;) {
    const length = 1 + random.below(random.pick([2, 100, BLOCK, 65_536, 300_000]));
    if (random.chance(50)) {
      content.set(randomBytes(length).subarray(0, content.length - start), start);
    }
    start += length;
  }
  return content;
}

Deno.test("a file that is written in random pieces has their bytes, and ends where they end", async () => {
  await using dir = await createTempDir();
  for (let seed = 1; seed <= 40; seed++) {
    const random = new Random(seed);
    const content = makeMixture(random);
    using file = TemporaryFile.create(`${dir.path}/file`);
    file.isSourceSparse = random.chance(50);
    await writePieces(file, content, random);
    assert(Buffer.compare(Deno.readFileSync(file.path), content) === 0, `seed ${seed}`);
    // A part is cut at a position, which may be in a hole, and continued.
    const position = random.below(content.length + 1);
    await file.continueFrom(position);
    const rest = makeMixture(random);
    await file.write(rest);
    await file.waitUntilIdle();
    const continued = Buffer.concat([content.subarray(0, position), rest]);
    assert(
      Buffer.compare(Deno.readFileSync(file.path), continued) === 0,
      `seed ${seed}, continued`,
    );
  }
});

Deno.test("the zeros are written if the file system can't extend a file", async () => {
  await using dir = await createTempDir();
  using _truncatePatch = patch(Deno.FsFile.prototype, "truncate", () => () => {
    return Promise.reject(Object.assign(new Error("not supported"), { code: "ENOTSUP" }));
  });
  using file = TemporaryFile.create(`${dir.path}/file`);
  const content = new Uint8Array(MEBIBYTE).fill(1, 300_000, 300_001);
  for (let start = 0; start < content.length; start += 100_000) {
    await file.write(content.subarray(start, start + 100_000));
  }
  await file.waitUntilIdle();
  assert(Buffer.compare(Deno.readFileSync(file.path), content) === 0);
  assert(duOf(file.path) >= content.length - 65_536 || Deno.build.os !== "linux");
});

Deno.test(
  "a file without holes gets holes only for zeros of at least 64 KiB",
  noHoles,
  async () => {
    await using dir = await createTempDir();
    const app = new FilesApp(dir.path, { write: true });
    const duAfterPut = async (zeros: number) => {
      const content = new Uint8Array(400_000).fill(1);
      content.fill(0, 5 * BLOCK, 5 * BLOCK + zeros);
      const [status] = await app.handle(mkreq("PUT", "/a", {}, content));
      assert(status === 201 || status === 204, `${status}`);
      assert(Buffer.compare(Deno.readFileSync(`${dir.path}/a`), content) === 0);
      return duOf(`${dir.path}/a`);
    };
    const dense = await duAfterPut(0);
    assertEquals(await duAfterPut(15 * BLOCK), dense);
    assertEquals(await duAfterPut(16 * BLOCK), dense - 16 * BLOCK);
  },
);

Deno.test(
  "a request and a response have the space of a sparse file, and nothing of another",
  noHoles,
  async () => {
    const spaces: unknown[] = [];
    await using files = await serveFiles((dir) => {
      const app = new FilesApp(dir, { write: true });
      return async (request, session, api) => {
        if (request.method === "PUT") spaces.push(request.headers["file-space"]);
        return await app.handle(request, session, api);
      };
    });
    await writeSparse(`${files.clientDir}/sparse`, [16 * BLOCK, MEBIBYTE]);
    await writeSparse(`${files.clientDir}/dense`, [100_000]);
    const space = `${duOf(`${files.clientDir}/sparse`)}`;
    for (const name of ["sparse", "dense"]) {
      await upload(files.client, `${files.clientDir}/${name}`, [name]);
      const { headers } = await files.client.request("HEAD", `/${name}`, {});
      spaces.push(headers["file-space"]);
    }
    assertEquals(spaces, [space, space, undefined, undefined]);
  },
);
