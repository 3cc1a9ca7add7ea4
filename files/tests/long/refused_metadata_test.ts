/**
 * Disks that refuse the times or the permission bits of files: the content is copied all the same,
 * and the result names what was refused.
 */
import { createTempDir, fill } from "@degu/testing/directories.ts";
import { makeOddDiskScript } from "../odd_disk.ts";
import { importMapFlags, runProgram } from "@degu/testing/processes.ts";
import { DIRECTIONS, type TreeDirection } from "@degu/testing/trees.ts";
import { assertEquals } from "@std/assert";
import { canRun, IN_MOUNT_NAMESPACE } from "../refused_writes.ts";

const CODES = ["EPERM", "EACCES", "ENOSYS", "EINVAL", "EOPNOTSUPP", "EIO"];
const NAMES = [
  ...["small", "large", "private", "private large", "empty", "sub/replaced"],
  "sub/replaced large",
];

interface Row {
  readonly refused: string;
  readonly faults: readonly string[];
  readonly direction: TreeDirection;
  /** The refused properties of each file. */
  readonly unset: Readonly<Record<string, string>>;
  /** The number of files that more users can read than at the source. */
  readonly exposed: number;
}

const withTime = Object.fromEntries(NAMES.map((name) => [name, "time"]));
/** The parts of large files are private, and stay so. */
const withMode = { large: "mode", "sub/replaced large": "mode" };
const withFixedBits = {
  small: "mode",
  private: "mode privacy",
  "private large": "mode privacy",
  empty: "mode",
  "sub/replaced": "mode",
  "sub/replaced large": "mode",
};

const PROPERTIES = ["time", "mode", "privacy"];

const rows = CODES.flatMap((code) =>
  DIRECTIONS.flatMap((direction): Row[] => {
    const time = `utimens 0 ${code}`, mode = `chmod 0 ${code}`, bits = "fixed-bits 0 -";
    const both = Object.fromEntries(NAMES.map((name) => {
      const modeOfName = withMode[name as keyof typeof withMode];
      return [name, modeOfName === undefined ? "time" : `time ${modeOfName}`];
    }));
    return [
      { refused: `times: ${code}`, faults: [time], direction, unset: withTime, exposed: 0 },
      { refused: `bits: ${code}`, faults: [mode], direction, unset: withMode, exposed: 0 },
      { refused: `both: ${code}`, faults: [time, mode], direction, unset: both, exposed: 0 },
      {
        refused: `a disk without bits: ${code}`,
        faults: [mode, bits],
        direction,
        unset: withFixedBits,
        exposed: 2,
      },
    ];
  })
);

async function makeDiskCommand(dir: string): Promise<string[]> {
  await fill(dir, { faults: "" });
  return [...IN_MOUNT_NAMESPACE, await makeOddDiskScript(dir, 'plain "$0/faults"'), dir];
}

async function canMountDisk(): Promise<boolean> {
  await using dir = await createTempDir();
  return await canRun(...await makeDiskCommand(dir.path));
}

Deno.test({
  name: "content arrives on a disk that refuses times or permission bits, once (needs FUSE)",
  ignore: !await canMountDisk(),
  async fn() {
    await using dir = await createTempDir();
    const args = JSON.stringify(rows.map(({ faults, direction }) => [faults, direction]));
    const outcomes = JSON.parse(
      await runProgram("refused_metadata.ts", {
        flags: ["--allow-all", ...importMapFlags()],
        args: [dir.path, args],
        through: await makeDiskCommand(dir.path),
      }),
    );
    for (const [index, { refused, direction, unset, exposed }] of rows.entries()) {
      const outcome = outcomes[index];
      const context = `${direction}, ${refused}: ${Deno.inspect(outcome, { depth: 9 })}`;
      const countUnset = (property: string) => {
        const paths = Object.keys(unset).filter((name) =>
          unset[name]!.split(" ").includes(property)
        );
        return { files: paths.length, first: paths.sort()[0]?.split("/") ?? null };
      };
      const counts = Object.fromEntries(PROPERTIES.map((name) => [name, countUnset(name)]));
      assertEquals(counts.privacy!.files, exposed, context);
      const [first, second] = outcome.runs;
      assertEquals([first.files, first.failed], [NAMES.length, 0], context);
      // Times and bits are not content.
      assertEquals([first.complete, second.complete], [true, true], context);
      assertEquals(first.unset, counts, context);
      // The second run sends nothing, and reports what is still refused.
      const { files, bytes, unchanged, failed } = second;
      assertEquals([files, bytes, unchanged, failed], [0, 0, NAMES.length, 0], context);
      assertEquals(second.unset, counts, context);
      assertEquals(outcome.differences, [], context);
      assertEquals(outcome.unchanged, [0, 0], context);
      assertEquals(outcome.isSingleSame, true, context);
      const isTimeRefused = unset.small?.includes("time") === true;
      if (direction === "upload") assertEquals(outcome.streamed, isTimeRefused ? ["time"] : []);
      // Once the disk accepts them, times and bits are set without another copy.
      const none = Object.fromEntries(PROPERTIES.map((name) => [name, { files: 0, first: null }]));
      assertEquals(outcome.repaired.slice(1), [0, none], context);
      assertEquals(outcome.otherTimes, [], context);
      assertEquals(outcome.log, [], context);
    }
  },
});
