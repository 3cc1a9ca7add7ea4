/** `session.checkTrusted()`, awaited and forgotten. */
import { type App, Client, reply, ResponseError, wrapApp } from "@degu/degu";
import type { AppObject, Session } from "@degu/degu/server";
import { makeProgramCommand } from "@degu/testing/programs.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";

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
  assertEquals(line, `anna (${sessions[0]}): ${LOG_LINE}`);
});

Deno.test("checkTrusted rejects with a response of 503 if it is unknown whether the peer is trusted", async () => {
  let isUnknown = false;
  await using serving = serve({
    onConnect: () => ({
      user: "anna",
      isTrusted() {
        if (isUnknown) throw new ResponseError(reply(503));
        return true;
      },
    }),
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
    assertEquals(lines, [`anna (${sessions[0]}): ${LOG_LINE}`]);
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
