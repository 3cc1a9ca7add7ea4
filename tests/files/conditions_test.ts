/** FilesApp: validators of a file, and conditional requests. */
import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { type HeaderDict, Range } from "@degu/degu/base";
import { makeValidators } from "@degu/internal/files/conditions.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { serveDirectory, summarize } from "@degu/testing/served_directory.ts";

type Files = Awaited<ReturnType<typeof serveDirectory>>;

const EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT";
const TIME = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER = "Sun, 06 Nov 1994 08:49:38 GMT";

/** Conditions on a file of TIME and the status that they lead to; ETAG stands for the file's own. */
const CONDITIONS: readonly [headers: HeaderDict, status: number][] = [
  [{}, 200],
  [{ "if-none-match": "ETAG" }, 304],
  [{ "if-none-match": "W/ETAG" }, 304],
  [{ "if-none-match": '"a", ETAG' }, 304],
  [{ "if-none-match": '"a",W/ETAG,"b"' }, 304],
  [{ "if-none-match": "*" }, 304],
  [{ "if-none-match": '"a"' }, 200],
  [{ "if-none-match": '"a*"' }, 200],
  [{ "if-none-match": "w/ETAG" }, 200],
  [{ "if-modified-since": TIME }, 304],
  [{ "if-modified-since": LATER }, 304],
  [{ "if-modified-since": EARLIER }, 200],
  [{ "if-modified-since": "yesterday" }, 200],
  [{ "if-modified-since": "2100-01-01" }, 200],
  [{ "if-modified-since": "Mon, 06 Nov 1994 08:49:37 GMT" }, 200],
  [{ "if-none-match": '"a"', "if-modified-since": LATER }, 200],
  [{ "if-none-match": "ETAG", "if-modified-since": EARLIER }, 304],
  [{ "if-match": "ETAG" }, 200],
  [{ "if-match": "*" }, 200],
  [{ "if-match": '"a", ETAG' }, 200],
  [{ "if-match": '"a"' }, 412],
  [{ "if-match": "W/ETAG" }, 412],
  [{ "if-match": '"a"', "if-none-match": "ETAG" }, 412],
  [{ "if-match": "ETAG", "if-none-match": "ETAG" }, 304],
  [{ "if-unmodified-since": TIME }, 200],
  [{ "if-unmodified-since": LATER }, 200],
  [{ "if-unmodified-since": EARLIER }, 412],
  [{ "if-unmodified-since": "yesterday" }, 200],
  [{ "if-match": "ETAG", "if-unmodified-since": EARLIER }, 200],
];

const REASONS: Record<number, string> = {
  200: "OK",
  206: "Partial Content",
  304: "Not Modified",
  412: "Precondition Failed",
};

/** Writes a file as if it had been written at TIME, which ctime tells from the truth. */
async function writeOld(files: Files, name: string, content: string, time = TIME): Promise<void> {
  await files.write(name, content);
  await Deno.utime(`${files.path}/${name}`, new Date(time), new Date(time));
}

/** The tag of a file; its last change has to be two seconds ago. */
async function tagOf(files: Files, name: string): Promise<string> {
  const { etag } = (await files.conn.head(`/${name}`)).headers;
  assert(typeof etag === "string", `${name} has no tag`);
  return etag;
}

function fillIn(headers: HeaderDict, etag: string): HeaderDict {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name,
      typeof value === "string" ? value.replace("ETAG", etag) : value,
    ]),
  );
}

