/** Connections that wait for their handshake: which is next, and which is closed if there are too many. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { WaitingConnections } from "@degu/internal/net/tls/waiting_connections.ts";

interface Waiting {
  readonly id: number;
  readonly below: { heard: boolean };
}

function make(id: number, heard = false): Waiting {
  return { id, below: { heard } };
}

Deno.test("connections that have sent something come first, in the order of their arrival", async () => {
  const heards = fc.array(fc.boolean(), { maxLength: 8 });
  await fc.assert(fc.asyncProperty(heards, async (all) => {
    const waiting = new WaitingConnections<Waiting>(8);
    const items = all.map((heard, id) => make(id, heard));
    for (const item of items) assertEquals(waiting.push(item), null);
    const taken = [];
    for (const _ of items) taken.push(await waiting.next());
    const silent = items.filter(({ below }) => !below.heard);
    assertEquals(taken, [...items.filter(({ below }) => below.heard), ...silent]);
  }));
});

Deno.test("one connection too many closes the oldest silent one", async () => {
  const waiting = new WaitingConnections<Waiting>(3);
  const items = [make(0, true), make(1), make(2)];
  for (const item of items) assertEquals(waiting.push(item), null);
  assertEquals(waiting.push(make(3))?.id, 1);
  items[2]!.below.heard = true;
  assertEquals(waiting.push(make(4))?.id, 3);
  assertEquals([(await waiting.next()).id, (await waiting.next()).id], [0, 2]);
});

Deno.test("if none is silent any older one is closed, never the new one", () => {
  const gone = new Set<number>();
  for (let round = 0; round < 200; round++) {
    const waiting = new WaitingConnections<Waiting>(3);
    for (let id = 0; id < 3; id++) waiting.push(make(id, true));
    gone.add(waiting.push(make(3, true))!.id);
  }
  assertEquals([...gone].toSorted(), [0, 1, 2]);
});

Deno.test("a connection that has ended makes room for another", () => {
  const waiting = new WaitingConnections<Waiting>(2);
  const [first, second] = [make(0), make(1)];
  waiting.push(first);
  waiting.push(second);
  waiting.delete(first);
  waiting.delete(first);
  assertEquals(waiting.push(make(2)), null);
  assertEquals(waiting.close().map(({ id }) => id), [1, 2]);
});

Deno.test("a pending request gets the next connection; closing rejects it, and returns the rest", async () => {
  const waiting = new WaitingConnections<Waiting>(2);
  const asking = waiting.next();
  const item = make(0);
  assertEquals(waiting.push(item), null);
  assert(await asking === item);
  const unanswered = assertRejects(() => waiting.next(), Deno.errors.Interrupted);
  assertEquals(waiting.close(), []);
  await unanswered;
  await assertRejects(() => waiting.next(), Deno.errors.BadResource);
  assert(waiting.push(item) === item, "nothing is added once closed");
});
