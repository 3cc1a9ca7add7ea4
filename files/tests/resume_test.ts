/** Uploads that are interrupted and resumed, by digest or by the client's version of the file. */
import { Body, type BodyOut, ChunkedBody, type HeadersToSend } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import { RESERVED_DIRECTORY_NAME } from "@degu/internal/files/reserved.ts";
import { sha256Of } from "./bundles.ts";
import { speedUpTimeouts } from "@degu/testing/clock.ts";
import { listNames, readMode } from "@degu/testing/directories.ts";
import { RawPeer, waitForTick } from "@degu/testing/raw_peer.ts";
import { makePattern, makeTree } from "./served_directory.ts";
import { concat } from "@degu/testing/streams.ts";
import { listVisible } from "@degu/testing/transferring.ts";
import {
  digestOf,
  makeChunkedBody,
  makeUploadHeaders,
  readStatus,
  serveWritableDirectory,
} from "./written_directory.ts";
import { assert, assertEquals } from "@std/assert";

type Files = Awaited<ReturnType<typeof serveWritableDirectory>>;
type Pieces = readonly (string | Uint8Array)[];

const CONTENT = makePattern(300_000);
const CUT_BYTES = 100_000;

/** Requests the upload offset of a file. */
async function requestOffset(files: Files, uri: string, content = CONTENT): Promise<unknown> {
  const { status, headers, body } = await files.request("HEAD", uri, makeUploadHeaders(content));
  assertEquals([status, body, headers["repr-digest"]], [200, null, undefined]);
  return headers["upload-offset"];
}

/** Sends a PUT request, and returns the status and the upload offset of the response. */
async function sendPut(files: Files, uri: string, headers: HeadersToSend, body: BodyOut) {
  const response = await files.request("PUT", uri, headers, body);
  await response.body?.bytes();
  return [response.status, response.headers["upload-offset"]];
}

/** Sends the start of a PUT request, and waits until `until` bytes are on the disk. */
async function startPut(
  files: Files,
  uri: string,
  headers: HeadersToSend,
  until: number,
  ...body: Pieces
) {
  const peer = await RawPeer.connect(files.serving.address);
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  await peer.send(`PUT ${uri} HTTP/1.1\r\n${lines}\r\n`, ...body);
  await waitForSize(files, until);
  return peer;
}

/** Sends bytes of a file, waits until they are on the disk, and closes the connection. */
async function sendPart(files: Files, uri: string, stop = CUT_BYTES, content = CONTENT, start = 0) {
  const headers = {
    ...makeUploadHeaders(content, start),
    "content-length": content.length - start,
  };
  const { sessions } = files.serving.server;
  const oldSessionCount = sessions.size;
  const peer = await startPut(files, uri, headers, stop, content.subarray(start, stop));
  peer.close();
  // The server writes to the part until its session ends.
  while (sessions.size > oldSessionCount) await waitForTick();
}

/** Returns the sizes of the unfinished files, read in one tick. */
function readSizes(files: Files): number[] {
  const dir = `${files.root}/${RESERVED_DIRECTORY_NAME}`;
  return Array.from(Deno.readDirSync(dir), ({ name }) => Deno.statSync(`${dir}/${name}`).size);
}

/** Waits until a part has this size on the disk. */
async function waitForSize(files: Files, size: number): Promise<void> {
  const hasUnfinished = () => files.listUnfinished().then((names) => names.length > 0);
  while (!await hasUnfinished() || !readSizes(files).includes(size));
}

/** Returns the path of the only unfinished file. */
async function findPart(files: Files): Promise<string> {
  const [part = ""] = await files.listUnfinished();
  return `${files.root}/${RESERVED_DIRECTORY_NAME}/${part}`;
}

/** Sends the content from an offset. */
function putRemainder(files: Files, offset: number) {
  return sendPut(files, "/a", makeUploadHeaders(CONTENT, offset), CONTENT.subarray(offset));
}

