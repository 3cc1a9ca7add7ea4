/**
 * Programs on a pseudo-terminal, the resulting screen, shells, and tests that are skipped without
 * them.
 */
import { assert } from "@std/assert";
import { runCommand } from "./commands.ts";

/**
 * Waits for each text, then types its reply, perhaps while the program is stopped; prints the
 * whole output of the program.
 */
const SCRIPT = String.raw`
import fcntl, json, os, pty, select, signal, struct, sys, termios, time
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
        _, typed, stopped = (steps.pop(0) + [0])[:3]
        if stopped:
            os.kill(pid, signal.SIGSTOP)
            os.waitpid(pid, os.WUNTRACED)
        os.write(fd, typed.encode())
        if stopped:
            time.sleep(stopped)
            os.kill(pid, signal.SIGCONT)
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

/** Sets the host name, runs a command on a terminal, and connects the terminal with its streams. */
const BRIDGE = String.raw`
import fcntl, os, pty, select, socket, struct, sys, termios
socket.sethostname(sys.argv[1])
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 500, 0, 0))
    os.execvp(sys.argv[2], sys.argv[2:])
open_ends = [fd, 0]
while fd in open_ends:
    for end in select.select(open_ends, [], [])[0]:
        try:
            piece = os.read(end, 65536)
        except OSError:
            piece = b""
        if piece:
            os.write(1 if end == fd else fd, piece)
        else:
            open_ends.remove(end)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

/** A command that runs the appended command on a terminal; first append the host name. */
export const THROUGH_TERMINAL: readonly string[] = ["unshare", "--uts", "python3", "-c", BRIDGE];

/** Returns options that skip a test if there is an obstacle, and prints the obstacle. */
export function ignoreIf(obstacle: string | null): { ignore: boolean } {
  if (obstacle !== null) console.warn(`${obstacle}: a test is skipped`);
  return { ignore: obstacle !== null };
}

/** Returns the reason why a program can't be run; `null` if it can. Doesn't start the program. */
export async function findProgramObstacle(program: string): Promise<string | null> {
  const { success } = await runCommand(["bash", "-c", 'command -v -- "$0"', program]);
  return success ? null : `${program} is not installed`;
}

export const findTerminalObstacle = () => findProgramObstacle("python3");

export interface TerminalOptions {
  readonly command: readonly string[];
  readonly rows?: number;
  readonly columns?: number;
  /**
   * The texts to wait for, each with the text to type, and the seconds for which SIGSTOP stops the
   * program around the typing.
   */
  readonly steps?: readonly (readonly [seen: string, typed: string, stopped?: number])[];
  readonly env?: Record<string, string>;
}

/** Runs a program on a terminal to its end; `NO_COLOR` is set only if given. */
export async function runOnTerminal(
  { command, rows = 24, columns = 80, steps = [], env = {} }: TerminalOptions,
): Promise<{ code: number; shown: string }> {
  const options = JSON.stringify([rows, columns, steps, { TERM: "xterm", ...env }, command]);
  const [code, shown] = JSON.parse(await runShell("python3", SCRIPT, options));
  return { code, shown };
}

/**
 * Returns the final lines of the screen, without lines that were drawn over. The program only ever
 * erases a whole line, from its first column.
 */
export function screenOf(written: string): string[] {
  const lines = written.trimEnd().split("\r\n").map((line) => line.split("\r\x1b[K").at(-1)!);
  for (const line of lines) assert(!/\r/.test(line), Deno.inspect(lines));
  // deno-lint-ignore no-control-regex -- colors are not shown
  return lines.map((line) => line.replaceAll(/\x1b\[\d*m/g, ""));
}

/** Runs a script in a shell, in the directory of the project; returns its output. */
export async function runShell(shell: string, script: string, ...args: string[]): Promise<string> {
  const cwd = new URL("../..", import.meta.url);
  const { success, stdout, stderr } = await runCommand([shell, "-c", script, ...args], { cwd });
  assert(success && stderr === "", stderr);
  return stdout;
}
