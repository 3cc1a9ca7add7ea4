/** Transfers to full disks, at both ends: small file systems in a mount namespace. */
import { partSizeOf, UnfinishedUploads } from "@degu/internal/files/serve/unfinished_uploads.ts";
import { describeFullDisk } from "@degu/internal/files/disk/space.ts";
import { findObstacle } from "@degu/testing/commands.ts";
import { createTempDir, readPartSize } from "@degu/testing/directories.ts";
import { findMountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";
import { patch } from "@degu/testing/patching.ts";
import { importMapFlags, outsideScriptFlags, runProgram } from "@degu/testing/processes.ts";
import { serveVersion } from "./served_version.ts";
import { findTerminalObstacle, ignoreIf, runOnTerminal } from "@degu/testing/terminals.ts";
import { assertTransferError } from "@degu/testing/transferring.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";

const MEBIBYTE = 1024 * 1024;
const STATFS = "--allow-sys=statfs";
const PERMISSIONS = [
  ...["--allow-net=127.0.0.1", "--allow-read", "--allow-write=/tmp"],
  "--allow-run=mount,umount",
];

// deno-lint-ignore no-explicit-any
type ScenarioResult = any;

const obstacle = await findMountObstacle();
const noDisk = obstacle && `no tmpfs can be mounted here (${obstacle})`;

type Results = Record<string, { readonly found?: ScenarioResult; readonly error?: string }>;

/** Runs scenarios on small disks, in a separate process with these permissions. */
async function runScenarios(
  scenarios: readonly string[],
  permissions: readonly string[],
  dir?: string,
  through = THROUGH_MOUNT_NAMESPACE,
): Promise<Results> {
  await using processDir = await createTempDir();
  const options = {
    flags: [...PERMISSIONS, ...permissions, ...importMapFlags()],
    args: [dir ?? processDir.path, ...scenarios],
    through,
  };
  return JSON.parse(await runProgram("full_disks.ts", options));
}

/**
 * The scenarios that are tested with and without a known free space. The first test that needs them
 * runs all at once.
 */
const WITH_FIGURES = [
  ...["refusedAtOnce", "resumedHere", "filledUp", "downloads"],
  ...["downloadFilledUp", "trees", "fileLimit"],
  ...["withoutFigures", "reused", "sharedSpace"],
  ...["interruptedPart", "stream"],
];
const WITHOUT_FIGURES = [
  ...["filledUp", "trees", "reused", "sharedSpace", "stream"],
];
const results = new Map<string, Promise<Results>>();

/** Returns the result of a scenario with these permissions. */
async function runScenario(
  scenario: string,
  permissions: readonly string[] = [STATFS],
): Promise<ScenarioResult> {
  const allResults = results.get(permissions.join()) ??
    runScenarios(permissions.length > 0 ? WITH_FIGURES : WITHOUT_FIGURES, permissions);
  results.set(permissions.join(), allResults);
  const { found, error } = (await allResults)[scenario]!;
  assertEquals(error, undefined, scenario);
  return found;
}

/** Registers a test of the result of a scenario. */
function testScenario(
  rule: string,
  scenario: string,
  check: (result: ScenarioResult, isKnown: boolean) => void,
  isKnown = true,
): void {
  Deno.test(rule, ignoreIf(noDisk), async () => {
    check(await runScenario(scenario, isKnown ? [STATFS] : []), isKnown);
  });
}

/** Registers a test for a disk whose free space is known, and for one whose free space isn't. */
function testWithAndWithoutFigures(...args: Parameters<typeof testScenario>): void {
  const [rule, scenario, check] = args;
  testScenario(rule, scenario, check);
  testScenario(rule.replace("is known", "is not known"), scenario, check, false);
}

const REFUSED = { status: 507, offset: "0", read: 0 };

testScenario(
  "a server refuses an upload that doesn't fit before it reads the body, and reports the missing bytes",
  "refusedAtOnce",
  ({ whole, resumable, asked, fits, left, small, replacing, log }) => {
    assertEquals([whole, resumable, asked], [REFUSED, REFUSED, { status: 507, offset: "0" }]);
    assertEquals(fits, { status: 200, offset: "0" });
    assertEquals(left, {}, "no leftovers");
    assertEquals([small.status, small.read], [201, MEBIBYTE]);
    assertEquals(replacing, REFUSED, "the file that is replaced is not free space");
    assertEquals(log.length, 4);
    const figures = "too little space: 4194304 bytes are needed, and 2097152 are free";
    assertStringIncludes(log[0], figures);
  },
);

testScenario(
  "only the remaining bytes of a resumed upload must fit; an upload that starts over has the space of its part",
  "resumedHere",
  ({ begun, asked, other, again, left }) => {
    assertEquals(begun, { ".degu-files/part": MEBIBYTE });
    assertEquals(asked, { status: 200, offset: `${MEBIBYTE}` });
    assertEquals(other, { status: 507, offset: "0" });
    assertEquals(again.status, 201);
    assertEquals(left, { a: 1.5 * MEBIBYTE });
  },
);

testWithAndWithoutFigures(
  "an upload that a full disk has stopped is kept and resumed, if the free space is known",
  "filledUp",
  ({ before, full, kept, asked, offset, rest, left, log }, isKnown) => {
    assertEquals(before, { ".degu-files/part": MEBIBYTE });
    assertEquals([full.status, full.offset], [507, null]);
    const part = kept[".degu-files/part"];
    assert(part > 2 * MEBIBYTE && part < 3 * MEBIBYTE, `${part}`);
    assertEquals(asked.status, isKnown ? 507 : 200);
    assertEquals([offset, rest.status], [`${part}`, 201]);
    assertEquals(left, { a: 3 * MEBIBYTE, other: 1.5 * MEBIBYTE });
    assertStringIncludes(log[0], `${3 * MEBIBYTE - part} bytes are needed`);
    assertEquals(log[0].includes("are free"), isKnown);
    assertStringIncludes(log[0], `/.degu-files keeps ${part} bytes of interrupted uploads`);
  },
);

testWithAndWithoutFigures(
  "a stream that a full disk has stopped is removed, if the free space is known",
  "stream",
  ({ code, at, needed, isCanceled, kept, total, left, log }) => {
    assertEquals([code, at, needed, isCanceled], ["DISK_FULL", "remote", null, true]);
    assertEquals([kept, left, total], [{ a: 1 }, { a: 3 * MEBIBYTE }, 3 * MEBIBYTE]);
    assertEquals(log.length, 1);
  },
);

testScenario(
  "a file that doesn't fit is not downloaded, and its existing part stays",
  "downloads",
  ({ none, left, some, kept, resumedFrom, bytes }) => {
    assertEquals([none.code, none.needed], ["DISK_FULL", 3 * MEBIBYTE]);
    assertEquals(none.kept, undefined);
    assertStringIncludes(none.message, "DISK/copy: there is too little space on this device");
    assertStringIncludes(none.message, "3145728 bytes are needed, and 2097152 are free");
    assertEquals(none.free, 2 * MEBIBYTE);
    assertEquals(left, {});
    assertEquals([some.code, some.needed], ["DISK_FULL", 2 * MEBIBYTE]);
    assertMatch(some.message, /DISK\/\.copy\.[0-9a-f]{32}\.degu-part keeps the 1048576 bytes/);
    assertStringIncludes(some.message, some.kept.path);
    assertEquals(some.kept.bytes, MEBIBYTE);
    assertEquals(kept[".copy.degu-part"], MEBIBYTE);
    // The remaining bytes fit, though the whole file wouldn't.
    assertEquals([resumedFrom, bytes], [MEBIBYTE, 2 * MEBIBYTE]);
  },
);

testScenario(
  "a download that a full disk has stopped is kept and resumed, and the message names its part",
  "downloadFilledUp",
  ({ full, kept, resumedFrom, isRight }) => {
    const part = kept[".copy.degu-part"];
    assert(part >= MEBIBYTE && part < 3 * MEBIBYTE, `${part}`);
    assertEquals([full.code, full.needed], ["DISK_FULL", null]);
    assertStringIncludes(full.message, "DISK/copy: there is no space left on this device");
    assertStringIncludes(full.message, `${3 * MEBIBYTE - part} bytes are needed, and`);
    assertMatch(full.message, /DISK\/\.copy\.[0-9a-f]{32}\.degu-part keeps the \d+ bytes/);
    assertStringIncludes(full.message, `${full.kept.path} keeps the ${part} bytes`);
    assertEquals(full.kept.bytes, part);
    assertEquals([resumedFrom, isRight], [part, true]);
  },
);

Deno.test("a part that can't be synced to a full disk is truncated to its synced bytes", async () => {
  await using version = await serveVersion(300_000);
  const { servedFile, file, get } = version;
  servedFile.cutAfterBytes = 131_072;
  await assertRejects(() => get());
  assertEquals(await readPartSize(version.dir), 131_072);
  servedFile.cutAfterBytes = Infinity;
  const full = () => Promise.reject(Object.assign(new Error("full"), { code: "ENOSPC" }));
  for (const isWritten of [true, false]) {
    using _failing = patch(Deno.FsFile.prototype, "write", (write) => {
      return async function (this: Deno.FsFile, bytes) {
        const count = await write.call(this, bytes);
        return isWritten ? count : await full();
      };
    });
    // Only the first sync fails, as after a real loss of data. The next one doesn't report the
    // loss.
    using patched = patch(Deno.FsFile.prototype, "sync", () => () => {
      patched[Symbol.dispose]();
      return full();
    });
    const error = await assertTransferError(() => get(), "DISK_FULL");
    const needed = 300_000 - 131_072;
    assertStringIncludes(error.message, `${file}: there is no space left on this device`);
    assertStringIncludes(error.message, `${needed} bytes are needed`);
    assertEquals(await readPartSize(version.dir), 131_072);
  }
  assertEquals((await get()).resumedFrom, 131_072);

  // A part at a server is handled in the same way.
  await using dir = await createTempDir();
  const files = new UnfinishedUploads(dir.path);
  const part = files.partPathOf(undefined, ["a"]);
  {
    using open = await files.openPart(part);
    await open.file.write(new Uint8Array(300));
    await open.continueFrom(300);
    await open.write(new Uint8Array(700));
    open.isKept = true;
    await open.truncateToSynced();
    assertEquals(partSizeOf(part), 1000);
    const { sync } = open.file;
    open.file.sync = () => {
      open.file.sync = sync;
      return Promise.reject(new Error("full"));
    };
    await assertRejects(() => open.sync());
    await open.truncateToSynced();
  }
  assertEquals(partSizeOf(part), 300);
});

testWithAndWithoutFigures(
  "an incomplete copy of reused bytes is removed if the disk is full, and the free space is known",
  "reused",
  (results, isKnown) => {
    for (const [i, { failure, left, moved, now }] of results.entries()) {
      const { code, at, message } = failure;
      assertEquals([code, at], ["DISK_FULL", i === 0 ? "remote" : "local"], message);
      assertEquals(failure.needed !== null, isKnown, failure.message);
      assertEquals(left, { log: 1.25 * MEBIBYTE });
      assertEquals(moved, [5, 1.25 * MEBIBYTE]);
      assertEquals(now, { log: 1.25 * MEBIBYTE + 5 });
    }
  },
);

testWithAndWithoutFigures(
  "of files that are copied to a full disk at the same time, as many are stored as fit",
  "sharedSpace",
  (rows) => {
    for (const row of rows) {
      const { count, fitting, files, failed, stored, errors } = row;
      assertEquals(stored, fitting, Deno.inspect(row));
      assertEquals(files + failed, 2 * count, Deno.inspect(row));
      assertEquals(errors, new Array(failed).fill("DISK_FULL"));
    }
  },
);

testScenario(
  "the part of an interrupted upload is removed only if another upload of its client fits without it",
  "interruptedPart",
  (results) => {
    assertEquals(results.length, 2, "also a part that an earlier server has received");
    for (const { tooLarge, ofOther, kept, small, keptBesideSmall, status, left } of results) {
      assertEquals(tooLarge, { status: 507, offset: "0" });
      assertEquals(ofOther, { status: 507, offset: "0" });
      assertEquals(kept, { ".degu-files/part": MEBIBYTE });
      assertEquals(small.status, 201);
      assertEquals(keptBesideSmall, { ".degu-files/part": MEBIBYTE, small: 0.5 * MEBIBYTE });
      assertEquals(status, 201);
      assertEquals(left, { b: 1.25 * MEBIBYTE, small: 0.5 * MEBIBYTE });
    }
  },
);

testScenario(
  "a file of a tree that doesn't fit fails alone, in both directions",
  "trees",
  (results) => {
    assertEquals(results.length, 3);
    for (const [i, { result, errors, left }] of results.entries()) {
      const expectedError = { code: "DISK_FULL", at: i < 2 ? "local" : "remote" };
      assertEquals([result.files, result.failed], [3, 1], `${i}`);
      assertEquals(left, { large: 1.25 * MEBIBYTE, fits: 100_000, small: 5 });
      assertEquals(errors, { huge: { ...expectedError, needed: 4 * MEBIBYTE } });
    }
  },
);

Deno.test(
  "if the free space is not known, each file of a tree is stored or fails, in both directions",
  ignoreIf(noDisk),
  async () => {
    for (const [i, { result, errors, left }] of (await runScenario("trees", [])).entries()) {
      const fullError = { code: "DISK_FULL", at: i < 2 ? "local" : "remote", needed: null };
      if (i === 1) {
        assertEquals(result, fullError, "an unread body closes the only connection");
        continue;
      }
      assertEquals(result.files + result.failed, 4, `${i}`);
      assertEquals(errors.huge, fullError);
      const sizes = { large: 1.25 * MEBIBYTE, fits: 100_000, small: 5 };
      for (const [name, size] of Object.entries(sizes)) {
        if (errors[name] === undefined) assertEquals(left[name], size, name);
        else assertEquals([errors[name], left[name]], [fullError, undefined], name);
      }
    }
  },
);

testScenario(
  "a file system that doesn't report its space doesn't count as full",
  "withoutFigures",
  (result) => {
    assertEquals(result, { free: null, status: 201, bytes: MEBIBYTE });
  },
);

/** Makes a disk of 8 MiB, half of which is reserved for root. */
async function makeReserved(dir: string): Promise<string | null> {
  await Deno.writeFile(`${dir}/image`, new Uint8Array(0));
  await Deno.truncate(`${dir}/image`, 8 * MEBIBYTE);
  const script = 'mkfs.ext4 -q -m 50 "$0/image" && mount -o loop,ro "$0/image" /mnt';
  return await findObstacle(["unshare", "--mount", "sh", "-c", script, dir]);
}

async function loopObstacle(): Promise<string | null> {
  await using dir = await createTempDir();
  return await makeReserved(dir.path);
}

const noLoop = await loopObstacle();

Deno.test(
  "blocks that are reserved for root don't count as free",
  ignoreIf(noLoop && `no image can be mounted here (${noLoop})`),
  async () => {
    await using dir = await createTempDir();
    assertEquals(await makeReserved(dir.path), null);
    const through = ["unshare", "--mount"];
    const { reserved } = await runScenarios(["reserved"], [STATFS], dir.path, through);
    const { free } = reserved!.found;
    assert(free > MEBIBYTE && free < 4 * MEBIBYTE, `${free}`);
  },
);

Deno.test(
  "reading the free space doesn't prompt for a permission on a terminal",
  ignoreIf(await findTerminalObstacle()),
  async () => {
    await using dir = await createTempDir();
    const script = `
      import { Client, Server } from "${import.meta.resolve("@degu/degu")}";
      import { download, FilesApp, upload } from "${import.meta.resolve("@degu/degu/files")}";
      const [dir] = Deno.args;
      await using server = new Server(["127.0.0.1", 0], new FilesApp(dir, { write: true }));
      server.serveForever();
      const client = new Client(server.address);
      await Deno.writeFile(dir + "/a", new Uint8Array(100_000));
      await upload(client, dir + "/a", "/b");
      console.log("got " + (await download(client, "/b", dir + "/c")).bytes);
    `;
    await Deno.writeTextFile(`${dir.path}/script.ts`, script);
    const readFlag = `--allow-read=${dir.path}`;
    const flags = [readFlag, `--allow-write=${dir.path}`, "--allow-net=127.0.0.1"];
    const allFlags = ["--quiet", "--no-check", ...flags, ...outsideScriptFlags()];
    const command = [Deno.execPath(), "run", ...allFlags, `${dir.path}/script.ts`, dir.path];
    const { code, shown: output } = await runOnTerminal({ command });
    assertEquals([code, output.trim()], [0, "got 100000"]);
  },
);

testScenario(
  "of small files, a disk that can hold no more files gets what it can hold, and the errors have no free bytes",
  "fileLimit",
  (results) => {
    for (const { result, errors, stored } of results) {
      // A name counts as another file until the unfinished file is removed.
      assert(stored >= 30 && stored < 40, Deno.inspect(stored));
      assertEquals([result.files, result.failed], [stored, 60 - stored]);
      for (const { code, needed, free, message } of errors) {
        assertEquals([code, needed, free], ["DISK_FULL", 0, null]);
        assertStringIncludes(message, "no more files fit on the disk");
      }
    }
  },
);

Deno.test("the message of a full disk names the limit that counted", () => {
  const describe = (code: string, needed: number | null, free: number | null) => {
    const error = Object.assign(new Error("full"), { code });
    return describeFullDisk(error, " here", needed, free);
  };
  const rows: [code: string, needed: number | null, free: number | null, text: string][] = [
    ["EDQUOT", 5, 7, "a quota is reached here: 5 bytes are needed, and 7 are free"],
    ["ENOSPC", 5, 4, "there is no space left here: 5 bytes are needed, and 4 are free"],
    ["ENOSPC", 5, 5, "no more files fit on the disk here"],
    ["EDQUOT", 5, 5, "a quota is reached here: 5 bytes are needed, and 5 are free"],
    ["ENOSPC", 5, null, "there is no space left here: 5 bytes are needed"],
    ["ENOSPC", null, null, "there is no space left here"],
  ];
  for (const [code, needed, free, text] of rows) assertEquals(describe(code, needed, free), text);
});