Deno.test("an interrupted upload resumes at its offset", async () => {
  await using files = await serveWritableDirectory();
  assertEquals(await requestOffset(files, "/a/b"), "0");
  assertEquals(await listNames(files.root), ["file", "sub"], "the request creates no file");
  await sendPart(files, "/a/b");
  assertEquals(await requestOffset(files, "/a/b"), `${CUT_BYTES}`);
  assertEquals((await listNames(files.root)).includes("a"), false);
  assertEquals(await readMode(await findPart(files)), 0o600);
  await sendPart(files, "/a/b", 200_000, CONTENT, CUT_BYTES);
  assertEquals(await requestOffset(files, "/a/b"), "200000");
  const headers = {
    ...makeUploadHeaders(CONTENT, 200_000),
    "upload-modified": "2020-01-02T03:04:05Z",
  };
  assertEquals(await sendPut(files, "/a/b", headers, CONTENT.subarray(200_000)), [201, undefined]);
  assertEquals(await Deno.readFile(`${files.root}/a/b`), CONTENT);
  assertEquals((await Deno.stat(`${files.root}/a/b`)).mtime, new Date("2020-01-02T03:04:05Z"));
  await Deno.writeTextFile(`${files.root}/plain`, "");
  assertEquals(await readMode(`${files.root}/a/b`), await readMode(`${files.root}/plain`));
  assertEquals(await files.listUnfinished(), []);
  assertEquals(await requestOffset(files, "/a/b"), "300000", "the upload is complete");
});

Deno.test("a wrong offset gets the correct one, and offset 0 restarts the upload", async () => {
  await using files = await serveWritableDirectory();
  assertEquals(await putRemainder(files, 1), [409, "0"]);
  await sendPart(files, "/a");
  for (const wrongOffset of [1, CUT_BYTES - 1, CUT_BYTES + 1, CONTENT.length]) {
    assertEquals(await putRemainder(files, wrongOffset), [409, `${CUT_BYTES}`]);
  }
  assertEquals(await putRemainder(files, 0), [201, undefined]);
  assertEquals(await putRemainder(files, 7), [409, `${CONTENT.length}`], "the upload is complete");
  assertEquals(await Deno.readFile(`${files.root}/a`), CONTENT);
  // A different digest means a different file, even if the length is the same.
  const otherContent = CONTENT.toReversed();
  assertEquals(await requestOffset(files, "/a", otherContent), "0");
  const otherHeaders = makeUploadHeaders(otherContent, otherContent.length);
  assertEquals(await sendPut(files, "/a", otherHeaders, null), [409, "0"]);
});

Deno.test("only a writable app reports the upload offset, and only of a file that it would accept", async () => {
  await using files = await serveWritableDirectory({ maxBytes: CONTENT.length - 1 });
  assertEquals((await files.request("HEAD", "/a", makeUploadHeaders(CONTENT))).status, 413);
  await using readOnlyFiles = await serveWritableDirectory({ write: false });
  const head = await readOnlyFiles.request("HEAD", "/file", makeUploadHeaders(CONTENT));
  assertEquals([head.status, head.headers["upload-offset"]], [200, undefined]);
  const malformedHeaders = { "repr-digest": "x", "upload-length": "1" };
  assertEquals((await files.request("HEAD", "/a", malformedHeaders)).status, 400);
  const headResponse = await files.request("HEAD", "/file", { "repr-digest": "x" });
  assertEquals([headResponse.status, headResponse.headers["content-length"]], [200, 6]);
});

Deno.test("the server removes a part that doesn't match its digest", async () => {
  await using files = await serveWritableDirectory();
  await sendPart(files, "/a");
  await Deno.writeFile(await findPart(files), new Uint8Array(CUT_BYTES));
  assertEquals(await putRemainder(files, CUT_BYTES), [400, undefined]);
  assertEquals(await files.listUnfinished(), []);
  assertEquals(await requestOffset(files, "/a"), "0");
});

Deno.test("a part that has all bytes is completed without a further byte", async () => {
  await using files = await serveWritableDirectory();
  await sendPart(files, "/a");
  await Deno.writeFile(await findPart(files), CONTENT);
  assertEquals(await requestOffset(files, "/a"), `${CONTENT.length}`);
  assertEquals(await putRemainder(files, CONTENT.length), [201, undefined]);
  assertEquals(await Deno.readFile(`${files.root}/a`), CONTENT);
});

Deno.test("a resumed upload checks preconditions before it receives bytes", async () => {
  await using files = await serveWritableDirectory();
  await sendPart(files, "/a");
  const headers = { ...makeUploadHeaders(CONTENT, CUT_BYTES), "if-match": "*" };
  assertEquals(await sendPut(files, "/a", headers, CONTENT.subarray(CUT_BYTES)), [412, undefined]);
  assertEquals((await files.listUnfinished()).length, 1);
});

