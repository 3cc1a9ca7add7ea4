/** Responses without content, and how they are framed. */
import { assertEquals } from "@std/assert";
import { methods } from "@degu/testing/wire_grammar.ts";
import { makeEmptyResponse } from "@degu/internal/base/app/message.ts";

Deno.test("an empty response has a body of zero bytes, and none for HEAD", () => {
  for (const method of methods) {
    const body = method === "HEAD" ? null : new Uint8Array(0);
    assertEquals([...makeEmptyResponse(method, 404, "Not Found")], [404, "Not Found", {}, body]);
  }
});

Deno.test("an empty response has the headers that it was given", () => {
  const headers = { allow: "GET" };
  const [, , given] = makeEmptyResponse("GET", 405, "Method Not Allowed", headers);
  assertEquals(given, { allow: "GET" });
});
