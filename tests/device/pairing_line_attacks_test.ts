/** Attacks by somebody who has the line of an invitation. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Invitation, type Peer } from "@degu/degu/device";
import type { DeviceServices } from "@degu/internal/device/device_services.ts";
import { type Pairing, PeerStore } from "@degu/internal/device/peer_store.ts";
import { ServingRecords } from "@degu/internal/device/serving_records.ts";
import { TrustSignals } from "@degu/internal/device/trust_signals.ts";
import { DeviceIdentity } from "@degu/internal/identity/device_identity.ts";
import { CERTIFICATE_LIFE } from "@degu/internal/identity/device_pki.ts";
import { EXTENSIONS, makeAuthority, makeLeaf } from "@degu/testing/authorities.ts";
import { storeOf } from "@degu/testing/device_pairs.ts";
import {
  addressOf,
  base64url,
  introduce,
  introductionOf,
  LOOPBACK,
  makeDevices,
  openInvitation,
  pair,
  type PairingDevice,
  sendValue,
  Stranger,
} from "@degu/testing/pairing.ts";
import { within } from "@degu/testing/raw_peer.ts";

/** Takes the first step, and sends the value with the device's certificate; the answer is not read. */
async function lastStep(invitation: Invitation, device: PairingDevice): Promise<Stranger> {
  const value = await introduce(invitation, device);
  const stranger = await Stranger.connect(addressOf(invitation), device);
  stranger.post("/value", { value });
  return stranger;
}

Deno.test("a joiner with a hostile name, addresses or authority is refused, and nothing is stored", async () => {
  await using setup = await openInvitation(["viewer"]);
  const { camera, viewer, invitation } = setup;
  const right = introductionOf(invitation.line, viewer);
  const { authority, signsCertificates, nameConstraints } = EXTENSIONS;
  const extensions = [authority(), signsCertificates(), nameConstraints(false)];
  const table = [
    // Its own, which the one warning of this second is about.
    { authority: base64url(camera.authority.der) },
    { authority: base64url((await makeAuthority({ extensions })).der) },
    { authority: base64url(new Uint8Array(300)) },
    { authority: viewer.authority.certificate },
    { name: "a/b" },
    { name: null },
    { addresses: [["10.0.0.1", 80], "/run/a.socket"] },
    { addresses: Array(7).fill(["10.0.0.1", 80]) },
  ];
  for (const hostile of table) {
    using stranger = await Stranger.connect(addressOf(invitation));
    stranger.post("/secret", { ...right, ...hostile });
    await stranger.answer(403);
  }
  assertEquals(await camera.written(), []);
  // At most one a second is logged.
  const [first = "", ...more] = camera.logger.at("warn");
  assert(first.includes("a copy of it; 1 refused so far"), first);
  assert(more.length < table.length - 1);
  await Promise.all([viewer.join(invitation.line), invitation.paired]);
});

Deno.test("the value is valid only for its authority, and only once", async () => {
  await using setup = await openInvitation(["viewer", "other"]);
  const { camera, viewer, other, invitation } = setup;
  const value = await introduce(invitation, viewer);
  const wrong = base64url(new Uint8Array(16));
  const secret = introductionOf(invitation.line, viewer)["secret"];
  const mine = { identity: viewer.identity };
  for (const each of [wrong, secret, null, [value], "", `${value}A`]) {
    assertEquals(await sendValue(invitation, each, mine), "", String(each));
  }
  for (const identity of [other.identity, camera.identity]) {
    assertEquals(await sendValue(invitation, value, { identity }), "");
  }
  assertEquals(await sendValue(invitation, value), "");
  assertEquals(await camera.written(), []);
  // Of many at once one is taken.
  const connected = Array.from({ length: 8 }, () => Stranger.connect(addressOf(invitation), mine));
  const strangers = await Promise.all(connected);
  for (const stranger of strangers) stranger.post("/value", { value });
  const answers = await Promise.allSettled(strangers.map((stranger) => stranger.answer(204)));
  for (const stranger of strangers) stranger[Symbol.dispose]();
  assertEquals(answers.filter(({ status }) => status === "fulfilled").length, 1);
  assertEquals((await within(invitation.paired, "it is paired")).id, viewer.id);
  assertEquals((await camera.peers()).length, 1);
});

Deno.test("the second step requires a certificate that the authority has signed directly", async () => {
  await using setup = await openInvitation(["viewer"]);
  const { camera, viewer, invitation } = setup;
  const root = await makeAuthority();
  const between = await makeAuthority({ issuer: root });
  const value = await introduce(invitation, viewer, { authority: base64url(root.der) });
  const leaf = async (issuer: typeof root) => {
    const { pem, keyPem } = await makeLeaf(issuer);
    return { cert: pem, key: keyPem };
  };
  const below = await leaf(between);
  const chain = { cert: below.cert + between.pem, key: below.key };
  assertEquals(await sendValue(invitation, value, { identity: chain }), "");
  assertEquals(await camera.written(), []);
  using right = await Stranger.connect(addressOf(invitation), { identity: await leaf(root) });
  right.post("/value", { value });
  await right.answer(204);
  right[Symbol.dispose]();
  await within(invitation.paired, "it is paired");
});

