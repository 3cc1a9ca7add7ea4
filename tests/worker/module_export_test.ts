/** Exports, named by their module. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { loadModuleExport, readModuleExport } from "@degu/internal/worker/module_export.ts";

Deno.test("the export of a module is given as a string or a URL only", () => {
  const expected = { module: "file:///app.ts", name: "app" };
  assertEquals(readModuleExport("app", expected), expected);
  assertEquals(
    readModuleExport("app", { ...expected, module: new URL(expected.module) }),
    expected,
  );
  const others = [
    null,
    undefined,
    5,
    "app",
    [],
    {},
    { module: "file:///app.ts" },
    { name: "app" },
    {
      module: 5,
      name: "app",
    },
    { module: "file:///app.ts", name: 5 },
  ];
  for (const value of others) assertEquals(readModuleExport("app", value), null);
});

Deno.test("a module requires an absolute URL", () => {
  for (const module of ["./app.ts", "app.ts", "/app.ts", ""]) {
    const read = () => readModuleExport("build", { module, name: "app" });
    assertThrows(read, RangeError, "build.module: must be an absolute URL");
  }
});

Deno.test("an export is loaded, and a missing one is a TypeError", async () => {
  const module = "data:text/javascript,export const app = 5, nothing = undefined;";
  assertEquals(await loadModuleExport({ module, name: "app" }), 5);
  for (const name of ["other", "nothing"]) {
    const load = () => loadModuleExport({ module, name });
    await assertRejects(load, TypeError, `has no export "${name}"`);
  }
});
