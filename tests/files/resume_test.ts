/** Uploads that are interrupted and resumed, by what the client calls the version of its file, too. */
import {
  Body,
  type BodyOut,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
  type HeaderDict,
} from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import { sha256Of } from "@degu/testing/bundles.ts";
import { speedUpTimeouts } from "@degu/testing/clock.ts";
import { listNames, readMode } from "@degu/testing/directories.ts";
import { RawPeer, waitForTick } from "@degu/testing/raw_peer.ts";
import { makePattern, makeTree } from "@degu/testing/served_directory.ts";
import {
  digestOf,
  makeUploadHeaders,
  readStatus,
  serveWritableDirectory,
} from "@degu/testing/written_directory.ts";
import { assert, assertEquals } from "@std/assert";

// Uploads that are interrupted and resumed.

type Files = Awaited<ReturnType<typeof serveWritableDirectory>>;
type Bytes = readonly (string | Uint8Array)[];

const CONTENT = makePattern(300_000);
const CUT = 100_000;

/** Asks how much of a file is here. */
async function offsetOf(files: Files, uri: string, content = CONTENT): Promise<unknown> {
  const { status, headers, body } = await files.request("HEAD", uri, makeUploadHeaders(content));
  assertEquals([status, body, headers["repr-digest"]], [200, null, undefined]);
  return headers["upload-offset"];
}

/** PUTs; the status, and the offset that a refusal has. */
async function put(files: Files, uri: string, headers: HeaderDict, body: BodyOut) {
  const response = await files.request("PUT", uri, headers, body);
  await response.body?.bytes();
  return [response.status, response.headers["upload-offset"]];
}

/** Sends the beginning of a PUT, and waits until so much is on the disk. */
async function begin(
  files: Files,
  uri: string,
  headers: HeaderDict,
  until: number,
  ...body: Bytes
) {
  const peer = await RawPeer.connect(files.serving.address);
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  await peer.send(`PUT ${uri} HTTP/1.1\r\n${lines}\r\n`, ...body);
  await waitForSize(files, until);
  return peer;
}

/** Sends the first bytes of the rest of a file, waits until they are on the disk, and leaves. */
async function cut(files: Files, uri: string, until = CUT, content = CONTENT, from = 0) {
  const headers = { ...makeUploadHeaders(content, from), "content-length": content.length - from };
  const { sessions } = files.serving.server;
  const before = sessions.size;
  const peer = await begin(files, uri, headers, until, content.subarray(from, until));
  peer.close();
  // Until then the server still writes to the part.
  while (sessions.size > before) await waitForTick();
}

/** The sizes of what is unfinished, looked at in one turn. */
function sizes(files: Files): number[] {
  const dir = `${files.root}/${RESERVED}`;
  return Array.from(Deno.readDirSync(dir), ({ name }) => Deno.statSync(`${dir}/${name}`).size);
}

/** Waits until so much of a part is on the disk. */
async function waitForSize(files: Files, size: number): Promise<void> {
  const isMade = () => files.listUnfinished().then((names) => names.length > 0);
  while (!await isMade() || !sizes(files).includes(size));
}

Deno.test("an interrupted upload resumes where it was", async () => {
  await using files = await serveWritableDirectory();
  assertEquals(await offsetOf(files, "/a/b"), "0");
  assertEquals(await listNames(files.root), ["file", "sub"], "to ask makes nothing");
  await cut(files, "/a/b");
  assertEquals(await offsetOf(files, "/a/b"), `${CUT}`);
  assertEquals((await listNames(files.root)).includes("a"), false);
  const [part = ""] = await files.listUnfinished();
  assertEquals(await readMode(`${files.root}/${RESERVED}/${part}`), 0o600);
  await cut(files, "/a/b", 200_000, CONTENT, CUT);
  assertEquals(await offsetOf(files, "/a/b"), "200000");
  const headers = {
    ...makeUploadHeaders(CONTENT, 200_000),
    "upload-modified": "2020-01-02T03:04:05Z",
  };
  assertEquals(await put(files, "/a/b", headers, CONTENT.subarray(200_000)), [201, undefined]);
  assertEquals(await Deno.readFile(`${files.root}/a/b`), CONTENT);
  assertEquals((await Deno.stat(`${files.root}/a/b`)).mtime, new Date("2020-01-02T03:04:05Z"));
  await Deno.writeTextFile(`${files.root}/plain`, "");
  assertEquals(await readMode(`${files.root}/a/b`), await readMode(`${files.root}/plain`));
  assertEquals(await files.listUnfinished(), []);
  assertEquals(await offsetOf(files, "/a/b"), "300000", "all of it is here");
});

