/** Uploads that are interrupted and resumed. */
import { assert, assertEquals } from "@std/assert";
import { Body, BodyIter, type BodyOut, ChunkedBodyIter, type HeaderDict } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import { mkreq } from "@degu/degu/misc";
import { entries, mode } from "@degu/testing/directories.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { makeTree, pattern } from "@degu/testing/served_directory.ts";
import { serveForWriting, upload } from "@degu/testing/written_directory.ts";

type Files = Awaited<ReturnType<typeof serveForWriting>>;

const CONTENT = pattern(300_000);
const CUT = 100_000;

/** Asks how much of a file is here. */
async function offsetOf(files: Files, uri: string, content = CONTENT): Promise<unknown> {
  const { status, headers, body } = await files.request("HEAD", uri, upload(content));
  assertEquals([status, body], [200, null]);
  return headers["upload-offset"];
}

/** PUTs; the status, and the offset that a refusal has. */
async function put(files: Files, uri: string, headers: HeaderDict, body: BodyOut) {
  const response = await files.request("PUT", uri, headers, body);
  await response.body?.bytes();
  return [response.status, response.headers["upload-offset"]];
}

/** Sends the first bytes of the rest of a file, waits until they are on the disk, and leaves. */
async function cut(files: Files, uri: string, until = CUT, content = CONTENT, from = 0) {
  using peer = await RawPeer.connect(files.serving.address);
  const headers = { ...upload(content, from), "content-length": content.length - from };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  await peer.send(`PUT ${uri} HTTP/1.1\r\n${lines}\r\n`, content.subarray(from, until));
  await waitForSize(files, until);
}

/** The sizes of what is unfinished, looked at in one turn. */
function sizes(files: Files): number[] {
  const dir = `${files.root}/${RESERVED}`;
  return Array.from(Deno.readDirSync(dir), ({ name }) => Deno.statSync(`${dir}/${name}`).size);
}

/** Waits until so much of a part is on the disk. */
async function waitForSize(files: Files, size: number): Promise<void> {
  const isMade = () => files.unfinished().then((names) => names.length > 0);
  while (!await isMade() || !sizes(files).includes(size));
}

Deno.test("an interrupted upload resumes where it was", async () => {
  await using files = await serveForWriting();
  assertEquals(await offsetOf(files, "/a/b"), "0");
  assertEquals(await entries(files.root), ["file", "sub"], "to ask makes nothing");
  await cut(files, "/a/b");
  assertEquals(await offsetOf(files, "/a/b"), `${CUT}`);
  assertEquals((await entries(files.root)).includes("a"), false);
  const [part = ""] = await files.unfinished();
  assertEquals(await mode(`${files.root}/${RESERVED}/${part}`), 0o600);
  await cut(files, "/a/b", 200_000, CONTENT, CUT);
  assertEquals(await offsetOf(files, "/a/b"), "200000");
  const headers = { ...upload(CONTENT, 200_000), "upload-modified": "2020-01-02T03:04:05Z" };
  assertEquals(await put(files, "/a/b", headers, CONTENT.subarray(200_000)), [201, undefined]);
  assertEquals(await Deno.readFile(`${files.root}/a/b`), CONTENT);
  assertEquals((await Deno.stat(`${files.root}/a/b`)).mtime, new Date("2020-01-02T03:04:05Z"));
  await Deno.writeTextFile(`${files.root}/plain`, "");
  assertEquals(await mode(`${files.root}/a/b`), await mode(`${files.root}/plain`));
  assertEquals(await files.unfinished(), []);
  assertEquals(await offsetOf(files, "/a/b"), "300000", "all of it is here");
});

Deno.test("an upload may be of any size, and in a single request", async () => {
  await using files = await serveForWriting();
  for (const size of [0, 1, 524288, 524289, 1_500_000]) {
    const content = pattern(size);
    assertEquals(await offsetOf(files, `/${size}`, content), "0");
    assertEquals(await put(files, `/${size}`, upload(content, 0), content), [201, undefined]);
    assertEquals(await Deno.readFile(`${files.root}/${size}`), content);
    assertEquals(await offsetOf(files, `/${size}`, content), `${size}`);
    assertEquals(await put(files, `/${size}`, upload(content, 0), content), [204, undefined]);
    const nothing = await put(files, `/${size}`, upload(content, size), null);
    assertEquals(nothing, [204, undefined], "the end of what is here already");
  }
  assertEquals(await files.unfinished(), []);
});

