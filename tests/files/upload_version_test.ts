/** Uploads that are hashed while they are sent, and resumed by what the client calls the version of its file. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { type Chunk, ChunkedBody, ChunkedBodyIter, type HeaderDict } from "@degu/degu/base";
import { FilesApp, TransferError, upload } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { entries } from "@degu/testing/directories.ts";
import { RawPeer, turnOfEventLoop } from "@degu/testing/raw_peer.ts";
import { makeTree, pattern } from "@degu/testing/served_directory.ts";
import { partsOf, randomBytes, serveFiles, sha256, visible } from "@degu/testing/transferring.ts";
import { digestOf, serveForWriting, statusOf } from "@degu/testing/written_directory.ts";
import { Client } from "@degu/degu/client";

type Files = Awaited<ReturnType<typeof serveForWriting>>;

const CONTENT = pattern(300_000);
const CUT = 100_000;
const VERSION = { "upload-version": "1234abcd" };
const EMPTY = new Uint8Array(0);

const hex = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const headersOf = (content: Uint8Array, offset: number): HeaderDict => ({
  ...VERSION,
  "upload-length": `${content.length}`,
  "upload-offset": `${offset}`,
});

/** A chunked body whose last chunk has an extension. */
function bodyOf(bytes: Uint8Array, last: Chunk[0]): ChunkedBodyIter {
  const chunks: Chunk[] = [];
  for (let at = 0; at < bytes.length; at += 70_000) {
    chunks.push([null, bytes.subarray(at, at + 70_000)]);
  }
  return new ChunkedBodyIter([...chunks, [last, EMPTY]]);
}

async function putRest(files: Files, content: Uint8Array, offset: number, headers = {}) {
  const body = bodyOf(content.subarray(offset), ["sha256", hex(content)]);
  return await files.request("PUT", "/a", { ...headersOf(content, offset), ...headers }, body);
}

async function ask(files: Files, content: Uint8Array, headers: HeaderDict = {}) {
  const asked = { ...VERSION, "upload-length": `${content.length}`, ...headers };
  const response = await files.request("HEAD", "/a", asked);
  assertEquals(response.status, 200);
  return [response.headers["upload-offset"], response.headers["repr-digest"]];
}

/** Sends the first bytes of a chunk, waits until they are in the part, and leaves. */
async function cut(files: Files, content = CONTENT) {
  using peer = await RawPeer.connect(files.serving.address);
  const headers = { ...headersOf(content, 0), "transfer-encoding": "chunked" };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const size = (CUT + 5).toString(16);
  await peer.send(`PUT /a HTTP/1.1\r\n${lines}\r\n${size}\r\n`, content.subarray(0, CUT));
  for (;;) {
    const [part] = await files.unfinished();
    if (part === undefined) continue;
    const info = await Deno.stat(`${files.root}/${RESERVED}/${part}`).catch(() => null);
    if (info?.size === CUT) break;
  }
  peer.close();
  // Until then the server still writes to the part.
  while (files.serving.server.sessions.size > 0) await turnOfEventLoop();
}

Deno.test("an upload that names its version is resumed in the middle of a chunk, and compared with its last chunk", async () => {
  await using files = await serveForWriting();
  assertEquals(await ask(files, CONTENT), ["0", undefined]);
  await cut(files);
  assertEquals(await ask(files, CONTENT), [`${CUT}`, undefined]);
  assertEquals(
    (await files.request("PUT", "/a", headersOf(CONTENT, 5), bodyOf(EMPTY, null))).status,
    409,
  );
  const response = await putRest(files, CONTENT, CUT);
  assertEquals([response.status, response.headers["repr-digest"]], [201, digestOf(CONTENT)]);
  assertEquals(await Deno.readFile(`${files.root}/a`), CONTENT);
  assertEquals(await files.unfinished(), []);
});

