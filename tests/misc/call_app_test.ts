/** Calls of apps without a server: callApp(), and the requests and sessions of mkreq() and mkSession(). */
import type { BodyIn, BodyOut, Chunk, PeerCertificate } from "@degu/degu/base";
import {
  type App,
  type AppFunction,
  type AppObject,
  Body,
  BodyError,
  BodyIter,
  ChunkedBody,
  ChunkedBodyIter,
  ConnectionClosedError,
  type HeadersToSend,
  type Method,
  Range,
  reply,
  Response,
  type ResponseTuple,
  routes,
  wrapApp,
} from "@degu/degu";
import { callApp, mkreq, mkSession, type SessionFields } from "@degu/degu/misc";
import * as arbitrary from "../base/arbitraries.ts";
import {
  assertCallerError,
  assertRangeError,
  assertTypeError,
  callWith,
  catchRejection,
  flatten,
  formatLabel,
} from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { PieceSource, streamOf, TrackedItems, TrackedStream } from "@degu/testing/streams.ts";
import { encodeLatin1, methods } from "@degu/testing/wire_grammar.ts";
import {
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { acceptedUris, refusedUris } from "../base/wire/uri.rows.ts";
import { describeTrust } from "@degu/testing/sessions.ts";

/** Functions that make a request with a body of two pieces, of known length or in two chunks. */
const uploads: Record<string, () => ReturnType<typeof mkreq>> = {
  length: () =>
    mkreq(
      "PUT",
      "/",
      { "content-length": 5 },
      new Body(streamOf(encodeLatin1("hel"), encodeLatin1("lo")), 5),
    ),
  chunked: () =>
    mkreq(
      "POST",
      "/",
      { "transfer-encoding": "chunked" },
      new ChunkedBody(streamOf(encodeLatin1("3\r\nhel\r\n"), encodeLatin1("2\r\nlo\r\n0\r\n\r\n"))),
    ),
};

Deno.test("callApp resolves to the response that a client would get", async () => {
  const bytes = new Uint8Array(3);
  const apps: App[] = [
    () => [201, "Created", { a: "b" }, bytes],
    () => new Response(201, "Created", { a: "b" }, bytes),
    { handle: () => [201, "Created", { a: "b" }, bytes] },
  ];
  for (const app of apps) {
    const response = await callApp(app, mkreq("GET", "/"));
    assertInstanceOf(response, Response);
    const { status, reason, headers, body } = response;
    const received = { ...headers };
    assertEquals([status, reason, received], [201, "Created", { a: "b", "content-length": 3 }]);
    assertInstanceOf(body, Body);
    assertEquals(await response.bytes(), bytes);
  }
  const rows: [answer: ResponseTuple, method: Method, headers: HeadersToSend][] = [
    [[200, "OK", {}, ""], "GET", {}],
    [[200, "OK", { "content-length": 0 }, null], "GET", {}],
    [[200, "OK", {}, "hello"], "HEAD", { "content-length": 5 }],
    [[304, "Not Modified", { "content-length": 5 }, null], "GET", { "content-length": 5 }],
  ];
  for (const [appResponse, method, headers] of rows) {
    const response = await callApp(() => appResponse, mkreq(method, "/"));
    assertEquals([{ ...response.headers }, response.body], [headers, null]);
  }
});

Deno.test("callApp rejects if onConnect refuses the peer", async (t) => {
  const rows: readonly [string, NonNullable<AppObject["onConnect"]>, string][] = [
    ["false", () => false, "refused by onConnect"],
    ["an identity that isn't trusted", () => ({ user: "anna", isTrusted: () => false }), "trusted"],
    ["no certificate", (session) => session.peerCertificate !== null, "refused by onConnect"],
    ["another address", ({ address }) => address?.[0] === "10.0.0.1", "refused by onConnect"],
    ["a session that is closed", (session) => {
      session.close();
      return true;
    }, "closed by the app"],
    ["a socket that is closed", (_session, socket) => {
      socket.close();
      return true;
    }, "closed by the app"],
  ];
  await testEachRow(t, rows, async (_label, onConnect, problem) => {
    let isCalled = false;
    const object = { onConnect, handle: () => (isCalled = true, reply(200)) };
    const gated = [object, routes({ "/a/": object }), wrapApp(object, (next) => next())];
    for (const app of gated) {
      for (const options of [{}, { session: { address: ["10.0.0.2", 80] } }] as const) {
        const call = () => callApp(app, mkreq("GET", "/a/"), options);
        const error = await assertRejects(call, ConnectionClosedError, problem);
        assertEquals([error.code, isCalled], ["REFUSED", false]);
        assertStringIncludes(error.message, 'such as { session: { user: "anna" } }');
      }
    }
  });
});

Deno.test("callApp calls onConnect unless the options have the peer", async () => {
  const identified = { onConnect: () => ({ user: "bert" }), handle: showUser };
  const refusing = { onConnect: () => false, handle: showUser };
  const call = async (app: App, options?: Parameters<typeof callApp>[2]) =>
    await (await callApp(app, mkreq("GET", "/"), options)).text();
  assertEquals(await call(identified), "bert trusted");
  assertEquals(await call(identified, { session: { address: null } }), "bert trusted");
  assertEquals(await call(showUser), "null anonymous");
  for (const app of [identified, refusing]) {
    assertEquals(await call(app, { session: { user: "anna" } }), "anna trusted");
    assertEquals(await call(app, { session: mkSession({ user: "camera" }) }), "camera trusted");
  }
  const failing = { onConnect: () => Promise.reject(new Error("no list")), handle: showUser };
  await assertRejects(() => call(failing), Error, "no list");
  const invalid = { onConnect: () => "yes" as never, handle: showUser };
  await assertRejects(() => call(invalid), TypeError, "onConnect must return true");
  const reading: AppObject = {
    onConnect: async (_session, socket) => await socket.read(new Uint8Array(1)) !== null,
    handle: showUser,
  };
  await assertRejects(() => call(reading), TypeError, "callApp() has no connection");
});

const showUser: AppFunction = async (_request, session) =>
  reply(200, `${session.user} ${await describeTrust(session)}`);

/** Asserts that a promise rejects with exactly this class, and a message with this start. */
async function assertFails(promise: Promise<unknown>, beginning: string) {
  assertEquals(`${await catchRejection(promise, beginning)}`.slice(0, beginning.length), beginning);
}

/** Rows by the class of their error; each row begins with the start of the message. */
type ByClass<Rest extends readonly unknown[]> = Record<string, (readonly [string, ...Rest])[]>;

function listRows<Rest extends readonly unknown[]>(rows: ByClass<Rest>) {
  return Object.entries(rows).flatMap(([kind, list]) =>
    list.map(([beginning, ...rest]) => [`${kind}: ${beginning}`, ...rest] as const)
  );
}

/** Calls callApp with an app that returns a value; by default for a GET without headers. */
function callAppReturning(response: unknown, request = mkreq("GET", "/")) {
  return callApp((() => response) as App, request);
}

Deno.test("callApp accepts every valid request, as mkreq makes it", async () => {
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
      assertEquals((await callApp(() => reply(400), request)).status, 400);
    },
  ));
});

