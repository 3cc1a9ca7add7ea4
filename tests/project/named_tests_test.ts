/** The arguments of `deno task test` that name tests. */
import { makeDenoCommand, runCommand } from "@degu/testing/commands.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { ROOT } from "@degu/testing/tree.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";

const root = fromFileUrl(ROOT).replace(/\/$/, "");

/** Runs the task's program, from a directory of the user. */
const runTests = (userDirectory: string, ...args: string[]) =>
  runCommand(
    makeDenoCommand(
      ["--allow-read=.", "--allow-write=/tmp", "--allow-run", "--allow-env", "--allow-sys=uid,gid"],
      `${root}/tools/test.ts`,
      "--no-check",
      "--allow-read=.",
      ...args,
    ),
    { cwd: root, env: { INIT_CWD: userDirectory, DEGU_STD: "offline", NO_COLOR: "1" } },
  );

const NAMED_MODULES: [name: string, userDirectory: string, path: string, module: string][] = [
  ["the project's directory", root, "tests/base/host_test.ts", "tests/base/host_test.ts"],
  [
    "a package",
    `${root}/files`,
    "tests/disk/file_names_test.ts",
    "files/tests/disk/file_names_test.ts",
  ],
  ["a package, to another", `${root}/files`, "tests/base/host_test.ts", "tests/base/host_test.ts"],
  ["another directory", "/", "tests/base/host_test.ts", "tests/base/host_test.ts"],
];

Deno.test("a path from the user's or the project's directory names tests", (t) =>
  testEachRow(t, NAMED_MODULES, async (_name, userDirectory, path, module) => {
    const { success, stdout, stderr } = await runTests(userDirectory, path, "--parallel");
    assert(success, stderr);
    const modules = new Set(Array.from(stdout.matchAll(/^\.\/(\S+) => /gm), ([, name]) => name));
    assertEquals([...modules], [module]);
  }));

const MISSING_PATHS: [name: string, userDirectory: string, path: string, missing: string][] = [
  ["a folder of long tests", root, "tests/long/none", "tests/long/none"],
  ["a module", root, "tests/none_test.ts", "tests/none_test.ts"],
  ["a package's module", `${root}/files`, "tests/none_test.ts", "files/tests/none_test.ts"],
];

Deno.test("a path of nothing fails, and doesn't run the suite", (t) =>
  testEachRow(t, MISSING_PATHS, async (_name, userDirectory, path, missing) => {
    const { success, stdout, stderr } = await runTests(userDirectory, path, "--filter=no test");
    assertEquals(success, false, stdout);
    assertStringIncludes(stderr, `/${missing}' failed, not found`);
  }));