Deno.test("a file of the same length tells its digest to who asks for it, unless a part is there", async () => {
  await using files = await serveForWriting();
  const want = { "want-repr-digest": "sha-256=10" };
  assertEquals(await ask(files, CONTENT, want), ["0", undefined]);
  await Deno.writeFile(`${files.root}/a`, CONTENT.toReversed());
  assertEquals(await ask(files, CONTENT, want), ["0", digestOf(CONTENT.toReversed())]);
  assertEquals(await ask(files, CONTENT), ["0", undefined]);
  assertEquals(await ask(files, CONTENT.subarray(1), want), ["0", undefined]);
  await cut(files);
  assertEquals(await ask(files, CONTENT, want), [`${CUT}`, undefined]);
});

const REFUSED: [
  rule: string,
  headers: HeaderDict,
  body: () => ChunkedBodyIter | Uint8Array,
  status: number,
][] = [
  ["no chunks", headersOf(CONTENT, 0), () => CONTENT, 400],
  ["no offset", { ...VERSION, "upload-length": "300000" }, () => bodyOf(CONTENT, null), 400],
  ["no length", { ...VERSION, "upload-offset": "0" }, () => bodyOf(CONTENT, null), 400],
  [
    "a digest and a version",
    { ...headersOf(CONTENT, 0), "repr-digest": digestOf(CONTENT) },
    () => bodyOf(CONTENT, ["sha256", hex(CONTENT)]),
    400,
  ],
  [
    "neither digest nor version",
    { "upload-length": "300000", "upload-offset": "0" },
    () => bodyOf(CONTENT, ["sha256", hex(CONTENT)]),
    400,
  ],
  ["no digest at the end", headersOf(CONTENT, 0), () => bodyOf(CONTENT, null), 400],
  [
    "another extension",
    headersOf(CONTENT, 0),
    () => bodyOf(CONTENT, ["sha512", hex(CONTENT)]),
    400,
  ],
  ["a malformed digest", headersOf(CONTENT, 0), () => bodyOf(CONTENT, ["sha256", "00"]), 400],
  ["another digest", headersOf(CONTENT, 0), () => bodyOf(CONTENT, ["sha256", hex(EMPTY)]), 400],
  [
    "a byte too few",
    headersOf(CONTENT, 0),
    () => bodyOf(CONTENT.subarray(1), ["sha256", hex(CONTENT.subarray(1))]),
    400,
  ],
  [
    "a byte too many",
    headersOf(CONTENT.subarray(1), 0),
    () => bodyOf(CONTENT, ["sha256", hex(CONTENT)]),
    400,
  ],
  [
    "whole, and no digest at the end",
    { "upload-length": "300000" },
    () => bodyOf(CONTENT, null),
    400,
  ],
  [
    "whole, and another digest",
    { "upload-length": "300000" },
    () => bodyOf(CONTENT, ["sha256", hex(EMPTY)]),
    400,
  ],
  [
    "whole, and a byte too few",
    { "upload-length": "300001" },
    () => bodyOf(CONTENT, ["sha256", hex(CONTENT)]),
    400,
  ],
  ["whole", { "upload-length": "300000" }, () => bodyOf(CONTENT, ["sha256", hex(CONTENT)]), 201],
  [
    "from its beginning",
    headersOf(CONTENT, 0),
    () => bodyOf(CONTENT, ["sha256", hex(CONTENT)]),
    204,
  ],
];

Deno.test("a body that is not exactly what was announced is refused, and nothing of it is kept", async () => {
  await using files = await serveForWriting();
  for (const [rule, headers, body, status] of REFUSED) {
    assertEquals(await statusOf(await files.request("PUT", "/a", headers, body())), status, rule);
    assertEquals(await files.unfinished(), [], rule);
    assertEquals((await entries(files.root)).includes("a"), status < 300, rule);
  }
  assertEquals(await Deno.readFile(`${files.root}/a`), CONTENT);
});

Deno.test("of two files of the same length and version no byte is mixed: two clients, or a part that is swapped", async () => {
  await using files = await serveForWriting();
  const other = CONTENT.toReversed();
  await cut(files);
  // Clients without certificates count as one.
  assertEquals(await statusOf(await putRest(files, other, CUT)), 400);
  assertEquals([await files.unfinished(), (await entries(files.root)).includes("a")], [[], false]);
  await cut(files);
  const [part = ""] = await files.unfinished();
  await Deno.writeFile(`${files.root}/${RESERVED}/${part}`, other.subarray(0, CUT));
  assertEquals(await statusOf(await putRest(files, CONTENT, CUT)), 400);
  assertEquals([await files.unfinished(), (await entries(files.root)).includes("a")], [[], false]);
});

