/** A server asks whether the peer is trusted before each request, and `session.ifTrusted()`. */
import {
  type App,
  type Chunk,
  ChunkedBodyIter,
  Client,
  ProxyApp,
  reply,
  ResponseError,
  routes,
  wrapApp,
} from "@degu/degu";
import { callApp, mkreq } from "@degu/degu/misc";
import type { AppObject, PeerIdentity, Session } from "@degu/degu/server";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve, type Serving } from "@degu/testing/serving.ts";
import { SECRET, UNGUARDED_APPS } from "./unguarded_apps.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { disposeApp } from "@degu/internal/base/app/app.ts";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { makeProgramCommand, RunningProcess } from "@degu/testing/processes.ts";
import { RawPeer, waitForTick } from "@degu/testing/raw_peer.ts";
import { describeTrust } from "@degu/testing/sessions.ts";

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

/** Makes an identity whose trust is the result of a function. */
function makeApp(isTrusted: () => unknown, handle: App): AppObject {
  return {
    onConnect: () => ({ user: "anna", isTrusted: isTrusted as () => boolean }),
    handle: handle as AppObject["handle"],
  };
}

const LOG_LINE = "the peer is not trusted any more; the session ends after its response";

function fail(status: number): never {
  throw new ResponseError(reply(status));
}

// ───────────────────────── before each request

Deno.test("an app gets no request of a peer that isn't trusted any more, and the session ends", async (t) => {
  const rows: [label: string, isTrusted: () => unknown, status: number][] = [
    ["false", () => false, 403],
    ["a promise of false", () => Promise.resolve(false), 403],
    ["a value that is only true in a condition", () => 1, 403],
    ["an error", () => Promise.reject(new Error("EIO")), 403],
    ["another response", () => fail(404), 403],
    ["unknown", () => fail(503), 503],
  ];
  const requests = {
    GET: "GET / HTTP/1.1\r\n\r\n",
    PUT: "PUT / HTTP/1.1\r\ncontent-length: 1000000\r\nexpect: 100-continue\r\n\r\n",
    pipelined: "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
  };
  await testEachRow(t, rows, async (label, isTrusted, status) => {
    for (const [name, text] of Object.entries(requests)) {
      let handled = 0;
      let answer = (): unknown => true;
      const app = makeApp(() => answer(), () => {
        handled++;
        return reply(200);
      });
      await using serving = serve(wrapApp(app, (next) => next()));
      using peer = await RawPeer.connect(serving.address, "GET / HTTP/1.1\r\n\r\n");
      await peer.readUntil("\r\n\r\n");
      answer = isTrusted;
      await peer.send(text);
      const { received } = await peer.readToEnd();
      assertEquals(received.match(/HTTP\/1.1 \d+/g), [`HTTP/1.1 ${status}`], name);
      assertStringIncludes(received, "connection: close");
      assertEquals(handled, 1);
      if (status === 403) await serving.logger.waitFor("info", LOG_LINE);
      else await serving.logger.waitFor("warn", "the app failed");
      const errors = serving.logger.messagesOf("error").join();
      assertEquals(errors.includes("an error of isTrusted(): Error: EIO"), label === "an error");
    }
  });
});

Deno.test("no app with a mistake in its check acts for a peer that isn't trusted any more", async (t) => {
  const request = `PUT / HTTP/1.1\r\ncontent-length: 6\r\n\r\n${SECRET}`;
  await testEachRow(t, UNGUARDED_APPS, async (_label, make) => {
    await using dir = await createTempDir();
    for (const address of [["127.0.0.1", 0], `${dir.path}/socket`] as const) {
      let [isTrusted, early, late] = [true, 0, 0];
      const act = () => void (isTrusted ? early++ : late++);
      const pauses: Promise<void>[] = [];
      const pause = () => pauses[pauses.push(waitForTick()) - 1]!;
      await using upstream = serve(() => {
        act();
        return reply(200, SECRET);
      });
      const app = make({ act, pause, upstream: upstream.makeClient() });
      await using _app = { [Symbol.asyncDispose]: () => disposeApp(app) };
      const identity = { onConnect: () => ({ user: "anna", isTrusted: () => isTrusted }) };
      await using serving = serve(wrapApp(app, identity), {}, address);
      using peer = await RawPeer.connect(serving.address, request);
      await peer.readUntil(SECRET);
      await Promise.all(pauses);
      await waitForTick();
      isTrusted = false;
      // The requests behind the first one are read while it is checked.
      await peer.send(request.repeat(3));
      const { received } = await peer.readToEnd();
      assertEquals(received.match(/HTTP\/1\.1 \d+/g), ["HTTP/1.1 403"]);
      peer.close();
      await serving.server.shutdown();
      await Promise.all(pauses);
      assertEquals([received.includes(SECRET), early > 0, late], [false, true, 0]);
    }
  });
});

