/** Two copies of the package in one program: bodies, pools, proxies and files of both together. */
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import * as main from "@degu/degu";
import * as base from "@degu/degu/base";
import * as files from "@degu/files";
import { loadCopy } from "@degu/testing/copied_package.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { RawServer, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";

const copy = await loadCopy();
Deno.test.afterAll(async () => await copy[Symbol.asyncDispose]());
const original: typeof copy = { ...copy, ...base, ...files, ...main };

/** Registers a test with a step for each order of the copies. */
function testOrders(
  name: string,
  run: (first: typeof copy, second: typeof copy) => Promise<void>,
): void {
  const orders = [
    ["this copy first", original, copy],
    ["the other copy first", copy, original],
  ] as const;
  Deno.test(name, (t) => testEachRow(t, orders, (_name, first, second) => run(first, second)));
}

const longText = "long".repeat(50_000);

/** An app that answers with each kind of body, and echoes the bodies of requests. */
function makeApp({ Body, BodyIter, ChunkedBody, ChunkedBodyIter }: typeof copy): main.App {
  const bytes = () => new TextEncoder().encode(longText);
  const chunks = (): main.Chunk[] => [[["k", "v"], bytes()], [null, new Uint8Array(0)]];
  return async ({ path: [name], body }) => {
    if (name === "echo") return [200, "OK", {}, await body!.text()];
    const responseBody = {
      text: longText,
      body: new Body(new Blob([longText]).stream(), longText.length),
      iter: new BodyIter([bytes()], longText.length),
      chunks: new ChunkedBodyIter(chunks()),
      encoded: new ChunkedBody(new Blob(["5;k=v\r\nhello\r\n0\r\n\r\n"]).stream()),
      small: "small",
      empty: null,
    }[name!];
    return responseBody === undefined
      ? [404, "Not Found", {}, longText]
      : [200, "OK", {}, responseBody];
  };
}

const texts: Record<string, string> = {
  text: longText,
  body: longText,
  iter: longText,
  chunks: longText,
  encoded: "hello",
  small: "small",
  empty: "",
};

testOrders(
  "a server sends the bodies of another copy, and cancels unsent ones",
  async (first, second) => {
    await using server = await first.Server.start(["127.0.0.1", 0], makeApp(second));
    using conn = await new first.Client(server.address).connect();
    for (const [name, text] of Object.entries(texts)) {
      assertEquals(await (await conn.get(`/${name}`)).text(), text);
      assertEquals((await conn.head(`/${name}`)).status, 200);
    }
  },
);

testOrders(
  "a client sends the bodies of another copy once, and checks their length",
  async (first, second) => {
    await using server = await first.Server.start(["127.0.0.1", 0], makeApp(first));
    const client = new first.Client(server.address);
    const makeBody = (length: number) => new second.Body(new Blob(["hello"]).stream(), length);
    const body = makeBody(5);
    assertEquals(await (await client.put("/echo", {}, body)).text(), "hello");
    assert(body.used);
    await assertRejects(() => client.put("/echo", {}, body), Error, "used before");
    for (const length of [4, 6]) {
      await assertRejects(() => client.put("/echo", {}, makeBody(length)));
    }
    // An invalid request cancels the body, and doesn't read it.
    let reason: unknown;
    const unsentBody = new second.Body(
      new ReadableStream({ cancel: (cancelReason) => void (reason = cancelReason) }),
      5,
    );
    await assertRejects(() => client.put("no slash", {}, unsentBody));
    assertInstanceOf(reason, Error);
  },
);

