/** Pairing between two devices that follow the protocol. */
import { type Address, ConnectionClosedError, DeguError, type HostAddress } from "@degu/degu/base";
import type { App } from "@degu/degu/server";
import { PairingError, peerOf } from "@degu/degu/device";
import { listOwnAddresses } from "@degu/internal/device/pairing/pairing_addresses.ts";
import { setClockAhead, speedUpTimeouts } from "@degu/testing/clock.ts";
import { patch } from "@degu/testing/patching.ts";
import { listenAgain } from "@degu/testing/ports.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@degu/internal/internal/paths.ts";
import { FakeTime } from "@std/testing/time";
import {
  addressOf,
  introductionOf,
  LOOPBACK,
  makeDevices,
  openInvitation,
  pair,
  RawJoiner,
  sendFirstStep,
  sendSecondStep,
  Stranger,
} from "./pairing.ts";
import { testEachRow } from "@degu/testing/rows.ts";

/** A loopback address that no other test uses, so that a freed port stays free. */
const QUIET: HostAddress[] = [["127.86.75.30", 0]];

Deno.test("two devices pair by a line, and each stores the other as a peer", async () => {
  await using devices = await makeDevices("Camera", "viewer");
  const { Camera: camera, viewer } = devices;
  const { atInviter, atJoiner } = await pair(
    camera,
    viewer,
    { serving: [["127.0.0.1", 7443], ["camera.local", 80]] },
    { serving: [["::1", 7444]] },
  );
  assertEquals([atInviter.id, atInviter.name], [viewer.id, "viewer"]);
  assertEquals([atJoiner.id, atJoiner.name], [camera.id, "Camera"]);
  assertEquals(atInviter.ca, viewer.authority.ca);
  assertEquals(atJoiner.ca, camera.authority.ca);
  assertEquals(atInviter.addresses, [["::1", 7444]]);
  assertEquals(atJoiner.addresses, [["127.0.0.1", 7443], ["camera.local", 80]]);
  assertEquals(await camera.peers(), [atInviter]);
  assertEquals(await viewer.peers(), [atJoiner]);
});

Deno.test("both ends log the name and the id of the other, and never the secret", async () => {
  await using setup = await openInvitation(["viewer"]);
  const { camera, viewer, invitation } = setup;
  await Promise.all([viewer.join(invitation.line), invitation.paired]);
  assert(camera.logger.messagesOf("info").some((line) => line.includes(`viewer (${viewer.id})`)));
  assert(viewer.logger.messagesOf("info").some((line) => line.includes(`camera (${camera.id})`)));
  const { secret } = introductionOf(invitation.line, viewer);
  for (const { logger } of [camera, viewer]) {
    assertEquals([...logger.messagesOf("warn"), ...logger.messagesOf("error")], []);
    assert(!JSON.stringify(logger.lines).includes(String(secret)), "the secret was logged");
    assert(!JSON.stringify(logger.lines).includes("BEGIN"), "PEM text was logged");
  }
  for (const { dir } of [camera, viewer]) {
    for (const name of await filesUnder(dir)) {
      const text = await Deno.readTextFile(name);
      assert(!text.includes(String(secret)) && !text.includes(invitation.line), name);
    }
  }
  // A printed or stored invitation doesn't contain its line.
  const text = Deno.inspect(invitation, { depth: 9 }) + JSON.stringify(invitation);
  assert(!text.includes(invitation.line.slice(0, 12)), text);
});

async function filesUnder(dir: string): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    const path = join(dir, name);
    files.push(...isDirectory ? await filesUnder(path) : [path]);
  }
  return files;
}

Deno.test("a pairing ends at the inviter after the joiner has stored the inviter", async () => {
  await using setup = await openInvitation(["viewer"]);
  const { camera, viewer, invitation } = setup;
  const lock = await Deno.open(join(viewer.dir, "lock"), { create: true, write: true });
  await lock.lock(true);
  const joining = viewer.join(invitation.line);
  const storedFiles = invitation.paired.then(() => Deno.readDirSync(join(viewer.dir, "peers")));
  while ((await camera.written()).length === 0);
  lock.close();
  const { id } = await withTimeout(joining, "joined");
  const names = Array.from(await withTimeout(storedFiles, "paired"), ({ name }) => name);
  assertEquals(names, [`${id}.json`]);
});

