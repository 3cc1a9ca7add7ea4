/** The validator: what an app gets, and what it may return. */
import { type App, type AppFunction, Validator } from "@degu/degu";
import {
  Body,
  BodyIter,
  ChunkedBody,
  ChunkedBodyIter,
  ContentRange,
  type HeaderDict,
  Range,
  Response,
  type ResponseTuple,
} from "@degu/degu/base";
import { mkreq } from "@degu/degu/misc";
import { Request, type Session } from "@degu/degu/server";
import * as arbitrary from "@degu/testing/arbitraries.ts";
import { api, deadSocket, makeSession, uploads } from "@degu/testing/calling.ts";
import {
  assertCallerError,
  assertTypeError,
  callWith,
  constructWith,
  rejectionOf,
} from "@degu/testing/expectations.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { eachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { streamOf, TrackedItems, TrackedStream } from "@degu/testing/streams.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";
import { assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import fc from "fast-check";

// Validator: what a server passes to an app.

const good: AppFunction = () => [200, "OK", {}, null];

// ───────────────────────── what a server hands over

/** A valid request with some of its fields exchanged. */
function requestWith(fields: object): Request {
  const foo = mkreq("GET", "/foo/bar?key", {}, null, 1);
  const { method, uri, headers, body, mount, path, query } = foo;
  return Object.assign(new Request(method, uri, headers, body, mount, path, query), fields);
}

/** Asserts that a promise rejects with just this class and a message that begins so. */
async function assertFails(promise: Promise<unknown>, beginning: string) {
  assertEquals(`${await rejectionOf(promise, beginning)}`.slice(0, beginning.length), beginning);
}

/** Rows by the class of their error, whose messages begin so. */
type ByClass<Rest extends readonly unknown[]> = Record<string, (readonly [string, ...Rest])[]>;

function beginnings<Rest extends readonly unknown[]>(rows: ByClass<Rest>) {
  return Object.entries(rows).flatMap(([kind, list]) =>
    list.map(([beginning, ...rest]) => [`${kind}: ${beginning}`, ...rest] as const)
  );
}

Deno.test("Validator reports where a request is invalid", async (t) => {
  const body = () => new Body(streamOf(latin1("hello")), 5);
  const chunked = () => new ChunkedBody(streamOf(latin1("0\r\n\r\n")));
  const used = body();
  await used.read(1);
  const [four, five] = [{ "content-length": 4 }, { "content-length": 5 }];
  const chunks = { "transfer-encoding": "chunked" };
  const range = new Range(0, 1);
  const contentRange = { "content-range": new ContentRange(0, 1, 2) };
  const put = (headers: HeaderDict, body: unknown = null) => ({ method: "PUT", headers, body });
  const wrong: ByClass<[fields: unknown]> = {
    TypeError: [
      ["request: must be an object; got undefined", undefined],
      ["request: must be an object; got null", null],
      ["request.method: must be a string", { method: 5 }],
      ["request.uri: must be a string", { uri: 5 }],
      ["request.mount: must be an array", { mount: undefined }],
      ["request.path: must be an array; got string", { path: "bar" }],
      ["request.path[0]: must be a string; got number", { path: [5] }],
      ["request.query: must be a string or null", { query: undefined }],
      ["request.headers: must be a plain object", { headers: null }],
      ["request.headers: must be a plain object", { headers: new Headers() }],
      ['request.headers["host"]: must be a string', { headers: { host: 5 } }],
      ['request.headers["range"]: must be a Range', { headers: { range: "bytes=0-1" } }],
      ["request.body: must be an object; got null", put(five)],
      ["request.body.read: must be a function", put(five, new BodyIter([], 5))],
      ["request.shiftPath: must be a function", { shiftPath: undefined }],
      ["request.buildProxyUri: must be a function", { buildProxyUri: null }],
    ],
    RangeError: [
      ["request.method: must be GET", { method: "get" }],
      ["request.uri: ", { uri: "foo/bar?key" }],
      ["request.uri: ", { uri: "/foo/../bar" }],
      ["request.path: must be what mount leaves", { path: [] }],
      ["request.path: must be what mount leaves", { path: ["bar", ""] }],
      ["request.path: must be what mount leaves", { mount: [] }],
      ["request.path: must be what mount leaves", { mount: ["bar"], path: ["foo"] }],
      ["request.query: must be the query", { query: null }],
      ['request.headers["Host"]: the name must', { headers: { Host: "a" } }],
      ['request.headers["host"]: bad char', { headers: { host: "ä" } }],
      ["request.headers: the header content-range is not allowed", put(contentRange)],
      ["request.headers: the header content-length is not allowed", {
        headers: five,
        body: body(),
      }],
      ["request.headers: headers that exclude each other", put({ ...five, range })],
      ["request.body: must be null, since no header", put({}, body())],
      ["request.body: must be null, since no header", { body: undefined }],
      ["request.body.contentLength: must be 4, as the headers say; got 5", put(four, body())],
      ["request.body.chunked: must be false", put(five, chunked())],
      ["request.body.chunked: must be true", put(chunks, body())],
    ],
    BodyError: [["request.body: was used before", put(five, used)]],
  };
  await eachRow(t, beginnings(wrong), async (beginning, fields) => {
    const app: App = () => {
      throw new Error("the app was called");
    };
    const request = fields && requestWith(fields);
    const handled = new Validator(app).handle(request as Request, makeSession(), api);
    await assertFails(handled, beginning);
  });
});

Deno.test("Validator reports where a session is invalid", async () => {
  const sessionWith = (fields: Record<string, unknown>) => ({
    ...{ address: null, peerCertificate: null, maxRequests: 10, requests: 0 },
    ...{ store: new Map(), message: null, ...fields },
  });
  const cases: [session: unknown, beginning: string][] = [
    [undefined, "session: must be an object"],
    [sessionWith({ address: undefined }), "session.address: must be null, [host, port] or"],
    [sessionWith({ address: "::1" }), "session.address: must"],
    [sessionWith({ address: ["::1"] }), "session.address: must"],
    [sessionWith({ address: ["::1", "80"] }), "session.address: must"],
    [sessionWith({ address: ["::1", 80, 0] }), "session.address: must"],
    [sessionWith({ address: ["::1", 80, 0, 0, 0] }), "session.address: must"],
    [sessionWith({ maxRequests: "10" }), "session.maxRequests: must be a number; got string"],
    [sessionWith({ maxRequests: 0 }), "session.maxRequests: must be an integer of 1 or more"],
    [sessionWith({ maxRequests: 1.5 }), "session.maxRequests: must be an integer of 1 or more"],
    [sessionWith({ requests: -1 }), "session.requests: must be an integer from 0 to 9"],
    [sessionWith({ requests: 10 }), "session.requests: must be an integer from 0 to 9"],
    [sessionWith({ store: {} }), "session.store: must be a Map; got Object"],
    [sessionWith({ peerCertificate: undefined }), "session.peerCertificate: must be an object or"],
    [sessionWith({ message: "over" }), "session.message: must be null"],
  ];
  const validator = new Validator(good);
  for (const [session, beginning] of cases) {
    const handled = validator.handle(mkreq("GET", "/"), session as Session, api);
    for (const call of [handled, validator.onConnect(session as Session, deadSocket)]) {
      assertStringIncludes(`${await rejectionOf(call, beginning)}`, `Error: ${beginning}`);
    }
  }
  const valid = [
    makeSession(),
    sessionWith({}),
    sessionWith({ maxRequests: Infinity, requests: 2 ** 40 }),
    sessionWith({ address: ["fe80::1", 80, 0, 3] }),
  ];
  for (const session of valid) {
    await validator.handle(mkreq("GET", "/"), session as Session, api);
  }
});

Deno.test("Validator requires all classes of the api", async () => {
  const validator = new Validator(good);
  const handle = (given: unknown) =>
    validator.handle(mkreq("GET", "/"), makeSession(), given as typeof api);
  await assertFails(handle(undefined), "TypeError: api: must be an object");
  for (const name of Object.keys(api)) {
    const handled = handle({ ...api, [name]: undefined });
    await assertFails(handled, `TypeError: api.${name}: must be a function`);
  }
});

// ───────────────────────── onConnect

Deno.test("Validator requires onConnect to return true or false", async () => {
  for (const answer of [undefined, null, 1, "true", {}, Promise.resolve("yes")]) {
    const app = { handle: good, onConnect: () => answer as boolean };
    const said = "TypeError: onConnect: must be a function that returns true or false; got ";
    await assertFails(new Validator(app).onConnect(makeSession(), deadSocket), said);
  }
});

Deno.test("Validator requires a socket", async () => {
  const onConnect = (sock: unknown) =>
    new Validator(good).onConnect(makeSession(), sock as typeof deadSocket);
  await assertFails(onConnect(null), "TypeError: sock: must be an object; got null");
  for (const name of ["read", "write", "close"]) {
    const connected = onConnect({ ...deadSocket, [name]: undefined });
    await assertFails(connected, `TypeError: sock.${name}: must be a function; got undefined`);
  }
});

Deno.test("Validator wraps only apps", () => {
  for (const wrong of [undefined, null, 5, "app", {}, { handle: 5 }, [good]]) {
    assertTypeError(() => constructWith(Validator, wrong), Deno.inspect(wrong));
  }
  assertTypeError(() => constructWith(Validator, { handle: good, onConnect: 5 }), "onConnect");
});

// Validator: what an app returns, whether it has read the request's body, and how it works with a
// server.

/** What the validator makes of a response to a request; a GET without headers unless told. */
function validate(response: unknown, request = mkreq("GET", "/")) {
  const app: AppFunction = () => response as ResponseTuple;
  return new Validator(app).handle(request, makeSession(), api);
}

// ───────────────────────── what is in order

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

Deno.test("Validator answers with a tuple, whether the app returned one or a Response", async () => {
  for (const body of [null, new Uint8Array(3)] as const) {
    const headers = { hello: "world" };
    const given: unknown[] = [[200, "OK", headers, body]];
    if (body === null) given.push(new Response(200, "OK", headers, body));
    for (const returned of given) {
      const answer = await validate(returned);
      assertEquals(Array.isArray(answer), true);
      assertEquals(answer, [200, "OK", headers, body]);
    }
  }
});

// ───────────────────────── what an app returns

Deno.test("Validator reports where a response is invalid", async (t) => {
  const bytes = new Uint8Array(5);
  const length = (length: unknown) => ({ "content-length": length });
  const coding = (coding: string) => ({ "transfer-encoding": coding });
  const both = { ...coding("chunked"), ...length(5) };
  const whole: ByClass<[response: unknown]> = {
    TypeError: [
      [
        "response: must be [status, reason, headers, body] or a Response of this library",
        undefined,
      ],
      ["response: must", null],
      ["response: must", "200 OK"],
      ["response: must", { status: 200, reason: "OK", headers: {} }],
      ["response: must be [status, reason, headers, body]; got 3 items", [200, "OK", {}]],
      ["response: must", [200, "OK", {}, null, null]],
      ["response.status: must be a number; got string", ["200", "OK", {}, null]],
      ["response.reason: must be a string; got null", [200, null, {}, null]],
    ],
    RangeError: [
      ["response.status: must be an integer from 200 to 599", [199, "OK", {}, null]],
      ["response.status: must", [600, "OK", {}, null]],
      ["response.status: must", [200.5, "OK", {}, null]],
      ["response.status: must", [NaN, "OK", {}, null]],
      ["response.reason: must be two or more", [200, "", {}, null]],
      ["response.reason: must be two or more", [200, "O", {}, null]],
      ["response.reason: must be two or more", [200, "OK\r\nfoo: bar", {}, null]],
    ],
  };
  /** What is wrong with the headers and the body of a response, with its status if that matters. */
  const parts: ByClass<[headers: unknown, body?: unknown, status?: number]> = {
    TypeError: [
      [".headers: must be a plain object; got null", null],
      [".headers: must be a plain object; got Array", []],
      [".headers: must be a plain object; got Map", new Map()],
      [".headers: must be a plain object; got Headers", new Headers()],
      ['.headers["a"]: must be a string; got number', { a: 5 }],
      ['.headers["a"]: must be a string; got null', { a: null }],
      ['.headers["content-length"]: must be a number', length("5"), bytes],
      ['.headers["content-range"]: must be a ContentRange; got string', {
        "content-range": "bytes 0-1/2",
      }],
      ...[undefined, 5, new ArrayBuffer(5), [latin1("a")]].map((body) =>
        [".body: must be null, a string, Uint8Array", {}, body] as const
      ),
    ],
    RangeError: [
      ['.headers["Content-Type"]: the name must', { "Content-Type": "a" }],
      ['.headers[""]: the name must', { "": "a" }],
      ['.headers["a\\r\\nb"]: the name must', { "a\r\nb": "c" }],
      ['.headers["a"]: must have at least one character', { a: "" }],
      ['.headers["a"]: bad character', { a: "b\r\nc: d" }],
      ['.headers["a"]: bad character', { b: "b", a: "é" }],
      ['.headers["content-length"]: must be an integer', length(-1), bytes],
      [
        '.headers["content-length"]: must match the body, which has 5 bytes, or be left out; got "4"',
        length(4),
        bytes,
      ],
      ['.headers["content-length"]: must be left out, because there is no body', length(0)],
      [
        '.headers["content-length"]: must be left out, because there is no body',
        length(5),
        null,
        204,
      ],
      [
        '.headers["transfer-encoding"]: must be "chunked"',
        coding("gzip"),
        new ChunkedBodyIter([]),
      ],
      [
        '.headers["transfer-encoding"]: must match the body, which has 5 bytes, or be left',
        coding("chunked"),
        bytes,
      ],
      [".headers: headers that exclude each other", both, null, 304],
      [".headers: the header range", { range: new Range(0, 5) }],
      [".headers: must fit in a preamble", { a: "b".repeat(20000), c: "d".repeat(20000) }],
      [".body: must be a Body or a BodyIter above 16777216", {}, new Uint8Array(16777217)],
      [".body: must be null with status 204", {}, new Uint8Array(0), 204],
      [".body: must be null with status 304", {}, new BodyIter([], 5), 304],
    ],
  };
  const all = [
    ...beginnings(whole),
    ...beginnings(parts).map(([beginning, ...part]) => {
      const [headers, body = null, status = 200] = part;
      const given = part.length === 2 ? part[1] : body;
      return [beginning.replace(": ", ": response"), [status, "OK", headers, given]] as const;
    }),
  ];
  await eachRow(t, all, async (beginning, response) => {
    await assertFails(validate(response), beginning);
    // A response that is an object is refused in the same words.
    if (!Array.isArray(response) || response.length !== 4) return;
    const [status, reason, headers, body] = response;
    // What has been refused has been canceled.
    if (body instanceof BodyIter || body instanceof ChunkedBodyIter) return;
    await assertFails(validate({ status, reason, headers, body }), beginning);
  });
});

Deno.test("Validator refuses a body that was used, or is the request's", async () => {
  const used = new Body(streamOf(latin1("hello")), 5);
  await used.read(1);
  await assertFails(validate([200, "OK", {}, used]), "BodyError: response.body: has been used");
  for (const makeRequest of Object.values(uploads)) {
    const request = makeRequest();
    for (const status of [200, 400]) {
      await assertFails(
        validate([status, "As you like", {}, request.body], request),
        "BodyError: response.body: must not be the body of the request",
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
  const unread = new TrackedItems([latin1("hello")]);
  const answer: AppFunction = () => [200, "OK", {}, new BodyIter(unread.sync(), 5)];
  const handled = new Validator(answer).handle(uploads["length"]!(), makeSession(), api);
  await rejectionOf(handled, "an unread body");
  assertEquals(unread.settled, true);
});

Deno.test("Validator leaves the body of an answer to HEAD as it is, which the server cancels", async () => {
  const items = new TrackedItems([latin1("hello")]);
  const answer: AppFunction = () => [200, "OK", {}, new BodyIter(items.sync(), 5)];
  const request = mkreq("HEAD", "/");
  const [, , , body] = await new Validator(answer).handle(request, makeSession(), api);
  assertEquals([(body as BodyIter).used, items.settled], [false, false]);
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
  const app: AppFunction = () => [200, "OK", { "Content-Type": "text/plain" }, null];
  await using serving = serve(new Validator(app));
  using peer = await RawPeer.connect(serving.address);
  await peer.send("GET / HTTP/1.1\r\n\r\n");
  await peer.assertClosedSilently();
  const [line = ""] = await serving.logger.waitFor("error");
  assertStringIncludes(line, 'RangeError: response.headers["Content-Type"]: the name must');
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
