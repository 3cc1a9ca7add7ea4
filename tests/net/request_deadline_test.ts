/** The deadline of a request: what it bounds, what ends it, and what it leaves alone. */
import { assertEquals, assertRejects } from "@std/assert";
import { isTransient, retry } from "@degu/degu";
import { Body } from "@degu/degu/base";
import { Client, ConnectionPool, type RequestOptions, SSLClient } from "@degu/degu/client";
import { deleteFile, listDirectory, listTree, makeDirectory, remoteDigest } from "@degu/degu/files";
import { stopClock } from "@degu/testing/clock.ts";
import { connect } from "@degu/testing/connected.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { RawServer, within } from "@degu/testing/raw_peer.ts";
import { eachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";

const { TimedOut } = Deno.errors;
/** Short, since it is to pass. */
const short: RequestOptions = { deadline: 0.03 };
/** A deadline that is not to pass; a timer that it leaves behind fails the test. */
const ample: RequestOptions = { deadline: 1000 };

const open = { timeout: null };

Deno.test("a deadline bounds connecting, waiting in a pool, the response and its body", async (t) => {
  using server = new RawServer();
  const client = new Client(server.address, open);
  const tls = new SSLClient({}, server.address, { ...open, sslHost: "a" });
  const silent = { connect: () => client.connect() };
  await using pool = new ConnectionPool(silent, { max: 1 });
  await using full = new ConnectionPool(client, { max: 1 });
  const held = rejectionOf(full.request("GET", "/held"), "a request of a closed pool");
  using conn = await client.connect();
  const rows: [string, () => Promise<unknown>][] = [
    ["the handshake", () => tls.request("GET", "/", {}, null, short)],
    ["a client's response", () => client.request("GET", "/", {}, null, short)],
    ["a pool's response", () => pool.request("GET", "/", {}, null, short)],
    ["waiting in a pool", () => full.request("GET", "/", {}, null, short)],
    ["a connection's response", () => conn.get("/", {}, short)],
  ];
  await eachRow(t, rows, async (name, call) => {
    const error = await within(rejectionOf(call(), name), `${name} rejects`);
    assertEquals((error as Error).constructor, TimedOut);
    assertEquals((error as Error).message, "the request took over 0.03 s");
    assertEquals(isTransient(error), true);
  });
  assertEquals(conn.closed, true);
  await full.close();
  await held;
});

Deno.test("a deadline bounds the body of the response, and closes its connection, read or unread", async () => {
  for (const isRead of [true, false]) {
    using ends = await connect(open);
    const { conn, peer } = ends;
    using clock = stopClock();
    const asked = conn.get("/", {}, short);
    await peer.readPreamble();
    await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
    const { body } = await asked;
    clock.pass(1);
    if (!isRead) await peer.assertClosedSilently();
    await assertRejects(() => body!.bytes(), TimedOut, "over 0.03 s");
    assertEquals(conn.closed, true);
  }
});

Deno.test("a deadline bounds the body that is sent, which is canceled", async () => {
  using ends = await connect(open);
  const canceled = Promise.withResolvers<unknown>();
  const source = new ReadableStream<Uint8Array>({ cancel: canceled.resolve }, { highWaterMark: 0 });
  const asked = ends.conn.put("/", {}, new Body(source, 5), short);
  await assertRejects(() => asked, TimedOut);
  assertEquals((await canceled.promise as Error).constructor, TimedOut);
});

Deno.test("a request that is over in time leaves no timer, and its connection stays usable", async () => {
  await using serving = serve(({ uri }) => [200, "OK", {}, uri === "/null" ? null : uri]);
  const client = serving.makeClient();
  using conn = await client.connect();
  await using pool = new ConnectionPool(client);
  for (const target of [client, conn, pool]) {
    for (const uri of ["/null", "/a"]) {
      const response = await target.request("GET", uri, {}, null, ample);
      assertEquals(await response.text(), uri === "/null" ? "" : uri);
    }
    await (await target.request("GET", "/a", {}, null, ample)).discard();
    await assertRejects(() => target.request("GET", "no slash", {}, null, ample), RangeError);
  }
  await conn.getRange("/null", {}, 0, 1, ample);
  assertEquals(conn.closed, false);
});

Deno.test("a deadline of months does not end at once", async () => {
  await using serving = serve(() => [200, "OK", {}, "hello"]);
  const options = { deadline: 1e8 };
  const response = await serving.makeClient().request("GET", "/", {}, null, options);
  assertEquals(await response.text(), "hello");
});

Deno.test("of a signal and a deadline the first one counts", async () => {
  using server = new RawServer();
  const client = new Client(server.address, open);
  const signal = AbortSignal.timeout(10);
  const options = { signal, ...ample };
  await assertRejects(() => client.request("GET", "/", {}, null, options), DOMException);
  const { signal: later } = new AbortController();
  const other = { signal: later, ...short };
  await assertRejects(() => client.request("GET", "/", {}, null, other), TimedOut);
});

Deno.test("each attempt of a retry has the whole deadline", async () => {
  await using serving = serve(() =>
    calls < 3 ? new Promise<never>(() => {}) : [200, "OK", {}, null]
  );
  const client = serving.makeClient();
  let calls = 0;
  const { status } = await retry(() => {
    calls++;
    return client.request("GET", "/", {}, null, calls < 3 ? short : ample);
  }, { seconds: 0 });
  assertEquals([status, calls], [200, 3]);
});

Deno.test("the deadline of a call with several requests bounds them all", async (t) => {
  await using serving = serve(() => new Promise<never>(() => {}));
  const client = serving.makeClient(open);
  const rows: [string, (options: RequestOptions) => Promise<unknown>][] = [
    ["remoteDigest", (options) => remoteDigest(client, "/a", options)],
    ["makeDirectory", (options) => makeDirectory(client, "/a/", options)],
    ["deleteFile", (options) => deleteFile(client, "/a", options)],
    ["listDirectory", (options) => Array.fromAsync(listDirectory(client, "/a/", options))],
    ["listTree", (options) => Array.fromAsync(listTree(client, "/a/", options))],
  ];
  await eachRow(t, rows, async (_name, call) => {
    await assertRejects(() => call(short), TimedOut, "over 0.03 s");
    const wrong = () => call({ deadline: -1 });
    await assertRejects(async () => await wrong(), RangeError, "deadline: must be");
  });
});

Deno.test("a wrong deadline is refused, and the body of the request canceled", async () => {
  await using serving = serve(() => [200, "OK", {}, null]);
  const client = serving.makeClient();
  using conn = await client.connect();
  await using pool = new ConnectionPool(client);
  for (const target of [client, conn, pool]) {
    const wrong: [unknown, typeof TypeError | typeof RangeError][] = [
      [0, RangeError],
      [-1, RangeError],
      [NaN, RangeError],
      [Infinity, RangeError],
      ["1", TypeError],
      [null, TypeError],
    ];
    for (const [deadline, Class] of wrong) {
      let canceled = false;
      const body = new Body(new ReadableStream({ cancel: () => void (canceled = true) }), 5);
      const options = { deadline } as RequestOptions;
      const asked = () => target.request("PUT", "/", {}, body, options);
      await assertRejects(asked, Class, "deadline: must be a number of seconds");
      assertEquals(canceled, true, `${deadline}`);
    }
  }
  const options = { deadline: 1 };
  await assertRejects(() => client.connect(options as never), TypeError, "unknown option");
  await assertRejects(() => client.createSocket(options as never), TypeError, "unknown option");
});