Deno.test("a wrong offset is answered with the right one, and offset 0 starts over", async () => {
  await using files = await serveWritableDirectory();
  const rest = (offset: number) =>
    put(files, "/a", makeUploadHeaders(CONTENT, offset), CONTENT.subarray(offset));
  assertEquals(await rest(1), [409, "0"]);
  await cut(files, "/a");
  for (const wrong of [1, CUT - 1, CUT + 1, CONTENT.length]) {
    assertEquals(await rest(wrong), [409, `${CUT}`]);
  }
  assertEquals(await rest(0), [201, undefined]);
  assertEquals(await rest(7), [409, `${CONTENT.length}`], "it is here already");
  assertEquals(await Deno.readFile(`${files.root}/a`), CONTENT);
  // A file of the same length and another digest is another file.
  const other = CONTENT.toReversed();
  assertEquals(await offsetOf(files, "/a", other), "0");
  assertEquals(await put(files, "/a", makeUploadHeaders(other, other.length), null), [409, "0"]);
});

Deno.test("a file that is already present gets the time of the upload", async () => {
  await using files = await serveWritableDirectory();
  const time = "2020-01-02T03:04:05.679Z";
  const again = (headers: HeaderDict) =>
    put(
      files,
      "/a",
      { ...makeUploadHeaders(CONTENT, CONTENT.length), "upload-modified": time, ...headers },
      null,
    );
  const modified = async () => (await Deno.stat(`${files.root}/a`)).mtime;
  assertEquals(await put(files, "/a", makeUploadHeaders(CONTENT, 0), CONTENT), [201, undefined]);
  const before = await modified();
  assertEquals(await again({ "if-none-match": "*" }), [412, undefined]);
  assertEquals(await modified(), before);
  assertEquals(await again({}), [204, undefined]);
  assertEquals(await modified(), new Date(time));
  assertEquals(await put(files, "/a", makeUploadHeaders(CONTENT, CONTENT.length), null), [
    204,
    undefined,
  ]);
  assertEquals(await modified(), new Date(time), "no time, no change");
  assertEquals(await offsetOf(files, "/a"), `${CONTENT.length}`);
});

Deno.test("the upload offset can be requested only of a writable app, and for a file that could be written", async () => {
  await using files = await serveWritableDirectory({ maxBytes: CONTENT.length - 1 });
  assertEquals((await files.request("HEAD", "/a", makeUploadHeaders(CONTENT))).status, 413);
  await using reader = await serveWritableDirectory({ write: false });
  const head = await reader.request("HEAD", "/file", makeUploadHeaders(CONTENT));
  assertEquals([head.status, head.headers["upload-offset"]], [200, undefined]);
  const bad = { "repr-digest": "x", "upload-length": "1" };
  assertEquals((await files.request("HEAD", "/a", bad)).status, 400);
  const plain = await files.request("HEAD", "/file", { "repr-digest": "x" });
  assertEquals([plain.status, plain.headers["content-length"]], [200, 6]);
});

Deno.test("a part that does not match its digest is removed", async () => {
  await using files = await serveWritableDirectory();
  await cut(files, "/a");
  const [part = ""] = await files.listUnfinished();
  await Deno.writeFile(`${files.root}/${RESERVED}/${part}`, new Uint8Array(CUT));
  const rest = await put(files, "/a", makeUploadHeaders(CONTENT, CUT), CONTENT.subarray(CUT));
  assertEquals(rest, [400, undefined]);
  assertEquals(await files.listUnfinished(), []);
  assertEquals(await offsetOf(files, "/a"), "0");
});

Deno.test("preconditions apply to a resumed upload, before anything is received", async () => {
  await using files = await serveWritableDirectory();
  await cut(files, "/a");
  const headers = { ...makeUploadHeaders(CONTENT, CUT), "if-match": "*" };
  assertEquals(await put(files, "/a", headers, CONTENT.subarray(CUT)), [412, undefined]);
  assertEquals((await files.listUnfinished()).length, 1);
});

