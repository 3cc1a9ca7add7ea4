/** Errors of devices, of pairings and of connections. */
import {
  type ConfirmNumber,
  DeviceError,
  type DeviceErrorCode,
  PairingError,
  type PairingErrorCode,
} from "@degu/degu/device";
import { TempDevices } from "@degu/degu/device/testing";
import { DeguError, describeArgumentError, EmptyPreambleError } from "@degu/degu/base";
import { ConnectionError, isTransient } from "@degu/degu/client";
import { setUpClient } from "./device_serving.ts";
import { setClockAhead, speedUpTimeouts } from "@degu/testing/clock.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { runScript } from "@degu/testing/processes.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { assert, assertEquals, assertInstanceOf, assertMatch, assertRejects } from "@std/assert";
import { openConfirmedInvitation, openInvitation, pair } from "./pairing.ts";
import { formatAnswer, startInviter, VALUE } from "./pairing_inviter.ts";

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
  NOT_AN_INVITATION: [["other text", ({ viewer }) => viewer.join("hello"), /begins with "degu:"/]],
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
    }, /no invitation is open at an address of the line$/],
    ["all numbers are used up", async ({ viewer, other, invitation, inviter }) => {
      for (let i = 0; i < 5; i++) {
        const joining = viewer.joinByNumber(invitation, () => new Promise(() => {}));
        (await inviter.waitForQuestion()).reply(false);
        await assertRejects(() => joining);
      }
      await other.joinByNumber(invitation, yes);
    }, /takes no more numbers$/],
  ],
  UNREACHABLE: [
    ["no server answers at an address", async ({ viewer }) => {
      using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      using _timeouts = speedUpTimeouts((milliseconds) => milliseconds === 5000, 50);
      const addresses = [["127.0.0.1", silent.addr.port] as const];
      await viewer.joinByNumber({ addresses }, yes);
    }, /no device invites at these addresses$/],
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
    }, /^the last answer of hall \(\w{52}\) did not arrive$/],
  ],
  NOT_CONFIRMED: [
    [
      "the user rejects on this device",
      ({ viewer, invitation }) => viewer.joinByNumber(invitation, () => false),
      /^not confirmed on this device$/,
    ],
    ["the user rejects on the other device", async ({ viewer, invitation, inviter }) => {
      const joining = viewer.joinByNumber(invitation, () => new Promise(() => {}));
      (await inviter.waitForQuestion()).reply(false);
      await joining;
    }, /^camera did not confirm: .* or the connection ended$/],
  ],
  BUSY: [["the inviter asks about another device", async (setup) => {
    const { viewer, other, invitation, inviter } = setup;
    viewer.joinByNumber(invitation, () => new Promise(() => {}));
    await inviter.waitForQuestion();
    await other.joinByNumber(invitation, yes).finally(() => invitation.close());
  }, /is asking about another device$/]],
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

const JOIN = `import { Device } from "@degu/degu/device";
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

const NO_ADDRESS = /^no address of "camera" is known$/;

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
    }, /^"camera" can't be reached: .*[\d.:]+$/],
    [
      "no server listens, and a search finds none",
      async (setup) => {
        await setup.recordAddresses([await setup.findDeadAddress()]);
        const client = await setup.viewer.client("camera", { find: () => Promise.resolve([]) });
        await client.request("GET", "/");
      },
      /^"camera" can't be reached: .*[\d.:]+$/,
    ],
    [
      "a search fails",
      async (setup) => {
        const addresses = [await setup.findDeadAddress()];
        const find = () => Promise.reject(new Error("no network"));
        const client = await setup.viewer.client("camera", { addresses, find });
        await client.request("GET", "/");
      },
      /^"camera" can't be reached: .*[\d.:]+$/,
    ],
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

Deno.test("a peer whose connections are all in use has not refused this device", async () => {
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
  const { fault, isRefusal } = error;
  assertEquals([fault, isTransient(error), isRefusal], ["broken", true, false]);
  held.resolve();
  await heldResponse;
  await camera.forget("viewer");
  const refusal = await assertRejects(() => client.request("GET", "/"), EmptyPreambleError);
  assertEquals(refusal.isRefusal, true);
});

Deno.test("if no device has an address of the peer, the error describes an attempt to connect", async () => {
  await using temp = await TempDevices.create("camera", "viewer");
  const address = ["127.0.0.1", await findUnusedPort()] as const;
  const client = await temp.devices.viewer.client("camera", { addresses: [address] });
  const error = await assertRejects(() => client.connect(), DeviceError);
  assertEquals([error.code, isTransient(error)], ["UNREACHABLE", true]);
  assertEquals([error.fault, error.address], ["refused", address]);
  assertInstanceOf(error.cause, AggregateError);
  const [attempt] = error.cause.errors;
  assertInstanceOf(attempt, ConnectionError);
  assertEquals([attempt.fault, attempt.address, attempt.isConnecting], ["refused", address, true]);
});
