/** `keep`: earlier versions of files that a peer, or a download, replaces or deletes. */
import {
  deleteEntry,
  downloadTree,
  FilesApp,
  findKeptVersions,
  removeOldVersions,
  TransferError,
  type UploadTreeOptions,
} from "@degu/files";
import { mkreq } from "@degu/degu/misc";
import { realPath } from "@degu/internal/files/disk/paths.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { createTempDir, fill, readMode, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { DIRECTIONS, makeTrees } from "@degu/testing/trees.ts";
import { readStatus } from "@degu/testing/written_directory.ts";

import { KEPT, listDays, listTimes, listVersions, serveKeeping } from "./kept_files.ts";
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

Deno.test("a replaced file and a deleted file are kept under their paths", async () => {
  await using files = await serveKeeping({ "d/a": "1", b: "2" });
  assertEquals(await files.put("d/a", "11"), 204);
  assertEquals(await files.remove("b"), 204);
  assertEquals(await files.put("new", "3"), 201);
  assertEquals(await files.versions(), [["b", "2"], ["d/a", "1"]]);
  const { path, versions, bytes, since } = await findKeptVersions(files.root);
  assertEquals([path, versions, bytes], [`${await realPath(files.root)}/${KEPT}`, 2, 2]);
  if (Deno.build.os !== "windows") assertEquals(await readMode(path), 0o700);
  assertEquals(since, [...Deno.readDirSync(path)][0]!.name);
});

Deno.test("small files of a bundle are kept, and a file that gets another name is not", async () => {
  await using files = await serveKeeping({ a: "1", old: "old" });
  assertEquals(await files.rename("old", "renamed", [["a", "11"]]), [204, 201]);
  assertEquals(await files.versions(), [["a", "1"]]);
});

Deno.test("of a file that is replaced often, one version an hour is kept; each deletion keeps the file", async () => {
  await using files = await serveKeeping({ a: "0" });
  for (const text of ["1", "2", "3"]) assertEquals(await files.put("a", text), 204);
  assertEquals(await files.versions(), [["a", "0"]]);
  {
    using _clock = setClockAhead(HOUR - 60_000);
    await files.put("a", "4");
    assertEquals(await files.versions(), [["a", "0"]]);
  }
  {
    using _clock = setClockAhead(HOUR + 60_000);
    await files.put("a", "5");
    assertEquals(await files.versions(), [["a", "0"], ["a", "4"]]);
  }
  for (const text of ["6", "7", "8"]) {
    assertEquals(await files.remove("a"), 204);
    assertEquals(await files.put("a", text), 201);
  }
  const texts = (await files.versions()).map(([, text]) => text);
  assertEquals(texts, ["0", "4", "5", "6", "7"]);
});

