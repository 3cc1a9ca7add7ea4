/** `session.isTrusted()`, `session.isAnonymous` and `session.checkTrusted()`. */
import { type App, Client, ProxyApp, reply, ResponseError, routes, wrapApp } from "@degu/degu";
import { callApp, mkreq } from "@degu/degu/misc";
import type { AppObject, PeerIdentity, Session } from "@degu/degu/server";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { makeProgramCommand } from "@degu/testing/programs.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { describeTrust } from "@degu/testing/trust.ts";

const showTrust: App = async (_request, session) => reply(200, await describeTrust(session));

Deno.test("a peer without an identity is anonymous, whatever onConnect does to accept it", async () => {
  for (const onConnect of [undefined, () => true, () => Promise.resolve(true)]) {
    const app = onConnect === undefined ? showTrust : { onConnect, handle: showTrust as never };
    for (const served of [app, routes({ "GET /": showTrust, "/a/": app })]) {
      await using serving = serve(served);
      assertEquals(await (await serving.makeClient().get("/")).text(), "anonymous");
    }
  }
});

Deno.test("a peer that loses its trust is untrusted, and never anonymous", async () => {
  const values: unknown[] = [false, undefined, null, 1, "true", {}, new Error("EIO"), true];
  let value: unknown = true;
  const controller = new AbortController();
  await using serving = serve({
    onConnect: (): PeerIdentity => ({
      user: "anna",
      signal: controller.signal,
      isTrusted() {
        if (value instanceof Error) throw value;
        return value as boolean;
      },
    }),
    handle: showTrust as never,
  });
  using conn = await serving.makeClient().connect();
  assertEquals(await (await conn.get("/")).text(), "trusted");
  const [session] = serving.server.sessions;
  for (value of values) {
    assertEquals(await describeTrust(session!), value === true ? "trusted" : "untrusted");
  }
  controller.abort();
  assertEquals(await describeTrust(session!), "untrusted");
});

Deno.test("checkTrusted refuses an anonymous peer with 403, logs it once, and the session goes on", async () => {
  await using serving = serve(async (request, session) => {
    const check = session.checkTrusted();
    if (request.path[0] === "forgotten") return reply(200);
    if (request.path[0] === "caught") return await check.then(() => reply(200), () => reply(404));
    await check;
    return reply(200);
  });
  using conn = await serving.makeClient().connect();
  for (const [uri, status] of [["/caught", 404], ["/forgotten", 200], ["/", 403]] as const) {
    assertEquals((await conn.get(uri)).status, status);
  }
  const lines = serving.logger.messagesOf("info");
  assertEquals(lines.length, 1);
  assertStringIncludes(
    lines[0]!,
    "checkTrusted() found that the peer is anonymous: it has neither",
  );
});

Deno.test("a destructured isTrusted() or checkTrusted(), and an inherited one, throws", async () => {
  const apps: App[] = [
    async (_request, { isTrusted }) => reply(200, `${await isTrusted()}`),
    (_request, { checkTrusted }) => {
      checkTrusted();
      return reply(200);
    },
    async (_request, session) => {
      return reply(200, `${await (Object.create(session) as Session).isTrusted()}`);
    },
  ];
  for (const app of apps) await assertRejects(() => callApp(app, mkreq("GET", "/")), TypeError);
});

/** Makes an identity whose trust can't be determined while the condition is true. */
function trustUnless(isUnknown: () => boolean) {
  return {
    user: "anna",
    isTrusted() {
      if (isUnknown()) throw new ResponseError(reply(503));
      return true;
    },
  };
}

Deno.test("a trust that can't be read is 503, and doesn't end the process if the app doesn't await it", async () => {
  let isUnknown = false;
  let isAwaited = true;
  await using serving = serve({
    onConnect: () => trustUnless(() => isUnknown),
    async handle(_request, session) {
      isUnknown = true;
      const isTrusted = session.isTrusted();
      return reply(200, isAwaited ? `${await isTrusted}` : "");
    },
  });
  for (const status of [503, 200]) {
    isUnknown = false;
    assertEquals((await serving.makeClient().get("/")).status, status);
    isAwaited = false;
  }
  const [line] = serving.logger.messagesOf("warn");
  assertStringIncludes(line!, "the app failed: ResponseError: the app answers 503");
});