Deno.test("a request that runs when the trust ends is cut by a signal, and otherwise the last one that the app gets", async (t) => {
  const signals = { "with a signal": true, "without a signal": false };
  const rows = Object.entries(signals).flatMap(([label, hasSignal]) =>
    ["direct", "proxied"].map((way) => [`${way}, ${label}`, way, hasSignal] as const)
  );
  await testEachRow(t, rows, async (_label, way, hasSignal) => {
    const controller = new AbortController();
    let isTrusted = true;
    const received: string[] = [];
    const echo: App = ({ method, body }) => {
      if (method !== "PUT") return reply(200, "next");
      const pieces = async function* () {
        for await (const piece of body!) {
          // The requests have chunks.
          const chunk = piece as Chunk;
          received.push(new TextDecoder().decode(chunk[1]));
          yield chunk;
        }
      };
      return reply(200, new ChunkedBodyIter(pieces()));
    };
    await using upstream = serve(echo);
    await using proxy = new ProxyApp(upstream.makeClient());
    const onConnect = () => ({
      user: "anna",
      isTrusted: () => isTrusted,
      ...hasSignal && { signal: controller.signal },
    });
    await using serving = serve(wrapApp(way === "direct" ? echo : proxy, { onConnect }));
    const request = "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";
    using peer = await RawPeer.connect(serving.address, request);
    await peer.readUntil("one\r\n");
    isTrusted = false;
    controller.abort(new Error("revoked"));
    await peer.send("3\r\ntwo\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n").catch(() => {});
    const end = await peer.readToEnd();
    peer.close();
    await serving.server.shutdown();
    await upstream.server.shutdown();
    assertEquals(received, hasSignal ? ["one"] : ["one", "two", ""]);
    assertEquals(end.received.includes("0\r\n\r\n"), !hasSignal);
    assertEquals(end.received.match(/HTTP\/1\.1 \d+/g), hasSignal ? null : ["HTTP/1.1 403"]);
  });
});

Deno.test("an isTrusted that hangs or fails gets 503 within the time-out, its slot is free again, and the log has one line", async (t) => {
  const rows: [label: string, call: number, statuses: number[]][] = [
    ["after onConnect", 1, [503]],
    ["before the first request", 2, [503]],
    ["before a pipelined request", 3, [200, 503]],
    ["in ifTrusted()", 4, [200, 503]],
  ];
  const failures: [label: string, fail: () => unknown, reason: string][] = [
    ["hangs", () => new Promise(() => {}), "isTrusted() took longer than the timeout"],
    ["fails", () => fail(503), "the app answers 503"],
  ];
  const all = rows.flatMap(([label, ...row]) =>
    failures.map(([failure, ...rest]) => [`${label}: ${failure}`, ...row, ...rest] as const)
  );
  await testEachRow(t, all, async (_label, failingCall, statuses, answer, reason) => {
    let count = 0;
    let steps = 0;
    const app = makeApp(
      () => ++count === failingCall ? answer() : true,
      async (_request, session) => {
        if (failingCall === 4 && count === 3) await session.ifTrusted(() => void steps++);
        return reply(200);
      },
    );
    await using serving = serve(app, { timeout: 0.4, maxConnections: 1 });
    using peer = await RawPeer.connect(serving.address, "GET / HTTP/1.1\r\n\r\n".repeat(3));
    const { received } = await peer.readToEnd();
    peer.close();
    assertEquals(received.match(/HTTP\/1\.1 \d+|connection: close/g), [
      ...statuses.map((status) => `HTTP/1.1 ${status}`),
      "connection: close",
    ]);
    assertEquals([count, steps], [failingCall, 0]);
    await serving.logger.waitFor("warn", reason);
    assertEquals(serving.logger.lines.filter(([level]) => level !== "debug").length, 1);
    assertEquals((await serving.makeClient().get("/")).status, 200);
    await serving.server.shutdown();
  });
});

