/** `keep`: earlier versions of files that a peer, or a download, replaces or deletes. */
import { downloadTree, FilesApp, type UploadTreeOptions } from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import { realPath } from "@degu/internal/internal/paths.ts";
import { VersionStore } from "@degu/internal/files/kept_versions.ts";
import { createTempDir, fill, readMode, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { DIRECTIONS, makeTrees } from "@degu/testing/trees.ts";
import { importMapFlags, runScript } from "@degu/testing/processes.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { readStatus } from "./written_directory.ts";

import { KEPT, listPeriods, listVersions, serveKeeping, startClock } from "./kept_files.ts";
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { withRandom } from "@degu/testing/random.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

Deno.test("a replaced file and a deleted file are kept under their paths", async () => {
  await using files = await serveKeeping({ "d/a": "1", b: "2" });
  assertEquals(await files.put("d/a", "11"), 204);
  assertEquals(await files.remove("b"), 204);
  assertEquals(await files.put("new", "3"), 201);
  assertEquals(await files.versions(), [["b", "2"], ["d/a", "1"]]);
  if (Deno.build.os !== "windows") assertEquals(await readMode(`${files.root}/${KEPT}`), 0o700);
});

Deno.test("of a file that is replaced often, one version an hour is kept; each deletion keeps the file", async () => {
  await using files = await serveKeeping({ a: "0" });
  using clock = startClock();
  clock.advance(HOUR - Date.now() % HOUR);
  for (const text of ["1", "2", "3"]) assertEquals(await files.put("a", text), 204);
  assertEquals(await files.versions(), [["a", "0"]]);
  clock.advance(HOUR - 60_000);
  await files.put("a", "4");
  assertEquals(await files.versions(), [["a", "0"]]);
  clock.advance(60_000);
  await files.put("a", "5");
  assertEquals(await files.versions(), [["a", "0"], ["a", "4"]]);
  for (const text of ["6", "7", "8"]) {
    assertEquals(await files.remove("a"), 204);
    assertEquals(await files.put("a", text), 201);
  }
  const texts = (await files.versions()).map(([, text]) => text);
  assertEquals(texts, ["0", "4", "5", "6", "7"]);
});

Deno.test("of a file that is replaced often while others are made and deleted, a version in five minutes is kept", async () => {
  await using files = await serveKeeping({ a: "0" });
  using clock = startClock();
  clock.advance(HOUR - Date.now() % HOUR);
  for (let i = 1; i <= 20; i++) {
    await files.put("a", `${i}`);
    await files.put(`new${i}`, "1");
    if (i % 2 === 0) await files.remove(`new${i}`);
    else await files.put(`new${i}`, "2");
    clock.advance(60_000);
  }
  const versions = (await files.versions()).filter(([path]) => path === "a");
  const numbers = versions.map(([, text]) => Number(text)).sort((one, other) => one - other);
  assertEquals(numbers, [0, 6, 11, 16]);
});

Deno.test("a file whose version was made, although the disk has reported an error, is changed by the next call", async () => {
  await using files = await serveKeeping({ a: "1", b: "2" });
  const _patch = patch(Deno, "linkSync", (linkSync) => (from, to) => {
    linkSync(from, to);
    throw Object.assign(new Error("failed"), { code: "EIO" });
  });
  const statuses = [await files.put("a", "x"), await files.remove("b")];
  assert(statuses.every((status) => status >= 400), `${statuses}`);
  _patch[Symbol.dispose]();
  assertEquals([await files.put("a", "x"), await files.remove("b")], [204, 204]);
  assertEquals(await files.versions(), [["a", "1"], ["b", "2"]]);
});

/** Calls a function after each version is made, as another process that does something then. */
function afterEachVersion(change: (path: string) => void): Disposable {
  return patch(Deno, "linkSync", (linkSync) => (from, to) => {
    linkSync(from, to);
    if (`${to}`.includes(`/${KEPT}/`)) change(`${from}`);
  });
}

Deno.test("a version stays if another process has deleted the file at the same time", async () => {
  await using files = await serveKeeping({ a: "1", b: "2" });
  using _patch = afterEachVersion((path) => Deno.removeSync(path));
  assertEquals([await files.put("a", "x"), await files.remove("b")], [204, 409]);
  assertEquals(await files.versions(), [["a", "1"], ["b", "2"]]);
});

Deno.test("if another process replaces the directory of a file by a file at the same time, the change is refused", async () => {
  await using files = await serveKeeping({ "d/a": "1" });
  using _patch = patch(Deno, "linkSync", (linkSync) => (from, to) => {
    if (`${from}`.endsWith("/d/a")) {
      Deno.removeSync(`${files.root}/d`, { recursive: true });
      Deno.writeTextFileSync(`${files.root}/d`, "2");
    }
    linkSync(from, to);
  });
  assert(await files.remove("d/a") >= 400);
  assertEquals(listPeriods(files.root).length, 1);
});

Deno.test("a file with which another process replaces the deleted file at the same time stays", async () => {
  await using files = await serveKeeping({ a: "1" });
  using _patch = afterEachVersion((path) => {
    Deno.writeTextFileSync(`${files.root}/new`, "2");
    Deno.renameSync(`${files.root}/new`, path);
  });
  assertEquals(await files.remove("a"), 409);
  assertEquals(await Deno.readTextFile(`${files.root}/a`), "2");
  assertEquals(await files.versions(), [["a", "1"]]);
});

for (const method of ["replace", "replace own", "delete"] as const) {
  Deno.test(`${method}: a file with which another process has replaced the kept file stays`, async () => {
    await using files = await serveKeeping({ a: "0" });
    if (method === "replace own") assertEquals(await files.put("a", "1"), 204);
    const path = `${await realPath(files.root)}/a`;
    let hasReplaced = false;
    const link = Deno.linkSync;
    using _patch = patch(Deno, "linkSync", (linkSync) => (from, to) => {
      if (from === path && !hasReplaced) {
        hasReplaced = true;
        // The other process has made the version, if there is none.
        if (method !== "replace own") link(from, to);
        Deno.writeTextFileSync(`${path}-new`, "other");
        Deno.renameSync(`${path}-new`, path);
      }
      linkSync(from, to);
    });
    assertEquals(method === "delete" ? await files.remove("a") : await files.put("a", "2"), 409);
    assertEquals([hasReplaced, await Deno.readTextFile(path)], [true, "other"]);
    assertEquals(await files.versions(), [["a", "0"]]);
    assertEquals(method === "delete" ? await files.remove("a") : await files.put("a", "2"), 204);
    const texts = (await files.versions()).map(([, text]) => text);
    assertEquals(texts, ["0", "other"]);
  });
}

Deno.test("changes are made although all versions are removed before any step of theirs", async () => {
  await using files = await serveKeeping();
  const root = await realPath(files.root);
  const keys = ["linkSync", "mkdirSync", "openSync", "lstatSync", "readDirSync", "renameSync"];
  let remaining = 0;
  const patches = keys.map((key) =>
    patch(Deno, key as "linkSync", (call) => (from, ...args) => {
      const isOfVersions = `${from} ${args[0]}`.includes(`/${KEPT}/`);
      if (isOfVersions && --remaining === 0) {
        Deno.removeSync(`${root}/${KEPT}`, { recursive: true });
      }
      return call(from, ...args);
    })
  );
  try {
    for (const change of ["create", "replace", "delete"]) {
      const isNew = change === "create";
      let step = 0;
      do {
        remaining = 0;
        await Deno.remove(`${root}/${KEPT}`, { recursive: true }).catch(() => {});
        await Deno.remove(`${root}/a`).catch(() => {});
        if (!isNew) await fill(root, { a: "1" });
        remaining = ++step;
        const status = change === "delete" ? await files.remove("a") : await files.put("a", "2");
        // At one step, the deleted file itself is among the versions.
        const isExpected = status === (isNew ? 201 : 204) || change === "delete" && status === 409;
        assert(isExpected, `${change} ${step}: ${status}`);
        const content = await Deno.readTextFile(`${root}/a`).catch(() => null);
        assertEquals(content, change === "delete" ? null : "2");
      } while (remaining <= 0);
      assert(step > 3, `${step}`);
    }
  } finally {
    for (const each of patches) each[Symbol.dispose]();
  }
});

Deno.test("a file that another process creates at the same time is kept when it is replaced", async () => {
  await using files = await serveKeeping();
  const path = `${await realPath(files.root)}/a`;
  let isMissing = true;
  const create = () => {
    Deno.writeTextFileSync(path, "1");
    isMissing = false;
  };
  using _link = patch(Deno, "linkSync", (linkSync) => (from, to) => {
    if (isMissing && to === path) create();
    return linkSync(from, to);
  });
  using _rename = patch(Deno, "renameSync", (renameSync) => (from, to) => {
    if (isMissing) create();
    return renameSync(from, to);
  });
  assertEquals(await files.put("a", "2"), 204);
  assertEquals(await Deno.readTextFile(path), "2");
  assertEquals(await files.versions(), [["a", "1"]]);
});

for (const code of ["EIO", "ESTALE"]) {
  Deno.test(`a version stays if the disk reports ${code} for a change that it has made`, async () => {
    await using files = await serveKeeping({ a: "1", b: "2" });
    using _patch = patch(Deno, "renameSync", (renameSync) => (from, to) => {
      renameSync(from, to);
      throw Object.assign(new Error("failed"), { code });
    });
    const statuses = [await files.put("a", "x"), await files.remove("b")];
    assert(statuses.every((status) => status >= 400), `${statuses}`);
    const contents = new Set((await files.versions()).map(([, text]) => text));
    assertEquals([...contents].sort(), ["1", "2"]);
  });
}

/** Sends a request of a peer to an app, with a text or without a body; returns the status. */
async function requestAs(
  user: string,
  app: FilesApp,
  method: "PUT" | "DELETE",
  uri: string,
  text: string | null,
): Promise<number> {
  const body = text === null ? null : new TextEncoder().encode(text);
  const session = {
    user,
    ifTrusted: (step: () => void) => step(),
    signal: new AbortController().signal,
  };
  const [status] = await app.handle(mkreq(method, uri, {}, body), session as never);
  return status;
}

async function serveTo(users: Record<string, string>[], dir: string): Promise<string[]> {
  const app = new FilesApp(dir, { write: true, keep: 9 });
  for (const [user, text] of users.flatMap(Object.entries)) {
    const status = await requestAs(user!, app, "PUT", "/a", text!);
    assert(status === 201 || status === 204, `${status}`);
  }
  return (await listVersions(dir)).map(([, text]) => text);
}

Deno.test("what one peer has stored, and another peer replaces within the hour, has a version; no name of a peer is stored", async () => {
  await using dir = await createTempDir();
  const texts = await serveTo([
    ...[{ anna: "1" }, { anna: "2" }, { anna: "3" }],
    ...[{ "bob / ../x": "4" }, { anna: "5" }, { anna: "6" }, { "": "7" }, { "": "8" }],
  ], dir.path);
  assertEquals(texts, ["1", "3", "4", "6"]);
  const tree = JSON.stringify(await readTree(`${dir.path}/${KEPT}`));
  for (const name of ["anna", "bob"]) assertEquals(tree.includes(name), false);
});

const SIMILAR_NAMES = [
  ["my_phone", "my-phone"],
  ["x".repeat(90), `${"x".repeat(90)}-2`],
  ["日本", "中国"],
  ["a/b", "a.b"],
] as const;

for (const [name, otherName] of SIMILAR_NAMES) {
  Deno.test(`two peers with similar names are two: ${name}, ${otherName}`, async () => {
    await using dir = await createTempDir();
    const texts = await serveTo([{ [name]: "1" }, { [name]: "2" }, { [otherName]: "3" }], dir.path);
    assertEquals(texts, ["1", "2"]);
  });
}

Deno.test("what another process has stored has a version, although the peer may be the same", async () => {
  await using dir = await createTempDir();
  const script = `import { FilesApp } from "@degu/degu/files";
    import { mkreq } from "@degu/degu/misc";
    const app = new FilesApp("${dir.path}", { write: true, keep: 9 });
    const session = { user: "anna", ifTrusted: (step: () => void) => step(), signal: new AbortController().signal };
    for (const text of ["1", "2", "3"]) {
      const [status] = await app.handle(mkreq("PUT", "/a", {}, new TextEncoder().encode(text)), session);
      console.log(status);
    }`;
  const output = await runScript(script, ["--allow-all", ...importMapFlags()], {});
  assertEquals(output, "201\n204\n204\n");
  assertEquals(await serveTo([{ anna: "4" }, { anna: "5" }], dir.path), ["1", "3"]);
});

Deno.test("of a file that downloads replace often, one version an hour is kept", async () => {
  await using trees = await makeTrees("download", { a: "0" });
  for (const text of ["1", "22", "333", "4444"]) {
    await trees.copy({ keep: 9 } as UploadTreeOptions);
    await Deno.writeTextFile(`${trees.source}/a`, text);
  }
  assertEquals(await listVersions(trees.target), [["a", "0"]]);
});

for (const direction of DIRECTIONS) {
  Deno.test(`${direction}: five mirrors within an hour, which rename a file, lose no deleted file`, async () => {
    const isDownload = direction === "download";
    await using trees = await makeTrees(direction, {}, {}, () => null, {
      keep: 9,
      reuse: true,
    });
    const { source, target } = trees;
    const renamed = "x".repeat(100_000);
    const time = new Date("2026-01-02T03:04:05Z");
    const mirror = async () => {
      const options = { delete: true, deleteAll: true, ...isDownload ? { keep: 9 } : {} };
      const { result } = await trees.copy(options);
      assertEquals([result.complete, result.failed], [true, 0]);
      assertEquals(await readTree(source), await readVisible(target));
    };
    await fill(source, { a: "1", old: renamed, stays: "2" });
    await Deno.utime(`${source}/old`, time, time);
    await mirror();
    await Deno.writeTextFile(`${source}/a`, "the second");
    await mirror();
    await Deno.remove(`${source}/a`);
    await mirror();
    await Deno.rename(`${source}/old`, `${source}/a`);
    await mirror();
    await Deno.writeTextFile(`${source}/a`, "the fifth version");
    await mirror();
    const versions = (await listVersions(isDownload ? target : target.replace(/\/tree$/, "")))
      .map(([path, text]) => [path.replace(/^tree\//, ""), text]);
    assertEquals(versions, [["a", "1"], ["a", "the second"], ["old", renamed]]);
  });
}

async function readVisible(dir: string): Promise<Record<string, string | null>> {
  const tree = await readTree(dir);
  return Object.fromEntries(Object.entries(tree).filter(([path]) => !path.startsWith(".degu")));
}

Deno.test("a peer can't list, read, write, reuse or delete a version", async () => {
  await using files = await serveKeeping({ a: "secret" });
  await files.remove("a");
  const [period] = listPeriods(files.root);
  const version = `${KEPT}/${period}/a`;
  const before = await readTree(`${files.root}/${KEPT}`);
  for (
    const path of [
      version,
      `${KEPT}/`,
      `${KEPT}/${period}/`,
      `${KEPT}/1.new`,
      ".DEGU-KEPT/",
      `${KEPT}.%20/`,
    ]
  ) {
    assertEquals(await readStatus(await files.request("GET", `/${path}`)), 404, path);
    assertEquals(await readStatus(await files.request("DELETE", `/${path}`)), 403, path);
    const put = await files.request("PUT", `/${path}`, {}, new TextEncoder().encode("x"));
    assert([403, 409].includes(await readStatus(put)), path);
  }
  for (const uri of ["/", "/?tree"]) {
    const response = await files.request("GET", uri);
    const body = response.body as { text(): Promise<string> };
    assert(!(await body.text()).includes("degu-kept"), uri);
  }
  assertEquals(await readTree(`${files.root}/${KEPT}`), before);
});

/** Makes a period of each day, in this order. */
async function makePeriods(dir: string, days: readonly string[]): Promise<void> {
  const first = listPeriods(dir).length + 1;
  for (const [index, day] of days.entries()) {
    const number = first + index;
    const files = Array.from(
      { length: 20 },
      (_, file) => `${day}T09_${number}/d${file % 4}/${file}`,
    );
    await fill(`${dir}/${KEPT}`, {
      ...Object.fromEntries(files.map((path) => [path, "1"])),
      [`${number}.new`]: JSON.stringify(`${day}T09_${number}`),
    });
  }
}

/** Removes old versions as an app does when it is made; returns its warnings. */
async function removeOld(dir: string, days: number): Promise<string[]> {
  const warnings: string[] = [];
  const store = new VersionStore(days, (line) => warnings.push(line));
  store.open(dir);
  await store.oldRemoved;
  return warnings;
}

const listDays = (dir: string) => listPeriods(dir).map((period) => period.split("T")[0]!);
const listLists = (dir: string) =>
  [...Deno.readDirSync(`${dir}/${KEPT}`)].filter(({ name }) => name.endsWith(".new")).length;

const JANUARY = Array.from({ length: 6 }, (_, index) => `2020-01-0${index + 1}`);

Deno.test("a version is removed after some later days had changes, when the next day has", async () => {
  await using dir = await createTempDir();
  await makePeriods(dir.path, JANUARY);
  assertEquals(await removeOld(dir.path, 5), []);
  assertEquals(listDays(dir.path), JANUARY);
  assertEquals(await removeOld(dir.path, 2), []);
  assertEquals([listDays(dir.path), listLists(dir.path)], [JANUARY.slice(3), 3]);
  const app = new FilesApp(dir.path, { write: true, keep: 2 });
  const removed = Promise.withResolvers<void>();
  const first = `${KEPT}/${listPeriods(dir.path)[0]}`;
  using _patch = patch(Deno, "remove", (remove) => async (path, options) => {
    await remove(path, options);
    if (`${path}`.endsWith(first)) removed.resolve();
  });
  assertEquals((await app.handle(mkreq("PUT", "/new", {}, new Uint8Array(1))))[0], 201);
  await removed.promise;
  assertEquals(listDays(dir.path).slice(0, -1), JANUARY.slice(4));
});

Deno.test("versions stay if a damaged disk lists only some names to a synchronous function", async () => {
  await using dir = await createTempDir();
  await makePeriods(dir.path, JANUARY);
  {
    using _reading = patch(Deno, "readDirSync", (readDirSync) =>
      function* (path) {
        for (const entry of readDirSync(path)) if (!/^[45]\.new$/.test(entry.name)) yield entry;
      });
    assertEquals(await removeOld(dir.path, 2), []);
  }
  assertEquals([listDays(dir.path), listLists(dir.path)], [JANUARY.slice(3), 3]);
});

const JANUARY_5 = JANUARY.slice(0, 5);
const WRONG_DAYS: readonly (readonly [
  name: string,
  days: readonly string[],
  removed: number,
])[] = [
  ["four boots on four days behind", [
    ...["2020-01-05", "1970-01-01", "1970-01-02", "1970-01-03", "1970-01-04", "2020-01-06"],
  ], 0],
  ["each second boot behind", JANUARY_5.flatMap((day) => ["1970-01-01", day, "1970-01-02"]), 7],
  ["one day several times", Array.from({ length: 9 }, () => "2020-01-01"), 0],
  ["ahead once", ["2020-01-01", "2031-01-01", ...JANUARY, "2020-02-01"], 0],
  ["after the day of the clock that was ahead", [
    ...["2020-01-01", "2031-01-01", ...JANUARY, "2031-01-02", "2031-01-03"],
  ], 1],
  ["always behind", ["2020-01-06", ...JANUARY, ...JANUARY_5], 0],
];

for (const [name, days, removed] of WRONG_DAYS) {
  Deno.test(`a day counts once, and only if it is later than each day before it: ${name}`, async () => {
    await using dir = await createTempDir();
    await makePeriods(dir.path, days);
    assertEquals(await removeOld(dir.path, 2), []);
    assertEquals(listDays(dir.path), days.slice(removed));
    assertEquals(await removeOld(dir.path, 2), []);
    assertEquals(listDays(dir.path), days.slice(removed));
  });
}

Deno.test("a clock that is ahead, or behind, removes no version that the right clock keeps on the next day", async () => {
  const format = (time: number) => new Date(time).toISOString().slice(0, 10);
  const today = Date.parse("2020-06-15T12:00:00Z");
  const present = Array.from({ length: 6 }, (_, index) => format(today - (5 - index) * DAY));
  await using right = await createTempDir();
  await makePeriods(right.path, [...present, format(today + DAY)]);
  await removeOld(right.path, 3);
  const expected = listDays(right.path).slice(0, -1);
  assertEquals(expected, present.slice(3));
  for (const days of [-400, -20_000, 1, 30, 4000]) {
    await using dir = await createTempDir();
    await makePeriods(dir.path, [...present, format(today + days * DAY)]);
    for (let call = 0; call < 3; call++) await removeOld(dir.path, 3);
    await makePeriods(dir.path, [format(today + DAY)]);
    await removeOld(dir.path, 3);
    const kept = new Set(listDays(dir.path));
    assertEquals(expected.filter((day) => !kept.has(day)), [], `a clock by ${days} days`);
  }
});

const REFUSED_CHANGES: readonly (readonly [name: string, key: "utimeSync" | "renameSync"])[] = [
  ["refuses times", "utimeSync"],
  ["can't rename directories, as overlayfs those of a lower layer", "renameSync"],
];

for (const [name, key] of REFUSED_CHANGES) {
  Deno.test(`on a disk that ${name}, old versions are also removed`, async () => {
    await using dir = await createTempDir();
    await makePeriods(dir.path, JANUARY);
    using _patch = patch(Deno, key, () => () => {
      throw Object.assign(new Error("refused (os error 18)"), { code: "EXDEV" });
    });
    assertEquals(await removeOld(dir.path, 1), []);
    assertEquals(listDays(dir.path), JANUARY.slice(-2));
  });
}

Deno.test("old versions are removed by several calls at once", async () => {
  await using dir = await createTempDir();
  await makePeriods(dir.path, JANUARY);
  const removals = Array.from({ length: 3 }, () => removeOld(dir.path, 1));
  assertEquals(await Promise.all(removals), [[], [], []]);
  assertEquals((await listVersions(dir.path)).length, 40);
});

Deno.test("a removal that is interrupted, and goes on, removes no more days", async () => {
  await using dir = await createTempDir();
  await makePeriods(dir.path, JANUARY);
  {
    using _patch = patch(Deno, "remove", (remove) => async (path) => {
      await remove(`${path}/d1`, { recursive: true });
      throw new Deno.errors.Interrupted("interrupted");
    });
    assertEquals((await removeOld(dir.path, 1)).length, 1);
  }
  // What remains is no version.
  assertEquals(listDays(dir.path), JANUARY);
  await removeOld(dir.path, 1);
  assertEquals(listDays(dir.path), JANUARY.slice(-2));
});

Deno.test("if the versions of one day can't be removed, those of the others are removed", async () => {
  await using dir = await createTempDir();
  await makePeriods(dir.path, JANUARY);
  using _patch = patch(Deno, "remove", (remove) => async (path, options) => {
    if (`${path}`.includes("/2020-01-01")) throw new Deno.errors.PermissionDenied("refused");
    await remove(path, options);
  });
  const warnings = await removeOld(dir.path, 1);
  assertEquals(warnings, ["old versions can't be removed: PermissionDenied: refused"]);
  assertEquals(listDays(dir.path), ["2020-01-01", ...JANUARY.slice(-2)]);
});

Deno.test("an unreadable directory of versions is reported, and doesn't count as empty", async () => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/${KEPT}`, "not a directory");
  const warning = Promise.withResolvers<string>();
  const logger = { warn: warning.resolve };
  new FilesApp(dir.path, { write: true, keep: 1, logger });
  assertMatch(await warning.promise, /^old versions can't be removed: .*readdir/);
});

function refuseLinks(code: string): Disposable {
  return patch(Deno, "linkSync", () => () => {
    throw Object.assign(new Error("refused"), { code });
  });
}

/** Gives each second name of a file another inode number, as sshfs and mergerfs do. */
function renumberLinks(): Disposable {
  const linkPaths = new Set<string>();
  const linking = patch(Deno, "linkSync", (linkSync) => (from, to) => {
    linkSync(from, to);
    linkPaths.add(`${to}`);
  });
  const looking = patch(Deno, "lstatSync", (lstatSync) => (path) => {
    const info = lstatSync(path);
    return linkPaths.has(`${path}`) ? { ...info, ino: info.ino! + 1_000_000 } : info;
  });
  return {
    [Symbol.dispose]() {
      linking[Symbol.dispose]();
      looking[Symbol.dispose]();
    },
  };
}

const DISKS_WITHOUT_LINKS: readonly [name: string, change: () => Disposable, problem: string][] = [
  ...["EPERM", "ENOTSUP", "EMLINK"].map((
    code,
  ): [string, () => Disposable, string] => [code, () => refuseLinks(code), "has no hard links"]),
  ["another inode number", renumberLinks, "another inode number"],
];

for (const [name, change, problem] of DISKS_WITHOUT_LINKS) {
  Deno.test(`a disk without hard links is refused at the start: ${name}`, async () => {
    await using dir = await createTempDir();
    using _patch = change();
    const error = assertThrows(
      () => new FilesApp(dir.path, { write: true, keep: 1 }),
      Deno.errors.NotSupported,
      problem,
    );
    assertMatch(error.message, /, so no versions can be kept$/);
    assertEquals([...Deno.readDirSync(dir.path)], []);
  });

  Deno.test(`a file on a later disk without hard links is refused with this reason: ${name}`, async () => {
    await using files = await serveKeeping({ a: "1" });
    using _patch = change();
    assertEquals([await files.put("a", "2"), await files.remove("a")], [403, 403]);
    const file = name === "EPERM" || name === "EMLINK" ? "can't get a second name" : problem;
    assertEquals(
      files.warnings.map((line) => line.includes(file)),
      [true, true],
      `${files.warnings}`,
    );
    // A name that may be of another file stays.
    const versions = (await files.versions()).map(([, text]) => text);
    assertEquals([await Deno.readTextFile(`${files.root}/a`), ...new Set(versions)], [
      "1",
      ...problem === "another inode number" ? ["1"] : [],
    ]);
  });
}

for (const [code, status] of [["EPERM", 403], ["ENOSPC", 507]] as const) {
  Deno.test(`a path that can't be listed gets no file: ${code}`, async () => {
    await using files = await serveKeeping({ a: "1" });
    assertEquals(await files.put("b", "2"), 201);
    using _patch = patch(Deno, "openSync", (openSync) => (path, options) => {
      if (!`${path}`.endsWith("1.new") || !options?.append) return openSync(path, options);
      throw Object.assign(new Error("refused"), { code });
    });
    assertEquals([await files.put("c", "3")], [status]);
    assertEquals([await files.put("a", "11"), await files.put("b", "22")], [204, 204]);
    assertEquals(await readVisible(files.root), { a: "11", b: "22" });
  });
}

Deno.test("if .degu-kept is a file or a link, no file is changed", async () => {
  for (const kind of ["file", "link"]) {
    await using files = await serveKeeping({ a: "1" });
    await using outside = await createTempDir();
    const path = `${files.root}/${KEPT}`;
    if (kind === "file") await Deno.writeTextFile(path, "");
    else await makeLinks({ [path]: outside.path });
    assertEquals([await files.put("a", "2"), await files.put("b", "2")], [403, 403], kind);
    assertEquals(await files.remove("a"), 403);
    assertEquals(await Deno.readTextFile(`${files.root}/a`), "1");
    assertEquals([...Deno.readDirSync(outside.path)], []);
    assertMatch(files.warnings.at(-1)!, /is needed for earlier versions, and is not a directory/);
  }
});

Deno.test("after all versions are removed while the directory is served, the next changes are kept", async () => {
  await using files = await serveKeeping({ a: "1", b: "2" });
  assertEquals(await files.put("a", "11"), 204);
  await Deno.remove(`${files.root}/${KEPT}`, { recursive: true });
  assertEquals([await files.remove("a"), await files.put("c", "3")], [204, 201]);
  await Deno.remove(`${files.root}/${KEPT}`, { recursive: true });
  assertEquals([await files.put("c", "33"), await files.remove("b")], [204, 204]);
  assertEquals(await files.versions(), [["b", "2"], ["c", "3"]]);
  assertEquals(await readMode(`${files.root}/${KEPT}`), 0o700);
});

Deno.test("a damaged list is no period, and the next change begins one", async () => {
  await using files = await serveKeeping({ a: "1", b: "2" });
  assertEquals(await files.put("a", "11"), 204);
  for (const text of ["", '"2026-01-01T09_7"', "[1]"]) {
    const number = listLists(files.root);
    await Deno.writeTextFile(`${files.root}/${KEPT}/${number}.new`, text);
    await Deno.writeTextFile(`${files.root}/${KEPT}/${number + 1}.new`, text);
    const app = new FilesApp(files.root, { write: true, keep: 9 });
    assertEquals(await requestAs("", app, "PUT", "/a", text), 204);
    assertEquals(listLists(files.root), number + 2);
  }
});

Deno.test("on a disk with inodes above 2⁵³, which Deno rounds, each deleted file is kept", async () => {
  await using files = await serveKeeping({ a: "1" });
  using _patch = patch(Deno, "lstatSync", (lstatSync) => (path) => {
    const info = lstatSync(path);
    return info.isFile ? { ...info, ino: 2 ** 62, birthtime: null } : info;
  });
  assertEquals([await files.put("a", "22"), await files.remove("a")], [204, 204]);
  assertEquals([await files.put("a", "333"), await files.remove("a")], [201, 204]);
  assertEquals((await files.versions()).map(([, text]) => text), ["1", "22", "333"]);
});

const REFUSED: readonly [code: string, status: number][] = [["EPERM", 403], ["ENOSPC", 507]];

for (const [code, status] of REFUSED) {
  Deno.test(`a file that can't be kept is neither replaced nor deleted: ${code}`, async () => {
    await using files = await serveKeeping({ a: "1" });
    using _patch = refuseLinks(code);
    assertEquals([await files.put("a", "2"), await files.remove("a")], [status, status]);
    assertEquals(await Deno.readTextFile(`${files.root}/a`), "1");
    assertEquals(await files.versions(), []);
  });
}

Deno.test("a file that can't be replaced stays", async () => {
  await using files = await serveKeeping({ a: "1" });
  using _patch = patch(Deno, "renameSync", (renameSync) => (from, to) => {
    if (!`${to}`.endsWith("/a")) return renameSync(from, to);
    throw Object.assign(new Error("refused"), { code: "EACCES" });
  });
  assertEquals(await files.put("a", "2"), 403);
  assertEquals([await Deno.readTextFile(`${files.root}/a`), await files.versions()], ["1", [[
    "a",
    "1",
  ]]]);
});

for (const isDeleted of [true, false]) {
  Deno.test(`downloadTree keeps each ${isDeleted ? "deleted" : "replaced"} file`, async () => {
    const source: Record<string, string> = isDeleted ? { b: "2" } : { "d/a": "22", b: "2" };
    await using trees = await makeTrees("download", source, { "d/a": "1", b: "2" });
    const copy = (dryRun: boolean) =>
      downloadTree(trees.client, "/tree/", trees.target, { delete: true, keep: 7, dryRun });
    await copy(true);
    assertEquals([...Deno.readDirSync(trees.target)].length, 2);
    const { complete } = await copy(false);
    assertEquals([complete, await listVersions(trees.target)], [true, [["d/a", "1"]]]);
    const again = await copy(false);
    assertEquals([again.files, again.deleted, again.complete], [0, 0, true]);
    assertEquals((await listVersions(trees.target)).length, 1);
  });
}

Deno.test(
  "after random changes by two peers, each promised version is there, and none has changed",
  withRandom(async (random) => {
    await using dir = await createTempDir();
    const app = new FilesApp(dir.path, { write: true, keep: 9 });
    const paths = ["a", "a/b", "a/b/c", "d", "d/e"];
    const promised = new Set<string>();
    const lastKept = new Map<string, string>();
    const log: string[] = [];
    for (let step = 0; step < 400; step++) {
      const [user, path] = [
        ["anna", "bob"][random.integer(2)]!,
        paths[random.integer(paths.length)]!,
      ];
      const isDeletion = random.integer(3) === 0;
      const old = await Deno.readTextFile(`${dir.path}/${path}`).catch(() => null);
      const uri = isDeletion && old === null ? `/${path}/` : `/${path}`;
      const method = isDeletion ? "DELETE" : "PUT";
      const status = await requestAs(user, app, method, uri, isDeletion ? null : `${step}`);
      log.push(`${user} ${method} ${uri}: ${status}`);
      if (status >= 300 || old === null) continue;
      if (isDeletion || !lastKept.has(path)) promised.add(`${path} ${old}`);
      lastKept.set(path, old);
    }
    const versions = (await listVersions(dir.path)).map(([path, text]) => `${path} ${text}`);
    const missing = promised.difference(new Set(versions));
    assertEquals([...missing], [], log.join("\n"));
    assertEquals(new Set(versions).size, versions.length);
  }),
);

Deno.test("keep is a number of days, and needs write", async () => {
  await using dir = await createTempDir();
  const make = (keep: unknown, write = true) => () =>
    new FilesApp(dir.path, { write, keep: keep as number });
  for (const keep of [0, 1.5, 36_501]) {
    assertThrows(make(keep), RangeError, "keep: must be");
  }
  for (const keep of ["1", null]) assertThrows(make(keep), TypeError, "keep");
  assertThrows(make(1, false), RangeError, "keep: needs write: true");
});

Deno.test("a file, and a directory of its name, are both kept", async () => {
  await using files = await serveKeeping({ a: "file" });
  assertEquals(await files.remove("a"), 204);
  assertEquals(await files.put("a/b", "below"), 201);
  assertEquals(await files.remove("a/b"), 204);
  assertEquals(await files.remove("a/"), 204);
  assertEquals(await files.put("a", "file again"), 201);
  assertEquals(await files.remove("a"), 204);
  const versions = await files.versions();
  assertEquals(versions, [["a", "file"], ["a", "file again"], ["a/b", "below"]]);
});