Deno.test("checkTrusted follows an isTrusted() that a middleware has replaced", async () => {
  const results: (() => unknown)[] = [
    () => false,
    () => Promise.resolve("true"),
    () => Promise.reject(new Error("EIO")),
    () => undefined,
  ];
  for (const isTrusted of results) {
    await using serving = serve({
      onConnect: () => ({ user: "anna" }),
      async handle(_request, session) {
        Object.assign(session, { isTrusted });
        await session.checkTrusted();
        return reply(200);
      },
    });
    assertEquals((await serving.makeClient().get("/")).status, 403);
  }
});

Deno.test("a proxy that relays for an anonymous peer doesn't need its trust", async () => {
  await using upstream = serve(showTrust);
  await using serving = serve(new ProxyApp(upstream.makeClient()));
  assertEquals(await (await serving.makeClient().get("/")).text(), "anonymous");
});

// ───────────────────────── checkTrusted()

const LOG_LINE =
  "checkTrusted() found that the peer is not trusted; the session ends after its current response";
const REQUEST = "GET / HTTP/1.1\r\n\r\n";

/** Makes an app whose peers lose their trust when the app handles the first request. */
function makeApp(handle: App) {
  let isTrusted = true;
  const sessions: Session[] = [];
  const app: AppObject = {
    onConnect(session) {
      sessions.push(session);
      return { user: "anna", isTrusted: () => isTrusted };
    },
    handle(request, session, api) {
      isTrusted = false;
      return (handle as AppObject["handle"])(request, session, api);
    },
  };
  return { app, sessions };
}

Deno.test("checkTrusted resolves for a trusted peer, and the session goes on", async () => {
  await using serving = serve({
    onConnect: () => ({ user: "anna", isTrusted: () => Promise.resolve(true) }),
    handle: async (_request, session) => {
      assertEquals(await session.checkTrusted(), undefined);
      return reply(200);
    },
  });
  using conn = await serving.makeClient().connect();
  for (let n = 0; n < 3; n++) assertEquals((await conn.get("/")).status, 200);
});

Deno.test("checkTrusted rejects with a response of 403 for a peer that is not trusted", async () => {
  const errors: unknown[] = [];
  const { app, sessions } = makeApp(async (_request, session) => {
    await session.checkTrusted().catch((error) => {
      errors.push(error);
      throw error;
    });
    return reply(200);
  });
  await using serving = serve(app);
  const response = await serving.makeClient().request("GET", "/");
  assertEquals([response.status, response.reason], [403, "Forbidden"]);
  assertEquals(response.headers["connection"], "close");
  assert(errors[0] instanceof ResponseError);
  const [line] = await serving.logger.waitFor("info", LOG_LINE);
  assertEquals(line, `${sessions[0]}: ${LOG_LINE}`);
});

Deno.test("checkTrusted rejects with a response of 503 if it is unknown whether the peer is trusted", async () => {
  let isUnknown = false;
  await using serving = serve({
    onConnect: () => trustUnless(() => isUnknown),
    async handle(_request, session) {
      isUnknown = true;
      await session.checkTrusted();
      return reply(200);
    },
  });
  const response = await serving.makeClient().request("GET", "/");
  assertEquals([response.status, response.headers["connection"]], [503, "close"]);
  const [line] = await serving.logger.waitFor("info", "checkTrusted()");
  assertMatch(
    line!,
    /checkTrusted\(\) could not read whether the peer is trusted; the session ends/,
  );
});

