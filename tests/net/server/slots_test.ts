/**
 * The slots of a server, and the connections that wait for a slot. server_test.ts tests closing.
 */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { setTimeout as wait } from "node:timers/promises";
import { type Address, BodyIter } from "@degu/degu/base";
import { createAuthority, createLeaf } from "@degu/degu/certificates";
import { SSLClient } from "@degu/degu/client";
import { type App, type ResponseTuple, Server, type Session, SSLServer } from "@degu/degu/server";
import { PeerTable, Slots } from "@degu/internal/net/transport/slots.ts";
import { createIdentity } from "../tls/certificates.ts";
import { stopAllClocks } from "@degu/testing/clock.ts";
import { patch } from "@degu/testing/patching.ts";
import { RawPeer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "../recording_socket.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { readStatedNumber } from "@degu/testing/project_files.ts";
import { connectRawPeer, RecordingLogger, serve } from "@degu/testing/serving.ts";
import { MemoryListener } from "../../fuzz/memory.ts";

const get = "GET / HTTP/1.1\r\n\r\n";
const put = "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\n";
const respondEmpty: App = () => [200, "OK", {}, null];

Deno.test("the first maxConnections get a slot, and the next one waits until a slot is free", async () => {
  await using serving = serve(respondEmpty, { maxConnections: 3 });
  const peers: RawPeer[] = [];
  for (let i = 0; i < 3; i++) peers.push(await connectAndGet(serving.address));
  using waiting = await RawPeer.connect(serving.address, get);
  await waitForTick();
  await waitForTick();
  assertEquals(waiting.text, "");
  peers[1]?.close();
  assertEquals(await waiting.readPreamble(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  for (const peer of peers) peer.close();
});

// ───────────────────────── idle sessions that give way

/** Advances the clock by two seconds until disposed of. */
function advanceClock(): Disposable {
  return patch(performance, "now", (now) => () => now.call(performance) + 2000);
}

/** Connects a peer, and resolves when it has got a response, and its session is idle. */
async function connectAndGet(address: Address): Promise<RawPeer> {
  const peer = await RawPeer.connect(address, get);
  await peer.readPreamble();
  return peer;
}

for (const label of ["was answered", "has sent nothing"]) {
  Deno.test(`a session that ${label} and is idle for a second is ended cleanly for a connection that waits`, async () => {
    const uris: string[] = [];
    const app: App = ({ uri }) => {
      uris.push(uri);
      return [200, "OK", {}, null];
    };
    const isAnswered = label === "was answered";
    await using pair = await connectRawPeer(app, isAnswered ? get : "", { maxConnections: 1 });
    const { peer, session, logger, serving } = pair;
    const preamble = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    using newcomer = await connectAndGet(serving.address);
    // The new connection has the slot while the peer still reads, and bytes of the peer are
    // discarded.
    if (isAnswered) await peer.send("GET /late HTTP/1.1\r\n\r\n");
    const received = isAnswered ? preamble : "";
    assertEquals(await peer.readToEnd(), { received, kind: "end" });
    assertEquals(session.signal.aborted, true);
    const message = "ended while idle, because another connection waited for a slot";
    assertEquals([session.message, session.requests], [message, isAnswered ? 1 : 0]);
    await newcomer.send(get);
    assertEquals(await newcomer.readPreamble(), preamble);
    assertEquals(uris, isAnswered ? ["/", "/", "/"] : ["/", "/"]);
    serving.server.close();
    await serving.done;
    assertEquals(logger.messagesOf("any").filter((line) => line.startsWith(`${session}`)), [
      `${session}: ${message}`,
    ]);
  });
}

Deno.test("the session that gives way belongs to the host with the most sessions, and has been idle for the longest time", async () => {
  await using serving = serve(respondEmpty, { maxConnections: 4 }, ["::", 0]);
  const { port } = serving.server;
  const oldest = await connectAndGet(["::1", port!]);
  const peers: RawPeer[] = [];
  for (let i = 0; i < 3; i++) peers.push(await connectAndGet(["127.0.0.1", port!]));
  await peers[0]!.send(get);
  await peers[0]!.readPreamble();
  using _clock = advanceClock();
  // After the first session has given way, both hosts have two sessions.
  const newcomers = [];
  for (const expected of [peers[1]!, oldest]) {
    newcomers.push(await connectAndGet(["::1", port!]));
    assertEquals((await expected.readToEnd()).kind, "end");
  }
  for (const peer of [peers[0]!, peers[2]!, ...newcomers]) {
    await peer.send(get);
    await peer.readPreamble();
  }
  for (const peer of [oldest, ...peers, ...newcomers]) peer.close();
});

Deno.test("sessions with a key are counted per authority, not per host or per key, and from all its addresses", async () => {
  const camera = createIdentity("camera");
  const authorities = {
    one: createAuthority({ commonName: "one" }),
    other: createAuthority({ commonName: "other" }),
  };
  const ca = Object.values(authorities).map(({ certificate }) => certificate);
  await using server = await SSLServer.start({ ...camera, ca }, ["::", 0], respondEmpty, {
    logger: new RecordingLogger(),
    maxConnections: 3,
  });
  const connect = async (name: "one" | "other", host = "127.0.0.1") => {
    const { certificate, privateKey } = createLeaf(authorities[name], {
      subject: { commonName: name },
      purposes: ["clientAuth"],
    });
    const trust = { cert: certificate, key: privateKey, ca: camera.ca, checkHostname: false };
    const conn = await new SSLClient(trust, [host, server.port!]).connect();
    await conn.get("/");
    return conn;
  };
  const otherConn = await connect("other");
  // A peer may have any number of addresses.
  const conns = [await connect("one"), await connect("one", "::1")];
  using _clock = advanceClock();
  const newcomer = await connect("other");
  // The connection has ended or refuses the next request.
  await assertRejects(() => conns[0]!.get("/"));
  for (const conn of [otherConn, conns[1]!, newcomer]) {
    assertEquals((await conn.get("/")).status, 200);
  }
  for (const conn of [otherConn, ...conns, newcomer]) conn.close();
});

Deno.test("of the clients of one authority, one host doesn't lock out another", async () => {
  const camera = createIdentity("camera");
  const authority = createAuthority({ commonName: "fleet" });
  const ca = [authority.certificate];
  await using server = await SSLServer.start({ ...camera, ca }, ["::", 0], respondEmpty, {
    logger: new RecordingLogger(),
    maxConnections: 3,
  });
  const connect = async (host: string) => {
    const { certificate, privateKey } = createLeaf(authority, {
      subject: { commonName: "device" },
      purposes: ["clientAuth"],
    });
    const trust = { cert: certificate, key: privateKey, ca: camera.ca, checkHostname: false };
    const conn = await new SSLClient(trust, [host, server.port!]).connect();
    await conn.get("/");
    return conn;
  };
  const first = await connect("::1");
  const flood = [await connect("127.0.0.1"), await connect("127.0.0.1")];
  using _clock = advanceClock();
  const second = await connect("::1");
  await assertRejects(() => flood[0]!.get("/"));
  for (const conn of [first, flood[1]!, second]) assertEquals((await conn.get("/")).status, 200);
  for (const conn of [first, ...flood, second]) conn.close();
});

Deno.test("a session never gives way to another host while the app works on its first request, or makes its response", async () => {
  const neverSettled = new Promise<never>(() => {});
  const body = new ReadableStream({ pull: () => neverSettled });
  const rows: [label: string, app: App, sent: string][] = [
    ["an unread body", () => neverSettled, put],
    ["a pending app", () => neverSettled, get],
    ["an unfinished response", () => [200, "OK", {}, body], get],
    ["a pending onConnect", { handle: respondEmpty, onConnect: () => neverSettled }, ""],
  ];
  await Promise.all(rows.map(async ([label, app, sent]) => {
    await using serving = serve(app, { maxConnections: 1, timeout: 1 }, ["::", 0]);
    const { port } = serving.server;
    using _holder = await RawPeer.connect(["127.0.0.1", port!], sent);
    using newcomer = await RawPeer.connect(["::1", port!], get);
    await newcomer.assertClosedSilently(label);
    assertEquals(serving.logger.lines.map(([level]) => level), ["info"], label);
  }));
});

// ───────────────────────── slow peers that give way

const SLOW_MESSAGE =
  "ended for a connection that waited for a slot: the peer kept the server waiting for";
const chunkedPut = "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
const echoLength: App = async ({ uri, body }) => {
  if (uri !== "/large") return [200, "OK", {}, `${(await body?.bytes())?.length}`];
  // The buffers of TCP grow up to 36 MiB.
  return [200, "OK", {}, new BodyIter(new Array(64).fill(new Uint8Array(1_048_576)), 67_108_864)];
};

Deno.test("a peer that keeps the server waiting for a second gives way, in each part of an exchange", async () => {
  const rows: [label: string, sent: string, drip: string][] = [
    ["the preamble of the first request", "G", ""],
    ["the preamble of a later request", `${get}G`, ""],
    ["a body with a length", "PUT / HTTP/1.1\r\ncontent-length: 100\r\n\r\n", "a"],
    ["a chunked body", chunkedPut, "1\r\na\r\n"],
    ["a response that it doesn't read", "GET /large HTTP/1.1\r\n\r\n", ""],
  ];
  await Promise.all(rows.map(async ([label, sent, drip]) => {
    await using serving = serve(echoLength, { maxConnections: 1 });
    using holder = await RawPeer.connect(serving.address, sent);
    if (drip !== "") await holder.send(drip);
    const dripTimer = setInterval(() => drip !== "" && holder.send(drip).catch(() => {}), 100);
    try {
      using newcomer = await RawPeer.connect(serving.address, get);
      assertMatch(await newcomer.readPreamble(), /^HTTP\/1.1 200 OK/, label);
    } finally {
      clearInterval(dripTimer);
    }
    const [line, ...otherLines] = serving.logger.messagesOf("info");
    assertMatch(
      line!,
      new RegExp(`^127\\.0\\.0\\.1:\\d+: ConnectionError: ${SLOW_MESSAGE} 1\\.\\d s`),
      label,
    );
    assertEquals(otherLines, [], label);
  }));
});

// ───────────────────────── busy sessions that give way

/**
 * Makes one request after the other, until the server ends the session. The session is never idle,
 * because the first bytes of the next request arrive with each request. Returns the last preamble.
 */
async function keepBusy(address: Address): Promise<string> {
  using peer = await RawPeer.connect(address, "GET");
  try {
    for (;;) {
      await peer.send(" / HTTP/1.1\r\n\r\nGET");
      const preamble = await peer.readPreamble();
      if (!preamble.includes("connection: close")) continue;
      assertEquals((await peer.readToEnd()).received, "");
      return preamble;
    }
  } catch {
    // The server was closed.
    return "";
  }
}

Deno.test("a session that is neither idle nor slow doesn't give way to its own host, nor if its host has half of the slots", async () => {
  const rows: [label: string, hosts: readonly string[], newcomerHost: string][] = [
    ["its own host", ["127.0.0.1", "127.0.0.1"], "127.0.0.1"],
    ["half of the slots", ["127.0.0.1", "::1"], "::1"],
  ];
  const respondLater: App = async (_request, { signal }) => {
    await wait(10, null, { signal }).catch(() => {});
    return [200, "OK", {}, null];
  };
  await Promise.all(rows.map(async ([label, hosts, newcomerHost]) => {
    const options = { maxConnections: 2, maxRequests: Infinity, timeout: 1 };
    await using serving = serve(respondLater, options, ["::", 0]);
    const { port } = serving.server;
    const busyPeers = hosts.map((host) => keepBusy([host, port!]));
    while (serving.server.sessions.size < 2) await waitForTick();
    using newcomer = await RawPeer.connect([newcomerHost, port!], get);
    await newcomer.assertClosedSilently(label);
    serving.server.close();
    assertEquals(await Promise.all(busyPeers), ["", ""], label);
  }));
});

Deno.test("a connection that doesn't wait leaves no other one behind", () => {
  const refused: unknown[] = [];
  const onRefuse = (connection: { readonly peerKey: string }) => refused.push(connection);
  const slots = new Slots({ max: 0, timeout: null, onSlot: () => {}, onRefuse });
  const waiting = { peerKey: "a" };
  slots.admit(waiting);
  slots.leave({ peerKey: "a" });
  slots.close();
  assertEquals(refused, [waiting]);
});

// ───────────────────────── the connections that wait

const MAX_WAITING = await readStatedNumber(
  "docs/security.md",
  /connections that wait for a slot +\| ([\d,]+)/,
);
/**
 * Serves connections in memory with three slots. A request for `/pending` is answered by
 * `respond()`, and any other at once.
 */
async function serveInMemory(...holders: readonly (readonly [host: string, ...uris: string[]])[]) {
  const calls: string[] = [];
  const pendingResponses: ((response: ResponseTuple) => void)[] = [];
  const app: App = async ({ uri, body }) => {
    calls.push(uri);
    // This app works before it reads the body.
    if (uri === "/late") {
      await new Promise<ResponseTuple>((resolve) => pendingResponses.push(resolve));
    }
    try {
      for await (const _ of body ?? []);
    } catch (error) {
      // This app goes on after the end of its connection.
      if (uri !== "/pending") throw error;
    }
    if (uri !== "/pending") return [200, "OK", {}, null];
    return new Promise<ResponseTuple>((resolve) => pendingResponses.push(resolve));
  };
  const listener = new MemoryListener();
  const logger = new RecordingLogger();
  const options = { maxConnections: 3, logger };
  const server = new Server(["127.0.0.1", 1], app, options, listener.maker);
  const serving = server.serveForever();
  const connect = (host: string, ...uris: readonly string[]) => {
    const socket = new RecordingSocket();
    for (const uri of uris) socket.receive(`GET ${uri} HTTP/1.1\r\n\r\n`);
    listener.offer(socket, [host, 1]);
    return socket;
  };
  const holderSockets = holders.map(([host, ...uris]) => connect(host, ...uris));
  await runMicrotasks(100);
  return {
    listener,
    logger,
    connect,
    calls,
    holderSockets,
    server,
    done: serving,
    respond: (index = 0) => pendingResponses.splice(index, 1)[0]!([200, "OK", {}, null]),
    async [Symbol.asyncDispose]() {
      server.close();
      await serving;
    },
  };
}

type MemoryServing = Awaited<ReturnType<typeof serveInMemory>>;

function listClosed(sockets: readonly RecordingSocket[]): number[] {
  return sockets.flatMap(({ closeCount }, index) => closeCount > 0 ? [index] : []);
}

/** Serves three connections of one host, in the middle of their first request. */
function serveHeldSlots() {
  const holder = ["192.0.2.1", "/pending"] as const;
  return serveInMemory(holder, holder, holder);
}

/** Advances the stopped clock in the steps of the server's checks. */
async function advance(time: ReturnType<typeof stopAllClocks>, milliseconds: number) {
  for (let elapsed = 0; elapsed < milliseconds; elapsed += 100) {
    time.tick(100);
    await runMicrotasks(100);
  }
}

Deno.test("a session that has been idle for a second gives way, and no sooner", async () => {
  const idleMilliseconds = 1000 * await readStatedNumber(
    "docs/security.md",
    /a session that stands still, if another waits +\| (\d+) s/,
  );
  const rows = [[idleMilliseconds - 100, false], [idleMilliseconds, true]] as const;
  for (const [milliseconds, isEnded] of rows) {
    using time = stopAllClocks();
    await using serving = await serveInMemory(
      ["192.0.2.1", "/a"],
      ["192.0.2.1", "/pending"],
      ["192.0.2.1", "/pending"],
    );
    serving.connect("192.0.2.1", "/newcomer");
    await runMicrotasks(100);
    await advance(time, milliseconds);
    assertEquals(serving.calls.includes("/newcomer"), isEnded);
  }
});

Deno.test("in one check, a session gives way to each new peer that waits, and one to a connection of another peer", async () => {
  const rows = [
    [["192.0.2.1", "192.0.2.1"], 1],
    [["192.0.2.2", "192.0.2.1"], 1],
    [["192.0.2.2", "192.0.2.3"], 2],
  ] as const;
  for (const [hosts, expectedCount] of rows) {
    using time = stopAllClocks();
    const idle = ["192.0.2.1", "/a"] as const;
    await using serving = await serveInMemory(idle, idle, idle);
    for (const host of hosts) serving.connect(host, "/newcomer");
    await runMicrotasks(100);
    await advance(time, 1000);
    const servedCount = serving.calls.filter((uri) => uri === "/newcomer").length;
    assertEquals(servedCount, expectedCount, hosts.join());
  }
});

Deno.test("of slow peers gives way the one with the most slots, and of its sessions the one that has stood still longest", async () => {
  using time = stopAllClocks();
  await using serving = await serveInMemory(["192.0.2.1"], ["192.0.2.2"], ["192.0.2.2"]);
  const [other, faster, slower] = serving.holderSockets;
  for (const socket of serving.holderSockets) {
    socket.receive("PUT / HTTP/1.1\r\ncontent-length: 100000\r\n\r\n");
  }
  await runMicrotasks(100);
  serving.connect("192.0.2.1", "/newcomer");
  await runMicrotasks(100);
  await advance(time, 500);
  faster!.receive("a".repeat(65_536));
  await runMicrotasks(100);
  await advance(time, 400);
  assertEquals(serving.calls.includes("/newcomer"), false);
  await advance(time, 100);
  assertEquals(serving.calls.at(-1), "/newcomer");
  assertEquals([other, faster, slower].map((socket) => socket!.closeCount), [0, 0, 1]);
});

Deno.test("a session doesn't give way to a connection of a peer with more slots", async () => {
  using time = stopAllClocks();
  await using serving = await serveInMemory(
    ["192.0.2.1", "/a"],
    ["192.0.2.2", "/pending"],
    ["192.0.2.2", "/pending"],
  );
  serving.connect("192.0.2.2", "/newcomer");
  await runMicrotasks(100);
  await advance(time, 5000);
  assertEquals(serving.calls.includes("/newcomer"), false);
  assertEquals(serving.holderSockets.map((socket) => socket.closeCount), [0, 0, 0]);
});

Deno.test("a session of the peer with the most slots ends after its next response for a peer with at least two slots fewer", async () => {
  const rows: [newcomerHost: string, expectedEnds: number][] = [
    ["192.0.2.3", 1],
    ["192.0.2.2", 0],
    ["192.0.2.1", 0],
  ];
  for (const [newcomerHost, expectedEnds] of rows) {
    using time = stopAllClocks();
    await using serving = await serveInMemory(
      ["192.0.2.1", "/a", "/pending"],
      ["192.0.2.1", "/pending"],
      ["192.0.2.2", "/a", "/pending"],
    );
    serving.connect(newcomerHost, "/newcomer");
    await runMicrotasks(100);
    for (const _ of serving.holderSockets) serving.respond();
    await runMicrotasks(100);
    const isEnded = serving.holderSockets.map(({ writes }) =>
      writes.at(-1)!.includes("connection: close")
    );
    assertEquals(isEnded.filter(Boolean).length, expectedEnds);
    assertEquals(isEnded[2], false);
    assertEquals(serving.calls.includes("/newcomer"), expectedEnds > 0);
    const message = "memory: ended after a response, because its peer had the most slots, and a " +
      "connection of another peer waited";
    const lines = serving.logger.messagesOf("debug").filter((line) => line === message);
    assertEquals(lines.length, expectedEnds);
    time.tick(0);
  }
});

Deno.test("peers of one authority compare their own slots, and others those of their authorities", () => {
  const peers = new PeerTable();
  for (const key of ["a 1", "a 1", "a 2", "b 1", "b 2", "b 3"]) peers.add(key, "open");
  const rows = [["a 2", "a 1", false], ["a 3", "a 1", true], ["a 2", "b 1", false]] as const;
  for (const [smaller, larger, expected] of [...rows, ["c 1", "a 2", true] as const]) {
    const isSmaller = peers.findOrAdd(smaller).isSmaller(peers.findOrAdd(larger));
    assertEquals(isSmaller, expected, `${smaller}, ${larger}`);
  }
});

Deno.test("sessions that could have given way go on when no connection waits", async () => {
  using time = stopAllClocks();
  const holder = ["192.0.2.1", "/pending"] as const;
  await using serving = await serveInMemory(holder, holder, holder);
  serving.connect("192.0.2.2", "/newcomer");
  await runMicrotasks(100);
  await advance(time, 1000);
  serving.respond();
  await runMicrotasks(100);
  assertEquals(serving.calls.at(-1), "/newcomer");
  for (let i = 0; i < 2; i++) serving.respond();
  await runMicrotasks(100);
  const isEnded = serving.holderSockets.map(({ writes }) => writes[0]!.includes("close"));
  assertEquals(isEnded, [true, false, false]);
});

Deno.test("the time of the app, and the time before a request or a response, don't count as standing still", async () => {
  using time = stopAllClocks();
  const holder = ["192.0.2.1", "/pending"] as const;
  await using serving = await serveInMemory(["192.0.2.1", "/a"], holder, holder);
  const [socket] = serving.holderSockets;
  const responseRead = Promise.withResolvers<number>();
  serving.connect("192.0.2.1", "/newcomer");
  await runMicrotasks(100);
  const steps: readonly [milliseconds: number, step: () => void][] = [
    [900, () => socket!.receive("G")],
    [900, () => socket!.receive("ET /pending HTTP/1.1\r\n\r\n")],
    [20_000, () => serving.respond(2)],
    [900, () => socket!.receive("PUT /late HTTP/1.1\r\ncontent-length: 5\r\n\r\n")],
    [20_000, () => serving.respond(2)],
    [900, () => socket!.receive("hello")],
    [900, () => socket!.receive("PUT /slow HTTP/1.1\r\ncontent-length: 5\r\n\r\n")],
    [900, () => {
      socket!.write = () => responseRead.promise;
      socket!.receive("hello");
    }],
  ];
  for (const [milliseconds, step] of steps) {
    await advance(time, milliseconds);
    assertEquals(serving.calls.includes("/newcomer"), false);
    step();
    await runMicrotasks(100);
  }
  // The first check finds the new response.
  await advance(time, 1000);
  assertEquals(socket!.closeCount, 0);
  await advance(time, 100);
  assertEquals(socket!.closeCount, 1);
  responseRead.reject(new Error("closed"));
});

Deno.test("apps that go on after the end of their connection don't keep another session from giving way", async () => {
  using time = stopAllClocks();
  const host = "192.0.2.1";
  await using serving = await serveInMemory([host], [host], [host, "/pending"]);
  for (const socket of serving.holderSockets.slice(0, 2)) {
    socket.receive("PUT /pending HTTP/1.1\r\ncontent-length: 5\r\n\r\n");
  }
  serving.connect(host, "/newcomer");
  await runMicrotasks(100);
  // The first one ends soon, so the second one doesn't give way as well.
  await advance(time, 1200);
  assertEquals(listClosed(serving.holderSockets), [0]);
  await advance(time, 1000);
  assertEquals(listClosed(serving.holderSockets), [0, 1]);
  serving.respond();
  await runMicrotasks(100);
  await advance(time, 2200);
  assertEquals(serving.calls.at(-1), "/newcomer");
});

Deno.test("a session that is to end gives way after a second, although its body arrives quickly", async () => {
  using time = stopAllClocks();
  await using serving = await serveInMemory(["192.0.2.1"], ["192.0.2.1"], [
    "192.0.2.2",
    "/pending",
  ]);
  const [first, second] = serving.holderSockets;
  for (const socket of [first!, second!]) {
    socket.receive("PUT /body HTTP/1.1\r\ncontent-length: 100000000\r\n\r\n");
  }
  await runMicrotasks(100);
  serving.connect("192.0.2.3", "/newcomer");
  for (let i = 0; i < 13; i++) {
    for (const socket of [first!, second!]) socket.receive("a".repeat(65_536));
    await runMicrotasks(100);
    await advance(time, 100);
  }
  assertEquals([first!.closeCount + second!.closeCount, serving.calls.includes("/newcomer")], [
    1,
    true,
  ]);
});

Deno.test("connections of the host with more than half of the slots get a slot after those of other hosts, and otherwise in order", async () => {
  await using serving = await serveHeldSlots();
  const sockets = ["1/a", "1/b", "2/c", "3/d", "1/e"].map((row) => {
    const [host, name] = row.split("/");
    const socket = serving.connect(`192.0.2.${host}`, `/${name}`);
    socket.end();
    return socket;
  });
  await runMicrotasks(100);
  serving.holderSockets[0]!.end();
  serving.respond();
  await Promise.all(sockets.map(async (socket) => {
    while (socket.closeCount === 0) await waitForTick();
  }));
  // Each connection frees its slot before the next one gets it.
  assertEquals(serving.calls.slice(3), ["/c", "/d", "/a", "/b", "/e"]);
});

Deno.test("a connection that has waited for twice the time-out is closed", async () => {
  using time = stopAllClocks();
  await using serving = await serveHeldSlots();
  const waiting = serving.connect("192.0.2.1");
  await runMicrotasks(100);
  await advance(time, 59_900);
  assertEquals(waiting.closeCount, 0);
  await advance(time, 100);
  assertEquals(waiting.closeCount, 1);
});

Deno.test("of too many waiting connections, the newest of the host with the most is closed", async () => {
  using _time = stopAllClocks();
  await using serving = await serveHeldSlots();
  const other = serving.connect("192.0.2.2");
  const flood = Array.from({ length: MAX_WAITING - 1 }, () => serving.connect("192.0.2.1"));
  await runMicrotasks(20 * MAX_WAITING);
  assertEquals(listClosed(flood), []);
  const newcomer = serving.connect("192.0.2.3");
  await runMicrotasks(100);
  assertEquals(listClosed(flood), [MAX_WAITING - 2]);
  assertEquals([other.closeCount, newcomer.closeCount], [0, 0]);
  const message = "memory: closed, because too many connections wait for a slot";
  assertEquals(serving.logger.messagesOf("debug"), [message]);
});

Deno.test("a flood of one host also loses its newest connections while its sessions are busy, and others still wait", async () => {
  using _time = stopAllClocks();
  await using serving = await serveHeldSlots();
  const flood = Array.from({ length: MAX_WAITING }, () => serving.connect("192.0.2.1"));
  await runMicrotasks(20 * MAX_WAITING);
  assertEquals(listClosed(flood), []);
  const [same, other] = [serving.connect("192.0.2.1"), serving.connect("192.0.2.2")];
  await runMicrotasks(100);
  assertEquals([same.closeCount, other.closeCount, listClosed(flood)], [1, 0, [MAX_WAITING - 1]]);
});

Deno.test("a further connection, and a free slot, don't let the server count all connections that wait anew", async () => {
  using _time = stopAllClocks();
  await using serving = await serveHeldSlots();
  const flood = Array.from(
    { length: MAX_WAITING },
    (_, index) => serving.connect(`192.0.2.${index % 200}`),
  );
  await runMicrotasks(20 * MAX_WAITING);
  let setCount = 0;
  {
    using _mapPatch = patch(
      Map.prototype,
      "set",
      (set) =>
        function (this: Map<unknown, unknown>, key: unknown, value: unknown) {
          setCount++;
          return set.call(this, key, value);
        },
    );
    flood.push(serving.connect("192.0.2.250"));
    serving.respond();
    await runMicrotasks(100);
  }
  assertEquals(listClosed(flood).length, 1);
  assert(setCount < 20, `${setCount} entries of maps were set`);
});

Deno.test("a server that is closed or shut down closes all connections that wait", async () => {
  for (const end of ["close", "shutdown"] as const) {
    using _time = stopAllClocks();
    await using serving = await serveHeldSlots();
    const flood = Array.from({ length: MAX_WAITING }, () => serving.connect("192.0.2.1"));
    await runMicrotasks(20 * MAX_WAITING);
    const ended = serving.server[end]();
    await runMicrotasks(100);
    assertEquals(listClosed(flood).length, MAX_WAITING);
    for (const socket of serving.holderSockets) {
      serving.respond();
      socket.end();
    }
    await ended;
    await serving.done;
  }
});

Deno.test("every way to end releases the slot", async (t) => {
  const throwingApp: App = ({ uri }) => {
    if (uri === "/throw") throw new Error("no");
    return uri === "/error" ? [500, "Internal Server Error", {}, null] : [200, "OK", {}, null];
  };
  const ways: readonly (readonly [label: string, bytes: string])[] = [
    ["nothing", ""],
    ["half a preamble", "GET / HT"],
    ["nonsense", "NONSENSE\r\n\r\n"],
    ["a request", get],
    ["an error", "GET /error HTTP/1.1\r\n\r\n"],
    ["an exception", "GET /throw HTTP/1.1\r\n\r\n"],
    ["an unread body", "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhel"],
  ];
  await testEachRow(t, ways, async (_label, bytes) => {
    await using serving = serve(throwingApp, { maxConnections: 2 });
    for (let i = 0; i < 6; i++) {
      using _peer = await RawPeer.connect(serving.address, bytes);
    }
    assertEquals((await serving.makeClient().request("GET", "/")).status, 200);
  });
});

Deno.test("onConnect needs a slot, and refusing releases it", async () => {
  let calls = 0;
  await using serving = serve({ handle: respondEmpty, onConnect: () => ++calls > 5 }, {
    maxConnections: 1,
  });
  for (let i = 0; i < 5; i++) {
    using peer = await RawPeer.connect(serving.address);
    await peer.assertClosedSilently("a refused connection");
  }
  assertEquals((await serving.makeClient().request("GET", "/")).status, 200);
});

Deno.test("a server that is closed or shut down in onConnect also closes the connection", async () => {
  for (const end of ["close", "shutdown"] as const) {
    let calls = 0;
    const endings: (Promise<void> | void)[] = [];
    const app: App = {
      onConnect() {
        endings.push(serving.server[end]());
        return true;
      },
      handle() {
        calls++;
        return [200, "OK", {}, null];
      },
    };
    await using serving = serve(app);
    using peer = await RawPeer.connect(serving.address);
    await peer.assertClosedSilently(end);
    await serving.done;
    await Promise.all(endings);
    assertEquals([calls, serving.server.sessions.size], [0, 0]);
    assertEquals(serving.logger.lines.map(([level]) => level), ["debug"]);
  }
});

/**
 * Starts a server whose only slot a connection holds, and makes the socket of another connection.
 */
async function serveWithHeldSlot(app: App = respondEmpty) {
  const listener = new MemoryListener();
  const logger = new RecordingLogger();
  const server = new Server(
    ["127.0.0.1", 1],
    app,
    { maxConnections: 1, logger },
    listener.maker,
  );
  const serving = server.serveForever();
  await runMicrotasks(10);
  const first = new RecordingSocket();
  first.receive(get);
  listener.offer(first);
  await runMicrotasks(100);
  const [holder] = server.sessions;
  return { server, serving, holder: holder!, waiting: new RecordingSocket(), listener, logger };
}

async function runMicrotasks(count: number): Promise<void> {
  for (let microtask = 0; microtask < count; microtask++) await null;
}

/** The steps before a server is closed while a connection waits for its slot. */
const steps: Readonly<Record<string, ((holder: Session) => Promise<void>) | null>> = {
  "was accepted": null,
  "could get a free slot": async (holder) => {
    await runMicrotasks(20);
    holder.close();
  },
};

for (const [label, prepare] of Object.entries(steps)) {
  Deno.test(`closing a server at any moment after a connection ${label} also closes the connection`, async () => {
    for (let microtasks = 0; microtasks < 30; microtasks++) {
      const { server, serving, holder, waiting, listener, logger } = await serveWithHeldSlot();
      listener.offer(waiting);
      if (prepare !== null) await prepare(holder);
      await runMicrotasks(microtasks);
      server.close();
      await withTimeout(serving, `closed ${microtasks} turns after it ${label}`);
      assertEquals([waiting.closeCount, logger.messagesOf("info")], [1, []]);
    }
  });
}

Deno.test("shutting down at any moment closes every accepted connection before the last response", async () => {
  for (let microtasks = 0; microtasks < 20; microtasks++) {
    const pendingResponse = Promise.withResolvers<ResponseTuple>();
    const { server, serving, waiting, listener, logger } = await serveWithHeldSlot(() =>
      pendingResponse.promise
    );
    listener.offer(waiting);
    await runMicrotasks(microtasks);
    const shutdown = server.shutdown();
    await runMicrotasks(20);
    const label = `shut down ${microtasks} turns after it was accepted`;
    assertEquals([waiting.closeCount, logger.messagesOf("info")], [1, []], label);
    pendingResponse.resolve([200, "OK", {}, null]);
    server.close();
    await Promise.all([shutdown, serving]);
  }
});
