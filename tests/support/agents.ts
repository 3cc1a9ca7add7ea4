/** The program `degu`: in this process, or in a process with exactly the given flags. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@degu/internal/internal/paths.ts";
import { parseAddress } from "@degu/degu/base";
import { makeDevice, recordAt } from "./device_pairs.ts";
import { makeDenoCommand, startCommand } from "./commands.ts";
import { createTempDir } from "./directories.ts";
import { formatShellCommand } from "@degu/internal/agent/terminal/shell_command.ts";
import { InterruptedError } from "@degu/internal/agent/failure.ts";
import type { Streams } from "@degu/internal/agent/terminal/output.ts";
import { runAgent as runProgram } from "@degu/internal/agent/program.ts";
import { importMapFlags, ProgramOutput, runProgram as runTestProgram } from "./processes.ts";
import { withTimeout } from "./raw_peer.ts";

interface AgentOptions {
  /** Flags of `deno run`: the permissions. */
  readonly flags?: readonly string[];
  /** The input; empty if left out. With `null` stdin stays open. */
  readonly stdin?: string | null;
  readonly env?: Record<string, string>;
  /** The start of a command line that the command is appended to. */
  readonly through?: readonly string[];
}

export interface AgentResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export async function runAgent(
  args: readonly string[],
  options: AgentOptions = {},
): Promise<AgentResult> {
  await using agent = spawnAgent(args, options);
  return await agent.waitForEnd();
}

/**
 * Runs commands of the program one after the other in one process, with all permissions. A process
 * for each command would take most of the time of a test.
 *
 * @param through The start of a command line that the command of the process is appended to.
 */
export async function runAgentCommands(
  commands: readonly (readonly string[])[],
  through: readonly string[],
): Promise<AgentResult[]> {
  const args = [JSON.stringify(commands.map((args) => ({ args, stdin: "" })))];
  const flags = ["--allow-all", ...importMapFlags()];
  return JSON.parse(await runTestProgram("agent_permissions.ts", { flags, args, through }));
}

export interface InProcessOptions {
  /** The input; empty if left out. With `null` stdin stays open. */
  readonly stdin?: string | null;
  /** The size of the terminal; no terminal if left out. */
  readonly terminal?: { readonly columns: number; readonly rows: number };
  /** Whether `NO_COLOR` is set; only of interest on a terminal. */
  readonly noColor?: boolean;
  /** A `--home` that is removed from printed commands, because it differs from test to test. */
  readonly hiddenHome?: string;
  /** Called with each text that the program prints. */
  readonly onText?: (to: "stdout" | "stderr", text: string) => void;
}

/** Runs the program to its end in this process, with the permissions of the tests. */
export async function runAgentInProcess(
  args: readonly string[],
  options: InProcessOptions = {},
): Promise<AgentResult> {
  await using agent = startAgentInProcess(args, options);
  return await agent.waitForEnd();
}

/**
 * Starts the program in this process, with the permissions of the tests. An interruption has the
 * effect of a first signal.
 */
