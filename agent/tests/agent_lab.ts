/**
 * Machines that run the program as users do: processes in network namespaces, which switches
 * connect. A namespace disappears with the process that created it.
 */
import { parseAddress } from "@degu/degu/base";
import type { Order, Report } from "../../tests/programs/machine.ts";
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { readInstallFlags } from "./agent_documentation.ts";
import { type AgentResult, RunningAgent, spawnAgent, watch } from "@degu/testing/agents.ts";
import { findObstacle, makeDenoCommand, runOrThrow, startCommand } from "@degu/testing/commands.ts";
import { makeDevice, recordAt } from "@degu/testing/device_pairs.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { runIp, THROUGH_PROCESS_NAMESPACE } from "@degu/testing/namespaces.ts";
import {
  importMapFlags,
  makeProgramCommand,
  ProgramOutput,
  RunningProcess,
  runProgram,
} from "@degu/testing/processes.ts";
import { ignoreIf, THROUGH_TERMINAL } from "@degu/testing/terminals.ts";
import { toText } from "@std/streams";

/**
 * The command that runs another command with the permission to create named network namespaces,
 * whose names are files below /run. All processes end with the command, also if it is killed.
 */
export const THROUGH_LAB: readonly string[] = [
  ...THROUGH_PROCESS_NAMESPACE,
  "--net",
  "sh",
  "-c",
  'mount -t tmpfs tmpfs /run && exec "$@"',
  "lab",
];

/**
 * Makes a test, which is skipped on machines without namespaces.
 *
 * @param program A program in tests/programs, which gets a directory and prints JSON.
 * @param devices The machines with a device from the start.
 */
export async function makeLabTest<T>(
  name: string,
  program: string,
  devices: readonly string[],
  check: (result: T) => void,
): Promise<Deno.TestDefinition> {
  const fn = async () => check(JSON.parse(await runInLab(program, devices)));
  return { name, ...ignoreIf(await findLabObstacle()), fn };
}

/** Runs a program in tests/programs with a new directory and the permission to make machines. */
export async function runInLab(program: string, devices: readonly string[] = []): Promise<string> {
  await using dir = await createTempDir();
  for (const name of devices) await makeDevice(makeHomePath(`${dir.path}/${name}`), name);
  const flags = [
    `--allow-run=ip,tc,python3,${Deno.execPath()}`,
    "--allow-read",
    "--allow-env",
    `--allow-write=${dir.path}`,
    "--allow-sys=uid",
    ...importMapFlags(),
  ];
  const options = { flags, args: [dir.path], through: THROUGH_LAB };
  return await runProgram(program, options);
}

/** Returns the reason why the test can't make network namespaces; `null` if it can. */
export async function findLabObstacle(): Promise<string | null> {
  return await findObstacle([...THROUGH_LAB, "sh", "-c", "ip netns add probe && tc -help"]);
}

const makeHomePath = (dir: string) => `${dir}/.local/state/degu`;

