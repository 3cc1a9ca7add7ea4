/** fromFetchHandler: how a handler sees a request, and how its response is sent. */
import { assertEquals } from "@std/assert";
import { type Chunk, ChunkedBodyIter, type PeerCertificate } from "@degu/degu/base";
import { mkreq } from "@degu/degu/misc";
import { Session } from "@degu/degu/server";
import { type FetchHandler, fromFetchHandler } from "@degu/degu";
import { api } from "@degu/testing/calling.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { exchange, serveHandler, slowStream } from "@degu/testing/web_serving.ts";

const encoder = new TextEncoder();

Deno.test("the handler gets method, URL and headers", async () => {
  const seen: unknown[] = [];
  await using serving = serveHandler((request) => {
    seen.push([request.method, request.url, Object.fromEntries(request.headers), request.body]);
    return new Response("hello");
  });
  await exchange(
    serving,
    "GET /a/b?c=%20&d HTTP/1.1\r\nHost: device.local:8080\r\nX-Thing: One: Two\r\n" +
      "Range: bytes=2-4\r\n\r\n",
  );
  const headers = { host: "device.local:8080", range: "bytes=2-4", "x-thing": "One: Two" };
  assertEquals(seen, [["GET", "http://device.local:8080/a/b?c=%20&d", headers, null]]);
});

Deno.test("the origin of the URL is that of the host header, or of the option", async (t) => {
  const rows: [host: string | null, origin: string | undefined, expected: string][] = [
    ["device.local", undefined, "http://device.local/a"],
    ["127.0.0.1:5984", undefined, "http://127.0.0.1:5984/a"],
    ["[fe80::1]", undefined, "http://[fe80::1]/a"],
    ["[fe80::1]:8080", undefined, "http://[fe80::1]:8080/a"],
    [null, undefined, "http://localhost/a"],
    ["ignored", "https://device.local:8443", "https://device.local:8443/a"],
    ["not a host", "http://device.local/", "http://device.local/a"],
  ];
  for (const [host, origin, expected] of rows) {
    await t.step(`${host} with ${origin}`, async () => {
      const options = origin === undefined ? {} : { origin };
      await using serving = serveHandler((request) => new Response(request.url), options);
      const line = host === null ? "" : `host: ${host}\r\n`;
      const { body } = await exchange(serving, `GET /a HTTP/1.1\r\n${line}\r\n`);
      assertEquals(body, expected);
    });
  }
});

Deno.test("a request without a URL of its own is answered with 400", async (t) => {
  const rows: [uri: string, host: string][] = [
    ["/a", "a/b"],
    ["/a", "a/.."],
    ["/a", "a?b"],
    ["/a", "a b"],
    ["/a", "user:password"],
    ["/a", "[fe80::1"],
    ["/a", "a:99999"],
    ["/a", "1.2.3.999"],
    ["/.", "a"],
    ["/a/./b", "a"],
    ["/a/.?b", "a"],
  ];
  await using serving = serveHandler(() => new Response("never"));
  for (const [uri, host] of rows) {
    await t.step(`${uri} at ${host}`, async () => {
      const request = `GET ${uri} HTTP/1.1\r\nhost: ${host}\r\n\r\n`;
      const { preamble, body } = await exchange(serving, request);
      assertEquals(preamble + body, "HTTP/1.1 400 Bad Request\r\n\r\n");
    });
  }
});

Deno.test("paths and queries reach the handler unchanged", async () => {
  await using serving = serveHandler(({ url }) => Response.json(url.slice("http://h".length)));
  using conn = await serving.makeClient({ host: "h" }).connect();
  for (const uri of ["/", "/a/", "/...", "/.a/b.", "/a?", "/?=&%zz%41+~", "/a:b+c_~-", "/a?.."]) {
    assertEquals(await (await conn.get(uri)).body?.json(), uri);
  }
});

Deno.test("behind a router the URL does not contain what the router has consumed", async () => {
  const app = fromFetchHandler((request, info) =>
    Response.json([request.url, info.request.mount, info.request.uri])
  );
  await using serving = serve((request, session, api) => {
    request.shiftPath();
    return app(request, session, api);
  });
  const client = serving.makeClient({ host: "h" });
  const response = await client.request("GET", "/mounted/a/b?c");
  const expected = ["http://h/a/b?c", ["mounted"], "/mounted/a/b?c"];
  assertEquals(await response.body?.json(), expected);
});

Deno.test("the handler gets information about the peer", async (t) => {
  const handler: FetchHandler = (_request, { session, remoteAddr }) => {
    const count = (session.store.get("count") as number | undefined ?? 0) + 1;
    session.store.set("count", count);
    return Response.json({ remoteAddr, count, address: session.address });
  };
  await t.step("over TCP", async () => {
    await using serving = serveHandler(handler);
    using conn = await serving.makeClient().connect();
    const { hostname, port } = conn.sock.localAddr as Deno.NetAddr;
    for (const count of [1, 2]) {
      const answer = await (await conn.get("/")).body?.json();
      const remoteAddr = { transport: "tcp", hostname, port };
      assertEquals(answer, { remoteAddr, count, address: [hostname, port] });
    }
  });
  await t.step("over a Unix socket", async () => {
    await using dir = await tempDir();
    await using serving = serve(fromFetchHandler(handler), {}, `${dir.path}/socket`);
    const answer = await (await serving.makeClient().request("GET", "/")).body?.json();
    const remoteAddr = { transport: "unix", path: "" };
    assertEquals(answer, { remoteAddr, count: 1, address: null });
  });
});

