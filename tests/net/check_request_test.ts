/** The checks of requests before a requester connects, or waits for a connection. */
import {
  Client,
  ConnectionPool,
  type Connector,
  createFetch,
  type Requester,
  type Socket,
  SSLClient,
} from "@degu/degu";
import {
  BodyError,
  BodyIter,
  type BodyOut,
  type HeadersToSend,
  type Method,
} from "@degu/degu/base";
import { catchRejection } from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { openSharedPki } from "@degu/testing/tls_endpoints.ts";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";

type ErrorClass = new (...args: never[]) => Error;
type Arguments = [method: Method, uri: string, headers?: HeadersToSend, body?: BodyOut];

const used = new BodyIter([], 0);
await used.cancel();

const INVALID: readonly [label: string, Arguments, ErrorClass][] = [
  ["a method", ["PATCH" as Method, "/"], RangeError],
  ["a URI", ["GET", "a"], RangeError],
  ["a header's name", ["GET", "/", { A: "b" }], RangeError],
  ["a header's value", ["GET", "/", { a: "b\n" }], RangeError],
  ["headers that are too long", ["GET", "/", { a: "b".repeat(32768) }], RangeError],
  ["a body with GET", ["GET", "/", {}, "body"], RangeError],
  [
    "a wrong content-length",
    ["PUT", "/", { "content-length": 5 }, "body"],
    RangeError,
  ],
  ["a body that was used", ["PUT", "/", {}, used], BodyError],
  ["no body", ["PUT", "/", {}, 5 as unknown as BodyOut], TypeError],
];

/** Counts the attempts to connect. */
class CountingClient extends Client {
  count = 0;

  override createSocket(...args: Parameters<Client["createSocket"]>): Promise<Socket> {
    this.count++;
    return super.createSocket(...args);
  }
}

Deno.test("a request with an invalid part is rejected before anything is connected", async (t) => {
  await using serving = serve(() => [200, "OK", {}, new Uint8Array(200_000)]);
  const tls = new SSLClient((await openSharedPki()).clientSslconfig, ["127.0.0.1", 1]);
  const client = new CountingClient(serving.address);
  await using pool = new ConnectionPool(client);
  await using fullPool = new ConnectionPool(new Client(serving.address), { maxConnections: 1 });
  const unread = await fullPool.get("/");
  const requesters: Record<string, Requester> = { client, pool, full: fullPool, tls };
  await testEachRow(t, INVALID, async (label, [method, uri, headers = {}, body = null], Class) => {
    for (const [name, requester] of Object.entries(requesters)) {
      const requesting = requester.request(method, uri, headers, body);
      assertInstanceOf(await catchRejection(requesting, label), Class, name);
    }
    assertEquals(client.count, 0);
  });
  await unread.discard();
});

Deno.test("createFetch doesn't connect for a request that can't be sent", async () => {
  let connections = 0;
  const connector: Connector = {
    connect() {
      connections++;
      throw new Error("unwanted");
    },
  };
  const client = new CountingClient(["127.0.0.1", 1]);
  for (const target of [connector, client, new ConnectionPool(client)]) {
    const error = await catchRejection(createFetch(target)("/", { method: "PATCH" }), "PATCH");
    assert(error instanceof TypeError && error.cause instanceof RangeError, String(error));
  }
  assertEquals([connections, client.count], [0, 0]);
});

Deno.test("the body of a request with an invalid part is canceled", async () => {
  const client = new CountingClient(["127.0.0.1", 1]);
  await using pool = new ConnectionPool(client);
  for (const requester of [client, pool]) {
    const { promise, resolve } = Promise.withResolvers<unknown>();
    const stream = new ReadableStream<Uint8Array>({ cancel: resolve });
    const error = await catchRejection(requester.put("a", {}, stream), "a URI");
    assertEquals(await promise, error);
  }
});
