/** File systems that are mounted below a served directory, or below the target of a download. */
import { createTempDir } from "@degu/testing/directories.ts";
import { findMountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";
import { importMapFlags, runProgram } from "@degu/testing/programs.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

// deno-lint-ignore no-explicit-any
type ScenarioResult = any;

const obstacle = await findMountObstacle();

const SCENARIOS = [
  ...["written", "resumed", "added", "replaced", "hidden", "swept", "full", "rootFull"],
  ...["refused", "bound", "quotas", "deleted", "mountPoints"],
];

/** The results of all scenarios; the first test that needs them runs all at once. */
let results: Promise<Record<string, { readonly found: unknown; readonly error?: string }>> | null =
  null;

async function runScenarios() {
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
    const { found, error } = (await (results ??= runScenarios()))[scenario]!;
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
    assertEquals([deleted, mountPoint], [204, 403]);
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
    assertEquals(codes, new Array(2).fill({ code: "OTHER_DISK", at: null, isOtherDisk: true }));
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
  "the parts of a client use at most half of the free space of each disk",
  "quotas",
  (offsets) => assertEquals(offsets, [0, 500_001, 500_002, 500_100, 500_101, 500_102]),
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
  "a mount point that can't be deleted or replaced has a code of its own",
  "mountPoints",
  ({ codes, trees, sizes }) => {
    assertEquals(codes, new Array(4).fill("MOUNT_POINT"));
    const error = { code: "MOUNT_POINT", at: null, isOtherDisk: false };
    const trials = trees.map(({ result, errors }: ScenarioResult) => [result.failed, errors]);
    // In the second trial, the failed file prevents all deletions.
    const expectedTrials = [[1, { file: error }], [1, { file: error }], [2, {
      disk: error,
      file: error,
    }]];
    assertEquals(trials, expectedTrials);
    assertEquals(sizes, { bound: 6, file: 6 });
  },
);
