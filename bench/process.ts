/**
 * Programs of a benchmark in separate processes: started with narrow permissions, controlled line by line,
 * and always ended.
 *
 * @module
 */

import type { Command } from "./peer.ts";
import { linesOf } from "./peer.ts";

/** What starts a program. */
export interface ProgramOptions {
  /** Put before the command line, e.g. `["taskset", "-c", "1"]`. */
  readonly prefix: readonly string[];
  /** The command and its arguments. */
  readonly command: readonly string[];
  /** Seconds within which the program must say that it is ready, or end where it ends by itself. */
  readonly timeout: number;
}

/** Characters of a program's error output that are kept. */
const keptErrorLength = 2000;
/** The processes to end when the benchmark ends. */
const running = new Set<{ kill(): void }>();
let ended = false;

/** A running program that answers commands. */
export class Program {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #lines: AsyncGenerator<string, void, undefined>;
  readonly #errors: Promise<void>;
  #errorText = "";
  #ready: unknown = null;

  private constructor(process: Deno.ChildProcess) {
    this.#process = process;
    this.#input = process.stdin.getWriter();
    this.#lines = linesOf(process.stdout);
    this.#errors = this.#collectErrors();
    running.add(this);
  }

  /** Starts a program and waits until it is ready. */
  static async start({ prefix, command, timeout }: ProgramOptions): Promise<Program> {
    const process = makeCommand([...prefix, ...command], { stdin: "piped", stderr: "piped" });
    const program = new Program(process.spawn());
    try {
      program.#ready = (await program.#readReply(timeout)).ready;
      return program;
    } catch (error) {
      await program.stop();
      throw error;
    }
  }

  /** What the program said when it was ready. */
  get ready(): unknown {
    return this.#ready;
  }

  /** Sends a command and waits for the figure in its reply, `timeout` seconds at most. */
  async ask(command: Command, timeout: number): Promise<number> {
    await this.#input.write(new TextEncoder().encode(JSON.stringify(command) + "\n"));
    return (await this.#readReply(timeout)).value ?? 0;
  }

  /** Ends the program now and waits until it is gone. */
  async stop(): Promise<void> {
    this.kill();
    await this.#process.status;
    await this.#errors;
    running.delete(this);
  }

  /** Ends the program now. */
  kill(): void {
    killProcess(this.#process);
  }

  async #readReply(
    timeout: number,
  ): Promise<{ readonly ready?: unknown; readonly value?: number | null }> {
    const line = await within(timeout, this.#lines.next());
    if (line.done) {
      await this.#errors;
      throw new Error(`the program ended: ${summarizeErrors(this.#errorText)}`);
    }
    const reply = JSON.parse(line.value);
    if (reply.error !== undefined) throw new Error(reply.error);
    return reply;
  }

  async #collectErrors(): Promise<void> {
    for await (const text of this.#process.stderr.pipeThrough(new TextDecoderStream())) {
      this.#errorText = (this.#errorText + text).slice(0, keptErrorLength);
    }
  }
}

/** Runs a command that ends by itself, and gives what it printed; throws where it fails. */
export async function runToEnd({ prefix, command, timeout }: ProgramOptions): Promise<string> {
  const process = makeCommand([...prefix, ...command], { stderr: "null" }).spawn();
  const entry = { kill: () => killProcess(process) };
  running.add(entry);
  try {
    const { stdout, success } = await within(timeout, process.output());
    if (!success) throw new Error(`${command[0]} failed`);
    return new TextDecoder().decode(stdout);
  } finally {
    entry.kill();
    running.delete(entry);
  }
}

function makeCommand(words: readonly string[], options: Deno.CommandOptions): Deno.Command {
  const [executable, ...args] = words;
  if (executable === undefined) throw new TypeError("a command line is not empty");
  if (ended) throw new Error("the benchmark is ending");
  return new Deno.Command(executable, { ...options, args, stdout: "piped" });
}

/** Ends every program that still runs, and starts no other. */
export function killAll(): void {
  ended = true;
  for (const program of running) program.kill();
}

function killProcess(process: Deno.ChildProcess): void {
  try {
    process.kill("SIGKILL");
  } catch (error) {
    // It has ended by itself.
    if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function within<Value>(seconds: number, promise: Promise<Value>): Promise<Value> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => reject(new Deno.errors.TimedOut(`no answer within ${seconds} s`)),
    seconds * 1000,
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The first telling line of what a program wrote to standard error. */
function summarizeErrors(text: string): string {
  const lines = stripColours(text).split("\n").map((line) => line.trim()).filter(Boolean);
  return lines.find((line) => /error/i.test(line)) ?? lines[0] ?? "without a word";
}

function stripColours(text: string): string {
  return text.split("\x1b[").map((part, index) => index === 0 ? part : part.replace(/^[\d;]*m/, ""))
    .join("");
}
