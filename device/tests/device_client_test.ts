/** The client of a peer: the servers that it accepts, their stored and found addresses, its errors. */
import { createFetch, ProxyApp, reply } from "@degu/degu";
import { type Address, type HostAddress, TlsError } from "@degu/degu/base";
import { Client, ConnectionError, ConnectionPool, isTimeout, isTransient } from "@degu/degu/client";
import { type DeviceClientOptions, DeviceError } from "@degu/degu/device";
import { TempDevices } from "@degu/degu/device/testing";
import { Server, SSLServer } from "@degu/degu/server";
import { mostInformativeError } from "@degu/internal/device/peers/device_client.ts";
import { makeAuthority, makeLeaf } from "../../tests/net/tls/authorities.ts";
import { speedUpTimeouts } from "@degu/testing/clock.ts";
import { authorityOf, record, storeOf, TestDevices } from "@degu/testing/device_pairs.ts";
import { assertWorks, helloApp, LOOPBACK, recordAuthority, setUpClient } from "./device_serving.ts";
import { RunningProcess, spawnScript } from "@degu/testing/processes.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { raceAddresses } from "@degu/internal/device/peers/device_connect.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";

/** Serves {@linkcode helloApp} to the clients of an authority, with any certificate. */
async function serveWith(ca: string, cert: string, key: string): Promise<SSLServer> {
  const logger = new RecordingLogger();
  return await SSLServer.start({ ca, cert, key }, LOOPBACK, helloApp, { logger });
}

Deno.test("device.client() accepts a name, an id or a peer object, and its client works wherever a Client does", async () => {
  await using setup = await setUpClient();
  const { viewer, camera, server } = setup;
  for (const peer of ["camera", "CAMERA", camera.id, (await viewer.peer("camera"))!]) {
    const client = await viewer.client(peer, { timeout: 7, headers: { a: "b" } });
    assertInstanceOf(client, Client);
    assertEquals(client.address, server.address);
    assertEquals(client.host, `127.0.0.1:${server.address[1]}`);
    assertEquals([client.timeout, client.options.headers], [7, { a: "b" }]);
    await assertWorks(client);
    // The stored addresses can be passed without a cast.
    const { addresses } = (await viewer.peer("camera"))!;
    await assertWorks(await viewer.client(peer, { addresses }));
  }
  // The port of HTTPS is omitted, as in any URL.
  const hosts = [443, 444].map(async (port) => {
    return (await viewer.client("camera", { addresses: [["camera.local", port]] })).host;
  });
  assertEquals(await Promise.all(hosts), ["camera.local", "camera.local:444"]);
  const client = await viewer.client("camera");
  const fetch = createFetch(client);
  const response = await fetch("/");
  assertEquals(response.headers.get("hello"), "world");
  await response.body?.cancel();
  await using proxy = new Server(LOOPBACK, new ProxyApp(client));
  proxy.serveForever();
  await assertWorks(new Client(proxy.address));
});

Deno.test("client rejects an unknown peer, and invalid arguments", async () => {
  await using setup = await setUpClient();
  const logger = new RecordingLogger();
  const viewer = await setup.devices.open("viewer", { logger });
  const client = viewer.client.bind(viewer) as (...args: unknown[]) => Promise<unknown>;
  const rows: [args: unknown[], error: ErrorConstructor | typeof DeviceError, words: string][] = [
    [["nobody"], DeviceError, '"nobody"'],
    [[{ id: "a", name: "a" }], DeviceError, '"a" (a)'],
    [[1], TypeError, "peer"],
    [["camera", { timeOut: 1 }], TypeError, "timeOut"],
    [["camera", { sslHost: "a" }], TypeError, "sslHost"],
    [["camera", { dial: () => Promise.reject(new Error("unused")) }], TypeError, "dial"],
    [["camera", { addresses: [] }], RangeError, "addresses"],
    [["camera", { addresses: [["a", 0]] }], RangeError, "addresses[0][1]"],
    [["camera", { connectTimeout: "1" }], TypeError, "connectTimeout"],
    [["camera", { find: "camera" }], TypeError, "find"],
  ];
  for (const connectTimeout of [0, -1, NaN, Infinity]) {
    rows.push([["camera", { connectTimeout }], RangeError, "connectTimeout"]);
  }
  for (const [args, error, words] of rows) await assertRejects(() => client(...args), error, words);
  assertEquals(logger.messagesOf("warn"), []);
});

