/** Pairing between two devices that keep to the protocol. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { type Address, ConnectionClosedError, DeguError } from "@degu/degu/base";
import { type App, peerOf } from "@degu/degu/device";
import { tempDir } from "@degu/testing/directories.ts";
import {
  addressOf,
  introductionOf,
  lineWith,
  makeDevices,
  pair,
  PairingDevice,
  Stranger,
} from "@degu/testing/pairing.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { unhandledRejections } from "@degu/testing/rejections.ts";

/** A loopback address whose ports nobody else uses, so that a port that was freed stays free. */
const QUIET: Address[] = [["127.86.75.30", 0]];

Deno.test("two devices are paired by a line, and each has the other among its peers", async () => {
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
  assertEquals(atInviter.certificate, viewer.authority.certificate);
  assertEquals(atJoiner.certificate, camera.authority.certificate);
  assertEquals(atInviter.addresses, [["::1", 7444]]);
  assertEquals(atJoiner.addresses, [["127.0.0.1", 7443], ["camera.local", 80]]);
  assertEquals(await camera.peers(), [atInviter]);
  assertEquals(await viewer.peers(), [atJoiner]);
});

Deno.test("a line that was broken by white space pairs as well", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using invitation = await camera.invite();
  const broken = ` ${invitation.line.replaceAll(/(.{40})/g, "$1\r\n  ")}\n`;
  assertEquals((await viewer.join(broken)).id, camera.id);
  await invitation.paired;
});

Deno.test("both ends log the name and the id of the other, and no secret", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using invitation = await camera.invite();
  await Promise.all([viewer.join(invitation.line), invitation.paired]);
  assert(camera.logger.at("info").some((line) => line.includes(`viewer (${viewer.id})`)));
  assert(viewer.logger.at("info").some((line) => line.includes(`camera (${camera.id})`)));
  const { secret } = introductionOf(invitation.line, viewer);
  for (const { logger } of [camera, viewer]) {
    assertEquals([...logger.at("warn"), ...logger.at("error")], []);
    assert(!JSON.stringify(logger.lines).includes(String(secret)), "the secret was logged");
    assert(!JSON.stringify(logger.lines).includes("BEGIN"), "PEM text was logged");
  }
  // Whoever prints or stores an invitation does not give its line away.
  const shown = Deno.inspect(invitation, { depth: 9 }) + JSON.stringify(invitation);
  assert(!shown.includes(invitation.line.slice(0, 40)), shown);
});

Deno.test("the secret of an invitation is on no disk", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using invitation = await camera.invite();
  const { secret } = introductionOf(invitation.line, viewer);
  await Promise.all([viewer.join(invitation.line), invitation.paired]);
  for (const { dir } of [camera, viewer]) {
    for (const name of await filesUnder(dir)) {
      const text = await Deno.readTextFile(name);
      assert(!text.includes(String(secret)) && !text.includes(invitation.line), name);
    }
  }
});

async function filesUnder(dir: string): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    const path = join(dir, name);
    files.push(...isDirectory ? await filesUnder(path) : [path]);
  }
  return files;
}

Deno.test("an invitation is for one pairing: its line is of no use after it", async () => {
  await using devices = await makeDevices("camera", "viewer", "late");
  const { camera, viewer, late } = devices;
  await using invitation = await camera.invite();
  await Promise.all([viewer.join(invitation.line), invitation.paired]);
  for (const device of [late, viewer]) {
    const error = await assertRejects(
      () => device.join(invitation.line),
      DeguError,
      "this line is not open any more: it has expired, was closed, or another device has used it; look " +
        `at the peers of camera (${camera.id}) and forget what you do not know`,
    );
    assert(error.cause instanceof AggregateError);
  }
  assertEquals(await late.written(), []);
  assertEquals((await camera.peers()).map(({ id }) => id), [viewer.id]);
});

