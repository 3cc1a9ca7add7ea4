/** Parts of uploads: their owners, their number, and their lifetime. */
import { assert, assertEquals } from "@std/assert";
import { Body, type HeaderDict } from "@degu/degu/base";
import { guardSession } from "@degu/internal/base/app/session.ts";
import { FilesApp, type FilesOptions } from "@degu/degu/files";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import { mkreq } from "@degu/degu/misc";
import { type PeerCertificate, Session } from "@degu/degu/server";
import { entries } from "@degu/testing/directories.ts";
import { makeTree, pattern } from "@degu/testing/served_directory.ts";
import { openFilesBelow } from "@degu/testing/special_files.ts";
import { digestOf, upload } from "@degu/testing/written_directory.ts";

const CONTENT = pattern(300_000);

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

Deno.test("a part is found only by the client that sent it", async () => {
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

Deno.test("the oldest part of the same authority is removed if there are too many", async () => {
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

Deno.test("the oldest parts of the same authority are removed if they are too large", async () => {
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

Deno.test("parts that are cut at the same time stay within the limit together", async () => {
  const maxPartBytes = 100_000;
  await using files = await makeApp({ maxPartBytes });
  const mine = sessionOf("1", "A");
  const contents = Array.from({ length: 10 }, (_, i) => pattern(100_000 + i));
  const all = Promise.withResolvers<void>();
  let arrived = 0;
  const answers = contents.map((content, i) => {
    const stream = ReadableStream.from((async function* () {
      yield content.slice(0, 90_000);
      if (++arrived === contents.length) all.resolve();
      await all.promise;
      throw new Error("cut");
    })());
    const body = new Body(stream, content.length);
    return files.app.handle(mkreq("PUT", `/${i}`, upload(content, 0), body), mine);
  });
  await Promise.allSettled(answers);
  let total = 0;
  for (const [i, content] of contents.entries()) {
    total += await files.offset(mine, `/${i}`, content);
  }
  let held = 0;
  for (const name of await entries(`${files.root}/${RESERVED}`)) {
    held += (await Deno.stat(`${files.root}/${RESERVED}/${name}`)).size;
  }
  assertEquals(held, total);
  assert(held >= 90_000 && held <= maxPartBytes, `${held}`);
});

Deno.test("a length that is only announced takes no room from other parts", async () => {
  await using files = await makeApp({ maxPartBytes: 1000 });
  const mine = sessionOf("1", "A");
  await files.cut(mine, "/a", CONTENT, 600);
  const length = Number.MAX_SAFE_INTEGER;
  const announce = async (bytes: number) => {
    const cutting = new Error("cut");
    const stream = ReadableStream.from((function* () {
      if (bytes > 0) yield new Uint8Array(bytes);
      throw cutting;
    })());
    const headers = { ...upload(CONTENT, 0), "upload-length": `${length}` };
    const request = mkreq("PUT", "/b", headers, new Body(stream, length));
    assertEquals(await files.app.handle(request, mine).catch((error) => error), cutting);
  };
  await announce(0);
  assertEquals(await files.offset(mine, "/a", CONTENT), 600);
  await announce(400);
  assertEquals(await files.offset(mine, "/a", CONTENT), 600, "there is room for both");
  await announce(401);
  assertEquals(await files.offset(mine, "/a", CONTENT), 0);
});

Deno.test("parts of several GiB work like small ones", async () => {
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

// ───────────────────────── who may go on

Deno.test("a peer that is no longer admitted can't complete a rename or delete", async () => {
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
  // A file that is here already keeps its time, too.
  const content = await Deno.readFile(`${files.root}/file`);
  const timed = { ...upload(content, content.length), "upload-modified": "2020-01-02T03:04:05Z" };
  const before = (await Deno.stat(`${files.root}/file`)).mtime;
  admitted = false;
  assertEquals((await files.app.handle(mkreq("PUT", "/file", timed), session))[0], 403);
  assertEquals((await Deno.stat(`${files.root}/file`)).mtime, before);
  assertEquals((await entries(files.root)).filter((name) => name !== RESERVED), ["file", "sub"]);
  if (Deno.build.os === "linux") assertEquals(await openFilesBelow(files.root), []);
  admitted = true;
  const [deleted] = await files.app.handle(mkreq("DELETE", "/file"), session);
  assertEquals(deleted, 204);
});
