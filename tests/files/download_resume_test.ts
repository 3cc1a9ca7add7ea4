/** download: what is resumed, and what starts over. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { download, type TransferOptions } from "@degu/degu/files";
import fc from "fast-check";
import { entries, tempDir } from "@degu/testing/directories.ts";
import { untilRefused } from "@degu/testing/raw_peer.ts";
import { ServedVersion } from "@degu/testing/served_version.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { randomBytes } from "@degu/testing/transferring.ts";

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

/** A file that is served, a client of it, and a directory to download it to. */
async function setUp() {
  const there = new ServedVersion(randomBytes(SIZE));
  const serving = serve(there.app);
  const dir = await tempDir();
  const file = `${dir.path}/copy`;
  const client = serving.makeClient();
  return {
    there,
    serving,
    client,
    dir: dir.path,
    file,
    get: (options?: TransferOptions) => download(client, "/file", file, options),
    /** Downloads this much more of it. */
    async cut(cutAfter: number, options?: TransferOptions): Promise<void> {
      const part = `${dir.path}/${PART}`;
      const wanted = (await sizeOf(part) ?? 0) + cutAfter;
      // A connection that is cut may lose what was on its way: then some of it is downloaded again.
      let at: number | null = wanted - cutAfter;
      for (let tries = 0; tries < 10 && at !== null && at < wanted; tries++) {
        there.cutAfter = wanted - at;
        await assertRejects(() => download(client, "/file", file, options));
        at = await sizeOf(part);
      }
      there.cutAfter = Infinity;
      there.requests.length = 0;
    },
    /** Downloads the rest, and makes sure of it. */
    async complete(resumedFrom: number, options?: TransferOptions): Promise<void> {
      const total = there.content.length;
      const result = await download(client, "/file", file, options);
      const sha256 = options?.verify === false ? null : there.actual();
      assertEquals(result, { bytes: total - resumedFrom, total, resumedFrom, sha256 });
      assertEquals(await Deno.readFile(file), there.content);
      assertEquals(await entries(dir.path), ["copy"]);
    },
    [Symbol.asyncDispose]: async () => {
      await serving[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    },
  };
}

for (const verify of [true, false]) {
  Deno.test(`an interrupted download is resumed where it ended, with verify: ${verify}`, async () => {
    for (const cutAfter of [1, 65536, 65537, 600_000, SIZE - 1]) {
      await using files = await setUp();
      await files.cut(cutAfter, { verify });
      assertEquals(await entries(files.dir), [PART, RECORD]);
      await files.complete(cutAfter, { verify });
      const rest = `GET bytes=${cutAfter}-${SIZE - 1}`;
      assertEquals(files.there.requests, verify ? [rest, "HEAD"] : [rest]);
    }
  });
}

Deno.test("a download makes progress with each call, wherever it is interrupted", async () => {
  const property = fc.asyncProperty(
    fc.array(fc.nat({ max: 300_000 }), { maxLength: 5 }),
    async (cuts) => {
      await using files = await setUp();
      let at = 0;
      for (const cut of cuts) {
        if (at + cut >= SIZE) break;
        if (cut === 0) continue;
        await files.cut(cut);
        const size = await sizeOf(`${files.dir}/${PART}`) ?? 0;
        assert(size >= at && size <= at + cut, `${size} after ${at} and ${cut}`);
        at = size;
      }
      await files.complete(at);
    },
  );
  await fc.assert(property, { numRuns: 10, endOnFailure: true });
});

Deno.test("a digest in the response makes a second request unnecessary", async () => {
  await using files = await setUp();
  files.there.digest = "get";
  await files.cut(100_000);
  await files.complete(100_000);
  assertEquals(files.there.requests, [`GET bytes=100000-${SIZE - 1}`]);
});

Deno.test("the download of a file that has changed starts over, with one request", async () => {
  await using files = await setUp();
  await files.cut(600_000);
  files.there.content = randomBytes(500_000);
  files.there.etag = '"two"';
  await files.complete(0);
  assertEquals(files.there.requests, ["GET", "HEAD"]);
});

Deno.test("the download of a file with another digest starts over", async () => {
  await using files = await setUp();
  files.there.digest = "get";
  await files.cut(600_000);
  files.there.content = randomBytes(SIZE);
  await files.complete(0);
  assertEquals(files.there.requests, [`GET bytes=600000-${SIZE - 1}`, "GET"]);
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

Deno.test("resume: false starts over, and leaves nothing", async () => {
  await using files = await setUp();
  await files.cut(600_000);
  await files.complete(0, { resume: false });
  await Deno.remove(files.file);
  await files.cut(600_000, { resume: false });
  assertEquals(await entries(files.dir), []);
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

Deno.test("without a digest only data that was synced to the disk is resumed", async () => {
  await using files = await setUp();
  await files.cut(600_000);
  await files.complete(0, { verify: false });
  await Deno.remove(files.file);
  await files.cut(600_000, { verify: false });
  await files.complete(600_000);
});

Deno.test("without a strong entity tag, or for a small file, no part is kept", async () => {
  for (const etag of [null, 'W/"one"']) {
    await using files = await setUp();
    files.there.etag = etag;
    await files.cut(600_000);
    assertEquals(await entries(files.dir), []);
    await files.complete(0);
  }
  await using files = await setUp();
  files.there.content = randomBytes(65535);
  await files.cut(60_000);
  assertEquals(await entries(files.dir), []);
});

Deno.test("a complete part is verified, and nothing is transferred", async () => {
  await using files = await setUp();
  files.there.digest = "never";
  await assertRejects(() => files.get(), Error, "verify: false");
  assertEquals(await entries(files.dir), [PART, RECORD]);
  files.there.requests.length = 0;
  files.there.digest = "head";
  await files.complete(SIZE);
  assertEquals(files.there.requests, ["HEAD"]);
  files.there.digest = "never";
  await assertRejects(() => files.get(), Error, "verify: false");
  await files.complete(SIZE, { verify: false });
  files.there.digest = "never";
  await assertRejects(() => files.get());
  files.there.etag = '"two"';
  files.there.digest = "head";
  await files.complete(0);
});

Deno.test("anything that is not a part of this file starts over", async (t) => {
  const changes: Record<string, (dir: string) => Promise<void>> = {
    "without a record": (dir) => Deno.remove(`${dir}/${RECORD}`),
    "with an empty record": (dir) => Deno.truncate(`${dir}/${RECORD}`),
    "with half a record": (dir) => Deno.truncate(`${dir}/${RECORD}`, 50),
    "with a record that is null": (dir) => Deno.writeTextFile(`${dir}/${RECORD}`, "null"),
    "with a record of another format": async (dir) => {
      const text = await Deno.readTextFile(`${dir}/${RECORD}`);
      await Deno.writeTextFile(`${dir}/${RECORD}`, text.replace("degu-part/1", "degu-part/2"));
    },
    "with a record of a bad total": async (dir) => {
      const text = await Deno.readTextFile(`${dir}/${RECORD}`);
      await Deno.writeTextFile(`${dir}/${RECORD}`, text.replace('"total":', '"total":-'));
    },
    "with a record that is too long": (dir) =>
      Deno.writeTextFile(`${dir}/${RECORD}`, " ".repeat(70_000), { append: true }),
    "with a directory for a record": async (dir) => {
      await Deno.remove(`${dir}/${RECORD}`);
      await Deno.mkdir(`${dir}/${RECORD}`);
    },
    "longer than the file": (dir) => Deno.truncate(`${dir}/${PART}`, SIZE + 1),
    "empty": (dir) => Deno.truncate(`${dir}/${PART}`),
    "a directory": async (dir) => {
      await Deno.remove(`${dir}/${PART}`);
      await Deno.mkdir(`${dir}/${PART}`);
    },
    "a second name of a file": (dir) => Deno.link(`${dir}/${PART}`, `${dir}/second`),
    "missing": (dir) => Deno.remove(`${dir}/${PART}`),
  };
  for (const [name, change] of Object.entries(changes)) {
    await t.step(name, async () => {
      await using files = await setUp();
      await files.cut(600_000);
      await change(files.dir);
      const result = await files.get();
      assertEquals([result.resumedFrom, result.sha256], [0, files.there.actual()]);
      assertEquals((await entries(files.dir)).filter((name) => name !== "second"), ["copy"]);
    });
  }
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

Deno.test("a response with another range is refused, and a 416 starts over", async () => {
  await using files = await setUp();
  let status = 206;
  await using odd = serve((request, session, api) => {
    if (request.headers["range"] === undefined) return files.there.app(request, session, api);
    const headers = { etag: '"one"' };
    if (status !== 206) return [status, "No", {}, new Uint8Array(0)];
    return [
      206,
      "OK",
      { ...headers, "content-range": new api.ContentRange(0, 10, SIZE) },
      new Uint8Array(10),
    ];
  });
  const client = odd.makeClient();
  const file = `${files.dir}/odd`;
  files.there.cutAfter = 600_000;
  await assertRejects(() => download(client, "/file", file));
  files.there.cutAfter = Infinity;
  const error = await assertRejects(() => download(client, "/file", file), Error, "another part");
  assertEquals((error as { code?: unknown }).code, "UNEXPECTED_RESPONSE");
  status = 416;
  assertEquals((await download(client, "/file", file)).resumedFrom, 0);
  assert((await Deno.readFile(file)).length === SIZE);
});
