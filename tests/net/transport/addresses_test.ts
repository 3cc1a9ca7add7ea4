/** Addresses of clients and servers: binding, accepting, both families of IP, and the sent host. */
import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { connect } from "node:net";
import type { Address } from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import { type App, Server, SSLServer } from "@degu/degu/server";
import {
  endpointOf,
  hostKeyOf,
  makePeerAddress,
  parseRemoteAddress,
} from "@degu/internal/net/transport/addresses.ts";
import { PlainListener } from "@degu/internal/net/transport/listener.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { hasIPv6 } from "../endpoints.ts";
import { assertRangeError, assertTypeError, constructWith } from "@degu/testing/expectations.ts";
import { patch } from "@degu/testing/patching.ts";
import { findUnusedPort, listenAgain } from "@degu/testing/ports.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { openSharedPki } from "@degu/testing/tls_endpoints.ts";
import { DualStackListener } from "@degu/internal/net/server/dual_stack_listener.ts";
import { findObstacle } from "@degu/testing/commands.ts";
import { findNetworkObstacle, THROUGH_NAMESPACE } from "@degu/testing/namespaces.ts";
import { runProgram } from "@degu/testing/processes.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { makeSafeLogger } from "@degu/internal/base/app/logger.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

const respondEmpty: App = () => [200, "OK", {}, null];

// tests/base/address_test.ts has the rules of hosts, scopes, paths and names. These tests are about
// the classes that apply the rules.
const make = (end: "client" | "server", address: unknown) =>
  end === "client" ? constructWith(Client, address) : constructWith(Server, address, respondEmpty);

Deno.test("a client and a server refuse an address of a wrong type with a TypeError, and an invalid value with a RangeError", () => {
  const types: readonly unknown[] = [
    ...[undefined, new URL("http://127.0.0.1/"), ["127.0.0.1"], ["127.0.0.1", "80"]],
  ];
  const values: readonly unknown[] = [
    ...[-1, 65536, 80.5, NaN].map((port) => ["127.0.0.1", port]),
    ...[["", 80], ["http://127.0.0.1", 80], ["fe80::1", 80], ["::1", 80, -1, 0]],
    ...["", "socket", "/tmp/so\0cket", Uint8Array.of(1), new Uint8Array(109)],
  ];
  const valuesAt: Record<"client" | "server", readonly unknown[]> = {
    client: [
      ...[["127.0.0.1", 0], ["::1", 0, 0, 0], ["ä.example", 80], ["a\r\nb", 80], ["user@host", 80]],
      ...[["::1/64", 80], ["fe80::1/64%3", 80], new Uint8Array(0)],
    ],
    server: [
      ...[["localhost", 0], ["example.com", 0], ["localhost", 0, 0, 0], ["127.0.0.1", 0, 0, 0]],
      ...[["::1/64", 0], ["::1/64", 0, 0, 0], ["*", 0], ["2130706433", 0], ["127.1", 0]],
    ],
  };
  for (const end of ["client", "server"] as const) {
    for (const address of types) {
      assertTypeError(() => make(end, address), `${end} ${Deno.inspect(address)}`);
    }
    for (const address of [...values, ...valuesAt[end]]) {
      assertRangeError(() => make(end, address), `${end} ${Deno.inspect(address)}`);
    }
  }
  for (const host of ["localhost", "a b", ""]) {
    assertThrows(() => new Server([host, 0], respondEmpty), RangeError, "an IPv4 or IPv6 address");
    assertThrows(() => new Server([host, 0, 0, 0], respondEmpty), RangeError, "an IPv6 address");
    if (host !== "localhost") assertThrows(() => new Client([host, 1]), RangeError, "a DNS name");
  }
});

Deno.test("an address is free again after close(), even if a client keeps its connection open", async () => {
  await using directory = await createTempDir();
  // Another process may get a port that the system has chosen, and a closed port may be in use for
  // a while.
  const hosts = ["127.0.0.1", "0.0.0.0", ...(hasIPv6 ? ["::1", "::"] : [])];
  const ports = await Promise.all(
    hosts.map(async (host) => [host, await findUnusedPort()] as const),
  );
  const name = new TextEncoder().encode(`\0degu-test-${crypto.randomUUID()}`);
  const addresses = [...ports, directory.path + "/a", name];
  for (const address of addresses) {
    const serving = serve(respondEmpty, {}, address);
    using conn = await serving.makeClient().connect();
    await conn.get("/");
    serving.server.close();
    await serving.done;
    await using secondServing = await listenAgain(() => serve(respondEmpty, {}, address));
    assertEquals(secondServing.address, address);
    assertEquals((await secondServing.makeClient().request("GET", "/")).status, 200);
  }
});

