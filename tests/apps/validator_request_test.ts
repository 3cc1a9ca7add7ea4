/** Validator: what a server passes to an app. */
import { assertStrictEquals } from "@std/assert";
import {
  Body,
  BodyError,
  BodyIter,
  ChunkedBody,
  ContentRange,
  type Method,
  Range,
} from "@degu/degu/base";
import { mkreq } from "@degu/degu/misc";
import { type App, type AppFunction, Validator } from "@degu/degu";
import { Request, type Session } from "@degu/degu/server";
import {
  api,
  assertBegins,
  deadSocket,
  type ErrorClass,
  makeSession,
} from "@degu/testing/calling.ts";
import { assertTypeError, constructWith } from "@degu/testing/expectations.ts";
import { streamOf } from "@degu/testing/streams.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const good: AppFunction = () => [200, "OK", {}, null];

// ───────────────────────── what a server hands over

/** A valid request with some of its fields exchanged. */
function requestWith(fields: Partial<Record<keyof Request, unknown>>, method: Method = "GET") {
  const { uri, headers, body, mount, path, query } = mkreq(method, "/foo/bar?key", {}, null, 1);
  return Object.assign(
    new Request(method, uri, headers, body, mount, path, query),
    fields,
  ) as Request;
}

Deno.test("Validator reports where a request is invalid", async (t) => {
  const body = () => new Body(streamOf(latin1("hello")), 5);
  const chunked = () => new ChunkedBody(streamOf(latin1("0\r\n\r\n")));
  const used = body();
  await used.read(1);
  const cases: [request: unknown, errorClass: ErrorClass, beginning: string][] = [
    [undefined, TypeError, "request: must be an object; got undefined"],
    [null, TypeError, "request: must be an object; got null"],
    [requestWith({ method: 5 }), TypeError, "request.method: must be a string"],
    [requestWith({ method: "get" }), RangeError, "request.method: must be GET"],
    [requestWith({ uri: 5 }), TypeError, "request.uri: must be a string"],
    [requestWith({ uri: "foo/bar?key" }), RangeError, "request.uri: "],
    [requestWith({ uri: "/foo/../bar" }), RangeError, "request.uri: "],
    [requestWith({ mount: undefined }), TypeError, "request.mount: must be an array"],
    [requestWith({ path: "bar" }), TypeError, "request.path: must be an array; got string"],
    [requestWith({ path: [5] }), TypeError, "request.path[0]: must be a string; got number"],
    [requestWith({ path: [] }), RangeError, "request.path: must be what mount leaves"],
    [requestWith({ path: ["bar", ""] }), RangeError, "request.path: must be what mount leaves"],
    [requestWith({ mount: [] }), RangeError, "request.path: must be what mount leaves"],
    [
      requestWith({ mount: ["bar"], path: ["foo"] }),
      RangeError,
      "request.path: must be what mount leaves",
    ],
    [requestWith({ query: undefined }), TypeError, "request.query: must be a string or null"],
    [requestWith({ query: null }), RangeError, "request.query: must be the query"],
    [requestWith({ headers: null }), TypeError, "request.headers: must be a plain object"],
    [requestWith({ headers: new Headers() }), TypeError, "request.headers: must be a plain object"],
    [requestWith({ headers: { Host: "a" } }), RangeError, 'request.headers["Host"]: the name must'],
    [requestWith({ headers: { host: "ä" } }), RangeError, 'request.headers["host"]: bad char'],
    [requestWith({ headers: { host: 5 } }), TypeError, 'request.headers["host"]: must be a string'],
    [
      requestWith({ headers: { range: "bytes=0-1" } }),
      TypeError,
      'request.headers["range"]: must be a Range',
    ],
    [
      requestWith({ headers: { "content-range": new ContentRange(0, 1, 2) } }, "PUT"),
      RangeError,
      "request.headers: the header content-range is not allowed",
    ],
    [
      requestWith({ headers: { "content-length": 5 }, body: body() }),
      RangeError,
      "request.headers: the header content-length is not allowed",
    ],
    [
      requestWith({ headers: { "content-length": 5, range: new Range(0, 1) } }, "PUT"),
      RangeError,
      "request.headers: headers that exclude each other",
    ],
    [
      requestWith({ body: body() }, "PUT"),
      RangeError,
      "request.body: must be null, since no header",
    ],
    [requestWith({ body: undefined }), RangeError, "request.body: must be null, since no header"],
    [
      requestWith({ headers: { "content-length": 5 } }, "PUT"),
      TypeError,
      "request.body: must be an object; got null",
    ],
    [
      requestWith({ headers: { "content-length": 5 }, body: new BodyIter([], 5) }, "PUT"),
      TypeError,
      "request.body.read: must be a function",
    ],
    [
      requestWith({ headers: { "content-length": 4 }, body: body() }, "PUT"),
      RangeError,
      "request.body.contentLength: must be 4, as the headers say; got 5",
    ],
    [
      requestWith({ headers: { "content-length": 5 }, body: chunked() }, "PUT"),
      RangeError,
      "request.body.chunked: must be false",
    ],
    [
      requestWith({ headers: { "transfer-encoding": "chunked" }, body: body() }, "PUT"),
      RangeError,
      "request.body.chunked: must be true",
    ],
    [
      requestWith({ headers: { "content-length": 5 }, body: used }, "PUT"),
      BodyError,
      "request.body: was used before",
    ],
    [requestWith({ shiftPath: undefined }), TypeError, "request.shiftPath: must be a function"],
    [requestWith({ buildProxyUri: null }), TypeError, "request.buildProxyUri: must be a function"],
  ];
  for (const [request, errorClass, beginning] of cases) {
    await t.step(beginning, async () => {
      const app: App = () => {
        throw new Error("the app was called");
      };
      const handled = new Validator(app).handle(request as Request, makeSession(), api);
      await assertBegins(handled, errorClass, beginning);
    });
  }
});

