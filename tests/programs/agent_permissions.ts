/**
 * Commands of the program, one after the other in this process, which gives up permissions in between. Prints how each has ended
 * as JSON.
 */

import { type AgentEnd, startAgentHere } from "@degu/testing/agents.ts";
import { beginStep, revoke } from "@degu/testing/permissions.ts";

/** A command, and the permission that is given up before it. */
export interface Step {
  readonly missing?: string | undefined;
  readonly args: readonly string[];
  readonly stdin: string;
  /** What is waited for until the command is interrupted; if left out, it ends by itself. */
  readonly until?: string | undefined;
  /** A directory that is removed afterwards. */
  readonly made?: string | undefined;
}

const ends: AgentEnd[] = [];
for (const { missing, args, stdin, until, made } of JSON.parse(Deno.args[0] ?? "") as Step[]) {
  if (missing !== undefined) revoke(missing);
  beginStep();
  await using agent = startAgentHere(args, { stdin });
  if (until !== undefined) {
    await agent.line(until).catch(() => {}); // it has failed
    agent.kill("SIGINT");
  }
  ends.push(await agent.ended());
  if (made !== undefined) await Deno.remove(made, { recursive: true }).catch(() => {});
}
console.log(JSON.stringify(ends));
