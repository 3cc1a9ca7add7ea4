/** The number of syncs that run at the same time. */
import { SyncQueue } from "@degu/internal/files/disk/files.ts";
import { patch } from "@degu/testing/patching.ts";
import { waitForTick } from "@degu/testing/raw_peer.ts";
import { assertEquals } from "@std/assert";

Deno.test("16 syncs run at the same time, up to 64 on a fast disk, and at least 4 on a slow one", async () => {
  let syncMilliseconds = 0;
  let now = 0;
  using _clock = patch(performance, "now", () => () => now += syncMilliseconds);
  const queue = new SyncQueue();
  const run = async (count: number) => {
    let runningCount = 0;
    let maxRunningCount = 0;
    await Promise.all(Array.from({ length: count }, () =>
      queue.run(async () => {
        maxRunningCount = Math.max(maxRunningCount, ++runningCount);
        await waitForTick();
        runningCount--;
      })));
    return maxRunningCount;
  };
  assertEquals(await run(16), 16);
  syncMilliseconds = 500;
  for (let i = 0; i < 100; i++) await run(1);
  syncMilliseconds = 0;
  assertEquals([await run(100), queue.limit], [64, 64]);
  syncMilliseconds = 501;
  const limits: number[] = [];
  for (let i = 0; i < 5; i++) {
    await run(1);
    limits.push(queue.limit);
  }
  assertEquals(limits, [32, 16, 8, 4, 4]);
  // Of eight syncs, four run at once, and the others wait.
  assertEquals(await run(8), 4);
});

Deno.test("on a disk whose single sync is slow, syncs still run at the same time", async () => {
  let now = 0;
  using _clock = patch(performance, "now", () => () => now += 1000);
  const queue = new SyncQueue();
  for (let i = 0; i < 100; i++) await queue.run(() => Promise.resolve());
  assertEquals(queue.limit, 64);
});

Deno.test("a sync that fails resolves to its error, and frees its place in the queue", async () => {
  const queue = new SyncQueue();
  const error = new Error("full");
  for (let i = 0; i < 100; i++) assertEquals(await queue.run(() => Promise.reject(error)), error);
  assertEquals(await queue.run(() => Promise.resolve()), null);
});
