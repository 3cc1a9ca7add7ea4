/**
 * Programs that may or may not be installed.
 *
 * @module
 */

/** How a program ended, or that it did not. */
export interface Ending {
  readonly success: boolean;
  readonly stdout: string;
  readonly stderr: string;
  /** Whether it was stopped because it took too long. */
  readonly cut: boolean;
}

/** No proxy, whatever the environment says. */
const ENV = { no_proxy: "127.0.0.1,localhost", NO_PROXY: "127.0.0.1,localhost" };

/** Runs a program until it ends or `limit` resolves; `null` if it isn't installed. */
export async function run(
  command: readonly string[],
  limit: Promise<unknown> = delay(60_000),
  env: Readonly<Record<string, string>> = {},
): Promise<Ending | null> {
  const [program = "", ...args] = command;
  let child;
  try {
    child = new Deno.Command(program, {
      args,
      env: { ...ENV, ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
  const output = child.output();
  const cut = await Promise.race([output.then(() => false), limit.then(() => true)]);
  if (cut) await stop(child);
  const { success, stdout, stderr } = await output;
  const decoder = new TextDecoder();
  return { success, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr), cut };
}

/** Lets a program end its own children; one that doesn't end in time is killed. */
async function stop(child: Deno.ChildProcess): Promise<void> {
  child.kill("SIGTERM");
  const ended = await Promise.race([child.status, delay(3000)]);
  if (ended === undefined) child.kill("SIGKILL");
}

/** Resolves after a time, and does not keep the process alive. */
export function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => Deno.unrefTimer(setTimeout(resolve, milliseconds)));
}

/** The last line that says why a program failed. */
export function complaintOf({ stderr, stdout }: Ending): string {
  const lines = `${stdout}\n${stderr}`.split("\n").map((line) => line.trim()).filter(Boolean);
  return lines.findLast((line) => /error|exception|curl:|failed|refused/i.test(line)) ??
    lines.at(-1) ?? "nothing was printed";
}
