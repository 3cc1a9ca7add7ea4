/**
 * Whom a server serves: the identity that `onConnect` returns, and the option `hosts` (RFC 9110 §7.4),
 * with the guard of docs/cookbook.md against web pages that reach a plain server on loopback.
 */
import { type App, type AppFunction, reply, routes, wrapApp } from "@degu/degu";
import { callApp, mkreq } from "@degu/degu/misc";
import { type AppObject, type PeerIdentity, Server, type Session } from "@degu/degu/server";
import { exchange, RawPeer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { createTempDir } from "@degu/testing/directories.ts";
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import { assertRangeError, assertTypeError } from "@degu/testing/expectations.ts";
import { formatAddress } from "@degu/degu/base";
import { readProjectFile } from "@degu/testing/tree.ts";

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

Deno.test("the identities of a table must name the same user, and each must trust the peer", async (t) => {
  let isTrusted = true;
  const anna: PeerIdentity = { user: "anna" };
  const watched: PeerIdentity = { user: "anna", isTrusted: () => isTrusted };
  const rows: [label: string, of: unknown[], user: string | null][] = [
    ["true alone", [true, true], "null"],
    ["one identity", [true, anna, true], "anna"],
    ["the same user twice", [anna, watched], "anna"],
    ["two users", [anna, { user: "bert" }], null],
    ["a refusal after an identity", [anna, false], null],
  ];
  await testEachRow(t, rows, async (_label, returned, user) => {
    const table: Record<string, App> = { "GET /": showUser };
    for (const [i, result] of returned.entries()) table[`/${i}/`] = makeIdentifyingApp(result);
    await using serving = serve(routes(table));
    if (user === null) {
      await assertRejects(() => serving.makeClient().request("GET", "/"));
      const log = serving.logger.lines.map(([, line]) => line).join();
      assertStringIncludes(log, returned.includes(false) ? "refused" : 'got "anna" and "bert"');
      return;
    }
    using conn = await serving.makeClient().connect();
    assertEquals(await (await conn.get("/")).text(), user);
    const [session] = serving.server.sessions;
    assertEquals(await session!.trust(), user === "null" ? "anonymous" : "trusted");
    isTrusted = false;
    const expected = returned.includes(watched)
      ? "untrusted"
      : user === "null"
      ? "anonymous"
      : "trusted";
    assertEquals(await session!.trust(), expected);
    isTrusted = true;
  });
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
    assertEquals(await session!.trust(), "untrusted");
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
    const start = user === null ? `${session}: ` : `${name}(${session}): `;
    assertEquals(line.slice(0, start.length), start);
  }
});

Deno.test("addIdentity narrows the trust, and gives an anonymous peer neither a name nor trust", async (t) => {
  const rows: [label: string, returned: PeerIdentity | true, added: PeerIdentity, trust: string][] =
    [
      ["an identity of another name", { user: "anna" }, { user: "list" }, "anna trusted"],
      ["an anonymous peer", true, { user: "list", isTrusted: () => true }, "null anonymous"],
    ];
  await testEachRow(t, rows, async (_label, returned, added, trust) => {
    await using serving = serve({
      onConnect(session) {
        session.addIdentity(added);
        return returned;
      },
      handle: async (_request, session) => reply(200, `${session.user} ${await session.trust()}`),
    });
    assertEquals(await (await serving.makeClient().request("GET", "/")).text(), trust);
  });
});

Deno.test("an added identity that stops trusting a peer makes the peer untrusted, also an anonymous one", async (t) => {
  const rows: [label: string, isTrusted: () => unknown][] = [
    ["false", () => false],
    ["a promise of false", () => Promise.resolve(false)],
    ["an error", () => Promise.reject(new Error("no list"))],
  ];
  await testEachRow(t, rows, async (_label, isTrusted) => {
    for (const returned of [true, { user: "anna" }] as const) {
      await using serving = serve({
        onConnect: () => returned,
        async handle(_request, session) {
          session.addIdentity({ user: "list", isTrusted: isTrusted as () => boolean });
          return reply(200, await session.trust());
        },
      });
      assertEquals(await (await serving.makeClient().request("GET", "/")).text(), "untrusted");
    }
  });
});

