/** Whom a server serves: the identity that `onConnect` returns. */
import { type App, reply, routes, wrapApp } from "@degu/degu";
import type { AppObject, PeerIdentity, Session } from "@degu/degu/server";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { joinIdentities } from "@degu/internal/base/app/peer_identity.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { describeTrust } from "@degu/testing/sessions.ts";

type OnConnect = NonNullable<AppObject["onConnect"]>;

const showUser: App = (_request, session) => reply(200, `${session.user}`);

/** Makes an app whose `onConnect` returns this value, and that responds with the user name. */
function makeIdentifyingApp(returned: unknown): AppObject {
  return { onConnect: (() => returned) as OnConnect, handle: showUser as AppObject["handle"] };
}

Deno.test("a peer has the user name that onConnect returns, and no name if onConnect returns true", async () => {
  for (const returned of [{ user: "anna" }, true]) {
    await using serving = serve(makeIdentifyingApp(returned));
    const response = await serving.makeClient().request("GET", "/");
    assertEquals(await response.text(), returned === true ? "null" : "anna");
  }
});

Deno.test("a result of onConnect that is neither true nor an identity refuses the peer, and the log has the reason", async (t) => {
  const rows: [returned: unknown, reason: string][] = [
    [false, "refused by onConnect"],
    [1, "must return true to accept the peer, false to refuse it, or an identity"],
    [Promise.resolve(false), "refused by onConnect"],
    ["true", 'an identity such as { user: "anna" }: got string'],
    [null, "must return true to accept the peer, false to refuse it, or an identity"],
    [{}, "user must be a name; got undefined"],
    [{ user: "" }, "user must be a name; got an empty text"],
    [{ user: "anna", usr: 1 }, 'the unknown property "usr"'],
    [{ user: "anna", signal: 5 }, "signal must be an AbortSignal; got number"],
    [{ user: "anna", isTrusted: true }, "isTrusted must be a function; got boolean"],
    [{ user: "anna", isTrusted: () => false }, "onConnect returned is not trusted"],
    [{ user: "anna", isTrusted: () => undefined }, "onConnect returned is not trusted"],
    [
      { user: "anna", isTrusted: () => Promise.reject(new Error("the list is gone")) },
      "the list is gone",
    ],
    [{ user: "anna", signal: AbortSignal.abort() }, ""],
  ];
  await t.step("directly", () => assertAllRefused(rows, makeIdentifyingApp));
  await t.step("in a table", () =>
    assertAllRefused(rows, (returned) => {
      return routes({
        "GET /": showUser as AppObject["handle"],
        "/files/": makeIdentifyingApp(returned),
      });
    }));
  await t.step("wrapped", () =>
    assertAllRefused(rows, (returned) => {
      return wrapApp(makeIdentifyingApp(returned), (next) => next());
    }));
  await t.step("added to an app", () =>
    assertAllRefused(rows, (returned) => {
      return wrapApp(showUser, { onConnect: (() => returned) as OnConnect });
    }));
});

async function assertAllRefused(
  rows: [returned: unknown, reason: string][],
  makeApp: (returned: unknown) => App,
): Promise<void> {
  for (const [returned, reason] of rows) {
    await using serving = serve(makeApp(returned));
    using peer = await RawPeer.connect(serving.address, "GET / HTTP/1.1\r\n\r\n");
    await peer.assertClosedSilently(Deno.inspect(returned));
    // An invalid result is a mistake of the app, which an operator must see.
    const isMistake = /must|got|unknown|gone/.test(reason);
    const level = isMistake ? "error" : "info";
    if (reason !== "") assertStringIncludes((await serving.logger.waitFor(level)).join(), reason);
  }
}

