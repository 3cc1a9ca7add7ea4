/** The messages and sessions that an app receives, and the responses that it returns. */
import {
  Body,
  BodyError,
  BodyIter,
  type BodyOut,
  ChunkedBody,
  ChunkedBodyIter,
  Response,
  type Socket,
} from "@degu/degu/base";
import { mkreq } from "@degu/degu/misc";
import { parseResponse } from "./messages.ts";
import type { App, AppFunction, ResponseTuple, ServerOptions } from "@degu/degu/server";
import { readApp } from "@degu/internal/base/app/app.ts";
import type { Session } from "@degu/internal/base/app/session.ts";
import { makeSession } from "@degu/testing/sessions.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { connectRawPeer, serve } from "@degu/testing/serving.ts";
import { PieceSource, streamOf, TrackedStream } from "@degu/testing/streams.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { Client } from "@degu/degu/client";
import { catchRejection } from "@degu/testing/expectations.ts";

// The functions of an app, in either of its two forms.

Deno.test("the methods of an object are called on it, and looked up at each call", async () => {
  class CountingApp {
    count = 0;
    handle(): ResponseTuple {
      return [200, `${++this.count}`, {}, null] as const;
    }
    onConnect() {
      return this.count > 0;
    }
  }
  const app = new CountingApp();
  const { handle, onConnect } = readApp(app, "app");
  const call = async () => (await Reflect.apply(handle, undefined, []))[1];
  const [session, sock] = [{} as Session, {} as Socket];
  assertEquals(await onConnect?.(session, sock), false);
  assertEquals([await call(), await call()], ["1", "2"]);
  assertEquals(await onConnect?.(session, sock), true);
  app.handle = () => [200, "other", {}, null];
  assertEquals(await call(), "other");
});

Deno.test("an invalid app is a TypeError that names the argument", () => {
  const handle = () => {};
  const invalidApps = [undefined, null, 1, "app", {}, [], { handle: 1 }, { handle: null }];
  for (const app of [...invalidApps, { handle, onConnect: 1 }, { handle, onConnect: null }]) {
    const { message } = assertThrows(() => readApp(app as unknown as App, "admin"), TypeError);
    assert(message.startsWith("admin"), message);
  }
});

// Requests and responses.

Deno.test("Deno.inspect shows a Response like the arguments that construct it", () => {
  const expected = 'Response(status=200, reason="OK", headers={ hello: "world" }, body=null)';
  assertEquals(Deno.inspect(new Response(200, "OK", { hello: "world" }, null)), expected);
  const { headers } = parseResponse("GET", encodeLatin1("HTTP/1.1 200 OK\r\nHello: world"));
  assertEquals(Deno.inspect(new Response(200, "OK", headers, null)), expected);
  const body = new Body(new PieceSource([]), 5);
  const output = Deno.inspect(new Response(200, "OK", {}, body));
  assert(output.startsWith('Response(status=200, reason="OK", headers={}, body=Body'), output);
});

Deno.test("shiftPath moves one component after the other to mount, and a proxy omits them", () => {
  const request = mkreq("GET", "/a/b/?c");
  const steps = [];
  for (let i = 0; i < 4; i++) {
    steps.push([request.shiftPath(), request.mount.join(), request.buildProxyUri()]);
  }
  const last = [null, "a,b,", "/?c"];
  assertEquals(steps, [["a", "a", "/b/?c"], ["b", "a,b", "/?c"], ["", "a,b,", "/?c"], last]);
});

// Sessions: their properties, their store, and the reason of their end.

const get = "GET / HTTP/1.1\r\n\r\n";

Deno.test("a session over a Unix socket has no address, and is named by path and number", async () => {
  await using directory = await createTempDir();
  const path = `${directory.path}/socket`;
  const name = `degu-test-${crypto.randomUUID()}`;
  const places = [[path, path], [new TextEncoder().encode(`\0${name}`), name]] as const;
  for (const [address, text] of places) {
    const sessions: Session[] = [];
    const app: App = (_request, session) => {
      sessions.push(session);
      return [200, "OK", {}, null];
    };
    await using serving = serve(app, {}, address);
    for (const number of [1, 2, 3]) {
      await serving.makeClient().request("GET", "/");
      const session = sessions.at(-1)!;
      assertStrictEquals(session.address, null);
      assert(`${session}`.includes(text), `${session}`);
      assertMatch(`${session}`, new RegExp(`#${number}$`));
    }
  }
});

