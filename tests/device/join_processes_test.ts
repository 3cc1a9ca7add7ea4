/** Devices that are killed during a pairing, and the permissions that pairing needs. */
import { assert, assertEquals } from "@std/assert";
import {
  addressOf,
  introductionOf,
  makeDevices,
  type PairingDevice,
  Stranger,
} from "@degu/testing/pairing.ts";
import { answerOf, startInviter, VALUE } from "@degu/testing/pairing_inviter.ts";
import { Shown } from "@degu/testing/processes.ts";
import { programCommand } from "@degu/testing/programs.ts";
import { within } from "@degu/testing/raw_peer.ts";

/** Starts a process that invites, or joins, as the device in a directory. */
function start({ dir }: PairingDevice, ...args: string[]): Deno.ChildProcess {
  // Without --allow-sys=networkInterfaces, as it is told where to listen.
  const paths = [`--allow-read=${dir}`, `--allow-write=${dir}`];
  const flags = ["--allow-net=127.0.0.1,0.0.0.0", "--allow-sys=uid", ...paths];
  return programCommand("pairing_device.ts", { flags, args: [dir, ...args] }).spawn();
}

/** Kills a process, and waits until it has ended; it may have ended already. */
async function kill(child: Deno.ChildProcess): Promise<void> {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has ended.
  }
  await child.status;
}

/** Starts a process that invites as a device, or serves too; what it prints, and its line, which is the first. */
async function startInviting(device: PairingDevice, how: "invite" | "serve" = "invite") {
  const child = start(device, how);
  const errors = child.stderr.text();
  const reader = ReadableStream.from(Shown.from(child.stdout).lines()).getReader();
  const next = async (what: string) => (await within(reader.read(), what, 30)).value;
  return { child, errors, next, line: await next("a line") ?? "" };
}

Deno.test("two processes pair with exactly the permissions that they need", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const { child, errors, next, line } = await startInviting(camera);
  const { success, stdout, stderr } = await within(
    start(viewer, "join", line).output(),
    "it joins",
    30,
  );
  assert(success, new TextDecoder().decode(stderr));
  assertEquals(new TextDecoder().decode(stdout), "camera\n");
  assertEquals(await next("a name"), "viewer");
  assert((await child.status).success, await errors);
  assertEquals([await errors, await next("its end")], ["", undefined]);
  assertEquals((await camera.peers()).map(({ id }) => id), [viewer.id]);
  assertEquals((await viewer.peers()).map(({ id }) => id), [camera.id]);
});

Deno.test("a server on a wildcard address is not announced without permission to list the interfaces", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const { child, errors, next, line } = await startInviting(camera, "serve");
  assertEquals((await viewer.join(line)).addresses, []);
  assertEquals(await next("a name"), "viewer");
  assert((await child.status).success, await errors);
  await next("its end");
  assert((await errors).includes("--allow-sys=networkInterfaces"), await errors);
});

Deno.test("an inviter that is killed between the steps has stored nothing", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const { child, errors, next, line } = await startInviting(camera);
  using stranger = await Stranger.connect(addressOf({ line }));
  stranger.post("/secret", introductionOf(line, viewer));
  await stranger.answer(200);
  await kill(child);
  await Promise.all([errors, next("its end")]);
  assertEquals(await camera.written(), []);
});

Deno.test("a joiner that is killed between the steps has stored nothing", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const between = Promise.withResolvers<void>();
  await using inviter = await startInviter(camera, (_request, _socket, count) => {
    if (count === 0) return answerOf({ value: VALUE, name: "camera", addresses: [] });
    between.resolve();
    return null;
  });
  const joining = start(viewer, "join", inviter.line);
  await within(between.promise, "the second step", 30);
  await kill(joining);
  await Promise.all([joining.stdout.cancel(), joining.stderr.cancel()]);
  assertEquals(await viewer.written(), []);
});

Deno.test("a joiner that is killed at any time has an entry only if the inviter has one", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const outcomes = new Set<string>();
  for (let round = 0; round < 12; round++) {
    await using invitation = await camera.invite();
    const joining = start(viewer, "join", invitation.line);
    const reader = joining.stdout.getReader();
    // Some at a moment of their own, some as soon as they are done.
    const until: Promise<unknown> = round % 4 === 3 ? reader.read() : pause(100 + round * 30);
    await within(until, "it is time", 30);
    await kill(joining);
    await Promise.all([reader.cancel(), joining.stderr.cancel()]);
    await invitation.close();
    const atCamera = (await camera.peers()).map(({ id }) => id);
    const atViewer = (await viewer.peers()).map(({ id }) => id);
    outcomes.add(`${atCamera.length} ${atViewer.length}`);
    if (atViewer.length > 0) assertEquals([atViewer, atCamera], [[camera.id], [viewer.id]]);
    assertEquals([camera.logger.at("warn"), viewer.logger.at("warn")], [[], []]);
    await camera.device.forget(viewer.id);
    await viewer.device.forget(camera.id);
  }
  assert(outcomes.has("1 1"), [...outcomes].join(", "));
});

/** The moment at which a process is killed is not one that anybody could wait for. */
function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
