/** The peers on disk, whose writer is killed at any moment. */

import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { Device } from "@degu/degu/device";
import { authorityOf, record, TestDevices } from "./device_pairs.ts";
import { entries } from "./directories.ts";
import { stateAfter } from "./peer_writer.ts";
import { RecordingLogger } from "./serving.ts";

const AT_A_TIME = 2;
/** Longer than a writer needs for its first changes, so that it is killed in the midst of any. */
const MOST_MILLISECONDS = 12;
const WRITER = new URL("./peer_writer.ts", import.meta.url).href;

/** A writer that can be killed. */
interface Writer {
  /** Kills it some milliseconds after its first change; resolves to the number of the last that it has reported. */
  kill(milliseconds: number): Promise<number>;
}

/**
 * Kills the writer of a device's peers so many times, and checks each time that the peers are as before a
 * change or as after it.
 */
export async function killPeerWriters(kills: number): Promise<void> {
  const shares = Array.from(
    { length: AT_A_TIME },
    (_, i) => Math.floor((kills + i) / AT_A_TIME),
  );
  await Promise.all(shares.map(killWriters));
}

/** Kills so many writers of one device, one after the other. */
async function killWriters(count: number): Promise<void> {
  await using devices = await TestDevices.create();
  const camera = await devices.open("camera");
  const [one, two] = [await devices.open("one"), await devices.open("two")];
  await record(camera, one, { peerName: "n-0" });
  const certificates = await Promise.all(
    [one, two].map(async ({ dir }) => (await authorityOf(dir)).certificate),
  );
  let last = 0;
  for (let kills = 0; kills < count; kills++) {
    const writer = startWriter(camera.dir, [String(last), ...certificates]);
    const reported = await writer.kill(Math.random() * MOST_MILLISECONDS);
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

function startWriter(dir: string, args: readonly string[]): Writer {
  const flags = [`--allow-read=${dir}`, `--allow-write=${dir}`, "--allow-sys=uid"];
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      "--quiet",
      "--no-check",
      "--no-lock",
      ...flags,
      WRITER,
      dir,
      ...args,
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  return {
    async kill(milliseconds) {
      let text = "";
      let isKilled = false;
      for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) {
        text += piece;
        if (isKilled || !text.includes("\n")) continue;
        isKilled = true;
        setTimeout(() => child.kill("SIGKILL"), milliseconds);
      }
      await child.status;
      const lines = text.split("\n").slice(0, -1);
      return Number(lines.at(-1));
    },
  };
}
