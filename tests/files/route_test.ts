/** The connection of a transfer: its peer, and how often it is used. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { SSLClient } from "@degu/degu/client";
import { FilesApp } from "@degu/degu/files";
import { TempPKI } from "@degu/degu/misc";
import { download, fileUri, listDirectory, upload } from "@degu/degu/files";
import { setClockAhead } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";
import { randomBytes, serveFiles, sha256 } from "@degu/testing/transferring.ts";

const SIZE = 6_000_000;
const both = (dir: string) => new FilesApp(dir, { list: true, write: true });

Deno.test("both directions work over TLS, and a part of the same device at another address is resumed", async () => {
  await using pki = await TempPKI.create();
  await using files = await serveFiles(both);
  const content = randomBytes(SIZE);
  await Deno.writeFile(`${files.there}/file`, content);
  using _clock = setClockAhead();
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

Deno.test("many files are transferred over one connection", async () => {
  await using files = await serveFiles(both);
  using conn = await files.client.connect();
  const names = Array.from({ length: 50 }, (_, i) => `file ${i} – é`);
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