Deno.test("a peer is refused if onConnect adds an identity that doesn't trust it", async (t) => {
  const rows: [label: string, added: PeerIdentity][] = [
    ["not trusted", { user: "list", isTrusted: () => false }],
    ["an error", { user: "list", isTrusted: () => Promise.reject(new Error("no list")) }],
    ["an aborted signal", { user: "list", signal: AbortSignal.abort() }],
  ];
  await testEachRow(t, rows, async (_label, added) => {
    for (const returned of [true, { user: "anna" }] as const) {
      const app: AppObject = {
        onConnect(session) {
          session.addIdentity(added);
          return returned;
        },
        handle: showUser as AppObject["handle"],
      };
      await using serving = serve(app);
      using peer = await RawPeer.connect(serving.address, "GET / HTTP/1.1\r\n\r\n");
      await peer.assertClosedSilently(Deno.inspect(added));
      await assertRejects(() => callApp(app, mkreq("GET", "/")));
    }
  });
});

Deno.test("the session ends with the reason of the signal of an added identity", async () => {
  const controller = new AbortController();
  const ended = Promise.withResolvers<unknown>();
  await using serving = serve((_request, session) => {
    session.addIdentity({ user: "list", signal: controller.signal });
    session.signal.addEventListener("abort", () => ended.resolve(session.signal.reason));
    return reply(204);
  });
  using conn = await serving.makeClient().connect();
  await conn.get("/");
  const reason = new Error("removed from the list");
  controller.abort(reason);
  assertEquals(await ended.promise, reason);
  await assertRejects(() => conn.get("/"));
});

Deno.test("addIdentity rejects a value that is not an identity, and adds nothing", async (t) => {
  const rows: [label: string, value: unknown, problem: string][] = [
    ["nothing", undefined, "got undefined"],
    ["a function", () => true, "got function"],
    ["a misspelled condition", { user: "list", istrusted: () => false }, '"istrusted"'],
    ["a promise", Promise.resolve({ user: "list" }), "user must be a name; got undefined"],
    ["no name", { isTrusted: () => false }, "user must be a name; got undefined"],
  ];
  await testEachRow(t, rows, async (_label, value, problem) => {
    const app: App = (_request, session) => {
      session.addIdentity(value as PeerIdentity);
      return reply(204);
    };
    const call = () => callApp(app, mkreq("GET", "/"), { session: { user: "anna" } });
    const error = await assertRejects(call, TypeError);
    assertStringIncludes(error.message, `identity: must be an identity`);
    assertStringIncludes(error.message, problem);
  });
});

// ───────────────────────── the option hosts

const OK = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const MISDIRECTED = formatErrorResponse(421);

/** Starts a server with names, and counts the calls of its app. */
function serveNames(hosts: readonly string[] | undefined) {
  const calls: string[] = [];
  const serving = serve(({ uri }) => {
    calls.push(uri);
    return [200, "OK", {}, null];
  }, { hosts });
  return Object.assign(serving, { calls });
}

const HOSTS: readonly (readonly [host: string | null, isServed: boolean])[] = [
  ["camera.local", true],
  ["camera.local:80", true],
  ["camera.local:8080", true],
  ["camera.local:", true],
  ["CAMERA.Local", true],
  ["camera.local.", true],
  ["127.0.0.1", true],
  ["127.0.0.1:1234", true],
  ["[::1]:80", true],
  ["[2001:db8::1]", true],
  ["[fe80::1%eth0]:80", true],
  ["[fe80::1%25eth0]", true],
  ["fe80::1%eth0", true],
  ["localhost", true],
  ["evil.example", false],
  ["evil.example:80", false],
  ["camera.local.evil.example", false],
  ["x.camera.local", false],
  ["xcamera.local", false],
  ["a.localhost", false],
  ["localhost.evil.example", false],
  ["127.0.0.1.evil.example", false],
  ["127.0.0.1.", false],
  ["0x7f000001", false],
  ["2130706433", false],
  ["127.1", false],
  ["camer%61.local", false],
  ["", false],
  [null, false],
];

Deno.test("a server with names serves these, IP addresses and localhost, on any port; another host, or none, gets 421", async (t) => {
  const rows = HOSTS.map(([host, isServed]) => [`${host}`, host, isServed] as const);
  await testEachRow(t, rows, async (_label, host, isServed) => {
    await using serving = serveNames(["camera.local", "Other.example."]);
    const line = host === null ? "" : `host: ${host}\r\n`;
    const { received } = await exchange(serving.address, `GET / HTTP/1.1\r\n${line}\r\n`);
    assertEquals(received, isServed ? OK : MISDIRECTED);
    assertEquals(serving.calls.length, isServed ? 1 : 0);
    const { received: other } = await exchange(
      serving.address,
      "GET / HTTP/1.1\r\nhost: other.example\r\n\r\n",
    );
    assertEquals(other, OK);
  });
});

