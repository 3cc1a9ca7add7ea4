/**
 * A request of a single file that the network delays doesn't change a file that was written after
 * the request was sent. `trees.rows.ts` has the requests of trees, and `conditions_test.ts` those
 * that an app delays.
 */
import { Client } from "@degu/degu";
import { deleteEntry, FilesApp, upload } from "@degu/files";
import { setClockAhead } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { fill, readTree } from "@degu/testing/directories.ts";
import { HoldingRelay } from "@degu/testing/holding_relay.ts";
import { retryUntilInTime } from "@degu/testing/raw_peer.ts";
import { listParts, serveFiles } from "@degu/testing/transferring.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";

/** Uploads the file `f`. */
const single = (client: Client, localDir: string, signal?: AbortSignal) =>
  upload(client, `${localDir}/f`, "/f", { signal });

Deno.test("a delayed request doesn't change a newer file: a resumed upload", async () => {
  await using files = await serveFiles((dir) => new FilesApp(dir, { write: true }));
  const { clientDir, serverDir, client } = files;
  const size = 2 ** 22;
  await fill(serverDir, { f: "old" });
  await fill(clientDir, { f: "l".repeat(size) });
  using _clock = setClockAhead(10_000);
  await using cutting = new CuttingRelay(files.serving.address);
  // After a reset, a busy server may not have read the received bytes.
  await retryUntilInTime("nothing was kept", async () => {
    cutting.cutAfter(size / 2);
    await assertRejects(() => single(new Client(cutting.address, { timeout: 30 }), clientDir));
    const [part] = await listParts(serverDir);
    return part !== undefined && Deno.statSync(`${serverDir}/.degu-files/${part}`).size > 0;
  });
  await using relay = new HoldingRelay(files.serving.address, (text) => text.startsWith("PUT /f"));
  const abortController = new AbortController();
  const relayedClient = new Client(relay.address, { timeout: 30 });
  const abortedCall = assertRejects(() => single(relayedClient, clientDir, abortController.signal));
  const [, offset] = /\r\nupload-offset: (\d+)/.exec(await relay.requestReceived) ?? [];
  assert(Number(offset) > 0, offset);
  abortController.abort();
  await abortedCall;
  await fill(clientDir, { f: "newest" });
  await single(client, clientDir);
  assert((await relay.release()).startsWith("HTTP/1.1 412"));
  assertEquals((await readTree(serverDir)).f, "newest");
});

for (const [method, seconds] of [["PUT", 1], ["PUT", -1], ["DELETE", 1]] as const) {
  Deno.test(`a delayed ${method} doesn't change a newer file with the same size and time, if the older file was just written: ${seconds} s since 1970`, async () => {
    await using files = await serveFiles((dir) => new FilesApp(dir, { write: true }));
    const { clientDir, serverDir, client } = files;
    const send = async (text: string, to = client, signal?: AbortSignal) => {
      await fill(clientDir, { f: text });
      await Deno.utime(`${clientDir}/f`, seconds, seconds);
      await upload(to, `${clientDir}/f`, "/f", { signal });
    };
    await send("older");
    await using relay = new HoldingRelay(files.serving.address, (text) => text.startsWith(method));
    const abortController = new AbortController();
    const { signal } = abortController;
    const relayedClient = new Client(relay.address, { timeout: 30 });
    const call = () =>
      method === "PUT"
        ? send("later", relayedClient, signal)
        : deleteEntry(relayedClient, "/f", { signal });
    const abortedCall = assertRejects(call);
    await relay.requestReceived;
    abortController.abort();
    await abortedCall;
    await send("newer");
    assert((await relay.release()).includes("412"));
    assertEquals((await readTree(serverDir)).f, "newer");
  });
}
