/** Requests and responses, and the rules for what may answer a request. */
import {
  Body,
  BodyIter,
  type ByteSource,
  type ChunkedBody,
  ChunkedBodyIter,
  ContentRange,
  type HeaderDict,
  type Method,
  Response,
  Response as AppResponse,
} from "@degu/degu/base";
import { mkreq, parseResponse } from "@degu/degu/misc";
import { type AppFunction, toFetchHandler, Validator } from "@degu/degu";
import {
  cancelAnswer,
  labelsOf,
  makeEmptyResponse,
  readAnswer,
  responseFraming,
} from "@degu/internal/base/app/message.ts";
import { api, makeSession, uploads } from "@degu/testing/calling.ts";
import { serve } from "@degu/testing/serving.ts";
import { PieceSource, streamOf } from "@degu/testing/streams.ts";
import { latin1, methods } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";

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

type Verdict = "answered" | "refused";
type AnyApp = (...args: Parameters<AppFunction>) => unknown;

/** What becomes of the answer of an app, by who runs it. */
async function verdictsOn(app: AnyApp, method: Method, upload: "length" | "chunked" | null) {
  const run = app as AppFunction;
  await using serving = serve(run);
  const verdict = (promise: Promise<unknown>): Promise<Verdict> =>
    promise.then(() => "answered" as const, () => "refused" as const);
  const chunks = [[null, latin1("hello")], [null, new Uint8Array(0)]] as const;
  const sent = upload === "chunked" ? new ChunkedBodyIter(chunks) : latin1("hello");
  const request = upload === null ? mkreq(method, "/") : uploads[upload]!();
  const fetchBody = upload === "chunked" ? streamOf(latin1("hello")) : "hello";
  const init = { method, ...(upload === null ? {} : { body: fetchBody }) };
  const ask = async () => {
    const client = serving.makeClient();
    const { body } = await client.request(method, "/", {}, upload === null ? null : sent);
    await body?.cancel();
  };
  const [server, validator, fetch] = await Promise.all([
    verdict(ask()),
    verdict(new Validator(run).handle(request, makeSession(), api)),
    verdict(toFetchHandler(run)(new Request("http://a/", init))),
  ]);
  return { server, validator, fetch };
}

function all(verdict: Verdict) {
  return { server: verdict, validator: verdict, fetch: verdict };
}

/**
 * What an app may do with the body of a request, and whether it has then read it to its end. What
 * depends on the pieces in which the body arrives is tested with Validator alone.
 */
const uses: Record<string, readonly [isRead: boolean, use: (body: Body | ChunkedBody) => unknown]> =
  {
    "leaves it alone": [false, () => {}],
    "reads all": [true, (body) => body.bytes()],
    "reads a part": [false, (body) => body.chunked ? body.readChunk() : body.read(2)],
    "cancels it": [false, (body) => body.cancel()],
    "cancels it with a reason": [false, (body) => body.cancel(new Error("not wanted"))],
    "reads a part and cancels the rest": [false, async (body) => {
      await (body.chunked ? body.readChunk() : body.read(2));
      await body.cancel();
    }],
    "reads all and cancels it": [true, async (body) => {
      await body.bytes();
      await body.cancel();
    }],
    "cancels its stream": [false, (body) => body.readable.cancel()],
    "reads its stream to the end": [true, (body) => body.readable.pipeTo(new WritableStream())],
  };

for (const kind of ["length", "chunked"] as const) {
  for (const [what, [isRead, use]] of Object.entries(uses)) {
    Deno.test(`an app that ${what} of its request's body, before it answers (${kind})`, async () => {
      for (const status of [200, 399, 400, 500]) {
        const app: AnyApp = async ({ body }) => {
          await use(body!);
          return [status, "As you like", {}, null];
        };
        const expected = isRead || status >= 400 ? "answered" : "refused";
        assertEquals(await verdictsOn(app, "POST", kind), all(expected), String(status));
      }
    });
  }
}

Deno.test("an app that replaces the fields of its request is judged by the original ones", async () => {
  const app: AnyApp = (request) => {
    Object.assign(request, { body: null, method: "GET" });
    return [200, "OK", {}, null];
  };
  assertEquals(await verdictsOn(app, "POST", "length"), all("refused"));
  const head: AnyApp = (request) => {
    Object.assign(request, { method: "GET" });
    return [200, "OK", { "content-length": 5 }, null];
  };
  const { validator, fetch } = await verdictsOn(head, "HEAD", null);
  assertEquals([validator, fetch], ["answered", "answered"]);
});