Deno.test("the host of a target in absolute form is checked, not the header host", async () => {
  const rows = [
    ["http://camera.local/", "evil.example", OK],
    ["http://evil.example/", "camera.local", MISDIRECTED],
    ["http://evil.example/", "127.0.0.1", MISDIRECTED],
  ];
  for (const [target, host, expected] of rows) {
    await using serving = serveNames(["camera.local"]);
    const bytes = `GET ${target} HTTP/1.1\r\nhost: ${host}\r\n\r\n`;
    assertEquals((await exchange(serving.address, bytes)).received, expected);
  }
});

Deno.test("the header host beside a target in absolute form must be valid, and single", async () => {
  await using serving = serveNames(undefined);
  for (const lines of ["host: a b\r\n", "host: u@a\r\n", "host: a\r\nhost: a\r\n"]) {
    const { received } = await exchange(serving.address, `GET http://a/ HTTP/1.1\r\n${lines}\r\n`);
    assertEquals(received, formatErrorResponse(400), lines);
  }
});

Deno.test("an empty list of names leaves IP addresses and localhost; without the option any host is served", async () => {
  for (const [host, isServed] of HOSTS) {
    const line = host === null ? "" : `host: ${host}\r\n`;
    const bytes = `GET / HTTP/1.1\r\n${line}\r\n`;
    await using closed = serveNames([]);
    const isCamera = /^camera\.local\.?(:\d*)?$/i.test(host ?? "");
    const expected = isServed && !isCamera ? OK : MISDIRECTED;
    assertEquals((await exchange(closed.address, bytes)).received, expected, bytes);
    await using open = serveNames(undefined);
    assertEquals((await exchange(open.address, bytes)).received, OK, bytes);
  }
});

Deno.test("a misdirected request ends the session: its body and the requests behind it aren't read", async () => {
  await using serving = serveNames(["camera.local"]);
  const good = "GET /good HTTP/1.1\r\nhost: camera.local\r\n\r\n";
  const rows = [
    `PUT /bad HTTP/1.1\r\nhost: evil.example\r\ncontent-length: ${good.length}\r\n\r\n`,
    "PUT /bad HTTP/1.1\r\nhost: evil.example\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
    "GET /bad HTTP/1.0\r\n\r\n",
    "GET /bad HTTP/1.0\r\nhost: evil.example\r\nconnection: keep-alive\r\n\r\n",
    "HEAD /bad HTTP/1.1\r\n\r\n",
  ];
  for (const bytes of rows) {
    const { received } = await exchange(serving.address, good + bytes + good);
    assertEquals(received, OK + MISDIRECTED, bytes);
  }
  assertEquals(serving.calls, rows.map(() => "/good"));
});

Deno.test("another method or version keeps its status before the host is checked", async () => {
  await using serving = serveNames(["camera.local"]);
  const rows = [
    ["PATCH / HTTP/1.1\r\nhost: evil.example\r\n\r\n", 501],
    ["GET / HTTP/2.0\r\nhost: evil.example\r\n\r\n", 505],
    ["GET / HTTP/1.1\r\nhost: a b\r\n\r\n", 400],
  ] as const;
  for (const [bytes, status] of rows) {
    assertEquals((await exchange(serving.address, bytes)).received, formatErrorResponse(status));
  }
});

Deno.test("a misdirected request has a line in the log with the escaped host", async () => {
  await using serving = serveNames(["camera.local"]);
  await exchange(serving.address, "GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n");
  await exchange(serving.address, "GET / HTTP/1.1\r\n\r\n");
  const lines = await serving.logger.waitFor("info", "", 2);
  assert(lines[0]!.includes('"evil.example"'), lines[0]);
  assert(lines[1]!.includes("no host"), lines[1]);
});

