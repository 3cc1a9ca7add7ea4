/** Where the requests of a fetch are sent. */
import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { Client, type Connection, SSLClient } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { routeOf } from "@degu/internal/web/exchange.ts";
import { serve } from "@degu/testing/serving.ts";
import { tempDir } from "@degu/testing/directories.ts";

const ok = () => [200, "OK", {}, null] as const;

Deno.test("the base of a client's URLs is its host, with the scheme of its class", async () => {
  await using pki = await TempPKI.create();
  const rows: [Client, string][] = [
    [new Client(["127.0.0.1", 8080]), "http://127.0.0.1:8080/"],
    [new Client(["a.example", 80]), "http://a.example/"],
    [new Client(["::1", 8080]), "http://[::1]:8080/"],
    [new Client(["127.0.0.1", 8080], { host: "b.example" }), "http://b.example/"],
    [new Client(["127.0.0.1", 8080], { host: null }), "http://localhost/"],
    [new Client("/a/socket"), "http://localhost/"],
    [new SSLClient(pki.clientSslconfig, ["127.0.0.1", 8443]), "https://127.0.0.1:8443/"],
  ];
  for (const [client, base] of rows) assertEquals(routeOf(client).base.href, base);
});

Deno.test("a URL determines the host only if the address has none", () => {
  const rows: [Client, boolean][] = [
    [new Client(["127.0.0.1", 8080]), false],
    [new Client(["127.0.0.1", 8080], { host: null }), false],
    [new Client("/a/socket"), true],
    [new Client(new TextEncoder().encode("\0name")), true],
    [new Client("/a/socket", { host: "a" }), false],
  ];
  for (const [client, isUnnamed] of rows) assertEquals(routeOf(client).isUnnamed, isUnnamed);
});

Deno.test("a client's signal aborts its requests, and its connections are not kept", () => {
  const { signal } = new AbortController();
  const route = routeOf(new Client(["127.0.0.1", 1], { signal }));
  assertStrictEquals(route.signal, signal);
  assertEquals(route.kept, false);
});

Deno.test("a connection is kept, and its base is the host that it sends", async () => {
  await using directory = await tempDir();
  for (const path of [undefined, `${directory.path}/socket`]) {
    await using serving = serve(ok, {}, path);
    using conn = await new Client(serving.address).connect();
    const { base, kept, isUnnamed, host, signal } = routeOf(conn);
    assertEquals([kept, isUnnamed, signal], [true, path !== undefined, undefined]);
    const port = path === undefined ? `:${(serving.address as [string, number])[1]}` : null;
    assertEquals(host, port === null ? null : `127.0.0.1${port}`);
    assertEquals(base.href, port === null ? "http://localhost/" : `http://127.0.0.1${port}/`);
  }
});

Deno.test("a value that is neither a client nor a connection is a TypeError", () => {
  const wrong = [undefined, null, 1, "http://a/", {}, { request() {} }, { close() {} }, Client];
  for (const target of wrong) {
    assertThrows(() => routeOf(target as unknown as Connection), TypeError, "client: ");
  }
});
