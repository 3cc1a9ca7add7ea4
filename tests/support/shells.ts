/**
 * Shells that complete commands of the agent.
 *
 * @module
 */

import { assert } from "@std/assert";
import { runAgentHere } from "./agents.ts";

/** The completion script of the program for a shell. */
export async function completionScript(shell: string): Promise<string> {
  const { code, stdout, stderr } = await runAgentHere(["completions", shell, "--home", "/nowhere"]);
  assert(code === 0, stderr);
  return stdout;
}

/** Runs a script in a shell; returns what it prints. */
export async function runShell(shell: string, script: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(shell, {
    args: ["-c", script, ...args],
    stdin: "null",
  }).output();
  const messages = new TextDecoder().decode(stderr);
  assert(success && messages === "", messages);
  return new TextDecoder().decode(stdout);
}

/** Whether there is a shell; a test that needs it is skipped where it is missing. */
export async function hasShell(shell: string): Promise<boolean> {
  try {
    return (await new Deno.Command(shell, { args: ["-c", "true"], stdin: "null" }).output())
      .success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable) {
      return false;
    }
    throw error;
  }
}

/** Stands in for the program where a shell asks it for peers. */
export const PEERS = `{"name":"camera","id":"a"}\n{"name":"phone","id":"b"}\n`;
