/**
 * The connections of transfers: over a client, over a pool, and over a connection of the caller.
 */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { bodies, Body, BodyIter, EmptyPreambleError } from "@degu/degu/base";
import {
  Client,
  type Connection,
  ConnectionPool,
  type ConnectionPoolOptions,
  isTransient,
} from "@degu/degu/client";
import {
  deleteEntry,
  download,
  downloadTree,
  FilesApp,
  fileUri,
  listDirectory,
  listTree,
  makeDirectory,
  remoteDigest,
  StatusError,
  TransferError,
  upload,
  uploadTree,
} from "@degu/files";
import type { AppFunction, Session } from "@degu/degu/server";
import { TransferClient } from "@degu/internal/files/transfer/client.ts";
import { waitForAbort } from "@degu/testing/aborts.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { type RawPeer, RawServer, withTimeout } from "@degu/testing/raw_peer.ts";
import { makeRequesters } from "@degu/testing/requesters.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";

/** A server that counts its sessions, and a pool of connections to it. */
function setUp(
  handle: AppFunction = () => [204, "No Content", {}, null],
  options: ConnectionPoolOptions = {},
) {
  const sessions: Session[] = [];
  const onConnect = (session: Session) => sessions.push(session) > 0;
  const serving = serve({ handle, onConnect });
  const client = serving.makeClient();
  const pool = new ConnectionPool(client, options);
  return {
    sessions,
    client,
    pool,
    /** Makes requests over this many simultaneous clients. */
    ask: (clients: number) =>
      Promise.all(Array.from({ length: clients }, async () => {
        using client = new TransferClient("from", pool, {});
        return (await client.request("GET", "/", {})).status;
      })),
    async [Symbol.asyncDispose]() {
      await pool.close();
      await serving[Symbol.asyncDispose]();
    },
  };
}

Deno.test("an object whose connect is no function makes requests itself", async () => {
  await using test = setUp();
  const requester = {
    connect: undefined,
    request: (...args: Parameters<Client["request"]>) => test.client.request(...args),
  };
  using client = new TransferClient("from", requester, {});
  assertEquals((await client.request("GET", "/", {})).status, 204);
});

Deno.test("a transfer uses the standard bodies if a client has body classes of its own", async () => {
  await using dir = await createTempDir();
  await using served = await createTempDir();
  await Deno.writeTextFile(`${served.path}/a`, "text");
  await using serving = serve(new FilesApp(served.path));
  let count = 0;
  class CountedBody extends Body {
    constructor(...args: ConstructorParameters<typeof Body>) {
      super(...args);
      count++;
    }
  }
  const client = serving.makeClient({ bodies: { ...bodies, Body: CountedBody } });
  await download(client, "/a", `${dir.path}/copy`);
  assertEquals([await Deno.readTextFile(`${dir.path}/copy`), count], ["text", 0]);
  await (await client.get("/a")).discard();
  assertEquals(count, 1);
});

Deno.test("sequential transfers over a pool share a connection, and simultaneous ones don't", async () => {
  await using test = setUp();
  {
    using transferClient = new TransferClient("from", test.pool, {});
    await transferClient.request("GET", "/", {});
    transferClient[Symbol.dispose]();
  }
  for (let i = 0; i < 3; i++) assertEquals(await test.ask(1), [204]);
  assertEquals(test.sessions.length, 1);
  for (let i = 0; i < 3; i++) assertEquals(await test.ask(4), [204, 204, 204, 204]);
  assertEquals(test.sessions.length, 4);
});

Deno.test("a request is repeated over a new connection if the server has closed all connections of a pool", async () => {
  await using test = setUp();
  await test.ask(3);
  for (const session of test.sessions.splice(0)) session.close();
  assertEquals(await test.ask(1), [204]);
  assertEquals(test.sessions.length, 1);
});