Deno.test("every module that runs an app reports its answers in the same words", async (t) => {
  const nothing: ByteSource = { read: () => Promise.resolve(null) };
  const used = () => {
    const body = new BodyIter([latin1("a")], 1);
    body.cancel();
    return body;
  };
  const rows: [name: string, method: Method, answer: () => unknown, verdict: Verdict][] = [
    ["a tuple", "GET", () => [200, "OK", {}, latin1("a")], "answered"],
    ["a Response", "GET", () => new AppResponse(200, "OK", {}, null), "answered"],
    ["three items", "GET", () => [200, "OK", {}], "refused"],
    ["five items", "GET", () => [200, "OK", {}, null, null], "refused"],
    ["nothing", "GET", () => undefined, "refused"],
    [
      "an object without a body",
      "GET",
      () => ({ status: 200, reason: "OK", headers: {} }),
      "refused",
    ],
    ["an interim status", "GET", () => [199, "OK", {}, null], "refused"],
    ["the last status", "GET", () => [599, "OK", {}, null], "answered"],
    ["a status beyond", "GET", () => [600, "OK", {}, null], "refused"],
    ["a status as text", "GET", () => ["200", "OK", {}, null], "refused"],
    ["a reason", "GET", () => [200, "O", {}, null], "refused"],
    ["a header's name", "GET", () => [200, "OK", { A: "b" }, null], "refused"],
    ["a body to HEAD", "HEAD", () => [200, "OK", {}, latin1("a")], "refused"],
    ["no body to HEAD", "HEAD", () => [200, "OK", { "content-length": 1 }, null], "answered"],
    [
      "a length of 204 to HEAD",
      "HEAD",
      () => [204, "No Content", { "content-length": 1 }, null],
      "refused",
    ],
    ["a body of 204", "GET", () => [204, "No Content", {}, new Uint8Array(0)], "refused"],
    ["a length of 204", "GET", () => [204, "No Content", { "content-length": 0 }, null], "refused"],
    ["a body of 304", "GET", () => [304, "Not Modified", {}, latin1("a")], "refused"],
    [
      "a length of 304",
      "GET",
      () => [304, "Not Modified", { "content-length": 1 }, null],
      "answered",
    ],
    ["another length", "GET", () => [200, "OK", { "content-length": 2 }, latin1("a")], "refused"],
    ["a length without a body", "GET", () => [200, "OK", { "content-length": 2 }, null], "refused"],
    ["a used body", "GET", () => [200, "OK", {}, used()], "refused"],
    ["an empty body", "GET", () => [200, "OK", {}, new Body(nothing, 0)], "answered"],
    ["a text", "GET", () => [200, "OK", {}, "a"], "refused"],
  ];
  for (const [name, method, answer, expected] of rows) {
    await t.step(name, async () => {
      assertEquals(await verdictsOn(answer, method, null), all(expected));
    });
  }
  for (const kind of ["length", "chunked"] as const) {
    await t.step(`the request's own body (${kind})`, async () => {
      const app: AnyApp = ({ body }) => [500, "As you like", {}, body];
      assertEquals(await verdictsOn(app, "POST", kind), all("refused"));
    });
  }
});

Deno.test("readAnswer requires a tuple of four items, or an object with all four fields", () => {
  const parts = { status: 200, reason: "OK", headers: {}, body: null };
  assertEquals(readAnswer([200, "OK", {}, null]), parts);
  assertEquals(readAnswer(new AppResponse(200, "OK", {}, null)), parts);
  assertEquals(readAnswer({ ...parts, more: 1 }), parts);
  for (const missing of Object.keys(parts)) {
    const { [missing as keyof typeof parts]: _, ...rest } = parts;
    assertThrows(() => readAnswer(rest), TypeError, "or a Response; got Object", missing);
  }
  for (const [wrong, got] of [[null, "null"], [undefined, "undefined"], ["a", "string"]] as const) {
    assertThrows(() => readAnswer(wrong), TypeError, `or a Response; got ${got}`);
  }
  assertThrows(() => readAnswer([200, "OK", {}]), TypeError, "got 3 items");
});

Deno.test("labelsOf names the items of a tuple by number, and the fields of an object by name", () => {
  assertEquals(labelsOf([]).headers, "response[2]");
  assertEquals(labelsOf({}).headers, "response.headers");
});

Deno.test("responseFraming says why there must not be a body", () => {
  const body = latin1("a");
  const rows: [method: Method, status: number, why: string][] = [
    ["HEAD", 200, "response[3]: must be null in a response to HEAD; got Uint8Array"],
    ["HEAD", 304, "response[3]: must be null in a response to HEAD; got Uint8Array"],
    ["GET", 204, "response[3]: must be null with status 204; got Uint8Array"],
    ["GET", 304, "response[3]: must be null with status 304; got Uint8Array"],
  ];
  for (const [method, status, why] of rows) {
    assertThrows(() => responseFraming(method, status, body, "response[3]"), RangeError, why);
  }
  assertEquals(responseFraming("GET", 200, body), 1);
  assertEquals(responseFraming("GET", 200, null), null);
  assertEquals(responseFraming("HEAD", 204, null), null);
  assertEquals(responseFraming("HEAD", 200, null), undefined);
  assertEquals(responseFraming("GET", 304, null), undefined);
});

Deno.test("cancelAnswer cancels whatever looks like an unused body, except the request's own", async () => {
  const reason = new Error("too late");
  const cancelled: string[] = [];
  const make = (name: string, used = false) => ({
    used,
    writeTo() {},
    cancel(given: unknown) {
      assertInstanceOf(given, Error);
      cancelled.push(`${name}: ${given.message}`);
      return Promise.resolve();
    },
  });
  const own = make("the request's") as unknown as Body;
  cancelAnswer([make("in a list"), make("used", true), own, null], own, reason);
  cancelAnswer({ body: make("in an object") }, own, reason);
  cancelAnswer({ body: own }, own, reason);
  const failing = {
    get body() {
      throw new Error("a getter that fails");
    },
  };
  for (const nothing of [null, undefined, 5, failing]) cancelAnswer(nothing, own, reason);
  await Promise.resolve();
  assertEquals(cancelled, ["in a list: too late", "in an object: too late"]);
});
