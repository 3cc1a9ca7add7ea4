/** A traced client works wherever a client does, and does not change the original. */
import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import { Client, SSLClient } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { tracedClient } from "@degu/degu/otel";
import { SSLServer } from "@degu/degu/server";
import { createFetch } from "@degu/degu/web";
import { serve } from "@degu/testing/serving.ts";

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