Deno.test("a file is kept although another process has kept it: that process may discard its version", async () => {
  await using files = await serveKeeping({ a: "1", b: "2" });
  using _patch = patch(Deno, "linkSync", (linkSync) => (from, to) => {
    linkSync(from, to);
    throw Object.assign(new Error("killed"), { code: "EIO" });
  });
  assertEquals([await files.put("a", "x"), await files.remove("b")], [403, 403]);
  _patch[Symbol.dispose]();
  const others = Object.keys(await readTree(`${files.root}/${KEPT}`)).filter((path) =>
    /\/[ab]$/.test(path)
  );
  assertEquals(others.length, 2);
  assertEquals([await files.put("a", "x"), await files.remove("b")], [204, 204]);
  for (const path of others) await Deno.remove(`${files.root}/${KEPT}/${path}`);
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
  const session = { user, trust: () => "trusted", signal: new AbortController().signal };
  const [status] = await app.handle(mkreq(method, uri, {}, body), session as never);
  return status;
}

Deno.test("two peers keep versions of one path", async () => {
  await using dir = await createTempDir();
  const app = new FilesApp(dir.path, { write: true, keep: 9 });
  assertEquals(await requestAs("anna", app, "PUT", "/a", "1"), 201);
  for (const [user, text] of [["anna", "2"], ["bob / ../x", "3"], ["anna", "4"], ["", "5"]]) {
    assertEquals(await requestAs(user!, app, "PUT", "/a", text!), 204);
  }
  assertEquals((await listVersions(dir.path)).map(([, text]) => text), ["1", "2", "4"]);
  const writers = listTimes([...listDays(dir.path)][0]!).map((path) => path.replace(/^.*_/, ""));
  assertEquals(writers.map((name) => name.replace(/\..*/, "")).sort(), ["anna", "bob-x", "peer"]);
});

const SIMILAR_NAMES = [
  ["my_phone", "my-phone"],
  ["x".repeat(90), `${"x".repeat(90)}-2`],
  ["日本", "中国"],
  ["a/b", "a.b"],
] as const;

for (const [name, otherName] of SIMILAR_NAMES) {
  Deno.test(`the versions of two peers are apart: ${name}, ${otherName}`, async () => {
    await using dir = await createTempDir();
    const app = new FilesApp(dir.path, { write: true, keep: 9 });
    for (const [user, text] of [[name, "1"], [name, "2"], [otherName, "3"]] as const) {
      await requestAs(user, app, "PUT", "/a", text);
    }
    assertEquals((await listVersions(dir.path)).map(([, text]) => text), ["1", "2"]);
  });
}

/** Lets a file look as if it had been created a day ago. */
function makeOld(path: string): Disposable {
  const { ino } = Deno.statSync(path);
  return patch(Deno, "lstatSync", (lstatSync) => (path) => {
    const info = lstatSync(path);
    return info.ino === ino ? { ...info, birthtime: new Date(Date.now() - DAY) } : info;
  });
}

Deno.test("a file of the last hour doesn't get a path with a version of this hour, by any peer, of which it would be no version", async () => {
  await using files = await serveKeeping({ a: "1", b: "1", c: "1", "d/e": "1" });
  for (const path of ["a", "c", "d/e"]) assertEquals(await files.remove(path), 204);
  const [day] = listDays(files.root);
  const [writerPath = ""] = listTimes(day!);
  await Deno.rename(writerPath, writerPath.replace("peer", "another"));
  assertEquals(await files.put("new", "2"), 201);
  for (const path of ["a", "d/e"]) assertEquals(await files.rename("new", path), 409);
  assertEquals(await files.rename("new", "free"), 201);
  assertEquals(await files.rename("free", "c"), 409);
  assertEquals((await files.versions()).length, 3);
  {
    using _clock = setClockAhead(HOUR + 60_000);
    assertEquals(await files.rename("free", "a"), 201);
  }
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

Deno.test("an old file that gets the path of a recent version is kept when it is replaced", async () => {
  await using files = await serveKeeping({ old: "old" });
  using _patch = makeOld(`${files.root}/old`);
  for (const text of ["1", "2"]) await files.put("a", text);
  assertEquals(await files.remove("a"), 204);
  assertEquals(await files.rename("old", "a"), 201);
  assertEquals(await files.put("a", "3"), 204);
  assertEquals((await files.versions()).map(([, text]) => text), ["1", "2", "old"]);
});

Deno.test("a peer can't list, read, write, reuse or delete a version", async () => {
  await using files = await serveKeeping({ a: "secret" });
  await files.remove("a");
  const [day = ""] = listDays(files.root);
  const [time = ""] = listTimes(day);
  const version = `${time.slice(files.root.length + 1)}/a`;
  const before = await readTree(`${files.root}/${KEPT}`);
  for (
    const path of [
      version,
      `${KEPT}/`,
      `${day.slice(files.root.length + 1)}/`,
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

/**
 * Makes a version of each day, with a name that starts with the day. By default, the time of the
 * directory of each day is this day.
 */
async function makeDays(
  dir: string,
  days: readonly string[],
  timeOf = (day: string) => new Date(`${day}T12:00:00`),
) {
  for (const day of days) {
    await fill(dir, { [`${KEPT}/${day}/09_a/x`]: day });
    await Deno.utime(`${dir}/${KEPT}/${day}`, timeOf(day), timeOf(day));
  }
}

/** Returns the time of the first removal after a day. */
const dayAfter = (day: string) => new Date(Date.parse(`${day}T12:00:00`) + DAY);

const listKept = (dir: string) =>
  [...Deno.readDirSync(`${dir}/${KEPT}`)].map(({ name }) => name).sort();

const JANUARY = Array.from({ length: 6 }, (_, index) => `2020-01-0${index + 1}`);

Deno.test("versions are removed some days after the first removal on a later day, but not those of the newest days", async () => {
  await using dir = await createTempDir();
  await makeDays(dir.path, JANUARY);
  await fill(dir.path, { [`${KEPT}/2019-01-01`]: "a file", [`${KEPT}/2020-01-04x/a`]: "1" });
  const others = ["2019-01-01", "2020-01-04x"];
  const rows = [[0, 6], [1.9, 6], [2.1, 4], [2.2, 4], [3650, 4]] as const;
  for (const [days, count] of rows) {
    using _clock = setClockAhead(days * DAY);
    await removeOldVersions(dir.path, 2);
    const expected = [...JANUARY.slice(-count), ...others].sort();
    assertEquals(listKept(dir.path), expected, `after ${days} days`);
  }
});

Deno.test("a clock that is behind again adds versions to an old day, whose time begins again", async () => {
  await using dir = await createTempDir();
  await fill(dir.path, { a: "1", b: "2" });
  const isAdded = async () => (await listVersions(dir.path)).some(([path]) => path === "b");
  const options = { write: true, keep: 1 } as const;
  const remove = async (uri: string) =>
    (await new FilesApp(dir.path, options).handle(mkreq("DELETE", uri)))[0];
  const behind = DAY - Date.now();
  let old: string;
  {
    using _clock = setClockAhead(behind);
    assertEquals(await remove("/a"), 204);
    [old = ""] = listKept(dir.path);
  }
  await makeDays(dir.path, [old], () => new Date(Date.now() - 9 * DAY));
  await makeDays(dir.path, JANUARY, () => new Date());
  {
    using _clock = setClockAhead(behind);
    assertEquals(await remove("/b"), 204);
  }
  await removeOldVersions(dir.path, 1);
  assert(await isAdded());
});

Deno.test("versions of each day on which the clock is behind stay for all days after it is right", async () => {
  await using dir = await createTempDir();
  await makeDays(dir.path, JANUARY, dayAfter);
  const behind: string[] = [];
  for (let day = 1; day <= 8; day++) {
    behind.push(`1970-01-0${day}`);
    await makeDays(dir.path, behind.slice(-1));
    using _clock = setClockAhead(Date.parse(`${behind.at(-1)}T12:00:00`) + 1000 - Date.now());
    await removeOldVersions(dir.path, 9);
  }
  const listBehind = () => listKept(dir.path).filter((day) => day.startsWith("1970"));
  await removeOldVersions(dir.path, 2);
  assertEquals(listBehind(), behind);
  using _clock = setClockAhead(2 * DAY + 60_000);
  await removeOldVersions(dir.path, 2);
  assertEquals(listKept(dir.path), [...behind.slice(-3), JANUARY.at(-1)]);
});

Deno.test("versions of a day in the future, by a clock that was ahead, stay as long; then others are removed again", async () => {
  await using dir = await createTempDir();
  await makeDays(dir.path, [...JANUARY, "2999-01-01"]);
  const counts = [];
  for (const days of [0, 1.9, 2.1, 2.2, 4.3]) {
    using _clock = setClockAhead(days * DAY);
    await removeOldVersions(dir.path, 2);
    counts.push(listKept(dir.path).length);
  }
  assertEquals(counts, [7, 7, 6, 6, 4]);
  assertEquals(listKept(dir.path), JANUARY.slice(-4));
});

Deno.test("a clock that is ahead, or behind, removes no version that the right clock keeps", async () => {
  for (const days of [-400, -20_000, 1, 30, 4000]) {
    await using dir = await createTempDir();
    const today = Date.now() - Date.now() % DAY + DAY / 2;
    const format = (time: number) => new Date(time).toISOString().slice(0, 10);
    const present = Array.from({ length: 6 }, (_, index) => format(today - index * DAY)).reverse();
    const timeOf = (day: string) => day === format(today) ? new Date(today) : dayAfter(day);
    await makeDays(dir.path, present, timeOf);
    {
      using _clock = setClockAhead(today - Date.now() + days * DAY);
      for (let call = 0; call < 3; call++) await removeOldVersions(dir.path, 3);
    }
    using _clock = setClockAhead(today - Date.now());
    await removeOldVersions(dir.path, 3);
    assertEquals(listKept(dir.path).slice(-5), present.slice(1), `a clock by ${days} days`);
  }
});

Deno.test("on a disk that refuses times, old versions are also removed", async () => {
  await using dir = await createTempDir();
  await makeDays(dir.path, JANUARY);
  using _patch = patch(Deno, "utimeSync", () => () => {
    throw Object.assign(new Error("refused (os error 1)"), { code: "EPERM" });
  });
  await removeOldVersions(dir.path, 1);
  assertEquals(listKept(dir.path), JANUARY);
  using _clock = setClockAhead(DAY + 60_000);
  await removeOldVersions(dir.path, 1);
  assertEquals(listKept(dir.path).length, 3);
});

Deno.test("on a disk that can't rename directories, as overlayfs those of a lower layer, old versions are also removed", async () => {
  await using dir = await createTempDir();
  const days = await makeOldDays(dir.path);
  using _patch = patch(Deno, "renameSync", () => () => {
    throw Object.assign(new Error("refused (os error 18)"), { code: "EXDEV" });
  });
  await removeOldVersions(dir.path, 1);
  assertEquals(listKept(dir.path), days.slice(-3));
});

/** Makes a directory with old versions of some days, of which the last three are not removed. */
async function makeOldDays(dir: string): Promise<string[]> {
  const paths = JANUARY.flatMap((day) =>
    Array.from({ length: 100 }, (_, index) => `${KEPT}/${day}/09_a/${index % 10}/${index}`)
  );
  await fill(dir, Object.fromEntries(paths.map((path) => [path, "1"])));
  for (const day of JANUARY) {
    await Deno.utime(`${dir}/${KEPT}/${day}`, dayAfter(day), dayAfter(day));
  }
  return JANUARY;
}

Deno.test("old versions are removed by several calls at once, while others count them", async () => {
  await using dir = await createTempDir();
  const days = await makeOldDays(dir.path);
  const removals = Array.from({ length: 3 }, () => removeOldVersions(dir.path, 1));
  const counts = Array.from({ length: 3 }, () => findKeptVersions(dir.path));
  await Promise.all([...removals, ...counts]);
  const { versions, since } = await findKeptVersions(dir.path);
  assertEquals([versions, since], [300, days.at(-3)]);
});

Deno.test("a removal that is interrupted, and goes on, removes no more days", async () => {
  await using dir = await createTempDir();
  const days = await makeOldDays(dir.path);
  {
    using _patch = patch(Deno, "remove", (remove) => async (path) => {
      await remove(`${path}/09_a`, { recursive: true });
      throw new Deno.errors.Interrupted("interrupted");
    });
    await assertRejects(() => removeOldVersions(dir.path, 1), Deno.errors.Interrupted);
  }
  await removeOldVersions(dir.path, 1);
  assertEquals(listKept(dir.path), days.slice(-3));
});

Deno.test("a day that another process removes, or that can't be looked up, takes no place of the days that stay", async () => {
  await using dir = await createTempDir();
  const days = await makeOldDays(dir.path);
  const newestDays = days.slice(-3);
  {
    using _patch = patch(Deno, "readDirSync", (readDirSync) => (path) => {
      const entries = [...readDirSync(path)];
      for (const day of days.slice(0, -3)) {
        Deno.renameSync(`${dir.path}/${KEPT}/${day}`, `${dir.path}/${KEPT}/${day}.old`);
      }
      return entries.values();
    });
    await removeOldVersions(dir.path, 1);
  }
  assertEquals(listKept(dir.path), newestDays);
  await fill(dir.path, { [`${KEPT}/${days[0]}/09_a/f`]: "1" });
  {
    using _patch = patch(Deno, "lstatSync", (lstatSync) => (path) => {
      if (!`${path}`.endsWith(days[0]!)) return lstatSync(path);
      throw Object.assign(new Error("lstat (os error 5)"), { code: "EIO" });
    });
    await assertRejects(() => removeOldVersions(dir.path, 1), Error, "lstat");
  }
  assertEquals(listKept(dir.path), [days[0], ...newestDays]);
});

Deno.test("if the versions of one day can't be removed, those of the others are removed", async () => {
  await using dir = await createTempDir();
  const [first, , , ...newest] = await makeOldDays(dir.path);
  using _patch = patch(Deno, "remove", (remove) => async (path, options) => {
    if (`${path}`.includes(first!)) throw new Deno.errors.PermissionDenied("refused");
    await remove(path, options);
  });
  await assertRejects(() => removeOldVersions(dir.path, 1), Deno.errors.PermissionDenied);
  assertEquals(listKept(dir.path), [`${first}.old`, ...newest]);
});

Deno.test("an unreadable directory of versions is reported, and doesn't count as empty", async () => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/${KEPT}`, "not a directory");
  await assertRejects(() => findKeptVersions(dir.path), Error, "readdir");
  await assertRejects(() => removeOldVersions(dir.path, 1), Error, "readdir");
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

Deno.test("a file that can't be replaced leaves no version", async () => {
  await using files = await serveKeeping({ a: "1" });
  using _patch = patch(Deno, "renameSync", (renameSync) => (from, to) => {
    if (!`${to}`.endsWith("/a")) return renameSync(from, to);
    throw Object.assign(new Error("refused"), { code: "EACCES" });
  });
  assertEquals(await files.put("a", "2"), 403);
  assertEquals([await Deno.readTextFile(`${files.root}/a`), await files.versions()], ["1", []]);
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

Deno.test("after random changes by two peers, each promised version is there, and none has changed", async () => {
  await using dir = await createTempDir();
  const app = new FilesApp(dir.path, { write: true, keep: 9 });
  const paths = ["a", "a/b", "a/b/c", "d", "d/e"];
  const random = (count: number) => Math.floor(Math.random() * count);
  const promised = new Set<string>();
  const lastKept = new Map<string, string>();
  const log: string[] = [];
  for (let step = 0; step < 400; step++) {
    const [user, path] = [["anna", "bob"][random(2)]!, paths[random(paths.length)]!];
    const isDeletion = random(3) === 0;
    const old = await Deno.readTextFile(`${dir.path}/${path}`).catch(() => null);
    const uri = isDeletion && old === null ? `/${path}/` : `/${path}`;
    const method = isDeletion ? "DELETE" : "PUT";
    const status = await requestAs(user, app, method, uri, isDeletion ? null : `${step}`);
    log.push(`${user} ${method} ${uri}: ${status}`);
    if (status >= 300 || old === null) continue;
    const key = `${user} ${path}`;
    if (isDeletion || !lastKept.has(key)) promised.add(`${path} ${old}`);
    lastKept.set(key, old);
  }
  const versions = (await listVersions(dir.path)).map(([path, text]) => `${path} ${text}`);
  const missing = promised.difference(new Set(versions));
  assertEquals([...missing], [], log.join("\n"));
  assertEquals(new Set(versions).size, versions.length);
});

/** Lets each further version fill the disk. */
function fillDisk(): Disposable {
  return patch(Deno, "mkdirSync", (mkdirSync) => (path, options) => {
    if (!`${path}`.includes(`/${KEPT}/`)) return mkdirSync(path, options);
    throw Object.assign(new Error("No space left on device (os error 28)"), { code: "ENOSPC" });
  });
}

for (const direction of DIRECTIONS) {
  Deno.test(`${direction}: the error of a full disk names the directory of earlier versions, which deleting files doesn't free`, async () => {
    const isDownload = direction === "download";
    const options = isDownload ? {} : { keep: 9 };
    await using trees = await makeTrees(direction, { a: "22" }, { a: "1" }, () => null, options);
    const root = isDownload ? trees.target : trees.target.replace(/\/tree$/, "");
    const copy = async () => {
      using _disk = fillDisk();
      const { errors } = await trees.copy(isDownload ? { keep: 9 } as UploadTreeOptions : {});
      const { code, at, versions, message } = errors["a"] as TransferError;
      assertEquals([code, at], ["DISK_FULL", isDownload ? "local" : "remote"]);
      assertEquals(message.includes(KEPT), versions !== null, message);
      return versions;
    };
    assertEquals(await copy(), null);
    await fill(root, { [`${KEPT}/2020-01-01/09_a/x`]: "1" });
    assertEquals(await copy(), isDownload ? `${await realPath(root)}/${KEPT}` : KEPT);
  });
}

Deno.test("a deletion on a full disk is refused, and the error and the log name the earlier versions", async () => {
  await using files = await serveKeeping({ a: "1", b: "2" });
  await files.remove("a");
  using _disk = fillDisk();
  const client = files.serving.makeClient();
  const error = await assertRejects(() => deleteEntry(client, "/b"), TransferError);
  assertEquals([error.code, error.versions], ["DISK_FULL", KEPT]);
  const directory = `${await realPath(files.root)}/${KEPT}`;
  assertMatch(files.warnings.at(-1)!, /No space left on device/);
  assert(files.warnings.at(-1)!.endsWith(`; the earlier versions in ${directory} take space`));
});

Deno.test("keep is a number of days, and needs write", async () => {
  await using dir = await createTempDir();
  const make = (keep: unknown, write = true) => () =>
    new FilesApp(dir.path, { write, keep: keep as number });
  for (const keep of [0, 1.5, 36_501]) {
    assertThrows(make(keep), RangeError, "keep: must be");
    await assertRejects(() => removeOldVersions(dir.path, keep), RangeError, "days: must be");
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