Deno.test("connect reads the stored addresses again; without a stored address the option addresses suffices", async () => {
  await using setup = await setUpClient();
  const { viewer, server } = setup;
  await setup.recordAddresses([await setup.findDeadAddress()]);
  const client = await viewer.client("camera");
  await assertRejects(() => client.connect(), DeviceError, "ECONNREFUSED");
  await setup.recordAddresses([server.address]);
  await assertWorks(client);
  await setup.recordAddresses([]);
  await assertWorks(await viewer.client("camera", { addresses: [server.address] }));
});

Deno.test("an impostor's or dead address delays a connection only a little, and the impostor is not accepted", async () => {
  await using setup = await setUpClient();
  const { viewer, server } = setup;
  const mute = setup.listenSilently();
  await using plainServer = new Server(LOOPBACK, helloApp, { logger: new RecordingLogger() });
  plainServer.serveForever();
  const impostor = await setup.serveImpostor();
  const badAddresses = [await setup.findDeadAddress(), impostor, mute.address, plainServer.address];
  for (const badAddress of badAddresses) {
    const client = await viewer.client("camera", { addresses: [badAddress, server.address] });
    await assertWorks(client);
  }
  assertEquals(mute.conns.length, 1);
});

Deno.test("the address that worked last is tried first the next time", async () => {
  await using setup = await setUpClient();
  const mute = setup.listenSilently();
  const addresses = [mute.address, setup.server.address];
  const client = await setup.viewer.client("camera", { addresses });
  await assertWorks(client);
  assertEquals(mute.conns.length, 1);
  {
    // No other address is tried, however long the handshake takes.
    using _patience = speedUpTimeouts((milliseconds) => milliseconds === 250, 0.001);
    for (let i = 0; i < 3; i++) await assertWorks(client);
  }
  assertEquals(mute.conns.length, 1);
  await assertWorks(await setup.viewer.client("camera", { addresses }));
  assertEquals(mute.conns.length, 2);
});

const UNCAUGHT = `import { Device } from "@degu/degu/device";
const [dir, ...ports] = JSON.parse(Deno.env.get("GIVEN"));
const device = await Device.open(dir);
const client = await device.client("camera", { addresses: ports.map((port) => ["127.0.0.1", port]) });
await client.request("GET", "/");`;

