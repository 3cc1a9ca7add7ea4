/** Errors of devices, of pairings and of connections, and the end of the trust in a peer. */
import {
  type ConfirmNumber,
  DeviceError,
  type DeviceErrorCode,
  PairingError,
  type PairingErrorCode,
  peerOf,
} from "@degu/device";
import { TempDevices } from "@degu/device/testing";
import { bodies, DeguError, describeArgumentError, EmptyPreambleError } from "@degu/degu/base";
import { describeConnectionError, isTransient } from "@degu/degu/client";
import {
  assertWorks,
  REFUSED,
  respondWithName,
  serveDevice,
  setUp,
  setUpClient,
} from "@degu/testing/device_serving.ts";
import { recordIntervals, setClockAhead, speedUpTimeouts } from "@degu/testing/clock.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { runScript } from "@degu/testing/processes.ts";
import { waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { assert, assertEquals, assertInstanceOf, assertMatch, assertRejects } from "@std/assert";
import { openConfirmedInvitation, openInvitation, pair } from "./pairing.ts";
import { formatAnswer, startInviter, VALUE } from "./pairing_inviter.ts";
import { reply } from "@degu/degu";
import { FilesApp } from "@degu/files";
import type { App, AppFunction } from "@degu/degu/server";
import type { Session } from "@degu/internal/base/app/session.ts";
import { TrustSignals } from "@degu/internal/device/trust_signals.ts";
import { record, storeOf } from "@degu/testing/device_pairs.ts";
import { createTempDir, listNames } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { HandshakeRelay } from "@degu/testing/tls_relay.ts";

const yes: ConfirmNumber = () => true;
const RIGHT = { value: VALUE, name: "hall", addresses: [] };

/** Makes a line in which only the version and the checksum are valid. */
async function lineOfVersion(version: number): Promise<string> {
  const bytes = new Uint8Array(40);
  bytes[0] = version;
  const summed = Uint8Array.of(version, ...bytes.subarray(5));
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", summed));
  bytes.set(sum.subarray(0, 4), 1);
  return `degu:${bytes.toBase64({ alphabet: "base64url", omitPadding: true })}`;
}

/** Delays the time limit of joining, 60 s, until a test ends it. */
function delayTimeLimit() {
  const { setTimeout } = globalThis;
  let endTimeLimit = () => {};
  globalThis.setTimeout =
    ((run: () => void, milliseconds = 0) =>
      milliseconds === 60_000 ? (endTimeLimit = run, 0) : setTimeout(run, milliseconds)) as never;
  return {
    end: () => endTimeLimit(),
    [Symbol.dispose]: () => void (globalThis.setTimeout = setTimeout),
  };
}

/** Opens a camera with an invitation for a line and a number, and two devices that can join it. */
const open = () => openConfirmedInvitation(["viewer", "other"]);
type Setup = Awaited<ReturnType<typeof open>>;

/** The calls that reject, with their messages. */
type Rows<Setup> = readonly [what: string, provoke: Provoke<Setup>, message: RegExp][];
type Provoke<Setup> = (setup: Setup) => Promise<unknown>;

function assertError(
  error: PairingError | DeviceError,
  name: string,
  code: string,
  message: RegExp,
): void {
  assertEquals([error.name, error.code as string], [name, code]);
  assertMatch(error.message, message);
  assertInstanceOf(error, DeguError);
}

const PAIRING: Record<PairingErrorCode, Rows<Setup>> = {
  NOT_A_LINE: [["other text", ({ viewer }) => viewer.join("hello"), /begins with "degu:"/]],
  GARBLED: [[
    "a truncated line",
    ({ viewer, invitation }) => viewer.join(invitation.line.slice(0, -1)),
    /garbled: .*copy the whole line again/,
  ]],
  OTHER_VERSION: [[
    "a line of version 3",
    async ({ viewer }) => await viewer.join(await lineOfVersion(3)),
    /version 3, and this program reads version 2: use the same version/,
  ]],
  EXPIRED: [["a line that expired more than a day ago", async ({ viewer, invitation }) => {
    using _clock = setClockAhead(25 * 3_600_000);
    await viewer.join(invitation.line);
  }, /expired at .*, and the clock of this device says .*: make a new invitation/]],
  OWN: [
    [
      "its own line",
      ({ camera, invitation }) => camera.join(invitation.line),
      /^line: .* itself, or a copy/,
    ],
    [
      "its own number",
      ({ camera, invitation }) => camera.joinByNumber(invitation, yes),
      /^addresses: .* itself, or a copy/,
    ],
  ],
  NOT_OPEN: [
    ["an invitation that was closed", async ({ viewer, invitation }) => {
      await invitation.close();
      await viewer.join(invitation.line);
    }, /not open any more: .*check the peers of/],
    ["all numbers are used up", async ({ viewer, other, invitation, inviter }) => {
      for (let i = 0; i < 5; i++) {
        const joining = viewer.joinByNumber(invitation, () => new Promise(() => {}));
        (await inviter.waitForQuestion()).reply(false);
        await assertRejects(() => joining);
      }
      await other.joinByNumber(invitation, yes);
    }, /takes no more numbers: read its output, and invite again$/],
  ],
  UNREACHABLE: [
    ["no server answers at an address", async ({ viewer }) => {
      using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      using _timeouts = speedUpTimeouts((milliseconds) => milliseconds === 5000, 50);
      const addresses = [["127.0.0.1", silent.addr.port] as const];
      await viewer.joinByNumber({ addresses }, yes);
    }, /no device invites at these addresses: check that/],
    ["joining takes too long", async ({ camera, viewer }) => {
      // The inviter has the secret, and doesn't respond.
      const requested = Promise.withResolvers<null>();
      await using inviter = await startInviter(camera, () => (requested.resolve(null), null));
      using limit = delayTimeLimit();
      const joining = viewer.join(inviter.line);
      await withTimeout(requested.promise, "the request arrives");
      limit.end();
      await joining;
    }, /^joining the device \w{52} took over 60 s: check the network, and try again/],
  ],
  REFUSED: [["the first step is refused", async ({ camera, viewer }) => {
    await using inviter = await startInviter(camera, () => formatAnswer("", "403 Forbidden"));
    await viewer.join(inviter.line);
  }, /has refused what this device sent; its log has the reason/]],
  BAD_ANSWER: [["a response that is not a valid message", async ({ camera, viewer }) => {
    await using inviter = await startInviter(camera, () => formatAnswer("{"));
    await viewer.join(inviter.line);
  }, /the answer of the device \w{52} is not valid: it is not JSON/]],
  ANSWER_LOST: [
    ["the inviter closes the connection after the value", async ({ camera, viewer }) => {
      await using inviter = await startInviter(camera, (_request, socket, count) => {
        if (count > 0) socket.end();
        return count === 0 ? formatAnswer(RIGHT) : null;
      });
      await viewer.join(inviter.line);
    }, /^the last answer of hall \(\w{52}\) did not arrive: .*join again with a new invitation/],
  ],
  NOT_CONFIRMED: [
    [
      "the user rejects on this device",
      ({ viewer, invitation }) => viewer.joinByNumber(invitation, () => false),
      /^not confirmed on this device; if the two numbers differ, .*: use the line/,
    ],
    ["the user rejects on the other device", async ({ viewer, invitation, inviter }) => {
      const joining = viewer.joinByNumber(invitation, () => new Promise(() => {}));
      (await inviter.waitForQuestion()).reply(false);
      await joining;
    }, /^camera did not confirm: .*try again/],
  ],
  BUSY: [["the inviter asks about another device", async (setup) => {
    const { viewer, other, invitation, inviter } = setup;
    viewer.joinByNumber(invitation, () => new Promise(() => {}));
    await inviter.waitForQuestion();
    await other.joinByNumber(invitation, yes).finally(() => invitation.close());
  }, /is asking about another device: .*try again/]],
  NAME_TAKEN: [
    ["in an invitation", async ({ camera, other }) => {
      await pair(camera, other);
      await camera.invite({ peerName: "OTHER" });
    }, /^peerName: the name "OTHER" is taken, .*; choose another name, or rename that peer$/],
  ],
};

/** The reasons, by the name of the row. */
const REASONS: Readonly<Record<string, readonly PairingError["reason"][]>> = {
  "an invitation that was closed": ["line unusable"],
  "all numbers are used up": ["no numbers left"],
  "no server answers at an address": ["no invitation"],
  "the user rejects on this device": ["local"],
  "the user rejects on the other device": ["remote"],
  "the inviter asks about another device": ["busy"],
};

for (const [code, rows] of Object.entries(PAIRING)) {
  for (const [label, provoke, message] of rows) {
    Deno.test(`PairingError ${code}: ${label}`, async () => {
      await using setup = await open();
      const call = () => withTimeout(provoke(setup), "the call rejects");
      const error = await assertRejects(call, PairingError);
      assertError(error, "PairingError", code, message);
      const [, takenName = null] = /"(OTHER|CAMERA)" is taken/.exec(error.message) ?? [];
      assertEquals(error.peerName, code === "NOT_CONFIRMED" ? "camera" : takenName);
      const argument = describeArgumentError(error)?.argument;
      assertEquals(argument, code === "NAME_TAKEN" ? "peerName" : undefined);
      const reasons: readonly PairingError["reason"][] = REASONS[label] ?? [null];
      assert(reasons.includes(error.reason), `${error.reason}`);
      // A retry must not ask a person a second time.
      assertEquals(isTransient(error), false);
    });
  }
}

const JOIN = `import { Device } from "@degu/device";
const { dir, addresses } = JSON.parse(Deno.env.get("GIVEN"));
await using device = await Device.open(dir);
const joining = device.join(addresses, { serving: [], confirm: () => true });
const error = await joining.then(() => null, (error) => error);
console.log(JSON.stringify([error.name, error.message]));`;

Deno.test("a missing permission for the plain or the TLS port is not a PairingError, and the message names the permission", async () => {
  await using setup = await openInvitation(["viewer"], { confirm: yes });
  const { viewer, invitation } = setup;
  const { addresses } = invitation;
  const env = { GIVEN: JSON.stringify({ dir: viewer.dir, addresses }) };
  const baseFlags = "--no-check --allow-env --allow-sys=uid --allow-read --allow-write".split(" ");
  const plainFlag = `--allow-net=127.0.0.1:${addresses[0]![1]}`;
  for (const flags of [baseFlags, [...baseFlags, plainFlag]]) {
    const [name, message] = JSON.parse(await runScript(JOIN, flags, env));
    assertEquals(name, "NotCapable");
    assertMatch(message, /^Requires net access to "127.0.0.1:\d+"/);
    assertEquals(message.includes(`:${addresses[0]![1]}"`), flags === baseFlags);
  }
  assertEquals(await viewer.written(), []);
});

const NO_ADDRESS =
  /^no address of "camera" is known: pass the option addresses, or pair the two devices again/;

type ClientSetup = Awaited<ReturnType<typeof setUpClient>>;

const DEVICE: Record<DeviceErrorCode, Rows<ClientSetup>> = {
  UNKNOWN: [
    [
      "a client",
      ({ viewer }) => viewer.client("nobody"),
      /^no peer has the name or id "nobody"; device\.peers\(\) lists them/,
    ],
  ],
  FORGOTTEN: [
    ["a client of a peer that was forgotten", async ({ viewer, camera }) => {
      const client = await viewer.client("camera");
      await viewer.forget(camera.id);
      await client.connect();
    }, /^the peer with the id \w{52} was forgotten; pair the two devices again$/],
    ["a peer that is forgotten while connecting", async (setup) => {
      const mute = setup.listenSilently();
      const client = await setup.viewer.client("camera", { addresses: [mute.address] });
      const connecting = client.connect();
      connecting.catch(() => {});
      while (mute.conns.length === 0) await setup.viewer.peers();
      await setup.viewer.forget("camera");
      await connecting;
    }, /was forgotten; pair the two devices again$/],
  ],
  NO_ADDRESS: [
    ["a client", async (setup) => {
      await setup.recordAddresses([]);
      await setup.viewer.client("camera");
    }, NO_ADDRESS],
  ],
  UNREACHABLE: [
    ["no server listens", async (setup) => {
      const addresses = [await setup.findDeadAddress()];
      await (await setup.viewer.client("camera", { addresses })).request("GET", "/");
    }, /"camera" doesn't serve at the given address .*: start its server/],
  ],
  CLOSED: [
    ["a new client", async ({ viewer }) => {
      await viewer.close();
      await viewer.client("camera");
    }, /^the device was closed; open it again with Device.open\(\)$/],
    ["a join in progress", async ({ viewer, camera }) => {
      await using invitation = await camera.invite({ listen: [["127.0.0.1", 0]] });
      const joining = viewer.join(invitation.line);
      joining.catch(() => {});
      await viewer.close();
      await joining;
    }, /^the device was closed; open it again/],
  ],
};

for (const [code, rows] of Object.entries(DEVICE)) {
  for (const [label, provoke, message] of rows) {
    Deno.test(`DeviceError ${code}: ${label}`, async () => {
      await using setup = await setUpClient();
      const call = () => withTimeout(provoke(setup), "the call rejects");
      const error = await assertRejects(call, DeviceError);
      assertError(error, "DeviceError", code, message);
      const isUnreachable = code === "UNREACHABLE";
      assertEquals(isTransient(error), isUnreachable);
      assertEquals(error.cause instanceof AggregateError, isUnreachable);
    });
  }
}

Deno.test("a peer whose connections are all in use is not said to have forgotten this device", async () => {
  await using temp = await TempDevices.create("camera", "viewer");
  const { camera, viewer } = temp.devices;
  const held = Promise.withResolvers<void>();
  await using server = await camera.serve(
    ["127.0.0.1", 0],
    async ({ uri }) => {
      if (uri === "/held") await held.promise;
      return [204, "No Content", {}, null];
    },
    { maxConnections: 1, timeout: 1 },
  );
  const client = await viewer.client("camera", { addresses: [server.address] });
  using connection = await client.connect();
  const heldResponse = connection.get("/held");
  const error = await assertRejects(() => client.request("GET", "/"), EmptyPreambleError);
  assertMatch(error.message, /all its connections may be in use/);
  assertEquals(/forgotten|pair/.test(error.message), false, error.message);
  const { fault, waitedSeconds } = describeConnectionError(error)!;
  assertEquals([fault, waitedSeconds! >= 1.5, isTransient(error)], ["broken", true, true]);
  held.resolve();
  await heldResponse;
  await camera.forget("viewer");
  const refusal = await assertRejects(() => client.request("GET", "/"), EmptyPreambleError);
  assertMatch(refusal.message, /"camera" has probably forgotten this device/);
  assertEquals(describeConnectionError(refusal)!.waitedSeconds, null);
});

Deno.test("if no device has an address of the peer, the error describes an attempt to connect", async () => {
  await using temp = await TempDevices.create("camera", "viewer");
  const address = ["127.0.0.1", await findUnusedPort()] as const;
  const client = await temp.devices.viewer.client("camera", { addresses: [address] });
  const error = await assertRejects(() => client.connect(), DeviceError);
  assertEquals([error.code, isTransient(error)], ["UNREACHABLE", true]);
  const expected: ReturnType<typeof describeConnectionError> = {
    ...{ fault: "refused", address, isConnecting: true },
    ...{ silentSeconds: null, unreadSeconds: null, missingBytes: null, waitedSeconds: null },
  };
  assertEquals(describeConnectionError(error), expected);
  assertInstanceOf(error.cause, AggregateError);
  assertEquals(error.cause.errors.map(describeConnectionError), [expected]);
});

/** Resolves when a signal is aborted. */
function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
}

Deno.test("forget ends only the sessions of that peer, and the peer can't reconnect", async () => {
  await using setup = await setUp();
  const { devices, camera, viewer, server } = setup;
  const otherDevice = await devices.open("other");
  await record(camera, otherDevice);
  await record(otherDevice, camera, { addresses: [server.address] });
  // A client is connected before the server has accepted it. The responses make the order certain.
  using conn = await (await viewer.client("camera")).connect();
  await conn.get("/");
  using keptConnection = await (await otherDevice.client("camera")).connect();
  await keptConnection.get("/");
  const signals = Array.from(server.sessions, ({ signal }) => signal);
  assertEquals(signals.length, 2);
  await camera.forget("viewer");
  assertEquals(signals.map(({ aborted }) => aborted), [true, false]);
  const { reason } = signals[0]!;
  assert(reason instanceof DeviceError);
  assertEquals(reason.code, "FORGOTTEN");
  assertEquals(server.sessions.size, 1);
  await conn.get("/").then(() => assert(false), () => {});
  assertEquals(await setup.ask(), REFUSED);
  assertEquals((await keptConnection.get("/")).headers["name"], "other");
  // After it is paired again, it is accepted again.
  await record(camera, viewer);
  assertEquals(await setup.ask(), "viewer");
});

Deno.test("forget in another process ends sessions and connections within a second", async () => {
  await using setup = await setUp();
  const { camera, viewer, server } = setup;
  const attempts: number[] = [];
  // A busy machine may be late once.
  while (attempts.length < 10 && !attempts.some((milliseconds) => milliseconds < 1000)) {
    using conn = await (await viewer.client("camera")).connect();
    await conn.get("/");
    const [session] = server.sessions;
    const endedAt = untilAborted(session!.signal).then(() => Date.now());
    const script = `import { Device } from "@degu/device";
await using device = await Device.open(${JSON.stringify(camera.dir)});
await device.forget("viewer");
console.log(Date.now());`;
    const paths = [`--allow-read=${camera.dir}`, `--allow-write=${camera.dir}`];
    const output = await runScript(script, ["--no-check", "--allow-sys=uid", ...paths], {});
    attempts.push(await withTimeout(endedAt, "the session ends") - Number(output));
    assertEquals(server.sessions.size, 0);
    assertEquals(await setup.ask(), REFUSED);
    await record(camera, viewer);
  }
  assert(Math.min(...attempts) < 1000, `it took ${attempts} ms`);
});

Deno.test("forget takes effect as soon as the peers can be read again", async () => {
  using intervals = recordIntervals(10);
  await using setup = await setUp();
  const { camera, viewer, server, logger } = setup;
  using conn = await (await viewer.client("camera")).connect();
  await conn.get("/");
  const [session] = server.sessions;
  const sessionEnd = untilAborted(session!.signal);
  {
    using _failing = patch(Deno, "readDir", () => () => {
      throw new Error("Too many open files (os error 24)");
    });
    await assertRejects(() => camera.peers(), Error, "Too many"); // no read is pending any more
    Deno.removeSync(`${camera.dir}/peers/${viewer.id}.json`);
    assertMatch((await logger.waitFor("error"))[0]!, /the peers can't be read: .*Too many/);
    await assertRejects(() => camera.peers(), Error, "Too many");
    assertEquals(session!.signal.aborted, false);
    assertEquals(await session!.trust(), "untrusted"); // its own file is missing
  }
  await withTimeout(sessionEnd, "the session ends");
  assert(intervals.started.includes(400), "how often they are read");
  assertEquals(logger.messagesOf("error").length, 1);
});

Deno.test("a peer with a slow handshake is not accepted after it was forgotten", async () => {
  const blockingApp = makeBlockingApp();
  blockingApp.isSlow = false;
  await using setup = await setUp(blockingApp);
  const { camera, viewer, server } = setup;
  await using relay = new HandshakeRelay(server.address);
  const asking = [setup.ask(viewer, relay.address), setup.ask(viewer, relay.address)];
  await relay.waitForHeld(2);
  await camera.forget("viewer");
  relay.release();
  assertEquals(await Promise.all(asking), [REFUSED, REFUSED]);
  assertEquals(blockingApp.sessions, []);
});

/** An app whose `onConnect` blocks while `isSlow` is set, until `release()` is called. */
function makeBlockingApp() {
  const entered = Promise.withResolvers<Session>();
  const released = Promise.withResolvers<void>();
  const sessions: Session[] = [];
  const gate = {
    isSlow: true,
    sessions,
    entered: () => withTimeout(entered.promise, "onConnect is called"),
    release: () => released.resolve(),
    onConnect: async (session: Session) => {
      sessions.push(session);
      if (!gate.isSlow) return true;
      entered.resolve(session);
      await released.promise;
      return true;
    },
    handle: respondWithName as AppFunction,
  };
  return gate;
}

Deno.test("the file of a peer is checked after its handshake and onConnect", async () => {
  const blockingApp = makeBlockingApp();
  await using setup = await setUp(blockingApp);
  const { camera, viewer } = setup;
  const asking = setup.ask();
  const session = await blockingApp.entered();
  assertEquals(peerOf(session).name, "viewer");
  // Like a change by another process that this process has not detected yet.
  Deno.removeSync(`${camera.dir}/peers/${viewer.id}.json`);
  blockingApp.release();
  assertEquals(await asking, REFUSED);
  assertEquals(setup.server.sessions.size, 0);
  assertEquals(await session.trust(), "untrusted");
  assertEquals(peerOf(session).name, "viewer");
});

Deno.test("checkTrusted refuses a peer that was forgotten on the disk", async () => {
  await using temp = await TempDevices.create("camera", "viewer");
  const { camera, viewer } = temp.devices;
  const app: App = async (request, session) => {
    if (request.path[0] === "forget") await camera.forget("viewer").catch(() => {});
    await session.checkTrusted();
    return reply(200);
  };
  await using server = await camera.serve(["127.0.0.1", 0], app);
  const client = await viewer.client("camera", { addresses: [server.address] });
  assertEquals((await client.request("GET", "/")).status, 200);
  await assertRejects(() => client.request("GET", "/forget"));
});

Deno.test("a device that can't read whom it trusts answers with 503, and logs the reason, in each app that needs the trust", async () => {
  await using dir = await createTempDir();
  const files = new FilesApp(dir.path, { write: true });
  const app: App = async (request, session) => {
    if (request.method === "PUT") return files.handle(request, session);
    return reply(200, await session.trust());
  };
  await using setup = await setUp(app);
  const client = await setup.viewer.client("camera");
  using uploading = await client.connect();
  await (await uploading.get("/")).discard();
  using reading = await client.connect();
  await (await reading.get("/")).discard();
  using _failing = patch(Deno, "readTextFile", (read) => (path, options) => {
    return `${path}`.startsWith(setup.camera.dir)
      ? Promise.reject(new Error("Too many open files (os error 24)"))
      : read(path, options);
  });
  const put = await uploading.put("/a", {}, "a");
  assertEquals([put.status, put.headers["retry-after"]], [503, "1"]);
  for (const requester of [reading, client]) {
    const { status, headers } = await requester.get("/");
    assertEquals([status, headers["connection"]], [503, "close"]);
  }
  const lines = setup.logger.messagesOf("warn").filter((line) => line.includes("the app failed"));
  assertEquals(lines.length, 2);
  for (const line of lines) {
    assertMatch(
      line,
      /the app failed: UnknownTrustError: the peer's trust can't be read: .*Too many/,
    );
  }
});

Deno.test("forget ends a session whose onConnect is pending", async () => {
  const blockingApp = makeBlockingApp();
  await using setup = await setUp(blockingApp);
  const { camera, viewer } = setup;
  const asking = setup.ask();
  const { signal } = await blockingApp.entered();
  const sessionEnd = untilAborted(signal);
  try {
    // Like a change by another process.
    Deno.removeSync(`${camera.dir}/peers/${viewer.id}.json`);
    await withTimeout(sessionEnd, "the session ends");
    assertMatch(String(signal.reason), /forgotten/);
    assertEquals(await withTimeout(asking, "the connection is closed"), REFUSED);
  } finally {
    blockingApp.release();
  }
});

Deno.test("a peer that is forgotten and paired again at once loses its earlier sessions", async () => {
  const blockingApp = makeBlockingApp();
  blockingApp.isSlow = false;
  await using setup = await setUp(blockingApp);
  const { camera, viewer, server } = setup;
  using conn = await (await viewer.client("camera")).connect();
  await conn.get("/");
  blockingApp.isSlow = true;
  const asking = setup.ask();
  const waiting = await blockingApp.entered();
  blockingApp.isSlow = false;
  await camera.forget("viewer");
  await record(camera, viewer);
  assertEquals(blockingApp.sessions.length, 2);
  for (const session of blockingApp.sessions) {
    assertMatch(String(session.signal.reason), /forgotten/);
    assertEquals(await session.trust(), "untrusted");
  }
  blockingApp.release();
  assertEquals(await asking, REFUSED);
  await conn.get("/").then(() => assert(false), () => {});
  assertEquals(await setup.ask(), "viewer");
  assertEquals(server.sessions.has(waiting), false);
});

Deno.test("an upload whose peer is forgotten never gets its name, even if the peer is paired again at once", async () => {
  await using dir = await createTempDir();
  await using setup = await setUp(new FilesApp(dir.path, { write: true }));
  const { camera, viewer, server } = setup;
  const forgetting = [
    () => camera.forget("viewer").then(() => record(camera, viewer)),
    // Like a change by another process that this process has not detected yet.
    () => Promise.resolve(Deno.removeSync(`${camera.dir}/peers/${viewer.id}.json`)),
  ];
  for (const forget of forgetting) {
    const client = await viewer.client("camera");
    const halfContent = new Uint8Array(100_000);
    let forgotten: Promise<unknown> | undefined;
    const source = async function* () {
      yield halfContent;
      // Before that the peer is not accepted, and could be accepted with the new trust.
      while (server.sessions.size === 0) await waitForTick();
      await (forgotten = forget());
      yield halfContent;
    };
    const body = new bodies.BodyIter(source(), 2 * halfContent.length);
    await client.request("PUT", "/file", {}, body).then(
      ({ status }) => assert(status >= 400, `${status}`),
      () => {},
    );
    // The request may end first, and the peer must not be paired again during the next row.
    await forgotten;
    assertEquals((await listNames(dir.path)).filter((name) => name === "file"), []);
  }
});

Deno.test("a check that detects a forgotten peer ends all sessions of that peer at once", async () => {
  await using setup = await setUp();
  const { camera, viewer, server } = setup;
  const client = await viewer.client("camera");
  using firstConnection = await client.connect();
  using secondConnection = await client.connect();
  for (const conn of [firstConnection, secondConnection]) await conn.get("/");
  const sessions = [...server.sessions];
  Deno.removeSync(`${camera.dir}/peers/${viewer.id}.json`);
  assertEquals(await sessions[0]!.trust(), "untrusted");
  assertEquals(sessions.map(({ signal }) => signal.aborted), [true, true]);
});

Deno.test("shutdown lets a request finish, and forget still ends it", async () => {
  const requestStarted = Promise.withResolvers<AbortSignal>();
  await using setup = await setUp(async (_request, session) => {
    requestStarted.resolve(session.signal);
    await untilAborted(session.signal);
    return [204, "No Content", {}, null];
  });
  const asking = setup.ask();
  const signal = await withTimeout(requestStarted.promise, "the request arrives");
  const shutdownPromise = setup.server.shutdown();
  assertEquals(await setup.camera.serving(), []);
  assertEquals(signal.aborted, false);
  await setup.camera.forget("viewer");
  await withTimeout(shutdownPromise, "the server is shut down");
  assertEquals(await asking, REFUSED);
});

Deno.test("forget closes the connections to the peer, and prevents new ones", async () => {
  await using setup = await setUpClient();
  const { viewer, camera } = setup;
  const client = await viewer.client("camera");
  using conn = await client.connect();
  await conn.get("/");
  await viewer.forget("camera");
  await assertRejects(() => conn.get("/"), Error, "closed");
  await assertRejects(() => client.connect(), DeguError, "forgotten");
  await assertRejects(() => viewer.client("camera"), DeviceError);
  await record(viewer, camera, { addresses: [setup.server.address] });
  await assertWorks(client);
});

Deno.test("forget in another process closes connections, and pending requests reject", async () => {
  await using setup = await setUpClient();
  const { viewer, camera } = setup;
  const never = Promise.withResolvers<never>();
  await using slow = await serveDevice(camera, () => never.promise);
  const client = await viewer.client("camera", { addresses: [slow.address] });
  using conn = await client.connect();
  const asking = assertRejects(() => conn.get("/"), DeviceError, "forgotten");
  // Like a change by another process.
  Deno.removeSync(`${viewer.dir}/peers/${camera.id}.json`);
  await withTimeout(asking, "the request ends");
});

Deno.test("all peers are read again only if the file of one is missing, and no peer is trusted after end()", async () => {
  await using setup = await setUp();
  const { camera, viewer } = setup;
  const store = storeOf(camera.dir);
  await store.refresh();
  const { tryRefresh } = store;
  let reads = 0;
  store.tryRefresh = () => {
    reads++;
    return tryRefresh.call(store);
  };
  const trustSignals = new TrustSignals(store);
  const { confirm, signal } = trustSignals.find(viewer.id)!;
  assertEquals([await confirm(), reads, trustSignals.find(camera.id)], [true, 0, null]);
  await Deno.remove(`${camera.dir}/peers/${viewer.id}.json`);
  assertEquals([await confirm(), reads, signal.aborted], [false, 1, true]);
  trustSignals.end(new Error("closed"));
  assertEquals([await confirm(), reads, trustSignals.find(viewer.id)], [false, 1, null]);
});

Deno.test("a peer whose record another process removes during onConnect is not accepted", async () => {
  await using temp = await TempDevices.create("camera", "viewer");
  const { camera, viewer } = temp.devices;
  let requests = 0;
  await using server = await camera.serve(["127.0.0.1", 0], {
    onConnect() {
      Deno.removeSync(`${camera.dir}/peers/${viewer.id}.json`);
      return { user: "anna" };
    },
    handle: () => reply(200, `${++requests}`),
  });
  const client = await viewer.client("camera", { addresses: [server.address] });
  await assertRejects(() => client.request("GET", "/"));
  assertEquals(requests, 0);
});