Deno.test("callApp accepts every valid response", async () => {
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
      if (status !== 304) await callAppReturning([status, reason, headers, body]);
      await callAppReturning([status, reason, headers, null], mkreq("HEAD", "/"));
      await callAppReturning([304, reason, headers, null]);
    },
  ));
});

Deno.test("callApp rejects for a response that a server would refuse, and names the invalid part", async (t) => {
  const bytes = new Uint8Array(5);
  const makeLengthHeader = (length: unknown) => ({ "content-length": length });
  const makeCodingHeader = (coding: string) => ({ "transfer-encoding": coding });
  const bothFramings = { ...makeCodingHeader("chunked"), ...makeLengthHeader(5) };
  const responses: ByClass<[response: unknown]> = {
    TypeError: [
      [
        "response: must be [status, reason, headers, body] or { status, reason, headers, body }",
        undefined,
      ],
      ["response: must be [status, reason, headers, body]; got 3 items", [200, "OK", {}]],
      ["response.status: must be a number; got string", ["200", "OK", {}, null]],
    ],
    RangeError: [
      ["response.status: must be an integer from 200 to 599", [199, "OK", {}, null]],
      ["response.reason: must be visible characters", [200, "OK\r\nfoo: bar", {}, null]],
    ],
  };
  /** Invalid headers and bodies of a response, with its status if that matters. */
  const parts: ByClass<[headers: unknown, body?: unknown, status?: number]> = {
    TypeError: [
      [".headers: must be a plain object; got Headers", new Headers()],
      ['.headers["a"]: must be a string; got number', { a: 5 }],
      [".body: must be null, a string, Uint8Array", {}, new Uint16Array(5)],
    ],
    RangeError: [
      ['.headers["Content-Type"]: the name must', { "Content-Type": "a" }],
      ['.headers["a"]: bad character', { a: "b\r\nc: d" }],
      [
        '.headers["content-length"]: must match the body, which has 5 bytes, or be left out; got "4"',
        makeLengthHeader(4),
        bytes,
      ],
      [
        '.headers["content-length"]: must be left out, because there is no body',
        makeLengthHeader(5),
        null,
        204,
      ],
      [
        '.headers["transfer-encoding"]: must be "chunked"',
        makeCodingHeader("gzip"),
        new ChunkedBodyIter([]),
      ],
      [".headers: headers that exclude each other", bothFramings, null, 304],
      [".headers: the header range", { range: new Range(0, 5) }],
      [".headers: must fit in a preamble", { a: "b".repeat(20000), c: "d".repeat(20000) }],
      [".body: must be a Blob, a Body or a BodyIter above 16777216", {}, new Uint8Array(16777217)],
      [".body: must be null with status 204", {}, new Uint8Array(0), 204],
    ],
  };
  const rows = [
    ...listRows(responses),
    ...listRows(parts).map(([beginning, ...part]) => {
      const [headers, body = null, status = 200] = part;
      const responseBody = part.length === 2 ? part[1] : body;
      return [beginning.replace(": ", ": response"), [
        status,
        "OK",
        headers,
        responseBody,
      ]] as const;
    }),
  ];
  await testEachRow(t, rows, async (beginning, response) => {
    await assertFails(callAppReturning(response), beginning);
    // A response as an object is refused with the same message.
    if (!Array.isArray(response) || response.length !== 4) return;
    const [status, reason, headers, body] = response;
    // The refused body was canceled, and can't be used again.
    if (body instanceof BodyIter || body instanceof ChunkedBodyIter) return;
    await assertFails(callAppReturning({ status, reason, headers, body }), beginning);
  });
});

