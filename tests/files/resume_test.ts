/** Uploads that were cut, and go on. */
import { assert, assertEquals } from "@std/assert";
import { Body, BodyIter, type BodyOut, ChunkedBodyIter, type HeaderDict } from "../../base.ts";
import { guardSession } from "../../base/admission.ts";
import { FilesApp, type FilesOptions } from "../../files.ts";
import { RESERVED } from "../../files/reserved.ts";
import { mkreq } from "../../misc.ts";
import { type PeerCertificate, Session } from "../../server.ts";
import { entries, mode } from "../support/directories.ts";
import { RawPeer } from "../support/raw_peer.ts";
import { makeTree, pattern } from "../support/served_directory.ts";
import { openFilesBelow } from "../support/special_files.ts";
import { digestOf, serveForWriting } from "../support/written_directory.ts";

type Files = Awaited<ReturnType<typeof serveForWriting>>;

const CONTENT = pattern(300_000);
const CUT = 100_000;

/** The headers of an upload. */
function upload(content: Uint8Array, offset?: number): HeaderDict {
  return {
    "repr-digest": digestOf(content),
    "upload-length": `${content.length}`,
    ...(offset === undefined ? {} : { "upload-offset": `${offset}` }),
  };
}

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

Deno.test("an upload that was cut goes on where it was", async () => {
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

Deno.test("an upload may be of any size, and in one go", async () => {
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

Deno.test("a wrong offset is told the right one, and 0 begins anew", async () => {
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

Deno.test("an upload that leaves something open is 400", async () => {
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

Deno.test("how much is here is asked only where a file could be written", async () => {
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

Deno.test("a part that fails its digest is removed", async () => {
  await using files = await serveForWriting();
  await cut(files, "/a");
  const [part = ""] = await files.unfinished();
  await Deno.writeFile(`${files.root}/${RESERVED}/${part}`, new Uint8Array(CUT));
  const rest = await put(files, "/a", upload(CONTENT, CUT), CONTENT.subarray(CUT));
  assertEquals(rest, [400, undefined]);
  assertEquals(await files.unfinished(), []);
  assertEquals(await offsetOf(files, "/a"), "0");
});

Deno.test("preconditions hold for an upload that goes on, at its beginning and at its end", async () => {
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

Deno.test("of many requests for one part at once the last one wins, and nothing breaks", async () => {
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

Deno.test("a part that another process writes to is given up, and begun anew", async () => {
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

Deno.test("a part that has another name as well is not written to", async () => {
  await using files = await serveForWriting();
  await cut(files, "/a");
  // What a process leaves behind that is killed when it has just given a file its name.
  await Deno.link(await partOf(files), `${files.root}/served`);
  assertEquals(await put(files, "/a", upload(CONTENT, 0), CONTENT), [201, undefined]);
  assertEquals(await Deno.readFile(`${files.root}/served`), CONTENT.subarray(0, CUT));
  assertEquals(await files.unfinished(), []);
});

// ───────────────────────── whose part it is

/** A session of a client with a key, vouched for by an authority. */
function sessionOf(key: string, authority: string | null): Session {
  const vouching = {
    subject: "",
    fingerprint256: "",
    publicKey256: authority ?? "",
    raw: new Uint8Array(),
  };
  const certificate: PeerCertificate = {
    subject: "CN=peer",
    issuer: "CN=peer",
    subjectAltNames: [],
    fingerprint256: crypto.randomUUID(),
    publicKey256: key,
    authority: authority === null ? null : vouching,
    validFrom: new Date(0),
    validTo: new Date(0),
    raw: new Uint8Array(),
  };
  return new Session("peer", null, 1000, certificate);
}

/** An app without a server, whose clients are whoever the test says. */
async function makeApp(options: FilesOptions = {}) {
  const tree = await makeTree();
  const app = new FilesApp(tree.root, { write: true, ...options });
  return {
    ...tree,
    app,
    /** Sends the first bytes of a file, and then nothing more. */
    async cut(session: Session | undefined, uri: string, content: Uint8Array, until: number) {
      const cutting = new Error("cut");
      const stream = ReadableStream.from((function* () {
        yield content.slice(0, until);
        throw cutting;
      })());
      const body = new Body(stream, content.length);
      const request = mkreq("PUT", uri, upload(content, 0), body);
      assertEquals(await app.handle(request, session).catch((error) => error), cutting);
    },
    /** How much is here. */
    async offset(session: Session | undefined, uri: string, content: Uint8Array) {
      const [, , headers] = await app.handle(mkreq("HEAD", uri, upload(content)), session);
      return Number(headers["upload-offset"]);
    },
  };
}

Deno.test("a part is found only by the client that has sent it", async () => {
  await using files = await makeApp();
  const mine = sessionOf("a key", "an authority");
  await files.cut(mine, "/a", CONTENT, 1000);
  assertEquals(await files.offset(mine, "/a", CONTENT), 1000);
  assertEquals(await files.offset(sessionOf("a key", "an authority"), "/a", CONTENT), 1000);
  const strangers = [
    sessionOf("another key", "an authority"),
    sessionOf("a key", "another authority"),
    sessionOf("a key", null),
    sessionOf("an authority", "a key"),
    new Session("peer", null, 1),
    undefined,
  ];
  for (const [i, session] of strangers.entries()) {
    assertEquals(await files.offset(session, "/a", CONTENT), 0, `${i}`);
  }
  assertEquals(await files.offset(mine, "/b", CONTENT), 0, "another name");
  assertEquals(await files.offset(mine, "/a", CONTENT.toReversed()), 0, "another digest");
  assertEquals(await files.offset(mine, "/a", CONTENT.subarray(1)), 0, "another length");
  // Where nobody has a certificate all count as one.
  await files.cut(undefined, "/a", CONTENT, 2000);
  assertEquals(await files.offset(new Session("other", null, 1), "/a", CONTENT), 2000);
});

/** Makes the times at which parts were written differ, in the order in which they were. */
async function agePart(root: string, minutes: number, known: Set<string>): Promise<void> {
  for (const name of await entries(`${root}/${RESERVED}`)) {
    if (known.has(name)) continue;
    known.add(name);
    const time = new Date(Date.now() - minutes * 60_000);
    await Deno.utime(`${root}/${RESERVED}/${name}`, time, time);
  }
}

Deno.test("the oldest part of the same authority goes where there are too many", async () => {
  await using files = await makeApp();
  const known = new Set<string>();
  const other = sessionOf("other", "other");
  await files.cut(other, "/other", CONTENT, 5);
  await agePart(files.root, 1000, known);
  // Two clients of one authority share what it may have.
  const clients = [sessionOf("1", "A"), sessionOf("2", "A")];
  for (let i = 0; i < 17; i++) {
    await files.cut(clients[i % 2], `/${i}`, CONTENT, 10 + i);
    await agePart(files.root, 100 - i, known);
  }
  const found: number[] = [];
  for (let i = 0; i < 17; i++) found.push(await files.offset(clients[i % 2], `/${i}`, CONTENT));
  assertEquals(found, [0, ...Array.from({ length: 16 }, (_, i) => 11 + i)]);
  assertEquals(await files.offset(other, "/other", CONTENT), 5, "never another's");
});

Deno.test("the oldest parts of the same authority go where they are too large", async () => {
  await using files = await makeApp({ maxPartBytes: 1000 });
  const known = new Set<string>();
  const other = sessionOf("other", "other");
  const mine = sessionOf("1", "A");
  await files.cut(other, "/other", pattern(900), 800);
  await agePart(files.root, 1000, known);
  for (let i = 0; i < 3; i++) {
    await files.cut(mine, `/${i}`, pattern(450 + i), 400);
    await agePart(files.root, 100 - i, known);
  }
  const offsets = [];
  for (let i = 0; i < 3; i++) offsets.push(await files.offset(mine, `/${i}`, pattern(450 + i)));
  assertEquals(offsets, [0, 400, 400]);
  assertEquals(await files.offset(other, "/other", pattern(900)), 800);
  // A file that is larger by itself arrives all the same; of what was cut as much stays as there is room for.
  await files.cut(mine, "/large", CONTENT, 100_000);
  assertEquals(await files.offset(mine, "/large", CONTENT), 1000);
  const rest = new Body(new Blob([CONTENT.slice(1000)]).stream(), CONTENT.length - 1000);
  const [status] = await files.app.handle(
    mkreq("PUT", "/large", upload(CONTENT, 1000), rest),
    mine,
  );
  assertEquals(status, 201);
});

Deno.test("parts of several GiB are as good as small ones", async () => {
  await using files = await makeApp();
  const length = 5 * 1024 ** 3;
  const headers = { "repr-digest": digestOf(CONTENT), "upload-length": `${length}` };
  const cutting = new Error("cut");
  const body = new Body(
    ReadableStream.from((function* () {
      yield new Uint8Array(1);
      throw cutting;
    })()),
    length,
  );
  const put = mkreq("PUT", "/large", { ...headers, "upload-offset": "0" }, body);
  assertEquals(await files.app.handle(put).catch((error) => error), cutting);
  const [part = ""] = await entries(`${files.root}/${RESERVED}`);
  await Deno.truncate(`${files.root}/${RESERVED}/${part}`, length - 3);
  const [status, , told] = await files.app.handle(mkreq("HEAD", "/large", headers));
  assertEquals([status, told["upload-offset"]], [200, `${length - 3}`]);
  const wrong = mkreq("PUT", "/large", { ...headers, "upload-offset": `${length}` });
  const [refused, , right] = await files.app.handle(wrong);
  assertEquals([refused, right["upload-offset"]], [409, `${length - 3}`]);
});

// ───────────────────────── how long it is kept

Deno.test("what is unfinished goes after 24 hours, and nothing else", async () => {
  await using tree = await makeTree();
  const reserved = `${tree.root}/${RESERVED}`;
  await Deno.mkdir(reserved, { mode: 0o700 });
  const hours: Record<string, number> = {
    [`put-${"0".repeat(32)}`]: 25,
    [`put-${"1".repeat(32)}`]: 23,
    [`part-${"0".repeat(32)}-${"0".repeat(64)}`]: 25,
    [`part-${"0".repeat(32)}-${"1".repeat(64)}`]: 23,
    [`part-${"0".repeat(32)}-${"2".repeat(64)}`]: -25,
    "put-of-somebody": 25,
    "notes": 25,
  };
  for (const [name, age] of Object.entries(hours)) {
    await Deno.writeTextFile(`${reserved}/${name}`, "text");
    const time = new Date(Date.now() - age * 3_600_000);
    await Deno.utime(`${reserved}/${name}`, time, time);
  }
  new FilesApp(tree.root, { list: true });
  assertEquals((await entries(reserved)).length, Object.keys(hours).length, "it may only read");
  new FilesApp(tree.root, { write: true });
  assertEquals(await entries(reserved), [
    "notes",
    `part-${"0".repeat(32)}-${"1".repeat(64)}`,
    `put-${"1".repeat(32)}`,
    "put-of-somebody",
  ]);
});

Deno.test("what has become too old is looked for once an hour", async () => {
  await using files = await makeApp();
  const part = `${files.root}/${RESERVED}/put-${"0".repeat(32)}`;
  await Deno.mkdir(`${files.root}/${RESERVED}`, { mode: 0o700 });
  await Deno.writeTextFile(part, "text");
  const time = new Date(Date.now() - 25 * 3_600_000);
  await Deno.utime(part, time, time);
  const { now } = Date;
  try {
    for (const [minutes, left] of [[0, 1], [59, 1], [61, 0]] as const) {
      Date.now = () => now() + minutes * 60_000;
      await files.offset(undefined, "/a", CONTENT);
      assertEquals((await entries(`${files.root}/${RESERVED}`)).length, left, `${minutes} minutes`);
    }
  } finally {
    Date.now = now;
  }
});

// ───────────────────────── who may go on

Deno.test("a peer that is no longer admitted gets nothing renamed or deleted", async () => {
  await using files = await makeApp();
  const session = sessionOf("1", "A");
  let admitted = true;
  guardSession(session, () => Promise.resolve(admitted));
  const send = async (headers: HeaderDict) => {
    const stream = ReadableStream.from((function* () {
      yield CONTENT.slice(0, 1000);
      admitted = false;
      yield CONTENT.slice(1000);
    })());
    admitted = true;
    const request = mkreq("PUT", "/a", headers, new Body(stream, CONTENT.length));
    const [status] = await files.app.handle(request, session);
    return status;
  };
  assertEquals(await send({}), 403);
  assertEquals(await send(upload(CONTENT, 0)), 403);
  const [status] = await files.app.handle(mkreq("DELETE", "/file"), session);
  assertEquals(status, 403);
  assertEquals((await entries(files.root)).filter((name) => name !== RESERVED), ["file", "sub"]);
  if (Deno.build.os === "linux") assertEquals(await openFilesBelow(files.root), []);
  admitted = true;
  const [deleted] = await files.app.handle(mkreq("DELETE", "/file"), session);
  assertEquals(deleted, 204);
});
