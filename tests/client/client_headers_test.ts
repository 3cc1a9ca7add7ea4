/** `headers` of a client: what is sent with every request, and what is refused. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { type HeaderDict, Range } from "@degu/degu/base";
import { Client, type ClientOptions, SSLClient } from "@degu/degu/client";
import { createFetch } from "@degu/degu";
import { connect } from "@degu/testing/connected.ts";
import { assertRangeError, assertTypeError, constructWith } from "@degu/testing/expectations.ts";
import { RawServer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

const address = ["127.0.0.1", 8080] as const;

Deno.test("baseHeaders are sent with every request, override the caller's, and accompany host and authorization", async () => {
  const headers = { "user-agent": "camera", "x-kind": "base" };
  using ends = await connect({ headers, host: "h", authorization: "a" });
  const { conn, peer } = ends;
  assertEquals(conn.baseHeaders, { ...headers, host: "h", authorization: "a" });
  assert(Object.isFrozen(conn.baseHeaders));
  const caller = { "accept": "b", "x-kind": "caller" };
  for (const method of ["get", "head", "delete"] as const) {
    const responding = conn[method]("/", caller);
    assertEquals(
      await peer.readPreamble(),
      `${method.toUpperCase()} / HTTP/1.1\r\naccept: b\r\nauthorization: a\r\nhost: h\r\n` +
        "user-agent: camera\r\nx-kind: base\r\n\r\n",
    );
    await peer.send("HTTP/1.1 200 OK\r\n\r\n");
    await responding;
  }
  assertEquals(caller, { "accept": "b", "x-kind": "caller" });
});

Deno.test("baseHeaders are the only ones sent if there is no host", async () => {
  using ends = await connect({ headers: { a: "b" } });
  const responding = ends.conn.get("/");
  assertEquals(await ends.peer.readPreamble(), "GET / HTTP/1.1\r\na: b\r\n\r\n");
  await ends.peer.send("HTTP/1.1 200 OK\r\n\r\n");
  await responding;
  using plain = await connect({ headers: {} });
  assertEquals(plain.conn.baseHeaders, null);
});

Deno.test("baseHeaders are sent with one-shot requests and with those of fetch", async () => {
  const seen: HeaderDict[] = [];
  await using serving = serve(({ headers }) => {
    seen.push({ ...headers });
    return [200, "OK", {}, null];
  });
  const client = serving.makeClient({ headers: { "x-kind": "base" }, host: null });
  await client.request("GET", "/", { "x-kind": "caller" });
  await createFetch(client)("/", { headers: { "x-kind": "caller" } });
  assertEquals(seen.map((headers) => headers["x-kind"]), ["base", "base"]);
});

Deno.test("baseHeaders are validated when the client is constructed", () => {
  const wrongTypes: readonly unknown[] = [
    null,
    "a: b",
    [],
    new Headers(),
    new Map([["a", "b"]]),
    { a: 1 },
    { a: null },
    { a: undefined },
    { a: ["b"] },
  ];
  const wrongValues: readonly HeaderDict[] = [
    { A: "b" },
    { "": "b" },
    { "a b": "c" },
    { ["a".repeat(33)]: "b" },
    { a: "" },
    { a: "b\r\nc: d" },
    { a: "\u00e4" },
    { a: "b".repeat(32768) },
    { a: "x".repeat(20000), b: "x".repeat(20000) },
  ];
  for (const Class of [Client, SSLClient]) {
    const make = (headers: unknown) =>
      Class === Client
        ? constructWith(Client, address, { headers })
        : constructWith(SSLClient, {}, address, { headers });
    for (const headers of wrongTypes) assertTypeError(() => make(headers), Deno.inspect(headers));
    for (const headers of wrongValues) assertRangeError(() => make(headers), Deno.inspect(headers));
  }
});

Deno.test("baseHeaders can't contain a header that has its own option or describes a single message", () => {
  const elsewhere: readonly (readonly [HeaderDict, string])[] = [
    [{ host: "a" }, "option host"],
    [{ authorization: "secret" }, "option authorization"],
    [{ "content-length": 5 }, "one message"],
    [{ "transfer-encoding": "chunked" }, "one message"],
    [{ range: new Range(0, 5) }, "one message"],
    [{ "content-range": "bytes 0-4/5" }, "one message"],
  ];
  for (const [headers, why] of elsewhere) {
    const error = assertThrows(() => new Client(address, { headers }), RangeError, why);
    assert(!error.message.includes("secret"), error.message);
  }
});

Deno.test("baseHeaders are copied when the client is constructed", async () => {
  using server = new RawServer();
  const headers: HeaderDict = { a: "b" };
  const options: ClientOptions = { headers, host: null };
  const client = new Client(server.address, options);
  headers["a"] = "changed";
  headers["c"] = "added";
  assertEquals(client.options.headers, { a: "b" });
  assert(Object.isFrozen(client.options.headers));
  const responding = client.request("GET", "/");
  const peer = await server.accept();
  assertEquals(await peer.readPreamble(), "GET / HTTP/1.1\r\na: b\r\n\r\n");
  await peer.send("HTTP/1.1 200 OK\r\n\r\n");
  await responding;
});