Deno.test("a session counts the requests with a response, and has its own store", async () => {
  const counts: number[] = [];
  await using serving = serve((_request, session) => {
    counts.push(session.requests);
    const visits = Number(session.store.get("visits") ?? 0) + 1;
    session.store.set("visits", visits);
    return [200, "OK", { visits: `${visits}` }, null];
  }, { maxRequests: 7 });
  const client = serving.makeClient();
  using conn1 = await client.connect();
  using conn2 = await client.connect();
  for (const visits of ["1", "2", "3"]) {
    assertEquals((await conn1.get("/")).headers["visits"], visits);
  }
  assertEquals((await conn2.get("/")).headers["visits"], "1");
  assertEquals(counts, [0, 1, 2, 0]);
});

Deno.test("message is null until the session ends, and then its reason; only requests with a response are counted", async (t) => {
  // Other ends of sessions are in tests/net/server/server_connection_end_test.ts.
  const endings: readonly (readonly [
    label: string,
    request: string,
    words: RegExp,
    requests: number,
    options?: ServerOptions,
  ])[] = [
    ["a body unread", "PUT /404 HTTP/1.1\r\ncontent-length: 65537\r\n\r\n", /body|unread/, 2],
    ["an exception", "GET /throw HTTP/1.1\r\n\r\n", /the application broke/, 1],
    ["nonsense", "NONSENSE\r\n\r\n", /./, 1],
    ["the end", "", /./, 1],
    ["maxRequests", get, /2 requests/, 2, { maxRequests: 2 }],
  ];
  const app: App = ({ uri }) => {
    if (uri === "/throw") throw new Error("the application broke");
    return uri === "/" ? [200, "OK", {}, null] : [Number(uri.slice(1)), "xx", {}, null];
  };
  await testEachRow(t, endings, async (_label, request, words, requests, options = {}) => {
    await using pair = await connectRawPeer(app, get, options);
    const { session, peer } = pair;
    await peer.readPreamble();
    assertStrictEquals(session.message, null);
    await peer.send(request);
    await peer.closeWrite();
    await peer.readToEnd();
    assertMatch(session.message ?? "", words);
    assertEquals(session.requests, requests);
  });
});

Deno.test("sessions dispose of the values in session.store, in reverse order", async () => {
  const disposed: string[] = [];
  const sessionEnd = Promise.withResolvers<void>();
  const keep = (name: string): Disposable => ({
    [Symbol.dispose]() {
      disposed.push(name);
      if (name === "b") throw new Error("can't dispose of b");
      if (name === "a") sessionEnd.resolve();
    },
  });
  await using serving = serve((_request, session) => {
    for (const name of ["a", "b", "c"]) session.store.set(name, keep(name));
    session.store.set("null", null).set("text", "text").set("object", {});
    return [200, "OK", {}, null];
  });
  using conn = await serving.makeClient().connect();
  await conn.get("/");
  assertEquals(disposed, []);
  conn.close();
  await withTimeout(sessionEnd.promise, "everything is disposed of");
  assertEquals(disposed, ["c", "b", "a"]);
  assertStringIncludes((await serving.logger.waitFor("error"))[0] ?? "", "can't dispose of b");
});

Deno.test("a dispose that rejects is logged, and doesn't end the server", async () => {
  using unhandled = recordUnhandledRejections();
  const dispose = async () => {
    await null;
    throw new Error("can't dispose of it");
  };
  await using serving = serve((_request, session) => {
    session.store.set("a", { [Symbol.dispose]: dispose });
    return [200, "OK", {}, null];
  });
  await serving.makeClient().request("GET", "/");
  const [line = ""] = await serving.logger.waitFor("error");
  await waitForTick();
  assertStringIncludes(line, "an error of session.store: ");
  assertStringIncludes(line, "can't dispose of it");
  assertEquals(unhandled.reasons, []);
});

