/** File names that a system doesn't allow, or interprets in another way. */
import { findNameProblem, isReservedByWindows } from "@degu/internal/files/disk/file_names.ts";
import { assert, assertEquals } from "@std/assert";
import { HOSTILE_NAMES } from "@degu/testing/hostile_names.ts";

const SAFE_NAMES = [
  ...[
    "a",
    "a b.txt",
    ".hidden",
    "...a",
    "Öl",
    "日本語",
    "😀",
    "a~",
    "a~b",
    "~1",
    "#",
    "%41",
    "a'b",
  ],
  ...["con1", "console", "a.con", "com", "com10", "lpt", "nul-1", "null.txt", "conin", "aux_"],
  ...["longerthan8~1", "file.txt.~1~", "a~1.text", "~$letter.docx", "$Recycle.Bin"],
];

Deno.test("on Windows a name with another meaning is no name of a file", () => {
  for (const name of HOSTILE_NAMES) assert(findNameProblem(name, "windows") !== null, name);
  for (const name of SAFE_NAMES) assertEquals(findNameProblem(name, "windows"), null, name);
  for (let code = 1; code < 0x20; code++) {
    assertEquals(findNameProblem(`a${String.fromCharCode(code)}`, "windows"), "name-character");
  }
});

Deno.test("other systems allow every name without a slash", () => {
  for (const system of ["linux", "darwin", "freebsd"] as const) {
    for (const name of [...HOSTILE_NAMES, ...SAFE_NAMES]) {
      assertEquals(findNameProblem(name, system), null, name);
    }
  }
});

Deno.test("Windows reserves the names of devices, whatever their case and extension", () => {
  for (const name of ["con", "PRN", "Aux", "nul", "COM1", "lpt9", "com²", "CONIN$", "nul.txt"]) {
    assertEquals(isReservedByWindows(name), true, name);
  }
  for (const name of SAFE_NAMES) assertEquals(isReservedByWindows(name), false, name);
});