Deno.test("an uncaught error is printed in about ten lines, with the caller's line and one line for each address", async () => {
  await using setup = await setUpClient();
  const count = 3;
  const dead = await Promise.all(Array.from({ length: count }, () => setup.findDeadAddress()));
  const given = [setup.viewer.dir, ...dead.map(([, port]) => port)];
  const env = { NO_COLOR: "1", GIVEN: JSON.stringify(given) };
  const child = await spawnScript(UNCAUGHT, ["--no-check", "--allow-all"], env);
  await using running = new RunningProcess(child);
  const { stderr } = await running.waitForEnd();
  const printed = stderr.trimEnd().split("\n");
  assert(printed.length <= 10 + count, stderr);
  assertMatch(`${printed[0]}`, /DeviceError: .*"camera" can't be reached: /);
  assert(/^ {4}at async .*\$deno\$stdin.*:5:1$/m.test(stderr), stderr);
  assert(printed.slice(-count).every((line) => line.includes("ECONNREFUSED")), stderr);
});

Deno.test("a server whose certificate was issued by an intermediate authority is not accepted as the peer", async () => {
  await using setup = await setUpClient();
  const { viewer } = setup;
  const root = makeAuthority();
  await recordAuthority(viewer, root, "mallory", [["127.0.0.1", 1]]);
  const intermediate = makeAuthority({ issuer: root });
  const below = makeLeaf(intermediate);
  const direct = makeLeaf(root);
  const { ca } = await authorityOf(viewer.dir);
  await using firstServer = await serveWith(ca, below.pem + intermediate.pem, below.keyPem);
  await using secondServer = await serveWith(ca, direct.pem, direct.keyPem);
  const client = await viewer.client("mallory", { addresses: [firstServer.address] });
  const error = await assertRejects(() => client.connect(), TlsError);
  assertEquals(error.code, "UNTRUSTED");
  await assertWorks(
    await viewer.client("mallory", { addresses: [firstServer.address, secondServer.address] }),
  );
});

Deno.test("a proxy responds with 504 for a peer that doesn't answer in time, and with 503 for a peer that doesn't serve", async () => {
  await using setup = await setUpClient();
  const mute = setup.listenSilently().address;
  const dead = await setup.findDeadAddress();
  for (const [addresses, status] of [[[mute, mute], 504], [[mute, dead], 503]] as const) {
    const client = await setup.viewer.client("camera", { addresses, connectTimeout: 0.1 });
    const app = new ProxyApp(client, { logger: new RecordingLogger() });
    await using proxy = await Server.start(LOOPBACK, app);
    assertEquals((await new Client(proxy.address).request("GET", "/")).status, status);
  }
});

Deno.test("the signals of a client and of a request abort a connection attempt", async () => {
  await using setup = await setUpClient();
  const mute = setup.listenSilently();
  const clientAbort = new AbortController();
  const addresses = [mute.address];
  const client = await setup.viewer.client("camera", { addresses, signal: clientAbort.signal });
  const requestController = new AbortController();
  const { signal } = requestController;
  const connecting = client.connect(undefined, { signal }).catch((error) => error);
  while (mute.conns.length === 0) await setup.viewer.peers();
  const reason = new Error("enough");
  requestController.abort(reason);
  assertStrictEquals(await connecting, reason);
  const second = client.request("GET", "/").catch((error) => error);
  while (mute.conns.length === 1) await setup.viewer.peers();
  clientAbort.abort(reason);
  assertStrictEquals(await second, reason);
  assert(client.options.signal?.aborted);
});

Deno.test("connectTimeout bounds connecting and the handshake, and timeout all other waits", async () => {
  await using setup = await setUpClient();
  const { viewer, server } = setup;
  const addresses = [setup.listenSilently().address];
  const client = await viewer.client("camera", { addresses, connectTimeout: 0.2 });
  const error = await assertRejects(() => client.connect(), DeviceError, "took over 0.2 s");
  assertEquals([isTimeout(error), client.timeout], [true, 90]);
  const hasty = { timeout: 0.2, connectTimeout: undefined };
  const hastyClient = await viewer.client("camera", { addresses, ...hasty });
  await assertRejects(() => hastyClient.connect(), DeviceError, "took over 0.2 s");
  const patient = { addresses: [server.address], connectTimeout: 60 };
  await assertWorks(await viewer.client("camera", patient));
});

Deno.test("a peer that refuses with an alert is reported to have forgotten this device", async () => {
  await using setup = await setUpClient();
  const { viewer } = setup;
  const [camera, stranger] = [makeAuthority(), makeAuthority()];
  const leaf = makeLeaf(camera);
  // A device that is not written with Degu may refuse in the handshake.
  await using server = await serveWith(stranger.pem, leaf.pem, leaf.keyPem);
  await recordAuthority(viewer, camera, "rover", [server.address]);
  const client = await viewer.client("rover");
  const error = await client.request("GET", "/").then(() => null, (error) => error);
  assert(error instanceof ConnectionError && error.isRefusal, String(error));
});

Deno.test("the most informative error is thrown, with its class and all other errors", () => {
  const refused = new ConnectionError("refused", { fault: "refused" });
  const stranger = new TlsError("UNTRUSTED", "a stranger");
  const alert = new TlsError("REFUSED_BY_PEER", "an alert");
  const expired = new TlsError("EXPIRED", "too old");
  const timedOut = new ConnectionError("too long", { fault: "timed out" });
  const unreachable = new ConnectionError("no route", { fault: "unreachable" });
  const denied = new Deno.errors.NotCapable("no --allow-net");
  const rows: [errors: Error[], best: Error][] = [
    [[timedOut, refused], refused],
    [[unreachable, timedOut], timedOut],
    [[refused, stranger, timedOut], stranger],
    [[expired, alert], alert],
    [[refused, denied], denied],
  ];
  for (const [errors, best] of rows) {
    const cause = new AggregateError(errors);
    const error = mostInformativeError(cause, "camera");
    const stays = best instanceof TlsError || best === denied;
    assertStrictEquals(error.constructor, stays ? best.constructor : DeviceError);
    const { code } = (stays ? best : { code: "UNREACHABLE" }) as { code?: unknown };
    assertEquals((error as { code?: unknown }).code, code);
    assertStrictEquals(error.cause, cause);
    const count = errors.length - 1;
    const suffix = count === 1 ? "1 more address fails" : `${count} more addresses fail`;
    const prefix = stays ? "" : '"camera" can\'t be reached: ';
    assertEquals(error.message, `${prefix}${best.message}; and ${suffix}`);
  }
  const { message } = mostInformativeError(new AggregateError(["text"]), "camera");
  assertEquals(message, '"camera" can\'t be reached: text');
});

Deno.test("the URLs of a device's client have the scheme https", async () => {
  await using temp = await TempDevices.create("camera", "viewer");
  const { camera, viewer } = temp.devices;
  await using server = await camera.serve(["127.0.0.1", 0], () => reply(200));
  const client = await viewer.client("camera", { addresses: [server.address] });
  const url = `https://127.0.0.1:${server.port}/a`;
  assertEquals((await createFetch(client)("/a")).url, url);
  await using pool = new ConnectionPool(client);
  assertEquals((await createFetch(pool)("/a")).url, url);
});

// The addresses of a device are tried in parallel (RFC 8305 §5); the first connection wins.

type Attempt = (port: number, signal: AbortSignal) => unknown;

/** Tries the ports from 1 on, and records the attempts, their times, and the closed sockets. */
function race(attempt: Attempt, count = 4, signal?: AbortSignal) {
  const addresses = Array.from({ length: count }, (_, i): Address => ["127.0.0.1", i + 1]);
  const begin = performance.now();
  const startedPorts: number[] = [];
  const closedSockets: unknown[] = [];
  const racing = raceAddresses(addresses, async ([, port], signal) => {
    startedPorts.push(performance.now() - begin);
    await attempt(Number(port), signal);
    return { close: () => closedSockets.push(port) };
  }, signal);
  const winner = racing.then(({ address }) => address[1]);
  return { begun: startedPorts, closed: closedSockets, winner };
}

/** Rejects with the reason of the signal when it is aborted. */
function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
  });
}