Deno.test("a check of trust that ends after its time-out, or after its session, has no effect", async (t) => {
  type Answer = PromiseWithResolvers<boolean>;
  const rows: [label: string, failingCall: number, end: (answer: Answer) => void][] = [
    ["before a request: true", 2, ({ resolve }) => resolve(true)],
    ["before a request: an error", 2, ({ reject }) => reject(new Error("late"))],
    ["in ifTrusted(): true", 3, ({ resolve }) => resolve(true)],
    ["in ifTrusted(): false", 3, ({ resolve }) => resolve(false)],
  ];
  await testEachRow(t, rows, async (_label, failingCall, end) => {
    const answer = Promise.withResolvers<boolean>();
    let [count, handled, steps] = [0, 0, 0];
    const app = makeApp(
      () => ++count < failingCall || answer.promise,
      async (_request, session) => {
        handled++;
        await session.ifTrusted(() => void steps++);
        return reply(200);
      },
    );
    await using serving = serve(app, { timeout: 0.4 });
    using peer = await RawPeer.connect(serving.address, "GET / HTTP/1.1\r\n\r\n");
    const { received } = await peer.readToEnd();
    assertEquals(received.match(/HTTP\/1\.1 \d+/g), ["HTTP/1.1 503"]);
    end(answer);
    peer.close();
    await serving.server.shutdown();
    assertEquals([handled, steps], [failingCall - 2, 0]);
    assertEquals(serving.logger.lines.filter(([level]) => level !== "debug").length, 1);
  });
});

Deno.test("a peer whose session ends during a check of its trust isn't called untrusted", async () => {
  const rows: ((serving: Serving, session: Session) => void)[] = [
    (_serving, session) => session.close(),
    ({ server }) => server.close(),
  ];
  for (const end of rows) {
    const asked = Promise.withResolvers<void>();
    let count = 0;
    let trust: unknown;
    const isTrusted = () => ++count < 3 || new Promise(() => asked.resolve());
    const app = makeApp(isTrusted, async (_request, session) => {
      trust = await describeTrust(session).catch(({ response }) => response[0]);
      return reply(200);
    });
    await using serving = serve(app);
    using peer = await RawPeer.connect(serving.address, "GET / HTTP/1.1\r\n\r\n");
    await asked.promise;
    const [session] = serving.server.sessions;
    end(serving, session!);
    await peer.readToEnd();
    await serving.server.shutdown();
    assertEquals(trust, 503);
  }
});

Deno.test("trust or a session that ends right after the answer of isTrusted keeps out the app, and trust also a step", async () => {
  const rows = [["signal", 2], ["signal", 3], ["session", 2]] as const;
  let hasAnswered = false;
  for (let ticks = 0; ticks < 30; ticks++) {
    for (const [ended, callCount] of rows) {
      const controller = new AbortController();
      let [count, hasEnded] = [0, false];
      const late: string[] = [];
      const note = (name: string) => {
        if (hasEnded) late.push(name);
        else hasAnswered ||= count === callCount;
      };
      await using serving = serve({
        onConnect: (session) => ({
          user: "anna",
          signal: controller.signal,
          isTrusted() {
            let microtasks = ticks;
            const end = () => {
              if (microtasks-- > 0) return queueMicrotask(end);
              hasEnded = true;
              if (ended === "signal") controller.abort();
              else session.close();
            };
            if (++count === callCount) end();
            return true;
          },
        }),
        async handle(_request, session) {
          note("handle");
          if (ended === "signal") await session.ifTrusted(() => note("step"));
          return reply(200);
        },
      });
      using peer = await RawPeer.connect(serving.address, "GET / HTTP/1.1\r\n\r\n");
      await peer.readToEnd();
      assertEquals(late, [], `${ticks}`);
    }
  }
  // The last ends come too late.
  assertEquals(hasAnswered, true);
});

