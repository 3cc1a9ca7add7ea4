/** The messages and sessions that an app receives, and the responses that it returns. */
import { Body, ContentRange, type HeadersToSend, Response, type Socket } from "@degu/degu/base";
import { mkreq, parseResponse } from "@degu/degu/misc";
import type { App, ResponseTuple, ServerOptions } from "@degu/degu/server";
import { readApp } from "@degu/internal/base/app/app.ts";
import type { Session } from "@degu/internal/base/app/session.ts";
import { makeSession } from "@degu/testing/calling.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { connectRawPeer, serve } from "@degu/testing/serving.ts";
import { PieceSource } from "@degu/testing/streams.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";

// The functions of an app, in either of its two forms.

const session = {} as Session;
const sock = {} as Socket;

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

Deno.test("Response stores status, reason, headers and body and iterates over them in that order", () => {
  const headers: HeadersToSend = { hello: "world" };
  const body = new Body(new PieceSource([]), 5);
  const response = new Response(200, "OK", headers, body);
  assertEquals([response.status, response.reason], [200, "OK"]);
  assertStrictEquals(response.headers, headers);
  assertStrictEquals(response.body, body);
  const [status, reason, sameHeaders, sameBody, ...rest] = response;
  assertEquals([status, reason, rest.length], [200, "OK", 0]);
  assertStrictEquals(sameHeaders, headers);
  assertStrictEquals(sameBody, body);
});

Deno.test("Deno.inspect shows a Response like the arguments that construct it", () => {
  const expected = 'Response(status=200, reason="OK", headers={ hello: "world" }, body=null)';
  assertEquals(Deno.inspect(new Response(200, "OK", { hello: "world" }, null)), expected);
  const { headers } = parseResponse("GET", encodeLatin1("HTTP/1.1 200 OK\r\nHello: world"));
  assertEquals(Deno.inspect(new Response(200, "OK", headers, null)), expected);
  const bare = Deno.inspect(new Response(404, "Not Found", {}, null));
  assertEquals(bare, 'Response(status=404, reason="Not Found", headers={}, body=null)');
  const range = { "content-range": new ContentRange(0, 1, 2), "content-length": 1 };
  const partial = Deno.inspect(new Response(206, "Partial Content", range, null));
  assert(partial.startsWith('Response(status=206, reason="Partial Content", headers={'), partial);
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
  // Other ends of sessions are in tests/net/server_connection_end_test.ts.
  const endings: readonly (readonly [
    label: string,
    request: string,
    words: RegExp,
    requests: number,
    options?: ServerOptions,
  ])[] = [
    ["a body unread", "PUT /404 HTTP/1.1\r\ncontent-length: 5\r\n\r\n", /body|unread/, 2],
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
  const disposed: string[] = [];
  const keep = (name: string) => ({
    async [Symbol.dispose]() {
      disposed.push(name);
      await null;
      throw new Error(`can't dispose of ${name}`);
    },
  });
  await using serving = serve((_request, session) => {
    for (const name of ["a", "b"]) session.store.set(name, keep(name));
    return [200, "OK", {}, null];
  });
  await serving.makeClient().request("GET", "/");
  await serving.logger.waitFor("error");
  await waitForTick();
  assertEquals(disposed, ["b", "a"]);
  const lines = serving.logger.messagesOf("error");
  assertEquals(lines.length, 2);
  for (const [i, name] of disposed.entries()) {
    assertStringIncludes(lines[i]!, "an error of session.store: ");
    assertStringIncludes(lines[i]!, `can't dispose of ${name}`);
  }
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
