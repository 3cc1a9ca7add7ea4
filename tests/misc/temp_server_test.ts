/** Servers in workers: what they run, what is transferred, what fails, and that they end. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type Address, buildUri, ChunkedBody, makeOutputFromInput } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { TempServer } from "@degu/degu/misc";
import { type AppFunction, Server } from "@degu/degu/server";
import { tempDir } from "@degu/testing/directories.ts";
import { hasIPv6 } from "@degu/testing/endpoints.ts";
import { listenAgain } from "@degu/testing/ports.ts";
import { turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const anywhere: Address = ["127.0.0.1", 0];

const apps = import.meta.resolve("../../tests/support/temp_apps.ts");

const uselessApp = () => [200, "OK", { hello: "world" }, null] as const;

Deno.test(
  "the tutorial: an app, and a reverse proxy to it over IPv6",
  { ignore: !hasIPv6 },
  async () => {
    await using server = await TempServer.start(anywhere, null, uselessApp);
    const response = await new Client(server.address).request("GET", "/");
    const shown = 'Response(status=200, reason="OK", headers={ hello: "world" }, body=null)';
    assertEquals(Deno.inspect(response), shown);
    const build = { module: apps, name: "buildProxyApp" };
    await using proxy = await TempServer.start(["::1", 0, 0, 0], build, server.address);
    const client = new Client(proxy.address);
    assertEquals(Deno.inspect(await client.request("GET", "/")), shown);
    assertEquals(buildUri([], null), "/");
    assertEquals(makeOutputFromInput(null), null);
  },
);

Deno.test("it runs on every kind of address, and its address is final", async () => {
  await using directory = await tempDir();
  const addresses: readonly Address[] = [
    anywhere,
    ...(hasIPv6 ? [["::1", 0] as const, ["::1", 0, 0, 0] as const] : []),
    `${directory.path}/socket`,
    new TextEncoder().encode(`\0degu-test-${crypto.randomUUID()}`),
    new Uint8Array(0),
  ];
  await Promise.all(addresses.map(async (address) => {
    const server = await TempServer.start(address, null, uselessApp);
    assertEquals((await new Client(server.address).request("GET", "/")).status, 200);
    await server.close();
    (await listenAgain(() => new Server(server.address, uselessApp))).close();
  }));
  await assertRejects(() => Deno.lstat(`${directory.path}/socket`), Deno.errors.NotFound);
});

Deno.test("functions in any form are transferred as source", async () => {
  async function declared() {
    await Promise.resolve();
    return [201, "Created", {}, null] as const;
  }
  const forms: readonly (readonly [AppFunction, number])[] = [
    [declared, 201],
    [() => [202, "Accepted", {}, null], 202],
    [async () => await Promise.resolve([203, "xx", {}, null] as const), 203],
    [function () {
      return [205, "xx", {}, null];
    }, 205],
    [({ path }, session, api) => {
      const body = new api.BodyIter([new TextEncoder().encode(`${path}${session.requests}`)], 4);
      return [206, "xx", {}, body];
    }, 206],
  ];
  await Promise.all(forms.map(async ([app, status]) => {
    await using server = await TempServer.start(anywhere, null, app);
    const response = await new Client(server.address).request("GET", "/foo");
    await response.body?.read();
    assertEquals(response.status, status);
  }));
});

Deno.test("a build function gets its arguments, may be asynchronous, and may return an object", async () => {
  const build = async (status: number, headers: Record<string, string>, bytes: Uint8Array) => {
    await Promise.resolve();
    return {
      handle: () => [status, "As told", headers, bytes] as const,
      onConnect: () => true,
    };
  };
  await using server = await TempServer.start(anywhere, build, 210, { a: "b" }, latin1("hello"));
  const { status, headers, body } = await new Client(server.address).request("GET", "/");
  assertEquals([status, headers["a"], await body?.text()], [210, "b", "hello"]);
});

Deno.test("an export of a module is transferred by name, as a string or URL", async () => {
  for (const module of [apps, new URL(apps)]) {
    await using app = await TempServer.start(anywhere, null, { module, name: "echo" });
    const { body } = await new Client(app.address).request("POST", "/", {}, latin1("hello"));
    assertEquals(await body?.text(), "hello");
    await using built = await TempServer.start(anywhere, { module, name: "build" }, 211);
    assertEquals((await new Client(built.address).request("GET", "/")).status, 211);
  }
});

Deno.test("the options of the server are transferred with the address", async () => {
  const place = { address: anywhere, options: { maxRequests: 2, timeout: 5, maxConnections: 3 } };
  await using server = await TempServer.start(place, null, uselessApp);
  using conn = await new Client(server.address).connect();
  await conn.get("/");
  await conn.get("/");
  await assertRejects(() => conn.get("/"));
  await assertRejects(
    () => TempServer.start({ address: anywhere, options: { maxRequests: 0 } }, null, uselessApp),
    RangeError,
    "maxRequests",
  );
});

Deno.test("functions among the options reject start() with the option's name", async () => {
  for (const [name, value] of Object.entries({ logger: console, onExchange: () => null })) {
    const target = { address: anywhere, options: { [name]: value } };
    await assertRejects(
      () => Reflect.apply(TempServer.start, TempServer, [target, null, uselessApp]),
      TypeError,
      `options.${name}: functions can't cross into a worker`,
    );
  }
});

Deno.test("an address that is in use rejects start() with AddrInUse", async () => {
  await using server = await TempServer.start(anywhere, null, uselessApp);
  await assertRejects(
    () => TempServer.start(server.address, null, uselessApp),
    Deno.errors.AddrInUse,
  );
  await using directory = await tempDir();
  const file = `${directory.path}/file`;
  await Deno.writeTextFile(file, "precious");
  await assertRejects(() => TempServer.start(file, null, uselessApp), Deno.errors.AddrInUse);
  assertEquals(await Deno.readTextFile(file), "precious");
});

Deno.test("close() is idempotent, ends connections, and frees the address", async () => {
  const server = await TempServer.start(anywhere, null, uselessApp);
  using conn = await new Client(server.address).connect();
  await conn.get("/");
  await Promise.all([server.close(), server.close()]);
  await server[Symbol.asyncDispose]();
  (await listenAgain(() => new Server(server.address, uselessApp))).close();
  await assertRejects(() => conn.get("/"));
});

Deno.test("close() waits for a busy app, but not for one that never answers", async () => {
  const never: AppFunction = () => new Promise(() => {});
  const busy: AppFunction = () => {
    const start = performance.now();
    while (performance.now() - start < 400);
    return [200, "OK", {}, null];
  };
  for (const app of [never, busy]) {
    const server = await TempServer.start(anywhere, null, app);
    using conn = await new Client(server.address).connect();
    const error = conn.get("/").catch(() => {});
    for (let i = 0; i < 3; i++) await turnOfEventLoop();
    await within(server.close(), "close() resolves");
    (await listenAgain(() => new Server(server.address, uselessApp))).close();
    await error;
  }
});

Deno.test("two servers in workers exchange messages, including chunk extensions", async () => {
  await using server = await TempServer.start(anywhere, null, { module: apps, name: "echo" });
  const build = { module: apps, name: "buildProxyApp" };
  await using proxy = await TempServer.start(anywhere, build, server.address);
  using conn = await new Client(proxy.address).connect();
  const { ChunkedBodyIter } = conn.bodies;
  const sent = [[["k", "v"], latin1("hello")], [null, latin1("world")], [
    ["z", "0"],
    latin1(""),
  ]] as const;
  const { body } = await conn.post("/a?b", { "x-y": "z" }, new ChunkedBodyIter(sent));
  assert(body instanceof ChunkedBody);
  const received = await Array.fromAsync(body);
  assertEquals<unknown>(received, sent);
  assertThrows(() => new Server(proxy.address, uselessApp), Deno.errors.AddrInUse);
});
