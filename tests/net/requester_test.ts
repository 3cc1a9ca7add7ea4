/**
 * Requesters and connectors are recognized by their methods: wrappers work like the wrapped
 * objects.
 */
import { assertEquals, assertRejects } from "@std/assert";
import { createFetch, ProxyApp } from "@degu/degu";
import { bodies, Range, type Response } from "@degu/degu/base";
import { type Connection, ConnectionPool, type Requester } from "@degu/degu/client";
import { waitForAbort } from "@degu/testing/aborts.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeRequesters, WrappedClient } from "@degu/testing/requesters.ts";

Deno.test("createFetch accepts every kind of requester, and follows redirects over it", async (t) => {
  await using serving = serve(async ({ uri, body }) => {
    if (uri === "/moved") return [302, "Found", { location: "/there" }, "moved"];
    return [200, "OK", {}, await body?.text() ?? uri];
  });
  using shapes = await makeRequesters(serving.makeClient());
  await testEachRow(t, shapes, async (_name, target) => {
    const fetch = createFetch(target);
    for (let i = 0; i < 3; i++) {
      const posted = await fetch("/a", { method: "POST", body: "hello" });
      assertEquals(await posted.text(), "hello");
    }
    assertEquals(await (await fetch("/moved")).text(), "/there");
  });
});

Deno.test("ProxyApp connects if it can, and keeps the connection; otherwise it relays each request", async () => {
  await using upstream = serve(async ({ uri, body }) => [200, "OK", { uri }, await body!.text()]);
  const wrapped = new WrappedClient(upstream.makeClient());
  const requester: Requester = {
    request: (method, uri, headers = {}, body = null) => {
      return wrapped.request(method, uri, headers, body);
    },
  };
  for (const [target, expected] of [[wrapped, 1], [requester, 0]] as const) {
    wrapped.connections = 0;
    await using proxy = serve(new ProxyApp(target));
    using conn = await proxy.makeClient().connect();
    for (let i = 0; i < 3; i++) {
      const response = await conn.put("/a?b", {}, "hello");
      assertEquals([response.headers["uri"], await response.text()], ["/a?b", "hello"]);
    }
    assertEquals(wrapped.connections, expected);
  }
});

Deno.test("ProxyApp aborts a request of a requester without connections when its client leaves", async () => {
  const requestSignal = Promise.withResolvers<AbortSignal>();
  const target: Requester = {
    request: (_method, _uri, _headers, _body, options) => {
      requestSignal.resolve(options!.signal!);
      return waitForAbort(options!.signal!).then((reason) => Promise.reject(reason));
    },
  };
  await using proxy = serve(new ProxyApp(target));
  const conn = await proxy.makeClient().connect();
  const rejection = assertRejects(() => conn.get("/"));
  const signal = await requestSignal.promise;
  conn.close();
  await rejection;
  await withTimeout(waitForAbort(signal), "the request is aborted");
});

Deno.test("get, head, delete, put and post of a client and a pool work as on a connection", async () => {
  await using serving = serve(async ({ method, uri, headers, body }) => {
    const text = body === null ? "none" : await body.text();
    return [200, "OK", { said: `${method} ${uri} ${headers["x-a"]} ${text}` }, null];
  });
  const client = serving.makeClient();
  using conn = await client.connect();
  await using pool = new ConnectionPool(client);
  const abortedOptions = { signal: AbortSignal.abort(new Error("enough")) };
  for (const target of [client, conn, pool]) {
    const readSaid = async (responding: Promise<Response>) => (await responding).headers["said"];
    for (const method of ["get", "head", "delete"] as const) {
      const name = method.toUpperCase();
      assertEquals(await readSaid(target[method]("/a")), `${name} /a undefined none`);
      assertEquals(await readSaid(target[method]("/a", { "x-a": "b" })), `${name} /a b none`);
      await assertRejects(() => target[method]("/a", {}, abortedOptions), Error, "enough");
    }
    for (const method of ["put", "post"] as const) {
      const name = method.toUpperCase();
      assertEquals(await readSaid(target[method]("/a")), `${name} /a undefined none`);
      assertEquals(
        await readSaid(target[method]("/a", { "x-a": "b" }, "hello")),
        `${name} /a b hello`,
      );
      await assertRejects(() => target[method]("/a", {}, "hello", abortedOptions), Error, "enough");
    }
  }
});

Deno.test("getRange of a client and a pool works as on a connection", async () => {
  await using serving = serve(({ method, headers }) => {
    return [200, "OK", { said: `${method} ${headers.range} ${headers["x-a"]}` }, null];
  });
  const client = serving.makeClient();
  using conn = await client.connect();
  await using pool = new ConnectionPool(client);
  const abortedOptions = { signal: AbortSignal.abort(new Error("enough")) };
  for (const target of [client, conn, pool]) {
    const { headers } = await target.getRange("/", { "x-a": "b" }, 2, 5);
    assertEquals(headers["said"], "GET bytes=2-4 b");
    await assertRejects(() => target.getRange("/", {}, 2, 5, abortedOptions), Error, "enough");
    await assertRejects(() => target.getRange("/", {}, 5, 2), RangeError);
    const otherOptions = { range: new Range(0, 1) };
    await assertRejects(
      () => target.getRange("/", otherOptions, 2, 5),
      RangeError,
      'headers["range"]',
    );
  }
  assertEquals(pool.inUse, 0);
});

Deno.test("connect takes its options first, or after the classes of bodies", async () => {
  await using serving = serve(() => [200, "OK", {}, "hello"]);
  const client = serving.makeClient();
  class OtherBody extends bodies.Body {}
  const otherBodies = { ...bodies, Body: OtherBody };
  const { signal } = new AbortController();
  const rows: [() => Promise<Connection>, boolean][] = [
    [() => client.connect(), false],
    [() => client.connect({ signal, bodies: undefined }), false],
    [() => client.connect(undefined, { signal }), false],
    [() => client.connect(null, { signal }), false],
    [() => serving.makeClient({ bodies: null }).connect(), false],
    [() => client.connect({ signal, bodies: otherBodies }), true],
    [() => client.connect(otherBodies), true],
    [() => client.connect(otherBodies, { signal }), true],
  ];
  for (const [connect, usesOtherBody] of rows) {
    using conn = await connect();
    const { body } = await conn.get("/");
    assertEquals(body instanceof OtherBody, usesOtherBody, `${connect}`);
    await body?.read();
  }
});