Deno.test("callApp refuses a response whose body was used", async () => {
  const usedBody = new Body(streamOf(encodeLatin1("hello")), 5);
  await usedBody.read(1);
  await assertFails(
    callAppReturning([200, "OK", {}, usedBody]),
    "BodyError: response.body: has been used",
  );
});

Deno.test("callApp returns the body of the request, and doesn't cancel it if it refuses the response", async () => {
  for (const makeRequest of Object.values(uploads)) {
    for (const status of [200, 400]) {
      const request = makeRequest();
      const response = await callAppReturning([status, "As you like", {}, request.body], request);
      assertEquals([response.status, await response.bytes()], [
        status,
        await makeRequest().bytes(),
      ]);
    }
    const request = makeRequest();
    const responding = callAppReturning([99, "OK", {}, request.body], request);
    await assertFails(responding, "RangeError: response.status");
    assertEquals(request.body?.used, false);
  }
});

Deno.test("callApp cancels the body of a response that it refuses, and the body of a response to HEAD", async () => {
  const items = new TrackedItems([encodeLatin1("hello")]);
  await catchRejection(
    callAppReturning([99, "OK", {}, new BodyIter(items.toAsyncIterable(), 5)]),
    "a bad status",
  );
  assertEquals(items.isSettled, true);
  const stream = new TrackedStream([encodeLatin1("hello")]);
  const response = new Response(200, "OK", { A: "b" }, new Body(stream.stream, 5));
  await catchRejection(callAppReturning(response), "a bad header");
  assertEquals(stream.cancelReasons.length, 1);
  const body = new BodyIter([encodeLatin1("hello")], 5);
  await callAppReturning([200, "OK", {}, body], mkreq("HEAD", "/"));
  assertEquals(body.used, true);
});

Deno.test("callApp resolves to 413, as a server responds, if the body of the request is too long for the app", async () => {
  const app: App = async (request) => {
    const { body } = request;
    (request as { body: unknown }).body = null;
    return reply(200, await body!.text({ maxBytes: 4 }));
  };
  assertEquals([...await callApp(app, mkreq("PUT", "/", {}, "four"))].slice(0, 2), [200, "OK"]);
  const refused = await callApp(app, mkreq("PUT", "/", {}, "five!"));
  assertEquals([refused.status, refused.reason, refused.headers], [
    413,
    "Content Too Large",
    Object.create(null),
  ]);
  assertEquals(await refused.text(), "");
  const otherApp: App = async () =>
    reply(200, await new Body(streamOf(new Uint8Array(2)), 2).text({ maxBytes: 1 }));
  await assertRejects(() => callApp(otherApp, mkreq("PUT", "/", {}, "five!")), BodyError);
});

Deno.test("callApp refuses the Request of the platform, and any other object", async () => {
  for (const request of [new Request("http://localhost/"), { ...mkreq("GET", "/") }, null]) {
    const error = await catchRejection(
      callApp(() => reply(200), request as never),
      "another request",
    );
    assertInstanceOf(error, TypeError);
    assertStringIncludes(error.message, "request: must be a Request of this package, as mkreq()");
  }
});