Deno.test("of many simultaneous uploads of one version, to two apps, the last one wins", async () => {
  await using tree = await makeTree();
  const apps = [0, 1].map(() => new FilesApp(tree.root, { write: true }));
  const statuses = await Promise.all(Array.from({ length: 12 }, async (_, i) => {
    const encoded = new TransformStream<Uint8Array, Uint8Array>();
    const body = bodyOf(CONTENT, ["sha256", hex(CONTENT)]);
    const writing = body.writeTo(encoded.writable).then(() => encoded.writable.close());
    writing.catch(() => {});
    const request = mkreq("PUT", "/a", headersOf(CONTENT, 0), new ChunkedBody(encoded.readable));
    return (await apps[i % 2]!.handle(request))[0];
  }));
  assert(statuses.every((status) => [201, 204, 409].includes(status)), `${statuses}`);
  assert(statuses.at(-1)! < 300, `${statuses}`);
  assertEquals(await Deno.readFile(`${tree.root}/a`), CONTENT);
  assertEquals(await entries(`${tree.root}/${RESERVED}`), []);
});

// ───────────────────────── the client

const SIZE = 3_000_000;
/** With a clock that is behind each file was just changed, however long this test is kept waiting. */
const asJustChanged = () => setClockAhead(-3_600_000);
const writable = (dir: string) => new FilesApp(dir, { write: true });

/** Uploads what a relay lets through: less than the whole. */
async function interrupt(files: Awaited<ReturnType<typeof serveFiles>>, file: string) {
  await using relay = new CuttingRelay(files.serving.address);
  relay.cutAfter(SIZE / 2);
  const client = new Client(relay.address, { timeout: 10 });
  const error = await upload(client, file, "/copy").catch((error) => error);
  assert(error instanceof Error && !(error instanceof TransferError), Deno.inspect(error));
}

/** How much of a file is kept at the server. */
async function offsetOf({ there }: Awaited<ReturnType<typeof serveFiles>>, file: string) {
  const sizes = [];
  for (const name of await partsOf(there)) {
    sizes.push((await Deno.stat(`${there}/${RESERVED}/${name}`)).size);
  }
  const { size } = await Deno.stat(file);
  return sizes.find((each) => each < size) ?? 0;
}

/** Counts the bytes that are read of files while something is done. */
async function readWhile(work: () => Promise<unknown>): Promise<number> {
  const { read } = Deno.FsFile.prototype;
  let bytes = 0;
  Deno.FsFile.prototype.read = async function (into) {
    const count = await read.call(this, into);
    bytes += count ?? 0;
    return count;
  };
  try {
    await work();
  } finally {
    Deno.FsFile.prototype.read = read;
  }
  return bytes;
}

Deno.test("an upload reads the file once, also one that is resumed; one that was just changed twice", async () => {
  await using files = await serveFiles(writable);
  const file = `${files.here}/file`;
  const content = randomBytes(SIZE);
  await Deno.writeFile(file, content);
  {
    using _now = asJustChanged();
    assertEquals(await readWhile(() => upload(files.client, file, "/fresh")), 2 * SIZE);
  }
  using _later = setClockAhead();
  assertEquals(await readWhile(() => upload(files.client, file, "/settled")), SIZE);
  // A reset takes back what a busy server has not read yet: that may have been all of it.
  do await interrupt(files, file); while (await offsetOf(files, file) === 0);
  const bytes = await readWhile(async () => {
    const { resumedFrom, sha256: digest } = await upload(files.client, file, "/copy");
    assert(resumedFrom > 0);
    assertEquals(digest, await sha256(content));
  });
  assertEquals(bytes, SIZE);
});

