/** download: connections that break, and files that change at the server. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ProtocolError } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { FilesApp } from "@degu/degu/files";
import { download, TransferError } from "@degu/degu/files";
import { setClockAhead } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { entries } from "@degu/testing/directories.ts";
import { randomBytes, serveFiles, sha256 } from "@degu/testing/transferring.ts";

const SIZE = 3_000_000;

Deno.test("a download over a connection that breaks repeatedly arrives", async () => {
  await using files = await serveFiles();
  const content = randomBytes(SIZE);
  await Deno.writeFile(`${files.there}/file`, content);
  using _clock = setClockAhead();
  await using relay = new CuttingRelay(files.serving.address);
  const client = new Client(relay.address, { timeout: 10 });
  let before = 0;
  for (let calls = 1;; calls++) {
    assert(calls < 100, `no progress at ${before}`);
    relay.cutAfter(calls === 20 ? Infinity : 1000 + Math.floor(Math.random() * SIZE / 5));
    try {
      const { resumedFrom, sha256: digest } = await download(client, "/file", `${files.here}/file`);
      assert(resumedFrom >= before, `${resumedFrom} after ${before}`);
      assertEquals(digest, await sha256(content));
      break;
    } catch (error) {
      assert(!(error instanceof TransferError), Deno.inspect(error));
    }
    const part = await Deno.stat(`${files.here}/.file.degu-part`).catch(() => null);
    assert((part?.size ?? 0) >= before, `${part?.size} after ${before}`);
    before = part?.size ?? 0;
  }
  assertEquals(await Deno.readFile(`${files.here}/file`), content);
  assertEquals(await entries(files.here), ["file"]);
});

Deno.test("a file that is overwritten while it is sent is an error, and the next call gets it", async () => {
  for (const options of [{}, { verify: false }]) {
    let change = () => {};
    await using files = await serveFiles((dir) => {
      const app = new FilesApp(dir);
      return async (request) => {
        const response = await app.handle(request);
        change();
        return response;
      };
    });
    const path = `${files.there}/file`;
    await Deno.writeFile(path, randomBytes(SIZE));
    await Deno.utime(path, new Date(1e12), new Date(1e12));
    const content = randomBytes(SIZE);
    change = () => Deno.writeFileSync(path, content);
    const downloading = () => download(files.client, "/file", `${files.here}/file`, options);
    const error = await assertRejects(downloading, ProtocolError);
    assertEquals(error.code, "BODY_INCOMPLETE");
    change = () => {};
    assertEquals((await downloading()).resumedFrom, 0);
    assertEquals(await Deno.readFile(`${files.here}/file`), content);
    assertEquals(await entries(files.here), ["file"]);
  }
});
