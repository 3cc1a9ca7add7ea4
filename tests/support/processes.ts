import { assert } from "@std/assert";

/** Begins to run a module in a Deno of its own, with these flags. */
export async function spawnScript(
  script: string,
  flags: readonly string[],
  env: Record<string, string> = {},
): Promise<Deno.ChildProcess> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--quiet", "--no-lock", ...flags, "-"],
    cwd: new URL("../..", import.meta.url),
    env,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(script));
  await writer.close();
  return child;
}

/** Runs a module in a Deno of its own with these permissions and returns what it printed. */
export async function runScript(
  script: string,
  permissions: string[],
  env: Record<string, string>,
): Promise<string> {
  const child = await spawnScript(script, permissions, env);
  const { success, stdout, stderr } = await child.output();
  assert(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

/** Runs the openssl program. */
export async function openssl(...args: string[]): Promise<{ success: boolean; stdout: string }> {
  const { success, stdout } = await new Deno.Command("openssl", { args, stdin: "null" }).output();
  return { success, stdout: new TextDecoder().decode(stdout) };
}

/** Tells whether there is a program of this name that knows the argument `version`. */
export async function isInstalled(program: string): Promise<boolean> {
  try {
    return (await new Deno.Command(program, { args: ["version"], stdin: "null" }).output()).success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