Deno.test("callApp makes a session from properties", async () => {
  const store = new Map<string, unknown>([["key", 1]]);
  const address = ["127.0.0.1", 80] as const;
  const peerCertificate = { publicKey256: "5D:02" } as PeerCertificate;
  const sessionFields = { address, peerCertificate, user: "anna", store, isTrusted: () => true };
  const values: unknown[] = [];
  const app: App = async (_request, session) => {
    values.push(session.address, session.peerCertificate, session.user, session.store);
    values.push(await describeTrust(session));
    session.store.set("seen", true);
    return reply(204);
  };
  await callApp(app, mkreq("GET", "/"), { session: sessionFields });
  assertEquals(values, [address, peerCertificate, "anna", store, "trusted"]);
  assertEquals(store.get("seen"), true);
  values.length = 0;
  await callApp(app, mkreq("GET", "/"), { session: {} });
  assertEquals(values.slice(0, 3).concat(values[4]), [null, null, null, "anonymous"]);
});

Deno.test("callApp refuses wrong arguments", async () => {
  const call = callApp as (...args: unknown[]) => Promise<unknown>;
  const app: App = () => reply(200);
  const request = mkreq("GET", "/");
  const rows: unknown[][] = [
    [{}, request],
    [app, undefined],
    [app, request, { session: { names: "peer" } }],
    [app, request, { peers: "a" }],
  ];
  for (const args of rows) {
    await assertRejects(() => call(...args), TypeError, "", Deno.inspect(args));
  }
});

// mkSession().

Deno.test("mkSession makes a session with its fields, and otherwise an anonymous session", async () => {
  const store = new Map([["a", 1]]);
  const session = mkSession({ logName: "peer 1", address: ["::1", 80], user: "anna", store });
  assertEquals([`${session}`, session.address, session.user], [
    "anna (peer 1)",
    ["::1", 80],
    "anna",
  ]);
  assertStrictEquals(session.store, store);
  assertEquals(await describeTrust(session), "trusted");
  for (const empty of [mkSession(), mkSession({})]) {
    const { address, peerCertificate, user, store } = empty;
    assertEquals([`${empty}`, address, peerCertificate, user], ["test", null, null, null]);
    assertEquals([store.size, await describeTrust(empty)], [0, "anonymous"]);
  }
});

Deno.test("callApp answers 403, and doesn't call the app, if isTrusted of the session isn't true", async (t) => {
  const rows: [label: string, isTrusted: () => unknown, trust: string][] = [
    ["true", () => true, "trusted"],
    ["false", () => false, "untrusted"],
    ["a value that is only true in a condition", () => 1, "untrusted"],
    ["an error", () => Promise.reject(new Error("no list")), "untrusted"],
  ];
  await testEachRow(t, rows, async (_label, isTrusted, trust) => {
    const session = mkSession({ user: "anna", isTrusted: isTrusted as () => boolean });
    assertEquals([session.user, await describeTrust(session)], ["anna", trust]);
    let calls = 0;
    const { status } = await callApp(() => reply(200, `${++calls}`), mkreq("GET", "/"), {
      session,
    });
    assertEquals([status, calls], trust === "trusted" ? [200, 1] : [403, 0]);
  });
});

Deno.test("mkSession and callApp refuse the same wrong fields", async () => {
  const wrongFields: readonly unknown[] = [
    ...[null, { usr: "anna" }, { logName: 5 }, { user: 5 }, { store: {} }, {
      user: "anna",
      isTrusted: true,
    }],
    { isTrusted: () => true },
  ];
  for (const fields of wrongFields) {
    const given = fields as SessionFields;
    const { message } = assertThrows(() => mkSession(given), TypeError, "session");
    const call = () => callApp(() => reply(204), mkreq("GET", "/"), { session: given });
    assertEquals((await assertRejects(call, TypeError)).message, message);
  }
});

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
  assertEquals(makeShifted("/foo/bar", 1), [["foo"], ["bar"]]);
  assertEquals(makeShifted("/foo/", 2), [["foo", ""], []]);
  assertRangeError(() => mkreq("GET", "/foo", {}, null, -1), "-1");
  assertTypeError(() => callWith(mkreq, "GET", "/foo", {}, null, "1"), "shift as a string");
});

Deno.test("mkreq refuses a request that could not have been received", () => {
  for (const { text } of refusedUris) {
    assertCallerError(() => mkreq("GET", text), formatLabel(text));
  }
  for (const method of ["get", "TRACE", "", "constructor"]) {
    assertRangeError(() => callWith(mkreq, method, "/"), method);
  }
  for (const headers of [{ "X-A": "b" }, { "a b": "c" }, { ["a".repeat(257)]: "b" }]) {
    assertRangeError(() => mkreq("GET", "/", headers), Deno.inspect(headers));
  }
});