Deno.test("the line of an invitation is unusable after one pairing", async () => {
  await using setup = await openInvitation(["viewer", "late"]);
  const { camera, viewer, late: lateDevice, invitation } = setup;
  await Promise.all([viewer.join(invitation.line, { peerName: "garden" }), invitation.paired]);
  for (const device of [lateDevice, viewer]) {
    const message = "no invitation is open at an address of the line";
    const error = await assertRejects(() => device.join(invitation.line), DeguError, message);
    assert(error.cause instanceof AggregateError);
  }
  assertEquals(await lateDevice.written(), []);
  assertEquals((await camera.peers()).map(({ id }) => id), [viewer.id]);
});

Deno.test("a device can have several invitations open, and join at the same time", async () => {
  await using devices = await makeDevices("camera", "one", "two");
  const { camera, one, two } = devices;
  await using first = await camera.invite();
  await using second = await camera.invite();
  await using secondInvitation = await two.invite();
  // Two devices that join each other at the same time are both paired.
  const peers = await withTimeout(
    Promise.all([one.join(first.line), two.join(second.line), camera.join(secondInvitation.line)]),
    "all devices are paired",
    20,
  );
  assertEquals(peers.map(({ id }) => id), [camera.id, camera.id, two.id]);
  await Promise.all([first.paired, second.paired, secondInvitation.paired]);
  assertEquals((await camera.peers()).map(({ name }) => name), ["one", "two"]);
  assertEquals((await two.peers()).map(({ name }) => name), ["camera"]);
});

Deno.test("the port of an invitation is free after the pairing has resolved, and after close", async () => {
  await using setup = await openInvitation(["viewer"], { listen: QUIET });
  const { camera, viewer, invitation } = setup;
  const [hostname, port] = addressOf(invitation);
  await Promise.all([viewer.join(invitation.line), invitation.paired]);
  (await listenAgain(() => Deno.listen({ hostname, port }))).close();
  await using otherInvitation = await camera.invite({ listen: QUIET });
  const [, otherPort] = addressOf(otherInvitation);
  await otherInvitation.close();
  (await listenAgain(() => Deno.listen({ hostname, port: otherPort }))).close();
  const { paired } = otherInvitation;
  await assertRejects(() => paired, ConnectionClosedError, "the invitation was closed");
  assertEquals(camera.logger.messagesOf("warn"), []);
  // A device doesn't reference its ended invitations, and so doesn't close them again.
  let closeCount = 0;
  for (const counted of [invitation, otherInvitation]) {
    counted[Symbol.asyncDispose] = () => Promise.resolve(void closeCount++);
  }
  await camera.device[Symbol.asyncDispose]();
  assertEquals(closeCount, 0);
});

Deno.test("an invitation expires in time even if the clock changes, and frees its port", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  for (const seconds of [undefined, 1]) {
    using _time = new FakeTime();
    await using invitation = await camera.invite({ seconds });
    assertEquals(invitation.expires.getTime(), Date.now() + (seconds ?? 600) * 1000);
  }
  using timeouts = speedUpTimeouts((milliseconds) => milliseconds === 1000);
  for (const shift of [-3_600_000, 3_600_000]) {
    const startTime = performance.now();
    await using invitation = await camera.invite({ seconds: 1, listen: QUIET });
    {
      using _clock = setClockAhead(shift);
      await assertRejects(() => invitation.paired, Deno.errors.TimedOut, "expired");
      const took = performance.now() - startTime;
      assert(took > 99 && took < 30_000, `it took ${took} ms`);
      const [hostname, port] = addressOf(invitation);
      (await listenAgain(() => Deno.listen({ hostname, port }))).close();
    }
    await assertRejects(() => viewer.join(invitation.line), DeguError, "no invitation is open");
  }
  assertEquals(timeouts.started.filter((each) => each === 1000).length, 2);
});

