/** Items that have arrived and wait to be taken. */
import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { Queue } from "@degu/internal/net/queue.ts";

Deno.test("items are returned in the order in which they were added, to the earliest waiter first", async () => {
  const steps = fc.array(fc.boolean(), { maxLength: 40 });
  await fc.assert(fc.asyncProperty(steps, fc.integer({ min: 0, max: 5 }), async (pushes, most) => {
    const queue = new Queue<number>(most);
    const accepted: number[] = [];
    const taken: number[] = [];
    let waiting: Promise<void> | null = null;
    let count = 0;
    for (const isPush of pushes) {
      if (isPush) {
        const room = waiting !== null || accepted.length - taken.length < most;
        assertEquals(queue.push(count), room, "it takes what it has room for");
        if (room) accepted.push(count);
        count++;
      } else {
        waiting ??= queue.next().then((item) => void taken.push(item));
      }
      if (waiting !== null && accepted.length > taken.length) {
        await waiting;
        waiting = null;
      }
    }
    const rest = queue.close();
    await waiting?.catch(() => {});
    assertEquals([...taken, ...rest], accepted);
  }));
});

Deno.test("closing ends the wait for an item, and returns those that were not yet taken", async () => {
  const waited = new Queue<number>(1);
  const next = assertRejects(() => waited.next(), Deno.errors.Interrupted);
  assertEquals(waited.close(), []);
  await next;
  const full = new Queue<number>(2);
  assertEquals([full.push(1), full.push(2), full.push(3)], [true, true, false]);
  assertEquals(full.close(), [1, 2]);
  assertEquals(full.close(), []);
});

Deno.test("a closed queue accepts and returns nothing", async () => {
  const queue = new Queue<number>(5);
  queue.close();
  assertEquals(queue.push(1), false);
  await assertRejects(() => queue.next(), Deno.errors.BadResource);
});