Deno.test("a newer request for the same part ends the older one", async () => {
  await using files = await serveWritableDirectory();
  for (const newer of ["HEAD", "PUT"]) {
    const headers = { ...makeUploadHeaders(CONTENT, 0), "content-length": CONTENT.length };
    using old = await begin(files, "/a", headers, CUT, CONTENT.subarray(0, CUT));
    if (newer === "HEAD") assertEquals(await offsetOf(files, "/a"), `${CUT}`);
    else {assertEquals(await put(files, "/a", makeUploadHeaders(CONTENT, 0), CONTENT), [
        201,
        undefined,
      ]);}
    assertEquals((await old.readUntil("\r\n\r\n")).slice(0, 21), "HTTP/1.1 409 Conflict");
  }
  assertEquals(await Deno.readFile(`${files.root}/a`), CONTENT);
  assertEquals(await files.listUnfinished(), []);
});

Deno.test("a newer request ends also one that still compares the file that is here", async () => {
  await using tree = await makeTree();
  await Deno.writeFile(`${tree.root}/file`, CONTENT.toReversed());
  const app = new FilesApp(tree.root, { write: true });
  const older = app.handle(mkreq("PUT", "/file", makeUploadHeaders(CONTENT, CONTENT.length)));
  const newer = app.handle(mkreq("HEAD", "/file", makeUploadHeaders(CONTENT)));
  const answers = await Promise.all([older, newer]);
  const seen = answers.map(([status, , headers]) => [status, headers["upload-offset"]]);
  assertEquals(seen, [[409, undefined], [200, "0"]]);
});

/** The path of the only part that there is. */
async function partOf(files: Files): Promise<string> {
  const [part = ""] = await files.listUnfinished();
  return `${files.root}/${RESERVED}/${part}`;
}

Deno.test("a part that another process is writing is abandoned, and a new one started", async () => {
  await using files = await serveWritableDirectory();
  await cut(files, "/a");
  using locked = await Deno.open(await partOf(files), { write: true });
  await locked.lock(true);
  {
    using _timeouts = speedUpTimeouts((milliseconds) => milliseconds === 30);
    assertEquals(await put(files, "/a", makeUploadHeaders(CONTENT, CUT), CONTENT.subarray(CUT)), [
      409,
      "0",
    ]);
  }
  assertEquals(await files.listUnfinished(), []);
  await locked.write(new Uint8Array(10));
  assertEquals(await put(files, "/a", makeUploadHeaders(CONTENT, 0), CONTENT), [201, undefined]);
  await locked.write(new Uint8Array(10));
  assertEquals(await Deno.readFile(`${files.root}/a`), CONTENT);
});

Deno.test("a part with a second hard link is not written", async () => {
  await using files = await serveWritableDirectory();
  await cut(files, "/a");
  // What a process leaves behind that is killed when it has just given a file its name.
  await Deno.link(await partOf(files), `${files.root}/served`);
  assertEquals(await put(files, "/a", makeUploadHeaders(CONTENT, 0), CONTENT), [201, undefined]);
  assertEquals(await Deno.readFile(`${files.root}/served`), CONTENT.subarray(0, CUT));
  assertEquals(await files.listUnfinished(), []);
});

// Uploads that are hashed while they are sent, and resumed by what the client calls the version
// of its file.

const VERSION = { "upload-version": "1234abcd" };
const EMPTY = new Uint8Array(0);
const SHORTER = CONTENT.subarray(1);

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
  const body = bodyOf(content.subarray(offset), ["sha256", sha256Of(content)]);
  return await files.request("PUT", "/a", { ...headersOf(content, offset), ...headers }, body);
}

async function ask(files: Files, content: Uint8Array, headers: HeaderDict = {}) {
  const asked = { ...VERSION, "upload-length": `${content.length}`, ...headers };
  const response = await files.request("HEAD", "/a", asked);
  assertEquals(response.status, 200);
  return [response.headers["upload-offset"], response.headers["repr-digest"]];
}