/** A machine: a network namespace, a directory, and a process that runs commands of the program. */
export class Machine {
  readonly name: string;
  readonly dir: string;
  readonly #agents: {
    stdout: ProgramOutput;
    stderr: ProgramOutput;
    exitCode: PromiseWithResolvers<number>;
  }[] = [];
  #orders: WritableStreamDefaultWriter<Uint8Array> | null = null;

  private constructor(name: string, dir: string) {
    this.name = name;
    this.dir = dir;
  }

  /** Makes the namespace, and the directory unless the machine has a device. */
  static async make(name: string, parent: string): Promise<Machine> {
    const machine = new Machine(name, `${parent}/${name}`);
    await Deno.mkdir(machine.dir, { recursive: true });
    await runIp("netns", "add", name);
    await machine.runIp("link", "set", "lo", "up");
    return machine;
  }

  get home(): string {
    return makeHomePath(this.dir);
  }

  async runIp(...args: string[]): Promise<void> {
    await runIp("-netns", this.name, ...args);
  }

  /** Adds an address without the detection of duplicates, so that it is usable at once. */
  async addAddress(address: string, device = "lan"): Promise<void> {
    const flags = address.includes(":") ? ["nodad"] : [];
    await this.runIp("address", "add", address, "dev", device, ...flags);
  }

  async run(args: readonly string[], stdin = ""): Promise<AgentResult> {
    return await this.start(args, stdin).waitForEnd();
  }

  async runToSuccess(args: readonly string[], stdin = ""): Promise<AgentResult> {
    const result = await this.run(args, stdin);
    if (result.code === 0) return result;
    throw new Error(`${this.name}: degu ${args.join(" ")}: exit ${result.code}: ${result.stderr}`);
  }

  get #spawnOptions(): { through: string[]; env: Record<string, string>; flags: string[] } {
    const through = ["ip", "netns", "exec", this.name];
    const flags = [
      `--allow-read=${this.dir}`,
      `--allow-write=${this.dir}`,
      "--allow-net",
      "--allow-sys=hostname,uid,networkInterfaces",
      "--allow-env=HOME,XDG_STATE_HOME,LOCALAPPDATA,USERPROFILE,TERM",
    ];
    return { through, env: { XDG_STATE_HOME: `${this.dir}/.local/state` }, flags };
  }

  /** Starts the agent in a separate process, which can be killed. */
  spawn(args: readonly string[]): RunningAgent {
    return spawnAgent(args, this.#spawnOptions);
  }

  /** Starts the agent in the process that runs all commands of this machine. */
  start(args: readonly string[], stdin = ""): RunningAgent {
    const exitCode = Promise.withResolvers<number>();
    const [stdout, stderr] = [new ProgramOutput(), new ProgramOutput()];
    const id = this.#agents.push({ stdout, stderr, exitCode }) - 1;
    this.#order({ id, args, stdin });
    const kill = () => this.#order({ id });
    const unusedStdin = new WritableStream();
    const execution = { stdin: unusedStdin, stdout, stderr, code: exitCode.promise, kill };
    return new RunningAgent(`degu ${args.join(" ")}`, execution, null);
  }

  #order(order: Order): void {
    this.#orders ??= this.#spawnWorker();
    this.#orders.write(new TextEncoder().encode(`${JSON.stringify(order)}\n`));
  }

  #spawnWorker(): WritableStreamDefaultWriter<Uint8Array> {
    const { flags, ...options } = this.#spawnOptions;
    const allOptions = { ...options, flags: [...flags, ...importMapFlags()] };
    const child = makeProgramCommand("machine.ts", allOptions, "piped").spawn();
    (async () => {
      for await (const line of ProgramOutput.from(child.stdout).readLines()) {
        const report = JSON.parse(line) as Report;
        const { stdout, stderr, exitCode } = this.#agents[report.id]!;
        if ("text" in report) (report.to === "stdout" ? stdout : stderr).add(report.text);
        else {
          for (const output of [stdout, stderr]) output.end();
          exitCode.resolve(report.code);
        }
      }
      console.error(await toText(child.stderr));
    })();
    return child.stdin.getWriter();
  }
}

/**
 * Installs the program as agent/docs/guide.md says; returns a function that types a line at a
 * terminal of a machine, which has only this program.
 *
 * @param dir The directory of the machines.
 */