Deno.test("a file that has not changed for two seconds has a tag, and is answered as RFC 9110 §13 requires", async (t) => {
  await using files = await serveDirectory();
  await writeOld(files, "file", "0123456789");
  await writeOld(files, "twin", "0123456789");
  await writeOld(files, "later", "0123456789", LATER);
  await writeOld(files, "longer", "0123456789a");
  await writeOld(files, "rewritten", "0123456789");
  using _clock = setClockAhead();
  const names = ["file", "twin", "later", "longer", "rewritten"];
  const tags: string[] = [];
  for (const name of names) tags.push(await tagOf(files, name));
  const [etag = ""] = tags;

  await t.step("different files have different tags, and the tag of a file is stable", async () => {
    for (const tag of tags) assertMatch(tag, /^"[-0-9a-f]+"$/);
    assertEquals(new Set(tags).size, names.length);
    for (const [i, name] of names.entries()) assertEquals(await tagOf(files, name), tags[i]);
  });

  // It has the same size and the same time again. What differs is ctime, which Deno cuts to seconds and
  // nobody can set: the clock of the file system is waited for.
  await new Promise((resolve) => setTimeout(resolve, 1050 - new Date().getMilliseconds()));
  await writeOld(files, "rewritten", "abcdefghij");
  await t.step("a file that was just rewritten has no tag yet", async () => {
    using _back = setClockAhead(-3000);
    const [status, tag, text] = await summarize(await files.conn.get("/rewritten"), "etag");
    assertEquals([status, tag, text], [200, undefined, "abcdefghij"]);
  });

  for (const method of ["GET", "HEAD"] as const) {
    for (const [conditions, status] of CONDITIONS) {
      await t.step(`${method} ${Deno.inspect(conditions)} → ${status}`, async () => {
        const headers = fillIn(conditions, etag);
        const response = await files.conn.request(method, "/file", headers, null);
        const text = (await response.body?.text()) ?? null;
        assertEquals([response.status, response.reason], [status, REASONS[status]]);
        const content: Record<number, string> = { 200: "0123456789", 412: "" };
        assertEquals(text, method === "GET" ? content[status] ?? null : null);
        const validators: HeaderDict = { etag, "last-modified": TIME };
        if (status === 304) assertEquals({ ...response.headers }, validators);
        if (status === 412) assertEquals(response.headers["etag"], undefined);
      });
    }
  }

  await t.step("if-range decides whether the range applies", async () => {
    const cases: [ifRange: string, counts: boolean][] = [
      [etag, true],
      ['"a"', false],
      [`W/${etag}`, false],
      // A file can change twice in a second.
      [TIME, false],
      ["*", false],
    ];
    for (const [ifRange, counts] of cases) {
      const response = await files.conn.getRange("/file", { "if-range": ifRange }, 2, 5);
      const expected = counts ? [206, etag, "234"] : [200, etag, "0123456789"];
      assertEquals(await summarize(response, "etag"), expected, ifRange);
      const beyond = await files.serving.makeClient().request("GET", "/file", {
        "if-range": ifRange,
        range: new Range(10, 11),
      });
      assertEquals(await summarize(beyond), counts ? [416, ""] : [200, "0123456789"], ifRange);
    }
    const unchanged = { "if-none-match": etag, range: new Range(2, 5) };
    assertEquals((await files.conn.get("/file", unchanged)).status, 304);
  });

  await t.step("a rewritten file gets another tag, whatever its modification time", async () => {
    assertNotEquals(await tagOf(files, "rewritten"), tags.at(-1));
    const stale = { "if-none-match": tags.at(-1)! };
    assertEquals(await summarize(await files.conn.get("/rewritten", stale)), [200, "abcdefghij"]);
  });
});

Deno.test("a file that is rewritten repeatedly is never mistaken for an earlier version", async () => {
  await using files = await serveDirectory();
  let known: HeaderDict = {};
  for (let version = 100; version < 400; version++) {
    await files.write("file", `${version}`);
    const response = await files.conn.get("/file", known);
    assertEquals(await summarize(response), [200, `${version}`]);
    const { etag, "last-modified": modified } = response.headers;
    known = {
      ...(etag === undefined ? {} : { "if-none-match": etag }),
      ...(modified === undefined ? {} : { "if-modified-since": modified }),
    };
  }
});