Deno.test("a request is repeated at most once, and not after a new connection has failed", async () => {
  using server = new RawServer();
  let connections = 0;
  const client = new Client(server.address, { onConnect: () => ++connections > 0 });
  await using pool = new ConnectionPool(client);
  const request = async () => {
    using client = new TransferClient("from", pool, {});
    return await client.request("GET", "/", {});
  };
  const receiveRequest = async (peer: RawPeer) => {
    await peer.readPreamble();
    return peer;
  };
  const closeAfterRequest = async (peer: Promise<RawPeer>) =>
    (await receiveRequest(await peer)).close();
  await Promise.all([
    closeAfterRequest(server.accept()),
    assertRejects(request, EmptyPreambleError),
  ]);
  assertEquals(connections, 1);

  const answering = server.accept().then(receiveRequest);
  const responsePromise = request();
  const peer = await answering;
  await peer.send("HTTP/1.1 204 No Content\r\n\r\n");
  await responsePromise;
  const secondAttempt = assertRejects(request, EmptyPreambleError);
  await closeAfterRequest(Promise.resolve(peer));
  await closeAfterRequest(server.accept());
  await secondAttempt;
  assertEquals(connections, 3);
});

const STAMP = "5,2020-02-29T12:34:56.789Z";

Deno.test("a lost response to makeDirectory or deleteEntry is transient only over a pool that repeats every request", async () => {
  using server = new RawServer();
  const client = new Client(server.address);
  await using pool = new ConnectionPool(client);
  await using repeating = new ConnectionPool(client, { repeat: "any" });
  for (const connector of [client, pool, repeating]) {
    for (
      const call of [() => makeDirectory(connector, ["a", ""]), () => deleteEntry(connector, ["a"])]
    ) {
      const rejected = assertRejects(call, EmptyPreambleError);
      if (`${call}`.includes("deleteEntry")) {
        // The client first requests the file's stamp.
        const headPeer = await server.accept();
        await headPeer.readPreamble();
        await headPeer.send(
          `HTTP/1.1 200 OK\r\nconnection: close\r\nfile-stamp: ${STAMP}\r\ncontent-length: 0\r\n\r\n`,
        );
        headPeer.close();
      }
      const peer = await server.accept();
      await peer.readPreamble();
      peer.close();
      assertEquals(isTransient(await rejected), connector === repeating);
    }
  }
});

Deno.test("an unneeded response body leaves a connection of the caller usable", async () => {
  await using serving = serve(({ method }) => {
    const reason = method === "PUT" ? "Created" : "OK";
    const headers = { "file-stamp": STAMP };
    return [method === "PUT" ? 201 : 200, reason, headers, new BodyIter([new Uint8Array(5)], 5)];
  });
  using conn = await serving.makeClient().connect();
  assertEquals(await makeDirectory(conn, ["a", ""]), true);
  await assertRejects(() => deleteEntry(conn, ["a"]), StatusError, "200");
  assertEquals((await conn.get("/")).status, 200);
});

Deno.test("a transfer doesn't use a pool's connection that the client has closed", async () => {
  const openedConnections: Connection[] = [];
  await using serving = serve(() => [204, "No Content", {}, null]);
  const onConnect = (connection: Connection) => openedConnections.push(connection) > 0;
  await using pool = new ConnectionPool(serving.makeClient({ onConnect }));
  for (let i = 0; i < 2; i++) {
    using client = new TransferClient("from", pool, {});
    assertEquals((await client.request("GET", "/", {})).status, 204);
    openedConnections[i]!.close();
  }
  assertEquals(openedConnections.length, 2);
});

Deno.test("a connection whose last response was not read is closed, and frees its slot in a pool", async () => {
  // More bytes than a pool reads at once.
  const body = () => new BodyIter([new Uint8Array(100_000)], 100_000);
  await using test = setUp(() => [200, "OK", {}, body()], { maxConnections: 1 });
  await withTimeout(test.ask(1), "the first");
  await withTimeout(test.ask(1), "the second");
  assertEquals(test.sessions.length, 2);
  using client = new TransferClient("from", test.pool, {});
  for (let i = 0; i < 2; i++) {
    await withTimeout(client.request("GET", "/", {}), "over the same client");
  }
  assertEquals(test.sessions.length, 4);
});

