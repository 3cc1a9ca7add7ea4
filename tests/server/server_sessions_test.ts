/** The properties of a server: its sessions at every moment, and its options. */
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { TempPKI } from "@degu/degu/misc";
import { Server, type Session, SSLServer } from "@degu/degu/server";
import { endpointKinds } from "@degu/testing/endpoints.ts";
import { RawPeer, within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

const get = "GET / HTTP/1.1\r\n\r\n";
const ok = () => [200, "OK", {}, null] as const;

/** Resolves once the signals of the sessions are aborted. */
async function allOver(sessions: Iterable<Session>): Promise<void> {
  await within(
    Promise.all(Array.from(sessions, ({ signal }) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      signal.addEventListener("abort", () => resolve());
      if (signal.aborted) resolve();
      return promise;
    })),
    "the sessions are over",
  );
}

Deno.test("a server's sessions are those that were accepted and have not ended", async () => {
  const deciding = [Promise.withResolvers<boolean>(), Promise.withResolvers<boolean>()];
  const asked: Session[] = [];
  const seen: Session[][] = [];
  await using serving = serve({
    onConnect(session) {
      asked.push(session);
      return deciding[asked.length - 1]!.promise;
    },
    handle(_request, session) {
      seen.push([...serving.server.sessions]);
      assert(serving.server.sessions.has(session));
      return [200, "OK", {}, null];
    },
  });
  const { sessions } = serving.server;
  using first = await RawPeer.connect(serving.address);
  await first.send(get);
  using second = await RawPeer.connect(serving.address);
  await second.send(get);
  assertEquals([...sessions], []);
  deciding[0]!.resolve(true);
  await first.readPreamble();
  const [letIn] = asked;
  assertEquals(seen, [[letIn!]]);
  assertEquals([...sessions], [letIn!]);
  assertStrictEquals(serving.server.sessions, sessions);
  deciding[1]!.resolve(false);
  await serving.logger.waitFor("info");
  assertEquals([...sessions], [letIn!]);
  const over = allOver(sessions);
  first.close();
  second.close();
  await over;
  assertEquals([...sessions], []);
});

Deno.test("a session that ends with a response is no longer listed while its end is awaited", async () => {
  await using serving = serve(() => [200, "OK", { connection: "close" }, null]);
  using peer = await RawPeer.connect(serving.address);
  await peer.send(get);
  await peer.readToEnd();
  assertEquals(serving.server.sessions.size, 0);
});

Deno.test("close() and shutdown() leave no session, over every kind of address", async () => {
  const kinds = endpointKinds.filter(({ available }) => available);
  await Promise.all(kinds.map(async (kind) => {
    for (const how of ["close", "shutdown"] as const) {
      await using endpoint = await kind.start(ok);
      const { server, client } = endpoint;
      using conn = await client.connect();
      await conn.get("/");
      assertEquals(server.sessions.size, 1, kind.name);
      await server[how]();
      assertEquals(server.sessions.size, 0, kind.name);
    }
  }));
});

Deno.test("the sessions of a server are read-only", async () => {
  await using serving = serve(ok);
  using conn = await serving.makeClient().connect();
  await conn.get("/");
  const { sessions } = serving.server;
  const loose = sessions as unknown as Record<string, unknown>;
  for (const name of ["add", "delete", "clear"]) assertEquals(loose[name], undefined);
  assertThrows(() => Set.prototype.clear.call(sessions), TypeError);
  sessions.forEach((one, same, set) => {
    assertStrictEquals(one, same);
    assertStrictEquals(set, sessions);
  });
  assertEquals(sessions.size, 1);
  assert(!(sessions instanceof Set));
  const [session] = sessions;
  const empty = new Set<Session>();
  assertEquals([...sessions.keys()], [session]);
  assertEquals([...sessions.values()], [session]);
  assertEquals([...sessions.entries()], [[session, session]]);
  assertEquals([...sessions.union(empty)], [session]);
  assertEquals([...sessions.intersection(empty)], []);
  assertEquals([...sessions.difference(empty)], [session]);
  assertEquals([...sessions.symmetricDifference(empty)], [session]);
  assert(sessions.isSupersetOf(empty) && sessions.isDisjointFrom(empty));
  assert(!sessions.isSubsetOf(empty));
  // A set that was made of it is the caller's own.
  sessions.union(empty).clear();
  assertEquals(sessions.size, 1);
  assert(Deno.inspect(sessions).includes("Session"), Deno.inspect(sessions));
});

Deno.test("all sessions can be closed in one loop over them", async () => {
  await using serving = serve(ok);
  const conns = await Promise.all([1, 2, 3].map(() => serving.makeClient().connect()));
  for (const conn of conns) await conn.get("/");
  assertEquals(serving.server.sessions.size, 3);
  let closed = 0;
  for (const session of serving.server.sessions) {
    session.close();
    closed++;
  }
  assertEquals([closed, serving.server.sessions.size], [3, 0]);
  for (const conn of conns) conn.close();
});

Deno.test("a server has the options that were passed, frozen", async () => {
  await using pki = await TempPKI.create();
  const given = { maxRequests: 7, timeout: null };
  await using plain = new Server(["127.0.0.1", 0], ok, given);
  await using secure = new SSLServer(pki.serverSslconfig, ["127.0.0.1", 0], ok, given);
  await secure.ready;
  for (const { options } of [plain, secure]) {
    assertEquals(options, { maxRequests: 7, timeout: null });
    assert(Object.isFrozen(options));
    assert((options as unknown) !== given);
  }
  given.maxRequests = 8;
  assertEquals(plain.options.maxRequests, 7);
  await using bare = new Server(["127.0.0.1", 0], ok);
  assertEquals(bare.options, {});
});
