/** Devices that are killed during a pairing, and the permissions that pairing needs. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  addressOf,
  introductionOf,
  makeDevices,
  type PairingDevice,
  Stranger,
} from "@degu/testing/pairing.ts";
import { answerOf, startInviter, VALUE } from "@degu/testing/pairing_inviter.ts";
import { killAtRandom, RunningProcess } from "@degu/testing/processes.ts";
import { programCommand } from "@degu/testing/programs.ts";
import { within } from "@degu/testing/raw_peer.ts";

type Part = [device: PairingDevice, command: "invite" | "join" | "serve", line?: string];

/** A process that invites, joins, or serves and invites, as the devices in these directories. */
function commandOf(...parts: Part[]): Deno.Command {
  // Without --allow-sys=networkInterfaces, as it is told where to listen.
  const dirs = parts.map(([{ dir }]) => dir);
  const paths = [`--allow-read=${dirs}`, `--allow-write=${dirs}`];
  const flags = ["--allow-net=127.0.0.1,0.0.0.0", "--allow-sys=uid", ...paths];
  const args = parts.flatMap(([{ dir }, command, line = ""]) => [dir, command, line]);
  return programCommand("pairing_device.ts", { flags, args });
}

const start = (...part: Part) => new RunningProcess(commandOf(part).spawn());

/** The line of a process that invites, which is printed first. */
const lineOf = async (inviting: RunningProcess) => (await inviting.printed(/^.*\n/)).trimEnd();

Deno.test("two processes pair with exactly the permissions that they need", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using inviting = start(camera, "invite");
  const line = await lineOf(inviting);
  await using joining = start(viewer, "join", line);
  assertEquals(await joining.ended(30), { success: true, stdout: "joining\ncamera\n", stderr: "" });
  assertEquals(await inviting.ended(30), {
    success: true,
    stdout: `${line}\nviewer\n`,
    stderr: "",
  });
  assertEquals((await camera.peers()).map(({ id }) => id), [viewer.id]);
  assertEquals((await viewer.peers()).map(({ id }) => id), [camera.id]);
});

Deno.test("a server on a wildcard address is not announced without permission to list the interfaces", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using inviting = start(camera, "serve");
  const line = await lineOf(inviting);
  assertEquals((await viewer.join(line)).addresses, []);
  const { success, stdout, stderr } = await inviting.ended();
  assertEquals([success, stdout], [true, `${line}\nviewer\n`], stderr);
  assertStringIncludes(stderr, "--allow-sys=networkInterfaces");
});

Deno.test("an inviter that is killed between the steps has stored nothing", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using inviting = start(camera, "invite");
  const line = await lineOf(inviting);
  using stranger = await Stranger.connect(addressOf({ line }));
  stranger.post("/secret", introductionOf(line, viewer));
  await stranger.answer(200);
  inviting.kill();
  await inviting.ended();
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
  await using joining = start(viewer, "join", inviter.line);
  await within(between.promise, "the second step", 30);
  joining.kill();
  await joining.ended();
  assertEquals(await viewer.written(), []);
});

/** Milliseconds: longer than a pairing takes. */
const MOST_MILLISECONDS = 150;

Deno.test("a joiner that is killed at any time has an entry only if the inviter has one", async () => {
  await using open = new AsyncDisposableStack();
  const pairs: Awaited<ReturnType<typeof makeDevices<"camera" | "viewer">>>[] = [];
  // A process joins for several devices, so a kill cuts several pairings.
  for (let i = 0; i < 3; i++) pairs.push(open.use(await makeDevices("camera", "viewer")));
  const outcomes = new Set<string>();
  const turns = 4;
  for (let turn = 0; turn < turns; turn++) {
    const invitations = await Promise.all(pairs.map(({ camera }) => camera.invite()));
    const command = commandOf(
      ...pairs.map(({ viewer }, i): Part => [viewer, "join", invitations[i]!.line]),
    );
    if (turn < turns - 1) await killAtRandom(command, MOST_MILLISECONDS, [turn, turns - 1]);
    else {
      // As soon as one of them is done.
      await using joining = new RunningProcess(command.spawn());
      await joining.printed(/camera\n/);
    }
    for (const [i, { camera, viewer }] of pairs.entries()) {
      await invitations[i]!.close();
      const atCamera = (await camera.peers()).map(({ id }) => id);
      const atViewer = (await viewer.peers()).map(({ id }) => id);
      outcomes.add(`${atCamera.length} ${atViewer.length}`);
      if (atViewer.length > 0) assertEquals([atViewer, atCamera], [[camera.id], [viewer.id]]);
      assertEquals([camera.logger.at("warn"), viewer.logger.at("warn")], [[], []]);
      await camera.device.forget(viewer.id);
      await viewer.device.forget(camera.id);
    }
  }
  assert(outcomes.has("1 1"), [...outcomes].join(", "));
});
