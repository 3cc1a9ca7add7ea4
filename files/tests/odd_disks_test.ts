/**
 * Disks that change what they are told to store, that lack an operation, or whose files have times or
 * sizes that can't be represented or sent; and disks that are mounted below a served directory.
 */
import { download, upload } from "@degu/degu/files";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { serveFilesApp } from "@degu/testing/transferring.ts";
import { copyTree, DIRECTIONS, makeCopy, type TreeDirection } from "@degu/testing/trees.ts";
import { serveWritableDirectory } from "./written_directory.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { findObstacle } from "@degu/testing/commands.ts";
import { importMapFlags, runProgram } from "@degu/testing/processes.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { canMount, IN_MOUNT_NAMESPACE } from "./refused_writes.ts";
import { findMountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";

const LARGE = "x".repeat(100_000);

async function setUp(direction: TreeDirection, source: Record<string, string>) {
  const warnings: string[] = [];
  const logger = { warn: (line: string) => void warnings.push(line) };
  const files = await serveFilesApp({ write: true, list: true, logger });
  const { sourceDir, targetDir } = makeCopy(direction, files);
  await fill(sourceDir, source);
  const copyOne = (name: string) =>
    direction === "upload"
      ? upload(files.client, `${sourceDir}/${name}`, [name])
      : download(files.client, [name], `${targetDir}/${name}`);
  const copyAll = () => copyTree(direction, files.client, files.clientDir, "/", {});
  return { ...files, warnings, sourceDir, targetDir, copyOne, copyAll };
}

function refuse(code: string): never {
  throw Object.assign(new Error(`refused: ${code}`), { code });
}

/** A disk with 32 unsigned bits for the seconds, on which 0 means now, as with SFTP. */
function changeTimes(): Disposable {
  const store = (time: Date) => {
    const seconds = Math.floor(time.getTime() / 1000);
    return seconds === 0 ? new Date() : new Date((seconds >>> 0) * 1000);
  };
  const { prototype } = Deno.FsFile;
  const sync = patch(
    prototype,
    "utimeSync",
    (utimeSync) =>
      function (this: Deno.FsFile, atime, mtime) {
        utimeSync.call(this, atime, store(mtime as Date));
      },
  );
  const async = patch(prototype, "utime", (utime) =>
    function (this: Deno.FsFile, atime, mtime) {
      return utime.call(this, atime, store(mtime as Date));
    });
  return {
    [Symbol.dispose]() {
      async[Symbol.dispose]();
      sync[Symbol.dispose]();
    },
  };
}

for (const direction of DIRECTIONS) {
  Deno.test(`${direction}: a time that the disk changes without an error counts as refused`, async () => {
    const times: Record<string, number> = { zero: 0, old: -157_766_400, new: 1_700_000_000 };
    const source = Object.keys(times).flatMap((
      name,
    ) => [[name, name], [`large-${name}`, LARGE + name]]);
    await using files = await setUp(direction, Object.fromEntries(source));
    for (const [name, seconds] of Object.entries(times)) {
      for (const path of [name, `large-${name}`]) {
        await Deno.utime(`${files.sourceDir}/${path}`, seconds, seconds);
      }
    }
    using _times = changeTimes();
    for (const run of ["first", "second"]) {
      const { result } = await files.copyAll();
      assertEquals(
        [result.complete, result.unset.time],
        [true, { files: 4, first: ["large-old"] }],
        run,
      );
    }
  });
}

/** A disk whose `rename` replaces no file, as some servers of SFTP and SMB. */
function refuseToReplace(): Disposable {
  return patch(Deno, "renameSync", (renameSync) => (from, to) => {
    try {
      Deno.lstatSync(to);
    } catch {
      return renameSync(from, to);
    }
    refuse("EEXIST");
  });
}

const OLD = { small: "1", large: `${LARGE}1` };
const NEW = { small: "22", large: `${LARGE}22` };

for (const direction of DIRECTIONS) {
  Deno.test(`${direction}: a file stays on a disk whose rename replaces no file, and the reason is named`, async () => {
    await using files = await setUp(direction, NEW);
    await fill(files.targetDir, OLD);
    using _disk = refuseToReplace();
    const error = await assertRejects(() => files.copyOne("large"), Error);
    const { result, errors } = await files.copyAll();
    assertEquals([result.files, result.failed], [0, 2]);
    assertEquals(await readVisible(files.targetDir), OLD);
    const texts = `${error} ${Object.values(errors)} ${files.warnings}`;
    assertMatch(texts, /can't rename a file to the name of an existing file/);
  });
}

async function readVisible(directory: string): Promise<Record<string, unknown>> {
  const entries = Object.entries(await readTree(directory));
  const visible = entries.filter(([path]) => !path.includes(".degu-"));
  return Object.fromEntries(visible);
}

Deno.test("an upload succeeds on a disk that forgets an open file when the file is renamed", async () => {
  await using files = await serveWritableDirectory();
  let isRenamed = false;
  using _link = patch(Deno, "linkSync", () => () => refuse("EPERM"));
  using _rename = patch(Deno, "renameSync", (renameSync) => (from, to) => {
    renameSync(from, to);
    isRenamed = true;
  });
  using _stat = patch(
    Deno.FsFile.prototype,
    "statSync",
    (statSync) =>
      function (this: Deno.FsFile) {
        return isRenamed ? refuse("ENOENT") : statSync.call(this);
      },
  );
  assertEquals(await files.put("/new", new TextEncoder().encode("1")), 201);
});

Deno.test("the error of an open file keeps its class and code, and has its path and operation", async () => {
  await using files = await setUp("download", { large: LARGE });
  const cause = Object.assign(new Deno.errors.TimedOut("Connection timed out (os error 110)"), {
    code: "ETIMEDOUT",
  });
  using _write = patch(Deno.FsFile.prototype, "write", () => () => Promise.reject(cause));
  const error = await assertRejects(() => files.copyOne("large"), Deno.errors.TimedOut);
  const { code, operation, path } = error as Error & Record<string, unknown>;
  assertEquals([code, operation, error.cause], ["ETIMEDOUT", "write", cause]);
  assertStringIncludes(`${path}`, `${files.targetDir}/.large.`);
  assertEquals(error.message, `Connection timed out (os error 110): write '${path}'`);
  assertEquals(cause.message, "Connection timed out (os error 110)");
});

for (const direction of DIRECTIONS) {
  Deno.test(`${direction}: a disk whose link reports an existing file as missing is refused with the reason`, async () => {
    await using files = await setUp(direction, NEW);
    using _link = patch(Deno, "linkSync", () => () => refuseAsMissing());
    const error = await assertRejects(() => files.copyOne("small"), Error);
    const text = direction === "upload" ? files.warnings.join() : error.message;
    assertStringIncludes(text, "its disk reports an existing file as missing");
    assertEquals(await readVisible(files.targetDir), {});
  });
}

function refuseAsMissing(): never {
  throw Object.assign(new Deno.errors.NotFound("No such file or directory"), { code: "ENOENT" });
}

// Files whose times or sizes can't be represented or sent: each of them is an entry that can't be
// copied, and all other files are listed, served and copied.

const YEAR_10000 = 253_402_300_800;
const YEAR_0 = -62_167_219_200;
/** The last time of `Date`, in seconds. */
const MAX_DATE = 8_640_000_000_000;
/** Times outside of the years 0 to 9999, which count as 1970. */
const ODD_TIMES = [
  ...[YEAR_0 - 1, YEAR_10000, MAX_DATE - 1, MAX_DATE, MAX_DATE + 1, -MAX_DATE - 1],
  9_000_000_000_000_000,
];
const GOOD_TIMES = [YEAR_0, -62_135_596_801, -1, 0, 1, 1_700_000_000, YEAR_10000 - 1];
const ODD_NAMES = [2 ** 53, 2 ** 60].map((size) => `size_${size}`);
const GOOD_NAMES = [
  ...[...GOOD_TIMES, ...ODD_TIMES].map((seconds) => `time_${seconds}`),
  ...[MAX_DATE + 1, YEAR_10000].map((seconds) => `atime_${seconds}`),
];

const noDisk = await canMount() ? null : "no tmpfs can be mounted here";

// deno-lint-ignore no-explicit-any
type Value = any;

async function runScenarios(
  goodNames: readonly string[],
): Promise<Record<string, { readonly value: Value; readonly error?: string }>> {
  await using dir = await createTempDir();
  const printed = await runProgram("odd_metadata.ts", {
    flags: ["--allow-all", ...importMapFlags()],
    args: [dir.path, ODD_NAMES.join(" "), goodNames.join(" ")],
    through: [...IN_MOUNT_NAMESPACE, 'mount -t tmpfs tmpfs "$0" && exec "$@"', dir.path],
  });
  return JSON.parse(printed);
}

let results: ReturnType<typeof runScenarios> | undefined;

/** Returns the result of a scenario. The first test that needs a scenario runs all of them. */
async function runScenario(name: string): Promise<Value> {
  results ??= runScenarios(GOOD_NAMES);
  const { value, error } = (await results)[name]!;
  assertEquals(error, undefined);
  return value;
}

/** Makes an object with the same value for each odd file, and another value for each good file. */
function makeExpected(odd: Value, good?: Value): Record<string, Value> {
  const goodNames = good === undefined ? [] : GOOD_NAMES;
  return Object.fromEntries([
    ...ODD_NAMES.map((name) => [name, odd]),
    ...goodNames.map((name) => [name, good]),
  ]);
}

Deno.test(
  "a list names files with odd sizes as unreadable, and all other files",
  ignoreIf(noDisk),
  async () => {
    assertEquals(await runScenario("list"), {
      ...makeExpected("unreadable", "file"),
      directory: "directory",
      largest: "file",
    });
  },
);

Deno.test(
  "Body.fromFile refuses a file that is longer than any content-length, and closes it",
  ignoreIf(noDisk),
  async () => {
    const [[largest, tooLarge], openFiles] = await runScenario("body");
    assertEquals([largest, openFiles], ["ok", []]);
    assertStringIncludes(tooLarge, "has more than 9007199254740991 bytes");
  },
);

Deno.test(
  "a file with an odd size is not served, and a file with an odd time is",
  ignoreIf(noDisk),
  async () => {
    const statuses = await runScenario("get");
    for (const name of GOOD_NAMES) assertEquals(statuses[name], [200, 200, 200, "ok"], name);
    for (const name of ODD_NAMES) {
      assertEquals(statuses[name], [404, 413], name);
    }
  },
);

Deno.test(
  "a PUT or DELETE that may replace or remove a file with an odd size does so, and no PUT reuses it",
  ignoreIf(noDisk),
  async () => {
    assertEquals(await runScenario("put"), [makeExpected([404, 412, 204, true]), 412]);
    assertEquals(await runScenario("delete"), [ODD_NAMES.map(() => 204), []]);
  },
);

Deno.test(
  "upload and download refuse a source with an odd size, and replace such a target",
  ignoreIf(noDisk),
  async () => {
    for (const [direction, code] of [["upload", "BAD_METADATA"], ["download", 404]] as const) {
      const [outcomes, isIdenticalRepaired] = await runScenario(direction);
      assertEquals(outcomes, makeExpected([code, "EXISTS", "ok", true]), direction);
      assertEquals(isIdenticalRepaired, true, direction);
    }
  },
);

Deno.test(
  "in a tree, files with odd sizes fail, and all other files are copied, and none is deleted",
  ignoreIf(noDisk),
  async () => {
    for (const name of ["uploadTree", "downloadTree"]) {
      const [outcomes, deletedPaths, deletionsSkipped, again] = await runScenario(name);
      const expected = (good: string) => ({
        ...makeExpected("failed", good),
        "directory/file": good,
      });
      assertEquals(outcomes, expected("copied"), name);
      assertEquals([deletedPaths, deletionsSkipped], [[], "incomplete"], name);
      assertEquals(again, expected("unchanged"), name);
    }
  },
);

Deno.test(
  "a tree replaces files with odd sizes only if it may replace files",
  ignoreIf(noDisk),
  async () => {
    for (const name of ["uploadTree to odd files", "downloadTree to odd files"]) {
      assertEquals(await runScenario(name), [
        makeExpected("failed"),
        makeExpected("copied"),
        makeExpected("unchanged"),
        [],
      ], name);
    }
  },
);

Deno.test("a move keeps files with odd sizes", ignoreIf(noDisk), async () => {
  const [outcomes, remaining] = await runScenario("move");
  assertEquals(outcomes, {
    ...makeExpected("failed", "copied"),
    "directory/file": "copied",
  });
  assertEquals(remaining.toSorted(), [...ODD_NAMES, "directory"].toSorted());
});

const readProc = "read -r < /proc/sys/kernel/random/boot_id";
const hasProc = await findObstacle(["bash", "-c", readProc]) === null;

Deno.test(
  "a file that has content, although its size is 0, fails alone, and is not copied as empty",
  ignoreIf(hasProc ? null : "this system has no /proc with files without sizes"),
  async () => {
    const flags = ["--allow-all", ...importMapFlags()];
    assertEquals(JSON.parse(await runProgram("no_size.ts", { flags })), {
      upload: "BAD_METADATA",
      download: 403,
      digest: 403,
      trees: [[{ boot_id: "failed" }, "BAD_METADATA"], [{ boot_id: "failed" }, 403]],
      copied: [],
    });
  },
);

// File systems that are mounted below a served directory, or below the target of a download.

// deno-lint-ignore no-explicit-any
type ScenarioResult = any;

const obstacle = await findMountObstacle();

const SCENARIOS = [
  ...["written", "resumed", "added", "replaced", "hidden", "swept", "full", "rootFull"],
  ...["refused", "bound", "deleted", "mountPoints"],
];

/** The results of all scenarios; the first test that needs them runs all at once. */
let mountResults:
  | Promise<Record<string, { readonly found: unknown; readonly error?: string }>>
  | null = null;

async function runMountScenarios() {
  await using dir = await createTempDir();
  const options = {
    flags: [
      ...["--allow-net=127.0.0.1", "--allow-read", `--allow-write=${dir.path}`],
      ...["--allow-run=mount,umount", "--allow-sys=statfs", ...importMapFlags()],
    ],
    args: [dir.path, ...SCENARIOS],
    through: THROUGH_MOUNT_NAMESPACE,
  };
  return JSON.parse(await runProgram("mounted_disks.ts", options));
}

function test(rule: string, scenario: string, check: (result: ScenarioResult) => void): void {
  Deno.test(rule, ignoreIf(obstacle && `no tmpfs can be mounted here (${obstacle})`), async () => {
    const { found, error } = (await (mountResults ??= runMountScenarios()))[scenario]!;
    assertEquals(error, undefined, scenario);
    check(found);
  });
}

test(
  "a file is written on the file system of its target, from a reserved directory at its mount point",
  "written",
  ({ statuses, records, reserved, deleted, mountPoint, sizes }) => {
    assertEquals(statuses, new Array(5).fill([201, 201, 201, 204]).flat());
    assertEquals(records, new Array(3).fill({ status: 201 }));
    const directories = [".degu-files", "disk/.degu-files", "disk/sub/inner/.degu-files"];
    assertEquals(reserved, directories.map((path) => `${path} 700`));
    assertEquals([deleted, mountPoint], [204, 409]);
    assertEquals([sizes["disk/sub/inner/new/whole"], sizes["disk/sub/inner/deep/b"]], [7, 1]);
  },
);

test(
  "an interrupted upload to a mounted disk is resumed",
  "resumed",
  ({ begun, offset, otherOffset, status, sizes }) => {
    assertEquals(begun, { "disk/.degu-files/part": 60_000 });
    assertEquals([offset, otherOffset, status], [60_000, 0, 201]);
    assertEquals(sizes, { "disk/new/a": 100_000 });
  },
);

test("an add-only app only adds files on a mounted disk", "added", ({ statuses, sizes }) => {
  assertEquals([statuses, sizes], [[201, 204, 409], { "disk/a": 5 }]);
});

test(
  "files and directories replace one another on a mounted disk, in two calls",
  "replaced",
  ({ first, result, errors, sizes, reserved }) => {
    assertEquals([first.files, first.failed, first.deleted], [0, 4, 5]);
    assertEquals([result.files, result.failed, errors], [3, 0, {}]);
    assertEquals(sizes, { "disk/a": 70_000, "disk/b/new": 80_000, "disk/c": 100_000 });
    assertEquals(reserved, ["disk/.degu-files 700"]);
  },
);

test(
  "peers can't list, read, write or delete the reserved directory of a mounted disk",
  "hidden",
  ({ part, statuses, lists, isInTree, sizes }) => {
    assertEquals(statuses, new Array(8).fill([404, 403, 403]).flat());
    assertEquals([lists, isInTree], [[["disk"], ["inner"], []], false]);
    assertEquals(sizes, { [part]: 500 });
  },
);

test(
  "old unfinished files on a mounted disk are removed when a file is stored on this disk",
  "swept",
  ({ before, after }) => {
    assertEquals(before, ["notes", "put-00", "put-11"]);
    assertEquals(after, ["notes", "put-11"]);
  },
);

test(
  "the space of the target's disk counts, and a 507 says that a mounted disk is full",
  "full",
  ({ tooLarge, announced, fits, records }) => {
    const refused = { status: 507, reason: "other-disk", free: 1_048_576 };
    assertEquals([tooLarge, announced, fits], [refused, refused, { status: 201 }]);
    assertEquals(records, [
      { status: 507, reason: "other-disk" },
      { status: 201 },
      { status: 201 },
    ]);
  },
);

test(
  "a full root doesn't prevent uploads to a mounted disk",
  "rootFull",
  ({ refused, written, reserved }) => {
    assertEquals([refused, written], [{ status: 507, free: 0 }, { status: 201 }]);
    assertEquals(reserved, ["disk/.degu-files 700"]);
  },
);

test(
  "a file on a mount that can't have its unfinished file is refused with a code, and not for its space",
  "refused",
  ({ responses, codes, sizes, log }) => {
    const refused = { status: 403, reason: "other-disk" };
    for (const directory of ["readonly", "occupied"]) {
      const record = { status: 403, reason: "other-disk" };
      assertEquals(responses[directory], [refused, refused, record], directory);
    }
    // Both are mounts of one directory.
    for (const [directory, status] of [["bound", 201], ["disk/bound", 204]] as const) {
      assertEquals(responses[directory], [{ status }, { status }, { status }]);
    }
    assertEquals(codes, new Array(2).fill({ code: "OTHER_DISK", at: null }));
    const unfinished = Object.keys(sizes).filter((path) => /\.degu-files\/(?:put|part)/.test(path));
    assertEquals(unfinished, []);
    assertStringIncludes(log[0], "can't be stored on the file system of the target");
    assert(!log.join().includes("space"), log.join("\n"));
  },
);

test(
  "a file that can't be renamed to a directory of the same device is copied there, and later files are written there",
  "bound",
  ({ statuses, records, parts, offset, complete, sizes, mode, modified, root, log }) => {
    assertEquals(statuses, [201, 204, 201, 201], log);
    assertEquals(records, [{ status: 201 }, { status: 201 }]);
    assertEquals([parts, offset, complete], [["bound/new/.degu-files/part"], 60_000, true]);
    assertEquals(sizes, {
      ...{ a: 1, "deep/er/b": 2, "k/kind": 70_000, "new/large": 100_000, "new/resumable": 300_000 },
      ...{ old: 6, whole: 5 },
    });
    assertEquals([mode, modified, root, log], [0o600, "1999-12-31T00:00:00.000Z", {}, []]);
  },
);

test(
  "files and directories of mounted disks are deleted, but no mount point",
  "deleted",
  ({ first, second, isMade, sizes }) => {
    assertEquals([first.result.deleted, first.result.failed], [4, 0]);
    assertEquals([second.result.deleted, Object.keys(second.errors)], [1, ["disk/inner"]]);
    assertEquals([isMade, sizes], [true, { e: 9 }]);
  },
);

test(
  "a mount point can't be deleted or replaced",
  "mountPoints",
  ({ codes, trees, sizes }) => {
    assertEquals(codes, ["IN_USE", "IN_USE", "IN_USE", "EBUSY"]);
    const trials = trees.map(({ result, errors }: ScenarioResult) => [
      result.failed,
      Object.keys(errors).sort(),
    ]);
    // In the second trial, the failed file prevents all deletions.
    assertEquals(trials, [[1, ["file"]], [1, ["file"]], [2, ["disk", "file"]]]);
    assertEquals(sizes, { bound: 6, file: 6 });
  },
);
