/** A device for one command, in a private temporary directory that goes with it. */

import { Device } from "../../device.ts";
import type { Context } from "./command.ts";
import { defaultName, loggerOf } from "./own_device.ts";

export class TemporaryDevice implements AsyncDisposable {
  readonly device: Device;
  readonly #dir: string;

  private constructor(device: Device, dir: string) {
    this.device = device;
    this.#dir = dir;
  }

  /** Makes the device with the name of this machine. */
  static async open(context: Context): Promise<TemporaryDevice> {
    const name = defaultName();
    const dir = await Deno.makeTempDir({ prefix: "degu-once-" });
    try {
      return new TemporaryDevice(await Device.open(dir, { name, logger: loggerOf(context) }), dir);
    } catch (error) {
      await Deno.remove(dir, { recursive: true });
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.device[Symbol.asyncDispose]();
    await Deno.remove(this.#dir, { recursive: true });
  }
}