Deno.test("a server keeps flowinfo and scopeid", { ignore: !hasIPv6 }, async () => {
  await using server = new Server(["::1", 0, 5, 0], respondEmpty);
  assertEquals(server.address, ["::1", Number(server.address[1]), 5, 0]);
});

Deno.test("servers with an empty abstract name get different names", async () => {
  await using first = new Server(new Uint8Array(0), respondEmpty);
  await using second = new Server(new Uint8Array(0), respondEmpty);
  assertNotEquals(first.address, second.address);
  for (const { address } of [first, second]) {
    assertMatch(new TextDecoder().decode(address as Uint8Array), /^\0[0-9a-f]{5}$/);
  }
});

Deno.test("an abstract name that is in use is not chosen; any other error is reported", () => {
  const { AddrInUse, PermissionDenied } = Deno.errors;
  const errors = [new AddrInUse("in use"), new AddrInUse("in use"), new PermissionDenied("never")];
  using _failing = patch(Deno, "listen", () => () => {
    throw errors.shift();
  });
  assertThrows(() => new Server(new Uint8Array(0), respondEmpty), PermissionDenied, "never");
  assertEquals(errors, []);
});

Deno.test("an existing path of any kind is not overwritten", async () => {
  await using directory = await createTempDir();
  const file = `${directory.path}/file`;
  const link = `${directory.path}/link`;
  const dangling = `${directory.path}/dangling`;
  await Deno.writeTextFile(file, "precious");
  await makeLinks({ [link]: file, [dangling]: `${directory.path}/nowhere` });
  for (const path of [file, link, dangling, directory.path]) {
    assertThrows(() => new Server(path, respondEmpty), Deno.errors.AddrInUse);
  }
  assertEquals(await Deno.readTextFile(file), "precious");
  assertEquals(await Deno.readTextFile(link), "precious");
  assertEquals(await Deno.readLink(dangling), `${directory.path}/nowhere`);
});

Deno.test("every way to close removes the socket file", async () => {
  await using directory = await createTempDir();
  const path = `${directory.path}/socket`;
  for (const end of ["close", "shutdown", Symbol.asyncDispose] as const) {
    for (const serves of [true, false]) {
      const server = new Server(path, respondEmpty);
      assert((await Deno.lstat(path)).isSocket);
      const serving = serves ? server.serveForever() : Promise.resolve();
      if (serves) assertEquals((await new Client(path).request("GET", "/")).status, 200);
      await server[end]();
      await serving;
      await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
    }
  }
  // A socket file that was already removed is not an error.
  const server = new Server(path, respondEmpty);
  await Deno.remove(path);
  server.close();
  await server.serveForever();
});

Deno.test("the address of a peer has the same form as the server's", () => {
  const rows: readonly [server: Address, peer: string, ReturnType<typeof makePeerAddress>][] = [
    [["::", 1], "::ffff:1.2.3.4", ["1.2.3.4", 80]],
    [["::", 1, 0, 0], "1.2.3.4", ["1.2.3.4", 80]],
    [["::", 1], "fe80::1", ["fe80::1", 80]],
    [["fe80::2", 1, 0, 3], "fe80::1", ["fe80::1", 80, 0, 3]],
    [["::1", 1, 0, 0], "::1", ["::1", 80, 0, 0]],
    // The address names the interface only if both addresses are link-local.
    [["fe80::2%eth0", 1], "fe80::1", ["fe80::1%eth0", 80]],
    [["fe80::2%eth0", 1], "fd00::1", ["fd00::1", 80]],
    [["fe80::2%3", 1, 0, 3], "fd00::1", ["fd00::1", 80, 0, 0]],
    [["fd00::2", 1, 0, 3], "fe80::1", ["fe80::1", 80, 0, 0]],
    ["/run/a", "::1", null],
  ];
  for (const [server, hostname, expected] of rows) {
    const peer = { transport: "tcp", hostname, port: 80 };
    assertEquals(makePeerAddress(server, peer), expected, `${hostname} at ${server}`);
  }
});

