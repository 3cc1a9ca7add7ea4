/** File names as components of a path. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { PATH } from "@degu/internal/base/wire/tables.ts";
import { escapeName, fileUri, readTarget, unescapeName } from "@degu/internal/files/file_name.ts";
import { parseUri } from "@degu/degu/misc";
import { assertRangeError, assertTypeError } from "@degu/testing/expectations.ts";

const NAMES: Record<string, string> = {
  "a": "a",
  "a b.txt": "a~20b.txt",
  "A-z_0.9+": "A-z_0.9+",
  "...": "...",
  ".hidden": ".hidden",
  "~": "~7E",
  "a:b": "a~3Ab",
  "100%": "100~25",
  "a?b#c": "a~3Fb~23c",
  "back\\slash": "back~5Cslash",
  "new\nline": "new~0Aline",
  "Öl": "~C3~96l",
  "O\u0308l": "O~CC~88l",
  "日本語": "~E6~97~A5~E6~9C~AC~E8~AA~9E",
  "😀": "~F0~9F~98~80",
  "\ufeffbom": "~EF~BB~BFbom",
  "\ufffd": "~EF~BF~BD",
  "\u202egnp.exe": "~E2~80~AEgnp.exe",
  "constructor": "constructor",
  "__proto__": "__proto__",
  ["n".repeat(255)]: "n".repeat(255),
  ["é".repeat(127)]: "~C3~A9".repeat(127),
  ["€".repeat(85)]: "~E2~82~AC".repeat(85),
};

Deno.test("a name is escaped in exactly one way, and unescaped again", () => {
  for (const [name, component] of Object.entries(NAMES)) {
    assertEquals(escapeName(name), component);
    assertEquals(unescapeName(component), name);
  }
});

/** Texts that can't be the name of a file. */
const BAD_NAMES = [
  "",
  ".",
  "..",
  "/",
  "a/b",
  "\0",
  "a\0",
  "\ud800",
  "a\udc00b",
  "\udc00\ud800",
  "n".repeat(256),
  "é".repeat(128),
  "€".repeat(86),
];

Deno.test("an invalid file name is refused", () => {
  for (const name of BAD_NAMES) {
    assertRangeError(() => escapeName(name), Deno.inspect(name));
    assertRangeError(() => fileUri("a", name, "b"), Deno.inspect(name));
  }
  for (const wrong of [undefined, null, 5, ["a"], new String("a")]) {
    assertTypeError(() => Reflect.apply(escapeName, null, [wrong]), Deno.inspect(wrong));
    assertTypeError(() => Reflect.apply(unescapeName, null, [wrong]), Deno.inspect(wrong));
    assertTypeError(() => Reflect.apply(fileUri, null, [wrong]), Deno.inspect(wrong));
  }
});

Deno.test("a component that escapeName can't have produced is refused", () => {
  const components = [
    ...["", ".", "..", "~2E", "~2E~2E", ".~2E", "~61", "~2D", "~2F", "~00", "a~2Fb"],
    ...["~", "~2", "a~", "~e2~82~ac", "~C3~a9", "~G0", "~ 2", "~+2", "~0x", "a b", "a:b", "a%20b"],
    ...["~C3", "~C3~28", "~80", "~C0~AF", "~E0~80~AF", "~ED~A0~80", "~F4~90~80~80", "~FF"],
    ...[
      "é",
      "\ud800",
      "\n",
      "a\n",
      "~0A\n",
      "n".repeat(256),
      "~C3~A9".repeat(128),
      "~".repeat(9999),
    ],
  ];
  for (const component of components) {
    assertRangeError(() => unescapeName(component), Deno.inspect(component));
  }
});

Deno.test("every possible name survives conversion to a URI and back", () => {
  const text = fc.string({ unit: "binary", minLength: 1, maxLength: 90 });
  fc.assert(
    fc.property(
      fc.oneof(text, fc.string({ unit: fc.nat(65535).map(String.fromCharCode) })),
      (name) => {
        let component;
        try {
          component = escapeName(name);
        } catch (error) {
          assert(error instanceof RangeError);
          const bytes = new TextEncoder().encode(name).length;
          const bad = name === "" || name === "." || name === ".." || /[/\0]/.test(name) ||
            !name.isWellFormed() || bytes > 255;
          assert(bad, Deno.inspect(name));
          return;
        }
        assert([...component].every((character) => PATH[character.charCodeAt(0)] === 1));
        assertEquals(unescapeName(component), name);
        assertEquals(parseUri(fileUri(name, name)).path, [component, component]);
      },
    ),
  );
});

Deno.test("no accepted component has a second spelling", () => {
  const unit = fc.constantFrom("~", "2", "E", "0", "C", "3", "9", "6", "A", "a", ".", "F");
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 12 }), (component) => {
      try {
        assertEquals(escapeName(unescapeName(component)), component);
      } catch (error) {
        assert(error instanceof RangeError);
      }
    }),
    { numRuns: 2000 },
  );
});

Deno.test("a URI has each name as a component, and a trailing slash for a directory", () => {
  assertEquals(fileUri(), "/");
  assertEquals(fileUri(""), "/");
  assertEquals(fileUri("a"), "/a");
  assertEquals(fileUri("a", ""), "/a/");
  assertEquals(fileUri("my photos", "é.jpg"), "/my~20photos/~C3~A9.jpg");
  assertRangeError(() => fileUri("", "a"), "an empty name");
  assertRangeError(() => fileUri("a", "", ""), "two of them");
});

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