Deno.test("a signal ends an invitation before, while and after it opens, and has no effect after its end", async () => {
  await using setup = await openInvitation(["viewer"], { listen: QUIET });
  const { camera, viewer } = setup;
  const reason = new Error("the window was closed");
  const stop = new AbortController();
  const { signal } = stop;
  const open = await camera.invite({ listen: QUIET, signal });
  const used = await camera.invite({ listen: QUIET, signal });
  await Promise.all([viewer.join(used.line), used.paired]);
  const opening = camera.invite({ listen: QUIET, signal });
  stop.abort(reason);
  const outcomes = await Promise.allSettled([opening, open.paired]);
  assertEquals(outcomes.map((each) => each.status === "rejected" && each.reason), [reason, reason]);
  assertEquals((await used.paired).name, "viewer");
  const [hostname, port] = addressOf(open);
  (await listenAgain(() => Deno.listen({ hostname, port }))).close();
  const lateError = await camera.invite({ listen: QUIET, signal }).catch((error) => error);
  assertEquals(lateError, reason);
  // deno-lint-ignore no-explicit-any
  await assertRejects(() => camera.invite({ signal: {} as any }), TypeError, "signal");
});

Deno.test("a pairing that is not awaited causes no unhandled rejection", async () => {
  using unhandled = recordUnhandledRejections();
  using _timeouts = speedUpTimeouts((milliseconds) => milliseconds === 1000);
  await using devices = await makeDevices("camera");
  const { camera } = devices;
  const closedInvitation = await camera.invite();
  await closedInvitation.close();
  await closedInvitation.close();
  await using expiredInvitation = await camera.invite({ seconds: 1 });
  const expired = withTimeout(expiredInvitation.paired, "it expires");
  await assertRejects(() => expired, Deno.errors.TimedOut);
  await using open = await camera.invite();
  await camera[Symbol.asyncDispose]();
  const ended = withTimeout(open.paired, "it ends");
  await assertRejects(() => ended, ConnectionClosedError, "was closed");
  await assertRejects(() => camera.invite(), DeguError, "was closed");
  await assertRejects(() => camera.join(open.line), DeguError, "was closed");
  await new Promise((resolve) => setTimeout(resolve));
  assertEquals(unhandled.reasons, []);
});

Deno.test("pairing the same device again renews its entry and keeps its name", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const firstPeers = await pair(camera, viewer, { peerName: "screen" }, { serving: [["::1", 1]] });
  assertEquals(firstPeers.atInviter.name, "screen");
  const secondPairing = await pair(camera, viewer, {}, { serving: [["::1", 2]] });
  assertEquals(secondPairing.atInviter.name, "screen");
  assertEquals(secondPairing.atInviter.addresses, [["::1", 2]]);
  assert(secondPairing.atInviter.pairedAt > firstPeers.atInviter.pairedAt);
  const renamed = await pair(camera, viewer, { peerName: "tv" }, { peerName: "eye" });
  assertEquals([renamed.atInviter.name, renamed.atJoiner.name], ["tv", "eye"]);
  // The current name of a peer isn't taken for that peer.
  assertEquals((await pair(camera, viewer, {}, { peerName: "EYE" })).atJoiner.name, "EYE");
  assertEquals([(await camera.peers()).length, (await viewer.peers()).length], [1, 1]);
});

Deno.test("a received name that is taken gets a number; a name option that is invalid is rejected", async () => {
  await using devices = await makeDevices("camera", "CAMERA", "Camera", "viewer");
  const { camera: one, CAMERA: two, Camera: three, viewer } = devices;
  await pair(viewer, one);
  assertEquals((await pair(viewer, two)).atInviter.name, "CAMERA-2");
  assertEquals((await pair(three, viewer)).atJoiner.name, "Camera-3");
  await using invitation = await two.invite();
  await assertRejects(() => viewer.join(invitation.line, { peerName: "-" }), RangeError);
  await assertRejects(() => viewer.invite({ peerName: viewer.id }), RangeError);
  assertEquals(two.logger.messagesOf("warn"), []);
});

