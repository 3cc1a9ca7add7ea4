/** Changing the trust of a running server takes effect at once. */
import * as tls from "node:tls";
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { buildClientSslctx, publicKey256, SSLClient } from "@degu/degu/client";
import {
  type App,
  type AppFunction,
  buildServerSslctx,
  type ServerOptions,
  type ServerSslconfig,
} from "@degu/degu/server";
import { createIdentity } from "./certificates.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { startTls, type TlsEndpoint } from "@degu/testing/tls_endpoints.ts";
import { needsOpenssl, OpensslPki } from "./tls_openssl.ts";
import { HandshakeRelay } from "./tls_relay.ts";
import {
  type Address,
  ConnectionError,
  EmptyPreambleError,
  type PeerCertificate,
} from "@degu/degu/base";

/** The error of a client that was refused. */
const REFUSED = "refused";

/** A camera, which serves, and devices that are its clients. */
const [camera, device1, device2] = [makeDevice("camera"), makeDevice("one"), makeDevice("two")];
const NAMES = new Map([camera, device1, device2].map(({ name, ca }) => [publicKey256(ca), name]));

interface Device {
  readonly name: string;
  readonly cert: string;
  readonly key: string;
  /** The authority in PEM, for servers that trust it. */
  readonly ca: string;
}

function makeDevice(name: string): Device {
  return { name, ...createIdentity(name) };
}

/** Returns the name of a client by its authority; `"nobody"` without a certificate. */
function nameOf(certificate: PeerCertificate | null): string {
  if (certificate === null) return "nobody";
  return NAMES.get(certificate.authority?.publicKey256 ?? "") ?? "somebody";
}

/** An app that responds with the name of its client. */
const greetingApp: AppFunction = (_request, { peerCertificate }) => {
  return [200, "OK", { who: nameOf(peerCertificate) }, null];
};

/** Makes the same app, which also records the clients of `onConnect`. */
function makeRecordingApp(names: string[]): App {
  return {
    onConnect: ({ peerCertificate }) => names.push(nameOf(peerCertificate)) > 0,
    handle: greetingApp,
  };
}

/** Makes a configuration of the camera with trusted authorities. */
function makeConfig(...devices: readonly Device[]): ServerSslconfig {
  const { cert, key } = camera;
  return { cert, key, ca: devices.map(({ ca }) => ca) };
}

/** Makes a configuration of the camera that accepts every client. */
function makeOpenConfig(): ServerSslconfig {
  const { cert, key } = camera;
  return { cert, key, allowUnauthenticatedClients: true };
}

function start(
  serverSslconfig: ServerSslconfig,
  app: App = greetingApp,
  server: ServerOptions = {},
): Promise<TlsEndpoint> {
  return startTls({ serverSslconfig, clientSslconfig: { ca: camera.ca } }, app, { server });
}

/** Makes a client with the identity of a device, or without a certificate. */
function makeClient(device: Device | null, address: Address, server = camera): SSLClient {
  const identity = device === null ? {} : { cert: device.cert, key: device.key };
  return new SSLClient({ ...identity, ca: server.ca }, address, {
    sslHost: server.name,
    timeout: 60,
  });
}

/**
 * Returns the name that the camera has for a client, over a new connection; or {@linkcode REFUSED}.
 */
async function requestName(device: Device | null, address: Address): Promise<string> {
  return await requestOwnName(makeClient(device, address));
}

/**
 * Connects a client of `node:tls` with one version of TLS; `secured` resolves when the client's
 * side of the handshake has ended, `answer` to the name or {@linkcode REFUSED}.
 */
function connectWith(version: string, device: Device | null, address: Address) {
  const [host, port] = address as readonly [string, number];
  const identity = device === null ? {} : { cert: device.cert, key: device.key };
  const trust = { ca: camera.ca, servername: camera.name };
  const versions = { minVersion: version, maxVersion: version } as tls.SecureContextOptions;
  const socket = tls.connect({ host, port, ...versions, ...trust, ...identity });
  const text = new TextDecoder();
  let received = "";
  const secured = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<void>();
  socket.on("secureConnect", () => {
    socket.write("GET / HTTP/1.1\r\n\r\n");
    secured.resolve();
  });
  socket.on("data", (bytes: Uint8Array) => {
    received += text.decode(bytes);
    if (received.includes("\r\n\r\n")) socket.end();
  });
  socket.on("error", () => {});
  socket.on("close", () => closed.resolve());
  const response = withTimeout(closed.promise, "the connection closes")
    .then(() => /\r\nwho: (\w+)\r\n/.exec(received)?.[1] ?? REFUSED);
  return { secured: secured.promise, answer: response };
}

