/** Starting a server in one call, the signal that closes it, and sockets that nobody serves. */
import { Client } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { type App, Server, type ServerOptions, SSLServer } from "@degu/degu/server";
import { tempDir } from "@degu/testing/directories.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { patch } from "@degu/testing/patching.ts";
import { untilRefused } from "@degu/testing/raw_peer.ts";
import { unhandledRejections } from "@degu/testing/rejections.ts";
import { assert, assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";

const app: App = () => [200, "OK", {}, "hello"];
const anywhere = ["127.0.0.1", 0] as const;
const turn = () => new Promise((resolve) => setTimeout(resolve));

/** The two kinds of servers, each started in one call. */
async function kinds() {
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

Deno.test("start resolves to a server that is bound and serves", async () => {
  await using both = await kinds();
  for (const [name, start] of Object.entries(both.starts)) {
    await using server = await start(anywhere);
    assertInstanceOf(server, name === "TLS" ? SSLServer : Server);
    assert(server.port! > 0);
    (await Deno.connect({ port: server.port! })).close();
  }
  await using server = await Server.start(anywhere, app);
  assertEquals(await (await new Client(server.address).request("GET", "/")).text(), "hello");
});

Deno.test("an address that is in use rejects start, and nothing else", async () => {
  await using both = await kinds();
  using rejections = unhandledRejections();
  for (const start of Object.values(both.starts)) {
    await using first = await start(anywhere);
    await assertRejects(() => start(first.address as typeof anywhere), Deno.errors.AddrInUse);
    await turn();
  }
  assertEquals(rejections.reasons, []);
});

Deno.test("start rejects for wrong arguments, as the constructor throws", async () => {
  for (
    const [address, given, options, kind] of [
      [5, app, {}, TypeError],
      [anywhere, {}, {}, TypeError],
      [anywhere, app, { maxRequest: 1 }, TypeError],
      [anywhere, app, { maxRequests: 0 }, RangeError],
    ] as const
  ) {
    const starting = Server.start(address as never, given as never, options as never);
    assertInstanceOf(await rejectionOf(starting, Deno.inspect(options)), kind);
  }
});

Deno.test("serveForever() counts as handled once ready, which was asked for, has rejected", async () => {
  await using both = await kinds();
  await using first = await both.starts.TLS(anywhere);
  const make = () => new SSLServer(both.pki.serverSslconfig, first.address as typeof anywhere, app);
  using rejections = unhandledRejections();
  for (const isServing of [true, false]) {
    await using server = make();
    if (isServing) server.serveForever();
    await assertRejects(() => server.ready, Deno.errors.AddrInUse);
    await turn();
    if (!isServing) server.serveForever();
    await turn();
  }
  assertEquals(rejections.reasons, []);
  // An error that nobody looks for is not lost.
  const ignored = make();
  ignored.serveForever();
  while (rejections.reasons.length === 0) await turn();
  assertInstanceOf(rejections.reasons[0], Deno.errors.AddrInUse);
  await ignored[Symbol.asyncDispose]();
});

Deno.test("the signal closes a server, and a signal that is aborted before rejects start", async () => {
  await using both = await kinds();
  for (const start of Object.values(both.starts)) {
    const ending = new AbortController();
    await using server = await start(anywhere, { signal: ending.signal });
    const serving = server.serveForever();
    ending.abort();
    await serving;
    await untilRefused(server.address);
    const reason = new Error("too late");
    const rejected = await rejectionOf(
      start(anywhere, { signal: AbortSignal.abort(reason) }),
      "an aborted signal",
    );
    assertEquals(rejected, reason);
  }
  assertThrows(
    () => new Server(anywhere, app, { signal: AbortSignal.abort(new Error("too late")) }),
    Error,
    "too late",
  );
});

Deno.test("a signal that is aborted while an address is bound rejects start with its reason", async () => {
  await using both = await kinds();
  const ending = new AbortController();
  const starting = both.starts.TLS(anywhere, { signal: ending.signal });
  const reason = new Error("changed my mind");
  ending.abort(reason);
  assertEquals(await rejectionOf(starting, "an abort"), reason);
});

Deno.test("a server that has ended no longer listens to its signal", async () => {
  const { signal } = new AbortController();
  let listeners = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
    listeners++;
    addEventListener.apply(signal, args);
  };
  signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
    listeners--;
    removeEventListener.apply(signal, args);
  };
  await (await Server.start(anywhere, app, { signal })).shutdown();
  assertEquals(listeners, 0);
});

