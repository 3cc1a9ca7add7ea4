/**
 * A request that the network delays doesn't change a file that was written after the request was
 * sent.
 */
import { Client } from "@degu/degu";
import { deleteFile, FilesApp, upload, uploadTree } from "@degu/degu/files";
import { setClockAhead } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { fill, readTree } from "@degu/testing/directories.ts";
import { HoldingRelay } from "@degu/testing/holding_relay.ts";
import { retryUntilInTime } from "@degu/testing/raw_peer.ts";
import { listParts, serveFiles } from "@degu/testing/transferring.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";

const LARGE = 300_000;

/**
 * A call whose request is delayed. It reads `f` of a local directory, and replaces or deletes `f`
 * at the server.
 */
type Call = (client: Client, here: string, signal?: AbortSignal) => Promise<unknown>;

interface DelayedCall {
  readonly call: Call;
  /** The start of the request to delay; the first match is delayed. */
  readonly start: string;
  /** A text that the request must contain. */
  readonly contains?: string;
  /** The size of the local file; `null` if the call deletes the file at the server. */
  readonly size: number | null;
  /** The existing content of the file at the server. */
  readonly before?: string;
}

const tree: Call = (client, localDir, signal) => uploadTree(client, localDir, "/", { signal });
const single: Call = (client, localDir, signal) =>
  upload(client, `${localDir}/f`, "/f", { signal });
const move: Call = (client, localDir, signal) =>
  uploadTree(client, localDir, "/", { move: true, signal });

const DELAYED_CALLS: Readonly<Record<string, DelayedCall>> = {
  "a small file of a tree": {
    call: tree,
    start: "POST /?bundle=put",
    size: 5,
    before: "old",
    contains: '"seen"',
  },
  "a small new file of a tree": { call: tree, start: "POST /?bundle=put", size: 5 },
  "a large file of a tree": { call: tree, start: "PUT /f", size: LARGE, before: "old" },
  "a large new file of a tree": { call: tree, start: "PUT /f", size: LARGE },
  "a single file": { call: single, start: "PUT /f", size: 5, before: "old" },
  "a move of a new file": { call: move, start: "POST /?bundle=put", size: 5 },
  "a move of a file that replaces another": {
    call: move,
    start: "POST /?bundle=put",
    contains: '"seen"',
    size: 5,
    before: "old",
  },
  "a move of a large file": { call: move, start: "PUT /f", size: LARGE, before: "old" },
  "a deletion of a tree": {
    call: (client, localDir, signal) => uploadTree(client, localDir, "/", { delete: true, signal }),
    start: "DELETE /f",
    size: null,
    before: "old",
  },
  "a single deletion": {
    call: (client, localDir, signal) => {
      const exists = Array.from(Deno.readDirSync(localDir)).some(({ name }) => name === "f");
      return exists ? single(client, localDir, signal) : deleteFile(client, "/f", { signal });
    },
    start: "DELETE /f",
    size: null,
    before: "old",
  },
};

for (const [label, row] of Object.entries(DELAYED_CALLS)) {
  Deno.test(`a delayed request doesn't change a newer file: ${label}`, () => checkDelayedCall(row));
}

async function checkDelayedCall(
  { call, start, contains: contains = "", size, before }: DelayedCall,
) {
  await using files = await serveFiles((dir) => new FilesApp(dir, { list: true, write: true }));
  const { clientDir, serverDir, client } = files;
  await fill(serverDir, { ...before === undefined ? {} : { f: before }, other: "o" });
  await fill(clientDir, { ...size === null ? {} : { f: "l".repeat(size) }, other: "o" });
  for (const dir of [clientDir, serverDir]) await Deno.utime(`${dir}/other`, 1, 1);
  // Only files that haven't changed for some seconds are moved or resumed.
  using _clock = setClockAhead(10_000);
  let isDelayed = false;
  const shouldDelay = (text: string) => text.startsWith(start) && !isDelayed && (isDelayed = true);
  await using relay = new HoldingRelay(files.serving.address, shouldDelay);
  const abortController = new AbortController();
  const relayedClient = new Client(relay.address, { timeout: 30 });
  const abortedCall = assertRejects(() => call(relayedClient, clientDir, abortController.signal));
  const request = await relay.requestReceived;
  assert(request.includes(contains), request.slice(0, 500));
  abortController.abort();
  await abortedCall;
  const newest = "n".repeat(size ?? 5);
  await fill(clientDir, { f: newest });
  await call(client, clientDir);
  assertEquals((await readTree(serverDir)).f, newest);
  assert((await relay.release()).includes("412"));
  assertEquals((await readTree(serverDir)).f, newest);
}

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
        : deleteFile(relayedClient, "/f", { signal });
    const abortedCall = assertRejects(call);
    await relay.requestReceived;
    abortController.abort();
    await abortedCall;
    await send("newer");
    assert((await relay.release()).includes("412"));
    assertEquals((await readTree(serverDir)).f, "newer");
  });
}