/** Returns the name that the camera has for the client; or {@linkcode REFUSED}. */
async function requestOwnName(client: SSLClient): Promise<string> {
  try {
    return String((await client.request("GET", "/")).headers["who"]);
  } catch (error) {
    assert(isRefusal(error), Deno.inspect(error));
    return REFUSED;
  }
}

/**
 * Whether a client was refused: the server closes without a response, so a client that is writing
 * gets a broken connection.
 */
function isRefusal(error: unknown): boolean {
  return error instanceof EmptyPreambleError || error instanceof ConnectionError ||
    error instanceof Deno.errors.BrokenPipe ||
    (error instanceof Error && /the peer closed|fatal alert/.test(error.message));
}

const VERSIONS = [["TLSv1.2"], ["TLSv1.3"]] as const;

Deno.test("setSslctx admits clients of the new authority and refuses clients of the old", async () => {
  await using endpoint = await start(makeConfig());
  const { server } = endpoint;
  const first = buildServerSslctx(makeConfig(device1));
  const steps: readonly [Parameters<typeof server.setSslctx>[0], one: string, two: string][] = [
    [first, "one", REFUSED],
    [makeConfig(device1, device2), "one", "two"],
    [makeConfig(device2), REFUSED, "two"],
    [makeConfig(), REFUSED, REFUSED],
    [first, "one", REFUSED],
  ];
  server.setSslctx(first);
  assertEquals(server.sslctx, first);
  for (const [sslctx, ...expected] of steps) {
    server.setSslctx(sslctx);
    assertEquals(
      [await requestName(device1, server.address), await requestName(device2, server.address)],
      expected,
    );
  }
});

Deno.test("setSslctx ends the sessions of clients that are no longer trusted, and only these", async (t) => {
  const everybody = [device1, device2, null];
  const { cert, key } = camera;
  const both = { ...makeConfig(device1, device2), allowUnauthenticatedClients: true };
  const rows: readonly [string, ServerSslconfig, remaining: readonly string[]][] = [
    ["the same authorities", both, ["one", "two", "nobody"]],
    ["the same authorities, and a certificate is required", makeConfig(device1, device2), [
      "one",
      "two",
    ]],
    ["one authority", { ...makeConfig(device2), allowUnauthenticatedClients: true }, [
      "two",
      "nobody",
    ]],
    ["no authority", { cert, key, ca: [] }, []],
    ["no authority, and every client is accepted", makeOpenConfig(), ["nobody"]],
  ];
  await testEachRow(t, rows, async (_name, sslconfig, remaining) => {
    const waiting = Promise.withResolvers<void>();
    let waitingCount = 0;
    const signals = new Map<string, AbortSignal>();
    await using endpoint = await start(both, async (request, session, api) => {
      const name = nameOf(session.peerCertificate);
      signals.set(name, session.signal);
      if (request.path[0] === "wait") {
        if (++waitingCount === everybody.length) waiting.resolve();
        await new Promise((resolve) => session.signal.addEventListener("abort", resolve));
      }
      return await greetingApp(request, session, api);
    });
    const { server, logger } = endpoint;
    const connect = (device: Device | null) => makeClient(device, server.address).connect();
    const idleConns = await Promise.all(everybody.map(connect));
    const busyConns = await Promise.all(everybody.map(connect));
    for (const conn of idleConns) await conn.get("/");
    const pending = busyConns.map((conn) =>
      conn.get("/wait").then(() => "answered", () => REFUSED)
    );
    await withTimeout(waiting.promise, "all apps wait");
    const previousSignals = new Map(signals);
    server.setSslctx(sslconfig);
    assertEquals(server.sessions.size, 2 * remaining.length);
    for (const [index, device] of everybody.entries()) {
      const name = device?.name ?? "nobody";
      const isRemaining = remaining.includes(name);
      const { reason, aborted } = previousSignals.get(name)!;
      assertEquals(aborted, !isRemaining);
      if (isRemaining) assertEquals((await idleConns[index]!.get("/")).headers["who"], name);
      else {
        assertEquals([reason.name, reason.code], ["TlsError", "UNTRUSTED"]);
        assertEquals(await pending[index], REFUSED);
        await assertRejects(() => idleConns[index]!.get("/"));
      }
    }
    const lines = logger.messagesOf("info").filter((line) => /UNTRUSTED: .* any more/.test(line));
    assertEquals(lines.length, 2 * (everybody.length - remaining.length));
    server.close();
    await Promise.all(pending);
    for (const conn of [...idleConns, ...busyConns]) conn.close();
  });
});