Deno.test("a wrong offset is answered with the right one, and offset 0 starts over", async () => {
  await using files = await serveForWriting();
  const rest = (offset: number) =>
    put(files, "/a", upload(CONTENT, offset), CONTENT.subarray(offset));
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
});

Deno.test("a file that is already present gets the time of the upload", async () => {
  await using files = await serveForWriting();
  const time = "2020-01-02T03:04:05.679Z";
  const again = (headers: HeaderDict) =>
    put(
      files,
      "/a",
      { ...upload(CONTENT, CONTENT.length), "upload-modified": time, ...headers },
      null,
    );
  const modified = async () => (await Deno.stat(`${files.root}/a`)).mtime;
  assertEquals(await put(files, "/a", upload(CONTENT, 0), CONTENT), [201, undefined]);
  const before = await modified();
  assertEquals(await again({ "if-none-match": "*" }), [412, undefined]);
  assertEquals(await modified(), before);
  assertEquals(await again({}), [204, undefined]);
  assertEquals(await modified(), new Date(time));
  assertEquals(await put(files, "/a", upload(CONTENT, CONTENT.length), null), [204, undefined]);
  assertEquals(await modified(), new Date(time), "no time, no change");
  assertEquals(await offsetOf(files, "/a"), `${CONTENT.length}`);
});

Deno.test("an upload with missing, invalid or contradictory headers is answered with 400", async () => {
  await using files = await serveForWriting();
  const all = upload(CONTENT, 0);
  const without = (name: string) =>
    Object.fromEntries(Object.entries(all).filter(([other]) => other !== name));
  const whole: BodyOut = CONTENT;
  const cases: [headers: HeaderDict, body: BodyOut][] = [
    [without("repr-digest"), whole],
    [without("upload-length"), whole],
    [without("upload-offset"), whole],
    [{ ...all, "repr-digest": "sha-512=:AAAA:" }, whole],
    [{ ...all, "repr-digest": "x" }, whole],
    [{ ...all, "upload-length": "300000.0" }, whole],
    [{ ...all, "upload-length": "-1" }, whole],
    [{ ...all, "upload-length": "9007199254740992" }, whole],
    [{ ...all, "upload-offset": "00" }, whole],
    [{ ...all, "upload-offset": "300001" }, null],
    [all, CONTENT.subarray(1)],
    [{ ...all, "upload-offset": "1" }, whole],
    [all, null],
    [all, new ChunkedBodyIter([[null, CONTENT], [null, new Uint8Array(0)]])],
  ];
  for (const [headers, body] of cases) {
    assertEquals(await put(files, "/a", headers, body), [400, undefined], Deno.inspect(headers));
  }
  const asked = { "repr-digest": "x", "upload-length": "1" };
  assertEquals((await files.request("HEAD", "/a", asked)).status, 400);
  assertEquals(await entries(files.root), ["file", "sub"]);
});

Deno.test("the upload offset can be requested only for a path that can be written", async () => {
  await using files = await serveForWriting({ maxBytes: CONTENT.length - 1 });
  const cases: [uri: string, status: number][] = [
    ["/", 403],
    [`/${RESERVED}/a`, 403],
    ["/sub", 409],
    ["/file/a", 409],
    ["/a:b", 404],
    ["/a", 413],
  ];
  for (const [uri, status] of cases) {
    const response = await files.request("HEAD", uri, upload(CONTENT));
    assertEquals([response.status, response.body], [status, null], uri);
  }
  await using reader = await serveForWriting({ write: false });
  const head = await reader.request("HEAD", "/file", upload(CONTENT));
  assertEquals([head.status, head.headers["upload-offset"]], [200, undefined]);
  const plain = await files.request("HEAD", "/file", { "repr-digest": "x" });
  assertEquals([plain.status, plain.headers["content-length"]], [200, 6]);
});

Deno.test("a part that does not match its digest is removed", async () => {
  await using files = await serveForWriting();
  await cut(files, "/a");
  const [part = ""] = await files.unfinished();
  await Deno.writeFile(`${files.root}/${RESERVED}/${part}`, new Uint8Array(CUT));
  const rest = await put(files, "/a", upload(CONTENT, CUT), CONTENT.subarray(CUT));
  assertEquals(rest, [400, undefined]);
  assertEquals(await files.unfinished(), []);
  assertEquals(await offsetOf(files, "/a"), "0");
});