Deno.test("each device receives the server addresses that the other has when it responds", async () => {
  await using setup = await openInvitation(["viewer"], { serving: undefined });
  const { camera, viewer, invitation } = setup;
  const app: App = (_request, session) => [200, "OK", { who: peerOf(session).name }, null];
  await using server = await camera.device.serve(["127.0.0.1", 0], app);
  await using _hidden = await camera.device.serve(join(camera.dir, "socket"), app);
  const peer = await viewer.join(invitation.line, { serving: undefined });
  assertEquals(peer.addresses, [server.address]);
  assertEquals((await invitation.paired).addresses, []);
  const client = await viewer.device.client("camera");
  assertEquals((await client.request("GET", "/")).headers["who"], "viewer");
});

Deno.test("a function serving is called when the other device joins, and undefined means the servers", async () => {
  let addresses: HostAddress[] | undefined = [];
  const serving = () => Promise.resolve(addresses);
  await using setup = await openInvitation(["viewer"], { serving });
  const { camera, viewer, invitation } = setup;
  addresses = [["10.0.0.1", 80]];
  assertEquals((await viewer.join(invitation.line, { serving })).addresses, addresses);
  assertEquals((await invitation.paired).addresses, addresses);
  addresses = undefined;
  await using server = await camera.device.serve(["127.0.0.1", 0], () => [204, "", {}, null]);
  const { atInviter, atJoiner } = await pair(camera, viewer, { serving }, { serving });
  assertEquals([atInviter.addresses, atJoiner.addresses], [[], [server.address]]);
  addresses = [["10.0.0.1", 0]];
  await assertRejects(
    () => pair(camera, viewer, { serving: [] }, { serving }),
    RangeError,
    "serving",
  );
});

Deno.test("an invitation listens on all given addresses, and by default on the addresses of this machine", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const rows: (HostAddress[] | undefined)[] = [
    [1, 2, 3, 4, 5, 6].map((byte) => [`127.0.0.${byte}`, 0]),
    [["0.0.0.0", 0]],
    undefined,
  ];
  for (const listen of rows) {
    await using invitation = await camera.invite({ listen });
    if (listen === undefined) assertEquals(addressOf(invitation)[0], listOwnAddresses()[0]![0]);
    await Promise.all([viewer.join(invitation.line), invitation.paired]);
  }
});

Deno.test("without the option listen, an invitation needs one usable address; without one the error has the causes", async () => {
  await using devices = await makeDevices("camera");
  const { camera } = devices;
  const { permissions } = Deno;
  const { requestSync } = permissions;
  const invite = async (hosts: string[], listenAddresses?: HostAddress[]) => {
    const interfaces = hosts.map((address) => ({
      name: address,
      family: "IPv4",
      address,
      netmask: "",
    }));
    using _found = patch(Deno, "networkInterfaces", () => () => interfaces as never);
    try {
      await using invitation = await camera.invite({ listen: listenAddresses });
      return addressOf(invitation)[0];
    } finally {
      permissions.requestSync = requestSync;
    }
  };
  const missing = "192.0.2.1"; // RFC 5737: an address of no machine
  assertEquals(await invite(["0.0.0.0", missing]), "0.0.0.0");
  assertEquals(await invite([missing, "0.0.0.0"]), "0.0.0.0");
  const { cause } = await assertRejects(() => invite([missing]), DeguError, "set `listen`");
  assert((cause as AggregateError).errors[0] instanceof Deno.errors.AddrNotAvailable);
  await assertRejects(() => invite([], [["0.0.0.0", 0]]), DeguError, "no address of the family");
  permissions.requestSync = (() => ({ state: "denied" })) as never;
  await assertRejects(() => invite([missing]), Deno.errors.NotCapable);
});

