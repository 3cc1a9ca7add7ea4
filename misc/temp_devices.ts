/** Paired devices that are gone after a test. */

import { join } from "node:path";
import { checkString } from "../base/checks.ts";
import { Device } from "../kit/device/device.ts";

/**
 * Devices in a private temporary directory, each paired with each other: for tests and demos.
 * Disposing of them closes them, and removes the directory.
 *
 * @example
 * ```ts
 * import { reply } from "@degu/degu";
 * import { peerOf } from "@degu/degu/device";
 * import { TempDevices } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * await using temp = await TempDevices.create("camera", "viewer");
 * const { camera, viewer } = temp.devices;
 * await using server = await camera.serve(["127.0.0.1", 0], (_request, session) => {
 *   return reply(200, `hello, ${peerOf(session).name}`);
 * });
 * const client = await viewer.client("camera", { addresses: [server.address] });
 * const { body } = await client.request("GET", "/");
 * assertEquals(await body?.text(), "hello, viewer");
 * ```
 */
export class TempDevices<Name extends string> implements AsyncDisposable {
  /** The devices by their names. */
  readonly devices: Readonly<Record<Name, Device>>;
  readonly #disposal: AsyncDisposable;

  private constructor(devices: Readonly<Record<Name, Device>>, disposal: AsyncDisposable) {
    this.devices = devices;
    this.#disposal = disposal;
  }

  /**
   * Makes devices, and pairs them over 127.0.0.1. Needs `--allow-net=127.0.0.1`, `--allow-read` and
   * `--allow-write` of the directory for temporary files, and `--allow-sys=uid`.
   *
   * @param names The names of the devices, which the others call them by.
   * @throws {TypeError} if a name is not a string.
   * @throws {RangeError} if a name is not valid, or comes twice.
   */
  static async create<Name extends string>(...names: Name[]): Promise<TempDevices<Name>> {
    for (const [i, name] of names.entries()) {
      checkString(`names[${i}]`, name);
      if (names.indexOf(name) !== i) {
        throw new RangeError(`names[${i}]: must come once; got ${name}`);
      }
    }
    await using opened = new AsyncDisposableStack();
    const dir = await Deno.makeTempDir({ prefix: "degu-" });
    opened.defer(() => Deno.remove(dir, { recursive: true }));
    const devices: Device[] = [];
    for (const [i, name] of names.entries()) {
      const device = opened.use(await Device.open(join(dir, `${i}`), { name }));
      for (const earlier of devices) await pair(device, earlier);
      devices.push(device);
    }
    const byName = Object.fromEntries(names.map((name, i) => [name, devices[i]!]));
    return new TempDevices(byName as Record<Name, Device>, opened.move());
  }

  /** Closes the devices, and removes their directory. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#disposal[Symbol.asyncDispose]();
  }
}

async function pair(inviter: Device, joiner: Device): Promise<void> {
  await using invitation = await inviter.invite({ listen: [["127.0.0.1", 0]] });
  await joiner.join(invitation.line);
}
