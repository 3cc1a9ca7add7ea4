/** Listening: accepting in spite of faults, sharing a port, and sockets that outlive their server. */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server as NetServer } from "node:net";
import type { Address } from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import { type App, Server, SSLServer } from "@degu/degu/server";
import { duplicateDescriptor, HeldSocket } from "@degu/internal/net/held_socket.ts";
import { PlainListener } from "@degu/internal/net/listener.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { hasIPv6 } from "@degu/testing/endpoints.ts";
import { unusedPort } from "@degu/testing/ports.ts";
import { runScript } from "@degu/testing/processes.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { eachRow } from "@degu/testing/rows.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { sharedPki } from "@degu/testing/tls_endpoints.ts";

/** What a call of `setNoDelay` was given. */
interface NoDelay {
  setNoDelay(noDelay?: boolean): void;
}

Deno.test("an accepted connection does not delay small writes (TCP_NODELAY)", async () => {
  const listener = new PlainListener(["127.0.0.1", 0], new RecordingLogger());
  const [hostname, port] = listener.address as [string, number];
  using client = await Deno.connect({ hostname, port });
  // The option can't be read back, so this watches that it is set.
  const prototype: NoDelay = Object.getPrototypeOf(client);
  const { setNoDelay } = prototype;
  const calls: unknown[] = [];
  prototype.setNoDelay = function (noDelay) {
    calls.push(noDelay);
    setNoDelay.call(this, noDelay);
  };
  try {
    using _conn = await listener.acceptConn();
  } finally {
    prototype.setNoDelay = setNoDelay;
    listener.close();
  }
  assertEquals(calls, [true]);
});

Deno.test("a fault of accept(2) is reported once until a connection arrives, and tried again after a pause", async () => {
  // Faults of the system, in front of a real listener: it has enough descriptors, and its sockets take every option.
  const { listen } = Deno;
  const outcomes = ["EMFILE", "EMFILE", "none", "EMFILE", "EINVAL", "none"];
  const accepted: Deno.Conn[] = [];
  const faulty = (options: Deno.TcpListenOptions & { transport: "tcp" }) => {
    const listener = listen(options);
    const accept = listener.accept.bind(listener);
    listener.accept = async () => {
      const outcome = outcomes.shift();
      const fault = Object.assign(new Error("a fault"), { code: outcome });
      if (outcome === "EMFILE") throw fault;
      const conn = await accept();
      accepted.push(conn);
      const failing = () => {
        throw fault;
      };
      return outcome === "none" ? conn : Object.assign(conn, { setNoDelay: failing });
    };
    return listener;
  };
  Object.assign(Deno, { listen: faulty });
  const logger = new RecordingLogger();
  const listener = new PlainListener(["127.0.0.1", 0], logger);
  Object.assign(Deno, { listen });
  const [hostname, port] = listener.address as [string, number];
  const clients: Deno.Conn[] = [];
  while (clients.length < 3) clients.push(await Deno.connect({ hostname, port }));
  try {
    const start = performance.now();
    const conns = [await listener.acceptConn(), await listener.acceptConn()];
    assert(performance.now() - start > 3 * 45, "no pause");
    assertEquals([outcomes, conns], [[], [accepted[0]!, accepted[2]!]]);
    assertEquals(logger.at("warn"), Array(2).fill("accepting connections fails: Error: a fault"));
    assertEquals(logger.at("debug"), ["a peer was gone before it was accepted: Error: a fault"]);
    // What was accepted of a peer that is gone is closed.
    assertEquals(await clients[1]!.read(new Uint8Array(1)), null);
  } finally {
    for (const conn of [...clients, accepted[0], accepted[2]]) conn?.close();
    listener.close();
  }
});

Deno.test("the peers of a Unix socket are told apart by numbers, from 1", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/socket`;
  const listener = new PlainListener(path, new RecordingLogger());
  for (const number of [1, 2]) {
    using _client = await Deno.connect({ transport: "unix", path });
    const { name, socket } = await listener.accept();
    assertEquals(name, `${path}#${number}`);
    socket.close();
  }
  listener.close();
});

