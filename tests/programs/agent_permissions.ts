/** Runs commands of the program sequentially in this process. Prints the result of each as JSON. */

import { type AgentResult, startAgentInProcess } from "@degu/testing/agents.ts";
import { beginStep } from "@degu/testing/permissions.ts";

export interface Step {
  readonly args: readonly string[];
  readonly stdin: string;
  /**
   * The output to wait for before the command is interrupted; without it, the command ends by
   * itself.
   */
  readonly until?: string | undefined;
  /** Whether it runs on a terminal. */
  readonly onTerminal?: boolean | undefined;
  /** A directory that is removed after the command. */
  readonly made?: string | undefined;
}

const results: AgentResult[] = [];
for (const { args, stdin, until, onTerminal, made } of JSON.parse(Deno.args[0] ?? "") as Step[]) {
  beginStep();
  await using agent = startAgentInProcess(
    args,
    onTerminal ? { stdin, terminal: { columns: 80, rows: 24 } } : { stdin },
  );
  if (until !== undefined) {
    await agent.waitForLine(until);
    agent.kill("SIGINT");
  }
  results.push(await agent.waitForEnd());
  if (made !== undefined) await Deno.remove(made, { recursive: true }).catch(() => {});
}
console.log(JSON.stringify(results));