Deno.test("a newer request for a part ends the older request", async () => {
  await using files = await serveWritableDirectory();
  for (const newerMethod of ["HEAD", "PUT"]) {
    const headers = { ...makeUploadHeaders(CONTENT, 0), "content-length": CONTENT.length };
    const start = CONTENT.subarray(0, CUT_BYTES);
    using olderPeer = await startPut(files, "/a", headers, CUT_BYTES, start);
    if (newerMethod === "HEAD") assertEquals(await requestOffset(files, "/a"), `${CUT_BYTES}`);
    else assertEquals(await putRemainder(files, 0), [201, undefined]);
    assertEquals((await olderPeer.readUntil("\r\n\r\n")).slice(0, 21), "HTTP/1.1 409 Conflict");
  }
  assertEquals(await Deno.readFile(`${files.root}/a`), CONTENT);
  assertEquals(await files.listUnfinished(), []);
});

Deno.test("an upload abandons a part that another process is writing, and starts a new part", async () => {
  await using files = await serveWritableDirectory();
  await sendPart(files, "/a");
  using lockedPart = await Deno.open(await findPart(files), { write: true });
  await lockedPart.lock(true);
  {
    using _timeouts = speedUpTimeouts((milliseconds) => milliseconds === 30);
    assertEquals(await putRemainder(files, CUT_BYTES), [409, "0"]);
  }
  assertEquals(await files.listUnfinished(), []);
  await lockedPart.write(new Uint8Array(10));
  assertEquals(await putRemainder(files, 0), [201, undefined]);
  await lockedPart.write(new Uint8Array(10));
  assertEquals(await Deno.readFile(`${files.root}/a`), CONTENT);
});

Deno.test("an upload doesn't write to a part with a second hard link", async () => {
  await using files = await serveWritableDirectory();
  await sendPart(files, "/a");
  // A process leaves such a part if it is killed just after it has named the file.
  await Deno.link(await findPart(files), `${files.root}/served`);
  assertEquals(await putRemainder(files, 0), [201, undefined]);
  assertEquals(await Deno.readFile(`${files.root}/served`), CONTENT.subarray(0, CUT_BYTES));
  assertEquals(await files.listUnfinished(), []);
});

// Uploads that send a version of the file first, and its digest at the end.

const VERSION = { "upload-version": "1234abcd" };
const EMPTY = new Uint8Array(0);
const SHORTER = CONTENT.subarray(1);

const makeVersionHeaders = (content: Uint8Array, offset: number): HeadersToSend => ({
  ...VERSION,
  "upload-length": `${content.length}`,
  "upload-offset": `${offset}`,
});

const digestBytesOf = (content: Uint8Array) => Uint8Array.fromHex(sha256Of(content));

async function putFrom(files: Files, content: Uint8Array, offset: number) {
  const body = concat([content.subarray(offset), digestBytesOf(content)]);
  return await files.request("PUT", "/a", makeVersionHeaders(content, offset), body);
}

async function requestState(files: Files, content: Uint8Array, headers: HeadersToSend = {}) {
  const requestHeaders = { ...VERSION, "upload-length": `${content.length}`, ...headers };
  const response = await files.request("HEAD", "/a", requestHeaders);
  assertEquals(response.status, 200);
  return [response.headers["upload-offset"], response.headers["repr-digest"]];
}

/** Sends the start of a chunk, waits until it is in the part, and closes the connection. */
async function sendVersionPart(files: Files) {
  const headers = { ...makeVersionHeaders(CONTENT, 0), "transfer-encoding": "chunked" };
  const chunkHeader = `${(CUT_BYTES + 5).toString(16)}\r\n`;
  const start = CONTENT.subarray(0, CUT_BYTES);
  using peer = await startPut(files, "/a", headers, CUT_BYTES, chunkHeader, start);
  peer.close();
  // The server writes to the part until its session ends.
  while (files.serving.server.sessions.size > 0) await waitForTick();
}