Deno.test("an object with a method fetch is a handler", async () => {
  const worker = {
    greeting: "hello",
    fetch() {
      return new Response(this.greeting);
    },
  };
  await using serving = serveHandler(worker);
  const response = await serving.makeClient().request("GET", "/");
  assertEquals(await response.body?.text(), "hello");
});

Deno.test("the body of a request arrives whole, whatever its framing", async () => {
  await using serving = serveHandler(async (request) => {
    const bytes = await request.bytes();
    return Response.json([bytes.length, bytes.reduce((sum, byte) => sum + byte, 0)]);
  });
  using conn = await serving.makeClient().connect();
  const bytes = Uint8Array.from({ length: 300_000 }, (_, i) => i % 251);
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  const chunks = function* (): Iterable<Chunk> {
    yield [null, bytes.subarray(0, 7)];
    yield [["key", "value"], bytes.subarray(7, 200_000)];
    yield [null, bytes.subarray(200_000)];
    yield [null, new Uint8Array(0)];
  };
  for (const method of ["PUT", "POST"] as const) {
    const whole = await conn.request(method, "/", {}, bytes);
    assertEquals(await whole.body?.json(), [bytes.length, sum]);
    const chunked = await conn.request(method, "/", {}, new ChunkedBodyIter(chunks()));
    assertEquals(await chunked.body?.json(), [bytes.length, sum]);
  }
});

Deno.test("a request without a body and one of length 0 have none", async () => {
  await using serving = serveHandler(async (request) =>
    Response.json([request.body, request.headers.get("content-length"), await request.text()])
  );
  using conn = await serving.makeClient().connect();
  assertEquals(await (await conn.get("/")).body?.json(), [null, null, ""]);
  assertEquals(await (await conn.post("/", {}, null)).body?.json(), [null, null, ""]);
  const empty = await conn.post("/", {}, new Uint8Array(0));
  assertEquals(await empty.body?.json(), [null, "0", ""]);
});

Deno.test("the body of a request can be read by a reader with its own buffer", async () => {
  await using serving = serveHandler(async (request) => {
    const reader = request.body!.getReader({ mode: "byob" });
    const lengths: number[] = [];
    let buffer = new ArrayBuffer(3);
    for (;;) {
      const { done, value } = await reader.read(new Uint8Array(buffer));
      if (done) return Response.json(lengths);
      lengths.push(value.length);
      buffer = value.buffer;
    }
  });
  using conn = await serving.makeClient().connect();
  const bytes = encoder.encode("12345678");
  const chunks: Chunk[] = [[null, bytes], [null, new Uint8Array(0)]];
  for (const body of [bytes, new ChunkedBodyIter(chunks)]) {
    assertEquals(await (await conn.post("/", {}, body)).body?.json(), [3, 3, 2]);
  }
});

Deno.test("several requests over one connection are kept apart", async () => {
  await using serving = serveHandler(async (request) =>
    new Response(await request.text(), { headers: { "x-url": new URL(request.url).pathname } })
  );
  using conn = await serving.makeClient().connect();
  for (let i = 0; i < 20; i++) {
    const { headers, body } = await conn.put(`/${i}`, {}, encoder.encode(`body ${i}`));
    assertEquals([headers["x-url"], await body?.text()], [`/${i}`, `body ${i}`]);
  }
  assertEquals(serving.logger.at("error"), []);
});

Deno.test("the URL is https for a peer with a certificate", async () => {
  const certificate: PeerCertificate = {
    subject: "CN=device",
    issuer: "CN=authority",
    subjectAltNames: [],
    fingerprint256: "AB:CD",
    publicKey256: "12:34",
    authority: null,
    validFrom: new Date(0),
    validTo: new Date(1),
    raw: new Uint8Array(1),
  };
  const app = fromFetchHandler((request) => new Response(request.url));
  const urls = [];
  for (const peer of [certificate, null]) {
    const session = new Session("[fe80::1%3]:2", ["fe80::1", 2, 0, 3], 10, peer);
    const response = await app(mkreq("GET", "/a", { host: "device.local" }), session, api);
    urls.push(new TextDecoder().decode([...response][3] as Uint8Array));
  }
  assertEquals(urls, ["https://device.local/a", "http://device.local/a"]);
});

Deno.test("Deno's own fetch sends requests to a handler, repeatedly over one connection", async () => {
  await using serving = serveHandler(async (request, { session }) => {
    if (request.method === "DELETE") return new Response(null);
    return new Response(`${session.requests} ${await request.text()}`);
  });
  const [host, port] = serving.address as [string, number];
  using client = Deno.createHttpClient({ poolMaxIdlePerHost: 1 });
  const ask = async (init: RequestInit) =>
    await (await fetch(`http://${host}:${port}/`, { ...init, client })).text();
  assertEquals(await ask({}), "0 ");
  assertEquals(await ask({ method: "POST", body: "hello" }), "1 hello");
  assertEquals(await ask({ method: "PUT", body: slowStream("a", "b") }), "2 ab");
  // Without a length the client would wait for the end of the connection.
  assertEquals(await ask({ method: "DELETE" }), "");
  assertEquals(await ask({}), "4 ");
  assertEquals(serving.logger.at("error"), []);
});
