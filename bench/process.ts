/**
 * The programs of the benchmark, which run in separate processes, receive commands as lines, and
 * end with the benchmark at the latest. They print errors on the benchmark's stderr.
 */

import { startCommand } from "../tests/support/commands.ts";
import { withTimeout } from "../tests/support/raw_peer.ts";
import { type Address, type Command, readLines } from "./peer.ts";

/** The time-out of a program's start. */
const startTimeoutSeconds = 60;
/** The time-out of a measurement. */
const measurementTimeoutSeconds = 120;

/** Aborted to end all programs, and to prevent others from starting. */
export const abortController = new AbortController();

/** A program of the benchmark that replies to commands. */
export interface Program {
  /** The address, if the program is a server. */
  readonly address: Address;
  /** Sends a command and waits for the figure in its reply. */
  request(command: Command): Promise<number>;
}

export async function startProgram(
  command: readonly string[],
  programStack: AsyncDisposableStack,
): Promise<Program> {
  const process = programStack.use(spawn(command));
  const input = process.stdin.getWriter();
  const lines = readLines(process.stdout);
  const readReply = async (timeoutSeconds: number) => {
    const line = await withTimeout(lines.next(), "a reply", timeoutSeconds);
    if (line.done) throw new Error("the program ended");
    const reply = JSON.parse(line.value);
    if (reply.error !== undefined) throw new Error(reply.error);
    return reply.value;
  };
  return {
    address: await readReply(startTimeoutSeconds),
    async request(command) {
      await input.write(new TextEncoder().encode(JSON.stringify(command) + "\n"));
      return await readReply(measurementTimeoutSeconds);
    },
  };
}

/** Runs a command to its end and returns its output; throws if the command fails. */
export async function runToEnd(command: readonly string[]): Promise<string> {
  await using process = spawn(command, { stdin: "null" });
  const { stdout, success } = await withTimeout(
    process.output(),
    "its end",
    measurementTimeoutSeconds,
  );
  if (!success) throw new Error(`${command.join(" ")} failed`);
  return new TextDecoder().decode(stdout);
}

/** Starts a process that ends with the benchmark. */
export function spawn(
  command: readonly string[],
  options: Omit<Deno.CommandOptions, "args"> = {},
): Deno.ChildProcess {
  const { signal } = abortController;
  signal.throwIfAborted();
  return startCommand(command, { env: { NO_COLOR: "1" }, stderr: "inherit", signal, ...options });
}