Deno.test("a transfer over a client closes its connection at the end, and one over a pool leaves it open", async () => {
  await using test = setUp();
  for (const target of [test.client, test.pool]) {
    {
      using client = new TransferClient("from", target, {});
      for (let i = 0; i < 2; i++) await client.request("GET", "/", {});
    }
  }
  const [clientSession, pooled] = test.sessions;
  await withTimeout(waitForAbort(clientSession!.signal), "the session of the client ends");
  assertEquals([test.sessions.length, pooled!.signal.aborted], [2, false]);
});

Deno.test("a transfer over a pool identifies the server like one over a client, and can reconnect", async () => {
  await using test = setUp();
  using overClient = new TransferClient("from", test.client, {});
  using overPool = new TransferClient("from", test.pool, {});
  const peer = await overPool.identifyServer();
  assertEquals([peer, overPool.canReconnect], [await overClient.identifyServer(), true]);
  assertMatch(`${peer}`, /^address /);
  await overPool.request("GET", "/", {});
  assertEquals(test.sessions.length, 2);
});

Deno.test("files and trees are transferred over every kind of requester", async (t) => {
  await using remoteDir = await createTempDir();
  await using localDir = await createTempDir();
  await using serving = serve(new FilesApp(remoteDir.path, { write: true, list: true }));
  await Deno.mkdir(`${localDir.path}/tree`);
  await Deno.writeTextFile(`${localDir.path}/tree/a`, "hello");
  using shapes = await makeRequesters(serving.makeClient());
  await testEachRow(t, shapes, async (name, target) => {
    const makeUri = (...names: string[]) => fileUri(name, ...names);
    assertEquals(await makeDirectory(target, makeUri("")), true);
    assertEquals((await upload(target, `${localDir.path}/tree/a`, makeUri("a"))).bytes, 5);
    assertEquals((await remoteDigest(target, makeUri("a"))).slice(0, 8), "2cf24dba");
    assertEquals(
      (await download(target, makeUri("a"), `${localDir.path}/copy of ${name}`)).bytes,
      5,
    );
    assertEquals((await uploadTree(target, `${localDir.path}/tree`, makeUri("tree", ""))).files, 1);
    const entries = await Array.fromAsync(listDirectory(target, makeUri("")));
    assertEquals(entries.map(({ name }) => name).toSorted(), ["a", "tree"]);
    assertEquals((await Array.fromAsync(listTree(target, makeUri("")))).length, 3);
    const copied = await downloadTree(
      target,
      makeUri("tree", ""),
      `${localDir.path}/tree of ${name}`,
    );
    assertEquals(copied.files, 1);
    await deleteEntry(target, makeUri("a"));
  });
});

Deno.test("transfers refuse a response that only the end of the connection ends", async (t) => {
  await using dir = await createTempDir();
  const etag = 'etag: "1"\r\n';
  const list = "content-type: application/json\r\n";
  const rows: Record<string, [lines: string, transfer: (client: Client) => Promise<unknown>]> = {
    "download": [etag, (client) => download(client, "/a", `${dir.path}/a`)],
    "downloadTree": [list, (client) => downloadTree(client, "/", `${dir.path}/tree`)],
    "listDirectory": [list, (client) => Array.fromAsync(listDirectory(client, "/"))],
    "listTree": [list, (client) => Array.fromAsync(listTree(client, "/"))],
  };
  await testEachRow(t, Object.entries(rows), async (_label, [lines, transfer]) => {
    using server = new RawServer();
    const failed = assertRejects(
      async () => await transfer(new Client(server.address)),
      TransferError,
    );
    const peer = await server.respond(`HTTP/1.1 200 OK\r\n${lines}\r\n[]`);
    peer.close();
    const error = await failed;
    assertEquals(error.code, "UNEXPECTED_RESPONSE");
    assertMatch(error.message, /only the end of the connection ends the response/);
  });
});
