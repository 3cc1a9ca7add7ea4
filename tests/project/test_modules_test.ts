/** Rules for the modules of tests, and for the helpers that they share. */
import { assertEquals } from "@std/assert";
import { readPackages } from "@degu/internal/tools/packages.ts";
import { listFiles, readCode } from "@degu/testing/tree.ts";

/** The folders whose tests import only public modules. */
const PUBLIC_FOLDERS = ["apps", "integration", "types"];

const folders = (await readPackages()).map(({ directory }) => `${directory}tests`);
const codeByPath = new Map<string, string>();
for (const path of (await Promise.all(folders.map((folder) => listFiles(folder, ".ts")))).flat()) {
  codeByPath.set(path, await readCode(path));
}
const helpers = await listFiles("tests/support", ".ts", false);

Deno.test("a helper registers no test, so that a failure is reported at the line of the test", () => {
  assertEquals(
    helpers.filter((path) => /\bDeno\.test(?:\.\w+)?\(/.test(codeByPath.get(path)!)),
    [],
  );
});

Deno.test("each helper is used by two modules or more", () => {
  const countUses = (path: string) => {
    const end = `${path.slice(path.lastIndexOf("/"))}"`;
    return [...codeByPath.values()].filter((code) => code.includes(end)).length;
  };
  // The import maps name this module.
  const sharedHelpers = helpers.filter((path) => path !== "tests/support/fast_check.ts");
  assertEquals(sharedHelpers.filter((path) => countUses(path) < 2), []);
});

Deno.test("the tests of apps/, integration/ and types/ import only public modules", () => {
  const isPublic = (path: string) =>
    PUBLIC_FOLDERS.some((name) => path.startsWith(`tests/${name}/`));
  const modules = [...codeByPath].filter(([path]) => isPublic(path));
  const internalImport = /"@degu\/internal\/(?!tools\/)/;
  assertEquals(modules.filter(([, code]) => internalImport.test(code)).map(([path]) => path), []);
});
