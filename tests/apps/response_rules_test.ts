/** Validator: what an app returns, and how it works with a server. */
import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import {
  Body,
  BodyIter,
  type BodyOut,
  ChunkedBody,
  ChunkedBodyIter,
  Range,
  Response,
  type ResponseTuple,
} from "@degu/degu/base";
import { mkreq } from "@degu/degu/misc";
import { type AppFunction, Validator } from "@degu/degu";
import * as arbitrary from "@degu/testing/arbitraries.ts";
import { api, assertBegins, type ErrorClass, makeSession } from "@degu/testing/calling.ts";
import { streamOf } from "@degu/testing/streams.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

/** What the validator makes of a response to a request; a GET without headers unless told. */
function validate(response: unknown, request = mkreq("GET", "/")) {
  const app: AppFunction = () => response as ResponseTuple;
  return new Validator(app).handle(request, makeSession(), api);
}

// ───────────────────────── what is in order

Deno.test("Validator passes on arguments and response unchanged", async () => {
  const request = mkreq("GET", "/foo?bar", {}, null, 1);
  const session = makeSession();
  const responses: (ResponseTuple | Response)[] = [
    [200, "OK", {}, null],
    new Response(200, "OK", { hello: "world" }, null),
  ];
  for (const response of responses) {
    const app = {
      response,
      handle(...args: Parameters<AppFunction>) {
        assertStrictEquals(args[0], request);
        assertStrictEquals(args[1], session);
        assertStrictEquals(args[2], api);
        return this.response;
      },
    };
    assertStrictEquals(await new Validator(app).handle(request, session, api), response);
  }
});

Deno.test("Validator passes on the error of an app", async () => {
  const failure = new Error("an app's error");
  const validator = new Validator(() => Promise.reject(failure));
  const error = await assertRejects(() => validator.handle(mkreq("GET", "/"), makeSession(), api));
  assertStrictEquals(error, failure);
});

Deno.test("Validator accepts every valid request", async () => {
  await fc.assert(fc.asyncProperty(
    arbitrary.methodAndHeaders,
    arbitrary.uri,
    fc.nat(5),
    async ([method, headers], uri, shifts) => {
      const length = headers["content-length"];
      const body = length !== undefined
        ? new Body(streamOf(), length as number)
        : headers["transfer-encoding"] !== undefined
        ? new ChunkedBody(streamOf())
        : null;
      const request = mkreq(method, uri, headers, body);
      for (let i = 0; i < shifts; i++) request.shiftPath();
      const validator = new Validator(() => [400, "Bad Request", {}, null]);
      const [status] = await validator.handle(request, makeSession(), api);
      assertEquals(status, 400);
    },
  ));
});

Deno.test("Validator accepts every valid response", async () => {
  await fc.assert(fc.asyncProperty(
    fc.integer({ min: 200, max: 599 }).filter((status) => status !== 204),
    arbitrary.reason,
    arbitrary.responseHeaders,
    async (status, reason, headers) => {
      const length = headers["content-length"];
      const body = length !== undefined
        ? new BodyIter([], length as number)
        : headers["transfer-encoding"] !== undefined
        ? new ChunkedBodyIter([])
        : null;
      if (status !== 304) await validate([status, reason, headers, body]);
      await validate([status, reason, headers, null], mkreq("HEAD", "/"));
      await validate([304, reason, headers, null]);
    },
  ));
});

Deno.test("Validator accepts the five kinds of bodies, including empty ones", async () => {
  const bodies: BodyOut[] = [
    new Uint8Array(0),
    new Uint8Array(16777216),
    new Body(streamOf(), 0),
    new BodyIter([], 5),
    new ChunkedBody(streamOf()),
    new ChunkedBodyIter([]),
  ];
  for (const body of bodies) {
    assertStrictEquals((await validate([200, "OK", {}, body]) as ResponseTuple)[3], body);
  }
});

// ───────────────────────── what an app returns