Deno.test("a system error at binding names the address, and keeps its class", async () => {
  await using dir = await tempDir();
  const listener = new PlainListener(["127.0.0.1", 0], new RecordingLogger());
  const [host, port] = listener.address as [string, number];
  const path = `${dir.path}/file`;
  Deno.createSync(path).close();
  const remove = "the path exists: remove it if nothing listens there any more";
  const { AddrInUse, AddrNotAvailable, NotFound } = Deno.errors;
  const cases: [Address, typeof AddrInUse, RegExp][] = [
    [[host, port], AddrInUse, RegExp(`^can't listen at ${host}:${port}: .*in use.*\\)$`)],
    [path, AddrInUse, RegExp(`^can't listen at unix:${path}: .*in use.*; ${remove}$`)],
    [["192.0.2.1", 0], AddrNotAvailable, /^can't listen at 192\.0\.2\.1:0: /],
    [`${path}.d/socket`, NotFound, RegExp(`^can't listen at unix:${path}.d/socket: `)],
  ];
  try {
    for (const [address, Class, message] of cases) {
      const error = assertThrows(() => new PlainListener(address, new RecordingLogger()), Class);
      assertMatch(error.message, message);
    }
  } finally {
    listener.close();
  }
});

const RESETS = 60;
const app: App = () => [204, "No Content", {}, null];

/** Connects and resets, before anybody has accepted it. */
async function connectAndReset(host: string, port: number): Promise<void> {
  const socket = connect(port, host);
  await new Promise((resolve) => socket.once("connect", resolve));
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.resetAndDestroy();
  await closed;
}

Deno.test("peers that reset before they are accepted cause no pause and no warning", async (t) => {
  const pki = await sharedPki();
  const rows: [name: string, Address, isSecure: boolean][] = [
    ["a plain server", ["127.0.0.1", 0], false],
    ["over TLS", ["127.0.0.1", 0], true],
    ...hasIPv6 ? [["over TLS, by Deno", ["::1", 0, 0, 1], true] as [string, Address, true]] : [],
  ];
  await eachRow(t, rows, async (_name, address, isSecure) => {
    const logger = new RecordingLogger();
    await using server = isSecure
      ? new SSLServer(pki.serverSslconfig, address, app, { logger })
      : new Server(address, app, { logger });
    await server.ready;
    const [host, port] = server.address as [string, number];
    for (let i = 0; i < RESETS; i++) await connectAndReset(host, port);
    const serving = server.serveForever();
    const client = isSecure
      ? new SSLClient(pki.clientSslconfig, [host, port], { timeout: 10 })
      : new Client([host, port], { timeout: 10 });
    // With a pause of 50 ms for each of them it would take 3 s.
    const asking = client.request("GET", "/");
    assertEquals((await within(asking, "somebody else is served")).status, 204);
    assertEquals(logger.at("warn"), []);
    // A reset may also come right after the connection was accepted.
    const gone = logger.at("debug").filter((line) => line.includes("gone before")).length;
    assert(isSecure || gone > RESETS / 2, `${gone}`);
    server.close();
    await within(serving, "serveForever() settles");
  });
});

Deno.test("Deno's own sockets share a port only with --unstable-net", async () => {
  const script = `
    import { denoSharesPorts } from "./net/listener.ts";
    import { PlainListener } from "./net/listener.ts";
    const shared = { reusePort: denoSharesPorts(), fd: null };
    const first = new PlainListener(["127.0.0.1", 0], console, shared);
    try {
      new PlainListener(first.address, console, shared).close();
      console.log("shared");
    } catch (error) {
      console.log(error.name);
    }
    first.close();`;
  assertEquals(await runScript(script, ["--allow-net", "--unstable-net"], {}), "shared\n");
  assertEquals(await runScript(script, ["--allow-net"], {}), "AddrInUse\n");
});

async function listen(where: { port: number; host: string } | { fd: number }): Promise<NetServer> {
  const server = createServer();
  server.listen(where);
  await once(server, "listening");
  return server;
}

async function close(server: NetServer): Promise<void> {
  server.close();
  await once(server, "close");
}

Deno.test("a connection that arrives while nobody accepts waits for the server that takes over the socket", async () => {
  const first = await listen({ port: await unusedPort(), host: "127.0.0.1" });
  const address = first.address() as AddressInfo;
  const held = HeldSocket.open(duplicateDescriptor(first)!)!;
  await close(first);
  const client = connect(address.port, address.address);
  await within(once(client, "connect"), "the kernel takes the connection");
  const second = await listen({ fd: held.duplicate()! });
  assertEquals(second.address(), address);
  const [accepted] = await within(once(second, "connection"), "the second server accepts it");
  accepted.destroy();
  client.destroy();
  held.close();
  await close(second);
  const [error] = await once(connect(address.port, address.address), "error");
  assertEquals(error.code, "ECONNREFUSED");
});

Deno.test("a held socket accepts nothing, and its duplicates stay open when it closes", async () => {
  const server = await listen({ port: 0, host: "127.0.0.1" });
  const { port, address } = server.address() as AddressInfo;
  const held = HeldSocket.open(duplicateDescriptor(server)!)!;
  for (let i = 0; i < 20; i++) {
    const client = connect(port, address);
    const [accepted] = await within(once(server, "connection"), "the server accepts each");
    accepted.destroy();
    client.destroy();
  }
  const fd = held.duplicate()!;
  held.close();
  const other = await listen({ fd });
  assert(other.listening);
  await close(server);
  await close(other);
});

Deno.test("a descriptor that is not a socket can't be held, and one that doesn't listen can't be duplicated", () => {
  assertEquals(HeldSocket.open(1_000_000), null);
  assertEquals(duplicateDescriptor(createServer()), null);
});
