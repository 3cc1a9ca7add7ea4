/** fromFetchHandler: what it refuses, and how it reports that. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { type FetchHandler, fromFetchHandler } from "@degu/degu";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { RawPeer, within } from "@degu/testing/raw_peer.ts";
import { TrackedStream } from "@degu/testing/streams.ts";
import { exchange, serveHandler, slowStream } from "@degu/testing/web_serving.ts";

const encoder = new TextEncoder();

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