Deno.test("setSslctx with keepSessions lets an app answer the running requests of a client that it no longer trusts, and no later one", async (t) => {
  const rows: readonly [string, ServerSslconfig, Device | null][] = [
    ["no certificate", makeOpenConfig(), null],
    ["an authority", makeConfig(device1, device2), device2],
  ];
  await testEachRow(t, rows, async (_name, sslconfig, device) => {
    const handled: string[] = [];
    const waiting = Promise.withResolvers<void>();
    const answered = Promise.withResolvers<void>();
    await using endpoint = await start(sslconfig, async ({ method, path: [name] }) => {
      handled.push(`${method} ${name}`);
      if (method === "DELETE") {
        endpoint.server.setSslctx(makeConfig(device1), { keepSessions: true });
      }
      if (name === "wait") {
        waiting.resolve();
        await answered.promise;
      }
      return [200, "OK", {}, null];
    });
    const { server } = endpoint;
    const connect = () => makeClient(device, server.address).connect();
    using removed = await connect();
    using idle = await connect();
    using busy = await connect();
    for (const conn of [removed, idle]) assertEquals((await conn.get("/a")).status, 200);
    const running = busy.get("/wait");
    await withTimeout(waiting.promise, "the app waits");
    assertEquals((await removed.delete("/a")).headers["connection"], "close");
    answered.resolve();
    assertEquals((await running).headers["connection"], "close");
    for (const conn of [removed, idle, busy]) await assertRejects(() => conn.get("/late"));
    assertEquals(handled, ["GET a", "GET a", "GET wait", "DELETE a"]);
    assertEquals(await requestName(device, server.address), REFUSED);
  });
});

Deno.test("a logger may change the trust at the end of an exchange, which is then the last one", async () => {
  const lines: string[] = [];
  const note = (line: string) => void lines.push(line);
  const logger = {
    debug: note,
    info(line: string) {
      if (line.endsWith("it is not JSON")) {
        endpoint.server.setSslctx(makeConfig(device1), { keepSessions: true });
      }
    },
    warn: note,
    error: note,
  };
  const app: App = async (request) => [200, "OK", {}, `${await request.json()}`];
  await using endpoint = await start(makeConfig(device1, device2), app, { logger });
  const { server } = endpoint;
  using conn = await makeClient(device2, server.address).connect();
  assertEquals((await conn.post("/", {}, "{")).status, 400);
  await assertRejects(() => conn.get("/late"));
  await server.shutdown();
  assertEquals(lines.map((line) => line.replace(/^.*?: /, "")), [
    "ended after the peer was found untrusted",
  ]);
});

Deno.test("setSslctx changes the server's own certificate", async () => {
  await using endpoint = await start(makeConfig(device1));
  const { server } = endpoint;
  const { cert, key } = device2;
  server.setSslctx({ cert, key, ca: device1.ca });
  assertEquals(await requestOwnName(makeClient(device1, server.address, device2)), "one");
  await assertRejects(() => makeClient(device1, server.address).connect(), Error, "was refused");
});

/** A change of trust during handshakes, and its effect on pending and later clients. */
interface Change {
  readonly label: string;
  readonly from: ServerSslconfig;
  readonly to: ServerSslconfig;
  readonly clients: readonly (Device | null)[];
  readonly responses: readonly string[];
  /** The log line for each refused client. */
  readonly refusal?: RegExp;
  /** The responses to clients that connect later: one with a certificate, and one without. */
  readonly laterResponses: readonly [string, string];
}

const changes: readonly Change[] = [
  {
    label: "is refused if its client is no longer trusted, and accepted otherwise",
    from: makeConfig(device1, device2),
    to: makeConfig(device2),
    clients: [device1, device2, device2],
    responses: [REFUSED, "two", "two"],
    refusal: /the handshake failed: .*authority.* trusted/,
    laterResponses: [REFUSED, REFUSED],
  },
  {
    label: "that began without client certificates is refused if they are now required",
    from: makeOpenConfig(),
    to: makeConfig(device1),
    clients: [null, device1],
    responses: [REFUSED, REFUSED],
    refusal: /NO_CERTIFICATE: .* did not request/,
    laterResponses: ["one", REFUSED],
  },
  {
    // An untrusted certificate is not logged.
    label: "that began with client certificates is accepted if they are no longer required",
    from: makeConfig(device1),
    to: makeOpenConfig(),
    clients: [device1],
    responses: ["nobody"],
    laterResponses: ["nobody", "nobody"],
  },
];

