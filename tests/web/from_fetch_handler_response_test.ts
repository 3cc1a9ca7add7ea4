/** fromFetchHandler: the response of a handler on the wire, and which are refused. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { type FetchHandler, fromFetchHandler } from "@degu/degu";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { RawPeer, within } from "@degu/testing/raw_peer.ts";
import { TrackedStream } from "@degu/testing/streams.ts";
import { exchange, serveHandler, slowStream } from "@degu/testing/web_serving.ts";

const encoder = new TextEncoder();

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

Deno.test("a piece larger than the largest chunk is split, and one larger than the largest array has a length", async () => {
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

Deno.test("chooseCookie selects one of several cookies", async () => {
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

// ───────────────────────── what is refused

Deno.test("a response that can't be sent is an error that names the cause, and nothing is sent", async (t) => {
  const stream = () => new TrackedStream([encoder.encode("x")]).stream;
  const several = new Headers([["set-cookie", "a=b"], ["set-cookie", "c=d"]]);
  const used = () => {
    const response = new Response("used");
    response.body?.getReader();
    return response;
  };
  const rows: [name: string, make: () => unknown, ...said: string[]][] = [
    ["a character", () => headers({ "x-a": "a@b" }), 'headers["x-a"]', '"a@b"'],
    ["a byte outside of ASCII", () => headers({ "x-a": "caf\xe9" }), 'headers["x-a"]', "caf\\xe9"],
    ["an empty value", () => headers({ "x-a": "" }), 'headers["x-a"]'],
    ["a character of a name", () => headers({ x_a: "b" }), '"x_a"'],
    ["a name that objects have", () => headers({ ["__proto__"]: "b" }), '"__proto__"'],
    ["a long name", () => headers({ [`x-${"a".repeat(31)}`]: "b" }), `"x-${"a".repeat(31)}"`],
    ["several cookies", () => new Response(null, { headers: several }), "set-cookie", "2"],
    ["a reason", () => new Response(null, { statusText: "I'm fine" }), "reason", "I'm fine"],
    ["a length that is none", () => headers({ "content-length": "x" }), "content-length", '"x"'],
    ["a length with a sign", () => headers({ "content-length": "+1" }), "content-length", '"+1"'],
    ["another length", () => new Response("abc", { headers: { "content-length": "2" } }), "2", "3"],
    ["a length of no body", () => headers({ "content-length": "5" }), "content-length"],
    [
      "both framings",
      () =>
        new Response(stream(), {
          headers: { "content-length": "1", "transfer-encoding": "chunked" },
        }),
      "transfer-encoding",
    ],
    ["another coding", () => headers({ "transfer-encoding": "gzip" }), "transfer-encoding"],
    ["an unknown total", () => headers({ "content-range": "bytes */10" }), "content-range", "*/10"],
    ["a range", () => headers({ range: "bytes=0-1" }), "range"],
    [
      "a 204 that speaks of a body",
      () => new Response(null, { status: 204, headers: { "content-length": "0" } }),
      "content-length",
    ],
    ["a network error", () => Response.error(), "status 200 to 599; got 0"],
    ["a body that was used", used, "body is unused"],
    ["nothing", () => undefined, "must return a Response; got undefined"],
    ["text", () => "hello", "must return a Response; got string"],
    ["an exception", () => {
      throw new Error("thrown on purpose");
    }, "thrown on purpose"],
    ["a rejection", () => Promise.reject(new Error("rejected on purpose")), "rejected on purpose"],
  ];
  for (const [name, make, ...said] of rows) {
    await t.step(name, async () => {
      await using serving = serveHandler(make as FetchHandler);
      using peer = await RawPeer.connect(serving.address);
      await peer.send("GET / HTTP/1.1\r\n\r\n");
      await peer.assertClosedSilently();
      const [message = "", ...others] = await serving.logger.waitFor("error");
      assertEquals(others, []);
      for (const part of said) assertStringIncludes(message, part);
    });
  }
});