Deno.test("an upload with a version resumes inside a chunk, and is checked by the digest at its end", async () => {
  await using files = await serveWritableDirectory();
  assertEquals(await requestState(files, CONTENT), ["0", undefined]);
  await sendVersionPart(files);
  assertEquals(await requestState(files, CONTENT), [`${CUT_BYTES}`, undefined]);
  const [status] = await sendPut(
    files,
    "/a",
    makeVersionHeaders(CONTENT, 5),
    concat([CONTENT.subarray(5), digestBytesOf(CONTENT)]),
  );
  assertEquals(status, 409);
  const response = await putFrom(files, CONTENT, CUT_BYTES);
  assertEquals([response.status, response.headers["repr-digest"]], [201, digestOf(CONTENT)]);
  assertEquals(await Deno.readFile(`${files.root}/a`), CONTENT);
  assertEquals(await files.listUnfinished(), []);
});

Deno.test("HEAD reports the digest of an existing file of the same length, if no part exists", async () => {
  await using files = await serveWritableDirectory();
  const digestHeaders = { "want-repr-digest": "sha-256=10" };
  assertEquals(await requestState(files, CONTENT, digestHeaders), ["0", undefined]);
  await Deno.writeFile(`${files.root}/a`, CONTENT.toReversed());
  const digest = digestOf(CONTENT.toReversed());
  assertEquals(await requestState(files, CONTENT, digestHeaders), ["0", digest]);
  assertEquals(await requestState(files, CONTENT), ["0", undefined]);
  assertEquals(await requestState(files, CONTENT.subarray(1), digestHeaders), ["0", undefined]);
  await sendVersionPart(files);
  assertEquals(await requestState(files, CONTENT, digestHeaders), [`${CUT_BYTES}`, undefined]);
});

const BY_VERSION = makeVersionHeaders(CONTENT, 0);
const BY_DIGEST = makeUploadHeaders(CONTENT, 0);
const LENGTH = { "upload-length": "300000" };
const makeWholeBody = () => CONTENT;
/** Makes a body that ends with the digest of the whole content by default. */
const makeDigestLast = (digest = digestBytesOf(CONTENT), content = CONTENT) => () =>
  concat([content, digest]);
/** Makes the chunked body that a proxy may send instead. */
const makeChunked = (digest = digestBytesOf(CONTENT), content = CONTENT) => () =>
  makeChunkedBody(content.subarray(0, 70_000), concat([content.subarray(70_000), digest]));
const withoutHeader = (name: string) =>
  Object.fromEntries(Object.entries(BY_DIGEST).filter(([headerName]) => headerName !== name));

const REJECTED_UPLOADS: readonly [rule: string, headers: HeadersToSend, body: () => BodyOut][] = [
  ["a length without a digest", withoutHeader("repr-digest"), makeWholeBody],
  ["a digest without a length", withoutHeader("upload-length"), makeWholeBody],
  ["a digest without an offset", withoutHeader("upload-offset"), makeWholeBody],
  ["another digest's algorithm", { ...BY_DIGEST, "repr-digest": "sha-512=:AAAA:" }, makeWholeBody],
  ["an offset beyond the end", { ...BY_DIGEST, "upload-offset": "300001" }, () => null],
  ["a digest, and a byte too few", BY_DIGEST, () => CONTENT.subarray(1)],
  ["a digest, and a byte too many", { ...BY_DIGEST, "upload-offset": "1" }, makeWholeBody],
  ["a digest, and another one at the end", BY_DIGEST, makeDigestLast()],
  ["a digest, and another one at the end of chunks", BY_DIGEST, makeChunked()],
  ["a digest, chunks, and a byte too few", BY_DIGEST, makeChunked(EMPTY, SHORTER)],
  ["a version, no offset, and nothing at the end", { ...VERSION, ...LENGTH }, makeWholeBody],
  ["a version, and no length", { ...VERSION, "upload-offset": "0" }, makeDigestLast()],
  ["a digest and a version", { ...BY_VERSION, ...makeUploadHeaders(CONTENT) }, makeDigestLast()],
  ["neither digest nor version", { ...LENGTH, "upload-offset": "0" }, makeDigestLast()],
  ["no digest at the end", BY_VERSION, makeWholeBody],
  ["a part of a digest at the end", BY_VERSION, makeDigestLast(digestBytesOf(CONTENT).subarray(1))],
  [
    "a digest in hexadecimal digits",
    BY_VERSION,
    makeDigestLast(new TextEncoder().encode(sha256Of(CONTENT))),
  ],
  ["another digest", BY_VERSION, makeDigestLast(digestBytesOf(EMPTY))],
  ["a byte too few", BY_VERSION, makeDigestLast(digestBytesOf(SHORTER), SHORTER)],
  ["a byte too few in chunks", BY_VERSION, makeChunked(digestBytesOf(SHORTER), SHORTER)],
  ["a byte too many", makeVersionHeaders(SHORTER, 0), makeDigestLast()],
  ["a byte too many in chunks", makeVersionHeaders(SHORTER, 0), makeChunked()],
  ["whole, and no digest at the end", LENGTH, makeWholeBody],
  ["whole, and another digest", LENGTH, makeDigestLast(digestBytesOf(EMPTY))],
  ["whole, and a byte too few", { "upload-length": "300001" }, makeDigestLast()],
  ["whole, and a byte too few in chunks", { "upload-length": "300001" }, makeChunked()],
];

