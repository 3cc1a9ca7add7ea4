/** When a file counts as changed since it was opened. */
import { assertEquals } from "@std/assert";
import { type FileState, isOverwritten, isSameFile } from "@degu/internal/files/file_state.ts";

const first: FileState = {
  dev: 1n,
  ino: 2n,
  nlink: 1n,
  size: 100n,
  mtimeNs: 1_000_000_000n,
  ctimeNs: 1_000_000_000n,
};

Deno.test("a file is identified by its device and inode numbers alone", () => {
  const later: FileState = { ...first, size: 0n, nlink: 5n, mtimeNs: 0n };
  assertEquals(isSameFile(first, later), true);
  assertEquals(isSameFile(first, { dev: 1n, ino: 3n }), false);
  assertEquals(isSameFile(first, { dev: 2n, ino: 2n }), false);
  assertEquals(isSameFile({ dev: 1n, ino: 2n ** 60n }, { dev: 1n, ino: 2n ** 60n + 1n }), false);
});

const changes: readonly (readonly [what: string, now: Partial<FileState>, overwritten: boolean])[] =
  [
    ["nothing", {}, false],
    ["appended to", { size: 101n, mtimeNs: 2_000_000_000n, ctimeNs: 2_000_000_000n }, false],
    ["cut", { size: 99n }, true],
    ["written at the same size", { mtimeNs: 2_000_000_000n, ctimeNs: 2_000_000_000n }, true],
    ["its time set back", { ctimeNs: 2_000_000_000n }, true],
    ["its time set to an earlier one", { mtimeNs: 0n, ctimeNs: 2_000_000_000n }, true],
    ["given another name", { nlink: 2n, ctimeNs: 2_000_000_000n }, true],
    ["renamed over, or deleted", { nlink: 0n, ctimeNs: 2_000_000_000n }, false],
    ["deleted and written", { nlink: 0n, mtimeNs: 2_000_000_000n, ctimeNs: 2_000_000_000n }, true],
    ["cut and deleted", { nlink: 0n, size: 0n }, true],
  ];

for (const [what, now, overwritten] of changes) {
  Deno.test(`the change to a file is recognized: ${what}`, () => {
    assertEquals(isOverwritten(first, { ...first, ...now }), overwritten);
  });
}
