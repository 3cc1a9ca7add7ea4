/** reply() and json(). */
import { type HeadersToSend, json, reply } from "@degu/degu";
import { assertRangeError, assertTypeError, callWith } from "@degu/testing/expectations.ts";
import { assertEquals, assertStrictEquals } from "@std/assert";

const text = (bytes: unknown) => new TextDecoder().decode(bytes as Uint8Array);
const PLAIN = "text/plain;charset=utf-8";

Deno.test("reply gives each status its standard reason phrase", () => {
  const rows: [status: number, reason: string][] = [
    [200, "OK"],
    [201, "Created"],
    [302, "Found"],
    [404, "Not Found"],
    [413, "Content Too Large"],
    [422, "Unprocessable Content"],
    [428, "Precondition Required"],
    [429, "Too Many Requests"],
    [431, "Request Header Fields Too Large"],
    [503, "Service Unavailable"],
    [507, "Insufficient Storage"],
    [511, "Network Authentication Required"],
  ];
  for (const [status, reason] of rows) {
    assertEquals(reply(status, null, { location: "/" }).slice(0, 2), [status, reason]);
  }
});

Deno.test("reply refuses a status without a standard reason", () => {
  for (const status of [0, 100, 199, 226, 306, 418, 499, 508, 599, 600, 200.5, NaN]) {
    assertRangeError(() => reply(status), `${status}`);
  }
  for (const status of [undefined, "200", null, 200n]) {
    assertTypeError(() => callWith(reply, status), Deno.inspect(status));
  }
});

Deno.test("reply refuses a redirect without location", () => {
  for (const status of [301, 302, 303, 307, 308]) {
    assertRangeError(() => reply(status, "/new"), `must have location with status ${status}`);
    assertEquals(reply(status, null, { location: "/new" })[2], { location: "/new" });
  }
  for (const status of [300, 304]) assertEquals(reply(status)[2], {});
});

Deno.test("reply sends a string as UTF-8 text unless headers has a content-type", () => {
  const rows: [string, HeadersToSend | undefined, HeadersToSend][] = [
    ["hello", undefined, { "content-type": PLAIN }],
    ["Öl", { a: "b" }, { "content-type": PLAIN, a: "b" }],
    ["<p>", { "content-type": "text/html" }, { "content-type": "text/html" }],
    ["", undefined, { "content-type": PLAIN }],
  ];
  for (const [body, options, headers] of rows) {
    const response = reply(200, body, options);
    assertEquals([text(response[3]), response[2]], [body, headers]);
  }
  assertRangeError(() => reply(200, "a\ud800b"), "a lone surrogate");
});

Deno.test("reply has no body by default, and refuses one with 204 and 304", () => {
  assertEquals(reply(404)[3], null);
  assertEquals(reply(404, null, { a: "b" }).slice(2), [{ a: "b" }, null]);
  for (const status of [204, 304]) {
    assertStrictEquals(reply(status)[3], null);
    assertStrictEquals(reply(status, null, { etag: '"a"' })[2]["etag"], '"a"');
    for (const body of ["", "a", new Uint8Array(0)]) {
      assertRangeError(() => reply(status, body), `${status} with a body`);
    }
  }
});

Deno.test("reply copies the headers, and passes any other body on", () => {
  const passedHeaders = { a: "b" };
  const bytes = new Uint8Array(3);
  const [, , headers, body] = reply(200, bytes, passedHeaders);
  headers["c"] = "d";
  assertEquals(passedHeaders, { a: "b" });
  assertStrictEquals(body, bytes);
});

Deno.test("reply refuses a body that is given and undefined", () => {
  const lamps = new Map<string, string>();
  const problem = "body: must be null or left out if there is none; got undefined";
  for (const status of [200, 404, 204]) {
    assertTypeError(() => reply(status, lamps.get("a")!), problem);
    assertTypeError(() => callWith(reply, status, undefined), problem);
    assertTypeError(() => callWith(reply, status, undefined, { etag: "a" }), problem);
  }
  assertEquals(reply(404)[3], null);
  assertEquals(callWith(reply, 200, null, undefined), reply(200));
});

Deno.test("json makes a response from a value", () => {
  const [status, reason, headers, body] = json({ a: [1, "ö"] });
  assertEquals([status, reason, headers], [200, "OK", { "content-type": "application/json" }]);
  assertEquals(text(body), '{"a":[1,"ö"]}');
  assertEquals(json(null, 404, { "content-type": "application/problem+json" }).slice(0, 3), [
    404,
    "Not Found",
    { "content-type": "application/problem+json" },
  ]);
});

Deno.test("json refuses values that JSON can't represent, and a status without a body", () => {
  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  for (const value of [undefined, () => {}, Symbol("a"), 5n, cyclic]) {
    assertTypeError(() => callWith(json, value), Deno.inspect(value));
  }
  assertRangeError(() => json({}, 204), "204");
});

Deno.test("json writes what JSON.stringify writes", () => {
  const values: unknown[] = [
    {},
    null,
    404,
    "{}",
    { none: undefined, f: () => 1 },
    { map: new Map([["a", 1]]), promise: Promise.resolve(5), bytes: new Uint8Array([1, 2]) },
    { set: new Set(["a"]), toJSON: () => ["a", {}] },
    { date: new Date(0), url: new URL("http://a"), number: new Number(5) },
    new TypeError("no lamp"),
  ];
  for (const value of values) assertEquals(text(json(value)[3]), JSON.stringify(value));
});