export function startAgentInProcess(
  args: readonly string[],
  options: InProcessOptions = {},
): RunningAgent {
  const { stdin = "", terminal, noColor = false, hiddenHome, onText = () => {} } = options;
  const command = formatShellCommand("degu", "--home", `${hiddenHome}`);
  const isTerminal = () => terminal !== undefined;
  const input = new TransformStream<Uint8Array, Uint8Array<ArrayBuffer>>();
  const stdout = new ProgramOutput();
  // A terminal shows both outputs in one place.
  const stderr = isTerminal() ? stdout : new ProgramOutput();
  const streamOf = (output: ProgramOutput, name: "stdout" | "stderr") => {
    const writeSync = (bytes: Uint8Array) => {
      const printedText = new TextDecoder().decode(bytes);
      const text = printedText.replaceAll(`"${command} `, '"degu ');
      onText(name, text);
      // A terminal begins each line in its first column.
      output.add(isTerminal() ? text.replaceAll("\n", "\r\n") : text);
      return bytes.length;
    };
    return {
      writeSync,
      write: (bytes: Uint8Array) => Promise.resolve(writeSync(bytes)),
      isTerminal,
    };
  };
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
  const interruptController = new AbortController();
  const interrupt = () => interruptController.abort(new InterruptedError());
  const run = async () => {
    const signals = { signal: interruptController.signal, interrupt, [Symbol.dispose]: () => {} };
    const code = await runProgram(args, streams, signals);
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

/** Refuses `cbreak` on Windows, as `Deno.stdin` does. */
const setRaw: typeof Deno.stdin.setRaw = (_mode, options) => {
  if (options?.cbreak && Deno.build.os === "windows") throw new Deno.errors.NotSupported("cbreak");
};

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

interface ProgramExecution {
  readonly stdin: WritableStream<Uint8Array>;
  readonly stdout: ProgramOutput;
  readonly stderr: ProgramOutput;
  readonly code: Promise<number>;
  kill(signal: Deno.Signal): void;
}

/** A running program. Disposing of it kills the program. */
export class RunningAgent implements AsyncDisposable {
  readonly #label: string;
  readonly #execution: ProgramExecution;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  #inputWritten: Promise<void> = Promise.resolve();

  constructor(label: string, execution: ProgramExecution, stdin: string | null) {
    this.#label = label;
    this.#execution = execution;
    this.#stdin = execution.stdin.getWriter();
    if (stdin !== null) this.writeInput(stdin, true);
  }

  /** Waits until stdout has a text, and returns the line of the text. */
  waitForLine(text = "\n", timeoutSeconds?: number): Promise<string> {
    return this.#waitForLine(this.#execution.stdout, text, timeoutSeconds);
  }

  waitForMessage(text: string): Promise<string> {
    return this.#waitForLine(this.#execution.stderr, text);
  }

  /** Writes to stdin, and closes it if `isLast` is true. */
  writeInput(text: string, isLast = false): void {
    this.#inputWritten = (async () => {
      await this.#stdin.write(new TextEncoder().encode(text));
      if (isLast) await this.#stdin.close();
    })().catch(() => {}); // The program may end before it reads its input.
  }

  kill(signal: Deno.Signal): void {
    this.#execution.kill(signal);
  }

  async waitForEnd(timeoutSeconds?: number): Promise<AgentResult> {
    const { code, stdout, stderr } = this.#execution;
    const exitCode = await withTimeout(code, `the end of ${this.#label}`, timeoutSeconds);
    await this.#endStdin();
    return { code: exitCode, stdout: await stdout.wholeText, stderr: await stderr.wholeText };
  }

  async #waitForLine(
    output: ProgramOutput,
    text: string,
    timeoutSeconds?: number,
  ): Promise<string> {
    const label = `${JSON.stringify(text)} of ${this.#label}`;
    const lineEnd = text.endsWith("\n") ? "" : "[^\n]*\n";
    const match = output.find(new RegExp(`[^\n]*${RegExp.escape(text)}${lineEnd}`));
    const [lines] = await withTimeout(match, label, timeoutSeconds).catch((error) => {
      const { stdout, stderr } = this.#execution;
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
    const { code, stdout, stderr } = this.#execution;
    await code;
    await Promise.all([stdout.wholeText, stderr.wholeText, this.#endStdin()]);
  }

  async #endStdin(): Promise<void> {
    await this.#inputWritten;
    await this.#stdin.close().catch(() => {});
  }
}

/** Devices of the program, each with its home in a directory that is removed on dispose. */
export class AgentHomes implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();

  private constructor(readonly path: string) {}

  static async create(...names: string[]): Promise<AgentHomes> {
    const dir = await createTempDir();
    const homes = new AgentHomes(dir.path);
    homes.#stack.use(dir);
    await homes.init(...names);
    return homes;
  }

  joinPath(...names: string[]): string {
    return join(this.path, ...names);
  }

  /** Returns the permissions that all commands of a device need, and further flags. */
  makeFlags(name: string, ...extraFlags: string[]): string[] {
    const home = this.joinPath(name);
    return [`--allow-read=${home}`, `--allow-write=${home}`, "--allow-sys=uid", ...extraFlags];
  }

  async run(
    name: string,
    args: readonly string[],
    options: InProcessOptions = {},
  ): Promise<AgentResult> {
    const home = this.joinPath(name);
    return await runAgentInProcess(["--home", home, ...args], { hiddenHome: home, ...options });
  }

  async runToSuccess(name: string, args: readonly string[], stdin = ""): Promise<string> {
    const { code, stdout, stderr } = await this.run(name, args, { stdin });
    assertEquals(code, 0, `degu ${args.join(" ")}: ${stderr}`);
    return stdout;
  }

  async runToFailure(
    name: string,
    code: number,
    expectedMessage: string | RegExp,
    args: readonly string[],
    options: InProcessOptions = {},
  ): Promise<string> {
    const { code: exitCode, stdout, stderr } = await this.run(name, args, options);
    assertEquals(exitCode, code, `degu ${args.join(" ")}: ${stdout}${stderr}`);
    if (typeof expectedMessage === "string") assertStringIncludes(stderr, expectedMessage);
    else assertMatch(stderr, expectedMessage);
    return stderr;
  }

  start(name: string, args: readonly string[], options: InProcessOptions = {}): RunningAgent {
    const home = this.joinPath(name);
    const homeArgs = ["--home", home, ...disableSearch(args)];
    return this.#stack.use(startAgentInProcess(homeArgs, { hiddenHome: home, ...options }));
  }

  /**
   * Makes devices as `degu init` does; returns their ids. Devices of the same name in other tests
   * have the same keys.
   */
  async init(...names: string[]): Promise<string[]> {
    return await Promise.all(names.map((name) => makeDevice(this.joinPath(name), name)));
  }

  /**
   * Pairs two devices of {@linkcode init} without a command, and records their addresses. A device
   * that already serves reads its new peer a little later.
   */
  async pair(
    first: string,
    second: string,
    firstAddress = DEAD_ADDRESS,
    secondAddress = DEAD_ADDRESS,
  ): Promise<void> {
    await this.#recordAddress(first, second, secondAddress);
    await this.#recordAddress(second, first, firstAddress);
  }

  async #recordAddress(name: string, peerName: string, address: string): Promise<void> {
    await recordAt(this.joinPath(name), this.joinPath(peerName), peerName, parseAddress(address));
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
    const serveOptions = args.length > 0 ? args : ["--inbox", this.joinPath(`${name}-inbox`)];
    const serveArgs = ["serve", "--listen", "127.0.0.1:0", "--json", ...serveOptions];
    const agent = this.start(name, serveArgs);
    const { addresses: [address] } = JSON.parse(await agent.waitForLine());
    for (const peer of peers) await this.#recordAddress(peer, name, address);
    return { agent, address };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

/** The commands that search for a peer that doesn't respond. */
const SEARCHING_COMMANDS = ["ls", "get", "put", "rm", "sync", "ping"];

/** Adds `--no-find` to commands that would search for a peer in the network of this machine. */
function disableSearch(args: readonly string[]): string[] {
  const commandIndex = args.findIndex((arg) => SEARCHING_COMMANDS.includes(arg));
  if (commandIndex < 0 || args.includes("service") || args.includes("help")) return [...args];
  return args.toSpliced(commandIndex + 1, 0, "--no-find");
}

/** An address without a listener. */
const DEAD_ADDRESS = "127.0.0.1:1";
