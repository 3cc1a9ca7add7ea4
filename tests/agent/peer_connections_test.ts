/** Connections that are used again, and calls that are made again. */
import { assertEquals, assertRejects } from "@std/assert";
import { EmptyPreambleError } from "@degu/degu/base";
import { PeerConnections } from "@degu/internal/agent/peer_connections.ts";
import type { Connection } from "@degu/degu/client";
import { untilRefused } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

const { signal } = new AbortController();

async function statusOf(connection: Connection): Promise<number> {
  const { status, body } = await connection.get("/");
  await body?.bytes();
  return status;
}

Deno.test("there are as many connections as simultaneous calls; one that the server has closed is replaced at once", async () => {
  const sessions = new Set<unknown>();
  await using serving = serve((_request, session) => {
    sessions.add(session);
    return [204, "No Content", {}, null];
  }, { maxRequests: 10 });
  const notes: string[] = [];
  using connections = new PeerConnections(
    serving.makeClient(),
    signal,
    (text) => void notes.push(text),
  );
  for (let i = 0; i < 25; i++) assertEquals(await connections.call(statusOf), 204);
  assertEquals(sessions.size, 3);
  await Promise.all(Array.from({ length: 4 }, () => connections.call(statusOf)));
  assertEquals(sessions.size <= 6, true);
  assertEquals(notes, []);
});

Deno.test("a call is retried, and several that fail at the same time are reported once", async () => {
  await using serving = serve(() => [204, "No Content", {}, null]);
  const client = serving.makeClient();
  serving.server.close();
  await serving.done;
  await untilRefused(serving.address);
  const notes: string[] = [];
  const stop = new AbortController();
  const note = (text: string) => {
    notes.push(text);
    stop.abort(new Error("stop"));
  };
  using connections = new PeerConnections(client, stop.signal, note);
  const calls = [
    connections.call(statusOf),
    connections.callAnew((client) => client.request("GET", "/")),
  ];
  for (const call of calls) await assertRejects(() => call, Error, "stop");
  assertEquals(notes.length, 1);
  assertEquals(notes[0]?.endsWith("; trying again in 1 s (1 of 3)"), true, notes[0]);
  using once = new PeerConnections(client, signal, note, 0);
  await assertRejects(() => once.call(statusOf), Deno.errors.ConnectionRefused);
  assertEquals(notes.length, 1);
});

Deno.test("a connection is not reused after an error", async () => {
  await using serving = serve(() => [204, "No Content", {}, null]);
  using connections = new PeerConnections(serving.makeClient(), signal, () => {});
  let first: Connection | null = null;
  await assertRejects(
    () =>
      connections.call((connection) => {
        first = connection;
        return Promise.reject(new Error("no"));
      }),
    Error,
    "no",
  );
  assertEquals((first as Connection | null)?.closed, true);
  assertEquals(await connections.call(statusOf), 204);
});

Deno.test("a peer that hangs up twice in a row has refused; one that hangs up once has only ended a connection", async () => {
  let hangUps = Infinity;
  let sessions = 0;
  const app = () => [204, "No Content", {}, null] as const;
  const onConnect = () => ++sessions > hangUps;
  await using serving = serve({ handle: app, onConnect });
  const notes: string[] = [];
  const note = (text: string) => void notes.push(text);
  using connections = new PeerConnections(serving.makeClient(), signal, note);
  await assertRejects(() => connections.call(statusOf), EmptyPreambleError);
  assertEquals([sessions, notes.length], [2, 1]);
  [hangUps, sessions] = [1, 0];
  assertEquals(await connections.call(statusOf), 204);
  // Between the two something has been moved.
  [hangUps, sessions] = [2, 0];
  const moving = async (connection: Connection, moved: () => void) => {
    if (sessions === 2) moved();
    return await statusOf(connection);
  };
  using others = new PeerConnections(serving.makeClient(), signal, note);
  assertEquals(await others.call(moving), 204);
  assertEquals(sessions, 3);
});

Deno.test("a peer whose slots are all taken hangs up later, which is no refusal", async () => {
  await using serving = serve(() => [204, "No Content", {}, null], { maxConnections: 1 });
  const client = serving.makeClient();
  using busy = await client.connect();
  assertEquals(await statusOf(busy), 204);
  const stop = new AbortController();
  const notes: string[] = [];
  const note = (text: string) => {
    if (notes.push(text) === 2) stop.abort(new Error("stop"));
  };
  using connections = new PeerConnections(client, stop.signal, note);
  await assertRejects(() => connections.call(statusOf), Error, "stop");
  assertEquals(notes.map((text) => text.slice(text.indexOf(";"))), [
    "; trying again in 1 s (1 of 3)",
    "; trying again in 2 s (2 of 3)",
  ]);
});