export async function install(
  dir: string,
): Promise<(machine: Machine, line: string) => RunningAgent> {
  await Deno.mkdir(`${dir}/bin`);
  const agent = fromFileUrl(import.meta.resolve("../main.ts"));
  const command = makeDenoCommand(await readInstallFlags(), agent).join(" ");
  const script = `#!/bin/sh\nexec ${command} "$@"\n`;
  await Deno.writeTextFile(`${dir}/bin/degu`, script, { mode: 0o755 });
  const cache = Deno.env.get("DENO_DIR") ??
    `${Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`}/deno`;
  const PATH = `${dir}/bin:${Deno.env.get("PATH")}`;
  return ({ name, dir: cwd }, line) => {
    const shell = [name, "sh", "-c", line.replace(/^degu/, "exec degu")];
    const child = startCommand(["ip", "netns", "exec", name, ...THROUGH_TERMINAL, ...shell], {
      cwd,
      env: { HOME: cwd, TMPDIR: cwd, PATH, DENO_DIR: cache, NO_COLOR: "1" },
      clearEnv: true,
    });
    return watch(child, null, `${name}$ ${line}`);
  };
}

/**
 * Compares the numbers at two terminals, and types yes at both. Presses Enter if a program asks
 * whether to receive files. Both programs have to succeed.
 */
export async function confirmNumbers(...agents: readonly RunningAgent[]): Promise<void> {
  await typeYes(...agents);
  for (const agent of agents) {
    agent.waitForLine("now? [y/N]").then(() => agent.writeInput("\n"), () => {});
    const { code, stdout } = await agent.waitForEnd();
    assert(code === 0, stdout);
  }
}

/** Compares the numbers at two terminals, and types yes at both. */
export async function typeYes(...agents: readonly RunningAgent[]): Promise<void> {
  const questions = await Promise.all(agents.map((agent) => agent.waitForLine("Type y or yes")));
  const [inviterNumber, joinerNumber] = questions.map((question) =>
    /\d{3} \d{3}/.exec(question)?.[0]
  );
  assertEquals(joinerNumber, inviterNumber);
  for (const agent of agents) agent.writeInput("yes\n");
}

/**
 * Connects machines by a switch, each with an address. The other machines can resolve the name of a
 * machine, and its port of the switch is `port-NAME`.
 */
export async function connectMachines(
  machines: readonly (readonly [Machine, string])[],
  name = "lan",
): Promise<void> {
  const makePortName = ({ name: machineName }: Machine) =>
    name === "lan" ? `port-${machineName}` : `${name}-${machineName}`;
  await runIp("link", "add", "name", `to-${name}`, "type", "bridge");
  await runIp("link", "set", "dev", `to-${name}`, "up");
  for (const [machine, address] of machines) {
    const peer = ["peer", "name", makePortName(machine)];
    await runIp("link", "add", "name", name, "netns", machine.name, "type", "veth", ...peer);
    await runIp("link", "set", "dev", makePortName(machine), "master", `to-${name}`);
    await runIp("link", "set", "dev", makePortName(machine), "up");
    // Without this setting, the machine would also have a link-local address.
    await machine.runIp("link", "set", "dev", name, "addrgenmode", "none");
    await machine.addAddress(address, name);
    await machine.runIp("link", "set", "dev", name, "up");
  }
}

/** Makes machines with these names, and connects them by a switch with these addresses. */
export async function makeNetwork<Name extends string>(
  dir: string,
  addresses: Readonly<Record<Name, string>>,
): Promise<Record<Name, Machine>> {
  const names = Object.keys(addresses) as Name[]; // the keys of a constant
  const machines = await Promise.all(names.map((name) => Machine.make(name, dir)));
  await connectMachines(machines.map((machine, i) => [machine, addresses[names[i]!]]));
  // The entries have exactly these names.
  return Object.fromEntries(machines.map((machine) => [machine.name, machine])) as Record<
    Name,
    Machine
  >;
}

/** Announces another device's id from a machine, with the arguments of `mdns_impostor.ts`. */
export async function startImpostor({ name }: Machine, ...args: string[]) {
  const flags = ["--allow-net", "--allow-sys=networkInterfaces", ...importMapFlags()];
  const through = ["ip", "netns", "exec", name];
  const options = { flags, args, through };
  const impostor = new RunningProcess(makeProgramCommand("mdns_impostor.ts", options).spawn());
  const announced = await impostor.waitForStdout(/.*\n/);
  return Object.assign(impostor, { announced });
}

/**
 * Records two machines as paired, without any command; the client knows the address of the server.
 */
export async function recordPairing(server: Machine, client: Machine, ip: string): Promise<void> {
  await recordAt(server.home, client.home, client.name);
  await recordAt(client.home, server.home, server.name, parseAddress(`[${ip}]:7443`));
}

export async function pair(inviter: Machine, joiner: Machine): Promise<void> {
  await using inviting = inviter.start(["invite"]);
  await joiner.runToSuccess(["join", "-"], await inviting.waitForLine("degu:"));
  const { code, stderr } = await inviting.waitForEnd();
  if (code !== 0) throw new Error(`degu invite: exit ${code}: ${stderr}`);
}

/** Makes a machine send slowly, so that a transfer lasts until an event; `rate` as in tc(8). */
export async function limitRate(machine: Machine, rate: string): Promise<void> {
  const shaper = ["replace", "dev", "lan", "root", "tbf"];
  const limits = ["rate", rate, "burst", "512kb", "latency", "100ms"];
  await runOrThrow(["tc", "-netns", machine.name, "qdisc", ...shaper, ...limits]);
}

const EVENT_TIMEOUT_MILLISECONDS = 60_000;

export async function waitUntil(label: string, hasHappened: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + EVENT_TIMEOUT_MILLISECONDS;
  for (let pause = 20; !await hasHappened(); pause = Math.min(2 * pause, 160)) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${label}`);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/** Makes a function that reports whether a directory has grown by more than `bytes` since now. */
export async function makeGrowthCheck(
  dir: string,
  bytes: number,
): Promise<() => Promise<boolean>> {
  const startBytes = await countBytes(dir);
  return async () => await countBytes(dir) > startBytes + bytes;
}

/**
 * Returns the number of bytes in the files below a directory, hidden files included; 0 for a
 * missing directory.
 */
export async function countBytes(dir: string): Promise<number> {
  let bytes = 0;
  try {
    for await (const { name, isDirectory } of Deno.readDir(dir)) {
      const path = `${dir}/${name}`;
      bytes += isDirectory ? await countBytes(path) : (await Deno.stat(path)).size;
    }
  } catch (error) {
    // The program may rename the file before the test reads it.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return bytes;
}
