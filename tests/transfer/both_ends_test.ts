/** Transfers between a FilesApp and this end, where something happens in the middle. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ProtocolError } from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import { FilesApp } from "@degu/degu/files";
import { TempPKI } from "@degu/degu/misc";
import { download, fileUri, listDirectory, TransferError, upload } from "@degu/degu/transfer";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { entries } from "@degu/testing/directories.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";
import {
  partsOf,
  randomBytes,
  serveFiles,
  sha256,
  visible,
  waitForTag,
} from "@degu/testing/transferring.ts";

const SIZE = 6_000_000;
const both = (dir: string) => new FilesApp(dir, { list: true, write: true });

Deno.test("a download through a connection that is cut again and again arrives", async () => {
  await using files = await serveFiles();
  const content = randomBytes(SIZE);
  await Deno.writeFile(`${files.there}/file`, content);
  await waitForTag(files.client, "/file");
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

Deno.test("an upload through a connection that is cut again and again arrives", async () => {
  await using files = await serveFiles(both);
  const content = randomBytes(SIZE);
  await Deno.writeFile(`${files.here}/file`, content);
  await using relay = new CuttingRelay(files.serving.address);
  const client = new Client(relay.address, { timeout: 10 });
  let before = 0;
  for (let calls = 1;; calls++) {
    assert(calls < 100, `no progress at ${before}`);
    relay.cutAfter(calls === 20 ? Infinity : 3000 + Math.floor(Math.random() * SIZE / 5));
    try {
      const { resumedFrom, sha256: digest } = await upload(client, `${files.here}/file`, "/file");
      assert(resumedFrom >= before, `${resumedFrom} after ${before}`);
      assertEquals(digest, await sha256(content));
      before = resumedFrom;
      break;
    } catch (error) {
      assert(!(error instanceof TransferError), Deno.inspect(error));
    }
    if ((await visible(files.there)).length === 0) continue;
    // Only the answer was lost.
    before = SIZE;
  }
  assert(before > 0, "nothing was resumed");
  assertEquals(await Deno.readFile(`${files.there}/file`), content);
  assertEquals(await partsOf(files.there), []);
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

Deno.test("both directions over TLS, and a part of the same device at another address is continued", async () => {
  await using pki = await TempPKI.create();
  await using files = await serveFiles(both);
  const content = randomBytes(SIZE);
  await Deno.writeFile(`${files.there}/file`, content);
  await waitForTag(files.client, "/file");
  await using one = await startTls(pki, both(files.there));
  await using other = await startTls(pki, both(files.there));
  await using relay = new CuttingRelay(one.server.address);
  const config = { ...pki.clientSslconfig, checkHostname: false };
  const cut = new SSLClient(config, relay.address, { timeout: 10 });
  relay.cutAfter(SIZE / 2);
  await assertRejects(() => download(cut, "/file", `${files.here}/file`));
  const { resumedFrom } = await download(other.client, "/file", `${files.here}/file`);
  assert(resumedFrom > 0 && resumedFrom < SIZE / 2, `${resumedFrom}`);
  assertEquals(await Deno.readFile(`${files.here}/file`), content);

  relay.cutAfter(SIZE / 2);
  await assertRejects(() => upload(cut, `${files.here}/file`, "/copy"));
  const sent = await upload(one.client, `${files.here}/file`, "/copy");
  assertEquals(sent.sha256, await sha256(content));
  assertEquals(await Deno.readFile(`${files.there}/copy`), content);
});

Deno.test("many files go over one connection", async () => {
  await using files = await serveFiles(both);
  using conn = await files.client.connect();
  const names = Array.from({ length: 200 }, (_, i) => `file ${i} – é`);
  for (const name of names) {
    await Deno.writeTextFile(`${files.here}/${name}`, name);
    await upload(conn, `${files.here}/${name}`, fileUri("d", name));
  }
  const listed = await Array.fromAsync(listDirectory(conn, fileUri("d", "")));
  assertEquals(listed.map(({ name }) => name).toSorted(), names.toSorted());
  for (const { name } of listed) {
    await download(conn, fileUri("d", name), `${files.here}/${name}`);
    assertEquals(await Deno.readTextFile(`${files.here}/${name}`), name);
  }
});
