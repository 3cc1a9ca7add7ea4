/** Transfers of a process that is killed at any moment. */
import { assert, assertEquals } from "@std/assert";
import { FilesApp } from "@degu/degu/files";
import { Buffer } from "node:buffer";
import { entries, tempDir } from "@degu/testing/directories.ts";
import { programCommand } from "@degu/testing/programs.ts";
import { ServedVersion } from "@degu/testing/served_version.ts";
import { serve } from "@degu/testing/serving.ts";
import { partsOf, randomBytes, serveFiles, visible } from "@degu/testing/transferring.ts";

const KILLS = 100;
/** On a machine that is busy there are fewer kills. */
const MILLISECONDS = 12_000;
const SIZE = 4_000_000;
/** About as long as a program needs from its start to its end. */
const LIFE_MILLISECONDS = 500;

Deno.test("a download that is killed at any moment leaves the old file, the new one, or a part", async () => {
  const there = new ServedVersion(randomBytes(SIZE));
  // The whole takes a quarter of a second: most of the time something is on its way.
  there.beforePiece = () => new Promise((resolve) => setTimeout(resolve, 4));
  await using serving = serve(there.app);
  const [, port] = serving.address as readonly [string, number];
  await using dir = await tempDir();
  const file = `${dir.path}/copy`;
  const command = programCommand("transfer.ts", {
    flags: ["--allow-net=127.0.0.1", `--allow-read=${dir.path}`, `--allow-write=${dir.path}`],
    args: ["download", `${port}`, file, "/file"],
  });
  const versions = [there.content, randomBytes(SIZE / 2)];
  let last: Uint8Array = new TextEncoder().encode("old");
  await Deno.writeFile(file, last);
  let completed = 0;
  for await (const { success, stderr } of killAgainAndAgain(command)) {
    const now = await Deno.readFile(file);
    if (success) {
      completed++;
      assertEquals(now, there.content);
      there.content = versions[completed % 2]!;
      there.etag = `"${completed}"`;
    } else {
      assertEquals(new TextDecoder().decode(stderr), "");
      // It may have been killed after the rename.
      assert([last, there.content].some((version) => isSame(now, version)));
    }
    last = now;
  }
  // What is left is of use to nobody else's download, and this one needs nothing to be removed first.
  there.beforePiece = () => {};
  const { success, stdout, stderr } = await command.output();
  assert(success, new TextDecoder().decode(stderr));
  const { sha256 } = JSON.parse(new TextDecoder().decode(stdout));
  assertEquals(sha256, there.actual());
  assert(isSame(await Deno.readFile(file), there.content));
  assertEquals(await entries(dir.path), ["copy"]);
});

Deno.test("an upload that is killed at any moment leaves nothing to see, or all of it", async () => {
  await using files = await serveFiles((dir) => new FilesApp(dir, { write: true }));
  const [, port] = files.serving.address as readonly [string, number];
  const file = `${files.here}/file`;
  const command = programCommand("transfer.ts", {
    flags: ["--allow-net=127.0.0.1", `--allow-read=${files.here}`],
    args: ["upload", `${port}`, file, "/copy"],
  });
  let content = randomBytes(4 * SIZE);
  await Deno.writeFile(file, content);
  for await (const { success, stderr } of killAgainAndAgain(command)) {
    const isThere = (await visible(files.there)).length > 0;
    if (success) assert(isThere);
    else assertEquals(new TextDecoder().decode(stderr), "");
    if (!isThere) continue;
    assert(isSame(await Deno.readFile(`${files.there}/copy`), content));
    await Deno.remove(`${files.there}/copy`);
    content = randomBytes(4 * SIZE);
    await Deno.writeFile(file, content);
  }
  const { success, stderr } = await command.output();
  assert(success, new TextDecoder().decode(stderr));
  assert(isSame(await Deno.readFile(`${files.there}/copy`), content));
  // A part whose upload was killed in its last moment may be of a version that nobody sends any more.
  assert((await partsOf(files.there)).length <= 1);
});

/** Runs a program again and again, and kills it at a moment that nobody knows. */
async function* killAgainAndAgain(command: Deno.Command): AsyncGenerator<Deno.CommandOutput> {
  const begin = performance.now();
  for (let kills = 0; kills < KILLS && performance.now() - begin < MILLISECONDS; kills++) {
    const child = command.spawn();
    const timer = setTimeout(() => child.kill("SIGKILL"), Math.random() * LIFE_MILLISECONDS);
    const output = await child.output();
    clearTimeout(timer);
    yield output;
  }
}

function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