const fail = (port: number) => {
  throw new Error(`${port}`);
};

Deno.test("the first address that answers wins; the next is tried when one fails, or 250 ms later", async () => {
  const rows: [attempt: Attempt, wins: number, began: number, waited: number][] = [
    [() => {}, 1, 1, 0],
    [(port) => port < 4 && fail(port), 4, 4, 0],
    [(port, signal) => port < 4 && untilAborted(signal), 4, 4, 3],
  ];
  using timeouts = speedUpTimeouts(() => false);
  for (const [attempt, wins, began, waited] of rows) {
    const { winner, begun: startedPorts, closed: closedSockets } = race(attempt);
    assertEquals([await winner, startedPorts.length, closedSockets], [wins, began, []]);
    const took = startedPorts.at(-1)!;
    // Timers may fire a fraction of a millisecond early, or late.
    assert(waited === 0 ? took < 250 : took >= waited * 249, `${startedPorts}`);
  }
  assertEquals(new Set(timeouts.started), new Set([250]));
});

Deno.test("the other attempts are aborted, and their later connections are closed", async () => {
  const lateConnection = Promise.withResolvers<void>();
  const reasons: unknown[] = [];
  const { winner, closed: closedSockets } = race((port, signal) => {
    if (port === 2) return;
    signal.addEventListener("abort", () => reasons.push(signal.reason.name));
    return lateConnection.promise;
  }, 2);
  assertEquals([await winner, reasons, closedSockets], [2, ["AbortError"], []]);
  lateConnection.resolve();
  await lateConnection.promise;
  await new Promise((resolve) => setTimeout(resolve));
  assertEquals(closedSockets, [1]);
});

