/** Traced apps and clients behave as those that they are made of, even if nothing collects traces. */
import { assert, assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { type Address, EmptyPreambleError, Response } from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { tracedApp, tracedClient } from "@degu/degu/otel";
import { type App, SSLServer } from "@degu/degu/server";
import { createFetch } from "@degu/degu";
import { type Attributes, INVALID_SPAN_CONTEXT, trace } from "npm:@opentelemetry/api@^1.9.0";
import { tempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";

/** The attributes of the spans that begin until it is disposed of. */
function recordSpans(): Attributes[] & Disposable {
  const recorded: Attributes[] = [];
  const span = trace.wrapSpanContext(INVALID_SPAN_CONTEXT);
  trace.setGlobalTracerProvider({
    getTracer: () => ({
      startSpan(_name, { attributes = {} } = {}) {
        recorded.push(attributes);
        return span;
      },
      startActiveSpan: () => assert(false),
    }),
  });
  return Object.assign(recorded, { [Symbol.dispose]: () => trace.disable() });
}

/** A client that has an answer for everything, without a server. */
class Answering extends Client {
  override request() {
    return Promise.resolve(new Response(204, "No Content", {}, null));
  }
}

Deno.test("a traced client is a Client, for requests, connections and fetch", async () => {
  await using serving = serve(() => [200, "OK", {}, new Uint8Array(3)]);
  const plain = serving.makeClient();
  const { request, connect } = plain;
  const client = tracedClient(plain);
  assertInstanceOf(client, Client);
  assertEquals([client.address, client.host], [plain.address, plain.host]);
  assertEquals((await (await client.request("GET", "/")).body?.bytes())?.length, 3);
  using connection = await client.connect();
  assertEquals((await (await connection.get("/")).body?.bytes())?.length, 3);
  assertEquals((await (await createFetch(client)("/a")).bytes()).length, 3);
  assert(plain.request === request && plain.connect === connect);
});

Deno.test("a traced client works over TLS", async () => {
  await using pki = await TempPKI.create();
  const app = () => [204, "No Content", {}, null] as const;
  await using server = new SSLServer(pki.serverSslconfig, ["127.0.0.1", 0], app);
  const serving = server.serveForever();
  await server.ready;
  const client = tracedClient(new SSLClient(pki.clientSslconfig, server.address));
  assertEquals((await client.request("GET", "/")).status, 204);
  await server.shutdown();
  await serving;
});

Deno.test("an invalid client is refused", () => {
  assertThrows(() => tracedClient(7 as unknown as Client), TypeError);
});

Deno.test("a span has the whole URL, without the query", async () => {
  using recorded = recordSpans();
  await using serving = serve(() => [200, "OK", {}, null]);
  const [, port] = serving.address as [string, number];
  const client = tracedClient(serving.makeClient({ host: "other" }));
  await client.request("GET", "/a/b?token=secret");
  using connection = await client.connect();
  await connection.get("/");
  const urls = recorded.map((attributes) => attributes["url.full"]);
  assertEquals(urls, [`http://127.0.0.1:${port}/a/b`, `http://127.0.0.1:${port}/`]);
});

Deno.test("the URL of a span has the host and the port that a browser would show", async () => {
  const rows: [Address, plain: string, tls: string][] = [
    [["camera.local", 80], "http://camera.local/a", "https://camera.local:80/a"],
    [["camera.local", 443], "http://camera.local:443/a", "https://camera.local/a"],
    [["::1", 8080, 0, 0], "http://[::1]:8080/a", "https://[::1]:8080/a"],
    [["fe80::1%eth0", 8080], "http://[fe80::1]:8080/a", "https://[fe80::1]:8080/a"],
  ];
  await using pki = await TempPKI.create();
  for (const [address, plain, tls] of rows) {
    using recorded = recordSpans();
    await tracedClient<Client>(new Answering(address)).request("GET", "/a");
    const client = new SSLClient(pki.clientSslconfig, address);
    await tracedClient(client).request("GET", "/a", {}, null, { signal: AbortSignal.abort() })
      .catch(() => {});
    assertEquals(recorded.map((attributes) => attributes["url.full"]), [plain, tls]);
  }
});

Deno.test("a span has no URL over a Unix socket, or if the request target is no path", async () => {
  await using dir = await tempDir();
  using recorded = recordSpans();
  const addresses: Address[] = [`${dir.path}/socket`];
  if (Deno.build.os === "linux") addresses.push(new Uint8Array());
  for (const address of addresses) {
    await using serving = serve(() => [200, "OK", {}, null], {}, address);
    await tracedClient(serving.makeClient()).request("GET", "/a");
  }
  await using serving = serve(() => [200, "OK", {}, null]);
  const client = tracedClient(serving.makeClient());
  await assertRejects(() => client.request("GET", "user:password@a"), RangeError);
  await assertRejects(() => client.request("GET", 7 as unknown as string), TypeError);
  assertEquals(recorded.length, addresses.length + 2);
  for (const attributes of recorded) assert(!("url.full" in attributes));
});

Deno.test("the onConnect of a traced app is kept, and can refuse", async () => {
  for (const accepted of [true, false]) {
    const app: App = { onConnect: () => accepted, handle: () => [204, "No Content", {}, null] };
    await using serving = serve(tracedApp(app));
    const answer = serving.makeClient().request("GET", "/");
    if (accepted) assertEquals((await answer).status, 204);
    else await assertRejects(() => answer, EmptyPreambleError);
  }
});

Deno.test("a traced app needs an app", () => {
  assertThrows(() => tracedApp(7 as unknown as App), TypeError);
});
