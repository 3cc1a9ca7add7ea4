import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { Body, ContentRange, type HeaderDict, Response } from "@degu/degu/base";
import { parseResponse } from "@degu/degu/misc";
import { PieceSource } from "@degu/testing/streams.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

Deno.test("Response stores status, reason, headers and body and iterates over them in that order", () => {
  const headers: HeaderDict = { hello: "world" };
  const body = new Body(new PieceSource([]), 5);
  const response = new Response(200, "OK", headers, body);
  assertEquals([response.status, response.reason], [200, "OK"]);
  assertStrictEquals(response.headers, headers);
  assertStrictEquals(response.body, body);
  const [status, reason, again, same, ...rest] = response;
  assertEquals([status, reason, rest.length], [200, "OK", 0]);
  assertStrictEquals(again, headers);
  assertStrictEquals(same, body);
});

Deno.test("Deno.inspect shows a Response like the arguments that construct it", () => {
  const expected = 'Response(status=200, reason="OK", headers={ hello: "world" }, body=null)';
  assertEquals(Deno.inspect(new Response(200, "OK", { hello: "world" }, null)), expected);
  const { headers } = parseResponse("GET", latin1("HTTP/1.1 200 OK\r\nHello: world"));
  assertEquals(Deno.inspect(new Response(200, "OK", headers, null)), expected);
  const bare = new Response(404, "Not Found", {}, null);
  assertEquals(
    Deno.inspect(bare),
    'Response(status=404, reason="Not Found", headers={}, body=null)',
  );
  const range = { "content-range": new ContentRange(0, 1, 2), "content-length": 1 };
  const partial = Deno.inspect(new Response(206, "Partial Content", range, null));
  assert(partial.startsWith('Response(status=206, reason="Partial Content", headers={'), partial);
  const body = new Body(new PieceSource([]), 5);
  const whole = Deno.inspect(new Response(200, "OK", {}, body));
  assert(whole.startsWith('Response(status=200, reason="OK", headers={}, body=Body'), whole);
});
