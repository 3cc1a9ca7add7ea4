/** A response of fetch is a Response with its URL. */
import { assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import { FetchResponse } from "@degu/internal/web/fetch_response.ts";
import { streamOf } from "@degu/testing/streams.ts";

function make(body: string | null = "hello"): FetchResponse {
  const stream = body === null ? null : streamOf(new TextEncoder().encode(body));
  const init = { status: 201, statusText: "Made", headers: { "x-a": "b" } };
  return new FetchResponse(stream, init, "http://a/b?c", true);
}

/** Everything that is said, but the body. */
function partsOf(response: Response): unknown[] {
  const { url, redirected, type, status, statusText, ok, headers } = response;
  return [url, redirected, type, status, statusText, ok, headers.get("x-a")];
}

const PARTS = ["http://a/b?c", true, "basic", 201, "Made", true, "b"];

Deno.test("the result is a Response with its URL and its redirected flag", async () => {
  const response = make();
  assertInstanceOf(response, Response);
  assertEquals(partsOf(response), PARTS);
  assertEquals(await response.text(), "hello");
  assertEquals(new FetchResponse(null, {}, "http://a/", false).redirected, false);
});

Deno.test("a clone has the same properties, and either body can be read", async () => {
  const response = make();
  const clone = response.clone();
  assertInstanceOf(clone, FetchResponse);
  assertEquals(partsOf(clone), PARTS);
  assertEquals(await Promise.all([clone.text(), response.text()]), ["hello", "hello"]);
  assertEquals(partsOf(make(null).clone()), PARTS);
});

Deno.test("a response that was read cannot be cloned", async () => {
  const response = make();
  await response.text();
  assertThrows(() => response.clone(), TypeError);
});
