/**
 * Programs of a benchmark in separate processes: started with narrow permissions, controlled line by line,
 * and always ended.
 *
 * @module
 */

import { type Command, linesOf } from "./peer.ts";

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
const running = new Set<Deno.ChildProcess>();
let ended = false;

/** A running program that answers commands. */
export class Program {
  /** What the program said when it was ready. */
  ready: unknown = null;
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #lines: AsyncGenerator<string, void, undefined>;
  readonly #errors: Promise<void>;
  #errorText = "";

  private constructor(process: Deno.ChildProcess) {
    this.#process = process;
    this.#input = process.stdin.getWriter();
    this.#lines = linesOf(process.stdout);
    this.#errors = this.#collectErrors();
  }

  /** Starts a program and waits until it is ready. */
  static async start({ prefix, command, timeout }: ProgramOptions): Promise<Program> {
    const program = new Program(
      spawn([...prefix, ...command], { stdin: "piped", stderr: "piped" }),
    );
    try {
      program.ready = (await program.#readReply(timeout)).ready;
      return program;
    } catch (error) {
      await program.stop();
      throw error;
    }
  }

  /** Sends a command and waits for the figure in its reply, `timeout` seconds at most. */
  async ask(command: Command, timeout: number): Promise<number> {
    await this.#input.write(new TextEncoder().encode(JSON.stringify(command) + "\n"));
    return (await this.#readReply(timeout)).value ?? 0;
  }

  /** Ends the program now and waits until it is gone. */
  async stop(): Promise<void> {
    kill(this.#process);
    await this.#process.status;
    await this.#errors;
  }

  async #readReply(timeout: number): Promise<{ ready?: unknown; value?: number | null }> {
    const line = await within(timeout, this.#lines.next());
    if (line.done) {
      await this.#errors;
      // The first telling line.
      const lines = this.#errorText.split("\n").map((text) => text.trim()).filter(Boolean);
      const why = lines.find((text) => /error/i.test(text)) ?? lines[0] ?? "without a word";
      throw new Error(`the program ended: ${why}`);
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
  const process = spawn([...prefix, ...command], { stderr: "null" });
  try {
    const { stdout, success } = await within(timeout, process.output());
    if (!success) throw new Error(`${command[0]} failed`);
    return new TextDecoder().decode(stdout);
  } finally {
    kill(process);
  }
}

function spawn(
  [executable = "", ...args]: readonly string[],
  options: Deno.CommandOptions,
): Deno.ChildProcess {
  if (ended) throw new Error("the benchmark is ending");
  const env = { NO_COLOR: "1" };
  const process = new Deno.Command(executable, { ...options, args, env, stdout: "piped" }).spawn();
  running.add(process);
  return process;
}

/** Ends every program that still runs, and starts no other. */
export function killAll(): void {
  ended = true;
  for (const process of running) kill(process);
}

function kill(process: Deno.ChildProcess): void {
  running.delete(process);
  try {
    process.kill("SIGKILL");
  } catch (error) {
    // It has ended by itself.
    if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function within<Value>(seconds: number, promise: Promise<Value>): Promise<Value> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const error = new Deno.errors.TimedOut(`no answer within ${seconds} s`);
  const timer = setTimeout(() => reject(error), seconds * 1000);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
