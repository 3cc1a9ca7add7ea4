/** Connections that routes to a client leave for later ones; trees and the program use them. */
import { assertEquals, assertRejects } from "@std/assert";
import { BodyIter, EmptyPreambleError } from "@degu/degu/base";
import { Client, type Connection } from "@degu/degu/client";
import { deleteFile, isTransient, makeDirectory, StatusError } from "@degu/degu/files";
import type { AppFunction, Session } from "@degu/degu/server";
import { keepConnections, Route } from "@degu/internal/kit/files/transfer/route.ts";
import { aborted } from "@degu/testing/aborts.ts";
import { type RawPeer, RawServer, within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

/** A signal that closes the connections of a client at the end of its block. */
function stopAtEnd() {
  const stop = new AbortController();
  return { signal: stop.signal, [Symbol.dispose]: () => stop.abort() };
}

/** A server that counts its sessions, and a client whose connections are kept. */
function setUp(handle: AppFunction = () => [204, "No Content", {}, null]) {
  const sessions: Session[] = [];
  const onConnect = (session: Session) => sessions.push(session) > 0;
  const serving = serve({ handle, onConnect });
  const stop = new AbortController();
  const client = serving.makeClient({ signal: stop.signal });
  keepConnections(client);
  return {
    sessions,
    client,
    stop,
    /** Makes requests over as many routes at a time. */
    ask: (routes: number) =>
      Promise.all(Array.from({ length: routes }, async () => {
        using route = new Route("from", client);
        return (await route.request("GET", "/", {})).status;
      })),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await serving[Symbol.asyncDispose]();
    },
  };
}

Deno.test("routes that follow each other share a connection, simultaneous ones don't", async () => {
  await using test = setUp();
  {
    using twice = new Route("from", test.client);
    await twice.request("GET", "/", {});
    twice[Symbol.dispose]();
  }
  for (let i = 0; i < 3; i++) assertEquals(await test.ask(1), [204]);
  assertEquals(test.sessions.length, 1);
  for (let i = 0; i < 3; i++) assertEquals(await test.ask(4), [204, 204, 204, 204]);
  assertEquals(test.sessions.length, 4);
});

Deno.test("where the server has closed all that were kept, a request is made once more, over a new connection", async () => {
  await using test = setUp();
  await test.ask(3);
  for (const session of test.sessions.splice(0)) session.close();
  assertEquals(await test.ask(1), [204]);
  assertEquals(test.sessions.length, 1);
});

Deno.test("a request is made once more at most, and not after a new connection has failed", async () => {
  using server = new RawServer();
  let connections = 0;
  using stop = stopAtEnd();
  const { signal } = stop;
  const client = new Client(server.address, { signal, onConnect: () => ++connections > 0 });
  keepConnections(client);
  const ask = async () => {
    using route = new Route("from", client);
    return await route.request("GET", "/", {});
  };
  const asked = async (peer: RawPeer) => {
    await peer.readPreamble();
    return peer;
  };
  const hangsUp = async (peer: Promise<RawPeer>) => (await asked(await peer)).close();
  await Promise.all([hangsUp(server.accept()), assertRejects(ask, EmptyPreambleError)]);
  assertEquals(connections, 1);

  const answering = server.accept().then(asked);
  const answered = ask();
  const peer = await answering;
  await peer.send("HTTP/1.1 204 No Content\r\n\r\n");
  await answered;
  const again = assertRejects(ask, EmptyPreambleError);
  await hangsUp(Promise.resolve(peer));
  await hangsUp(server.accept());
  await again;
  assertEquals(connections, 3);
});

Deno.test("a directory that was perhaps made, or a file that was perhaps deleted, is transient for a client whose connections are kept alone", async () => {
  using server = new RawServer();
  using stop = stopAtEnd();
  for (const isKept of [false, true]) {
    const client = new Client(server.address, { signal: stop.signal });
    if (isKept) keepConnections(client);
    for (const call of [() => makeDirectory(client, ["a", ""]), () => deleteFile(client, ["a"])]) {
      const rejected = assertRejects(call, EmptyPreambleError);
      if (`${call}`.includes("deleteFile")) {
        // It asks first what is there.
        const asked = await server.accept();
        await asked.readPreamble();
        await asked.send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
        asked.close();
      }
      const peer = await server.accept();
      await peer.readPreamble();
      peer.close();
      assertEquals(isTransient(await rejected), isKept);
    }
  }
});

Deno.test("the body of an answer that says enough without it leaves a connection of the caller free", async () => {
  await using serving = serve(({ method }) => {
    const reason = method === "PUT" ? "Created" : "OK";
    return [method === "PUT" ? 201 : 200, reason, {}, new BodyIter([new Uint8Array(5)], 5)];
  });
  using conn = await serving.makeClient().connect();
  assertEquals(await makeDirectory(conn, ["a", ""]), true);
  await assertRejects(() => deleteFile(conn, ["a"]), StatusError, "200");
  assertEquals((await conn.get("/")).status, 200);
});

Deno.test("a kept connection that this end has closed is not used", async () => {
  const opened: Connection[] = [];
  await using serving = serve(() => [204, "No Content", {}, null]);
  using stop = stopAtEnd();
  const onConnect = (connection: Connection) => opened.push(connection) > 0;
  const client = serving.makeClient({ signal: stop.signal, onConnect });
  keepConnections(client);
  for (let i = 0; i < 2; i++) {
    using route = new Route("from", client);
    assertEquals((await route.request("GET", "/", {})).status, 204);
    route[Symbol.dispose]();
    opened[i]!.close();
  }
  assertEquals(opened.length, 2);
});

Deno.test("a connection whose last response was not read is closed, not kept", async () => {
  const body = () => new BodyIter([new Uint8Array(5)], 5);
  await using test = setUp(() => [200, "OK", {}, body()]);
  await test.ask(1);
  await test.ask(1);
  assertEquals(test.sessions.length, 2);
});

Deno.test("connections are kept until the signal of their client closes them", async () => {
  await using test = setUp();
  await test.ask(2);
  assertEquals(test.sessions.map(({ signal }) => signal.aborted), [false, false]);
  test.stop.abort();
  for (const { signal } of test.sessions) await within(aborted(signal), "the session ends");
});