Deno.test("the stream of a message is that of its body, also after the app has replaced the body", async () => {
  const request = mkreq("PUT", "/", {}, "hello");
  const { readable } = request;
  assertStrictEquals(request.readable, readable);
  const upper = new TransformStream<Uint8Array, Uint8Array>({
    transform: (piece, controller) => {
      controller.enqueue(encodeLatin1(new TextDecoder().decode(piece).toUpperCase()));
    },
  });
  Object.assign(request, { body: new Body(readable.pipeThrough(upper), 5) });
  assertEquals(await new Response(200, "OK", {}, null).text(), "");
  assertEquals(await new Blob(await Array.fromAsync(request.readable)).text(), "HELLO");
  for (const empty of [mkreq("GET", "/"), new Response(200, "OK", {}, null)]) {
    const reader = empty.readable.getReader({ mode: "byob" });
    assertEquals((await reader.read(new Uint8Array(1))).done, true);
  }
});

Deno.test("a session without a server ends with the first reason of close()", () => {
  for (const readsSignal of [true, false]) {
    const closed = makeSession({ name: "test", address: null });
    if (readsSignal) assertEquals(closed.signal.aborted, false);
    const reason = new Error("enough");
    closed.close(reason);
    closed.close(new Error("again"));
    assertStrictEquals(closed.signal.reason, reason);
    assertEquals([closed.message, `${closed}`], ["closed by the app", "test"]);
  }
});

// The methods of a response.

const respond = (body: BodyOut) => new Response(200, "OK", {}, body);

/** Bodies of each kind with the data "[12]". */
const bodies: Record<string, () => BodyOut> = {
  string: () => "[12]",
  Uint8Array: () => encodeLatin1("[12]"),
  Body: () => new Body(streamOf(encodeLatin1("[1"), encodeLatin1("2]")), 4),
  BodyIter: () => new BodyIter([encodeLatin1("[1"), encodeLatin1("2]")], 4),
  ChunkedBody: () => new ChunkedBody(streamOf(encodeLatin1("2;a=b\r\n[1\r\n2\r\n2]\r\n0\r\n\r\n"))),
  ChunkedBodyIter: () =>
    new ChunkedBodyIter([[null, encodeLatin1("[1")], [["a", "b"], encodeLatin1("2]")], [
      null,
      encodeLatin1(""),
    ]]),
};

Deno.test("ok is true for 200 to 299", () => {
  for (const [status, ok] of [[199, false], [200, true], [299, true], [300, false], [404, false]]) {
    assertEquals(new Response(status as number, "xx", {}, null).ok, ok);
  }
});

Deno.test("bytes, text and json read the data of every kind of body", async (t) => {
  await testEachRow(t, Object.entries(bodies), async (_name, make) => {
    assertEquals(await respond(make()).bytes(), encodeLatin1("[12]"));
    assertEquals(await respond(make()).text(), "[12]");
    assertEquals(await respond(make()).json(), [12]);
  });
});

Deno.test("a body that is null is empty, and no JSON", async () => {
  assertEquals(await respond(null).bytes(), encodeLatin1(""));
  assertEquals(await respond(null).text(), "");
  for (const body of [null, "", encodeLatin1("")]) {
    assertInstanceOf(await catchRejection(respond(body).json(), "no JSON"), SyntaxError);
  }
});

