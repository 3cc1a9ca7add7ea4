/** Digests of served files. */
import { assert, assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { type HeaderDict, Range } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import { WANT_SHA256 } from "@degu/internal/files/digest.ts";
import { digestFile, KnownDigests } from "@degu/internal/files/file_digest.ts";
import { openBelow } from "@degu/internal/files/open_file.ts";
import { mkreq } from "@degu/degu/misc";
import { setClockAhead } from "@degu/testing/clock.ts";
import { makeTree, pattern, serveDirectory } from "@degu/testing/served_directory.ts";
import { openFilesBelow } from "@degu/testing/special_files.ts";
import { digestOf } from "@degu/testing/written_directory.ts";

const WANT: HeaderDict = { "want-repr-digest": WANT_SHA256 };
type Files = Awaited<ReturnType<typeof serveDirectory>>;

async function digestSent(files: Files, uri: string, headers: HeaderDict = WANT) {
  const { headers: sent, body } = await files.conn.request("GET", uri, headers, null);
  await body?.bytes();
  return sent["repr-digest"];
}

Deno.test("HEAD returns the digest of a file of any size, if it is requested", async () => {
  await using files = await serveDirectory();
  for (const size of [0, 1, 32769, 524288, 524289, 3_000_000]) {
    await files.write("file", pattern(size));
    for (let turn = 0; turn < 2; turn++) {
      const { status, headers } = await files.conn.head("/file", WANT);
      assertEquals([status, headers["repr-digest"]], [200, digestOf(pattern(size))], `${size}`);
      assertEquals(headers["content-length"], size);
    }
  }
  const unwanted = ["sha-256=0", "sha-512=10", "sha-256", "x", "sha-256=11"];
  for (const value of unwanted) {
    const { headers } = await files.conn.head("/file", { "want-repr-digest": value });
    assertEquals(headers["repr-digest"], undefined, value);
  }
  assertEquals((await files.conn.head("/file")).headers["repr-digest"], undefined);
  assertEquals((await files.conn.head("/none", WANT)).headers["repr-digest"], undefined);
});

Deno.test("GET returns the digest of a file that was sent whole, or hashed, before", async () => {
  await using files = await serveDirectory();
  for (const name of ["sent", "hashed", "in part", "not wanted", "changed"]) {
    await files.write(name.replaceAll(" ", "+"), pattern(100_000));
  }
  using _clock = setClockAhead();
  const digest = digestOf(pattern(100_000));
  assertEquals(await digestSent(files, "/sent"), undefined);
  assertEquals(await digestSent(files, "/sent"), digest);
  assertEquals(await digestSent(files, "/sent", {}), undefined);
  const part = await files.conn.request("GET", "/sent", { ...WANT, range: new Range(5, 10) }, null);
  assertEquals([part.status, part.headers["repr-digest"]], [206, digest]);
  await part.body?.bytes();

  await files.conn.head("/hashed", WANT);
  assertEquals(await digestSent(files, "/hashed"), digest);

  for (const range of [new Range(1, 100_000), new Range(0, 99_999)]) {
    assertEquals(await digestSent(files, "/in+part", { ...WANT, range }), undefined);
  }
  assertEquals(await digestSent(files, "/in+part"), undefined);
  await digestSent(files, "/not+wanted", {});
  assertEquals(await digestSent(files, "/not+wanted"), undefined);

  assertEquals(await digestSent(files, "/changed"), undefined);
  assertEquals(await digestSent(files, "/changed"), digest);
  await files.write("changed", pattern(100_001));
  assertEquals(await digestSent(files, "/changed"), undefined);
});

Deno.test("the digest of a small file is computed when it is sent", async () => {
  await using files = await serveDirectory();
  await files.write("small", pattern(1000));
  assertEquals(await digestSent(files, "/small"), undefined, "it has just been changed");
  using _clock = setClockAhead();
  assertEquals(await digestSent(files, "/small"), digestOf(pattern(1000)));
});

Deno.test("the digest of a file that changed while it was sent, or just before, is not cached", async () => {
  await using files = await serveDirectory();
  await files.write("file", pattern(2_000_000));
  const app = new FilesApp(files.path);
  const get = async (change: () => Promise<void>) => {
    const [, , headers, body] = await app.handle(mkreq("GET", "/file", WANT));
    assert(body !== null && !(body instanceof Uint8Array));
    await change();
    await body.writeTo(new WritableStream());
    return headers["repr-digest"];
  };
  const append = () => Deno.writeFile(`${files.path}/file`, new Uint8Array(1), { append: true });
  {
    using _clock = setClockAhead();
    assertEquals(await get(append), undefined);
  }
  assertEquals(await get(() => Promise.resolve()), undefined, "after a change");
  assertEquals(await get(() => Promise.resolve()), undefined, "too short after it");
});

Deno.test("hashing ends if its peer leaves, and if the file is truncated", async () => {
  await using tree = await makeTree();
  await Deno.writeFile(`${tree.root}/large`, pattern(3_000_000));
  const opened = async () => {
    const file = await openBelow(tree.root, ["large"]);
    assert(file !== null && file !== "directory");
    return file;
  };
  const file = await opened();
  const reason = new Error("the peer has left");
  const failure = await digestFile(file, AbortSignal.abort(reason)).catch((error) => error);
  assertEquals(failure, reason);
  await Deno.truncate(`${tree.root}/large`, 1000);
  assertEquals(await digestFile(file), null);
  await file.handle.close();
  const again = await opened();
  const expected = createHash("sha256").update(pattern(1000)).digest("hex");
  assertEquals(await digestFile(again), expected);
  await again.handle.close();
  if (Deno.build.os === "linux") assertEquals(await openFilesBelow(tree.root), []);
});

Deno.test("the cache of digests has a limit", () => {
  const known = new KnownDigests();
  const state = (ino: number) => ({
    state: { dev: 1n, ino: BigInt(ino), nlink: 1n, size: 1n, mtimeNs: 0n, ctimeNs: 0n },
    lookedAt: Date.now(),
  });
  for (let i = 0; i < 10_001; i++) known.remember(state(i), `${i}`);
  assertEquals([known.find(state(0)), known.find(state(1))], [null, "1"]);
  assertEquals(known.find(state(10_000)), "10000");
  const young = { ...state(5), lookedAt: 1999 };
  const other = { ...young, state: { ...young.state, size: 2n } };
  known.remember(other, "x");
  assertEquals(known.find(other), null);
  known.remember({ ...other, lookedAt: 2000 }, "x");
  assertEquals(known.find(other), "x");
});
