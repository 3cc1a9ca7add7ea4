/** The program `degu`: in this process, or in a process with exactly the given flags. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@degu/internal/internal/disk/paths.ts";
import { parseAddress } from "@degu/degu/base";
import { makeDevice, recordAt } from "./device_pairs.ts";
import { makeDenoCommand, startCommand } from "./commands.ts";
import { createTempDir } from "./directories.ts";
import { InterruptedError } from "@degu/internal/agent/failure.ts";
import type { Streams } from "@degu/internal/agent/output.ts";
import { runAgent as runProgram } from "@degu/internal/agent/program.ts";
import { ProgramOutput } from "./processes.ts";
import { withTimeout } from "./raw_peer.ts";

/** Seconds that a process may take on a busy machine. */
const PATIENCE = 60;

interface AgentOptions {
  /** Flags of `deno run`: the permissions. */
  readonly flags?: readonly string[];
  /** The input; empty if left out. With `null` stdin stays open. */
  readonly stdin?: string | null;
  readonly env?: Record<string, string>;
  /** A command that runs the command that is its arguments. */
  readonly through?: readonly string[];
}

export interface AgentEnd {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export async function runAgent(
  args: readonly string[],
  options: AgentOptions = {},
): Promise<AgentEnd> {
  await using agent = spawnAgent(args, options);
  return await agent.waitForEnd();
}

export interface HereOptions {
  /** The input; empty if left out. With `null` stdin stays open. */
  readonly stdin?: string | null;
  /** The size of the terminal; no terminal if left out. */
  readonly terminal?: { readonly columns: number; readonly rows: number };
  /** Whether `NO_COLOR` is set; only of interest on a terminal. */
  readonly noColor?: boolean;
  /** Called with each text that the program prints. */
  readonly onText?: (to: "stdout" | "stderr", text: string) => void;
}

/** Runs the program to its end in this process, with the permissions of the tests. */
export async function runAgentHere(
  args: readonly string[],
  options: HereOptions = {},
): Promise<AgentEnd> {
  await using agent = startAgentHere(args, options);
  return await agent.waitForEnd();
}

/**
 * Starts the program in this process, with the permissions of the tests. An interruption has the
 * effect of a first signal.
 */
export function startAgentHere(args: readonly string[], options: HereOptions = {}): RunningAgent {
  const { stdin = "", terminal, noColor = false, onText = () => {} } = options;
  const isTerminal = () => terminal !== undefined;
  const input = new TransformStream<Uint8Array, Uint8Array<ArrayBuffer>>();
  const stdout = new ProgramOutput();
  // A terminal shows both outputs in one place.
  const stderr = isTerminal() ? stdout : new ProgramOutput();
  const streamOf = (shown: ProgramOutput, name: "stdout" | "stderr") => ({
    writeSync: (bytes: Uint8Array) => {
      const text = new TextDecoder().decode(bytes);
      onText(name, text);
      // A terminal begins each line in its first column.
      shown.add(isTerminal() ? text.replaceAll("\n", "\r\n") : text);
      return bytes.length;
    },
    isTerminal,
  });
  const streams: Streams = {
    stdin: { readable: input.readable, isTerminal, setRaw },
    stdout: streamOf(stdout, "stdout"),
    stderr: streamOf(stderr, "stderr"),
    noColor,
    consoleSize: () => {
      if (terminal === undefined) throw new Error("no terminal");
      return terminal;
    },
  };
  const interruption = new AbortController();
  const interrupt = () => interruption.abort(new InterruptedError());
  const run = async () => {
    const caught = { signal: interruption.signal, interrupt, [Symbol.dispose]: () => {} };
    const code = await runProgram(args, streams, caught);
    for (const output of [stdout, stderr]) output.end();
    await input.readable.cancel().catch(() => {}); // the process may not read its input
    return code;
  };
  return new RunningAgent(`degu ${args.join(" ")}`, {
    stdin: input.writable,
    stdout,
    stderr: isTerminal() ? ProgramOutput.from(new Blob().stream()) : stderr,
    code: run(),
    kill: interrupt,
  }, stdin);
}

/** Refuses what `Deno.stdin` refuses on Windows. */
const setRaw: typeof Deno.stdin.setRaw = (_mode, options) => {
  if (options?.cbreak && Deno.build.os === "windows") throw new Deno.errors.NotSupported("cbreak");
};

/** The command that runs the program, for the directory of the project. */
export function makeAgentCommand(args: readonly string[], flags: readonly string[] = []): string[] {
  return makeDenoCommand(flags, "agent/main.ts", ...args);
}

export function spawnAgent(args: readonly string[], options: AgentOptions = {}): RunningAgent {
  const { flags = [], stdin = "", env = {}, through = [] } = options;
  const child = startCommand([...through, ...makeAgentCommand(args, flags)], {
    cwd: new URL("../..", import.meta.url),
    env: { NO_COLOR: "1", ...env },
  });
  return watch(child, stdin, `degu ${args.join(" ")}`);
}

/** Watches a process, all of whose streams are pipes. */
export function watch(child: Deno.ChildProcess, stdin: string | null, label: string): RunningAgent {
  return new RunningAgent(label, {
    stdin: child.stdin,
    stdout: ProgramOutput.from(child.stdout),
    stderr: ProgramOutput.from(child.stderr),
    code: child.status.then(({ code }) => code),
    kill: (signal) => child.kill(signal),
  }, stdin);
}

interface Running {
  readonly stdin: WritableStream<Uint8Array>;
  readonly stdout: ProgramOutput;
  readonly stderr: ProgramOutput;
  readonly code: Promise<number>;
  kill(signal: Deno.Signal): void;
}

/** A running program; disposing of it ends it if need be. */
export class RunningAgent implements AsyncDisposable {
  readonly #what: string;
  readonly #running: Running;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  #fed: Promise<void> = Promise.resolve();