Deno.test("invalid options are rejected, and leave no port open; the error names the index of an address", async () => {
  await using setup = await openInvitation(["viewer"], { seconds: 86_400, listen: QUIET });
  const { camera, viewer, invitation } = setup;
  const validAddress: Address = ["127.0.0.1", 1];
  const hostRule = "must be an IP address or a DNS name with a port, at which another machine can";
  type Row = [option: string, value: unknown, Class: new () => Error, restOfMessage: string];
  const invalidForBoth: Row[] = [
    ["peerName", "", RangeError, ": "],
    ["serving", [validAddress, ["127.0.0.1", 0]], RangeError, "[1][1]: must be an integer from 1"],
    ["serving", [["fe80::1", 1]], RangeError, "[0][0]: must have a scope"],
    ["serving", [validAddress, "/run/a.socket"], RangeError, `[1]: ${hostRule}`],
    ["serving", [["224.0.0.1", 80]], RangeError, `[0]: ${hostRule}`],
    ["serving", "127.0.0.1:1", TypeError, ": must be an array of addresses"],
    ["serving", Array(7).fill(validAddress), RangeError, ": must be at most 6 addresses; got 7"],
  ];
  const { AddrInUse, AddrNotAvailable } = Deno.errors;
  const usedAddress = addressOf(invitation);
  const inUse = `can't listen at ${usedAddress.join(":")}: `;
  const otherMachine = ["192.0.2.1", 0]; // RFC 5737: an address of no machine
  const ofInvite: Row[] = [
    ["seconds", 0.99, RangeError, ": "],
    ["seconds", 86_400.1, RangeError, ": "],
    ["listen", [["localhost", 0]], RangeError, "[0][0]: must be an IPv4 or IPv6 address"],
    ["listen", ["/run/a.socket"], RangeError, "[0]: must be an IP address with a port; got"],
    ["listen", [], RangeError, ": must be 1 to 6 addresses; got 0"],
    ["listen", Array(7).fill(validAddress), RangeError, ": must be 1 to 6 addresses; got 7"],
  ];
  const check = async (call: () => Promise<unknown>, Class: new () => Error, message: string) => {
    const error = await assertRejects(call, Class);
    assert(error.message.startsWith(message), error.message);
  };
  for (const [option, value, Class, message] of [...invalidForBoth, ...ofInvite]) {
    await check(() => camera.invite({ [option]: value }), Class, option + message);
  }
  await check(() => camera.invite({ secret: "abc" } as object), TypeError, "");
  const listen = (...addresses: unknown[]) => () => camera.invite({ listen: addresses } as object);
  await check(listen(["127.0.0.1", 0], usedAddress), AddrInUse, inUse);
  await check(listen(otherMachine), AddrNotAvailable, "can't listen at 192.0.2.1:0: ");
  const join = (line: unknown, options: object = {}) => () => viewer.join(line as string, options);
  for (const [option, value, Class, message] of invalidForBoth) {
    await check(join(invitation.line, { [option]: value }), Class, option + message);
  }
  await check(join(invitation.line, { peer: 1 }), TypeError, "");
  await check(join(invitation.line, { signal: {} }), TypeError, "signal: must be");
  await assertRejects(join("degu:AAAA"), PairingError, "garbled");
});

Deno.test("a device whose address the other device doesn't get logs a warning, unless serving is empty", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const takeWarnings = () =>
    [camera, viewer].map(({ logger }) => {
      const warnings = logger.messagesOf("warn").map((line) => line.split(", because")[0]);
      logger.lines.length = 0;
      return warnings;
    });
  const makeWarning = (name: string) => `pairing: ${name} got no address of this device`;
  const unset = { serving: undefined };
  await pair(camera, viewer, unset, unset);
  assertEquals(takeWarnings(), [[makeWarning("viewer")], [makeWarning("camera")]]);
  await using invitation = await camera.invite({ ...unset, confirm: () => true });
  await viewer.joinByNumber(invitation, () => true, unset);
  await invitation.paired;
  assertEquals(takeWarnings(), [[makeWarning("viewer")], [makeWarning("camera")]]);
  await pair(camera, viewer, { serving: [] }, { serving: [] });
  assertEquals(takeWarnings(), [[], []]);
  await using _server = await camera.device.serve(QUIET[0]!, () => [204, "No Content", {}, null]);
  await pair(camera, viewer, unset, { serving: [] });
  assertEquals(takeWarnings(), [[], []]);
});

