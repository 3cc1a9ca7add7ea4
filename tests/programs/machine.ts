/**
 * A machine of a lab: runs commands of the program that it reads from stdin, one JSON object in
 * each line, and writes their output and exit codes to stdout; see `Machine` in
 * agent/tests/agent_lab.ts.
 */

import { type RunningAgent, startAgentInProcess } from "@degu/testing/agents.ts";
import { ProgramOutput } from "@degu/testing/processes.ts";

export interface Order {
  readonly id: number;
  /** The arguments of a command to start; absent to send a signal. */
  readonly args?: readonly string[];
  readonly stdin?: string;
}

export type Report =
  & { readonly id: number }
  & (
    | { readonly to: "stdout" | "stderr"; readonly text: string }
    | { readonly code: number }
  );

/** A time limit in seconds that no step exceeds. */
const PATIENCE = 3600;

const tell = (report: Report) => console.log(JSON.stringify(report));
const running = new Map<number, RunningAgent>();

async function run(id: number, args: readonly string[], stdin: string): Promise<void> {
  await using agent = startAgentInProcess(args, {
    stdin,
    onText: (to, text) => tell({ id, to, text }),
  });
  running.set(id, agent);
  const { code } = await agent.waitForEnd(PATIENCE);
  running.delete(id);
  tell({ id, code });
}

for await (const order of ProgramOutput.from(Deno.stdin.readable).readLines()) {
  const { id, args, stdin = "" } = JSON.parse(order) as Order;
  if (args === undefined) running.get(id)?.kill("SIGINT");
  else run(id, args, stdin);
}
Deno.exit();
