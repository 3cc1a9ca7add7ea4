/** The reserved directory: who can reach it, and how it is made. */
import { assertEquals, assertThrows } from "@std/assert";
import {
  isPartName,
  isReserved,
  makeReserved,
  PART_SUFFIX,
  prefixOf,
  RESERVED,
  reservedPath,
  statOrNull,
} from "@degu/internal/files/reserved.ts";
import { Refusal } from "@degu/internal/files/refusal.ts";
import { entries, mode, tempDir } from "@degu/testing/directories.ts";
import { canMount, checkAsked, MOUNTING } from "@degu/testing/refused_writes.ts";

const mayMount = await canMount();

Deno.test("the reserved directory is made once, and is private", async () => {
  await using dir = await tempDir();
  assertEquals(reservedPath("/"), `/${RESERVED}`);
  assertEquals([prefixOf("/"), prefixOf("/a")], ["/", "/a/"]);
  assertEquals(statOrNull(reservedPath(dir.path)), null);
  assertEquals([isReserved(dir.path, RESERVED), isReserved(dir.path, "a")], [true, false]);
  for (let time = 0; time < 2; time++) {
    makeReserved(dir.path);
    assertEquals([await entries(dir.path), await mode(reservedPath(dir.path))], [
      [RESERVED],
      0o700,
    ]);
    await Deno.chmod(reservedPath(dir.path), 0o755);
  }
  await Deno.mkdir(`${dir.path}/a`);
  assertEquals([isReserved(dir.path, RESERVED), isReserved(dir.path, "a")], [true, false]);
});

Deno.test("a file with the name of the reserved directory is not touched", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(reservedPath(dir.path), "text");
  const error = assertThrows(() => makeReserved(dir.path), Refusal, "is not a directory");
  assertEquals(error.status, 403);
  assertEquals(await Deno.readTextFile(reservedPath(dir.path)), "text");
});

Deno.test({
  name: "the reserved directory can't be reached by another name either (needs unshare)",
  ignore: !mayMount,
  async fn() {
    await using dir = await tempDir();
    // As a file system does that ignores case, or has short names beside long ones.
    await Deno.mkdir(`${dir.path}/${RESERVED}`, { mode: 0o700 });
    await Deno.mkdir(`${dir.path}/alias`);
    await Deno.writeTextFile(`${dir.path}/${RESERVED}/part`, "text");
    const mount = `mount --bind "$0/${RESERVED}" "$0/alias" && exec "$@"`;
    await checkAsked(dir.path, [...MOUNTING, mount, dir.path], [
      ["GET", "/alias", 0, null, 404],
      ["GET", "/alias/part", 0, null, 404],
      ["PUT", "/alias/part", 5, null, 403],
      ["PUT", "/alias/new", 5, 0, 403],
      ["DELETE", "/alias/part", 0, null, 403],
      ["DELETE", "/alias", 0, null, 403],
    ]);
    // And of an app that serves a directory below this one.
    await Deno.mkdir(`${dir.path}/sub`);
    await Deno.rename(`${dir.path}/${RESERVED}`, `${dir.path}/sub/${RESERVED}`);
    await Deno.mkdir(`${dir.path}/sub/alias`);
    const below = `mount --bind "$0/sub/${RESERVED}" "$0/sub/alias" && exec "$@"`;
    await checkAsked(dir.path, [...MOUNTING, below, dir.path], [
      ["GET", "/sub/alias/part", 0, null, 404],
      ["PUT", "/sub/alias/part", 5, null, 403],
      ["DELETE", "/sub/alias/part", 0, null, 403],
    ]);
    await Deno.rename(`${dir.path}/sub/${RESERVED}`, `${dir.path}/${RESERVED}`);
    assertEquals(await entries(`${dir.path}/${RESERVED}`), ["part"]);
  },
});

Deno.test("the parts of downloads are recognized by their names, and nothing else is", () => {
  const part = `.a${PART_SUFFIX}`;
  const parts = ["", ".new", ".json", ".json.tmp"].map((end) => part + end);
  const others = [
    "a.degu-part",
    `${part}.txt`,
    `${part}.new.tmp`,
    ".degu-part",
    ".a.part",
    part + "\n",
  ];
  for (const name of [...parts, ".a\nb.degu-part", ".A.DEGU-PART.JSON", `.${part}`]) {
    assertEquals(isPartName(name), true, name);
  }
  for (const name of others) assertEquals(isPartName(name), false, name);
});
