/** Constructing a server, and which connections it accepts. */
import { assert, assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import { Client } from "@degu/degu/client";
import { type App, Server, type ServerOptions, type Session, type Socket } from "@degu/degu/server";
import { assertTypeError, constructWith, optionOf } from "@degu/testing/expectations.ts";
import { listenAgain } from "@degu/testing/ports.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

const get = "GET / HTTP/1.1\r\n\r\n";
const ok: App = () => [200, "OK", {}, null];
const anywhere = ["127.0.0.1", 0] as const;

Deno.test("an unknown option is a TypeError that names it", () => {
  for (const name of ["maxConnection", "Timeout", "host", "toString", ""]) {
    assertThrows(
      () => constructWith(Server, anywhere, ok, { [name]: undefined }),
      TypeError,
      name,
    );
  }
});

Deno.test("an app or option of a wrong type is a TypeError", () => {
  const apps: readonly unknown[] = [
    undefined,
    null,
    5,
    "app",
    {},
    [],
    { handle: 5 },
    { handle: null },
    { onConnect: () => true },
    { handle: ok, onConnect: true },
    { handle: ok, onConnect: null },
  ];
  for (const app of apps) {
    assertTypeError(() => constructWith(Server, anywhere, app), Deno.inspect(app));
  }
  const rows: readonly unknown[] = [
    null,
    5,
    { maxConnections: "5" },
    { maxConnections: null },
    { maxConnections: 5n },
    { maxRequests: "5" },
    { maxRequests: null },
    { timeout: "5" },
    { timeout: true },
    { logger: null },
    { logger: () => {} },
    { logger: {} },
    ...["debug", "info", "warn", "error"].map((level) => ({
      logger: { ...console, [level]: undefined },
    })),
    { onExchange: null },
  ];
  for (const options of rows) {
    const make = () => constructWith(Server, anywhere, ok, options);
    assertThrows(make, TypeError, optionOf(options), Deno.inspect(options));
  }
});

Deno.test("an option with an invalid value is a RangeError", () => {
  const wrongCounts = [0, -1, 0.5, 1.5, NaN, -Infinity, 2 ** 53];
  for (const name of ["maxConnections", "maxRequests"]) {
    for (const value of wrongCounts) {
      const make = () => constructWith(Server, anywhere, ok, { [name]: value });
      assertThrows(make, RangeError, name, `${name} ${value}`);
    }
  }
  for (const timeout of [0, -1, NaN, Infinity, -Infinity]) {
    const make = () => constructWith(Server, anywhere, ok, { timeout });
    assertThrows(make, RangeError, "timeout", `timeout ${timeout}`);
  }
});

Deno.test("options at a limit are accepted, and console is a valid logger", async () => {
  const rows: readonly ServerOptions[] = [
    { maxConnections: 1, maxRequests: 1, timeout: 0.001 },
    { maxConnections: Infinity, maxRequests: Infinity },
    { logger: console },
    {},
  ];
  for (const options of rows) {
    await using server = new Server(anywhere, ok, options);
    await server.ready;
    assertEquals({ ...server.options }, options);
    assert(server.options !== options);
  }
});

Deno.test("an invalid argument leaves nothing bound", async () => {
  const path = `${await Deno.makeTempDir()}/socket`;
  assertThrows(() => constructWith(Server, path, null), TypeError);
  assertThrows(() => constructWith(Server, path, ok, { timeout: 0 }), RangeError);
  await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
  await Deno.remove(path.slice(0, path.lastIndexOf("/")));
});

Deno.test("onConnect accepts only by returning exactly true", async (t) => {
  const rows: readonly (readonly [value: unknown, letsIn: boolean])[] = [
    [true, true],
    [Promise.resolve(true), true],
    [false, false],
    [undefined, false],
    [null, false],
    [0, false],
    [1, false],
    ["true", false],
    [{}, false],
    [new Boolean(true), false],
    [Promise.resolve(1), false],
    [Promise.resolve(false), false],
  ];
  for (const [value, letsIn] of rows) {
    await t.step(Deno.inspect(value), async () => {
      let calls = 0;
      const handle = () => {
        calls++;
        return [200, "OK", {}, null];
      };
      const app: unknown = { handle, onConnect: () => value };
      assert(isApp(app));
      await using serving = serve(app);
      using peer = await RawPeer.connect(serving.address);
      await peer.send(get);
      if (letsIn) assertEquals(await peer.readPreamble(), "HTTP/1.1 200 OK\r\n\r\n");
      else await peer.assertClosedSilently("who was not let in");
      assertEquals(calls, letsIn ? 1 : 0);
      assertEquals(serving.logger.at("error"), []);
    });
  }
});

function isApp(value: unknown): value is App {
  return typeof value === "object";
}

Deno.test("onConnect gets the session and the socket, once per connection, before any byte", async () => {
  const calls: (readonly [Session, Socket])[] = [];
  const sessions: Session[] = [];
  await using serving = serve({
    handle: (_request, session) => {
      sessions.push(session);
      return [200, "OK", { greeting: String(session.store.get("greeting")) }, null];
    },
    onConnect(session, sock) {
      calls.push([session, sock]);
      session.store.set("greeting", "hello");
      return true;
    },
  });
  using conn = await serving.makeClient().connect();
  assertEquals((await conn.get("/")).headers["greeting"], "hello");
  assertEquals((await conn.get("/")).headers["greeting"], "hello");
  const [call] = calls;
  assertEquals(calls.length, 1);
  assertStrictEquals(call?.[0], sessions[0]);
  assertStrictEquals(sessions[0], sessions[1]);
  for (const name of ["read", "write", "close"] as const) {
    assertEquals(typeof call?.[1][name], "function");
  }
});

Deno.test("onConnect may take time, and what the peer sends meanwhile is not lost", async () => {
  const letIn = Promise.withResolvers<boolean>();
  await using serving = serve({ handle: ok, onConnect: () => letIn.promise });
  using peer = await RawPeer.connect(serving.address);
  await peer.send(get + get);
  assertEquals(peer.text, "");
  letIn.resolve(true);
  assertEquals(await peer.readPreamble(), "HTTP/1.1 200 OK\r\n\r\n");
  assertEquals(await peer.readPreamble(), "HTTP/1.1 200 OK\r\n\r\n");
});

Deno.test("serveForever() may be called again, and before or after close()", async () => {
  const server = new Server(anywhere, ok);
  const first = server.serveForever();
  const second = server.serveForever();
  assertEquals((await new Client(server.address).request("GET", "/")).status, 200);
  server.close();
  await Promise.all([first, second, server.serveForever()]);
  server.close();
  await server.shutdown();
  await server[Symbol.asyncDispose]();

  const never = new Server(anywhere, ok);
  never.close();
  await never.serveForever();
  const shut = new Server(anywhere, ok);
  await shut.shutdown();
  await shut.serveForever();
});

Deno.test("a server that never served is closed by await using", async () => {
  let address;
  {
    await using server = new Server(anywhere, ok);
    address = server.address;
    assertThrows(() => new Server(server.address, ok), Deno.errors.AddrInUse);
  }
  (await listenAgain(() => new Server(address, ok))).close();
});

Deno.test("the standard logger prints only an app's exception to stderr", async () => {
  const told: string[] = [];
  const { error, warn, log, info, debug } = console;
  const keep = (level: string) => (message: string) => void told.push(`${level} ${message}`);
  console.error = keep("error");
  console.warn = keep("warn");
  console.log = console.info = console.debug = keep("other");
  try {
    const server = new Server(anywhere, () => {
      throw new Error("the application broke");
    });
    const serving = server.serveForever();
    for (const bytes of [get, "NONSENSE\r\n\r\n", ""]) {
      using peer = await RawPeer.connect(server.address);
      await peer.send(bytes);
      await peer.closeWrite();
      await peer.assertClosedSilently();
    }
    server.close();
    await serving;
  } finally {
    Object.assign(console, { error, warn, log, info, debug });
  }
  assertEquals(told.length, 1);
  assert(told[0]?.startsWith("error 127.0.0.1:") && told[0].includes("the application broke"));
});
