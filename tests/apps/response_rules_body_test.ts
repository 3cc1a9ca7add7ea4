/** The rules of a response's body, and the Validator between an app and a server. */
import { assertEquals, assertInstanceOf } from "@std/assert";
import {
  Body,
  BodyError,
  BodyIter,
  ChunkedBodyIter,
  type HeaderDict,
  Response,
  type ResponseTuple,
} from "@degu/degu/base";
import { mkreq } from "@degu/degu/misc";
import { type App, type AppFunction, Validator } from "@degu/degu";
import { api, assertBegins, makeSession, uploads } from "@degu/testing/calling.ts";
import {
  assertCallerError,
  callWith,
  constructWith,
  rejectionOf,
} from "@degu/testing/expectations.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { streamOf, TrackedItems, TrackedStream } from "@degu/testing/streams.ts";
import { allowedBytes, latin1 } from "@degu/testing/wire_grammar.ts";

const good: AppFunction = () => [200, "OK", {}, null];

/** What the validator makes of a response to a request; a GET without headers unless told. */
function validate(response: unknown, request = mkreq("GET", "/")) {
  const app: AppFunction = () => response as ResponseTuple;
  return new Validator(app).handle(request, makeSession(), api);
}

// ───────────────────────── what is in order

Deno.test("Validator refers to the fields of a Response by name", async () => {
  const make = (...parts: unknown[]) => constructWith(Response, ...parts);
  const cases: [response: unknown, beginning: string][] = [
    [make("200", "OK", {}, null), "response.status: must"],
    [make(200, "O", {}, null), "response.reason: must"],
    [make(200, "OK", { A: "b" }, null), 'response.headers["A"]: the name must'],
    [make(200, "OK", {}, "hello"), "response.body: must"],
    [
      make(200, "OK", { "content-length": 5 }, null),
      'response.headers["content-length"]: must be left',
    ],
  ];
  for (const [response, beginning] of cases) {
    await assertBegins(validate(response), Error, beginning);
  }
});

Deno.test("Validator refuses every character that is not allowed in a header, anywhere", async () => {
  const names = "-0123456789abcdefghijklmnopqrstuvwxyz";
  for (let code = 0; code < 300; code++) {
    const character = String.fromCharCode(code);
    for (const text of [character, `a${character}`, `${character}a`]) {
      const asName = validate([200, "OK", { [text]: "a" }, null]);
      if (names.includes(character)) await asName;
      else await assertBegins(asName, RangeError, "response[2][");
      const asValue = validate([200, "OK", { a: text }, null]);
      if (allowedBytes.headerValue.includes(character)) await asValue;
      else await assertBegins(asValue, RangeError, 'response[2]["a"]: bad character');
    }
  }
});

Deno.test("Validator requires a null body in a response to HEAD", async () => {
  const head = () => mkreq("HEAD", "/");
  for (const body of [new Uint8Array(0), new BodyIter([], 5), new ChunkedBodyIter([])]) {
    await assertBegins(
      validate([200, "OK", {}, body], head()),
      RangeError,
      "response[3]: must be null in a response to HEAD",
    );
  }
  await validate([200, "OK", { "content-length": 5 }, null], head());
  await validate([204, "No Content", {}, null], head());
  await assertBegins(
    validate([204, "No Content", { "content-length": 5 }, null], head()),
    RangeError,
    'response[2]["content-length"]: must be left out, as there is no body',
  );
});

Deno.test("Validator refuses a body that was used, or is the request's", async () => {
  const used = new Body(streamOf(latin1("hello")), 5);
  await used.read(1);
  await assertBegins(validate([200, "OK", {}, used]), BodyError, "response[3]: has been used");
  for (const makeRequest of Object.values(uploads)) {
    const request = makeRequest();
    for (const status of [200, 400]) {
      await assertBegins(
        validate([status, "As you like", {}, request.body], request),
        BodyError,
        "response[3]: must not be the body of the request",
      );
    }
    assertEquals(request.body?.used, false, "what is not the app's is not given up for it");
  }
});

Deno.test("Validator cancels the body of a response that it refuses", async () => {
  const items = new TrackedItems([latin1("hello")]);
  await rejectionOf(validate([99, "OK", {}, new BodyIter(items.async(), 5)]), "a bad status");
  assertEquals(items.settled, true);
  const stream = new TrackedStream([latin1("hello")]);
  const response = new Response(200, "OK", { A: "b" }, new Body(stream.stream, 5));
  await rejectionOf(validate(response), "a bad header");
  assertEquals(stream.cancelled.length, 1);
});

// ───────────────────────── together with a server

Deno.test("what a server passes to the app is valid, and what the app returns arrives", async () => {
  const app: App = async ({ method, body, headers }) => {
    const text = await body?.text() ?? "";
    const answer: HeaderDict = { method, ...headers["range"] && { had: `${headers["range"]}` } };
    return [200, "OK", answer, method === "HEAD" ? null : latin1(text)];
  };
  await using serving = serve({
    handle: new Validator(app).handle.bind(new Validator(app)),
    onConnect: (session, sock) => new Validator(app).onConnect(session, sock),
  });
  using conn = await serving.makeClient().connect();
  const chunks = new ChunkedBodyIter([[null, latin1("abc")], [["k", "v"], new Uint8Array(0)]]);
  assertEquals(await (await conn.post("/a/?b=c", {}, chunks)).body?.text(), "abc");
  assertEquals(await (await conn.put("/", {}, latin1("def"))).body?.text(), "def");
  assertEquals((await conn.put("/", {}, null)).headers["method"], "PUT");
  assertEquals((await conn.head("/")).headers["method"], "HEAD");
  const ranged = await conn.getRange("/", {}, 2, 5);
  assertEquals(ranged.headers["had"], "bytes=2-4");
  await ranged.body?.bytes();
  assertEquals((await conn.delete("/")).headers["method"], "DELETE");
  assertEquals(serving.logger.at("error"), []);
});

Deno.test("a server logs the error of Validator, and sends nothing", async () => {
  await using serving = serve(
    new Validator(() => [200, "OK", { "Content-Type": "text/plain" }, null]),
  );
  using peer = await RawPeer.connect(serving.address);
  await peer.send("GET / HTTP/1.1\r\n\r\n");
  await peer.assertClosedSilently();
  const [line = ""] = await serving.logger.waitFor("error");
  assertEquals(line.includes('RangeError: response[2]["Content-Type"]: the name must'), true, line);
});

Deno.test("no function of the contract throws instead of rejecting", () => {
  const validator = new Validator(good);
  const handled = callWith(validator.handle.bind(validator));
  assertInstanceOf(handled, Promise);
  handled.catch(() => {});
  const connected = callWith(validator.onConnect.bind(validator));
  assertInstanceOf(connected, Promise);
  connected.catch(() => {});
  assertCallerError(() => constructWith(Validator), "no app");
});
