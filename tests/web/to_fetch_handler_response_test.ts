/** toFetchHandler: how an app's responses are converted. */
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ProxyApp, toFetchHandler } from "@degu/degu";
import {
  Body,
  BodyIter,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
  ContentRange,
  type ResponseTuple,
} from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import type { AppFunction } from "@degu/degu/server";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { serve } from "@degu/testing/serving.ts";
import { TrackedStream } from "@degu/testing/streams.ts";
import { serveWithDeno } from "@degu/testing/web_serving.ts";

const encoder = new TextEncoder();

Deno.test("every kind of body is sent, with its length if it has one", async (t) => {
  const hello = encoder.encode("hello");
  const chunks: Chunk[] = [[null, encoder.encode("he")], [["k", "v"], encoder.encode("llo")], [
    null,
    new Uint8Array(0),
  ]];
  const encoded = "2\r\nhe\r\n3;k=v\r\nllo\r\n0\r\n\r\n";
  const rows: [name: string, make: () => ResponseTuple[3], length: string | null, text: string][] =
    [
      ["null", () => null, "0", ""],
      ["bytes", () => hello, "5", "hello"],
      ["no bytes", () => new Uint8Array(0), "0", ""],
      ["Body", () => new Body(new Blob(["hello"]).stream(), 5), "5", "hello"],
      ["BodyIter", () => new BodyIter([hello.subarray(0, 2), hello.subarray(2)], 5), "5", "hello"],
      ["ChunkedBody", () => new ChunkedBody(new Blob([encoded]).stream()), null, "hello"],
      ["ChunkedBodyIter", () => new ChunkedBodyIter(chunks), null, "hello"],
      [
        "ChunkedBodyIter without data",
        () => new ChunkedBodyIter([[null, new Uint8Array(0)]]),
        null,
        "",
      ],
    ];
  for (const [name, make, length, text] of rows) {
    await t.step(name, async () => {
      await using server = serveWithDeno(() => [201, "Created", { "x-a": "b" }, make()]);
      const response = await fetch(server.url);
      assertEquals([response.status, response.headers.get("x-a")], [201, "b"]);
      assertEquals(response.headers.get("content-length"), length);
      assertEquals(await response.text(), text);
      assertEquals(server.errors, []);
    });
  }
});

Deno.test("a response without a body keeps its headers", async (t) => {
  const rows: [method: string, answer: ResponseTuple, expected: Record<string, string>][] = [
    ["HEAD", [200, "OK", { "content-length": 12, "x-a": "b" }, null], {
      "content-length": "12",
      "x-a": "b",
    }],
    ["HEAD", [200, "OK", { "transfer-encoding": "chunked" }, null], {}],
    ["HEAD", [404, "Not Found", {}, null], {}],
    ["GET", [204, "No Content", { "x-a": "b" }, null], { "x-a": "b" }],
    ["GET", [304, "Not Modified", { "content-length": 12 }, null], { "content-length": "12" }],
    [
      "GET",
      [206, "Partial Content", { "content-range": new ContentRange(2, 5, 10) }, new Uint8Array(3)],
      { "content-length": "3", "content-range": "bytes 2-4/10" },
    ],
  ];
  for (const [method, answer, expected] of rows) {
    await t.step(`${method} ${answer[0]} ${Object.keys(answer[2])}`, async () => {
      const response = await toFetchHandler(() => answer)(new Request("http://a/", { method }));
      assertEquals([response.status, response.statusText], [answer[0], answer[1]]);
      assertEquals(Object.fromEntries(response.headers), expected);
      assertEquals(response.body === null, answer[3] === null);
    });
  }
  await t.step("under Deno.serve", async () => {
    await using server = serveWithDeno(() => [200, "OK", { "content-length": 12 }, null]);
    const { headers, body } = await new Client(server.address).request("HEAD", "/");
    assertEquals([headers["content-length"], body], [12, null]);
  });
});