/** Sends the first bytes of a chunk, waits until they are in the part, and leaves. */
async function cutUpload(files: Files, content = CONTENT) {
  const headers = { ...headersOf(content, 0), "transfer-encoding": "chunked" };
  const size = (CUT + 5).toString(16);
  using peer = await begin(files, "/a", headers, CUT, `${size}\r\n`, content.subarray(0, CUT));
  peer.close();
  // Until then the server still writes to the part.
  while (files.serving.server.sessions.size > 0) await waitForTick();
}

Deno.test("an upload that names its version is resumed in the middle of a chunk, and compared with its last chunk", async () => {
  await using files = await serveWritableDirectory();
  assertEquals(await ask(files, CONTENT), ["0", undefined]);
  await cutUpload(files);
  assertEquals(await ask(files, CONTENT), [`${CUT}`, undefined]);
  assertEquals(
    (await files.request("PUT", "/a", headersOf(CONTENT, 5), bodyOf(EMPTY, null))).status,
    409,
  );
  const response = await putRest(files, CONTENT, CUT);
  assertEquals([response.status, response.headers["repr-digest"]], [201, digestOf(CONTENT)]);
  assertEquals(await Deno.readFile(`${files.root}/a`), CONTENT);
  assertEquals(await files.listUnfinished(), []);
});

Deno.test("a file of the same length tells its digest to who asks for it, unless a part is there", async () => {
  await using files = await serveWritableDirectory();
  const want = { "want-repr-digest": "sha-256=10" };
  assertEquals(await ask(files, CONTENT, want), ["0", undefined]);
  await Deno.writeFile(`${files.root}/a`, CONTENT.toReversed());
  assertEquals(await ask(files, CONTENT, want), ["0", digestOf(CONTENT.toReversed())]);
  assertEquals(await ask(files, CONTENT), ["0", undefined]);
  assertEquals(await ask(files, CONTENT.subarray(1), want), ["0", undefined]);
  await cutUpload(files);
  assertEquals(await ask(files, CONTENT, want), [`${CUT}`, undefined]);
});

const BY_VERSION = headersOf(CONTENT, 0);
const BY_DIGEST = makeUploadHeaders(CONTENT, 0);
const LENGTH = { "upload-length": "300000" };
const whole = () => CONTENT;
/** Makes a chunked body, which has the digest of the content at its end if nothing else is said. */
const chunked = (last: Chunk[0] = ["sha256", sha256Of(CONTENT)], content = CONTENT) => () =>
  bodyOf(content, last);
/** Makes a body whose only chunk with data has its digest, and the last chunk none. */
const early = (content: Uint8Array) => () =>
  new ChunkedBodyIter([[["sha256", sha256Of(content)], content], [null, EMPTY]]);
const ONE = CONTENT.subarray(0, 1);
const without = (name: string) =>
  Object.fromEntries(Object.entries(BY_DIGEST).filter(([other]) => other !== name));

const REFUSED: readonly [rule: string, headers: HeaderDict, body: () => BodyOut][] = [
  ["a length without a digest", without("repr-digest"), whole],
  ["a digest without a length", without("upload-length"), whole],
  ["a digest without an offset", without("upload-offset"), whole],
  ["another digest's algorithm", { ...BY_DIGEST, "repr-digest": "sha-512=:AAAA:" }, whole],
  ["an offset beyond the end", { ...BY_DIGEST, "upload-offset": "300001" }, () => null],
  ["a digest, and a byte too few", BY_DIGEST, () => CONTENT.subarray(1)],
  ["a digest, and a byte too many", { ...BY_DIGEST, "upload-offset": "1" }, whole],
  ["a digest, and no body", BY_DIGEST, () => null],
  ["a digest, and chunks", BY_DIGEST, chunked(null)],
  ["a version, and no chunks", BY_VERSION, whole],
  ["a version, no offset, and nothing at the end", { ...VERSION, ...LENGTH }, chunked(null)],
  ["a version, no offset, and a digest at the end", { ...VERSION, ...LENGTH }, chunked()],
  ["a digest, no offset, and the same one at the end", makeUploadHeaders(CONTENT), chunked()],
  ["a version, and no length", { ...VERSION, "upload-offset": "0" }, chunked(null)],
  ["a digest and a version", { ...BY_VERSION, ...makeUploadHeaders(CONTENT) }, chunked()],
  ["neither digest nor version", { ...LENGTH, "upload-offset": "0" }, chunked()],
  ["no digest at the end", BY_VERSION, chunked(null)],
  ["a digest, but not at the end", BY_VERSION, early(CONTENT)],
  ["a digest, but at a byte before the end", headersOf(ONE, 0), early(ONE)],
  ["another extension", BY_VERSION, chunked(["sha512", sha256Of(CONTENT)])],
  ["a malformed digest", BY_VERSION, chunked(["sha256", "00"])],
  ["another digest", BY_VERSION, chunked(["sha256", sha256Of(EMPTY)])],
  ["a byte too few", BY_VERSION, chunked(["sha256", sha256Of(SHORTER)], SHORTER)],
  ["a byte too many", headersOf(SHORTER, 0), chunked()],
  ["whole, and no digest at the end", LENGTH, chunked(null)],
  ["whole, and another digest", LENGTH, chunked(["sha256", sha256Of(EMPTY)])],
  ["whole, and a byte too few", { "upload-length": "300001" }, chunked()],
];