Deno.test("a forgotten await of checkTrusted costs one response, whatever the app does", async (t) => {
  async function* pieces() {
    yield "a";
    await Promise.resolve();
    yield "b";
  }
  const rows: [label: string, handle: App, status: number][] = [
    ["no await", (_request, session) => {
      session.checkTrusted();
      return reply(200);
    }, 200],
    ["a caught error", async (_request, session) => {
      await session.checkTrusted().catch(() => {});
      return reply(200);
    }, 200],
    [
      "a middleware that replaces the response",
      wrapApp(async (_request, session) => {
        await session.checkTrusted();
        return reply(200);
      }, async (next) => {
        await next();
        return reply(404);
      }),
      404,
    ],
    ["within a stream", (_request, session) => {
      return reply(
        200,
        (async function* () {
          session.checkTrusted();
          yield* pieces();
        })(),
      );
    }, 200],
    ["after the response", (_request, session) => {
      setTimeout(() => session.checkTrusted());
      return reply(200);
    }, 200],
  ];
  await testEachRow(t, rows, async (_label, handle, status) => {
    const { app, sessions } = makeApp(handle);
    await using serving = serve(app);
    using peer = await RawPeer.connect(serving.address, REQUEST);
    const { received: text } = await peer.readToEnd();
    assert(text.startsWith(`HTTP/1.1 ${status} `), text);
    const lines = await serving.logger.waitFor("info", LOG_LINE);
    assertEquals(lines, [`${sessions[0]}: ${LOG_LINE}`]);
    assertEquals(sessions[0]!.message, "checkTrusted() found that the peer is not trusted");
  });
});

Deno.test("the next request waits for a check of the request before it, even if that is slow", async () => {
  const handled: string[] = [];
  const checkStart = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<boolean>();
  let checkCount = 0;
  await using serving = serve({
    onConnect: () => ({
      user: "anna",
      isTrusted() {
        if (++checkCount === 1) return true;
        checkStart.resolve();
        return answer.promise;
      },
    }),
    handle(request, session) {
      handled.push(request.uri);
      session.checkTrusted();
      return reply(200);
    },
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
  await checkStart.promise;
  // The first response arrives before the check has ended.
  await peer.readUntil("\r\n\r\n");
  answer.resolve(false);
  await peer.readToEnd();
  assertEquals(handled, ["/1"]);
});

Deno.test("a server shuts down while a check of trust hangs", async () => {
  let checkCount = 0;
  await using serving = serve({
    onConnect: () => ({
      user: "anna",
      isTrusted: () => ++checkCount === 1 || new Promise(() => {}),
    }),
    handle(_request, session) {
      session.checkTrusted();
      return reply(200);
    },
  });
  using conn = await serving.makeClient().connect();
  assertEquals((await conn.get("/")).status, 200);
  await serving.server.shutdown();
});

Deno.test("a check that fails in onConnect refuses the peer, awaited or not", async () => {
  for (const isAwaited of [true, false]) {
    await using serving = serve({
      async onConnect(session) {
        session.addIdentity({ user: "anna", isTrusted: () => false });
        const check = session.checkTrusted();
        if (isAwaited) await check;
        return true;
      },
      handle: () => reply(200),
    });
    using peer = await RawPeer.connect(serving.address);
    await peer.assertClosedSilently(`awaited: ${isAwaited}`);
    await serving.logger.waitFor("info", LOG_LINE);
  }
});

Deno.test("a forgotten await of checkTrusted doesn't end the process of the server", async () => {
  const flags = ["--allow-net=127.0.0.1"];
  await using process = new RunningProcess(
    makeProgramCommand("forgotten_await.ts", { flags }).spawn(),
  );
  const port = Number(await process.waitForStdout(/[0-9]+/));
  const client = new Client(["127.0.0.1", port]);
  using conn = await client.connect();
  using otherConn = await client.connect();
  assertEquals((await otherConn.get("/")).status, 200);
  assertEquals((await conn.get("/forget")).status, 200);
  for (const used of [conn, otherConn]) {
    assertEquals((await used.get("/change")).status, 200);
    await assertRejects(() => used.get("/change"));
  }
  await process.waitForStderr(/checkTrusted\(\) found that the peer is not trusted/);
  process.child.kill("SIGTERM");
  assertEquals((await process.waitForEnd()).success, true);
});
