/**
 * Programs on a pseudo-terminal, which Python makes.
 *
 * @module
 */

import { assert } from "@std/assert";

/** Waits for each text, then types what belongs to it; prints all that the program has printed. */
const SCRIPT = String.raw`
import fcntl, json, os, pty, select, struct, sys, termios, time
rows, columns, steps, env, command = json.loads(sys.argv[1])
os.environ.pop("NO_COLOR", None)
os.environ.update(env)
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    os.execvp(command[0], command)
shown = seen = b""
end = time.monotonic() + 60
while time.monotonic() < end:
    if steps and steps[0][0].encode() in seen:
        seen = b""
        os.write(fd, steps.pop(0)[1].encode())
    if not select.select([fd], [], [], 0.5)[0]:
        continue
    try:
        piece = os.read(fd, 65536)
    except OSError:
        piece = b""
    if not piece:
        break
    shown += piece
    seen += piece
else:
    os.kill(pid, 9)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(json.dumps([code, shown.decode(errors="replace")]))
`;

/** Whether there can be terminals; a test that needs one is skipped where there can't. */
export async function hasTerminals(): Promise<boolean> {
  try {
    const args = ["-c", "import pty"];
    return (await new Deno.Command("python3", { args, stdin: "null" }).output()).success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable) {
      return false;
    }
    throw error;
  }
}

/** What to run. */
export interface TerminalOptions {
  readonly command: readonly string[];
  readonly rows?: number;
  readonly columns?: number;
  /** What to wait for, and what to type then. */
  readonly steps?: readonly (readonly [seen: string, typed: string])[];
  readonly env?: Record<string, string>;
}

/** Runs a program on a terminal to its end; `NO_COLOR` is not set there, unless it is given. */
export async function runOnTerminal(
  { command, rows = 24, columns = 80, steps = [], env = {} }: TerminalOptions,
): Promise<{ code: number; shown: string }> {
  const { success, stdout, stderr } = await new Deno.Command("python3", {
    args: [
      "-c",
      SCRIPT,
      JSON.stringify([rows, columns, steps, { TERM: "xterm", ...env }, command]),
    ],
    cwd: new URL("../..", import.meta.url),
    stdin: "null",
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  const [code, shown] = JSON.parse(new TextDecoder().decode(stdout));
  return { code, shown };
}