/** Makes apps that accept a peer by the results of several `onConnect`. */
const JOINED_APPS: Record<string, (results: readonly unknown[]) => App> = {
  routes: (results) =>
    routes({
      "GET /": showUser,
      ...Object.fromEntries(results.map((result, i) => [`/${i}/`, makeIdentifyingApp(result)])),
    }),
  wrapApp: ([lastResult, ...results]) =>
    results.reduce(
      (app: App, result) => wrapApp(app, { onConnect: () => result as boolean | PeerIdentity }),
      makeIdentifyingApp(lastResult),
    ),
};

Deno.test("joined identities must name the same user, and each must trust the peer", async (t) => {
  let isTrusted = true;
  const anna: PeerIdentity = { user: "anna" };
  const watched: PeerIdentity = { user: "anna", isTrusted: () => isTrusted };
  const results: [label: string, of: unknown[], user: string | null][] = [
    ["true alone", [true, true], "null"],
    ["one identity", [true, anna, true], "anna"],
    ["the same user twice", [anna, watched], "anna"],
    ["two users", [anna, { user: "bert" }], null],
    ["a refusal after an identity", [anna, false], null],
  ];
  const rows = Object.entries(JOINED_APPS).flatMap(([name, makeApp]) =>
    results.map(([label, ...row]) => [`${name}: ${label}`, makeApp, ...row] as const)
  );
  await testEachRow(t, rows, async (_label, makeApp, returned, user) => {
    await using serving = serve(makeApp(returned));
    if (user === null) {
      await assertRejects(() => serving.makeClient().request("GET", "/"));
      const log = serving.logger.lines.map(([, line]) => line).join();
      assertMatch(
        log,
        returned.includes(false) ? /refused/ : /got "(anna|bert)" and "(anna|bert)"/,
      );
      return;
    }
    using conn = await serving.makeClient().connect();
    assertEquals(await (await conn.get("/")).text(), user);
    const [session] = serving.server.sessions;
    assertEquals(await describeTrust(session!), user === "null" ? "anonymous" : "trusted");
    isTrusted = false;
    const expected = returned.includes(watched)
      ? "untrusted"
      : user === "null"
      ? "anonymous"
      : "trusted";
    assertEquals(await describeTrust(session!), expected);
    isTrusted = true;
  });
});

Deno.test("joined identities have a condition only if one of them has one", () => {
  const [anna, watched] = [{ user: "anna" }, { user: "anna", isTrusted: () => true }];
  const rows = [[anna, anna], [anna, watched], [watched, anna]] as const;
  assertEquals(
    rows.map(([one, other]) => joinIdentities(one, other).isTrusted !== undefined),
    [false, true, true],
  );
});

Deno.test("each identity's signal ends the session with its reason", async () => {
  for (const index of [0, 1]) {
    const controllers = [new AbortController(), new AbortController()];
    const [app1, app2] = controllers.map(({ signal }) =>
      makeIdentifyingApp({ user: "anna", signal })
    );
    await using serving = serve(routes({ "GET /": showUser, "/a/": app1!, "/b/": app2! }));
    using conn = await serving.makeClient().connect();
    await conn.get("/");
    const [session] = serving.server.sessions;
    const reason = new Error("revoked");
    controllers[index]!.abort(reason);
    assertEquals(session!.signal.reason, reason);
    assertEquals(await describeTrust(session!), "untrusted");
    await assertRejects(() => conn.get("/"));
  }
});

Deno.test("a log line about a session begins with its user and its name", async () => {
  const users: [user: unknown, name: string][] = [
    ["anna", "anna "],
    ["a\nb", String.raw`a\u{a}b `],
    [null, ""],
  ];
  for (const [user, name] of users) {
    let session: Session | null = null;
    await using serving = serve({
      onConnect(connected) {
        session = connected;
        return user === null ? true : { user: String(user) };
      },
      handle: () => {
        throw new Error("it fails");
      },
    });
    await serving.makeClient().request("GET", "/");
    const [line = ""] = await serving.logger.waitFor("error");
    const start = user === null ? "127.0.0.1:" : `${name}(127.0.0.1:`;
    assertEquals(`${session}`.slice(0, start.length), start);
    assert(line.startsWith(`${session}: `), line);
  }
});