  constructor(what: string, running: Running, stdin: string | null) {
    this.#what = what;
    this.#running = running;
    this.#stdin = running.stdin.getWriter();
    if (stdin !== null) this.writeInput(stdin, true);
  }

  /** Waits until stdout has a text; returns the line with that text. */
  waitForLine(text = "\n"): Promise<string> {
    return this.#lineOf(this.#running.stdout, text);
  }

  waitForMessage(text: string): Promise<string> {
    return this.#lineOf(this.#running.stderr, text);
  }

  /** Writes to stdin, and ends the input if told so. */
  writeInput(text: string, ends = false): void {
    this.#fed = (async () => {
      await this.#stdin.write(new TextEncoder().encode(text));
      if (ends) await this.#stdin.close();
    })().catch(() => {}); // The program need not read its input.
  }

  kill(signal: Deno.Signal): void {
    this.#running.kill(signal);
  }

  async waitForEnd(patience = PATIENCE): Promise<AgentEnd> {
    const { code, stdout, stderr } = this.#running;
    const exitCode = await withTimeout(code, `the end of ${this.#what}`, patience);
    await this.#endStdin();
    return { code: exitCode, stdout: await stdout.all, stderr: await stderr.all };
  }

  async #lineOf(shown: ProgramOutput, text: string): Promise<string> {
    const label = `${JSON.stringify(text)} of ${this.#what}`;
    const lineEnd = text.endsWith("\n") ? "" : "[^\n]*\n";
    const match = shown.find(new RegExp(`[^\n]*${RegExp.escape(text)}${lineEnd}`));
    const [lines] = await withTimeout(match, label, PATIENCE).catch((error) => {
      const { stdout, stderr } = this.#running;
      throw new Error(`${error.message}: ${stdout.text}${stderr.text}`);
    });
    return lines.split("\n")[0]!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.kill("SIGKILL");
    } catch {
      // The program has ended.
    }
    const { code, stdout, stderr } = this.#running;
    await code;
    await Promise.all([stdout.all, stderr.all, this.#endStdin()]);
  }

  async #endStdin(): Promise<void> {
    await this.#fed;
    await this.#stdin.close().catch(() => {});
  }
}

