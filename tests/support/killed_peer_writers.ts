/** The peers on disk, whose writer is killed at any moment. */

import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { Device } from "@degu/degu/device";
import { authorityOf, record, TestDevices } from "./device_pairs.ts";
import { entries } from "./directories.ts";
import { inLanes, killAtRandom } from "./processes.ts";
import { programCommand } from "./programs.ts";
import { stateAfter } from "./programs/peer_writer.ts";
import { RecordingLogger } from "./serving.ts";

/** Longer than a writer needs for its first changes, so that it is killed in the midst of any. */
const MOST_MILLISECONDS = 12;

/**
 * Kills the writer of a device's peers so many times, and checks each time that the peers are as before a
 * change or as after it.
 */
export function killPeerWriters(kills: number): Promise<void> {
  return inLanes(2, kills, killWriters);
}

async function killWriters(count: number): Promise<void> {
  await using devices = await TestDevices.create();
  const camera = await devices.open("camera");
  const [one, two] = [await devices.open("one"), await devices.open("two")];
  await record(camera, one, { peerName: "n-0" });
  const certificates = await Promise.all(
    [one, two].map(async ({ dir }) => (await authorityOf(dir)).certificate),
  );
  const flags = [`--allow-read=${camera.dir}`, `--allow-write=${camera.dir}`, "--allow-sys=uid"];
  let last = 0;
  for (let kills = 0; kills < count; kills++) {
    const args = [camera.dir, `${last}`, ...certificates];
    const command = programCommand("peer_writer.ts", { flags, args });
    const { stdout, stderr } = await killAtRandom(command, MOST_MILLISECONDS, [kills, count]);
    assertEquals(stderr, "");
    const reported = Number(stdout.split("\n").at(-2));
    const logger = new RecordingLogger();
    await using device = await Device.open(camera.dir, { logger });
    const state = {
      name: (await device.peer(one.id))!.name,
      port: (await device.peer(two.id))?.addresses.map(([, port]) => port as number)[0] ?? null,
    };
    const isBefore = Deno.inspect(state) === Deno.inspect(stateAfter(reported));
    if (!isBefore) assertEquals(state, stateAfter(reported + 1));
    assertEquals(logger.lines, []);
    last = isBefore ? reported : reported + 1;
  }
  assert(last > count, `only ${last} changes`);
  // What was cut is removed with the next change.
  await camera.rename(one.id, "one");
  const names = await entries(join(camera.dir, "peers"));
  assertEquals(names.filter((name) => name.startsWith(".")), []);
}
