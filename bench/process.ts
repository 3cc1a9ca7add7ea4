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

/**
 * Runs a command to its end; resolves to its processor time in seconds, with that of the processes
 * that it has started and awaited.
 */
export async function measureProcessorSeconds(command: readonly string[]): Promise<number> {
  // The second line of `times` has the user and system times of the children: "0m1.234s 0m0.056s".
  const script = '"$@" > /dev/null; code=$?; times; exit $code';
  const report = await runToEnd(["bash", "-c", script, "bash", ...command]);
  const times = [...report.matchAll(/(\d+)m([\d.]+)s/g)].slice(2);
  if (times.length !== 2) throw new Error(`times printed ${JSON.stringify(report)}`);
  return times.reduce(
    (sum, [, minutes, seconds]) => sum + Number(minutes) * 60 + Number(seconds),
    0,
  );
}

/**
 * Reads the processor time of a running process in seconds, to 10 ms, with that of the processes
 * that it has started and awaited.
 */
export async function readProcessorSeconds(pid: number): Promise<number> {
  // Deno itself opens files of /proc only with all permissions.
  const stat = await runToEnd(["cat", `/proc/${pid}/stat`]);
  // The name of the program, in parentheses, can contain spaces. The kernel counts 100 ticks a second.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
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
