/** Server.start() and SSLServer.start(). */
import { formatAddress } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { type App, Server, type ServerOptions, SSLServer } from "@degu/degu/server";
import { RunningProcess, spawnScript } from "@degu/testing/processes.ts";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { assertEquals, assertInstanceOf, assertMatch, assertRejects } from "@std/assert";
import { FakeTime } from "@std/testing/time";

const app: App = () => [200, "OK", {}, "hello"];
const anywhere = ["127.0.0.1", 0] as const;
const waitForTimer = () => new Promise((resolve) => setTimeout(resolve));

/** Makes functions that start each kind of server. */
async function makeStarters() {
  const pki = await TempPKI.create();
  const { serverSslconfig } = pki;
  return {
    pki,
    starts: {
      plain: (address: typeof anywhere | readonly [string, number], options?: ServerOptions) =>
        Server.start(address, app, options),
      TLS: (address: typeof anywhere | readonly [string, number], options?: ServerOptions) =>
        SSLServer.start(serverSslconfig, address, app, options),
    },
    [Symbol.asyncDispose]: () => pki[Symbol.asyncDispose](),
  };
}

Deno.test("an address that is in use rejects only Server.start", async () => {
  await using servers = await makeStarters();
  using rejections = recordUnhandledRejections();
  for (const start of Object.values(servers.starts)) {
    await using first = await start(anywhere);
    await assertRejects(() => start(first.address as typeof anywhere), Deno.errors.AddrInUse);
    await waitForTimer();
  }
  assertEquals(rejections.reasons, []);
});

Deno.test("if ready rejects, a rejection of serveForever() counts as handled", async () => {
  await using servers = await makeStarters();
  await using first = await servers.starts.TLS(anywhere);
  const make = () =>
    new SSLServer(servers.pki.serverSslconfig, first.address as typeof anywhere, app);
  using rejections = recordUnhandledRejections();
  for (const isServing of [true, false]) {
    await using server = make();
    if (isServing) server.serveForever();
    await assertRejects(() => server.ready, Deno.errors.AddrInUse);
    await waitForTimer();
    if (!isServing) server.serveForever();
    await waitForTimer();
  }
  assertEquals(rejections.reasons, []);
  // An error that the caller ignores is still reported.
  const ignored = make();
  ignored.serveForever();
  while (rejections.reasons.length === 0) await waitForTimer();
  assertInstanceOf(rejections.reasons[0], Deno.errors.AddrInUse);
  await ignored[Symbol.asyncDispose]();
});

Deno.test("a server that doesn't serve for 3 seconds logs a warning, unless it serves or is closed", async () => {
  using time = new FakeTime();
  const logger = new RecordingLogger();
  const unserved = new Server(anywhere, app, { logger });
  const served = new Server(anywhere, app, { logger });
  const serving = served.serveForever();
  new Server(anywhere, app, { logger }).close();
  time.tick(2999);
  assertEquals(logger.lines, []);
  time.tick(1);
  const address = formatAddress(unserved.address);
  const line = `the server at ${address} doesn't serve until serveForever() is called`;
  assertEquals(logger.lines, [["warn", line]]);
  for (const server of [unserved, served]) server.close();
  await serving;
});

Deno.test("a program that constructs a server, and does not serve, ends with a warning", async () => {
  const script = `
    import { Server } from "./server.ts";
    new Server(["127.0.0.1", 0], () => [200, "OK", {}, "hello"]);
  `;
  const process = await spawnScript(script, ["--allow-net=127.0.0.1"]);
  const { stderr, stdout } = await new RunningProcess(process).waitForEnd(60);
  assertMatch(stderr, /the server at 127\.0\.0\.1:\d+ doesn't serve until .*\n$/);
  assertEquals(stdout, "");
});

Deno.test("a server that is disposed of within a second, without a connection, logs a warning", async () => {
  const warningsOf = async (use: (server: Server) => unknown) => {
    const logger = new RecordingLogger();
    {
      await using server = await Server.start(anywhere, app, { logger });
      await use(server);
    }
    return logger.messagesOf("warn");
  };
  const [warning] = await warningsOf(() => {});
  assertMatch(
    `${warning}`,
    /127\.0\.0\.1:\d+ was disposed of .* await server\.serveUntilSignal\(\)/,
  );
  const request = (server: Server) => new Client(server.address).request("GET", "/");
  assertEquals(await warningsOf(request), [], "a connection was served");
  assertEquals(await warningsOf((server) => server.close()), [], "the program has closed it");
  assertEquals(await warningsOf((server) => server.shutdown()), [], "the program has ended it");
  const { now } = performance;
  const wait = () => {
    performance.now = () => now.call(performance) + 1001;
  };
  try {
    assertEquals(await warningsOf(wait), [], "a second has passed");
  } finally {
    performance.now = now;
  }
});
