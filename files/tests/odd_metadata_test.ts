/**
 * Files whose times or sizes can't be represented or sent: each of them is an entry that can't be
 * copied, and all other files are listed, served and copied.
 */
import { findObstacle } from "@degu/testing/commands.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { importMapFlags, runProgram } from "@degu/testing/programs.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { canMount, IN_MOUNT_NAMESPACE } from "./refused_writes.ts";

const YEAR_10000 = 253_402_300_800;
const YEAR_0 = -62_167_219_200;
/** The last time of `Date`, in seconds. */
const MAX_DATE = 8_640_000_000_000;
const ODD_TIMES = [
  ...[YEAR_0 - 1, YEAR_10000, MAX_DATE - 1, MAX_DATE, MAX_DATE + 1, -MAX_DATE - 1],
  9_000_000_000_000_000,
];
const GOOD_TIMES = [YEAR_0, -62_135_596_801, -1, 0, 1, 1_700_000_000, YEAR_10000 - 1];
const ODD_NAMES = [
  ...ODD_TIMES.map((seconds) => `time_${seconds}`),
  ...[2 ** 53, 2 ** 60].map((size) => `size_${size}`),
];
const GOOD_NAMES = [
  ...GOOD_TIMES.map((seconds) => `time_${seconds}`),
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
  "a list names files with odd times or sizes, and all other files",
  ignoreIf(noDisk),
  async () => {
    assertEquals(await runScenario("list"), {
      ...makeExpected("metadata", "file"),
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

Deno.test("a file with an odd time or size is not served", ignoreIf(noDisk), async () => {
  const statuses = await runScenario("get");
  for (const name of GOOD_NAMES) assertEquals(statuses[name], [200, 200, 200, "ok"], name);
  for (const name of ODD_NAMES) {
    const isSize = name.startsWith("size");
    assertEquals(statuses[name], isSize ? [404, 404] : [404, 404, 404, 404], name);
  }
});

Deno.test(
  "a PUT or DELETE that may replace or remove a file with an odd time or size does so",
  ignoreIf(noDisk),
  async () => {
    assertEquals(await runScenario("put"), [makeExpected([412, 204, true]), 412]);
    assertEquals(await runScenario("delete"), [ODD_NAMES.map(() => 204), []]);
  },
);

Deno.test(
  "upload and download refuse a source with an odd time or size, and replace such a target",
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
  "in a tree, files with odd times or sizes are skipped, and all other files are copied and deleted",
  ignoreIf(noDisk),
  async () => {
    for (const name of ["uploadTree", "downloadTree"]) {
      const [outcomes, deletedPaths, deletionsSkipped, again] = await runScenario(name);
      const expected = (good: string) => ({
        ...makeExpected("skipped: metadata", good),
        "directory/file": good,
      });
      assertEquals(outcomes, expected("copied"), name);
      assertEquals([deletedPaths, deletionsSkipped], [["superfluous"], null], name);
      assertEquals(again, expected("unchanged"), name);
    }
  },
);

Deno.test("a move keeps files with odd times or sizes", ignoreIf(noDisk), async () => {
  const [outcomes, remaining] = await runScenario("move");
  assertEquals(outcomes, {
    ...makeExpected("skipped: metadata", "copied"),
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