Deno.test("preconditions apply to a resumed upload, at its start and at its end", async () => {
  await using files = await serveForWriting();
  await cut(files, "/a");
  const rest = CONTENT.subarray(CUT);
  const headers = (condition: HeaderDict) => ({ ...upload(CONTENT, CUT), ...condition });
  assertEquals(await put(files, "/a", headers({ "if-match": "*" }), rest), [412, undefined]);
  assertEquals((await files.unfinished()).length, 1, "nothing was received");
  const body = new BodyIter(
    (function* () {
      yield rest.subarray(0, 1);
      Deno.writeTextFileSync(`${files.root}/a`, "of somebody else");
      yield rest.subarray(1);
    })(),
    rest.length,
  );
  // Whether it is there at the beginning or at the end only.
  assertEquals(await put(files, "/a", headers({ "if-none-match": "*" }), body), [412, undefined]);
  assertEquals(await files.read("a"), "of somebody else");
});

Deno.test("a newer request for the same part ends the older one", async () => {
  await using files = await serveForWriting();
  for (const newer of ["HEAD", "PUT"]) {
    using old = await RawPeer.connect(files.serving.address);
    const headers = { ...upload(CONTENT, 0), "content-length": CONTENT.length };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join("");
    await old.send(`PUT /a HTTP/1.1\r\n${lines}\r\n`, CONTENT.subarray(0, CUT));
    await waitForSize(files, CUT);
    if (newer === "HEAD") assertEquals(await offsetOf(files, "/a"), `${CUT}`);
    else assertEquals(await put(files, "/a", upload(CONTENT, 0), CONTENT), [201, undefined]);
    assertEquals((await old.readUntil("\r\n\r\n")).slice(0, 21), "HTTP/1.1 409 Conflict");
  }
  assertEquals(await Deno.readFile(`${files.root}/a`), CONTENT);
  assertEquals(await files.unfinished(), []);
});

Deno.test("of many simultaneous requests for one part the last one wins, and nothing breaks", async () => {
  await using tree = await makeTree();
  const apps = [0, 1].map(() => new FilesApp(tree.root, { write: true }));
  const statuses = await Promise.all(Array.from({ length: 12 }, async (_, i) => {
    const body = new Body(new Blob([CONTENT]).stream(), CONTENT.length);
    const request = mkreq("PUT", "/a", upload(CONTENT, 0), body);
    const [status] = await apps[i % 2]!.handle(request);
    return status;
  }));
  assert(
    statuses.every((status) => status === 201 || status === 204 || status === 409),
    `${statuses}`,
  );
  assert(statuses.at(-1)! < 300, `${statuses}`);
  assertEquals(await Deno.readFile(`${tree.root}/a`), CONTENT);
  assertEquals(await entries(`${tree.root}/${RESERVED}`), []);
});

/** The path of the only part that there is. */
async function partOf(files: Files): Promise<string> {
  const [part = ""] = await files.unfinished();
  return `${files.root}/${RESERVED}/${part}`;
}

Deno.test("a part that another process is writing is abandoned, and a new one started", async () => {
  await using files = await serveForWriting();
  await cut(files, "/a");
  using locked = await Deno.open(await partOf(files), { write: true });
  await locked.lock(true);
  assertEquals(await put(files, "/a", upload(CONTENT, CUT), CONTENT.subarray(CUT)), [409, "0"]);
  assertEquals(await files.unfinished(), []);
  await locked.write(new Uint8Array(10));
  assertEquals(await put(files, "/a", upload(CONTENT, 0), CONTENT), [201, undefined]);
  await locked.write(new Uint8Array(10));
  assertEquals(await Deno.readFile(`${files.root}/a`), CONTENT);
});

Deno.test("a part with a second hard link is not written", async () => {
  await using files = await serveForWriting();
  await cut(files, "/a");
  // What a process leaves behind that is killed when it has just given a file its name.
  await Deno.link(await partOf(files), `${files.root}/served`);
  assertEquals(await put(files, "/a", upload(CONTENT, 0), CONTENT), [201, undefined]);
  assertEquals(await Deno.readFile(`${files.root}/served`), CONTENT.subarray(0, CUT));
  assertEquals(await files.unfinished(), []);
});