Deno.test("Validator reports where a response is invalid", async (t) => {
  const cases: [response: unknown, errorClass: ErrorClass, beginning: string][] = [
    [
      undefined,
      TypeError,
      "response: must be [status, reason, headers, body] or a Response; got un",
    ],
    [null, TypeError, "response: must"],
    ["200 OK", TypeError, "response: must"],
    [{ status: 200, reason: "OK", headers: {} }, TypeError, "response: must"],
    [[200, "OK", {}], TypeError, "response: must be [status, reason, headers, body]; got 3 items"],
    [[200, "OK", {}, null, null], TypeError, "response: must"],
    [["200", "OK", {}, null], TypeError, "response[0]: must be a number; got string"],
    [[199, "OK", {}, null], RangeError, "response[0]: must be an integer from 200 to 599"],
    [[600, "OK", {}, null], RangeError, "response[0]: must"],
    [[200.5, "OK", {}, null], RangeError, "response[0]: must"],
    [[NaN, "OK", {}, null], RangeError, "response[0]: must"],
    [[200, null, {}, null], TypeError, "response[1]: must be a string; got null"],
    [[200, "", {}, null], RangeError, "response[1]: must be two or more"],
    [[200, "O", {}, null], RangeError, "response[1]: must be two or more"],
    [[200, "OK\r\nfoo: bar", {}, null], RangeError, "response[1]: must be two or more"],
    [[200, "OK", null, null], TypeError, "response[2]: must be a plain object; got null"],
    [[200, "OK", [], null], TypeError, "response[2]: must be a plain object; got Array"],
    [[200, "OK", new Map(), null], TypeError, "response[2]: must be a plain object; got Map"],
    [
      [200, "OK", new Headers(), null],
      TypeError,
      "response[2]: must be a plain object; got Headers",
    ],
    [
      [200, "OK", { "Content-Type": "text/plain" }, null],
      RangeError,
      'response[2]["Content-Type"]: the name must',
    ],
    [[200, "OK", { "": "a" }, null], RangeError, 'response[2][""]: the name must'],
    [[200, "OK", { "a\r\nb": "c" }, null], RangeError, 'response[2]["a\\r\\nb"]: the name must'],
    [[200, "OK", { a: 5 }, null], TypeError, 'response[2]["a"]: must be a string; got number'],
    [[200, "OK", { a: null }, null], TypeError, 'response[2]["a"]: must be a string; got null'],
    [
      [200, "OK", { a: "" }, null],
      RangeError,
      'response[2]["a"]: must have at least one character',
    ],
    [[200, "OK", { a: "b\r\nc: d" }, null], RangeError, 'response[2]["a"]: bad character'],
    [[200, "OK", { b: "b", a: "é" }, null], RangeError, 'response[2]["a"]: bad character'],
    [
      [200, "OK", { "content-length": "5" }, new Uint8Array(5)],
      TypeError,
      'response[2]["content-length"]: must be a number',
    ],
    [
      [200, "OK", { "content-length": -1 }, new Uint8Array(5)],
      RangeError,
      'response[2]["content-length"]: must be an integer',
    ],
    [
      [200, "OK", { "content-length": 4 }, new Uint8Array(5)],
      RangeError,
      'response[2]["content-length"]: must match the body, which has 5 bytes, or be left out; got "4"',
    ],
    [
      [200, "OK", { "content-length": 0 }, null],
      RangeError,
      'response[2]["content-length"]: must be left out, as there is no body',
    ],
    [
      [200, "OK", { "transfer-encoding": "gzip" }, new ChunkedBodyIter([])],
      RangeError,
      'response[2]["transfer-encoding"]: must match',
    ],
    [
      [200, "OK", { "transfer-encoding": "chunked" }, new Uint8Array(5)],
      RangeError,
      'response[2]["transfer-encoding"]: must match the body, which has 5 bytes, or be left out; got',
    ],
    [
      [304, "Not Modified", { "transfer-encoding": "chunked", "content-length": 5 }, null],
      RangeError,
      "response[2]: headers that exclude each other",
    ],
    [
      [206, "Partial Content", { "content-range": "bytes 0-1/2" }, null],
      TypeError,
      'response[2]["content-range"]: must be a ContentRange; got string',
    ],
    [[200, "OK", { range: new Range(0, 5) }, null], RangeError, "response[2]: the header range"],
    [
      [200, "OK", { a: "b".repeat(20000), c: "d".repeat(20000) }, null],
      RangeError,
      "response[2]: must fit in a preamble",
    ],
    [[200, "OK", {}, undefined], TypeError, "response[3]: must be null, a Uint8Array"],
    [[200, "OK", {}, "hello"], TypeError, "response[3]: must be null, a Uint8Array"],
    [[200, "OK", {}, new ArrayBuffer(5)], TypeError, "response[3]: must be null, a Uint8Array"],
    [[200, "OK", {}, [latin1("a")]], TypeError, "response[3]: must be null, a Uint8Array"],
    [
      [200, "OK", {}, new Uint8Array(16777217)],
      RangeError,
      "response[3]: must be a Body or a BodyIter above 16777216 bytes",
    ],
    [[204, "No Content", {}, new Uint8Array(0)], RangeError, "response[3]: must be null with sta"],
    [[304, "Not Modified", {}, new BodyIter([], 5)], RangeError, "response[3]: must be null with"],
    [
      [204, "No Content", { "content-length": 5 }, null],
      RangeError,
      'response[2]["content-length"]: must be left out, as there is no body',
    ],
  ];
  for (const [response, errorClass, beginning] of cases) {
    await t.step(Deno.inspect(response, { breakLength: Infinity }).slice(0, 70), async () => {
      await assertBegins(validate(response), errorClass, beginning);
    });
  }
});
