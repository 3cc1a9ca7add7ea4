/**
 * A device that serves a share and an inbox, and one that moves files, by the commands of the program.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { type Address, parseAddress } from "@degu/degu/base";
import type { Device } from "@degu/degu/device";
import {
  type AgentEnd,
  type HereOptions,
  runAgentHere,
  type RunningAgent,
  spawnAgent,
  startAgentHere,
} from "./agents.ts";
import { record, TestDevices } from "./device_pairs.ts";
import { tempDir } from "./directories.ts";
import { listenAgain, unusedPort } from "./ports.ts";

/** Two devices that are paired, and the directories of both. */
export class AgentFiles implements AsyncDisposable {
  /** What the camera shares, and where it takes files. */
  readonly share: string;
  readonly inbox: string;
  /** The directory of the viewer, which moves files. */
  readonly here: string;
  readonly #devices: TestDevices;
  readonly #stack: AsyncDisposableStack;
  readonly #camera: Device;
  readonly #viewer: Device;
  #address: Address | null = null;
  #server: RunningAgent | null = null;

  private constructor(
    stack: AsyncDisposableStack,
    devices: TestDevices,
    [camera, viewer]: readonly [Device, Device],
    dir: string,
  ) {
    this.#stack = stack;
    this.#devices = devices;
    this.#camera = camera;
    this.#viewer = viewer;
    [this.share, this.inbox, this.here] = [`${dir}/share`, `${dir}/inbox`, `${dir}/here`];
  }

  /** Pairs two devices, and begins to serve. */
  static async start(): Promise<AgentFiles> {
    const stack = new AsyncDisposableStack();
    const { path } = stack.use(await tempDir());
    const devices = stack.use(await TestDevices.create());
    const pair = [await devices.open("camera"), await devices.open("viewer")] as const;
    await record(pair[0], pair[1]);
    const files = new AgentFiles(stack, devices, pair, path);
    for (const dir of [files.share, files.inbox, files.here]) await Deno.mkdir(dir);
    await files.serve();
    return files;
  }

  /** Begins to serve, at the same address as before. */
  async serve(...options: string[]): Promise<void> {
    await this.kill();
    const port = this.#address?.[1] ?? await unusedPort();
    const shared = options.length > 0 ? options : ["--share", this.share, "--inbox", this.inbox];
    const home = this.#devices.path("camera");
    const args = ["--home", home, "serve", "--json", ...shared, "--listen", `127.0.0.1:${port}`];
    const line = await listenAgain(async () => {
      this.#server = startAgentHere(args);
      try {
        return await this.#server.line();
      } catch (error) {
        await this.kill();
        throw String(error).includes("is in use") ? new Deno.errors.AddrInUse() : error;
      }
    });
    this.#address = parseAddress(JSON.parse(line).addresses[0]);
    await record(this.#viewer, this.#camera, { addresses: [this.#address] });
  }

  /** The directory of the viewer's device. */
  get home(): string {
    return this.#devices.path("viewer");
  }

  /** Ends what serves. */
  async kill(): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    this.#server = null;
  }

  /** Where the camera serves. */
  get address(): Address {
    if (this.#address === null) throw new Error("it has never served");
    return this.#address;
  }

  /** Begins to run the program of the viewer, in this process. */
  start(args: readonly string[], options: HereOptions = {}): RunningAgent {
    return startAgentHere(["--home", this.home, ...args], options);
  }

  /**
   * Begins to run it in a process of its own, by way of a command that runs the command that is its arguments; it may use its
   * home, and the directory `here`.
   */
  spawnThrough(through: readonly string[], ...args: string[]): RunningAgent {
    const paths = `${this.home},${this.here}`;
    const files = [`--allow-read=${paths}`, `--allow-write=${paths}`];
    const flags = ["--allow-net=127.0.0.1", ...files, "--allow-sys=uid"];
    return spawnAgent(["--home", this.home, ...args], { flags, through });
  }

  /** Runs the program of the viewer to its end, in this process. */
  async run(...args: string[]): Promise<AgentEnd> {
    return await runAgentHere(["--home", this.home, ...args]);
  }

  /** Runs it, and fails the test where it does not succeed. */
  async succeed(...args: string[]): Promise<AgentEnd> {
    const end = await this.run(...args);
    assertEquals(end.code, 0, `degu ${args.join(" ")}: ${end.stderr}`);
    return end;
  }

  /** Forgets the viewer, at the camera. */
  async forgetViewer(): Promise<void> {
    await this.#camera.forget("viewer");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.#stack.disposeAsync();
  }
}

/** The objects that a program has printed with --json. */
export function objectsOf({ stdout }: AgentEnd): Record<string, unknown>[] {
  return stdout.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
}

/** The texts of all files below a directory, by path; `null` for a directory. */
export async function treeOf(root: string): Promise<Record<string, string | null>> {
  const tree: Record<string, string | null> = {};
  const visit = async (prefix: string) => {
    for await (const { name, isDirectory } of Deno.readDir(`${root}/${prefix}`)) {
      if (name === ".degu-files") continue;
      tree[prefix + name] = isDirectory
        ? null
        : await Deno.readTextFile(`${root}/${prefix}${name}`);
      if (isDirectory) await visit(`${prefix}${name}/`);
    }
  };
  await visit("");
  return Object.fromEntries(Object.entries(tree).sort(([a], [b]) => a < b ? -1 : 1));
}

/** Makes files and, where the text is `null`, directories below a directory. */
export async function makeTreeAt(
  root: string,
  tree: Readonly<Record<string, string | null>>,
): Promise<void> {
  for (const [path, text] of Object.entries(tree)) {
    const parent = `${root}/${path}`.replace(/\/[^/]*$/, "");
    await Deno.mkdir(text === null ? `${root}/${path}` : parent, { recursive: true });
    if (text !== null) await Deno.writeTextFile(`${root}/${path}`, text);
  }
}

/** Resolves once a file in a directory fits. */
export async function untilFile(
  dir: string,
  fits: (name: string, size: number) => boolean,
): Promise<void> {
  using watcher = Deno.watchFs(dir, { recursive: true });
  const isThere = async (path: string): Promise<boolean> => {
    for await (const { name, isFile, isDirectory } of Deno.readDir(path)) {
      const info = await Deno.stat(`${path}/${name}`).catch(() => null);
      if (isFile && info !== null && fits(name, info.size)) return true;
      if (isDirectory && await isThere(`${path}/${name}`)) return true;
    }
    return false;
  };
  if (await isThere(dir)) return;
  for await (const _event of watcher) if (await isThere(dir)) return;
}
