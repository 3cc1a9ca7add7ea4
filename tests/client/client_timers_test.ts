/** The timers of a client: how many its requests start, and when they end. */
import { assertEquals, assertRejects } from "@std/assert";
import { ConnectionClosedError } from "@degu/degu/base";
import { Client, type Connection } from "@degu/degu/client";
import { unusedPort } from "@degu/testing/ports.ts";
import { RawServer } from "@degu/testing/raw_peer.ts";

/** Counts the intervals that are started and cleared. */
function countTimers() {
  const { setInterval, clearInterval } = globalThis;
  const counts = { started: 0, cleared: 0 };
  const running = new Set<unknown>();
  globalThis.setInterval = ((tick: () => void, milliseconds: number) => {
    const timer = setInterval(tick, milliseconds);
    running.add(timer);
    counts.started++;
    return timer;
  }) as typeof setInterval;
  globalThis.clearInterval = (timer) => {
    if (running.delete(timer)) counts.cleared++;
    clearInterval(timer);
  };
  return {
    counts,
    [Symbol.dispose]: () => void Object.assign(globalThis, { setInterval, clearInterval }),
  };
}

async function answerNext(server: RawServer): Promise<void> {
  using peer = await server.accept();
  await peer.readPreamble();
  await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
  await peer.readToEnd();
}

Deno.test("requests in a row, each over a connection of its own, share one timer, which ends with them", async () => {
  using server = new RawServer();
  const client = new Client(server.address, { timeout: 1000 });
  using timers = countTimers();
  const answering: Promise<void>[] = [];
  for (let count = 0; count < 5; count++) {
    answering.push(answerNext(server));
    const response = await client.request("GET", "/");
    assertEquals(await response.body?.text(), "hi");
  }
  await Promise.all(answering);
  assertEquals(timers.counts, { started: 1, cleared: 1 });
});

Deno.test("the timer ends with a request that can't connect", async () => {
  const client = new Client(["127.0.0.1", await unusedPort()], { timeout: 1000 });
  using timers = countTimers();
  await assertRejects(() => client.request("GET", "/"), Deno.errors.ConnectionRefused);
  assertEquals(timers.counts, { started: 1, cleared: 1 });
});

Deno.test("no timer runs on after a request whose connection was closed before it", async () => {
  using server = new RawServer();
  const onConnect = (conn: Connection) => {
    conn.close();
    return true;
  };
  const client = new Client(server.address, { timeout: 1000, onConnect });
  using timers = countTimers();
  for (let count = 1; count <= 2; count++) {
    await assertRejects(() => client.request("GET", "/"), ConnectionClosedError);
    assertEquals(timers.counts, { started: count, cleared: count });
  }
});
