/** A served file that gets, loses or changes a name while it is sent. */
import { FilesApp } from "@degu/files";
import { createTempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { sha256Of } from "@degu/testing/bundles.ts";
import { randomBytes } from "@degu/testing/transferring.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";

/** More than the buffers of both sockets have. */
const SIZE = 24_000_000;

const CHANGES: readonly [label: string, change: (dir: string) => void][] = [
  ["gets a hard link", (dir) => Deno.linkSync(`${dir}/file`, `${dir}/second`)],
  ["gets a hard link, and is replaced", (dir) => {
    Deno.linkSync(`${dir}/file`, `${dir}/second`);
    Deno.writeFileSync(`${dir}/other`, new Uint8Array(5));
    Deno.renameSync(`${dir}/other`, `${dir}/file`);
  }],
  ["is renamed", (dir) => Deno.renameSync(`${dir}/file`, `${dir}/renamed`)],
  ["is renamed, and another file has its name", (dir) => {
    Deno.renameSync(`${dir}/file`, `${dir}/renamed`);
    Deno.writeFileSync(`${dir}/file`, new Uint8Array(SIZE));
  }],
  ["is removed", (dir) => Deno.removeSync(`${dir}/file`)],
];

const OLD = new Date("2026-01-02T03:04:05Z");

/** Requests a file, calls a function while it is sent, and reads the rest. */
async function getChanged(dir: string, change: (dir: string) => void): Promise<Blob> {
  await using serving = serve(new FilesApp(dir));
  using conn = await serving.makeClient().connect();
  const response = await conn.get("/file");
  assert(response.body !== null && !response.body.chunked);
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  for await (const piece of response.body) {
    if (pieces.length === 0) change(dir);
    pieces.push(new Uint8Array(piece));
  }
  return new Blob(pieces);
}

Deno.test("a file that is linked, renamed or removed while it is sent is sent completely", async (t) => {
  await using dir = await createTempDir();
  const content = randomBytes(SIZE);
  for (const [label] of CHANGES) {
    await Deno.mkdir(`${dir.path}/${label}`);
    await Deno.writeFile(`${dir.path}/${label}/file`, content);
    await Deno.utime(`${dir.path}/${label}/file`, OLD, OLD);
  }
  await waitForNextSecond();
  for (const [label, change] of CHANGES) {
    await t.step(label, async () => {
      const received = await getChanged(`${dir.path}/${label}`, change);
      assertEquals(sha256Of(await received.bytes()), sha256Of(content));
    });
  }
});

/** Until then, a change has the same ctime, because Deno reports it in seconds. */
async function waitForNextSecond(): Promise<void> {
  const second = Math.floor(Date.now() / 1000);
  while (Math.floor(Date.now() / 1000) === second) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

Deno.test("a file that is overwritten in place while it is sent is cut, even if its time is set back", async () => {
  await using dir = await createTempDir();
  await Deno.writeFile(`${dir.path}/file`, randomBytes(SIZE));
  await Deno.utime(`${dir.path}/file`, OLD, OLD);
  await waitForNextSecond();
  await assertRejects(() =>
    getChanged(dir.path, () => {
      const file = Deno.openSync(`${dir.path}/file`, { write: true });
      file.writeSync(new Uint8Array(5));
      file.close();
      Deno.utimeSync(`${dir.path}/file`, OLD, OLD);
    })
  );
});
