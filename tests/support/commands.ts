/** Functions that run a command to its end, or start it. */

export interface CommandResult {
  readonly success: boolean;
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

type Options = Omit<Deno.CommandOptions, "args">;

/** The exit code for a missing program, as in a shell. */
export const MISSING_PROGRAM_CODE = 127;

/** Runs a command without input. */
export async function runCommand(
  [program = "", ...args]: readonly string[],
  options: Options = {},
): Promise<CommandResult> {
  try {
    const command = new Deno.Command(program, { stdin: "null", ...options, args });
    const { success, code, stdout, stderr } = await command.output();
    const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    return { success, code, stdout: out!, stderr: err! };
  } catch (error) {
    const isMissing = error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotCapable;
    if (isMissing) {
      return { success: false, code: MISSING_PROGRAM_CODE, stdout: "", stderr: error.message };
    }
    throw error;
  }
}

export async function runOrThrow(command: readonly string[], options?: Options): Promise<string> {
  const { success, stdout, stderr } = await runCommand(command, options);
  if (!success) throw new Error(`${command.join(" ")}: ${stderr}`);
  return stdout;
}

/** Returns the reason why this machine can't run a command; `null` if it can. */
export async function findObstacle(command: readonly string[]): Promise<string | null> {
  const { success, stderr } = await runCommand(command);
  return success ? null : stderr.trim();
}

/** Starts a command; its streams are pipes by default. */
export function startCommand(
  [program = "", ...args]: readonly string[],
  options: Options = {},
): Deno.ChildProcess {
  const pipes = { stdin: "piped", stdout: "piped", stderr: "piped" } as const;
  return new Deno.Command(program, { ...pipes, ...options, args }).spawn();
}

/** Makes the command that runs a module in another Deno process. */
export function makeDenoCommand(flags: readonly string[], ...module: readonly string[]): string[] {
  return [Deno.execPath(), "run", "--no-prompt", "--quiet", "--no-check", ...flags, ...module];
}