Deno.test("an upload that contradicts itself, or what was announced, is refused, and nothing of it is kept", async () => {
  await using files = await serveWritableDirectory();
  for (const [rule, headers, body] of REFUSED) {
    assertEquals(await put(files, "/a", headers, body()), [400, undefined], rule);
    assertEquals(await files.listUnfinished(), [], rule);
    assertEquals((await listNames(files.root)).includes("a"), false, rule);
  }
  assertEquals(await put(files, "/a", LENGTH, chunked()()), [201, undefined]);
  assertEquals(await put(files, "/a", BY_VERSION, chunked()()), [204, undefined]);
  // Of other chunks it has no meaning.
  const last: Chunk = [["sha256", sha256Of(CONTENT)], EMPTY];
  const twice = new ChunkedBodyIter([[["sha256", "00"], CONTENT], last]);
  assertEquals(await put(files, "/a", LENGTH, twice), [204, undefined]);
  assertEquals(await Deno.readFile(`${files.root}/a`), CONTENT);
});

Deno.test("of two files of the same length and version no byte is mixed: two clients, or a part that is swapped", async () => {
  await using files = await serveWritableDirectory();
  const other = CONTENT.toReversed();
  await cutUpload(files);
  // Clients without certificates count as one.
  assertEquals(await readStatus(await putRest(files, other, CUT)), 400);
  assertEquals([await files.listUnfinished(), (await listNames(files.root)).includes("a")], [
    [],
    false,
  ]);
  await cutUpload(files);
  const [part = ""] = await files.listUnfinished();
  await Deno.writeFile(`${files.root}/${RESERVED}/${part}`, other.subarray(0, CUT));
  assertEquals(await readStatus(await putRest(files, CONTENT, CUT)), 400);
  assertEquals([await files.listUnfinished(), (await listNames(files.root)).includes("a")], [
    [],
    false,
  ]);
});

/** What a request for a part has: with a digest, or a version. */
const FORMS: Readonly<Record<string, () => [HeaderDict, Body | ChunkedBody]>> = {
  digest:
    () => [makeUploadHeaders(CONTENT, 0), new Body(new Blob([CONTENT]).stream(), CONTENT.length)],
  version: () => {
    const encoded = new TransformStream<Uint8Array, Uint8Array>();
    const body = bodyOf(CONTENT, ["sha256", sha256Of(CONTENT)]);
    body.writeTo(encoded.writable).then(() => encoded.writable.close()).catch(() => {});
    return [headersOf(CONTENT, 0), new ChunkedBody(encoded.readable)];
  },
};

for (const [form, make] of Object.entries(FORMS)) {
  Deno.test(`of many simultaneous requests for one part, by its ${form}, to two apps the last one wins`, async () => {
    await using tree = await makeTree();
    const apps = [0, 1].map(() => new FilesApp(tree.root, { write: true }));
    const statuses = await Promise.all(Array.from({ length: 12 }, async (_, i) => {
      return (await apps[i % 2]!.handle(mkreq("PUT", "/a", ...make())))[0];
    }));
    assert(statuses.every((status) => [201, 204, 409].includes(status)), `${statuses}`);
    assert(statuses.at(-1)! < 300, `${statuses}`);
    assertEquals(await Deno.readFile(`${tree.root}/a`), CONTENT);
    assertEquals(await listNames(`${tree.root}/${RESERVED}`), []);
  });
}