Deno.test("PUT rejects an upload that contradicts itself or its headers, and keeps no bytes", async () => {
  await using files = await serveWritableDirectory();
  for (const [rule, headers, body] of REJECTED_UPLOADS) {
    assertEquals(await sendPut(files, "/a", headers, body()), [400, undefined], rule);
    assertEquals(await files.listUnfinished(), [], rule);
    assertEquals((await listNames(files.root)).includes("a"), false, rule);
  }
  // Proxies send one coding as the other.
  const accepted: readonly [headers: HeadersToSend, body: BodyOut][] = [
    [LENGTH, makeDigestLast()()],
    [LENGTH, makeChunked()()],
    [BY_VERSION, makeDigestLast()()],
    [BY_VERSION, makeChunked()()],
    [BY_DIGEST, makeWholeBody()],
    [BY_DIGEST, makeChunked(EMPTY)()],
  ];
  for (const [headers, body] of accepted) {
    const [status] = await sendPut(files, "/a", headers, body);
    assertEquals(status, 201);
    assertEquals(await Deno.readFile(`${files.root}/a`), CONTENT);
    await Deno.remove(`${files.root}/a`);
  }
});

Deno.test("PUT rejects a mix of two files of the same length and version", async () => {
  await using files = await serveWritableDirectory();
  const otherContent = CONTENT.toReversed();
  await sendVersionPart(files);
  // Clients without certificates share their parts.
  assertEquals(await readStatus(await putFrom(files, otherContent, CUT_BYTES)), 400);
  assertEquals([await files.listUnfinished(), await listVisible(files.root)], [[], [
    "file",
    "sub",
  ]]);
  await sendVersionPart(files);
  await Deno.writeFile(await findPart(files), otherContent.subarray(0, CUT_BYTES));
  assertEquals(await readStatus(await putFrom(files, CONTENT, CUT_BYTES)), 400);
  assertEquals([await files.listUnfinished(), await listVisible(files.root)], [[], [
    "file",
    "sub",
  ]]);
});

/** Headers and bodies of uploads that are identified by digest or by version. */
const UPLOAD_FORMS: Readonly<Record<string, () => [HeadersToSend, Body | ChunkedBody]>> = {
  digest:
    () => [makeUploadHeaders(CONTENT, 0), new Body(new Blob([CONTENT]).stream(), CONTENT.length)],
  version: () => {
    const encoder = new TransformStream<Uint8Array, Uint8Array>();
    const body = makeChunkedBody(CONTENT, digestBytesOf(CONTENT));
    body.writeTo(encoder.writable).then(() => encoder.writable.close()).catch(() => {});
    return [makeVersionHeaders(CONTENT, 0), new ChunkedBody(encoder.readable)];
  },
};

for (const [form, makeUpload] of Object.entries(UPLOAD_FORMS)) {
  Deno.test(`the last of many simultaneous uploads to two apps, identified by ${form}, succeeds`, async () => {
    await using tree = await makeTree();
    const apps = [0, 1].map(() => new FilesApp(tree.root, { write: true }));
    const statuses = await Promise.all(Array.from({ length: 12 }, async (_, i) => {
      return (await apps[i % 2]!.handle(mkreq("PUT", "/a", ...makeUpload())))[0];
    }));
    assert(statuses.every((status) => [201, 204, 409].includes(status)), `${statuses}`);
    assert(statuses.at(-1)! < 300, `${statuses}`);
    assertEquals(await Deno.readFile(`${tree.root}/a`), CONTENT);
    assertEquals(await listNames(`${tree.root}/${RESERVED_DIRECTORY_NAME}`), []);
  });
}
