/** Disks that change what they are told to store, or that lack an operation. */
import { download, upload } from "@degu/files";
import { fill, readTree } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { serveFilesApp } from "@degu/testing/transferring.ts";
import { copyTree, DIRECTIONS, makeCopy, type TreeDirection } from "@degu/testing/trees.ts";
import { serveWritableDirectory } from "@degu/testing/written_directory.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";

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
      assertEquals([result.complete, result.unset.time.files], [true, 4], run);
    }
  });
}

/** A disk whose `rename` replaces no file, as some servers of SFTP and SMB. */
function refuseToReplace(onRename: (from: string, to: string) => void = () => {}): Disposable {
  return patch(Deno, "renameSync", (renameSync) => (from, to) => {
    onRename(`${from}`, `${to}`);
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
  Deno.test(`${direction}: a file is replaced on a disk whose rename replaces no file`, async () => {
    await using files = await setUp(direction, NEW);
    await fill(files.targetDir, OLD);
    using _disk = refuseToReplace();
    for (const name of Object.keys(NEW)) await files.copyOne(name);
    assertEquals(await readVisible(files.targetDir), NEW);
    await fill(files.targetDir, OLD);
    const { result } = await files.copyAll();
    assertEquals(result.complete, true);
    assertEquals(await readVisible(files.targetDir), NEW);
  });

  Deno.test(`${direction}: a file that loses its name to no other file keeps it, and the reason is named`, async () => {
    await using files = await setUp(direction, NEW);
    await fill(files.targetDir, OLD);
    for (const isSecond of [false, true]) {
      using _disk = refuseToReplace((from, to) => {
        const isAway = /\/replaced-\w+$/.test(to);
        const isIn = /\.degu-(?:files|part)/.test(from) && !/replaced-/.test(from) && !isAway;
        const isGone = () =>
          ![...Deno.readDirSync(files.targetDir)].some(({ name }) => name === "large");
        if (isSecond ? isIn && isGone() : isAway) refuse("EIO");
      });
      const error = await assertRejects(() => files.copyOne("large"), Error);
      if (!isSecond && direction === "download") {
        assertStringIncludes(error.message, "can't rename a file to the name of an existing file");
      }
      assertEquals(await readVisible(files.targetDir), OLD);
      // Each file of a tree fails alone, with the reason.
      if (isSecond) continue;
      const { result, errors } = await files.copyAll();
      assertEquals([result.files, result.failed], [0, 2]);
      if (direction === "upload") continue;
      assertMatch(`${Object.values(errors)}`, /existing file.*existing file/);
    }
    if (direction === "upload") {
      assertStringIncludes(
        files.warnings.join(),
        "can't rename a file to the name of an existing file",
      );
    }
  });

  // A file that is killed after each of the two renames, and copied again.
  for (const kills of [1, 2]) {
    Deno.test(`${direction}: a copy that is killed after rename ${kills} of a replacement loses no file`, async () => {
      await using files = await setUp(direction, { large: NEW.large });
      await fill(files.targetDir, { large: OLD.large });
      {
        let count = 0;
        const renaming = refuseToReplace();
        using _killed = patch(Deno, "renameSync", (renameSync) => (from, to) => {
          // Nothing runs after a kill.
          if (count >= kills) refuse("EIO");
          renameSync(from, to);
          if (++count >= kills) refuse("EIO");
        });
        using _unlink = patch(Deno, "linkSync", (linkSync) => (from, to) => {
          if (count >= kills) refuse("EIO");
          linkSync(from, to);
        });
        await files.copyOne("large").catch(() => {});
        renaming[Symbol.dispose]();
      }
      const unfinished = await readTree(`${files.targetDir}/.degu-files`).catch(() => ({}));
      const contents: unknown[] = [
        ...Object.values(await readTree(files.targetDir)),
        ...Object.values(unfinished),
      ];
      assert(contents.some((text) => `${text}`.startsWith(LARGE)), "no file is left");
      if (kills === 1) assert(contents.includes(OLD.large), "the old file is lost");
      using _disk = refuseToReplace();
      await files.copyOne("large");
      assertEquals((await readVisible(files.targetDir)).large, NEW.large);
    });
  }
}

async function readVisible(directory: string): Promise<Record<string, unknown>> {
  const entries = Object.entries(await readTree(directory));
  const visible = entries.filter(([path]) =>
    !path.includes(".degu-") && !path.startsWith("replaced-")
  );
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

for (const direction of DIRECTIONS) {
  Deno.test(`${direction}: the error of a disk that takes one write names the option of rclone`, async () => {
    await using files = await setUp(direction, { large: "x".repeat(3_000_000) });
    using _write = patch(Deno.FsFile.prototype, "write", () => () => {
      return Promise.reject(Object.assign(new Error("Bad file descriptor"), { code: "EBADF" }));
    });
    const error = await assertRejects(() => files.copyOne("large"), Error);
    const text = direction === "upload" ? files.warnings.join() : error.message;
    assertMatch(text, /mount rclone with --vfs-cache-mode writes: write '.*'/);
  });
}

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