testOrders(
  "a pool makes requests over the connections of another copy's client",
  async (first, second) => {
    await using server = await first.Server.start(["127.0.0.1", 0], makeApp(first));
    const client = new second.Client(server.address);
    for (const connector of [client, { connect: () => client.connect() }]) {
      await using pool = new first.ConnectionPool(connector, { maxConnections: 1 });
      for (const [name, text] of Object.entries(texts)) {
        const response = await pool.get(`/${name}`);
        if (response.body !== null) assertInstanceOf(response, first.Response);
        assertEquals(await response.text(), text);
      }
      assertEquals(await (await pool.post("/echo", {}, longText)).text(), longText);
      const body = new first.Body(new Blob([longText]).stream(), longText.length);
      assertEquals(await (await pool.put("/echo", {}, body)).text(), longText);
      assertEquals(server.sessions.size, 1);
      // Canceled and discarded responses free their connections.
      for (const name of ["text", "chunks", "text"]) {
        await (await pool.get(`/${name}`)).body!.cancel();
        await (await pool.get(`/${name}`)).discard();
      }
      const fetch = first.createFetch(pool);
      assertEquals(await (await fetch("/chunks")).text(), longText);
      const error = await assertRejects(() => first.expectOk(pool.get("/none")), first.StatusError);
      assertEquals([error.status, error.uri], [404, "/none"]);
    }
  },
);

const streamedBodies: Record<string, () => ReadableStream<Uint8Array> | AsyncIterable<string>> = {
  stream: () => new Blob([longText]).stream(),
  generator: async function* () {
    yield longText;
  },
};

testOrders(
  "a pool and fetch send streams over the connections of another copy's client once",
  async (first, second) => {
    await using server = await first.Server.start(["127.0.0.1", 0], makeApp(first));
    const client = new second.Client(server.address);
    for (const connector of [client, { connect: () => client.connect() }]) {
      await using pool = new first.ConnectionPool(connector, { maxConnections: 1 });
      const fetch = first.createFetch(pool);
      for (const makeBody of Object.values(streamedBodies)) {
        const body = makeBody();
        // The second request waits for the connection, and checks its body before.
        const requests = [body, makeBody()].map((sentBody) => pool.put("/echo", {}, sentBody));
        for (const request of requests) assertEquals(await (await request).text(), longText);
        await assertRejects(() => pool.put("/echo", {}, body), Error, "used before");
      }
      const body = new Blob([longText]).stream();
      assertEquals(await (await fetch("/echo", { method: "POST", body })).text(), longText);
    }
  },
);

testOrders(
  "a pool cancels the stream of a request that another copy's client doesn't send",
  async (first, second) => {
    await using server = await first.Server.start(["127.0.0.1", 0], makeApp(first));
    await using pool = new first.ConnectionPool(new second.Client(server.address));
    const reasons: unknown[] = [];
    const cancel = (reason: unknown) => void reasons.push(reason);
    const makeBody = () => new ReadableStream<Uint8Array>({ cancel });
    const { readable, writable } = new TransformStream();
    const controller = new AbortController();
    const request = pool.put("/echo", {}, readable, { signal: controller.signal });
    await writable.getWriter().write(new Uint8Array(1));
    controller.abort();
    await assertRejects(() => request, DOMException);
    await assertRejects(() => pool.put("no slash", {}, makeBody()), RangeError);
    await pool.close();
    await assertRejects(() => pool.put("/echo", {}, makeBody()), first.ConnectionClosedError);
    assertEquals(reasons.length, 2);
  },
);

testOrders(
  "a pool repeats a request over a stale connection of another copy's client",
  async (first, second) => {
    using server = new RawServer();
    await using pool = new first.ConnectionPool(new second.Client(server.address));
    const respond = () => server.respond("HTTP/1.1 204 No Content\r\n\r\n");
    const firstRequest = pool.get("/");
    const peer = await respond();
    await firstRequest;
    const secondRequest = pool.get("/");
    await peer.readPreamble();
    peer.close();
    await respond();
    assertEquals((await withTimeout(secondRequest, "a new connection")).status, 204);
  },
);

