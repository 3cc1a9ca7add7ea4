/**
 * The program `degu`: in this process, or in one of its own with exactly the flags that it is given.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { type Address, parseAddress } from "@degu/degu/base";
import { Device } from "@degu/degu/device";
import { tempDir } from "./directories.ts";
import { Interrupted } from "@degu/internal/agent/failure.ts";
import type { Streams } from "@degu/internal/agent/output.ts";
import { runAgent as runProgram } from "@degu/internal/agent/program.ts";
import { within } from "./raw_peer.ts";
import { fromLatin1, latin1 } from "./wire_grammar.ts";

/** Seconds that a process may take on a busy machine. */
const PATIENCE = 60;

/** How to run it. */
export interface AgentOptions {
  /** Flags of `deno run`: the permissions. */
  readonly flags?: readonly string[];
  /** What it reads; nothing if left out. With `null` stdin stays open. */
  readonly stdin?: string | null;
  readonly env?: Record<string, string>;
  /** A command that runs the command that is its arguments. */
  readonly through?: readonly string[];
}

/** How it has ended. */
export interface AgentEnd {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs it to its end. */
export async function runAgent(
  args: readonly string[],
  options: AgentOptions = {},
): Promise<AgentEnd> {
  await using agent = spawnAgent(args, options);
  return await agent.ended();
}

/** How to run it in this process. */
export interface HereOptions {
  /** What it reads; nothing if left out. With `null` stdin stays open. */
  readonly stdin?: string | null;
  /** The size of its terminal; none if left out. */
  readonly terminal?: { readonly columns: number; readonly rows: number };
  /** Whether `NO_COLOR` is set; only of interest on a terminal. */
  readonly noColor?: boolean;
}

/** Runs it to its end in this process, with the permissions of the tests. */
export async function runAgentHere(
  args: readonly string[],
  options: HereOptions = {},
): Promise<AgentEnd> {
  await using agent = startAgentHere(args, options);
  return await agent.ended();
}

/** Begins to run it in this process, with the permissions of the tests. Of signals it knows those that it catches, once. */
export function startAgentHere(args: readonly string[], options: HereOptions = {}): RunningAgent {
  const { stdin = "", terminal, noColor = false } = options;
  const isTerminal = () => terminal !== undefined;
  const input = new TransformStream<Uint8Array, Uint8Array>();
  const stdout = new Written(isTerminal());
  // All that is written to a terminal is seen in one place.
  const stderr = isTerminal() ? stdout : new Written(false);
  const streams: Streams = {
    stdin: { readable: input.readable, isTerminal },
    stdout: { writeSync: (bytes) => stdout.write(bytes), isTerminal },
    stderr: { writeSync: (bytes) => stderr.write(bytes), isTerminal },
    noColor,
    consoleSize: () => {
      if (terminal === undefined) throw new Error("no terminal");
      return terminal;
    },
  };
  const interruption = new AbortController();
  const status = (async () => {
    const caught = { signal: interruption.signal, [Symbol.dispose]: () => {} };
    const code = await runProgram(args, streams, caught);
    for (const output of new Set([stdout, stderr])) output.end();
    await input.readable.cancel().catch(() => {}); // it may be read by nobody
    return { code };
  })();
  const child = {
    stdin: input.writable,
    stdout: stdout.readable,
    stderr: stderr === stdout ? new Blob().stream() : stderr.readable,
    status,
    kill: () => interruption.abort(new Interrupted()),
  };
  return new RunningAgent(child, stdin, `degu ${args.join(" ")}`);
}

/** What is written at once, as a stream; a terminal begins each line in its first column. */
class Written {
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  readonly #isTerminal: boolean;
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>> = new ReadableStream({
    start: (controller) => void (this.#controller = controller),
  });

  constructor(isTerminal: boolean) {
    this.#isTerminal = isTerminal;
  }

  write(bytes: Uint8Array): number {
    const text = this.#isTerminal ? fromLatin1(bytes).replaceAll("\n", "\r\n") : null;
    this.#controller.enqueue(text === null ? bytes.slice() : latin1(text));
    return bytes.length;
  }

  end(): void {
    this.#controller.close();
  }
}

/** The command that runs it, to be run in the directory of the project. */
export function agentCommand(args: readonly string[], flags: readonly string[] = []): string[] {
  const run = ["run", "--no-prompt", "--quiet", "--no-check"];
  return [Deno.execPath(), ...run, ...flags, "agent.ts", ...args];
}

/** Begins to run it. */
export function spawnAgent(args: readonly string[], options: AgentOptions = {}): RunningAgent {
  const { flags = [], stdin = "", env = {}, through = [] } = options;
  const [program = "", ...rest] = [...through, ...agentCommand(args, flags)];
  const child = new Deno.Command(program, {
    args: rest,
    cwd: new URL("../..", import.meta.url),
    env: { NO_COLOR: "1", ...env },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  return new RunningAgent(child, stdin, `degu ${args.join(" ")}`);
}

/** What there is of a process. */
interface Child {
  readonly stdin: WritableStream<Uint8Array>;
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array>;
  readonly status: Promise<{ readonly code: number }>;
  kill(signal: Deno.Signal): void;
}

/** One that runs; disposing of it ends it if need be. */
export class RunningAgent implements AsyncDisposable {
  readonly #child: Child;
  readonly #what: string;
  readonly #stdout: Reading;
  readonly #stderr: Reading;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  #fed: Promise<void> = Promise.resolve();

  /** Made by {@linkcode spawnAgent} and {@linkcode startAgentHere}. */
  constructor(child: Child, stdin: string | null, what: string) {
    this.#child = child;
    this.#what = what;
    this.#stdout = new Reading(child.stdout);
    this.#stderr = new Reading(child.stderr);
    this.#stdin = child.stdin.getWriter();
    if (stdin !== null) this.feed(stdin, true);
  }

  /** Waits until stdout has a text; returns the line that has it. */
  line(text = "\n"): Promise<string> {
    return this.#lineOf(this.#stdout, text);
  }

  /** Waits until stderr has a text; returns the line that has it. */
  message(text: string): Promise<string> {
    return this.#lineOf(this.#stderr, text);
  }

  /** Gives it something to read, and perhaps the end of it. */
  feed(text: string, ends = false): void {
    this.#fed = (async () => {
      await this.#stdin.write(new TextEncoder().encode(text));
      if (ends) await this.#stdin.close();
    })().catch(() => {}); // It need not read what it is given.
  }

  /** Sends it a signal. */
  kill(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Waits until it ends. */
  async ended(): Promise<AgentEnd> {
    const { code } = await within(this.#child.status, `the end of ${this.#what}`, PATIENCE);
    await this.#endStdin();
    return { code, stdout: await this.#stdout.all, stderr: await this.#stderr.all };
  }

  async #lineOf(reading: Reading, text: string): Promise<string> {
    const whole = await within(
      reading.until(text),
      `${JSON.stringify(text)} of ${this.#what}`,
      PATIENCE,
    )
      .catch((error) => {
        throw new Error(`${error.message}: ${this.#stdout.text}${this.#stderr.text}`);
      });
    const begin = whole.lastIndexOf("\n", whole.indexOf(text) - 1) + 1;
    return whole.slice(begin).split("\n")[0]!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#child.status;
    await Promise.all([this.#stdout.all, this.#stderr.all, this.#endStdin()]);
  }

  async #endStdin(): Promise<void> {
    await this.#fed;
    await this.#stdin.close().catch(() => {});
  }
}

/** What a stream has given so far. */
class Reading {
  text = "";
  readonly all: Promise<string>;
  #waiting: { readonly wanted: string; resolve(text: string): void }[] = [];

  constructor(stream: ReadableStream<Uint8Array>) {
    this.all = this.#read(stream);
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<string> {
    for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
      this.text += piece;
      this.#waiting = this.#waiting.filter(({ wanted, resolve }) => {
        const isThere = isWhole(this.text, wanted);
        if (isThere) resolve(this.text);
        return !isThere;
      });
    }
    return this.text;
  }

  /** Resolves once a text is there, with the end of its line; rejects where the stream ends before. */
  until(wanted: string): Promise<string> {
    if (isWhole(this.text, wanted)) return Promise.resolve(this.text);
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    this.#waiting.push({ wanted, resolve });
    this.all.then(() => reject(new Error(`the output ended without ${JSON.stringify(wanted)}`)));
    return promise;
  }
}

function isWhole(text: string, wanted: string): boolean {
  const index = text.indexOf(wanted);
  return index >= 0 && text.includes("\n", index + wanted.length - (wanted.endsWith("\n") ? 1 : 0));
}

/** Devices of the program, each with its home in a directory that is removed on dispose. */
export class AgentHomes implements AsyncDisposable {
  /** The directory with the homes. */
  readonly path: string;
  readonly #dir: AsyncDisposable;
  readonly #running = new AsyncDisposableStack();

  private constructor(dir: { readonly path: string } & AsyncDisposable) {
    this.path = dir.path;
    this.#dir = dir;
  }

  /** Makes none yet. */
  static async create(): Promise<AgentHomes> {
    return new AgentHomes(await tempDir());
  }

  /** The path of something in the directory. */
  at(...names: string[]): string {
    return join(this.path, ...names);
  }

  /** The permissions of the device of a name that all commands need, and others. */
  flags(name: string, ...more: string[]): string[] {
    const home = this.at(name);
    return [`--allow-read=${home}`, `--allow-write=${home}`, "--allow-sys=uid", ...more];
  }

  /** Runs a command of a device in this process. */
  async run(name: string, args: readonly string[], options: HereOptions = {}): Promise<AgentEnd> {
    return await runAgentHere(["--home", this.at(name), ...args], options);
  }

  /** Runs a command that has to succeed; returns what it has printed. */
  async must(name: string, args: readonly string[], stdin = ""): Promise<string> {
    const { code, stdout, stderr } = await this.run(name, args, { stdin });
    assertEquals(code, 0, `degu ${args.join(" ")}: ${stderr}`);
    return stdout;
  }

  /** Begins to run a command of a device in this process; it ends with this. */
  start(name: string, args: readonly string[], options: HereOptions = {}): RunningAgent {
    return this.#running.use(startAgentHere(["--home", this.at(name), ...args], options));
  }

  /** Begins to run it in a process of its own; besides its home it may use what the flags say. */
  spawn(name: string, args: readonly string[], flags: readonly string[] = []): RunningAgent {
    const options = { flags: this.flags(name, ...flags) };
    return this.#running.use(spawnAgent(["--home", this.at(name), ...args], options));
  }

  /** Makes devices as `degu init` does, but in this process; returns their ids. */
  async init(...names: string[]): Promise<string[]> {
    return await Promise.all(names.map(async (name) => {
      await using device = await Device.open(this.at(name), { name });
      return device.id;
    }));
  }

  /**
   * Pairs two devices on this machine as `degu invite` and `degu join` do, but in this process; each learns the addresses that
   * are given for the other.
   */
  async pair(one: string, two: string, servingOne = DEAD, servingTwo = DEAD): Promise<void> {
    await using inviter = await Device.open(this.at(one));
    await using joiner = await Device.open(this.at(two));
    const listen = [LOOPBACK];
    const serving = [parseAddress(servingOne)];
    await using invitation = await inviter.invite({ listen, serving });
    const joined = joiner.join(invitation.line, { serving: [parseAddress(servingTwo)] });
    await within(
      Promise.all([joined, invitation.paired]),
      `${one} and ${two} are paired`,
      PATIENCE,
    );
  }

  /** Runs `degu serve` at a port that is free; resolves once it serves. */
  async serve(
    name: string,
    args: readonly string[] = [],
  ): Promise<{ agent: RunningAgent; address: string }> {
    const all = ["serve", "--listen", "127.0.0.1:0", "--json", ...args];
    const agent = this.start(name, all);
    const { addresses } = JSON.parse(await agent.line());
    return { agent, address: addresses[0] };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running.disposeAsync();
    await this.#dir[Symbol.asyncDispose]();
  }
}

/** Where invitations wait. */
const LOOPBACK: Address = ["127.0.0.1", 0];

/** An address at which nobody serves. */
const DEAD = "127.0.0.1:1";
