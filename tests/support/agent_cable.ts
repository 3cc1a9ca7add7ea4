/**
 * Two machines on a slow cable, and files that are moved between them.
 *
 * @module
 */

import { acquaint, cable, Machine, slowDown } from "./agent_lab.ts";
import type { RunningAgent } from "./agents.ts";

/** The size of each file in bytes. */
export const SIZE: number = 8 * 2 ** 20;
/** So a file takes most of a second. */
const RATE = "80mbit";
const PATIENCE_MILLISECONDS = 30_000;

/** A camera that serves, and a viewer that is paired with it. */
export class SlowCable {
  readonly camera: Machine;
  readonly viewer: Machine;
  readonly #film: Uint8Array;

  private constructor(camera: Machine, viewer: Machine, film: Uint8Array) {
    this.camera = camera;
    this.viewer = viewer;
    this.#film = film;
  }

  /** Makes the machines; the camera shares `film`, the viewer has the same as `clip`, and room in `files`. */
  static async make(dir: string): Promise<SlowCable> {
    const [camera, viewer] = await Promise.all([
      Machine.make("camera", dir),
      Machine.make("viewer", dir),
    ]);
    await cable(camera, viewer, ["fd00::1/64", "fd00::2/64"]);
    for (const path of [`${camera.dir}/share`, `${camera.dir}/inbox`, `${viewer.dir}/files`]) {
      await Deno.mkdir(path);
    }
    const film = new Uint8Array(SIZE).map((_, i) => i * 2654435761 >>> 13);
    await Deno.writeFile(`${camera.dir}/share/film`, film);
    await Deno.writeFile(`${viewer.dir}/clip`, film);
    return new SlowCable(camera, viewer, film);
  }

  /** Starts `degu serve` at the camera. */
  async serve(): Promise<RunningAgent> {
    const { dir } = this.camera;
    const serving = this.camera.start([
      "serve",
      "--share",
      `${dir}/share`,
      "--inbox",
      `${dir}/inbox`,
    ]);
    await serving.line("serving on");
    return serving;
  }

  /** Pairs the two, and makes the cable slow. */
  async pair(rate = RATE): Promise<void> {
    await acquaint(this.camera, this.viewer, "fd00::1");
    await slowDown(this.camera, "to-viewer", rate);
    await slowDown(this.viewer, "to-camera", rate);
  }

  /** Whether a file is the one that was moved, byte for byte. */
  async isWhole(path: string): Promise<boolean> {
    const found = await Deno.readFile(path);
    return found.length === SIZE && found.every((byte, i) => byte === this.#film[i]);
  }
}

/** Waits until a part of a file has arrived below a directory. */
export async function partArrives(below: string): Promise<void> {
  const wanted = await bytesBelow(below) + SIZE / 4;
  const deadline = performance.now() + PATIENCE_MILLISECONDS;
  while (await bytesBelow(below) < wanted) {
    if (performance.now() > deadline) throw new Error(`waited in vain for a part below ${below}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** How many bytes the files below a directory have, hidden ones too; 0 if it isn't there. */
export async function bytesBelow(dir: string): Promise<number> {
  let bytes = 0;
  try {
    for await (const { name, isDirectory } of Deno.readDir(dir)) {
      const path = `${dir}/${name}`;
      bytes += isDirectory ? await bytesBelow(path) : (await Deno.stat(path)).size;
    }
  } catch (error) {
    // It may be renamed meanwhile.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return bytes;
}