Deno.test("no socket is leaked if two attempts succeed at the same moment, or if the race is aborted", async () => {
  for (const isAborted of [false, true]) {
    const bothConnected = Promise.withResolvers<void>();
    const controller = new AbortController();
    const { winner, closed: closedSockets } = race(
      (port) => {
        if (port === 2) bothConnected.resolve();
        if (port === 2 && isAborted) controller.abort(new Error("enough"));
        return bothConnected.promise;
      },
      2,
      controller.signal,
    );
    const won = await winner.catch(() => null);
    await new Promise((resolve) => setTimeout(resolve));
    assertEquals([won === null, closedSockets.toSorted()], [
      isAborted,
      isAborted ? [1, 2] : [won === 1 ? 2 : 1],
    ]);
  }
});

Deno.test("a race that has ended doesn't listen to its signal, which can live as long as the device", async () => {
  for (const attempt of [() => {}, fail]) {
    const { signal } = new AbortController();
    const listeners = new Set<unknown>();
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (type: string, listener: EventListener) => {
      listeners.add(listener);
      addEventListener.call(signal, type, listener);
    };
    signal.removeEventListener = (type: string, listener: EventListener) => {
      listeners.delete(listener);
      removeEventListener.call(signal, type, listener);
    };
    const { winner } = race(attempt, 2, signal);
    assertEquals(listeners.size, 1);
    await winner.catch(() => {});
    assertEquals(listeners.size, 0);
  }
});

