/**
 * The arguments and connections of transfers: over a client, over a pool, and over a connection of
 * the caller.
 */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { BodyIter, EmptyPreambleError } from "@degu/degu/base";
import {
  Client,
  ConnectionPool,
  type ConnectionPoolOptions,
  isTimeout,
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
import { serveFilesApp } from "@degu/testing/transferring.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { toFileUrl } from "@std/path";

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

Deno.test("files and trees are transferred over every kind of requester", async (t) => {
  await using remoteDir = await createTempDir();
  await using localDir = await createTempDir();
  await using serving = serve(new FilesApp(remoteDir.path, { write: true, list: true }));
  await Deno.mkdir(`${localDir.path}/tree`);
  await Deno.writeTextFile(`${localDir.path}/tree/a`, "hello");
  using shapes = await makeRequesters(serving.makeClient());
  await testEachRow(t, shapes, async (name, target) => {
    // A path is an array of names, which are escaped, or a URI.
    const file = [name, "a b%?"];
    assertEquals(await makeDirectory(target, [name]), true);
    assertEquals(await makeDirectory(target, [name, ""]), false);
    assertEquals((await upload(target, `${localDir.path}/tree/a`, file)).bytes, 5);
    assertEquals(await Deno.readTextFile(`${remoteDir.path}/${file.join("/")}`), "hello");
    assertEquals((await remoteDigest(target, file)).slice(0, 8), "2cf24dba");
    assertEquals((await download(target, file, `${localDir.path}/copy of ${name}`)).bytes, 5);
    const tree = fileUri(name, "tree", "");
    assertEquals((await uploadTree(target, `${localDir.path}/tree`, tree)).files, 1);
    const entries = await Array.fromAsync(listDirectory(target, [name]));
    assertEquals(entries.map(({ name }) => name).toSorted(), ["a b%?", "tree"]);
    assertEquals((await Array.fromAsync(listTree(target, [name]))).length, 3);
    const copied = await downloadTree(target, [name, "tree"], `${localDir.path}/tree of ${name}`);
    assertEquals(copied.files, 1);
    await deleteEntry(target, file);
    assertEquals((await Array.fromAsync(listDirectory(target, [name, ""]))).length, 1);
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

Deno.test("a close without a response to an upload is transient", async (t) => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/a`, "hello");
  await using serving = serve((request, session) => {
    const partHeaders = { "upload-offset": "0", "file-stamp": "5,2020-02-29T12:34:56.789Z" };
    if (request.method === "HEAD") return [200, "OK", partHeaders, null];
    if (request.method === "GET") return [404, "Not Found", {}, ""];
    session.close();
    return [200, "OK", {}, null];
  });
  const client = serving.makeClient();
  const rows: [string, () => Promise<unknown>, boolean][] = [
    ["upload", () => upload(client, `${dir.path}/a`, "/a"), true],
    ["uploadTree", () => uploadTree(client, dir.path, "/"), true],
    ["deleteEntry", () => deleteEntry(client, "/a"), false],
  ];
  await testEachRow(t, rows, async (_name, call, expected) => {
    assertEquals(
      isTransient(await catchRejection(call(), "a transfer without an answer")),
      expected,
    );
  });
});

Deno.test("isTimeout is true for a time limit of a transfer, of its client or of its signal", async () => {
  await using dir = await createTempDir();
  await using silent = serve(() => new Promise(() => {}));
  const hasty = new Client(silent.address, { timeout: 0.05 });
  const patient = new Client(silent.address);
  const downloads = [
    () => download(hasty, "/a", `${dir.path}/a`),
    () => download(patient, "/a", `${dir.path}/b`, { signal: AbortSignal.timeout(50) }),
  ];
  for (const start of downloads) {
    assertEquals(isTimeout(await catchRejection(start(), "a download")), true);
  }
});

const serveWritable = () => serveFilesApp({ write: true, list: true });

Deno.test("file and dir accept file: URLs", async () => {
  await using files = await serveWritable();
  const { client, clientDir: localDir } = files;
  const url = (path: string) => toFileUrl(`${localDir}/${path}`);
  await Deno.mkdir(`${localDir}/a tree%41`);
  await Deno.writeTextFile(`${localDir}/a tree%41/ä #1`, "hello");
  assertEquals((await upload(client, url("a tree%41/ä #1"), ["a"])).bytes, 5);
  assertEquals((await download(client, ["a"], url("ö %20"))).bytes, 5);
  assertEquals(await Deno.readTextFile(`${localDir}/ö %20`), "hello");
  assertEquals((await uploadTree(client, url("a tree%41"), [])).files, 1);
  assertEquals((await downloadTree(client, [], url("copy"))).files, 2);
  assertEquals(await Deno.readTextFile(`${localDir}/copy/ä #1`), "hello");
});
