/**
 * Devices that run the agent as people do: processes, each in a network namespace of its own, with cables in
 * between. For programs that are run through {@linkcode THROUGH_LAB}; what they made is gone when they end.
 *
 * @module
 */

import { THROUGH_NAMESPACE } from "./network_namespace.ts";
import { within } from "./raw_peer.ts";

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
export const LAB_FLAGS: readonly string[] = ["--allow-run=ip,deno", "--allow-read", "--allow-env"];

/** How long a command of the agent may take, in seconds: two cores are shared by many tests. */
const PATIENCE = 30;

const AGENT = new URL("../../agent.ts", import.meta.url).pathname;
const decoder = new TextDecoder();

/** How a command has ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

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
  async run(args: readonly string[], stdin = ""): Promise<Ended> {
    using running = this.start(args, stdin);
    return await running.ended();
  }

  /** Runs the agent to its end, and fails if it does. */
  async succeed(args: readonly string[], stdin = ""): Promise<Ended> {
    const ended = await this.run(args, stdin);
    if (ended.code === 0) return ended;
    throw new Error(`${this.name}: degu ${args.join(" ")}: exit ${ended.code}: ${ended.stderr}`);
  }

  /** Starts the agent. */
  start(args: readonly string[], stdin = ""): Running {
    return new Running(
      this.#command(AGENT, flagsOf(args, this.dir), [
        "--home",
        `${this.dir}/home`,
        ...args,
      ]),
      stdin,
    );
  }

  /** Starts another program of this folder of tests. */
  startProgram(name: string, flags: readonly string[], args: readonly string[]): Running {
    const path = new URL(`programs/${name}`, import.meta.url).pathname;
    return new Running(this.#command(path, flags, args), "");
  }

  #command(path: string, flags: readonly string[], args: readonly string[]): Deno.Command {
    const run = [Deno.execPath(), "run", "--no-prompt", "--quiet", "--no-check", ...flags, path];
    return new Deno.Command("ip", {
      args: ["netns", "exec", this.name, ...run, ...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    });
  }
}

/** The permissions that docs/agent.md has for a command. */
function flagsOf(args: readonly string[], dir: string): string[] {
  const [command = ""] = args;
  const disk = [`--allow-read=${dir}`, `--allow-write=${dir}`, "--allow-sys=uid"];
  const network = ["--allow-net", "--allow-sys=networkInterfaces,uid"];
  return command === "init" || command === "peers" || command === "forget"
    ? disk
    : [...disk.slice(0, 2), ...network];
}

/** A command that runs. Disposing ends it. */
export class Running implements Disposable {
  readonly #child: Deno.ChildProcess;
  readonly #stdout: Text;
  readonly #stderr: Text;

  /** Starts it. */
  constructor(command: Deno.Command, stdin: string) {
    this.#child = command.spawn();
    this.#stdout = new Text(this.#child.stdout);
    this.#stderr = new Text(this.#child.stderr);
    new Response(stdin).body!.pipeTo(this.#child.stdin).catch(() => {});
  }

  /** The first line of its output that has a text. */
  line(text: string): Promise<string> {
    return within(this.#stdout.line(text), `${text}; ${this.#stderr.text}`, PATIENCE);
  }

  /** The first line of its messages that has a text. */
  message(text: string): Promise<string> {
    return within(this.#stderr.line(text), `${text}; ${this.#stderr.text}`, PATIENCE);
  }

  /** Sends a signal. */
  kill(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** How it has ended. */
  async ended(): Promise<Ended> {
    const { code } = await within(this.#child.status, "a command ends", PATIENCE);
    const [stdout, stderr] = await Promise.all([this.#stdout.all, this.#stderr.all]);
    return { code, stdout, stderr };
  }

  /** Ends it. */
  [Symbol.dispose](): void {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
  }
}

/** What a command prints, as it comes. */
class Text {
  /** What has come. */
  text = "";
  /** Everything, when it has ended. */
  readonly all: Promise<string>;
  #more = Promise.withResolvers<void>();

  constructor(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.all = this.#read(stream);
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> {
    for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
      this.text += piece;
      this.#wake();
    }
    this.#more.reject(new Error("the output has ended"));
    this.#more.promise.catch(() => {});
    return this.text;
  }

  #wake(): void {
    this.#more.resolve();
    this.#more = Promise.withResolvers();
  }

  async line(wanted: string): Promise<string> {
    for (;;) {
      const found = this.text.split("\n").slice(0, -1).find((line) => line.includes(wanted));
      if (found !== undefined) return found;
      await this.#more.promise;
    }
  }
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
  using inviting = inviter.start(["invite"]);
  const line = await inviting.line("degu:");
  await joiner.succeed(["join", "-"], line);
  const { code, stderr } = await inviting.ended();
  if (code !== 0) throw new Error(`degu invite: exit ${code}: ${stderr}`);
}