/** Devices of the program, each with its home in a directory that is removed on dispose. */
export class AgentHomes implements AsyncDisposable {
  readonly #open = new AsyncDisposableStack();

  private constructor(readonly path: string) {}

  static async create(...names: string[]): Promise<AgentHomes> {
    const dir = await createTempDir();
    const homes = new AgentHomes(dir.path);
    homes.#open.use(dir);
    await homes.init(...names);
    return homes;
  }

  joinPath(...names: string[]): string {
    return join(this.path, ...names);
  }

  /** The permissions that all commands of a device need, and further ones. */
  makeFlags(name: string, ...more: string[]): string[] {
    const home = this.joinPath(name);
    return [`--allow-read=${home}`, `--allow-write=${home}`, "--allow-sys=uid", ...more];
  }

  async run(name: string, args: readonly string[], options: HereOptions = {}): Promise<AgentEnd> {
    return await runAgentHere(["--home", this.joinPath(name), ...args], options);
  }

  /** Runs a command that must succeed; returns its output. */
  async runToSuccess(name: string, args: readonly string[], stdin = ""): Promise<string> {
    const { code, stdout, stderr } = await this.run(name, args, { stdin });
    assertEquals(code, 0, `degu ${args.join(" ")}: ${stderr}`);
    return stdout;
  }

  /** Runs a command that must end with this code and print this; returns its output. */
  async runToFailure(
    name: string,
    code: number,
    said: string | RegExp,
    args: readonly string[],
    options: HereOptions = {},
  ): Promise<string> {
    const { code: exitCode, stdout, stderr } = await this.run(name, args, options);
    assertEquals(exitCode, code, `degu ${args.join(" ")}: ${stdout}${stderr}`);
    if (typeof said === "string") assertStringIncludes(stderr, said);
    else assertMatch(stderr, said);
    return stderr;
  }

  start(name: string, args: readonly string[], options: HereOptions = {}): RunningAgent {
    return this.#open.use(
      startAgentHere(["--home", this.joinPath(name), ...withoutSearch(args)], options),
    );
  }

  /**
   * Makes devices as `degu init` does; returns their ids. Devices of the same name in other tests
   * have the same keys.
   */
  async init(...names: string[]): Promise<string[]> {
    return await Promise.all(names.map((name) => makeDevice(this.joinPath(name), name)));
  }

  /**
   * Pairs two devices that {@linkcode init} has made, without a command; each learns the given
   * address of the other. A device that serves already learns it a little later.
   */
  async pair(one: string, two: string, servingOne = DEAD, servingTwo = DEAD): Promise<void> {
    await this.#recordAddress(one, two, servingTwo);
    await this.#recordAddress(two, one, servingOne);
  }

  async #recordAddress(name: string, of: string, address: string): Promise<void> {
    await recordAt(this.joinPath(name), this.joinPath(of), of, parseAddress(address));
  }

  /**
   * Runs `degu serve` at a free port, by default with an inbox; resolves once it serves and the
   * paired devices know its address.
   */
  async serve(
    name: string,
    args: readonly string[] = [],
    ...peers: string[]
  ): Promise<{ agent: RunningAgent; address: string }> {
    const served = args.length > 0 ? args : ["--inbox", this.joinPath(`${name}-inbox`)];
    const serveArgs = ["serve", "--listen", "127.0.0.1:0", "--json", ...served];
    const agent = this.start(name, serveArgs);
    const { addresses: [address] } = JSON.parse(await agent.waitForLine());
    for (const peer of peers) await this.#recordAddress(peer, name, address);
    return { agent, address };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#open.disposeAsync();
  }
}

/** The commands that look for a peer which does not answer. */
const SEARCHING = ["ls", "get", "put", "rm", "sync", "ping"];

/** Keeps a command from looking for its peer in the network of the machine that runs the tests. */
function withoutSearch(args: readonly string[]): string[] {
  const at = args.findIndex((each) => SEARCHING.includes(each));
  if (at < 0 || args.includes("service") || args.includes("help")) return [...args];
  return args.toSpliced(at + 1, 0, "--no-find");
}

/** An address without a listener. */
const DEAD = "127.0.0.1:1";
