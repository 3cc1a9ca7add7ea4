/**
 * Devices that run the agent as people do: processes, each in a network namespace of its own, with cables in between.
 *
 * @module
 */
import { type Address, parseAddress } from "@degu/degu/base";
import { Device } from "@degu/degu/device";
import { type AgentEnd, type RunningAgent, spawnAgent } from "./agents.ts";
import { record } from "./device_pairs.ts";
import { tempDir } from "./directories.ts";
import { THROUGH_NAMESPACE } from "./namespaces.ts";
import { importMapFlags, runProgram } from "./programs.ts";

// Devices that run the agent as people do: processes, each in a network namespace of its own,
// with cables in between. What a program has made is gone when it ends.

/** The command that runs a program where it may make namespaces: their names are files below /run. */
const THROUGH_LAB: readonly string[] = [
  ...THROUGH_NAMESPACE,
  "--mount",
  "sh",
  "-c",
  'mount -t tmpfs tmpfs /run && exec "$@"',
  "lab",
];

/** Seconds that a program may take on a busy machine; alone it takes a tenth. */
const PATIENCE = 120;

/** A test of devices in network namespaces. */
export interface LabTest<T> {
  /** What is shown to hold. */
  readonly name: string;
  /** A program in tests/support/programs, which gets a directory and prints JSON. */
  readonly program: string;
  /** Checks what it has printed. */
  check(found: T): void;
}

/** Registers a test, which is left out with a line that says why where there are no namespaces. */
export async function labTest<T>({ name, program, check }: LabTest<T>): Promise<void> {
  const why = await labObstacle();
  Deno.test({
    name: why === null ? name : `${name}: left out, no network namespace can be made here (${why})`,
    ignore: why !== null,
    fn: async () => check(JSON.parse(await runInLab(program))),
  });
}

/** Runs a program in tests/support/programs with a directory of its own, where it may make machines. */
export async function runInLab(program: string): Promise<string> {
  await using dir = await tempDir();
  const flags = [
    `--allow-run=ip,tc,python3,${Deno.execPath()}`,
    "--allow-read",
    "--allow-env",
    `--allow-write=${dir.path}`,
    "--allow-sys=uid",
    ...importMapFlags(),
  ];
  const options = { flags, args: [dir.path], through: THROUGH_LAB, patience: PATIENCE };
  return await runProgram(program, options);
}