Deno.test("a peer whose signal is aborted while isTrusted is asked gets neither the app nor a step", async () => {
  for (const [callCount, handledCount] of [[3, 1], [4, 2]] as const) {
    const controller = new AbortController();
    const answer = Promise.withResolvers<boolean>();
    let [count, handled, steps] = [0, 0, 0];
    await using serving = serve({
      onConnect: () => ({
        user: "anna",
        signal: controller.signal,
        isTrusted: () => ++count < callCount || answer.promise,
      }),
      async handle(_request, session) {
        if (++handled > 1) await session.ifTrusted(() => steps++);
        return reply(200);
      },
    });
    using conn = await serving.makeClient().connect();
    assertEquals((await conn.get("/")).status, 200);
    const failing = assertRejects(() => conn.get("/"));
    while (count < callCount) await new Promise((resolve) => setTimeout(resolve, 1));
    controller.abort(new Error("forgotten"));
    answer.resolve(true);
    await failing;
    await serving.server.shutdown();
    assertEquals([handled, steps], [handledCount, 0]);
  }
});

Deno.test("the server asks once for each request, before the app, and not in a session without a condition", async () => {
  const calls: string[] = [];
  const handle: App = () => {
    calls.push("handle");
    return reply(200);
  };
  const isTrusted = async () => {
    calls.push("asked");
    await Promise.resolve();
    return true;
  };
  await using serving = serve(makeApp(isTrusted, handle));
  using conn = await serving.makeClient().connect();
  for (let n = 0; n < 2; n++) await (await conn.get("/")).discard();
  assertEquals(calls, ["asked", "asked", "handle", "asked", "handle"]);
  assertEquals((await callApp(makeApp(isTrusted, handle), mkreq("GET", "/"))).status, 200);
  assertEquals(calls.slice(5), ["asked", "asked", "handle"]);
});

Deno.test("a server shuts down while a check of trust hangs, and closes its session at the end", async () => {
  let count = 0;
  const isTrusted = () => ++count < 3 || new Promise(() => {});
  await using serving = serve(makeApp(isTrusted, () => reply(200)));
  using conn = await serving.makeClient().connect();
  assertEquals((await conn.get("/")).status, 200);
  const pending = assertRejects(() => conn.get("/"));
  while (count < 3) await new Promise((resolve) => setTimeout(resolve, 1));
  serving.server.close();
  await pending;
});

Deno.test("a proxy that relays for an anonymous peer doesn't need its trust", async () => {
  await using upstream = serve(showTrust);
  await using serving = serve(new ProxyApp(upstream.makeClient()));
  assertEquals(await (await serving.makeClient().get("/")).text(), "anonymous");
});

// ───────────────────────── ifTrusted()

Deno.test("ifTrusted calls its step for a trusted peer, and resolves to the result or rejects with the error", async () => {
  const error = new Error("the step fails");
  const app = makeApp(() => true, async (_request, session) => {
    assertEquals(await session.ifTrusted(() => 5), 5);
    assertEquals(await session.ifTrusted(() => Promise.resolve("a")), "a");
    assertEquals(await assertRejects(() => session.ifTrusted(() => Promise.reject(error))), error);
    return reply(200);
  });
  await using serving = serve(app);
  using conn = await serving.makeClient().connect();
  for (let n = 0; n < 3; n++) assertEquals((await conn.get("/")).status, 200);
});

Deno.test("a peer that isn't trusted any more gets no step, whatever the app does with the promise", async (t) => {
  type Call = (session: Session, step: () => void) => unknown;
  const rows: [label: string, call: Call, known: number, unknown: number][] = [
    ["awaited", (session, step) => session.ifTrusted(step), 403, 503],
    ["not awaited", (session, step) => void session.ifTrusted(step), 200, 200],
    ["caught", (session, step) => session.ifTrusted(step).catch(() => {}), 200, 200],
    [
      "after the response",
      (session, step) => void setTimeout(() => session.ifTrusted(step)),
      ...[200, 200] as const,
    ],
  ];
  await testEachRow(t, rows, async (_label, call, knownStatus, unknownStatus) => {
    for (const status of [403, 503]) {
      let isLost = false;
      let steps = 0;
      const app = makeApp(
        () => !isLost || status === 503 && fail(503),
        async (_request, session) => {
          isLost = true;
          await call(session, () => void steps++);
          return reply(200);
        },
      );
      await using serving = serve(app);
      using conn = await serving.makeClient().connect();
      const expected = status === 403 ? knownStatus : unknownStatus;
      assertEquals((await conn.get("/")).status, expected);
      if (expected === 200) {
        await conn.get("/").then((again) => assertEquals(again.status, status), () => {});
      }
      await assertRejects(() => conn.get("/"));
      assertEquals(steps, 0);
    }
  });
});

