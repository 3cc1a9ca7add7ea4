/** The part of a download: valid targets, its lock, and its completion. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { download, TransferError } from "@degu/degu/files";
import { entries, mode, tempDir } from "@degu/testing/directories.ts";
import { giveLinkAway, makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { randomBytes, serveFiles } from "@degu/testing/transferring.ts";
import { mountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/mount_namespace.ts";
import { importMapFlags, programCommand } from "@degu/testing/programs.ts";
import { ServedVersion } from "@degu/testing/served_version.ts";
import { serve } from "@degu/testing/serving.ts";

Deno.test("a target that can't be written is refused before any request", async () => {
  await using files = await serveFiles(() => () => {
    throw new Error("asked");
  });
  const { client, here } = files;
  await Deno.mkdir(`${here}/d`);
  await Deno.writeTextFile(`${here}/f`, "");
  const { IsADirectory, NotFound, NotADirectory } = Deno.errors;
  const to = (file: string) => () => download(client, "/f", file);
  await assertRejects(to(`${here}/d`), IsADirectory, "is a directory");
  await assertRejects(to(`${here}/d/`), IsADirectory, "is a directory");
  await assertRejects(to(`${here}/new/`), IsADirectory, "is a directory");
  await assertRejects(to(here), IsADirectory, "is a directory");
  await assertRejects(to(`${here}/none/f`), NotFound, `file: ${here}/none/f`);
  await assertRejects(to(`${here}/f/g`), NotADirectory);
  for (const end of ["", ".json", ".json.tmp", ".new"]) {
    await assertRejects(to(`${here}/.f.degu-part${end}`), RangeError, "the name of a part");
  }
  assertEquals(await entries(here), ["d", "f"]);
  if (await makeFifo(`${here}/fifo`)) {
    await assertRejects(to(`${here}/fifo`), RangeError, "is not a regular file");
  }
  assertEquals(await entries(`${here}/d`), []);
});

Deno.test("the second of two downloads to one target is refused, and the first completes", async () => {
  const there = new ServedVersion(randomBytes(300_000));
  const arrived = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  there.beforePiece = (sent) => {
    if (sent < 200_000) return;
    arrived.resolve();
    return release.promise;
  };
  await using serving = serve(there.app);
  await using dir = await tempDir();
  const client = serving.makeClient();
  const first = download(client, "/f", `${dir.path}/f`);
  await arrived.promise;
  const second = () => download(client, "/f", `${dir.path}/f`);
  const error = await assertRejects(second, TransferError, "another download");
  assertEquals(error.code, "IN_USE");
  const [, port] = serving.address as readonly [string, number];
  const { success, stderr } = await programCommand("transfer.ts", {
    flags: ["--allow-net=127.0.0.1", `--allow-read=${dir.path}`, `--allow-write=${dir.path}`],
    args: ["download", `${port}`, `${dir.path}/f`, "/f"],
  }).output();
  assert(!success && new TextDecoder().decode(stderr).includes("another download"), "process");
  const other = download(client, "/f", `${dir.path}/g`);
  release.resolve();
  assertEquals((await first).sha256, there.actual());
  assertEquals((await other).sha256, there.actual());
  assertEquals((await second()).resumedFrom, 0);
  assertEquals(await entries(dir.path), ["f", "g"]);
});

Deno.test("of many downloads to one target each succeeds or is refused", async () => {
  await using files = await serveFiles();
  const content = randomBytes(100_000);
  await Deno.writeFile(`${files.there}/f`, content);
  const calls = Array.from({ length: 20 }, () => download(files.client, "/f", `${files.here}/f`));
  const results = await Promise.allSettled(calls);
  assert(results.some(({ status }) => status === "fulfilled"));
  for (const result of results) {
    if (result.status === "rejected") assertEquals(result.reason.code, "IN_USE");
  }
  assertEquals(await Deno.readFile(`${files.here}/f`), content);
  assertEquals(await entries(files.here), ["f"]);
});

Deno.test("a file that is replaced keeps its permission bits, and a link is itself replaced", async () => {
  await using files = await serveFiles();
  await Deno.writeTextFile(`${files.there}/file`, "new");
  await Deno.writeTextFile(`${files.here}/copy`, "old", { mode: 0o600 });
  await Deno.writeTextFile(`${files.here}/another`, "another");
  await makeLinks({ [`${files.here}/link`]: `${files.here}/another` });
  await download(files.client, "/file", `${files.here}/copy`);
  assertEquals([await Deno.readTextFile(`${files.here}/copy`), await mode(`${files.here}/copy`)], [
    "new",
    0o600,
  ]);
  await download(files.client, "/file", `${files.here}/link`);
  assertEquals(await Deno.readTextFile(`${files.here}/another`), "another");
  assert((await Deno.lstat(`${files.here}/link`)).isFile);
  assertEquals(await Deno.readTextFile(`${files.here}/link`), "new");
});

Deno.test("only this user can read a part, whatever becomes of it; a new file gets the usual mode", async () => {
  const there = new ServedVersion(randomBytes(200_000));
  const modes = new Set<number>();
  await using serving = serve(there.app);
  await using dir = await tempDir();
  const part = `${dir.path}/.f.degu-part`;
  there.beforePiece = async (sent) => {
    if (sent > 0) modes.add(await mode(part));
  };
  const get = () => download(serving.makeClient(), "/f", `${dir.path}/f`);
  await Deno.writeTextFile(`${dir.path}/plain`, "");
  const usual = await mode(`${dir.path}/plain`);
  assert(usual !== 0o600, "the umask must let this test see a difference");
  for (const expected of [usual, 0o600, 0o640, usual]) {
    for (const cutAfter of [131_072, Infinity]) {
      there.cutAfter = cutAfter;
      const result = await get().catch(() => "cut");
      assertEquals(result === "cut", cutAfter < Infinity);
      if (result === "cut") assertEquals(await mode(part), 0o600);
    }
    assertEquals([await mode(`${dir.path}/f`), [...modes]], [expected, [0o600]]);
    assertEquals(await entries(dir.path), ["f", "plain"]);
    // What is replaced next.
    if (expected === 0o640) await Deno.remove(`${dir.path}/f`);
    else await Deno.chmod(`${dir.path}/f`, expected === usual ? 0o600 : 0o640);
  }
});

Deno.test({
  name: "a part that another user has left in a sticky directory is named, with its owner",
  ignore: Deno.build.os === "windows" || Deno.uid() !== 0 || await mountObstacle() !== null,
  fn: async (t) => {
    const cases: [name: string, path: string, mode: number][] = [
      ["unreadable", ".f.degu-part", 0o600],
      ["readable", ".f.degu-part", 0o644],
      ["writable", ".f.degu-part", 0o666],
      ["a record", ".f.degu-part.json", 0o644],
      ["a replacement", ".f.degu-part.new", 0o644],
    ];
    for (const [name, path, bits] of cases) {
      await t.step(name, async () => {
        await using files = await serveFiles();
        await Deno.writeFile(`${files.there}/f`, randomBytes(100_000));
        const foreign = `${files.here}/${path}`;
        await Deno.writeTextFile(foreign, "content");
        await Deno.chmod(foreign, bits);
        await Deno.chmod(files.here, 0o1777);
        await giveLinkAway(foreign, 12345);
        await giveLinkAway(files.here, 12345);
        const [, port] = files.serving.address as readonly [string, number];
        const command = programCommand("transfer.ts", {
          // Whose files are of a user that the namespace doesn't know.
          through: THROUGH_MOUNT_NAMESPACE,
          flags: [
            ...importMapFlags(),
            "--allow-net=127.0.0.1",
            `--allow-read=${files.here}`,
            `--allow-write=${files.here}`,
          ],
          args: ["download", `${port}`, `${files.here}/f`, "/f"],
        });
        const { success, stderr } = await command.output();
        const text = new TextDecoder().decode(stderr);
        assertEquals(success, false);
        assert(text.includes(`${foreign}, which is left of`) && text.includes("uid 65534"), text);
        const left = await entries(files.here);
        assertEquals([left.includes(path), left.includes("f")], [true, false]);
      });
    }
  },
});
