/**
 * Programs of a benchmark in separate processes: controlled line by line, and always ended. What they say of errors is seen
 * where the benchmark was started.
 */

import { type Command, linesOf } from "./peer.ts";

export interface ProgramOptions {
  /** Put before the command line, e.g. `["taskset", "-c", "1"]`. */
  readonly prefix: readonly string[];
  readonly command: readonly string[];
  /** Seconds within which the program must say that it is ready, or end where it ends by itself. */
  readonly timeout: number;
}

/** Ends all programs, and lets no other start. */
export const ending = new AbortController();

/** A running program that answers commands. */
export class Program implements AsyncDisposable {
  ready: unknown = null;
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #lines: AsyncGenerator<string, void, undefined>;

  private constructor(process: Deno.ChildProcess) {
    this.#process = process;
    this.#input = process.stdin.getWriter();
    this.#lines = linesOf(process.stdout);
  }

  static async start({ prefix, command, timeout }: ProgramOptions): Promise<Program> {
    const program = new Program(spawn([...prefix, ...command], { stdin: "piped" }));
    try {
      program.ready = (await program.#readReply(timeout)).ready;
      return program;
    } catch (error) {
      await program[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Sends a command and waits for the figure in its reply, `timeout` seconds at most. */
  async ask(command: Command, timeout: number): Promise<number> {
    await this.#input.write(new TextEncoder().encode(JSON.stringify(command) + "\n"));
    return (await this.#readReply(timeout)).value ?? 0;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#process[Symbol.asyncDispose]();
  }

  async #readReply(timeout: number): Promise<{ ready?: unknown; value?: number | null }> {
    const line = await within(timeout, this.#lines.next());
    if (line.done) throw new Error("the program ended");
    const reply = JSON.parse(line.value);
    if (reply.error !== undefined) throw new Error(reply.error);
    return reply;
  }
}

/** Runs a command that ends by itself, and gives what it printed; throws where it fails. */
export async function runToEnd({ prefix, command, timeout }: ProgramOptions): Promise<string> {
  await using process = spawn([...prefix, ...command], {});
  const { stdout, success } = await within(timeout, process.output());
  if (!success) throw new Error(`${command[0]} failed`);
  return new TextDecoder().decode(stdout);
}

/** Starts a process that ends with the benchmark. */
export function spawn(
  [executable = "", ...args]: readonly string[],
  options: Deno.CommandOptions,
): Deno.ChildProcess {
  ending.signal.throwIfAborted();
  const { signal } = ending;
  const own = { args, env: { NO_COLOR: "1" }, stdout: "piped", stderr: "inherit", signal } as const;
  return new Deno.Command(executable, { ...own, ...options }).spawn();
}

async function within<Value>(seconds: number, promise: Promise<Value>): Promise<Value> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const error = new Error(`no answer within ${seconds} s`);
  const timer = setTimeout(() => reject(error), seconds * 1000);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