Deno.test("over a Unix socket a client names a host of the server, or localhost", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/socket`;
  await using serving = serve(() => [200, "OK", {}, null], { hosts: ["camera.local"] }, path);
  const rows = [["camera.local", 200], ["localhost", 200], [null, 421], ["evil", 421]] as const;
  for (const [host, status] of rows) {
    assertEquals((await serving.makeClient({ host }).get("/")).status, status, `${host}`);
  }
});

Deno.test("hosts is a list of names without ports", () => {
  const start = (hosts: unknown) =>
    new Server(["127.0.0.1", 0], () => [200, "OK", {}, null], { hosts: hosts as string[] });
  for (const hosts of ["camera.local", [1], [null], {}, 1]) {
    assertTypeError(() => start(hosts), Deno.inspect(hosts));
  }
  for (const host of ["", "a:80", "a/b", "http://a", "*", "*.a", "a b", "[::1]", "u@a"]) {
    assertRangeError(() => start(["a", host]), host);
  }
});

// ───────────────────────── the guard of docs/cookbook.md

type Guard = (app: AppFunction) => AppFunction;

/** Loads the function from the page. */
async function loadGuard(): Promise<Guard> {
  const page = await readProjectFile("docs/cookbook.md");
  const section = page.slice(page.indexOf("\n## Keep web pages out\n"));
  const [code] = /^function onlyFromOwnPages\([^]*?^}$/m.exec(section) ?? [];
  assert(code !== undefined, "docs/cookbook.md has no function onlyFromOwnPages");
  const source = `export const makeGuard = (reply) => { ${code}; return onlyFromOwnPages; }`;
  const module = `data:application/typescript,${encodeURIComponent(source)}`;
  return (await import(module)).makeGuard(reply);
}

Deno.test("DNS rebinding: a page reaches no app, not even if its host name resolves to this server", async () => {
  let calls = 0;
  const guarded = (await loadGuard())(() => {
    calls++;
    return reply(200);
  });
  await using server = await Server.start(["127.0.0.1", 0], guarded, { hosts: [] });
  const ownHost = formatAddress(server.address);
  const port = ownHost.split(":")[1];

  const rows: [host: string | null, origin: string | null, status: number][] = [
    [ownHost, null, 200],
    [ownHost, `http://${ownHost}`, 200],
    [`localhost:${port}`, `http://localhost:${port}`, 200],
    [`[::1]:${port}`, `http://[::1]:${port}`, 200],
    // Ports aren't compared, because a page can't choose the port of its own host.
    ["127.0.0.1", null, 200],
    // The page's host name was rebound: for the browser the request has the same origin.
    [`evil.example:${port}`, `http://evil.example:${port}`, 421],
    [`evil.example:${port}`, null, 421],
    ["evil.example", null, 421],
    [`127.0.0.1.evil.example:${port}`, null, 421],
    [`localhost.evil.example:${port}`, null, 421],
    [`evil.localhost:${port}`, null, 421],
    // Systems resolve these names to 127.0.0.1.
    ...["127.1", "0x7f.1", "2130706433", "127.0.0.1."].map((
      host,
    ): [string, null, number] => [`${host}:${port}`, null, 421]),
    ["", null, 421],
    [null, null, 421],
    // These values are no host and port.
    [`${ownHost}.evil.example`, null, 400],
    [`${ownHost}, evil.example`, null, 400],
    [`evil.example@${ownHost}`, null, 400],
    // A page without rebinding sends the right host.
    [ownHost, "http://evil.example", 403],
    [ownHost, `https://${ownHost}`, 403],
    [ownHost, `http://localhost:${port}`, 403],
    [ownHost, "null", 403],
    [ownHost, "", 403],
    [null, `http://${ownHost}`, 421],
    [null, "http://undefined", 421],
  ];
  for (const [host, origin, expected] of rows) {
    for (const method of ["GET", "POST"] as const) {
      calls = 0;
      using peer = await RawPeer.connect(server.address);
      const lines = [["host", host], ["origin", origin]].filter(([, value]) => value !== null)
        .map((line) => `${line.join(": ")}\r\n`).join("");
      await peer.send(`${method} / HTTP/1.1\r\n${lines}connection: close\r\n\r\n`);
      const { received } = await peer.readToEnd();
      const status = Number(received.slice("HTTP/1.1 ".length, "HTTP/1.1 200".length));
      assertEquals([status, calls], [expected, expected === 200 ? 1 : 0], `${host} ${origin}`);
    }
  }
  // The absolute form has its own host.
  using peer = await RawPeer.connect(server.address);
  await peer.send(`GET http://evil.example/ HTTP/1.1\r\nhost: ${ownHost}\r\n\r\n`);
  assert((await peer.readToEnd()).received.startsWith("HTTP/1.1 421 "));
});
