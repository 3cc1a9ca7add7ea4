/** fromFetchHandler: what a handler sees of a request, and what becomes of its response. */
import { assert, assertEquals } from "@std/assert";
import { type Chunk, ChunkedBodyIter, type PeerCertificate } from "@degu/degu/base";
import { mkreq } from "@degu/degu/misc";
import { Session } from "@degu/degu/server";
import { type FetchHandler, fromFetchHandler } from "@degu/degu/web";
import { api } from "@degu/testing/calling.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { TrackedStream } from "@degu/testing/streams.ts";
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

Deno.test("the origin of the URL is that of the host header, or the option's", async (t) => {
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

Deno.test("a request that has no URL of its own is answered with 400", async (t) => {
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

Deno.test("paths and queries reach the handler letter by letter", async () => {
  await using serving = serveHandler(({ url }) => Response.json(url.slice("http://h".length)));
  using conn = await serving.makeClient({ host: "h" }).connect();
  for (const uri of ["/", "/a/", "/...", "/.a/b.", "/a?", "/?=&%zz%41+~", "/a:b+c_~-", "/a?.."]) {
    assertEquals(await (await conn.get(uri)).body?.json(), uri);
  }
});

Deno.test("behind a router the URL is without what the router has consumed", async () => {
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

Deno.test("the handler learns who is asking", async (t) => {
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

Deno.test("a reader with memory of its own can read the body of a request", async () => {
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

Deno.test("a response keeps status, headers and body", async (t) => {
  const headers = { "content-type": "text/plain", "x-thing": "a, b" };
  const rows: [name: string, make: () => Response, expected: string][] = [
    [
      "text",
      () => new Response("hello", { headers }),
      "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-type: text/plain\r\nx-thing: a, b\r\n\r\nhello",
    ],
    [
      "a reason of its own",
      () => new Response("a", { status: 201, statusText: "Made It 2", headers }),
      "HTTP/1.1 201 Made It 2\r\ncontent-length: 1\r\ncontent-type: text/plain\r\nx-thing: a, b\r\n\r\na",
    ],
    [
      "an empty text",
      () => new Response("", { headers: { "content-type": "a" } }),
      "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-type: a\r\n\r\n",
    ],
    ["no body", () => new Response(null), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"],
    [
      "no body, with its length",
      () => new Response(null, { headers: { "content-length": "0" } }),
      "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ],
    ["204", () => new Response(null, { status: 204 }), "HTTP/1.1 204 No Content\r\n\r\n"],
    [
      "205",
      () => new Response(null, { status: 205 }),
      "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n",
    ],
    [
      "304 with the length of what it does not carry",
      () => new Response(null, { status: 304, headers: { "content-length": "99", etag: '"a"' } }),
      'HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\netag: "a"\r\n\r\n',
    ],
    [
      "a status that nobody has registered",
      () => new Response(null, { status: 299 }),
      "HTTP/1.1 299 Unknown\r\ncontent-length: 0\r\n\r\n",
    ],
    [
      "a stream",
      () => new Response(slowStream("hello", ", world")),
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n",
    ],
    [
      "a stream of known length",
      () => new Response(slowStream("hello", ", world"), { headers: { "content-length": "12" } }),
      "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nhello, world",
    ],
    [
      "text that is to be chunked",
      () =>
        new Response("hello", { headers: { "transfer-encoding": "chunked", "content-type": "a" } }),
      "HTTP/1.1 200 OK\r\ncontent-type: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
    [
      "a part",
      () =>
        new Response("cde", {
          status: 206,
          headers: { "content-range": "bytes 2-4/10", "content-type": "a" },
        }),
      "HTTP/1.1 206 Partial Content\r\ncontent-length: 3\r\ncontent-range: bytes 2-4/10\r\n" +
      "content-type: a\r\n\r\ncde",
    ],
    [
      "a coding, which is left alone",
      () => new Response("zip", { headers: { "content-encoding": "gzip", "content-type": "a" } }),
      "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\ncontent-type: a\r\n\r\nzip",
    ],
    [
      "a redirect",
      () => new Response(null, { status: 303, headers: { location: "/elsewhere?a" } }),
      "HTTP/1.1 303 See Other\r\ncontent-length: 0\r\nlocation: /elsewhere?a\r\n\r\n",
    ],
    [
      "one cookie",
      () => new Response(null, { headers: { "Set-Cookie": "a=b; Path=/" } }),
      "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nset-cookie: a=b; Path=/\r\n\r\n",
    ],
  ];
  for (const [name, make, expected] of rows) {
    await t.step(name, async () => {
      await using serving = serveHandler(make);
      const { preamble, body } = await exchange(serving, "GET / HTTP/1.1\r\n\r\n");
      assertEquals(preamble + body, expected);
      assertEquals(serving.logger.at("error"), []);
    });
  }
});

Deno.test("a piece beyond the largest chunk is cut, one beyond the largest array has its length", async () => {
  const size = 16777217;
  const body = () => new Uint8Array(size).fill(7);
  const chunked = { "transfer-encoding": "chunked" };
  await using serving = serveHandler(({ url }) =>
    url.endsWith("/chunked") ? new Response(body(), { headers: chunked }) : new Response(body())
  );
  using conn = await serving.makeClient().connect();
  const whole = await conn.get("/");
  assertEquals(whole.headers["content-length"], size);
  let count = 0;
  await whole.body?.writeTo({ write: (bytes) => Promise.resolve(void (count += bytes.length)) });
  assertEquals(count, size);
  const pieces = await conn.get("/chunked");
  assert(pieces.body?.chunked);
  const lengths: number[] = [];
  for await (const [, data] of pieces.body) lengths.push(data.length);
  assertEquals(lengths, [16777216, 1, 0]);
});

Deno.test("the response to HEAD has no body, and its headers stay", async (t) => {
  const rows: [name: string, headers: Record<string, string>, expected: string][] = [
    ["its length", { "content-length": "12", "x-a": "b" }, "content-length: 12\r\nx-a: b\r\n"],
    ["its coding", { "transfer-encoding": "chunked" }, "transfer-encoding: chunked\r\n"],
    ["neither", {}, ""],
  ];
  for (const [name, headers, expected] of rows) {
    for (const withBody of [true, false]) {
      await t.step(`${name}, ${withBody ? "with" : "without"} a body of the handler`, async () => {
        const source = new TrackedStream([encoder.encode("hello, world")]);
        const body = withBody ? source.stream : null;
        await using serving = serveHandler(() => new Response(body, { headers }));
        const { preamble, body: rest } = await exchange(serving, "HEAD / HTTP/1.1\r\n\r\n");
        assertEquals(preamble, `HTTP/1.1 200 OK\r\n${expected}\r\n`);
        assertEquals(rest, "");
        assertEquals(source.cancelled.length, withBody ? 1 : 0);
      });
    }
  }
});

Deno.test("chooseCookie decides which of several cookies is sent", async () => {
  const seen: unknown[] = [];
  await using serving = serveHandler(
    ({ url }) => {
      const count = Number(new URL(url).searchParams.get("count"));
      const cookies = Array.from({ length: count }, (_, i): [string, string] => [
        "set-cookie",
        `name${i}=value, with a comma`,
      ]);
      return new Response(null, { headers: cookies });
    },
    {
      chooseCookie: (cookies) => {
        seen.push(cookies);
        return cookies.at(-1)!;
      },
    },
  );
  using conn = await serving.makeClient().connect();
  const sent = [];
  for (const count of [0, 1, 3]) {
    const { headers, body } = await conn.get(`/?count=${count}`);
    await body?.bytes();
    sent.push(headers["set-cookie"]);
  }
  assertEquals(sent, [undefined, "name0=value, with a comma", "name2=value, with a comma"]);
  assertEquals(seen, [[0, 1, 2].map((i) => `name${i}=value, with a comma`)]);
});

Deno.test("several requests over one connection keep apart", async () => {
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

Deno.test("a peer with a certificate has asked by https", async () => {
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

Deno.test("Deno's own fetch asks a handler, again and again over one connection", async () => {
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
