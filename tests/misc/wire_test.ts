import { assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import {
  Body,
  type BodyIn,
  BodyIter,
  type BodyOut,
  type Chunk,
  ChunkedBodyIter,
  type HeadersToSend,
  Range,
} from "@degu/degu/base";
import { mkreq } from "@degu/degu/misc";
import {
  assertCallerError,
  assertRangeError,
  assertTypeError,
  callWith,
  flatten,
  formatLabel,
} from "@degu/testing/expectations.ts";
import { PieceSource } from "@degu/testing/streams.ts";
import { methods } from "@degu/testing/wire_grammar.ts";
import { acceptedUris, refusedUris } from "../base/wire/uri.rows.ts";

Deno.test("mkreq makes the same request that a server passes to an app", async (t) => {
  for (const [uri, path, query] of acceptedUris) {
    await t.step(formatLabel(uri), () => {
      for (const method of methods) {
        const request = mkreq(method, uri);
        assertEquals([request.method, request.uri, request.query], [method, uri, query]);
        assertEquals([request.mount, request.path], [[], [...path]]);
        assertEquals(Object.keys(request.headers), []);
        assertStrictEquals(request.body, null);
      }
    });
  }
});

Deno.test("mkreq keeps headers and body", () => {
  const headers = { a: "b", range: new Range(0, 5) };
  assertEquals(flatten(mkreq("GET", "/", headers).headers), { a: "b", range: "bytes=0-4" });
  assertEquals(Object.keys(headers), ["a", "range"]);
  const body = new Body(new PieceSource([]), 5);
  assertStrictEquals(mkreq("PUT", "/", { "content-length": 5 }, body).body, body);
});

Deno.test("mkreq makes a received body of a text and of bytes, and announces its length", async () => {
  for (const [body, length] of [["ö", 2], [new Uint8Array([195, 182]), 2]] as const) {
    const request = mkreq("PUT", "/", { a: "b" }, body);
    assertInstanceOf(request.body, Body);
    assertEquals(flatten(request.headers), { a: "b", "content-length": length });
    assertEquals(await request.body.text(), "ö");
  }
  for (const empty of ["", new Uint8Array(0), null]) {
    const request = mkreq("PUT", "/", { a: "b" }, empty);
    assertEquals([request.body, request.headers], [null, { a: "b" } as never]);
  }
  const headers = { "content-length": 5 };
  assertEquals(flatten(mkreq("PUT", "/", headers, "hello").headers), headers);
  assertEquals(headers, { "content-length": 5 });
  assertRangeError(() => mkreq("PUT", "/", {}, "\ud800"), "a lone surrogate");
});

Deno.test("mkreq makes a received body of every body that a client sends, with the headers that frame it", async () => {
  const bytes = new Uint8Array([195, 182]);
  async function* pieces() {
    yield bytes;
  }
  async function* chunks(): AsyncGenerator<Chunk> {
    yield [null, bytes];
    yield [null, new Uint8Array(0)];
  }
  const length = { "content-length": 2 };
  const chunked = { "transfer-encoding": "chunked" };
  const rows: [body: BodyOut, headers: HeadersToSend][] = [
    [new BodyIter(pieces(), 2), length],
    [new ChunkedBodyIter(chunks()), chunked],
    [new Blob([bytes]).stream(), chunked],
    [pieces(), chunked],
  ];
  for (const [body, headers] of rows) {
    const request = mkreq("PUT", "/", { a: "b" }, body);
    assertEquals(flatten(request.headers), flatten({ a: "b", ...headers }));
    assertEquals(request.body?.chunked, headers === chunked);
    assertEquals(await request.text(), "ö");
  }
});

Deno.test("mkreq shifts path components to the mount", () => {
  const makeShifted = (uri: string, shift: number) => {
    const body: BodyIn = null;
    const { mount, path } = mkreq("GET", uri, {}, body, shift);
    return [mount, path];
  };
  assertEquals(makeShifted("/foo/bar", 0), [[], ["foo", "bar"]]);
  assertEquals(makeShifted("/foo/bar", 1), [["foo"], ["bar"]]);
  assertEquals(makeShifted("/foo/bar", 2), [["foo", "bar"], []]);
  assertEquals(makeShifted("/foo/", 1), [["foo"], [""]]);
  assertEquals(makeShifted("/foo/", 2), [["foo", ""], []]);
  for (const shift of [-1, 1.5, NaN]) {
    assertRangeError(() => mkreq("GET", "/foo", {}, null, shift), `${shift}`);
  }
  assertTypeError(() => callWith(mkreq, "GET", "/foo", {}, null, "1"), "shift as a string");
});

Deno.test("mkreq refuses a request that could not have been received", () => {
  for (const { text } of refusedUris) {
    assertCallerError(() => mkreq("GET", text), formatLabel(text));
  }
  for (const method of ["get", "PATCH", "", "constructor"]) {
    assertRangeError(() => callWith(mkreq, method, "/"), method);
  }
  for (const headers of [{ "X-A": "b" }, { "a b": "c" }, { ["a".repeat(257)]: "b" }]) {
    assertRangeError(() => mkreq("GET", "/", headers), Deno.inspect(headers));
  }
});