Deno.test("a scope names the interface of a socket, and a socket that isn't of Deno may have any address", () => {
  const tcp = (hostname: string) => ({ transport: "tcp", hostname, port: 80 }) as const;
  assertEquals(endpointOf(["fe80::1%eth0", 80, 0, 3]), tcp("fe80::1%3"));
  assertEquals(endpointOf(["fe80::1%eth0", 80, 0, 0]), tcp("fe80::1%eth0"));
  const rows: readonly [remoteAddr: unknown, Address | null][] = [
    [tcp("::ffff:192.0.2.1"), ["192.0.2.1", 80]],
    [{ path: "/run/a" }, "/run/a"],
    [{ path: "\0a" }, encodeLatin1("\0a")],
    ...[undefined, null, {}, { hostname: "::1" }, { port: 80 }, { hostname: 1, port: 80 }]
      .map((other) => [other, null] as [unknown, null]),
  ];
  for (const [remoteAddr, expected] of rows) {
    assertEquals(parseRemoteAddress(remoteAddr), expected, Deno.inspect(remoteAddr));
  }
});

// ───────────────────────── accepting connections

Deno.test("a fault of accept(2) is reported once until a connection arrives, and tried again after a pause", async () => {
  // Simulate faults of the system: the real listener has enough descriptors, and its sockets accept
  // every option.
  const outcomes = ["EMFILE", "EMFILE", "none", "EMFILE", "EINVAL", "none"];
  const accepted: Deno.Conn[] = [];
  const makeFaulty = (listen: typeof Deno.listen) => (options: Deno.TcpListenOptions) => {
    const listener = listen(options);
    const accept = listener.accept.bind(listener);
    listener.accept = async () => {
      const outcome = outcomes.shift();
      const fault = Object.assign(new Error("a fault"), { code: outcome });
      if (outcome === "EMFILE") throw fault;
      const conn = await accept();
      accepted.push(conn);
      const throwFault = () => {
        throw fault;
      };
      return outcome === "none" ? conn : Object.assign(conn, { setNoDelay: throwFault });
    };
    return listener;
  };
  const logger = new RecordingLogger();
  using patched = patch(Deno, "listen", (listen) => makeFaulty(listen) as typeof listen);
  const conns: Deno.Conn[] = [];
  const bothAccepted = Promise.withResolvers<void>();
  const listener = new PlainListener(["127.0.0.1", 0], { logger }, (conn) => {
    if (conns.push(conn) === 2) bothAccepted.resolve();
  });
  patched[Symbol.dispose]();
  const [hostname, port] = listener.address as [string, number];
  const clients: Deno.Conn[] = [];
  while (clients.length < 3) clients.push(await Deno.connect({ hostname, port }));
  try {
    const start = performance.now();
    listener.start();
    await bothAccepted.promise;
    assert(performance.now() - start > 3 * 45, "no pause");
    assertEquals([outcomes, conns], [[], [accepted[0]!, accepted[2]!]]);
    assertEquals(
      logger.messagesOf("warn"),
      Array(2).fill("accepting connections fails: Error: a fault"),
    );
    assertEquals(logger.messagesOf("debug"), [
      "a peer closed its connection before it was accepted: Error: a fault",
    ]);
    // The accepted connection of a peer that has left is closed.
    assertEquals(await clients[1]!.read(new Uint8Array(1)), null);
  } finally {
    for (const conn of [...clients, accepted[0], accepted[2]]) conn?.close();
    listener.close();
    await listener.waitUntilEnded();
  }
});