function headers(init: Record<string, string>): Response {
  return new Response(null, { headers: Object.entries(init) });
}

Deno.test("a response that can't be sent cancels its body", async (t) => {
  const several = new Headers([["set-cookie", "a=b"], ["set-cookie", "c=d"]]);
  const inits: [name: string, init: ResponseInit][] = [
    ["refused by the bridge", { headers: several }],
    ["refused by the server", { headers: { "x-a": "{}" } }],
  ];
  for (const [name, init] of inits) {
    await t.step(name, async () => {
      const cancelled = Promise.withResolvers<void>();
      const stream = new ReadableStream({ cancel: () => cancelled.resolve() });
      await using serving = serveHandler(() => new Response(stream, init));
      await rejectionOf(serving.makeClient().request("GET", "/"), "the response can't be sent");
      await within(cancelled.promise, "the stream is canceled");
    });
  }
});

Deno.test("a stream whose chunks are not bytes is an error, and canceled", async () => {
  const source = new TrackedStream<unknown>(["hello", "world"]);
  const body = source.stream as ReadableStream<Uint8Array>;
  await using serving = serveHandler(() => new Response(body));
  const { body: received } = await exchange(serving, "GET / HTTP/1.1\r\n\r\n");
  assertEquals(received, "");
  assertStringIncludes((await serving.logger.waitFor("error"))[0]!, "must be Uint8Arrays");
  assertEquals(source.cancelled.length, 1);
});

Deno.test("a body that is shorter or longer than its content-length is detectably cut", async (t) => {
  for (const length of [11, 13]) {
    await t.step(`${length} instead of 12`, async () => {
      const init = { headers: { "content-length": String(length) } };
      await using serving = serveHandler(() => new Response(slowStream("hello", ", world"), init));
      const { preamble, body } = await exchange(serving, "GET / HTTP/1.1\r\n\r\n");
      assertEquals(preamble, `HTTP/1.1 200 OK\r\ncontent-length: ${length}\r\n\r\n`);
      assert(body.length < length, `complete: ${body}`);
      assertStringIncludes((await serving.logger.waitFor("error"))[0]!, "content-length");
    });
  }
});

Deno.test("fromFetchHandler refuses invalid arguments", async (t) => {
  const handler = () => new Response();
  const rows: [
    name: string,
    args: unknown[],
    error: typeof TypeError | typeof RangeError,
    said: string,
  ][] = [
    ["no handler", [], TypeError, "handler: must be a function"],
    ["null", [null], TypeError, "got null"],
    ["an app", [{ handle: handler }], TypeError, '"fetch"'],
    ["options of a wrong type", [handler, null], TypeError, "options"],
    ["an unknown option", [handler, { origins: "" }], TypeError, '"origins"'],
    ["an origin of a wrong type", [handler, { origin: 1 }], TypeError, "origin"],
    ["an origin with a path", [handler, { origin: "http://a/b" }], RangeError, "http://a/b"],
    ["an origin with a user", [handler, { origin: "http://u@a" }], RangeError, "origin"],
    ["another scheme", [handler, { origin: "ftp://a" }], RangeError, "origin"],
    ["no URL", [handler, { origin: "a" }], RangeError, "origin"],
    ["chooseCookie", [handler, { chooseCookie: "first" }], TypeError, "chooseCookie"],
    ["bytes of a wrong type", [handler, { maxUnreadBytes: "1" }], TypeError, "maxUnreadBytes"],
    ["negative bytes", [handler, { maxUnreadBytes: -1 }], RangeError, "maxUnreadBytes"],
    ["half a byte", [handler, { maxUnreadBytes: 0.5 }], RangeError, "maxUnreadBytes"],
  ];
  for (const [name, args, error, said] of rows) {
    await t.step(name, () => {
      assertThrows(() => Reflect.apply(fromFetchHandler, undefined, args), error, said);
    });
  }
});
