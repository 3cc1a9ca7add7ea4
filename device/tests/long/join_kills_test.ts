/** Kills devices at random moments of a pairing. */
import { forgetIfStored } from "@degu/testing/device_pairs.ts";
import { makeProgramCommand, RunningProcess } from "@degu/testing/processes.ts";
import { assert, assertEquals } from "@std/assert";
import { makeDevices } from "../pairing.ts";

function startJoining(dir: string, line: string): RunningProcess {
  const pathFlags = [`--allow-read=${dir}`, `--allow-write=${dir}`];
  const flags = ["--allow-net=127.0.0.1", "--allow-sys=uid", ...pathFlags];
  const command = makeProgramCommand("pairing_device.ts", { flags, args: [dir, "join", line] });
  return new RunningProcess(command.spawn());
}

Deno.test("a joiner that is killed at any time has stored the inviter only if the inviter has stored it", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const outcomes = new Set<string>();
  for (let round = 0; round < 4; round++) {
    await using invitation = await camera.invite();
    await using joining = startJoining(viewer.dir, invitation.line);
    // Kill some processes at a fixed time, and some as soon as they are done.
    await (round % 4 === 3 ? joining.waitForStdout(/\n/) : pause(100 + round * 90));
    joining.kill();
    await joining.waitForEnd();
    await invitation.close();
    const atCamera = (await camera.peers()).map(({ id }) => id);
    const atViewer = (await viewer.peers()).map(({ id }) => id);
    outcomes.add(`${atCamera.length} ${atViewer.length}`);
    if (atViewer.length > 0) assertEquals([atViewer, atCamera], [[camera.id], [viewer.id]]);
    assertEquals([camera.logger.messagesOf("warn"), viewer.logger.messagesOf("warn")], [[], []]);
    await forgetIfStored(camera.device, viewer.id);
    await forgetIfStored(viewer.device, camera.id);
  }
  assert(outcomes.has("1 1"), [...outcomes].join(", "));
});

/** A kill at a random moment needs a real pause. */
function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
