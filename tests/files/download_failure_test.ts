/** download: failures, and what they leave behind. */
import { assertEquals, assertRejects } from "@std/assert";
import { ChunkedBodyIter } from "@degu/degu/base";
import { download, isTransient, TransferError } from "@degu/degu/files";
import { entries, tempDir } from "@degu/testing/directories.ts";
import { ServedVersion } from "@degu/testing/served_version.ts";
import { serve } from "@degu/testing/serving.ts";
import { randomBytes } from "@degu/testing/transferring.ts";

Deno.test("a file that differs from the server's is not kept", async () => {
  for (const digest of ["get", "head"] as const) {
    const there = new ServedVersion(randomBytes(200_000));
    there.digest = digest;
    there.sha256 = "0".repeat(64);
    await using serving = serve(there.app);
    await using dir = await tempDir();
    const file = `${dir.path}/copy`;
    await Deno.writeTextFile(file, "old");
    const client = serving.makeClient();
    const error = await assertRejects(() => download(client, "/f", file), TransferError, "SHA-256");
    assertEquals(error.code, "DIGEST_MISMATCH");
    assertEquals(await entries(dir.path), ["copy"]);
    assertEquals(await Deno.readTextFile(file), "old");
  }
});

Deno.test("a file that changes while it arrives is not kept", async () => {
  for (const etag of ['"two"', null]) {
    const there = new ServedVersion(randomBytes(200_000));
    const content = randomBytes(200_000);
    there.beforePiece = (sent) => {
      if (sent < 65536) return;
      there.content = content;
      there.etag = etag;
    };
    await using serving = serve(there.app);
    await using dir = await tempDir();
    const downloading = () => download(serving.makeClient(), "/f", `${dir.path}/f`);
    const error = await assertRejects(downloading, TransferError, "changed while it was moved");
    assertEquals(error.code, "CHANGED");
    assertEquals(await entries(dir.path), []);
    await downloading();
    assertEquals(await Deno.readFile(`${dir.path}/f`), content);
  }
});

Deno.test("responses of other servers are refused if they are not reliable", async () => {
  function* chunks() {
    yield [null, new Uint8Array(9)] as const;
    yield [null, new Uint8Array(0)] as const;
  }
  await using dir = await tempDir();
  const fails = async (app: Parameters<typeof serve>[0], message: string) => {
    await using serving = serve(app);
    const failed = () => download(serving.makeClient(), "/f", `${dir.path}/f`);
    const error = await assertRejects(failed, TransferError, message);
    assertEquals([error.code, error.status], ["UNEXPECTED_RESPONSE", null]);
    assertEquals(await entries(dir.path), []);
  };
  await fails(() => [200, "OK", {}, new ChunkedBodyIter(chunks())], "content-length");
  await fails(
    ({ method }) => [200, "OK", {}, method === "HEAD" ? null : new Uint8Array(1)],
    "repr-digest",
  );
  await fails(({ method }) => {
    return [
      200,
      "OK",
      { "repr-digest": "sha-256=:AA==:" },
      method === "HEAD" ? null : new Uint8Array(1),
    ];
  }, "invalid repr-digest");
  await using serving = serve(({ method }) => {
    return method === "HEAD" ? [404, "Not Found", {}, null] : [200, "OK", {}, new Uint8Array(1)];
  });
  const gone = () => download(serving.makeClient(), "/f", `${dir.path}/f`);
  assertEquals((await assertRejects(gone, TransferError, "HEAD")).status, 404);
});

Deno.test("a signal aborts a download with its reason, and what has arrived is kept", async () => {
  const there = new ServedVersion(randomBytes(1_000_000));
  await using serving = serve(there.app);
  await using dir = await tempDir();
  const client = serving.makeClient();
  const partBytes = () => Deno.stat(`${dir.path}/.f.degu-part`).then(({ size }) => size, () => 0);
  const reason = new Error("enough");
  const get = (signal?: AbortSignal) =>
    download(client, "/f", `${dir.path}/f`, signal === undefined ? {} : { signal });
  assertEquals(await assertRejects(() => get(AbortSignal.abort(reason)), Error), reason);
  assertEquals([there.requests, await entries(dir.path)], [[], []]);
  const controller = new AbortController();
  const never = Promise.withResolvers<void>();
  there.beforePiece = (sent) => sent < 500_000 ? undefined : never.promise;
  const aborted = assertRejects(() => get(controller.signal), Error);
  while (await partBytes() < 500_000);
  controller.abort(reason);
  assertEquals(await aborted, reason);
  there.beforePiece = () => {};
  never.resolve();
  const { resumedFrom } = await get();
  assertEquals(resumedFrom, 524_288);
  assertEquals(await Deno.readFile(`${dir.path}/f`), there.content);
});

Deno.test("replace: false keeps an existing file, even one that was created meanwhile", async () => {
  const there = new ServedVersion(randomBytes(300_000));
  await using serving = serve(there.app);
  await using dir = await tempDir();
  const client = serving.makeClient();
  const file = `${dir.path}/f`;
  const get = () => download(client, "/f", file, { replace: false });
  await get();
  const { AlreadyExists } = Deno.errors;
  there.requests.length = 0;
  await assertRejects(get, AlreadyExists, "already exists");
  assertEquals(there.requests, []);
  await Deno.remove(file);
  there.beforePiece = () => Deno.writeTextFileSync(file, "mine");
  await assertRejects(get, AlreadyExists, "replace: true");
  assertEquals(await Deno.readTextFile(file), "mine");
  assertEquals((await download(client, "/f", file)).resumedFrom, 300_000);
  assertEquals(await entries(dir.path), ["f"]);
});

Deno.test("a body that breaks off because the file has changed is no lost connection", async () => {
  const cases: [name: string, change: (there: ServedVersion) => void, isChanged: boolean][] = [
    ["the same", () => {}, false],
    ["another etag", (there) => there.etag = '"two"', true],
    ["no etag any more", (there) => there.etag = null, true],
    ["another length", (there) => there.content = randomBytes(200_001), true],
  ];
  for (const [name, change, isChanged] of cases) {
    const there = new ServedVersion(randomBytes(200_000));
    there.cutAfter = 131_072;
    there.beforePiece = (sent) => {
      if (sent >= 65536) change(there);
    };
    await using serving = serve(there.app);
    await using dir = await tempDir();
    const client = serving.makeClient();
    const attempt = () => download(client, "/f", `${dir.path}/f`);
    const error = await attempt().catch((error) => error);
    assertEquals([error instanceof TransferError && error.code === "CHANGED", isTransient(error)], [
      isChanged,
      !isChanged,
    ], name);
    assertEquals((await entries(dir.path)).length, isChanged ? 0 : 2, name);
    // Of a connection the next call finds out.
    using connection = await client.connect();
    const failed = await download(connection, "/f", `${dir.path}/g`).catch((error) => error);
    assertEquals(isTransient(failed), true, name);
  }
});