testOrders(
  "a proxy relays between a server and a client of different copies",
  async (first, second) => {
    await using upstream = await first.Server.start(["127.0.0.1", 0], makeApp(first));
    const clientOf = (pkg: typeof copy) => new pkg.Client(upstream.address);
    await using ownPool = new second.ConnectionPool(clientOf(second));
    await using foreignPool = new second.ConnectionPool(clientOf(first));
    const proxies: main.ProxyApp[] = [
      new first.ProxyApp(clientOf(second)),
      new second.ProxyApp(clientOf(first)),
      new second.ProxyApp(clientOf(second)),
      new first.ProxyApp(ownPool),
      new first.ProxyApp(foreignPool),
    ];
    for (const proxy of proxies) {
      await using server = await first.Server.start(["127.0.0.1", 0], proxy);
      using conn = await new first.Client(server.address).connect();
      for (const [name, text] of Object.entries(texts)) {
        assertEquals(await (await conn.get(`/${name}`)).text(), text);
      }
      const chunks = (await conn.get("/chunks")).body as base.ChunkedBody;
      assertEquals((await chunks.readChunk())[0], ["k", "v"]);
      await chunks.read();
      assertEquals(await (await conn.post("/echo", {}, longText)).text(), longText);
      const stream = new Blob([longText]).stream();
      assertEquals(await (await conn.post("/echo", {}, stream)).text(), longText);
    }
    for (const proxy of proxies) await proxy[Symbol.asyncDispose]();
  },
);

testOrders(
  "a response without framing closes the connection of another copy's client",
  async (first, second) => {
    using server = new RawServer();
    const client = new second.Client(server.address, { unframedNull: true });
    for (const connector of [client, { connect: () => client.connect() }]) {
      await using pool = new first.ConnectionPool(connector);
      const firstRequest = pool.get("/");
      const peer = await server.respond("HTTP/1.1 200 OK\r\n\r\n");
      assertEquals((await firstRequest).body, null);
      // These late bytes must not become the next response.
      await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil").catch(() => {});
      const secondRequest = pool.get("/");
      const nextPeer = await withTimeout(server.accept(), "a new connection");
      await nextPeer.respond("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood");
      assertEquals(await (await secondRequest).text(), "good");
    }
    const connectionPromise = client.connect();
    const peer = await server.accept();
    using connection = await connectionPromise;
    const callProxy = first.createFetch(connection)("/");
    await peer.respond("HTTP/1.1 200 OK\r\n\r\n");
    await callProxy;
    assert(connection.closed);
  },
);

testOrders("files and trees are transferred between the copies", async (first, second) => {
  await using dir = await createTempDir();
  await Deno.mkdir(`${dir.path}/source/d`, { recursive: true });
  await Deno.mkdir(`${dir.path}/served`);
  await Deno.writeTextFile(`${dir.path}/source/d/long`, longText);
  for (let i = 0; i < 5; i++) await Deno.writeTextFile(`${dir.path}/source/${i}`, `${i}`);
  const app = new second.FilesApp(`${dir.path}/served`, { write: true, list: true });
  await using server = await first.Server.start(["127.0.0.1", 0], app);
  const pairs = [[first, second], [second, first]] as const;
  for (const [pairIndex, [clientPackage, transferPackage]] of pairs.entries()) {
    const { upload, download, uploadTree, downloadTree } = transferPackage;
    const client = new clientPackage.Client(server.address);
    const connector = { connect: (options: object) => client.connect(options) };
    for (const [clientIndex, requester] of [client, connector].entries()) {
      const index = 2 * pairIndex + clientIndex;
      const uri = `/${index}/`;
      const target = `${dir.path}/target`;
      await uploadTree(requester, `${dir.path}/source`, uri);
      await downloadTree(requester, uri, target);
      assertEquals(await Deno.readTextFile(`${target}/d/long`), longText);
      assertEquals(await Deno.readTextFile(`${target}/4`), "4");
      await upload(requester, `${target}/d/long`, `${uri}file`, { replace: true });
      await download(requester, `${uri}file`, `${dir.path}/copy`, { replace: true });
      assertEquals(await Deno.readTextFile(`${dir.path}/copy`), longText);
      await Deno.remove(`${dir.path}/copy`);
      await Deno.remove(target, { recursive: true });
    }
  }
  await using pool = new second.ConnectionPool(new second.Client(server.address));
  await first.download(pool, "/0/file", `${dir.path}/copy`);
  assertEquals(await Deno.readTextFile(`${dir.path}/copy`), longText);
});