/** Conditions on a file that was just written. */
const YOUNG_CONDITIONS: readonly [headers: HeaderDict, status: number][] = [
  [{}, 200],
  [{ "if-none-match": "*" }, 304],
  [{ "if-none-match": '"a"' }, 200],
  [{ "if-match": "*" }, 200],
  [{ "if-match": '"a"' }, 412],
  [{ "if-modified-since": TIME }, 200],
  [{ "if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT" }, 200],
  [{ "if-unmodified-since": TIME }, 412],
  [{ "if-unmodified-since": "Fri, 01 Jan 2100 00:00:00 GMT" }, 200],
  [{ "if-range": '"a"', range: new Range(2, 5) }, 200],
  [{ "if-range": TIME, range: new Range(2, 5) }, 200],
  [{ range: new Range(2, 5) }, 206],
];

Deno.test("a file that was just written has no validator", async () => {
  await using files = await serveDirectory();
  for (const [conditions, status] of YOUNG_CONDITIONS) {
    await files.write("file", "0123456789");
    const response = await files.conn.get("/file", conditions);
    const [got, ...validators] = await summarize(response, "etag", "last-modified");
    assertEquals(got, status, Deno.inspect(conditions));
    assertEquals(validators.slice(0, 2), [undefined, undefined], Deno.inspect(conditions));
  }
});

Deno.test("a file that was just given an old modification time has last-modified, but no tag", async () => {
  await using files = await serveDirectory();
  await writeOld(files, "file", "0123456789", "1994-11-06T08:49:37.500Z");
  const response = await files.conn.get("/file");
  assertEquals(await summarize(response, "etag", "last-modified"), [
    200,
    undefined,
    TIME,
    "0123456789",
  ]);
  const cases: [HeaderDict, number][] = [
    [{ "if-modified-since": TIME }, 304],
    [{ "if-modified-since": EARLIER }, 200],
    [{ "if-unmodified-since": TIME }, 200],
    [{ "if-unmodified-since": EARLIER }, 412],
    [{ "if-match": '"a"' }, 412],
  ];
  for (const [conditions, status] of cases) {
    const { status: got, body } = await files.conn.get("/file", conditions);
    await body?.bytes();
    assertEquals(got, status, Deno.inspect(conditions));
  }
});

Deno.test("last-modified is never in the future, and a future time never causes a 304", async () => {
  await using files = await serveDirectory();
  await files.write("file", "");
  await Deno.utime(`${files.path}/file`, new Date(), new Date("2100-01-01"));
  const before = Math.floor(Date.now() / 1000) * 1000;
  const { headers } = await files.conn.head("/file");
  const said = headers["last-modified"] ?? "";
  const modified = Date.parse(`${said}`);
  assert(modified >= before && modified <= Date.now(), `${said}`);
  assertEquals((await files.conn.head("/file", { "if-modified-since": said })).status, 200);
});

Deno.test("the tag includes everything that distinguishes versions, from two seconds after both times", () => {
  const now = 1_000_000_000;
  const ns = (milliseconds: number) => BigInt(milliseconds) * 1_000_000n;
  const old = {
    dev: 1n,
    ino: 2n,
    nlink: 1n,
    size: 3n,
    mtimeNs: ns(now - 5000),
    ctimeNs: ns(now - 5000),
  };
  const { etag } = makeValidators(old, now);
  assert(etag !== null);
  for (const field of ["dev", "ino", "size", "mtimeNs", "ctimeNs"] as const) {
    assertNotEquals(makeValidators({ ...old, [field]: old[field] + 1n }, now).etag, etag, field);
  }
  for (const time of ["mtimeNs", "ctimeNs"] as const) {
    for (const age of [2000, 1999, 1, 0, -1, -3_600_000]) {
      const { etag } = makeValidators({ ...old, [time]: ns(now - age) }, now);
      assertEquals(etag !== null, age >= 2000, `${time}, ${age} ms ago`);
    }
  }
  const told = (mtimeNs: bigint) => makeValidators({ ...old, mtimeNs }, now).lastModified;
  assertEquals(told(ns(now - 2000)), (now - 2000) / 1000);
  for (const age of [1999, 0]) assertEquals(told(ns(now - age)), null, `${age} ms ago`);
  // Of a time in the future only what can't be this second again.
  assertEquals(told(ns(now + 999)), null);
  assertEquals(told(ns(now + 1000)), now / 1000);
  assertEquals(told(ns(now + 3_600_000)), now / 1000);
});