Deno.test("a system error at binding names the address, and keeps its class", async () => {
  await using dir = await createTempDir();
  const listen = (address: Address) =>
    new PlainListener(address, { logger: new RecordingLogger() }, () => {});
  const listener = listen(["127.0.0.1", 0]);
  const [host, port] = listener.address as [string, number];
  const path = `${dir.path}/file`;
  Deno.createSync(path).close();
  const { AddrInUse, AddrNotAvailable, NotFound } = Deno.errors;
  const cases: [Address, typeof AddrInUse, RegExp][] = [
    [[host, port], AddrInUse, RegExp(`^can't listen at ${host}:${port}: .*in use`)],
    [path, AddrInUse, RegExp(`^can't listen at unix:${path}: .*in use`)],
    [["192.0.2.1", 0], AddrNotAvailable, /^can't listen at 192\.0\.2\.1:0: ./],
    [`${path}.d/socket`, NotFound, RegExp(`^can't listen at unix:${path}.d/socket: .`)],
  ];
  try {
    for (const [address, Class, message] of cases) {
      const error = assertThrows(() => listen(address), Class);
      assertMatch(error.message, message);
    }
    using _failing = patch(Deno, "listen", () => () => {
      throw Object.assign(new AddrInUse("in use"), { code: "EADDRINUSE" });
    });
    assertThrows(() => listen(["fe80::1%lo", 1]), AddrInUse, "[fe80::1%lo]:1: in use");
  } finally {
    listener.close();
  }
});

Deno.test("a peer counts by its IPv4 address, by the /64 of its IPv6 address, and on the server's own /64 or link by its whole address", () => {
  const rows: [peer: string, local: string | undefined, key: string][] = [
    ["192.0.2.1", "192.0.2.9", "192.0.2.1"],
    ["::ffff:192.0.2.1", "::ffff:192.0.2.9", "192.0.2.1"],
    ["2001:db8::1", "2001:db8:1::9", "32.1.13.184.0.0.0.0"],
    ["2001:db8::2:0:0:1", "2001:db8:1::9", "32.1.13.184.0.0.0.0"],
    ["2001:db8::1", "2001:db8::9", "2001:db8::1"],
    ["2001:db8::1", "192.0.2.9", "32.1.13.184.0.0.0.0"],
    ["2001:db8::1", undefined, "32.1.13.184.0.0.0.0"],
    ["fe80::1", "fe80::9", "fe80::1"],
    ["::1", "::1", "::1"],
  ];
  for (const [peer, hostname, key] of rows) {
    const address = makePeerAddress(["::", 1], { hostname: peer, port: 2 });
    assertEquals(hostKeyOf(address, { hostname, port: 1 }), key, `${peer} at ${hostname}`);
  }
  assertEquals(hostKeyOf(makePeerAddress("/socket", { path: "" }), { path: "/socket" }), "");
});

const RESETS = 60;
const app: App = () => [204, "No Content", {}, null];

/** Connects and resets, before the server has accepted the connection. */
async function connectAndReset(host: string, port: number): Promise<void> {
  const socket = connect(port, host);
  await new Promise((resolve) => socket.once("connect", resolve));
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.resetAndDestroy();
  await closed;
}

Deno.test("peers that reset before they are accepted cause no pause and no warning", async (t) => {
  const pki = await openSharedPki();
  const rows: [name: string, Address, isSecure: boolean][] = [
    ["a plain server", ["127.0.0.1", 0], false],
    ["over TLS", ["127.0.0.1", 0], true],
    ...hasIPv6 ? [["over TLS, by Deno", ["::1", 0, 0, 1], true] as [string, Address, true]] : [],
  ];
  await testEachRow(t, rows, async (_name, address, isSecure) => {
    const logger = new RecordingLogger();
    await using server = isSecure
      ? new SSLServer(pki.serverSslconfig, address, app, { logger })
      : new Server(address, app, { logger });
    await server.ready;
    const [host, port] = server.address as [string, number];
    for (let i = 0; i < RESETS; i++) await connectAndReset(host, port);
    const serving = server.serveForever();
    const client = isSecure
      ? new SSLClient(pki.clientSslconfig, [host, port], { timeout: 60 })
      : new Client([host, port], { timeout: 60 });
    // With a pause of 50 ms for each reset the request would take 3 s.
    const asking = client.request("GET", "/");
    assertEquals((await withTimeout(asking, "another client is served")).status, 204);
    assertEquals(logger.messagesOf("warn"), []);
    // A reset may also arrive just after the connection was accepted.
    const resetLines = logger.messagesOf("debug").filter((line) =>
      line.includes("before it was accepted")
    ).length;
    assert(isSecure || resetLines > RESETS / 2, `${resetLines}`);
    // By Deno, a handshake begins before the reset is read.
    const failedCount = logger.messagesOf("info").length;
    assert(address.length > 2 || failedCount < RESETS / 2, `${failedCount} handshakes failed`);
    server.close();
    await withTimeout(serving, "serveForever() settles");
  });
});

// ───────────────────────── IPv4 and IPv6

const log = makeSafeLogger(new RecordingLogger());

/** Listens at the loopback address instead of all addresses. */
function listenAtLoopback([host, port]: Address): PlainListener {
  const address: Address = [host === "::" ? "::1" : "127.0.0.1", port as number];
  return new PlainListener(address, { logger: log }, () => {});
}

Deno.test({
  name: "on Windows, listening fails if the port is in use for IPv4, and leaves it free for IPv6",
  ignore: !hasIPv6,
  fn() {
    using _system = patch(Deno, "build", (build) => ({ ...build, os: "windows" as const }));
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    assertThrows(
      () => new DualStackListener(["::", port], listenAtLoopback, log),
      Deno.errors.AddrInUse,
    );
    Deno.listen({ hostname: "::1", port }).close();
  },
});

/** Returns the command that sets the sysctl in a network namespace, and runs the appended one. */
const makeNamespace = (bindv6only: 0 | 1) => [
  ...THROUGH_NAMESPACE,
  ...["bash", "-c", `echo ${bindv6only} > /proc/sys/net/ipv6/bindv6only && exec "$0" "$@"`],
];

const obstacle = await findObstacle([...makeNamespace(1), "true"]) ?? await findNetworkObstacle();

Deno.test("a server at :: accepts IPv4 and IPv6 with every setting of bindv6only", {
  ...ignoreIf(obstacle),
}, async (t) => {
  const sslconfigs = JSON.stringify(await openSharedPki());
  const rows: readonly [string, 0 | 1, net: string, peers: readonly string[]][] = [
    ["0, all addresses are permitted", 0, "--allow-net", ["127.0.0.1", "::1", "127.0.0.1"]],
    ["1, all addresses are permitted", 1, "--allow-net", ["127.0.0.1", "::1", "127.0.0.1"]],
    [
      "1, IPv4 isn't permitted",
      1,
      "--allow-net=[::],[::1],127.0.0.1",
      ["ConnectionError", "::1", "ConnectionError"],
    ],
  ];
  await testEachRow(t, rows, async (_name, bindv6only, net, peers) => {
    const flags = ["--allow-read", "--allow-run=ip", net];
    const options = { flags, args: [sslconfigs], through: makeNamespace(bindv6only) };
    const findings = JSON.parse(await runProgram("ipv6_only_sockets.ts", options));
    for (const [actualPeers, lines] of findings) {
      assertEquals(actualPeers.map((peer: string) => peer.replace(/:? .*/, "")), peers);
      assertEquals(lines.length, net === "--allow-net" ? 0 : 1);
      if (lines.length > 0) {
        assertMatch(lines[0], /^the server doesn't listen at 0\.0\.0\.0:\d+ \(the perm/);
      }
    }
    assertEquals(findings.length, 2);
  });
});

// ───────────────────────── host

/** Starts a server that responds with the host of the request. */
const serveHost = (address?: Address) =>
  serve(({ headers }) => [200, "OK", {}, headers["host"] ?? "none"], { hosts: "any" }, address);

Deno.test("a client sends the host and port of its address, and no host over a Unix socket", async (t) => {
  await using dir = await createTempDir();
  const rows: [label: string, Address, expected: (port: unknown) => string][] = [
    ["IPv4", ["127.0.0.1", 0], (port) => `127.0.0.1:${port}`],
    ["IPv6", ["::1", 0], (port) => `[::1]:${port}`],
    ["a path", `${dir.path}/socket`, () => "none"],
    ["an abstract name", encodeLatin1(`\0degu-${crypto.randomUUID()}`), () => "none"],
  ];
  await testEachRow(t, rows, async (_label, address, expected) => {
    await using serving = serveHost(address);
    const requestHost = async (client = serving.makeClient()) =>
      await (await client.get("/")).text();
    assertEquals(await requestHost(), expected(serving.address[1]));
    assertEquals(await requestHost(serving.makeClient({ host: "a.b:1" })), "a.b:1");
    assertEquals(await requestHost(serving.makeClient({ host: null })), "none");
  });
  // An address can't have user information, which must not be part of the host.
  assertRangeError(() => new Client(["user@a", 80]), "user information");
});