for (
  const { label, from, to, clients, responses, refusal, laterResponses } of changes
) {
  Deno.test(`a pending handshake ${label}`, async (t) => {
    await testEachRow(t, VERSIONS, async (version) => {
      const names: string[] = [];
      await using endpoint = await start(from, makeRecordingApp(names));
      const { server, logger } = endpoint;
      await using relay = new HandshakeRelay(server.address);
      const requests = clients.map((device) => connectWith(version, device, relay.address).answer);
      await relay.waitForHeld(clients.length);
      for (let i = 0; i < 2; i++) server.setSslctx(to);
      relay.release();
      assertEquals(await Promise.all(requests), responses);
      assertEquals(names, responses.filter((response) => response !== REFUSED));
      assertEquals(logger.messagesOf("info").length, responses.length - names.length);
      for (const line of logger.messagesOf("info")) assertMatch(line, refusal!);
      const isOpen = from.allowUnauthenticatedClients ?? to.allowUnauthenticatedClients ?? false;
      assertEquals(logger.messagesOf("warn").length, isOpen ? 1 : 0);
      for (const line of logger.messagesOf("warn")) {
        assertMatch(line, /allowUnauthenticatedClients/);
      }
      assertEquals(
        [await requestName(device1, server.address), await requestName(null, server.address)],
        laterResponses,
      );
    });
  });
}

Deno.test(
  "a pending handshake succeeds if another trusted authority has signed the certificate",
  needsOpenssl,
  async (t) => {
    await using pki = await OpensslPki.create();
    const issuer = await pki.createAuthority("server_authority");
    const serverCertificate = await pki.createServerCertificate("server", { issuer });
    const ca = issuer.certFile;
    const root = await pki.createAuthority("root");
    const intermediate = await pki.createAuthority("middle", { issuer: root });
    const clientCertificate = await pki.createClientCertificate("client", { issuer: intermediate });
    const stranger = await pki.createAuthority("stranger");
    const limited = await pki.createAuthority("limited", {
      commonName: "root",
      keyOf: root,
      extensions: ["extendedKeyUsage=serverAuth"],
    });
    const certFile = await pki.join("chain.pem", clientCertificate.certFile, intermediate.certFile);
    const oldConfig = { ...serverCertificate, caFile: root.certFile };
    const [rootKey, middleKey] = await Promise.all(
      [root, intermediate].map(async ({ certFile }) =>
        publicKey256(await Deno.readTextFile(certFile))
      ),
    );
    const rows: readonly [string, string, string | undefined][] = [
      ["the intermediate", intermediate.certFile, middleKey],
      ["both", await pki.join("both.pem", root.certFile, intermediate.certFile), middleKey],
      ["the same authority", await pki.join("same.pem", stranger.certFile, root.certFile), rootKey],
      ["neither", stranger.certFile, REFUSED],
      ["the same authority, for servers only", limited.certFile, REFUSED],
    ];
    await testEachRow(t, rows, async (_name, caFile, expected) => {
      const trust = { serverSslconfig: oldConfig, clientSslconfig: { caFile: ca } };
      await using endpoint = await startTls(trust, (_request, { peerCertificate }) => {
        return [200, "OK", { who: peerCertificate?.authority?.publicKey256 ?? "nobody" }, null];
      });
      await using relay = new HandshakeRelay(endpoint.server.address);
      const request = requestOwnName(
        new SSLClient({ caFile: ca, certFile, keyFile: clientCertificate.keyFile }, relay.address),
      );
      await relay.waitForHeld(1);
      endpoint.server.setSslctx({ ...serverCertificate, caFile });
      relay.release();
      assertEquals(await request, expected);
    });
  },
);

Deno.test("a pending onConnect is refused if its client is no longer trusted", async () => {
  let pendingCount = 0;
  const allPending = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const handled: string[] = [];
  const app: App = {
    async onConnect() {
      if (++pendingCount === 3) allPending.resolve();
      await release.promise;
      return true;
    },
    handle(_request, { peerCertificate }) {
      const name = nameOf(peerCertificate);
      handled.push(name);
      return [200, "OK", { who: name }, null];
    },
  };
  await using endpoint = await start(makeConfig(device1, device2), app);
  const { server, logger } = endpoint;
  using silentConn = await makeClient(device1, server.address).connect();
  const requests = [requestName(device1, server.address), requestName(device2, server.address)];
  await withTimeout(allPending.promise, "onConnect is called");
  server.setSslctx(makeConfig(device2));
  release.resolve();
  assertEquals(await Promise.all(requests), [REFUSED, "two"]);
  assertEquals(handled, ["two"]);
  const silentRead = silentConn.sock.read(new Uint8Array(1));
  assertEquals(await withTimeout(silentRead, "the connection without a request is closed"), null);
  const lines = logger.messagesOf("info");
  assertEquals(lines.length, 2);
  for (const line of lines) assertMatch(line, /^\S+: .*authority.* trusted[^\n]*$/);
});