/** Why there can be no machines here; `null` if there can. */
export async function labObstacle(): Promise<string | null> {
  const [program = "", ...args] = THROUGH_LAB;
  const script = "ip netns add probe && tc -help";
  try {
    const options = { args: [...args, "sh", "-c", script] };
    const { success, stderr } = await new Deno.Command(program, options).output();
    return success ? null : decoder.decode(stderr).trim();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const decoder = new TextDecoder();

/** Runs `ip`. */
export async function ip(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("ip", { args }).output();
  if (!success) throw new Error(`ip ${args.join(" ")}: ${decoder.decode(stderr)}`);
}

/** A machine: a network namespace and a directory, with a device in it. */
export class Machine {
  readonly name: string;
  readonly dir: string;

  private constructor(name: string, dir: string) {
    this.name = name;
    this.dir = dir;
  }

  /** Makes the namespace and the directory, and the device. */
  static async make(name: string, parent: string): Promise<Machine> {
    const machine = await Machine.makeEmpty(name, parent);
    await using _device = await Device.open(`${machine.dir}/home`, { name });
    return machine;
  }

  /** Makes the namespace and the directory. */
  static async makeEmpty(name: string, parent: string): Promise<Machine> {
    const machine = new Machine(name, `${parent}/${name}`);
    await Deno.mkdir(machine.dir);
    await ip("netns", "add", name);
    await machine.ip("link", "set", "lo", "up");
    return machine;
  }

  /** Runs `ip` in the namespace. */
  async ip(...args: string[]): Promise<void> {
    await ip("-netns", this.name, ...args);
  }

  /** Runs the agent to its end. */
  async run(args: readonly string[], stdin = ""): Promise<AgentEnd> {
    await using running = this.start(args, stdin);
    return await running.ended();
  }

  /** Runs the agent to its end, and fails if it does. */
  async succeed(args: readonly string[], stdin = ""): Promise<AgentEnd> {
    const ended = await this.run(args, stdin);
    if (ended.code === 0) return ended;
    throw new Error(`${this.name}: degu ${args.join(" ")}: exit ${ended.code}: ${ended.stderr}`);
  }

  /** Starts the agent. */
  start(args: readonly string[], stdin = ""): RunningAgent {
    const through = ["ip", "netns", "exec", this.name];
    const all = ["--home", `${this.dir}/home`, ...args];
    return spawnAgent(all, { flags: flagsOf(args, this.dir), stdin, through });
  }
}

/** The permissions that docs/agent.md has for a command. */
function flagsOf(args: readonly string[], dir: string): string[] {
  const command = args.find((arg) => !arg.startsWith("-")) ?? "";
  const disk = [`--allow-read=${dir}`, `--allow-write=${dir}`];
  if (["init", "id", "peers", "forget"].includes(command)) return [...disk, "--allow-sys=uid"];
  if (command !== "serve") return [...disk, "--allow-net", "--allow-sys=uid,networkInterfaces"];
  const listen = args.includes("--listen") ? args[args.indexOf("--listen") + 1] : "[::]:7443";
  return args.includes("--announce")
    ? [
      ...disk,
      `--allow-net=${listen},224.0.0.251:5353,[ff02::fb]:5353`,
      "--allow-sys=uid,networkInterfaces",
    ]
    : [...disk, `--allow-net=${listen}`, "--allow-sys=uid"];
}

/** Joins two machines with a cable; each end is named after the machine at the other. */
export async function cable(
  left: Machine,
  right: Machine,
  addresses: [string, string],
): Promise<void> {
  const [to, from] = [`to-${right.name}`, `to-${left.name}`];
  await ip(
    ...["link", "add", "name", to, "netns", left.name, "type", "veth"],
    ...["peer", "name", from, "netns", right.name],
  );
  for (
    const [machine, end, address] of [[left, to, addresses[0]], [
      right,
      from,
      addresses[1],
    ]] as const
  ) {
    // No other address than the given one.
    await machine.ip("link", "set", "dev", end, "addrgenmode", "none");
    await addAddress(machine, end, address);
    await machine.ip("link", "set", "dev", end, "up");
  }
}

/** Adds an address, which is usable at once: nobody else is asked for it. */
async function addAddress(machine: Machine, device: string, address: string): Promise<void> {
  const lax = address.includes(":") ? ["nodad"] : [];
  await machine.ip("address", "add", address, "dev", device, ...lax);
}

/** Writes two machines down as paired, without any command; the second one knows where the first one serves. */
export async function acquaint(serving: Machine, other: Machine, ip: string): Promise<void> {
  await using one = await Device.open(`${serving.dir}/home`);
  await using two = await Device.open(`${other.dir}/home`);
  const address: Address = parseAddress(ip.includes(":") ? `[${ip}]:7443` : `${ip}:7443`);
  await record(one, two);
  await record(two, one, { addresses: [address] });
}

/** Pairs two machines: one invites, the other one joins. */
export async function pair(inviter: Machine, joiner: Machine): Promise<void> {
  await using inviting = inviter.start(["invite"]);
  await joiner.succeed(["join", "-"], await inviting.line("degu:"));
  const { code, stderr } = await inviting.ended();
  if (code !== 0) throw new Error(`degu invite: exit ${code}: ${stderr}`);
}

/** Makes what a machine sends slow, so that a transfer is still under way when something happens; `rate` as in tc(8). */
export async function slowDown(machine: Machine, device: string, rate: string): Promise<void> {
  const shaper = ["dev", device, "root", "tbf"];
  const limits = ["rate", rate, "burst", "512kb", "latency", "100ms"];
  const args = ["-netns", machine.name, "qdisc", "add", ...shaper, ...limits];
  const { success, stderr } = await new Deno.Command("tc", { args }).output();
  if (!success) throw new Error(`tc ${args.join(" ")}: ${decoder.decode(stderr)}`);
}

/** Joins machines by a switch, each with an address. */
export async function network(machines: readonly (readonly [Machine, string])[]): Promise<void> {
  await ip("link", "add", "name", "switch", "type", "bridge");
  await ip("link", "set", "dev", "switch", "up");
  for (const [machine, address] of machines) {
    const port = `port-${machine.name}`;
    await ip(
      ...["link", "add", "name", "lan", "netns", machine.name, "type", "veth"],
      "peer",
      "name",
      port,
    );
    await ip("link", "set", "dev", port, "master", "switch");
    await ip("link", "set", "dev", port, "up");
    await machine.ip("link", "set", "dev", "lan", "addrgenmode", "none");
    await addAddress(machine, "lan", address);
    await machine.ip("link", "set", "dev", "lan", "up");
  }
}

// Two machines on a slow cable, and files that are moved between them.

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