Deno.test("of two that join at once exactly one is paired, and the other one is told", async () => {
  await using devices = await makeDevices("camera", "one", "two");
  const { camera, one, two } = devices;
  for (let round = 0; round < 5; round++) {
    await using invitation = await camera.invite();
    const outcomes = await Promise.allSettled([one, two].map((each) => each.join(invitation.line)));
    const lost = outcomes.filter((outcome) => outcome.status === "rejected");
    assertEquals(lost.length, 1);
    assert(lost[0]!.reason instanceof DeguError);
    assert(lost[0]!.reason.message.includes("another device has used it"));
    const winner = outcomes[0]!.status === "fulfilled" ? one : two;
    const loser = winner === one ? two : one;
    assertEquals((await invitation.paired).id, winner.id);
    assertEquals((await winner.peers()).map(({ id }) => id), [camera.id]);
    assertEquals(await loser.peers(), []);
    await winner.device.forget(camera.id);
  }
});

Deno.test("a device can have several invitations open, and join while it has", async () => {
  await using devices = await makeDevices("camera", "one", "two");
  const { camera, one, two } = devices;
  await using first = await camera.invite();
  await using second = await camera.invite();
  await using back = await two.invite();
  // Two devices that join one another at once are paired all the same.
  const peers = await within(
    Promise.all([one.join(first.line), two.join(second.line), camera.join(back.line)]),
    "all are paired",
    20,
  );
  assertEquals(peers.map(({ id }) => id), [camera.id, camera.id, two.id]);
  await Promise.all([first.paired, second.paired, back.paired]);
  assertEquals((await camera.peers()).map(({ name }) => name), ["one", "two"]);
  assertEquals((await two.peers()).map(({ name }) => name), ["camera"]);
});

Deno.test("two devices of one name are told apart where they pair at once", async () => {
  await using devices = await makeDevices("camera", "Viewer", "viewer");
  const { camera, Viewer: one, viewer: two } = devices;
  await using first = await camera.invite();
  await using second = await camera.invite();
  const joining = [one.join(first.line), two.join(second.line), first.paired, second.paired];
  await within(Promise.all(joining), "both are paired", 20);
  const names = (await camera.peers()).map(({ name }) => name.toLowerCase());
  assertEquals(names, ["viewer", "viewer-2"]);
});

Deno.test("the port is free when the pairing has resolved, and after close", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using invitation = await camera.invite({ listen: QUIET });
  const [hostname, port] = addressOf(invitation);
  await Promise.all([viewer.join(invitation.line), invitation.paired]);
  Deno.listen({ hostname, port }).close();
  await using other = await camera.invite({ listen: QUIET });
  const [, otherPort] = addressOf(other);
  await other.close();
  Deno.listen({ hostname, port: otherPort }).close();
  await assertRejects(() => other.paired, ConnectionClosedError, "the invitation was closed");
});

Deno.test("an invitation ends at its time, whatever the clock says, and frees its port", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  for (const shift of [-3_600_000, 3_600_000]) {
    const { now } = Date;
    const begin = now();
    const started = performance.now();
    await using invitation = await camera.invite({ seconds: 1, listen: QUIET });
    assert(invitation.expires.getTime() >= begin + 1000);
    Date.now = () => now() + shift;
    try {
      await assertRejects(() => invitation.paired, Deno.errors.TimedOut, "expired");
      const took = performance.now() - started;
      assert(took > 990 && took < 30_000, `it took ${took} ms`);
      const [hostname, port] = addressOf(invitation);
      Deno.listen({ hostname, port }).close();
    } finally {
      Date.now = now;
    }
    await assertRejects(() => viewer.join(invitation.line), DeguError, "it has expired");
  }
});

Deno.test("a line whose time is over by the joiner's clock is still the inviter's to judge", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const { now } = Date;
  await using invitation = await camera.invite();
  try {
    Date.now = () => now() + 23 * 3_600_000;
    await Promise.all([viewer.join(invitation.line), invitation.paired]);
  } finally {
    Date.now = now;
  }
  await using other = await camera.invite();
  try {
    Date.now = () => now() + 25 * 3_600_000;
    await assertRejects(() => viewer.join(other.line), RangeError, "expired at");
  } finally {
    Date.now = now;
  }
});

