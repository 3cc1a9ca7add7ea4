/** createFetch: its errors. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { ProtocolError } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { createFetch } from "@degu/degu";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { unusedPort } from "@degu/testing/ports.ts";
import { RawServer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

Deno.test("a failure is a TypeError whose cause says why", async (t) => {
  await using serving = serve(() => [200, "OK", {}, null]);
  const fetch = createFetch(serving.makeClient());
  const goneFetch = createFetch(new Client(["127.0.0.1", await unusedPort()]));
  const several = [["set-cookie", "a"], ["set-cookie", "b"]] as [string, string][];
  const put = (body: BodyInit, headers: HeadersInit) =>
    fetch("/", { method: "PUT", body, headers });
  const rows: [name: string, start: () => Promise<Response>, cause: unknown, said: string][] = [
    ["an unknown method", () => fetch("/", { method: "PATCH" }), RangeError, '"PATCH"'],
    ["a path with a space", () => fetch("/a b"), RangeError, '"/a%20b"'],
    ["a path with two slashes", () => fetch("/a//b"), RangeError, '"/a//b"'],
    ["a query with a slash", () => fetch("/?a/b"), RangeError, '"/?a/b"'],
    ["a query outside of ASCII", () => fetch("/a?b{"), RangeError, "uri"],
    ["a header's character", () => fetch("/", { headers: { a: "{}" } }), RangeError, '"{}"'],
    ["a header's name", () => fetch("/", { headers: { a_b: "c" } }), RangeError, '"a_b"'],
    ["an open range", () => fetch("/", { headers: { range: "bytes=1-" } }), RangeError, "bytes=1-"],
    ["several cookies", () => fetch("/", { headers: several }), RangeError, "set-cookie"],
    [
      "a length of nothing",
      () => fetch("/", { headers: { "content-length": "1" } }),
      RangeError,
      "content-length",
    ],
    ["another length", () => put("abc", { "content-length": "2" }), RangeError, "2"],
    ["a length that is none", () => put("abc", { "content-length": "x" }), RangeError, '"x"'],
    ["a body of DELETE", () => fetch("/", { method: "DELETE", body: "a" }), RangeError, "DELETE"],
    ["another scheme", () => fetch("ftp://a/"), TypeError, "ftp:"],
    ["data", () => fetch("data:,a"), TypeError, "data:"],
    ["no server", () => goneFetch("/"), Deno.errors.ConnectionRefused, "/"],
  ];
  for (const [name, start, cause, said] of rows) {
    await t.step(name, async () => {
      const error = await rejectionOf(start(), name);
      assertInstanceOf(error, TypeError);
      assertInstanceOf(error.cause, cause as typeof Error);
      assertStringIncludes(error.message, said);
    });
  }
});

Deno.test("what the platform refuses rejects in the same way", async (t) => {
  await using serving = serve(() => [200, "OK", {}, null]);
  const fetch = createFetch(serving.makeClient());
  const used = new Request("http://a/", { method: "POST", body: "a" });
  await used.text();
  const rows: [name: string, start: () => Promise<Response>][] = [
    ["a URL that is none", () => fetch("http://")],
    ["a body of GET", () => fetch("/", { body: "a" })],
    ["a header value with a line end", () => fetch("/", { headers: { a: "b\r\nc: d" } })],
    ["a used Request", () => fetch(used)],
    ["Deno's own clients", () => fetch("/", { client: {} } as RequestInit)],
  ];
  for (const [name, start] of rows) {
    await t.step(name, async () => {
      assertInstanceOf(await rejectionOf(start(), name), TypeError);
    });
  }
});

Deno.test("a URL with a user name or a password is refused, and not quoted", async (t) => {
  const location = "http://user:secret@device.local/a";
  await using plain = serve(() => [200, "OK", {}, null]);
  const fetch = createFetch(plain.makeClient());
  const refused = "must be a URL without a user name and a password";
  const rows: [name: string, start: () => Promise<Response>, said: string][] = [
    ["text", () => fetch(location), refused],
    ["a URL", () => fetch(new URL(location)), refused],
    ["a Request", () => fetch(new Request(location)), refused],
    [
      "a Request with a body",
      () => fetch(new Request(location, { method: "POST", body: "a" })),
      refused,
    ],
    ["a user", () => fetch("http://secret@device.local/"), refused],
    ["a password", () => fetch("http://:secret@device.local/"), refused],
    ["without slashes", () => fetch("https:user:secret@device.local"), refused],
    ["no path", () => fetch("http://name:secret@"), "must be a URL; got text that is not shown"],
    ["backslashes", () => fetch("http:\\\\user:secret@device.local"), refused],
    ["relative to the scheme", () => fetch("//user:secret@device.local/"), refused],
    [
      "one that is no URL",
      () => fetch("http://user:secret@device.local:x/"),
      "must be a URL; got text that is not shown",
    ],
    ["another scheme", () => fetch("ftp://user:secret@device.local/"), refused],
  ];
  for (const [name, start, said] of rows) {
    await t.step(name, async () => {
      const error = await rejectionOf(start(), name);
      assertInstanceOf(error, TypeError);
      assertStringIncludes(error.message, said);
      assert(!Deno.inspect(error).includes("secret"), Deno.inspect(error));
    });
  }
});

Deno.test("a peer's protocol error is the cause", async () => {
  using server = new RawServer();
  const responding = createFetch(new Client(server.address))("/");
  const peer = await server.accept();
  await peer.readPreamble();
  const rejection = rejectionOf(responding, "a bad status line");
  await peer.send("HTTP/1.1 999 OK\r\n\r\n");
  const error = await rejection;
  assertInstanceOf(error, TypeError);
  assertInstanceOf(error.cause, ProtocolError);
  assertEquals(error.cause.code, "BAD_STATUS");
  await peer.assertClosedSilently();
});

Deno.test("a truncated body fails while it is read", async () => {
  using server = new RawServer();
  const responding = createFetch(new Client(server.address))("/");
  const peer = await server.accept();
  await peer.readPreamble();
  await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345");
  const response = await responding;
  peer.close();
  const error = await rejectionOf(response.bytes(), "a body that is cut");
  assertInstanceOf(error, ProtocolError);
  assertEquals(error.code, "BODY_INCOMPLETE");
});

Deno.test("createFetch requires a client or a connection", () => {
  const wrong = [
    undefined,
    null,
    1,
    "http://a/",
    {},
    { request() {} },
    { close() {} },
    Client,
    fetch,
  ];
  for (const client of wrong) {
    assertThrows(() => Reflect.apply(createFetch, undefined, [client]), TypeError, "Client");
  }
});
