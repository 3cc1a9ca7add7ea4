/** PUT: preconditions, at its start and at its end. */
import { assertEquals } from "@std/assert";
import { Body, BodyIter, type HeaderDict } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import { setClockAhead } from "@degu/testing/clock.ts";
import { serveForWriting } from "@degu/testing/written_directory.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

Deno.test("preconditions of a PUT", async () => {
  await using files = await serveForWriting();
  const old = new Date(Date.now() - 60_000);
  // ctime can't be set, and a tag needs one of two seconds ago: one of a file that is older.
  const etag = '"1-2-3-4-5"';
  await Deno.utime(`${files.root}/file`, old, old);
  const cases: [uri: string, headers: HeaderDict, status: number][] = [
    ["/new", { "if-match": "*" }, 412],
    ["/new", { "if-match": etag }, 412],
    ["/file", { "if-match": etag }, 412],
    ["/file", { "if-match": "*" }, 204],
    ["/file", { "if-none-match": "*" }, 412],
    ["/file", { "if-none-match": etag }, 204],
    ["/file", { "if-unmodified-since": new Date(0).toUTCString() }, 412],
    ["/file", { "if-unmodified-since": new Date(Date.now() + 9e6).toUTCString() }, 204],
    ["/new", { "if-none-match": "*" }, 201],
    ["/new", { "if-none-match": "*" }, 412],
    ["/newer", { "if-none-match": etag }, 201],
    ["/newest", { "if-unmodified-since": new Date(0).toUTCString() }, 201],
  ];
  for (const [uri, headers, status] of cases) {
    assertEquals(await files.put(uri, latin1("x"), headers), status, Deno.inspect([uri, headers]));
  }
  assertEquals(await files.unfinished(), []);
});

Deno.test("a file is replaced if it is still the version that the peer knows", async () => {
  await using files = await serveForWriting();
  using _clock = setClockAhead();
  const { etag } = (await files.request("HEAD", "/file")).headers;
  assertEquals(await files.put("/sub/file", null, { "if-match": String(etag) }), 412);
  assertEquals(await files.put("/file", latin1("mine"), { "if-match": String(etag) }), 204);
  assertEquals(await files.put("/file", latin1("yours"), { "if-match": String(etag) }), 412);
  assertEquals(await files.read("file"), "mine");
});

Deno.test("exactly one of several simultaneous PUTs of a new file gets 201", async () => {
  await using files = await serveForWriting();
  // Two apps of one directory, as two processes have.
  const apps = [0, 1].map(() => new FilesApp(files.root, { write: true }));
  for (let turn = 0; turn < 4; turn++) {
    const statuses = await Promise.all(Array.from({ length: 8 }, async (_, i) => {
      const body = new Body(new Blob([`${i}`]).stream(), 1);
      const request = mkreq("PUT", `/new/${turn}`, { "if-none-match": "*" }, body);
      const [status] = await apps[i % 2]!.handle(request);
      return status;
    }));
    assertEquals(statuses.filter((status) => status === 201).length, 1, `${statuses}`);
    assertEquals(statuses.filter((status) => status === 412).length, 7, `${statuses}`);
    const winner = statuses.indexOf(201);
    assertEquals(await files.read(`new/${turn}`), `${winner}`);
  }
  assertEquals(await files.unfinished(), []);
});

Deno.test("a condition that no longer holds when the body has arrived is detected", async () => {
  await using files = await serveForWriting();
  for (const headers of [{ "if-none-match": "*" }, { "if-match": "*" }] as HeaderDict[]) {
    const isNew = "if-none-match" in headers;
    const path = `${files.root}/${isNew ? "new" : "file"}`;
    const gate = Promise.withResolvers<void>();
    const seen = Promise.withResolvers<void>();
    const body = new BodyIter(
      (async function* () {
        yield latin1("12345");
        seen.resolve();
        await gate.promise;
        yield latin1("67890");
      })(),
      10,
    );
    const putting = files.put(`/${isNew ? "new" : "file"}`, body, headers);
    await seen.promise;
    while ((await files.unfinished()).length === 0);
    if (isNew) await Deno.writeTextFile(path, "of somebody else");
    else await Deno.remove(path);
    gate.resolve();
    assertEquals(await putting, 412);
    assertEquals(
      await Deno.readTextFile(path).catch(() => "gone"),
      isNew ? "of somebody else" : "gone",
    );
    assertEquals(await files.unfinished(), []);
  }
});