Deno.test("an invalid answer from an app is an error that names it", async (t) => {
  const body = () => new ChunkedBodyIter([[null, new Uint8Array(0)]]);
  const rows: [name: string, app: (...args: Parameters<AppFunction>) => unknown, said: string][] = [
    ["nothing", () => undefined, "undefined"],
    ["three items", () => [200, "OK", {}], "3 items"],
    ["a status", () => [99, "OK", {}, null], "got 99"],
    ["an interim status", () => [101, "Switching Protocols", {}, null], "101"],
    ["a reason", () => [200, "I'm fine", {}, null], "I'm fine"],
    ["a header's name", () => [200, "OK", { "X-A": "b" }, null], '"X-A"'],
    ["a header's value", () => [200, "OK", { a: "b\r\nc: d" }, null], "b\\r\\nc: d"],
    ["a Headers object", () => [200, "OK", new Headers(), null], "Headers"],
    ["a text", () => [200, "OK", {}, "hello"], "string"],
    ["another length", () => [200, "OK", { "content-length": 2 }, new Uint8Array(3)], "3 bytes"],
    ["a body of 204", () => [204, "No Content", {}, new Uint8Array(1)], "204"],
    ["the request's body", (request) => [200, "OK", {}, request.body], "body of the request"],
    ["an unread body", () => [200, "OK", {}, null], "read to its end"],
    ["both framings", () => [200, "OK", { "content-length": 0 }, body()], "content-length"],
    ["an exception", () => {
      throw new Error("thrown on purpose");
    }, "thrown on purpose"],
  ];
  for (const [name, app, said] of rows) {
    await t.step(name, async () => {
      await using server = serveWithDeno(app as AppFunction);
      const body = /request|unread/.test(name) ? "hello" : "";
      const response = await fetch(server.url, { method: "POST", body });
      assertEquals([response.status, await response.text()], [500, ""]);
      assertStringIncludes(String(server.errors[0]), said);
    });
  }
  await t.step("a body for HEAD", async () => {
    const handler = toFetchHandler(() => [200, "OK", {}, new Uint8Array(1)]);
    const request = new Request("http://a/", { method: "HEAD" });
    assertStringIncludes(String(await rejectionOf(handler(request), "a body to HEAD")), "HEAD");
  });
});

Deno.test("an error response may leave the request's body unread", async () => {
  await using server = serveWithDeno(() => [413, "Content Too Large", {}, encoder.encode("no")]);
  const response = await fetch(server.url, { method: "POST", body: new Uint8Array(100_000) });
  assertEquals([response.status, await response.text()], [413, "no"]);
  assertEquals(server.errors, []);
});

Deno.test("toFetchHandler refuses invalid options", () => {
  const rows: [options: unknown, said: string][] = [
    [null, "options"],
    [{ loger: console }, '"loger"'],
    [{ logger: {} }, "logger: must"],
    [{ logger: null }, "logger: must"],
  ];
  for (const [options, said] of rows) {
    const make = () => Reflect.apply(toFetchHandler, undefined, [() => {}, options]);
    assertThrows(make, TypeError, said);
  }
});

Deno.test("a response with status 205 has no body, in whatever way that is expressed", async (t) => {
  const empty = new TrackedStream<Uint8Array>([]);
  const bodies: [name: string, make: () => ResponseTuple[3]][] = [
    ["null", () => null],
    ["no bytes", () => new Uint8Array(0)],
    ["a body of length 0", () => new Body(empty.stream, 0)],
    ["an iterable of length 0", () => new BodyIter([], 0)],
  ];
  for (const [name, make] of bodies) {
    await t.step(name, async () => {
      const app: AppFunction = () => [205, "Reset Content", { "x-a": "b" }, make()];
      await using server = serveWithDeno(app);
      const response = await fetch(server.url);
      assertEquals([response.status, response.headers.get("x-a")], [205, "b"]);
      assertEquals([response.body, server.errors], [null, []]);
    });
  }
  assertEquals(empty.cancelled.length, 1);
  await t.step("a 205 with bytes is refused, and canceled", async () => {
    const stream = new TrackedStream([encoder.encode("hello")]);
    const handler = toFetchHandler(() => [205, "Reset Content", {}, new Body(stream.stream, 5)]);
    const error = await rejectionOf(handler(new Request("http://a/")), "a body of 205");
    assertStringIncludes(String(error), "205");
    assertEquals(stream.cancelled.length, 1);
  });
});

Deno.test("a proxy under Deno.serve relays to our own server", async () => {
  const piece = new Uint8Array(100_000).fill(7);
  await using upstream = serve(async (request, _session, api) => {
    let length = 0;
    for await (const [, data] of request.body as ChunkedBody) length += data.length;
    return [200, "OK", { "x-length": `${length}` }, new api.BodyIter([piece, piece], 200_000)];
  });
  await using server = serveWithDeno(new ProxyApp(upstream.makeClient()));
  for (let i = 0; i < 2; i++) {
    const body = ReadableStream.from([piece, piece, piece]);
    const response = await fetch(`${server.url}/a`, { method: "POST", body });
    assertEquals([response.status, response.headers.get("x-length")], [200, "300000"]);
    assertEquals((await response.bytes()).length, 200_000);
  }
  assertEquals(server.errors, []);
});