Deno.test("nobody has to wait for a pairing that does not come", async () => {
  using unhandled = unhandledRejections();
  await using devices = await makeDevices("camera");
  const { camera } = devices;
  const closed = await camera.invite();
  await closed.close();
  await closed.close();
  await using ended = await camera.invite({ seconds: 1 });
  await assertRejects(() => within(ended.paired, "it expires"), Deno.errors.TimedOut);
  await using open = await camera.invite();
  await camera[Symbol.asyncDispose]();
  await assertRejects(() => within(open.paired, "it ends"), ConnectionClosedError, "was closed");
  await assertRejects(() => camera.invite(), DeguError, "was closed");
  await assertRejects(() => camera.join(open.line), DeguError, "was closed");
  await new Promise((resolve) => setTimeout(resolve));
  assertEquals(unhandled.reasons, []);
});

Deno.test("the same device again: its entry is renewed and keeps its name", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const first = await pair(camera, viewer, { peerName: "screen" }, { serving: [["::1", 1]] });
  assertEquals(first.atInviter.name, "screen");
  const again = await pair(camera, viewer, {}, { serving: [["::1", 2]] });
  assertEquals(again.atInviter.name, "screen");
  assertEquals(again.atInviter.addresses, [["::1", 2]]);
  assert(again.atInviter.pairedAt > first.atInviter.pairedAt);
  const renamed = await pair(camera, viewer, { peerName: "tv" }, { peerName: "eye" });
  assertEquals([renamed.atInviter.name, renamed.atJoiner.name], ["tv", "eye"]);
  // A name that the joined device has already is its own.
  assertEquals((await pair(camera, viewer, {}, { peerName: "EYE" })).atJoiner.name, "EYE");
  assertEquals([(await camera.peers()).length, (await viewer.peers()).length], [1, 1]);
});

Deno.test("the two may change sides", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await pair(camera, viewer);
  await pair(viewer, camera);
  assertEquals((await camera.peers()).map(({ name }) => name), ["viewer"]);
  assertEquals((await viewer.peers()).map(({ name }) => name), ["camera"]);
});

Deno.test("a received name that is taken gets a number, a given one is refused", async () => {
  await using devices = await makeDevices("camera", "CAMERA", "Camera", "viewer");
  const { camera: one, CAMERA: two, Camera: three, viewer } = devices;
  await pair(viewer, one);
  assertEquals((await pair(viewer, two)).atInviter.name, "CAMERA-2");
  assertEquals((await pair(three, viewer)).atJoiner.name, "Camera-3");
  await assertRejects(() => viewer.invite({ peerName: "CAMERA" }), RangeError, "taken");
  await using invitation = await two.invite();
  await assertRejects(
    () => viewer.join(invitation.line, { peerName: "camera-3" }),
    RangeError,
    "taken",
  );
  await assertRejects(() => viewer.join(invitation.line, { peerName: "-" }), RangeError);
  await assertRejects(() => viewer.invite({ peerName: viewer.id }), RangeError);
  assertEquals(two.logger.at("warn"), []);
});

Deno.test("a device can't join itself, or a copy of its directory", async () => {
  await using devices = await makeDevices("camera");
  await using copyDir = await tempDir();
  const { camera } = devices;
  await copy(camera.dir, copyDir.path);
  await using twin = await PairingDevice.open(copyDir.path, "camera");
  await using invitation = await camera.invite();
  for (const device of [camera, twin]) {
    await assertRejects(() => device.join(invitation.line), RangeError, "paired with itself");
  }
  assertEquals([await camera.written(), await twin.written()], [[], []]);
});

async function copy(from: string, to: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) {
      await Deno.mkdir(join(to, name), { mode: 0o700 });
      await copy(join(from, name), join(to, name));
    } else {
      await Deno.copyFile(join(from, name), join(to, name));
    }
  }
}

Deno.test("each is told where the servers of the other listen when the answer goes out", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using invitation = await camera.invite({ serving: undefined });
  const app: App = (_request, session) => [200, "OK", { who: peerOf(session).name }, null];
  await using server = camera.device.listen(["127.0.0.1", 0], app);
  await using hidden = camera.device.listen(join(camera.dir, "socket"), app);
  for (const each of [server, hidden]) each.serveForever();
  await Promise.all([server.ready, hidden.ready]);
  const peer = await viewer.join(invitation.line, { serving: undefined });
  assertEquals(peer.addresses, [server.address]);
  assertEquals((await invitation.paired).addresses, []);
  const client = await viewer.device.client("camera");
  assertEquals((await client.request("GET", "/")).headers["who"], "viewer");
});