Deno.test("replaceSocket replaces a socket that nobody serves, and nothing else", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/socket`;
  const start = () => Server.start(path, app, { replaceSocket: true });
  {
    await using server = await start();
    assertEquals(server.address, path);
    await assertRejects(start, Deno.errors.AddrInUse);
    assertEquals(await (await new Client(path).request("GET", "/")).text(), "hello");
  }
  // A program that is killed leaves its socket behind.
  await abandon(path);
  await assertRejects(() => Server.start(path, app), Deno.errors.AddrInUse);
  {
    await using _server = await start();
    assertEquals(await (await new Client(path).request("GET", "/")).text(), "hello");
  }
  await Deno.writeTextFile(path, "a file");
  await assertRejects(start, Deno.errors.AddrInUse);
  assertEquals(await Deno.readTextFile(path), "a file");
  assertThrows(() => new Server(path, app, { replaceSocket: true }), TypeError, "Server.start()");
});

Deno.test("replaceSocket: of two starts at a dead socket one serves, the other finds it in use", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/socket`;
  const start = () => Server.start(path, app, { replaceSocket: true });
  for (let i = 0; i < 20; i++) {
    await abandon(path);
    const [first, second] = await Promise.allSettled([start(), start()]);
    const [served, refused] = first.status === "fulfilled" ? [first, second] : [second, first];
    assert(served.status === "fulfilled" && refused.status === "rejected", `round ${i}`);
    await using _server = served.value;
    assertInstanceOf(refused.reason, Deno.errors.AddrInUse);
    assertEquals(await (await new Client(path).request("GET", "/")).text(), "hello");
  }
});

Deno.test("replaceSocket leaves a file alone that takes the place of the socket meanwhile", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/socket`;
  await abandon(path);
  const { connect } = Deno;
  const connectAndSwap = async (options: Deno.UnixConnectOptions) => {
    try {
      return await connect(options);
    } finally {
      await Deno.writeTextFile(`${path}.new`, "a file");
      await Deno.rename(`${path}.new`, path);
    }
  };
  using _ = patch(Deno, "connect", () => connectAndSwap as typeof connect);
  const error = await rejectionOf(Server.start(path, app, { replaceSocket: true }), "a start");
  assertInstanceOf(error, Deno.errors.AddrInUse);
  assertEquals(await Deno.readTextFile(path), "a file");
});

Deno.test("replaceSocket: a server that can't accept more connections is still in the way", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/socket`;
  using _listener = Deno.listen({ transport: "unix", path });
  const waiting: Deno.Conn[] = [];
  await assertRejects(async () => {
    for (;;) waiting.push(await Deno.connect({ transport: "unix", path }));
  }, Deno.errors.WouldBlock);
  const error = await rejectionOf(Server.start(path, app, { replaceSocket: true }), "a start");
  for (const conn of waiting) conn.close();
  assertInstanceOf(error, Deno.errors.AddrInUse);
});

/** Leaves a socket at a path as a killed program does: by a hard link, which closing doesn't remove. */
async function abandon(path: string): Promise<void> {
  const listener = Deno.listen({ transport: "unix", path: `${path}.now` });
  await Deno.link(`${path}.now`, path);
  listener.close();
  await Deno.remove(`${path}.now`).catch(() => {});
}
