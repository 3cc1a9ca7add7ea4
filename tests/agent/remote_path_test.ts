/** Paths on another device. */
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Failure } from "@degu/internal/agent/failure.ts";
import {
  formatRemotePath,
  isRemotePath,
  parseRemotePath,
} from "@degu/internal/agent/remote_path.ts";

Deno.test("PEER:[PATH] is parsed as a peer, names, and whether a directory is meant", () => {
  const cases: [text: string, peer: string, names: string[], directory: boolean][] = [
    ["camera:", "camera", [], true],
    ["camera:/", "camera", [], true],
    ["camera:.", "camera", [], true],
    ["camera:a", "camera", ["a"], false],
    ["camera:/a//b/./c/", "camera", ["a", "b", "c"], true],
    ["camera:a/.", "camera", ["a"], true],
    ["camera:a:b/c d", "camera", ["a:b", "c d"], false],
    ["camera:日本", "camera", ["日本"], false],
  ];
  for (const [text, peer, names, directory] of cases) {
    assertEquals(parseRemotePath(text), { peer, names, directory }, text);
  }
});

Deno.test("a colon after a slash, or at the beginning, is not a peer's path", () => {
  for (const text of ["a", "./a:b", "/a:b", ":a", "", "a/b:c"]) {
    assertEquals(isRemotePath(text), false, text);
    assertThrows(() => parseRemotePath(text), Failure, "PEER:PATH");
  }
});

Deno.test("an invalid name is a usage error", () => {
  for (const text of ["c:..", "c:a/../b", "c:a\0", `c:${"é".repeat(128)}`, "c:\ud800"]) {
    assertEquals(assertThrows(() => parseRemotePath(text), Failure).exitCode, 2, text);
  }
});

Deno.test("what is formatted is parsed back unchanged", () => {
  const name = fc.string({ minLength: 1, maxLength: 30, unit: "grapheme" })
    .filter((text) => !/^\.{1,2}$|[/\0]/.test(text));
  fc.assert(fc.property(fc.array(name, { maxLength: 5 }), fc.boolean(), (names, isDirectory) => {
    const directory = isDirectory || names.length === 0;
    const text = formatRemotePath("camera", names, directory);
    assertEquals(parseRemotePath(text), { peer: "camera", names, directory });
  }));
});