Deno.test("an upload of a file that was just changed is not resumed", async () => {
  using _now = asJustChanged();
  await using files = await serveFiles(writable);
  const file = `${files.here}/file`;
  await Deno.writeFile(file, randomBytes(SIZE));
  await interrupt(files, file);
  const parts = await partsOf(files.there);
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
  const file = `${files.here}/file`;
  for (const [name, rewrite] of REWRITES) {
    await Deno.writeFile(file, randomBytes(SIZE));
    const { atime, mtime } = await Deno.stat(file);
    await interrupt(files, file);
    const content = randomBytes(SIZE);
    await rewrite(file, content);
    await Deno.utime(file, atime!, mtime!);
    const result = await upload(files.client, file, "/copy").catch((error) => error);
    if (result instanceof Error) {
      assertEquals((result as TransferError).status, 400, name);
      assertEquals(await visible(files.there), [], name);
      await upload(files.client, file, "/copy");
    }
    assertEquals(await Deno.readFile(`${files.there}/copy`), content, name);
    await Deno.remove(`${files.there}/copy`);
  }
});

Deno.test("a file that is rewritten while it is sent, within a tick of its times, never becomes visible", async () => {
  let file = "";
  const rewrite = async () => {
    const { atime, mtime } = await Deno.stat(file);
    using open = await Deno.open(file, { write: true });
    await open.write(new Uint8Array(10));
    await Deno.utime(file, atime!, mtime!);
  };
  await using files = await serveFiles((dir) => {
    const app = writable(dir);
    return async (request, session, api) => {
      if (request.method === "PUT") await rewrite();
      return await app.handle(request, session, api);
    };
  });
  file = `${files.here}/file`;
  await Deno.writeFile(file, randomBytes(20_000_000));
  const error = await assertRejects(() => upload(files.client, file, "/copy"), TransferError);
  assertEquals(error.code, "CHANGED");
  assertEquals(await visible(files.there), []);
});

Deno.test("a file that is replaced while it is sent arrives as it was", async () => {
  let file = "";
  await using files = await serveFiles((dir) => {
    const app = writable(dir);
    return async (request, session, api) => {
      if (request.method === "PUT") {
        await Deno.writeFile(`${file}.new`, new Uint8Array(20_000_000));
        await Deno.rename(`${file}.new`, file);
      }
      return await app.handle(request, session, api);
    };
  });
  file = `${files.here}/file`;
  const content = randomBytes(20_000_000);
  await Deno.writeFile(file, content);
  const { sha256: digest } = await upload(files.client, file, "/copy");
  assertEquals([digest, await sha256(await Deno.readFile(`${files.there}/copy`))], [
    await sha256(content),
    digest,
  ]);
});

Deno.test("an identical file that is there keeps its place, and gets the time of the upload", async () => {
  await using files = await serveFiles(writable);
  const file = `${files.here}/file`;
  await Deno.writeFile(file, randomBytes(SIZE));
  await upload(files.client, file, "/copy");
  const { ino } = await Deno.stat(`${files.there}/copy`);
  const modified = new Date("2020-01-02T03:04:05.678Z");
  const again = await upload(files.client, file, "/copy", { modified });
  assertEquals([again.bytes, again.resumedFrom], [0, SIZE]);
  const now = await Deno.stat(`${files.there}/copy`);
  assertEquals([now.ino, now.mtime], [ino, modified]);
  // Of the same length, and another file.
  const content = randomBytes(SIZE);
  await Deno.writeFile(file, content);
  assertEquals((await upload(files.client, file, "/copy")).bytes, SIZE);
  assertEquals(await Deno.readFile(`${files.there}/copy`), content);
});

Deno.test("a part of another process that writes it is not continued", async () => {
  using _later = setClockAhead();
  await using files = await serveFiles(writable);
  const file = `${files.here}/file`;
  const content = randomBytes(SIZE);
  await Deno.writeFile(file, content);
  await interrupt(files, file);
  const [part = ""] = await partsOf(files.there);
  using locked = await Deno.open(`${files.there}/${RESERVED}/${part}`, { write: true });
  await locked.lock(true);
  const { resumedFrom } = await upload(files.client, file, "/copy");
  assertEquals(resumedFrom, 0);
  await locked.write(new Uint8Array(10));
  assertEquals(await Deno.readFile(`${files.there}/copy`), content);
});