Deno.test("an invitation that ends during the check of the introduction stores no peer, whatever the result", async (t) => {
  await testEachRow(t, [["answered"], ["refused"]], async (outcome) => {
    await using devices = await makeDevices("camera", "viewer");
    const { camera, viewer } = devices;
    await using invitation = await camera.device.invite({ listen: LOOPBACK });
    // The response needs the addresses of this device's servers.
    const checkStarted = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    gate.promise.catch(() => {});
    const slow = patch(Deno, "readDir", (readDir) => (path) => {
      if (!`${path}`.endsWith("serving")) return readDir(path);
      checkStarted.resolve();
      return (async function* () {
        await gate.promise;
        yield* readDir(path);
      })();
    });
    using stranger = await Stranger.connect(addressOf(invitation));
    stranger.post("/secret", introductionOf(invitation.line, viewer));
    await withTimeout(checkStarted.promise, "the message is being checked");
    const closing = invitation.close();
    if (outcome === "answered") gate.resolve();
    else gate.reject(new Error("the disk is gone"));
    assertEquals((await stranger.waitForEnd()).includes("200 OK"), false);
    await withTimeout(closing, "the invitation ends");
    slow[Symbol.dispose]();
    assertEquals([camera.logger.messagesOf("error"), await camera.written()], [[], []]);
  });
});

/** Generates numbers from 0 to 1, the same in each run. */
function* randomNumbers(seed: number): Generator<number, never> {
  for (let state = seed;;) {
    state = Math.imul(state ^ state >>> 15, state | 1) + 0x9E3779B9 | 0;
    yield (state >>> 0) / 2 ** 32;
  }
}

/** Runs an invitation with a joiner by number, and perhaps a joiner by line and an early end. */
async function race(round: number): Promise<string> {
  const random = randomNumbers(round * 1_000_000);
  const nextRandom = () => random.next().value;
  const randomPause = () => new Promise<void>((resolve) => setTimeout(resolve, nextRandom() * 25));
  const [isYes, isByLine, isClosed] = [nextRandom() < 0.7, nextRandom() < 0.4, nextRandom() < 0.4];
  let isConfirmed = false;
  const confirm = async () => {
    await randomPause();
    return isConfirmed = isYes;
  };
  await using setup = await openInvitation(["viewer", "other"], { confirm });
  const { camera, viewer, other, invitation } = setup;
  const byNumber = async () => {
    using joiner = await RawJoiner.startQuestion(invitation, viewer);
    await randomPause();
    using secure = await joiner.confirm();
    if (nextRandom() < 0.8) await secure.readResponse(200);
  };
  const byLine = async () => {
    await randomPause();
    const value = await sendFirstStep(invitation, other);
    await randomPause();
    await sendSecondStep(invitation, value, other);
  };
  const closing = async () => {
    await randomPause();
    await randomPause();
    await invitation.close();
  };
  const parties = [byNumber(), ...(isByLine ? [byLine()] : []), ...(isClosed ? [closing()] : [])];
  await Promise.allSettled(parties);
  await invitation.close();
  const name = await invitation.paired.then(({ name }) => name, () => "nobody");
  const peerNames = (await camera.peers()).map((peer) => peer.name);
  assertEquals(peerNames, name === "nobody" ? [] : [name], `round ${round}`);
  if (name === "viewer") assert(isConfirmed, `round ${round}`);
  if (name === "other") assert(isByLine, `round ${round}`);
  assertEquals(camera.logger.messagesOf("error"), [], `round ${round}`);
  return name;
}

Deno.test("whatever the order of line, number, reply and end, at most one device is stored, and no event is unknown", async () => {
  // Each combination of a reply, a joiner by line and an early end occurs in these rounds.
  const names = await Promise.all(Array.from({ length: 20 }, (_, i) => race(i + 1)));
  assertEquals([...new Set(names)].toSorted(), ["nobody", "other", "viewer"]);
});
