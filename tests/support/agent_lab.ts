/**
 * Devices that run the agent as people do: processes, each in a network namespace of its own, with cables in
 * between. For programs that are run through {@linkcode THROUGH_LAB}; what they made is gone when they end.
 *
 * @module
 */

import { type AgentEnd, type RunningAgent, spawnAgent } from "./agents.ts";
import { THROUGH_NAMESPACE } from "./network_namespace.ts";

/** The command that runs a program where it may make namespaces: names of namespaces are files below /run. */
export const THROUGH_LAB: readonly string[] = [
  ...THROUGH_NAMESPACE,
  "--mount",
  "sh",
  "-c",
  'mount -t tmpfs tmpfs /run && exec "$@"',
  "lab",
];

/** The flags that such a program needs besides its directory. */
export const LAB_FLAGS: readonly string[] = [
  "--allow-run=ip,tc,deno",
  "--allow-read",
  "--allow-env",
];

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

  /** Makes the namespace and the directory, and the device with `degu init`. */
  static async make(name: string, parent: string): Promise<Machine> {
    const machine = new Machine(name, `${parent}/${name}`);
    await Deno.mkdir(machine.dir);
    await ip("netns", "add", name);
    await machine.ip("link", "set", "lo", "up");
    await machine.succeed(["init", "--name", name]);
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
  const [command = ""] = args;
  const disk = [`--allow-read=${dir}`, `--allow-write=${dir}`];
  return ["init", "peers", "forget"].includes(command)
    ? [...disk, "--allow-sys=uid"]
    : [...disk, "--allow-net", "--allow-sys=networkInterfaces,uid"];
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
    // No other address than the given one, which is usable at once where nobody else is asked for it.
    await machine.ip("link", "set", "dev", end, "addrgenmode", "none");
    const lax = address.includes(":") ? ["nodad"] : [];
    await machine.ip("address", "add", address, "dev", end, ...lax);
    await machine.ip("link", "set", "dev", end, "up");
  }
}

/** Pairs two machines: one invites, the other one joins. */
export async function pair(inviter: Machine, joiner: Machine): Promise<void> {
  await using inviting = inviter.start(["invite"]);
  await joiner.succeed(["join", "-"], await inviting.line("degu:"));
  const { code, stderr } = await inviting.ended();
  if (code !== 0) throw new Error(`degu invite: exit ${code}: ${stderr}`);
}

/** Makes the cable slow, so that a transfer is still under way when something happens; `rate` as in tc(8). */
export async function slowDown(machine: Machine, other: Machine, rate: string): Promise<void> {
  const device = ["dev", `to-${other.name}`, "root", "tbf"];
  const limits = ["rate", rate, "burst", "64kb", "latency", "100ms"];
  const args = ["-netns", machine.name, "qdisc", "add", ...device, ...limits];
  const { success, stderr } = await new Deno.Command("tc", { args }).output();
  if (!success) throw new Error(`tc ${args.join(" ")}: ${decoder.decode(stderr)}`);
}

/** Waits until a condition holds, looking often. */
export async function until(condition: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!await condition()) {
    if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`);
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
