/**
 * Programs of a benchmark in separate processes: controlled line by line, and always ended. What they say of errors is seen
 * where the benchmark was started.
 */

import { setTimeout as after } from "node:timers/promises";
import { type Command, linesOf } from "./peer.ts";

/** Seconds within which a program must say that it is ready. */
const startTimeout = 60;
/** Seconds that one measurement may take before its contender counts as failed. */
const measurementTimeout = 120;

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

  static async start(command: readonly string[]): Promise<Program> {
    const program = new Program(spawn(command, { stdin: "piped" }));
    try {
      program.ready = (await program.#readReply(startTimeout)).ready;
      return program;
    } catch (error) {
      await program[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Sends a command and waits for the figure in its reply. */
  async ask(command: Command): Promise<number> {
    await this.#input.write(new TextEncoder().encode(JSON.stringify(command) + "\n"));
    return (await this.#readReply(measurementTimeout)).value ?? 0;
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
export async function runToEnd(command: readonly string[]): Promise<string> {
  await using process = spawn(command, {});
  const { stdout, success } = await within(measurementTimeout, process.output());
  if (!success) throw new Error(`${command.join(" ")} failed`);
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
  const late = after(seconds * 1000, null, { ref: false }).then(() => {
    throw new Error(`no answer within ${seconds} s`);
  });
  return await Promise.race([promise, late]);
}