Deno.test("a client that is no longer trusted when it gets a slot is refused without onConnect", async (t) => {
  const rows: readonly [string, ServerSslconfig, holder: Device | null, waiting: Device | null][] =
    [
      ["its authority is no longer trusted", makeConfig(device1, device2), device2, device1],
      ["it has no certificate, and one is required", makeOpenConfig(), null, null],
    ];
  await testEachRow(t, rows, async (_name, from, holder, waiting) => {
    const names: string[] = [];
    await using endpoint = await start(from, makeRecordingApp(names), { maxConnections: 1 });
    const { server } = endpoint;
    using liveConn = await makeClient(holder, server.address).connect();
    const holderName = holder?.name ?? "nobody";
    assertEquals((await liveConn.get("/")).headers["who"], holderName);
    // In TLS 1.2 the handshake of the client ends after the server's.
    const { secured, answer: response } = connectWith("TLSv1.2", waiting, server.address);
    await withTimeout(secured, "the handshake is over");
    server.setSslctx(makeConfig(device2));
    liveConn.close();
    assertEquals(await response, REFUSED);
    assertEquals(names, [holderName]);
  });
});

Deno.test("an invalid context throws, and the server keeps the current one", async (t) => {
  const { cert } = camera;
  const ca = device2.ca;
  await using endpoint = await start(makeConfig(device1));
  const { server } = endpoint;
  const previousContext = server.sslctx;
  using liveConn = await makeClient(device1, server.address).connect();
  const missing = join(import.meta.dirname!, "missing");
  const rows: readonly [string, unknown, new () => Error][] = [
    ["nothing", undefined, TypeError],
    ["a client's context", buildClientSslctx({ ca }), TypeError],
    ["a copy of a context", { ...previousContext }, TypeError],
    ["the key of another certificate", { cert, key: device2.key, ca }, RangeError],
    ["a missing certificate", { certFile: missing, keyFile: missing, ca }, Deno.errors.NotFound],
  ];
  await testEachRow(t, rows, async (_name, value, Class) => {
    assertThrows(() => server.setSslctx(value as ServerSslconfig), Class);
    assertEquals(server.sslctx, previousContext);
    assertEquals(await requestName(device1, server.address), "one");
  });
  assertEquals(await requestName(device2, server.address), REFUSED);
  assertEquals((await liveConn.get("/")).headers["who"], "one");
  await t.step("sslctx can't be assigned", () => {
    assertThrows(() => Object.assign(server, { sslctx: null }), TypeError);
  });
});

Deno.test("while contexts are swapped, all trusted clients are admitted, and no others", async () => {
  let trustsTwo = true;
  const strangers: string[] = [];
  const app: App = {
    async onConnect({ peerCertificate }) {
      const name = nameOf(peerCertificate);
      if (name !== "one" && !trustsTwo) strangers.push(name);
      await new Promise((resolve) => setTimeout(resolve, 1));
      return true;
    },
    handle: greetingApp,
  };
  await using endpoint = await start(makeConfig(device1, device2), app);
  const { server } = endpoint;
  const outcomes = { one: new Map<string, number>(), two: new Map<string, number>() };
  let remaining = 60;
  const requestRepeatedly = async (name: "one" | "two") => {
    while (remaining-- > 0) {
      const result = await requestName({ one: device1, two: device2 }[name], server.address);
      outcomes[name].set(result, (outcomes[name].get(result) ?? 0) + 1);
    }
  };
  const requests = [
    requestRepeatedly("one"),
    requestRepeatedly("one"),
    requestRepeatedly("two"),
    requestRepeatedly("two"),
  ];
  const contexts = [makeConfig(device1), makeConfig(device2, device1)].map(buildServerSslctx);
  let swaps = 0;
  while (remaining > 0) {
    trustsTwo = swaps % 2 === 1;
    server.setSslctx(contexts[swaps++ % 2]!);
    await new Promise((resolve) => setTimeout(resolve, swaps % 7));
  }
  await Promise.all(requests);
  assertEquals([...outcomes.one.keys()], ["one"]);
  assertEquals(
    [...outcomes.two.keys()].filter((result) => result !== "two" && result !== REFUSED),
    [],
  );
  assertEquals(strangers, []);
  assert(swaps > 10, `only ${swaps} swaps`);
});