Deno.test("a peer that isn't trusted any more after its response loses its session at once", async (t) => {
  const rows: [label: string, identity: PeerIdentity | true, sent: string, reason: string][] = [
    ["idle", { user: "anna", isTrusted: () => isTrusted }, "", "not trusted any more"],
    ["within a request", { user: "anna", isTrusted: () => isTrusted }, "GET / HT", "any more"],
    ["anonymous", true, "", "the peer is anonymous"],
  ];
  let isTrusted = true;
  await testEachRow(t, rows, async (_label, identity, sent, reason) => {
    isTrusted = true;
    let steps = 0;
    let session: Session;
    await using serving = serve({
      onConnect: () => identity,
      handle(_request, current) {
        session = current;
        return reply(200);
      },
    });
    using peer = await RawPeer.connect(serving.address, `GET / HTTP/1.1\r\n\r\n${sent}`);
    await peer.readUntil("\r\n\r\n");
    isTrusted = false;
    for (let n = 0; n < 2; n++) await assertRejects(() => session.ifTrusted(() => steps++));
    assertEquals([serving.server.sessions.size, steps], [0, 0]);
    assertStringIncludes(session!.message!, reason);
    assertEquals(session!.signal.aborted, true);
    await peer.assertClosedSilently();
    assertEquals(serving.logger.messagesOf("info").length, 1);
  });
});

Deno.test("a peer that isn't trusted in onConnect is refused, whatever onConnect returns", async () => {
  await using serving = serve({
    onConnect(session) {
      void session.ifTrusted(() => {});
      return { user: "anna" };
    },
    handle: () => reply(200),
  });
  using peer = await RawPeer.connect(serving.address, "GET / HTTP/1.1\r\n\r\n");
  await peer.assertClosedSilently();
  await serving.logger.waitFor("info", "ifTrusted(): the peer is anonymous");
});

Deno.test("ifTrusted refuses an anonymous peer with 403, and the log names the remedy", async () => {
  await using serving = serve(async (_request, session) => {
    await session.ifTrusted(() => {});
    return reply(200);
  });
  const { status, headers } = await serving.makeClient().get("/");
  assertEquals([status, headers["connection"]], [403, "close"]);
  const [line] = await serving.logger.waitFor("info", "anonymous");
  assertStringIncludes(line!, "ifTrusted(): the peer is anonymous: it has neither a certificate");
});

Deno.test("a destructured ifTrusted(), and an inherited one, throws", async () => {
  const apps: App[] = [
    async (_request, { ifTrusted }) => reply(200, `${await ifTrusted(() => 1)}`),
    async (_request, session) => {
      return reply(200, `${await (Object.create(session) as Session).ifTrusted(() => 1)}`);
    },
    async (_request, session) => reply(200, `${await session.ifTrusted(1 as never)}`),
  ];
  for (const app of apps) await assertRejects(() => callApp(app, mkreq("GET", "/")), TypeError);
});

Deno.test("a forgotten await of ifTrusted doesn't end the process of the server, and leaves the step out", async () => {
  const flags = ["--allow-net=127.0.0.1"];
  await using process = new RunningProcess(
    makeProgramCommand("forgotten_await.ts", { flags }).spawn(),
  );
  const port = Number(await process.waitForStdout(/[0-9]+/));
  using conn = await new Client(["127.0.0.1", port]).connect();
  assertEquals(await (await conn.get("/")).text(), "0");
  assertEquals(await (await conn.get("/forget")).text(), "0");
  await assertRejects(() => conn.get("/"));
  await process.waitForStderr(/the peer is not trusted any more/);
  process.child.kill("SIGTERM");
  assertEquals((await process.waitForEnd()).success, true);
});
