/** Joining a device by the line of its invitation. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { DeguError } from "@degu/degu/base";
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
import { unusedPort } from "@degu/testing/ports.ts";
import { within } from "@degu/testing/raw_peer.ts";

Deno.test("a line that was broken by white space still pairs", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using invitation = await camera.invite();
  const broken = ` ${invitation.line.replaceAll(/(.{40})/g, "$1\r\n  ")}\n`;
  assertEquals((await viewer.join(broken)).id, camera.id);
  await invitation.paired;
});

Deno.test("exactly one of two simultaneous joiners pairs, and the other gets an error", async () => {
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

Deno.test("the inviter decides about a line that is expired by the joiner's clock", async () => {
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

Deno.test("the two devices can exchange roles", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await pair(camera, viewer);
  await pair(viewer, camera);
  assertEquals((await camera.peers()).map(({ name }) => name), ["viewer"]);
  assertEquals((await viewer.peers()).map(({ name }) => name), ["camera"]);
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

Deno.test("joining rejects with the reason of its signal, and stores nothing", async () => {
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

/** A port that closes the first connections during their handshake, and relays the others. */
function startCutter(to: readonly [string, number], cuts: number) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const counter = { count: 0 };
  const relay = async (conn: Deno.Conn) => {
    const above = await Deno.connect({ hostname: to[0], port: to[1] });
    await Promise.allSettled([
      conn.readable.pipeTo(above.writable),
      above.readable.pipeTo(conn.writable),
    ]);
  };
  const running: Promise<void>[] = [];
  const done = (async () => {
    for await (const conn of listener) {
      if (counter.count++ < cuts) conn.close();
      else running.push(relay(conn));
    }
    await Promise.all(running);
  })();
  const { port } = listener.addr as Deno.NetAddr;
  const dispose = async () => {
    listener.close();
    await done;
  };
  return Object.assign(counter, { port, [Symbol.asyncDispose]: dispose });
}

Deno.test("a handshake that breaks off is tried ten times, and its error is not that of a used line", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using invitation = await camera.invite();
  {
    await using cutter = startCutter(addressOf(invitation), Infinity);
    const line = lineWith(invitation.line, [["127.0.0.1", cutter.port]]);
    const error = await assertRejects(() => viewer.join(line), DeguError, "overloaded");
    assert(!error.message.startsWith("this line is not open"), error.message);
    assertEquals(cutter.count, 10);
  }
  await using cutter = startCutter(addressOf(invitation), 4);
  const line = lineWith(invitation.line, [["127.0.0.1", cutter.port]]);
  const [peer] = await within(Promise.all([viewer.join(line), invitation.paired]), "paired", 20);
  assertEquals([peer.id, cutter.count], [camera.id, 6]);
});

Deno.test("the signal aborts joining at once between two attempts", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using invitation = await camera.invite();
  await using cutter = startCutter(addressOf(invitation), Infinity);
  const line = lineWith(invitation.line, [["127.0.0.1", cutter.port]]);
  const controller = new AbortController();
  const reason = new Error("enough");
  const ended = assertRejects(() => viewer.join(line, { signal: controller.signal }));
  while (cutter.count < 5) await new Promise((resolve) => setTimeout(resolve));
  controller.abort(reason);
  assertEquals(await within(ended, "it ends"), reason);
  assertEquals(await viewer.written(), []);
});

Deno.test("pairing succeeds even if one address of the line is dead and another an impostor's", async () => {
  await using devices = await makeDevices("camera", "viewer", "impostor");
  const { camera, viewer, impostor } = devices;
  await using invitation = await camera.invite();
  await using other = await impostor.invite();
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const line = lineWith(invitation.line, [
    ["127.0.0.1", await unusedPort()],
    addressOf(other),
    ["127.0.0.1", (silent.addr as Deno.NetAddr).port],
    addressOf(invitation),
  ]);
  const peer = await viewer.join(line);
  assertEquals(peer.id, camera.id);
  await invitation.paired;
  assertEquals(await impostor.written(), []);
});

Deno.test("a stolen line that was already used does not look like success", async () => {
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
