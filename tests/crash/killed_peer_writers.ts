/** Kills processes that write the peers of devices to the disk, at random moments. */

import { PeerStore } from "@degu/internal/device/peers/peer_store.ts";
import { authorityOf, openDevice, record, TestDevices } from "@degu/testing/device_pairs.ts";
import { listNames } from "@degu/testing/directories.ts";
import { killAtRandom, makeProgramCommand } from "@degu/testing/processes.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { stateAfter } from "../programs/peer_writer.ts";

/**
 * The number of devices whose peers a process changes at the same time. A kill interrupts all of
 * these changes.
 */
const DEVICES = 5;
/** Longer than a writer needs for its first changes, so that a kill can interrupt any change. */
const MOST_MILLISECONDS = 40;

/**
 * Interrupts this many changes of a device's peers by killing the writer. After each kill, checks
 * that the peers are in the state before or after the change.
 */
export async function killPeerWriters(cuts: number): Promise<void> {
  await using devices = await TestDevices.create();
  const [firstPeer, secondPeer] = [await devices.open("one"), await devices.open("two")];
  const certificates = await Promise.all(
    [firstPeer, secondPeer].map(async ({ dir }) => (await authorityOf(dir)).ca),
  );
  await using open = new AsyncDisposableStack();
  const writers = [];
  for (let i = 0; i < DEVICES; i++) {
    const camera = open.use(
      await openDevice(devices.makePath(`camera-${i}`), "camera", {
        name: "camera",
        logger: new RecordingLogger(),
      }),
    );
    await record(camera, firstPeer, { peerName: "n-0" });
    writers.push({ camera, last: 0 });
  }
  const { dir } = devices;
  const flags = [`--allow-read=${dir}`, `--allow-write=${dir}`, "--allow-sys=uid"];
  const kills = Math.ceil(cuts / DEVICES);
  for (let kill = 0; kill < kills; kill++) {
    const dirs = writers.flatMap(({ camera, last }) => [camera.dir, `${last}`]);
    const command = makeProgramCommand("peer_writer.ts", {
      flags,
      args: [...certificates, ...dirs],
    });
    const { stdout, stderr } = await killAtRandom(command, MOST_MILLISECONDS, [kill, kills]);
    assertEquals(stderr, "");
    for (const each of writers) {
      const { camera: { dir }, last } = each;
      const [line = `${last}`] = stdout.split("\n").filter((line) => line.endsWith(dir)).slice(-1);
      const reported = parseInt(line);
      const logger = new RecordingLogger();
      const store = new PeerStore(dir, logger);
      await store.refresh();
      const [nameOf, portOf] = [firstPeer, secondPeer].map(({ id }) =>
        store.current.find((p) => p.id === id)
      );
      const state = {
        name: nameOf!.name,
        port: portOf?.addresses.map(([, port]) => port as number)[0] ?? null,
      };
      const isBefore = Deno.inspect(state) === Deno.inspect(stateAfter(reported));
      if (!isBefore) assertEquals(state, stateAfter(reported + 1));
      assertEquals(logger.lines, []);
      each.last = isBefore ? reported : reported + 1;
    }
  }
  const changes = writers.reduce((sum, { last }) => sum + last, 0);
  assert(changes >= kills, `only ${changes} changes`);
  for (const { camera } of writers) {
    // The next change removes an unfinished file.
    await camera.rename(firstPeer.id, "one");
    const names = await listNames(join(camera.dir, "peers"));
    assertEquals(names.filter((name) => name.startsWith(".")), []);
  }
}