Deno.test("an invitation waits at every address that it is given", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  for (const listen of [[["127.0.0.1", 0], ["127.0.0.2", 0]], [["0.0.0.0", 0]]] as Address[][]) {
    await using invitation = await camera.invite({ listen });
    await Promise.all([viewer.join(invitation.line), invitation.paired]);
  }
});

Deno.test("an invitation waits at the addresses of this machine where none is given", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using invitation = await camera.invite({ listen: undefined });
  await Promise.all([viewer.join(invitation.line), invitation.paired]);
});

Deno.test("options of an invitation that are wrong are refused, and leave no port open", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const table: [Record<string, unknown>, new () => Error][] = [
    [{ seconds: 0.99 }, RangeError],
    [{ seconds: 86_400.1 }, RangeError],
    [{ seconds: NaN }, RangeError],
    [{ seconds: "600" }, TypeError],
    [{ listen: [] }, RangeError],
    [{ listen: "127.0.0.1" }, TypeError],
    [{ serving: [["127.0.0.1", 0]] }, RangeError],
    [{ peerName: 7 }, TypeError],
    [{ peerName: "" }, RangeError],
    [{ secret: "abc" }, TypeError],
  ];
  for (const [options, error] of table) {
    await assertRejects(() => camera.invite(options), error, undefined, Deno.inspect(options));
  }
  await using invitation = await camera.invite({ seconds: 86_400 });
  const taken = addressOf(invitation);
  await assertRejects(
    () => camera.invite({ listen: [["127.0.0.1", 0], [...taken]] }),
    Deno.errors.AddrInUse,
  );
  for (const options of [{ serving: [""] }, { peer: 1 }, { signal: {} }]) {
    await assertRejects(() => viewer.join(invitation.line, options as never), Error);
  }
  await assertRejects(() => viewer.join("degu:AAAA"), RangeError, "garbled");
  await assertRejects(() => viewer.join(7 as never), TypeError);
});

Deno.test("joining ends with the reason of its signal, and writes nothing", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using invitation = await camera.invite();
  const reason = new Error("enough");
  const aborted = await assertRejects(() =>
    viewer.join(invitation.line, { signal: AbortSignal.abort(reason) })
  );
  assertEquals(aborted, reason);
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const controller = new AbortController();
  const line = lineWith(invitation.line, [["127.0.0.1", (silent.addr as Deno.NetAddr).port]]);
  const joining = viewer.join(line, { signal: controller.signal });
  using _conn = await silent.accept();
  controller.abort(reason);
  assertEquals(await assertRejects(() => within(joining, "it ends")), reason);
  assertEquals(await viewer.written(), []);
  // The invitation has seen nothing of it.
  await Promise.all([viewer.join(invitation.line), invitation.paired]);
});

Deno.test("a pairing goes on where one address of the line is dead and another an impostor's", async () => {
  await using devices = await makeDevices("camera", "viewer", "impostor");
  const { camera, viewer, impostor } = devices;
  await using invitation = await camera.invite();
  await using other = await impostor.invite();
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const dead = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const deadPort = (dead.addr as Deno.NetAddr).port;
  dead.close();
  const line = lineWith(invitation.line, [
    ["127.0.0.1", deadPort],
    addressOf(other),
    ["127.0.0.1", (silent.addr as Deno.NetAddr).port],
    addressOf(invitation),
  ]);
  const peer = await viewer.join(line);
  assertEquals(peer.id, camera.id);
  await invitation.paired;
  assertEquals(await impostor.written(), []);
});

Deno.test("a stolen line that was used first does not look like success", async () => {
  await using devices = await makeDevices("camera", "viewer", "thief");
  const { camera, viewer, thief } = devices;
  await using invitation = await camera.invite();
  using stolen = await Stranger.connect(addressOf(invitation));
  stolen.post("/secret", introductionOf(invitation.line, thief));
  await stolen.answer(200);
  await assertRejects(() => viewer.join(invitation.line), DeguError, "another device has used it");
  await Promise.all([assertRejects(() => invitation.paired), invitation.close()]);
  assertEquals([await camera.written(), await viewer.written()], [[], []]);
});