/** Makes a viewer with an outdated address of a camera. Both devices listen at other addresses. */
async function setUp() {
  const stack = new AsyncDisposableStack();
  const devices = stack.use(await TestDevices.create());
  const logger = new RecordingLogger();
  const [camera, viewer, otherDevice] = await Promise.all(
    ["camera", "viewer", "other"].map((name) => devices.open(name, { logger })),
  );
  const dead: Address = ["127.0.0.1", await findUnusedPort()];
  const peer = await record(viewer!, camera!, { addresses: [dead] });
  await record(camera!, viewer!);
  await record(otherDevice!, viewer!);
  const serve = async (device: typeof camera) => {
    const server = stack.use(await device!.serve(["127.0.0.1", 0], () => [200, "OK", {}, null]));
    return ["127.0.0.1", server.port] as const;
  };
  const addresses = async () => (await viewer!.peer("camera"))!.addresses.map(([, port]) => port);
  const authority = await authorityOf(camera!.dir);
  return {
    ...{ viewer: viewer!, peer, dead, addresses, logger },
    /** Replaces the addresses of the pairing. */
    setAddresses: (addresses: Address[]) =>
      storeOf(viewer!.dir).record({ authority, receivedName: "camera", addresses }),
    cameraAddress: await serve(camera),
    otherAddress: await serve(otherDevice),
    /** Requests from the camera with these search results. */
    ask: async (foundAddresses: readonly HostAddress[], options: DeviceClientOptions = {}) => {
      let searches = 0;
      const find = () => (searches++, Promise.resolve(foundAddresses));
      const client = await viewer!.client("camera", { find, ...options });
      const { status, body } = await client.request("GET", "/");
      await body?.cancel();
      return [status, searches];
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

Deno.test("a peer with a new address is found, and its address is stored, so that the next connection needs no search", async () => {
  await using test = await setUp();
  const { cameraAddress, dead } = test;
  assertEquals(await test.ask([cameraAddress]), [200, 1]);
  assertEquals(await test.addresses(), [cameraAddress[1], dead[1]]);
  assertEquals(await test.ask([]), [200, 0]);
  // Renaming a peer keeps the addresses.
  await test.viewer.rename("camera", "garden");
  assertEquals((await storeOf(test.viewer.dir).read(test.peer.id))?.addresses.length, 2);
});

Deno.test("a peer without a stored address is searched for at once, also if its address was removed later", async () => {
  await using test = await setUp();
  const { cameraAddress, otherAddress, viewer, setAddresses } = test;
  await setAddresses([]);
  for (const found of [[], [otherAddress]]) {
    const error = await assertRejects(() => test.ask(found), DeviceError);
    assertEquals([error.code, isTransient(error)], ["UNREACHABLE", true]);
    assertStringIncludes(error.message, 'no address of "camera" is known, and find() has found');
  }
  assertEquals(await test.ask([cameraAddress]), [200, 1]);
  assertEquals(await test.addresses(), [cameraAddress[1]]);
  assertEquals(await test.ask([]), [200, 0]);
  const client = await viewer.client("camera", { find: () => Promise.resolve([cameraAddress]) });
  await setAddresses([]);
  await (await client.request("GET", "/")).discard();
});

Deno.test("another device at a found address is ignored, and the address is not stored", async () => {
  await using test = await setUp();
  const { cameraAddress, otherAddress, dead } = test;
  const error = await assertRejects(() => test.ask([otherAddress]), DeviceError);
  assertEquals(error.code, "UNREACHABLE");
  assert(!error.message.includes(`${otherAddress[1]}`), error.message);
  assertEquals(await test.addresses(), [dead[1]]);
  assertEquals(await test.ask([otherAddress, cameraAddress]), [200, 1]);
  assertEquals(await test.addresses(), [cameraAddress[1], dead[1]]);
});

Deno.test("the newest four found addresses are stored, in addition to all addresses of the pairing", async () => {
  await using test = await setUp();
  const store = storeOf(test.viewer.dir);
  const addresses = Array.from({ length: 7 }, (_, i): Address => ["192.0.2.1", 1 + i]);
  for (const address of addresses) await store.recordAnswer(test.peer.id, address, true);
  await store.recordAnswer(test.peer.id, addresses[5]!, true);
  const { addresses: storedAddresses } = (await store.read(test.peer.id))!;
  assertEquals(storedAddresses.map(([, port]) => port), [6, 7, 5, 4, test.dead[1]]);
  const six = addresses.slice(0, 6);
  await test.setAddresses(six);
  await store.recordAnswer(test.peer.id, addresses[6]!, true);
  assertEquals((await store.read(test.peer.id))!.addresses, [addresses[6]!, ...six]);
});

Deno.test("a failed search has no result, and the reason is logged", async () => {
  await using test = await setUp();
  const { dead, logger } = test;
  const searches: [find: () => unknown, why: string][] = [
    [() => Promise.reject(new Error("no network")), "no network"],
    [() => {
      throw new Error("not ready");
    }, "not ready"],
    [() => Promise.resolve("127.0.0.1:80"), "find(): must be an array of addresses; got string"],
    [() => Promise.resolve([["a b", 80]]), "find()[0][0]: "],
  ];
  for (const [search, expectedReason] of searches) {
    const find = search as NonNullable<DeviceClientOptions["find"]>;
    const error = await assertRejects(() => test.ask([], { find }), DeviceError);
    assertEquals(error.code, "UNREACHABLE");
    assertStringIncludes(error.message, `:${dead[1]}`);
    const line = logger.messagesOf("warn").at(-1) ?? "";
    assertStringIncludes(line, 'the search for addresses of "camera" failed: ');
    assertStringIncludes(line, expectedReason);
  }
});

Deno.test("the signal of a search is aborted if the peer answers, or if connecting is aborted", async () => {
  await using test = await setUp();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const silentAddress: Address = ["127.0.0.1", listener.addr.port];
  const searchStarted = Promise.withResolvers<AbortSignal>();
  const find = (signal: AbortSignal) => {
    searchStarted.resolve(signal);
    return new Promise<HostAddress[]>((resolve) => {
      signal.addEventListener("abort", () => resolve([]));
    });
  };
  const aborting = new AbortController();
  const options = { addresses: [silentAddress], find, signal: aborting.signal };
  const request = assertRejects(() => test.ask([], options), Error, "enough");
  const signal = await withTimeout(searchStarted.promise, "the search begins");
  assertEquals(signal.aborted, false);
  aborting.abort(new Error("enough"));
  await request;
  assertEquals(signal.aborted, true);
  listener.close();
  assertEquals(test.logger.messagesOf("warn"), []);

  const secondSearch = Promise.withResolvers<AbortSignal>();
  const findCamera = (signal: AbortSignal) => {
    secondSearch.resolve(signal);
    return Promise.resolve([test.cameraAddress]);
  };
  assertEquals(await test.ask([], { find: findCamera }), [200, 0]);
  assertEquals((await secondSearch.promise).aborted, true);
});

Deno.test("an address that has failed is tried again if the search finds it; an attempt that lasts is not repeated", async () => {
  const attempts: unknown[] = [];
  const attempt = ([, port]: Address, signal: AbortSignal) => {
    attempts.push(port);
    if (port === 1) return untilAborted(signal);
    // The peer starts again before the search.
    if (attempts.length === 2) throw new Error("refused");
    return Promise.resolve({ close() {} });
  };
  const addresses: Address[] = [["127.0.0.1", 1], ["127.0.0.1", 2]];
  const search = { delayMilliseconds: 300, find: () => Promise.resolve(addresses) };
  const { address } = await raceAddresses(addresses, attempt, undefined, search);
  assertEquals([address[1], attempts], [2, [1, 2, 2]]);
});

Deno.test("a peer that answers at a stored address is not searched for", async () => {
  await using test = await setUp();
  assertEquals(await test.ask([test.otherAddress], { addresses: [test.cameraAddress] }), [200, 0]);
});

Deno.test("the address at which a peer answers comes first, and is written only when it changes", async () => {
  await using test = await setUp();
  const { viewer, cameraAddress, dead, peer } = test;
  const otherDead: Address = ["127.0.0.1", await findUnusedPort()];
  await test.setAddresses([dead, otherDead, cameraAddress]);
  const path = `${viewer.dir}/peers/${peer.id}.json`;
  const connect = async () => {
    const client = await viewer.client("camera");
    await (await client.request("GET", "/")).discard();
    const { ino, mtime } = await Deno.stat(path);
    return [ino, Number(mtime)];
  };
  const written = await connect();
  assertEquals(await test.addresses(), [cameraAddress[1], dead[1], otherDead[1]]);
  for (let i = 0; i < 3; i++) assertEquals(await connect(), written);
});

Deno.test("a client stores the address at which the peer answers, but with addresses only if it has find", async (t) => {
  await using setup = await setUpClient();
  const { camera, viewer, server, recordAddresses, findDeadAddress } = setup;
  const live = server.address;
  const dead = await findDeadAddress();
  const find = () => Promise.resolve([]);
  const rows: [name: string, stored: Address[], DeviceClientOptions, expected: Address[]][] = [
    ["neither option", [dead, live], {}, [live, dead]],
    ["addresses", [dead], { addresses: [live] }, [dead]],
    ["a stored address as addresses", [dead, live], { addresses: [live] }, [dead, live]],
    ["find", [dead, live], { find }, [live, dead]],
    ["addresses and find", [dead], { addresses: [live], find }, [live, dead]],
  ];
  await testEachRow(t, rows, async (_name, stored, options, expected) => {
    await recordAddresses(stored);
    await assertWorks(await viewer.client("camera", options));
    assertEquals((await viewer.peer(camera.id))?.addresses, expected);
  });
});