Deno.test("Validator reports where a session is invalid", async () => {
  const sessionWith = (fields: Record<string, unknown>) => ({
    address: null,
    maxRequests: 10,
    requests: 0,
    store: new Map(),
    peerCertificate: null,
    message: null,
    ...fields,
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
    await assertBegins(
      validator.handle(mkreq("GET", "/"), session as Session, api),
      Error,
      beginning,
    );
    await assertBegins(validator.onConnect(session as Session, deadSocket), Error, beginning);
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
  await assertBegins(handle(undefined), TypeError, "api: must be an object");
  for (const name of Object.keys(api)) {
    await assertBegins(
      handle({ ...api, [name]: undefined }),
      TypeError,
      `api.${name}: must be a function`,
    );
  }
});

// ───────────────────────── onConnect

Deno.test("Validator passes on whether a peer may connect", async () => {
  const session = makeSession();
  assertStrictEquals(await new Validator(good).onConnect(session, deadSocket), true);
  for (const says of [true, false]) {
    for (const answer of [says, Promise.resolve(says)]) {
      const app = {
        answer,
        handle: good,
        onConnect(...args: unknown[]) {
          assertStrictEquals(args[0], session);
          assertStrictEquals(args[1], deadSocket);
          return this.answer;
        },
      };
      assertStrictEquals(await new Validator(app).onConnect(session, deadSocket), says);
    }
  }
});

Deno.test("Validator requires onConnect to return true or false", async () => {
  for (const answer of [undefined, null, 1, "true", {}, Promise.resolve("yes")]) {
    const app = { handle: good, onConnect: () => answer as boolean };
    await assertBegins(
      new Validator(app).onConnect(makeSession(), deadSocket),
      TypeError,
      "onConnect: must be a function that returns true or false; got ",
    );
  }
});

Deno.test("Validator requires a socket", async () => {
  const onConnect = (sock: unknown) =>
    new Validator(good).onConnect(makeSession(), sock as typeof deadSocket);
  await assertBegins(onConnect(null), TypeError, "sock: must be an object; got null");
  for (const name of ["read", "write", "close"]) {
    const sock = { ...deadSocket, [name]: undefined };
    await assertBegins(
      onConnect(sock),
      TypeError,
      `sock.${name}: must be a function; got undefined`,
    );
  }
});

Deno.test("Validator wraps only apps", () => {
  for (const wrong of [undefined, null, 5, "app", {}, { handle: 5 }, [good]]) {
    assertTypeError(() => constructWith(Validator, wrong), Deno.inspect(wrong));
  }
  assertTypeError(() => constructWith(Validator, { handle: good, onConnect: 5 }), "onConnect");
});
