/** Sessions: what an app sees of a connection, what it keeps for it, and whether its peer is still admitted. */
import fc from "fast-check";
import type { Address } from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { type App, Server, SSLServer } from "@degu/degu/server";
import {
  disposeStore,
  guardSession,
  isStillAdmitted,
  Session,
  SetView,
} from "@degu/internal/base/app/session.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { hasIPv6 } from "@degu/testing/endpoints.ts";
import { RawPeer, turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";
import { unhandledRejections } from "@degu/testing/rejections.ts";
import { serve, type Serving } from "@degu/testing/serving.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";

const get = "GET / HTTP/1.1\r\n\r\n";

/** An application that keeps the sessions it sees. */
function keeper(): { sessions: Session[]; app: App } {
  const sessions: Session[] = [];
  const app: App = (_request, session) => {
    sessions.push(session);
    return [200, "OK", {}, null];
  };
  return { sessions, app };
}

/** The session of a connection that has made one request, and the connection. */
async function openSession(
  sessions: Session[],
  serving: Serving,
): Promise<{ session: Session; peer: RawPeer }> {
  const peer = await RawPeer.connect(serving.address);
  await peer.send(get);
  await peer.readPreamble();
  const session = sessions.at(-1);
  assert(session !== undefined);
  return { session, peer };
}

Deno.test("an IPv4 session has the address of its peer, and is named after it", async () => {
  const { sessions, app } = keeper();
  await using serving = serve(app);
  const { session, peer } = await openSession(sessions, serving);
  using _peer = peer;
  const { port } = peer.conn.localAddr as Deno.NetAddr;
  assertEquals(session.address, ["127.0.0.1", port]);
  assertEquals(`${session}`, `127.0.0.1:${port}`);
});

Deno.test({
  name: "the address of an IPv6 session has the same form as the server's",
  ignore: !hasIPv6,
  fn: async () => {
    const addresses: readonly Address[] = [["::1", 0], ["::1", 0, 0, 0]];
    for (const address of addresses) {
      const { sessions, app } = keeper();
      await using serving = serve(app, {}, address);
      const { session, peer } = await openSession(sessions, serving);
      using _peer = peer;
      const { port } = peer.conn.localAddr as Deno.NetAddr;
      assertEquals(session.address, address.length === 2 ? ["::1", port] : ["::1", port, 0, 0]);
      assertEquals(`${session}`, `[::1]:${port}`);
    }
  },
});

Deno.test({
  name: "a dual-stack server reports the address of an IPv4 peer as IPv4",
  ignore: !hasIPv6,
  fn: async () => {
    await using pki = await TempPKI.create();
    const addresses: readonly Address[] = [["::", 0], ["::", 0, 0, 0]];
    for (const address of addresses) {
      for (const secure of [false, true]) {
        const { sessions, app } = keeper();
        await using server = secure
          ? new SSLServer(pki.serverSslconfig, address, app)
          : new Server(address, app);
        const serving = server.serveForever();
        await server.ready;
        const port = Number(server.address[1]);
        for (const host of ["127.0.0.1", "::1"]) {
          const client = secure
            ? new SSLClient(pki.clientSslconfig, [host, port])
            : new Client([host, port]);
          await client.request("GET", "/");
          const [seen, seenPort, ...more] = sessions.at(-1)?.address ?? [];
          assertEquals([seen, more], [host, host === "::1" ? address.slice(2) : []]);
          const text = host === "::1" ? `[::1]:${seenPort}` : `127.0.0.1:${seenPort}`;
          assertEquals(`${sessions.at(-1)}`, text);
        }
        server.close();
        await serving;
      }
    }
  },
});

Deno.test("a session over a Unix socket has no address, and is named by path and number", async () => {
  await using directory = await tempDir();
  const path = `${directory.path}/socket`;
  const name = `degu-test-${crypto.randomUUID()}`;
  const places = [[path, path], [new TextEncoder().encode(`\0${name}`), name]] as const;
  for (const [address, text] of places) {
    const { sessions, app } = keeper();
    await using serving = serve(app, {}, address);
    for (const number of [1, 2, 3]) {
      const { session, peer } = await openSession(sessions, serving);
      peer.close();
      assertStrictEquals(session.address, null);
      assert(`${session}`.includes(text), `${session}`);
      assertMatch(`${session}`, new RegExp(`#${number}$`));
    }
  }
});

Deno.test("a session counts the requests that were answered, and has its own store", async () => {
  const seen: number[] = [];
  await using serving = serve((_request, session) => {
    seen.push(session.requests);
    const visits = Number(session.store.get("visits") ?? 0) + 1;
    session.store.set("visits", visits);
    return [200, "OK", { visits: `${visits}` }, null];
  }, { maxRequests: 7 });
  const client = serving.makeClient();
  using one = await client.connect();
  using two = await client.connect();
  for (const visits of ["1", "2", "3"]) {
    assertEquals((await one.get("/")).headers["visits"], visits);
  }
  assertEquals((await two.get("/")).headers["visits"], "1");
  assertEquals(seen, [0, 1, 2, 0]);
});

Deno.test("message is null while the session lasts, then says why it ended", async (t) => {
  const endings: readonly (readonly [what: string, request: string, words: RegExp])[] = [
    ["a status", "GET /500 HTTP/1.1\r\n\r\n", /500/],
    ["a body unread", "PUT /404 HTTP/1.1\r\ncontent-length: 5\r\n\r\n", /body|unread/],
    ["an exception", "GET /throw HTTP/1.1\r\n\r\n", /the application broke/],
    ["nonsense", "NONSENSE\r\n\r\n", /./],
    ["the end", "", /./],
  ];
  for (const [what, request, words] of endings) {
    await t.step(what, async () => {
      const sessions: Session[] = [];
      await using serving = serve(({ uri }, session) => {
        sessions.push(session);
        if (uri === "/throw") throw new Error("the application broke");
        return uri === "/" ? [200, "OK", {}, null] : [Number(uri.slice(1)), "xx", {}, null];
      });
      const { session, peer } = await openSession(sessions, serving);
      using _peer = peer;
      assertStrictEquals(session.message, null);
      await peer.send(request);
      await peer.closeWrite();
      await peer.readToEnd();
      assertMatch(session.message ?? "", words);
      assertEquals(session.requests, request.includes("/500") || request.includes("/404") ? 2 : 1);
    });
  }
  await t.step("maxRequests", async () => {
    const { sessions, app } = keeper();
    await using serving = serve(app, { maxRequests: 1 });
    const { session, peer } = await openSession(sessions, serving);
    using _peer = peer;
    await serving.logger.waitFor("debug");
    assertMatch(session.message ?? "", /1 request/);
  });
  await t.step("close() of the server", async () => {
    const { sessions, app } = keeper();
    await using serving = serve(app);
    const { session, peer } = await openSession(sessions, serving);
    using _peer = peer;
    serving.server.close();
    await serving.done;
    assertMatch(session.message ?? "", /server/);
  });
});

Deno.test("the store is disposed of in reverse order when the session ends", async () => {
  const disposed: string[] = [];
  const all = Promise.withResolvers<void>();
  const disposable = (name: string) => ({
    [Symbol.dispose]: () => {
      disposed.push(name);
      if (name === "first") all.resolve();
      if (name === "second") throw new Error("can't be disposed of");
    },
  });
  await using serving = serve((_request, { store }) => {
    store.set("first", disposable("first"));
    store.set("second", disposable("second"));
    store.set("text", "not disposable");
    store.set("null", null);
    store.set("third", disposable("third"));
    return [200, "OK", {}, null];
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send(get);
  await peer.readPreamble();
  await turnOfEventLoop();
  assertEquals(disposed, []);
  peer.close();
  await within(all.promise, "the store is disposed of");
  assertEquals(disposed, ["third", "second", "first"]);
  assertEquals(serving.logger.at("error").length, 1);
});

Deno.test("a session of a plain connection has no certificate", async () => {
  const { sessions, app } = keeper();
  await using serving = serve(app);
  const { session, peer } = await openSession(sessions, serving);
  peer.close();
  assertStrictEquals(session.peerCertificate, null);
  assertStrictEquals(session.maxRequests, 1000);
});

Deno.test("sessions dispose of what an app has stored in session.store, in reverse order", async () => {
  const disposed: string[] = [];
  const ended = Promise.withResolvers<void>();
  const keep = (name: string): Disposable => ({
    [Symbol.dispose]() {
      disposed.push(name);
      if (name === "b") throw new Error("can't dispose of b");
      if (name === "a") ended.resolve();
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
  await within(ended.promise, "everything is disposed of");
  assertEquals(disposed, ["c", "b", "a"]);
  assertStringIncludes((await serving.logger.waitFor("error"))[0] ?? "", "can't dispose of b");
});

Deno.test("a dispose that rejects is logged, and ends nothing", async () => {
  using unhandled = unhandledRejections();
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
  await turnOfEventLoop();
  assertEquals(disposed, ["b", "a"]);
  const lines = serving.logger.at("error");
  assertEquals(lines.length, 2);
  for (const [i, name] of disposed.entries()) {
    assertStringIncludes(lines[i]!, "an error of session.store: ");
    assertStringIncludes(lines[i]!, `can't dispose of ${name}`);
  }
  assertEquals(unhandled.reasons, []);
});

Deno.test("a store is empty after disposal, so nothing is disposed of twice", () => {
  const session = new Session("peer", null, 1, null);
  let count = 0;
  session.store.set("a", { [Symbol.dispose]: () => count++ });
  for (let i = 0; i < 2; i++) disposeStore(session, () => {});
  assertEquals([count, session.store.size], [1, 0]);
});

Deno.test("isStillAdmitted calls the session's guard each time, and never rejects", async () => {
  const session = new Session("peer", null, 1);
  assertEquals(await isStillAdmitted(session), true);
  const answers = [true, false, true];
  guardSession(
    session,
    () => Promise.resolve(answers.shift() ?? Promise.reject(new Error("gone"))),
  );
  const asked = [];
  for (let i = 0; i < 4; i++) asked.push(await isStillAdmitted(session));
  assertEquals(asked, [true, false, true, false]);
  assertEquals(await isStillAdmitted(new Session("other", null, 1)), true);
});

const sets = fc.uniqueArray(fc.integer({ min: 0, max: 9 })).map((items) => new Set(items));

Deno.test("each method returns the same as that of a Set", () => {
  fc.assert(fc.property(sets, sets, fc.integer({ min: 0, max: 9 }), (set, other, item) => {
    const view = new SetView(set);
    assertEquals(view.size, set.size);
    assertEquals(view.has(item), set.has(item));
    for (const method of ["values", "keys", "entries"] as const) {
      assertEquals([...view[method]()] as unknown[], [...set[method]()]);
    }
    assertEquals([...view], [...set]);
    for (const like of [other, new SetView(other)]) {
      assertEquals([...view.union(like)], [...set.union(other)]);
      assertEquals([...view.intersection(like)], [...set.intersection(other)]);
      assertEquals([...view.difference(like)], [...set.difference(other)]);
      assertEquals([...view.symmetricDifference(like)], [...set.symmetricDifference(other)]);
      assertEquals(view.isSubsetOf(like), set.isSubsetOf(other));
      assertEquals(view.isSupersetOf(like), set.isSupersetOf(other));
      assertEquals(view.isDisjointFrom(like), set.isDisjointFrom(other));
    }
    assertEquals(Deno.inspect(view), Deno.inspect(set));
  }));
});

Deno.test("the view always shows the current set", () => {
  const set = new Set([1]);
  const view = new SetView(set);
  set.add(2);
  assertEquals([view.size, [...view]], [2, [1, 2]]);
  const seen: unknown[] = [];
  view.forEach((item, same, whole) => {
    seen.push([item, same]);
    assertStrictEquals(whole, view);
    set.delete(item);
  });
  assertEquals(seen, [[1, 1], [2, 2]]);
  assertEquals(view.size, 0);
});

Deno.test("forEach uses the given `this`", () => {
  const self = {};
  new SetView(new Set([1])).forEach(function (this: unknown) {
    assertStrictEquals(this, self);
  }, self);
});

Deno.test("the view can't change the set, and what it returns is a copy", () => {
  const set = new Set([1]);
  const view = new SetView(set);
  for (const method of ["add", "delete", "clear"]) assert(!(method in view), method);
  view.union(new Set([2])).clear();
  assertEquals([...set], [1]);
  const shown = Object.values(Object.getOwnPropertyDescriptors(view));
  assertEquals(shown, []);
});
