/** What the path of a request refers to. */
import { assertEquals } from "@std/assert";
import { readTarget } from "@degu/internal/files/target.ts";

Deno.test("a path is split into names, and a trailing slash means a directory", () => {
  const cases: [path: string[], names: string[], isDirectory: boolean, last: string][] = [
    [["a"], ["a"], false, "a"],
    [["a", "b"], ["a", "b"], false, "b"],
    [["a", "~20"], ["a", " "], false, "~20"],
    [["a", ""], ["a"], true, ""],
    [[""], [], true, ""],
  ];
  for (const [path, names, isDirectory, last] of cases) {
    assertEquals(readTarget({ mount: ["m"], path } as never), { names, isDirectory, last });
  }
});

Deno.test("a path without a slash is the root of a mounted app", () => {
  const root = { names: [], isDirectory: false, last: "foo" };
  assertEquals(readTarget({ mount: ["foo"], path: [] } as never), root);
  assertEquals(readTarget({ mount: [], path: [] } as never)?.names, []);
});

Deno.test("a component that is not a valid name is not found", () => {
  for (const path of [["", "a"], ["a", "", "b"], ["."], ["a", ".."], ["~2F"], ["a:b"], ["", ""]]) {
    assertEquals(readTarget({ mount: [], path } as never), null, path.join("/"));
  }
});