Deno.test("discard reads up to 64 KiB and cancels more, and never rejects", async () => {
  const rows: [bytes: number, chunked: boolean, isCanceled: boolean][] = [
    [65536, false, false],
    [65537, false, true],
    [65520, true, false],
    [65537, true, true],
  ];
  for (const [bytes, chunked, isCanceled] of rows) {
    const data = new Uint8Array(bytes);
    const coding = [encodeLatin1(`${bytes.toString(16)}\r\n`), data, encodeLatin1("\r\n0\r\n\r\n")];
    const source = new TrackedStream(chunked ? coding : [data]);
    const body = chunked ? new ChunkedBody(source.stream) : new Body(source.stream, bytes);
    await respond(body).discard();
    assertEquals(source.isCanceled, isCanceled, `${bytes} ${chunked}`);
    assert(source.isSettled);
  }
  const failingStream = new TrackedStream<Uint8Array>([], { failure: new Error("unplugged") });
  await respond(new Body(failingStream.stream, 5)).discard();
  const usedBody = new Body(streamOf(encodeLatin1("a")), 1);
  await usedBody.read();
  await respond(usedBody).discard();
  for (const make of Object.values(bodies)) await respond(make()).discard();
  await respond(null).discard();
});

Deno.test("discard cancels after a second, even if more bytes arrive", async () => {
  for (const announced of [60000, 65536]) {
    let canceled = false;
    const dripping = new ReadableStream({
      async pull(controller) {
        if (announced === 60000) await new Promise((resolve) => setTimeout(resolve));
        else await new Promise(() => {});
        if (!canceled) controller.enqueue(encodeLatin1("x"));
      },
      cancel: () => void (canceled = true),
    });
    await withTimeout(respond(new Body(dripping, announced)).discard(), "the end of discard()");
    assert(canceled);
  }
});

Deno.test("discard works after a part was read, counts the remaining bytes, and keeps the connection", async (t) => {
  const rows: [string, () => BodyOut, (body: never) => Promise<unknown>, kept: boolean][] = [
    ["70,000 bytes", () => new Uint8Array(70_000), (body: Body) => body.read(5000), true],
    ["70,000 bytes, 1 read", () => new Uint8Array(70_000), (body: Body) => body.read(1), false],
    ["5 bytes", () => "hello", (body: Body) => body.read(4), true],
    ["a byte, unread", () => "x", () => Promise.resolve(), true],
    ["5 bytes, all read", () => "hello", (body: Body) => body.read(5), true],
    [
      "chunks",
      () => new ChunkedBodyIter([[null, new Uint8Array(9)], [null, new Uint8Array(0)]]),
      (body: ChunkedBody) => body.readChunk(),
      true,
    ],
  ];
  await testEachRow(t, rows, async (_label, make, read, isKept) => {
    await using serving = serve(() => [200, "OK", {}, make()]);
    using conn = await serving.makeClient().connect();
    const response = await conn.get("/");
    await read(response.body as never);
    await response.discard();
    assertEquals(conn.closed, !isKept);
    if (isKept) await (await conn.get("/")).discard();
  });
});

Deno.test("a request that is too long for its app can still be read, if it has a length", async () => {
  await using serving = serve(async ({ body }) => {
    await assertRejects(() => body!.text({ maxBytes: 4 }), BodyError);
    return [200, "OK", {}, await body!.text()];
  });
  const response = await serving.makeClient().put("/", {}, "hello");
  assertEquals(await response.text(), "hello");
});

Deno.test("discard also counts the chunk headers", async () => {
  const chunk = encodeLatin1(`1;key=${"v".repeat(4000)}\r\nx\r\n`);
  let received = 0;
  const endless = new ReadableStream({
    pull(controller) {
      received += chunk.length;
      controller.enqueue(chunk.slice());
    },
  });
  await withTimeout(respond(new ChunkedBody(endless)).discard(), "the end of discard()");
  assert(received < 150_000, `${received}`);
});

Deno.test("disposing of a response discards its body, and the connection continues", async () => {
  const app: AppFunction = ({ path }) => [
    200,
    "OK",
    {},
    path[0] === "large" ? new Uint8Array(100_000) : path[0] === "none" ? null : "small",
  ];
  await using server = serve(app);
  using connection = await new Client(server.server.address).connect();
  for (const uri of ["/small", "/none", "/small"]) {
    await using response = await connection.get(uri);
    assertEquals(response.status, 200);
  }
  assertEquals(await (await connection.get("/small")).text(), "small");
  {
    await using _response = await connection.get("/large");
  }
  assertEquals(connection.closed, true);
});