Deno.test("a second device with the right secret is refused, with a warning to the user", async () => {
  await using devices = await makeDevices("camera", "viewer", "other");
  const { camera, viewer, other } = devices;
  const asked = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<[]>();
  const services = await servicesOf(camera);
  services.serving.addresses = () => {
    asked.resolve();
    return gate.promise;
  };
  await using invitation = await Invitation.open(services, { listen: LOOPBACK });
  const introduce = async (device: PairingDevice) => {
    const stranger = await Stranger.connect(addressOf(invitation));
    stranger.post("/secret", introductionOf(invitation.line, device));
    return stranger;
  };
  using first = await introduce(viewer);
  await within(asked.promise, "the first one is being answered");
  using second = await introduce(other);
  assertEquals(await second.end(), "");
  gate.resolve([]);
  await first.answer(200);
  assert(camera.logger.at("warn")[0]!.includes("somebody else may have seen the line"));
});

/** What pairing gets of a device. */
async function servicesOf(
  { dir, name, logger }: PairingDevice,
  peers?: PeerStore,
): Promise<DeviceServices> {
  const store = peers ?? storeOf(dir);
  return {
    name,
    identity: await DeviceIdentity.open(`${dir}/identity`, name, CERTIFICATE_LIFE, logger),
    peers: store,
    trust: new TrustSignals(store),
    serving: new ServingRecords(dir),
    logger,
    closing: new AbortController().signal,
  };
}

Deno.test("a joiner that leaves after the first step leaves nothing behind, and the invitation expires in time", async () => {
  await using setup = await openInvitation(["viewer", "other"], { seconds: 1 });
  const { camera, viewer, other, invitation } = setup;
  await introduce(invitation, viewer);
  await assertRejects(() => other.join(invitation.line));
  await assertRejects(() => within(invitation.paired, "it expires"), Deno.errors.TimedOut);
  assertEquals([await camera.written(), await other.written()], [[], []]);
});

Deno.test("if the last answer is lost the inviter keeps an entry, which joining again renews", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  {
    await using invitation = await camera.invite();
    using stranger = await lastStep(invitation, viewer);
    stranger.socket.end();
    assertEquals((await within(invitation.paired, "it is paired")).id, viewer.id);
  }
  assertEquals(await viewer.written(), []);
  const [first] = await camera.peers();
  const { atInviter } = await pair(camera, viewer);
  assertEquals((await camera.peers()).map(({ id }) => id), [viewer.id]);
  assert(atInviter.pairedAt > first!.pairedAt);
});

Deno.test("a joiner that keeps its last connection open delays the inviter by two seconds", async () => {
  await using setup = await openInvitation(["viewer"]);
  const { camera, viewer, invitation } = setup;
  using stranger = await lastStep(invitation, viewer);
  await stranger.answer(204);
  const begin = performance.now();
  // The entry is there before the answer.
  assertEquals((await camera.peers()).map(({ id }) => id), [viewer.id]);
  await within(invitation.paired, "the inviter ends it", 20);
  assert(performance.now() - begin > 1500);
  assertEquals(await stranger.end(), "HTTP/1.1 204 No Content\r\n\r\n");
});

Deno.test("an inviter that can't write sends no answer, and has no entry", async () => {
  await using devices = await makeDevices("camera", "viewer", "other");
  const { camera, viewer, other } = devices;
  // A name that is given was free when the invitation was made, and is not when it is used.
  await using invitation = await camera.invite({ peerName: "other" });
  await pair(camera, other);
  const joining = viewer.join(invitation.line);
  const [lost, failed] = await Promise.allSettled([joining, invitation.paired]);
  assert(failed!.status === "rejected" && failed.reason instanceof RangeError);
  assert(lost!.status === "rejected" && lost.reason.message.includes("last answer"));
  assertEquals((await camera.peers()).map(({ id }) => id), [other.id]);
  assertEquals(await viewer.written(), []);
});

/** Peers whose next entry is stored when a test wants it. */
class SlowStore extends PeerStore {
  readonly asked = Promise.withResolvers<void>();
  readonly gate = Promise.withResolvers<void>();

  override async record(pairing: Pairing): Promise<Peer> {
    this.asked.resolve();
    await this.gate.promise;
    return await super.record(pairing);
  }
}

Deno.test("closing an invitation while its pairing is being stored completes the pairing", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const peers = new SlowStore(camera.dir, camera.logger);
  const services = await servicesOf(camera, peers);
  const options = { listen: LOOPBACK, serving: [] };
  await using invitation = await Invitation.open(services, options);
  const joining = viewer.join(invitation.line);
  await within(peers.asked.promise, "the pairing is being stored");
  const closing = invitation.close();
  peers.gate.resolve();
  assertEquals((await joining).id, camera.id);
  assertEquals((await invitation.paired).id, viewer.id);
  await closing;
  assertEquals((await camera.peers()).map(({ id }) => id), [viewer.id]);
});

Deno.test("closing an invitation at any moment leaves an entry only if it has resolved", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  for (let round = 0; round < 10; round++) {
    await using invitation = await camera.invite();
    using stranger = await lastStep(invitation, viewer);
    if (round % 2 === 0) await stranger.answer(204);
    const closing = invitation.close();
    stranger.socket.end();
    const outcome = await within(
      invitation.paired.then(() => "paired", () => "not paired"),
      "it is over",
    );
    await closing;
    const ids = (await camera.peers()).map(({ id }) => id);
    assertEquals(ids, outcome === "paired" ? [viewer.id] : [], `round ${round}`);
    if (round % 2 === 0) assertEquals(outcome, "paired");
    await camera.device.forget(viewer.id);
  }
});
