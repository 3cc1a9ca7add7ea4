/**
 * Commands of the program, one after the other in this process, which gives up permissions in between. Prints how each has ended
 * as JSON.
 */

import { type AgentEnd, startAgentHere } from "@degu/testing/agents.ts";

/** A command, and what is given up before it. */
export interface Step {
  /** Without `--allow-`. */
  readonly revoked: readonly string[];
  readonly args: readonly string[];
  readonly stdin: string;
  /** What is waited for until the command is interrupted; if left out, it ends by itself. */
  readonly until?: string | undefined;
  /** A directory that is removed afterwards. */
  readonly made?: string | undefined;
}

const VALUES = { read: "path", write: "path", net: "host", sys: "kind", env: "variable" };

const ends: AgentEnd[] = [];
for (const { revoked, args, stdin, until, made } of JSON.parse(Deno.args[0] ?? "") as Step[]) {
  for (const permission of revoked) {
    const [name = "", value] = permission.split(/=(.*)/s);
    const key = VALUES[name as keyof typeof VALUES];
    const descriptor = value === undefined ? { name } : { name, [key]: value };
    Deno.permissions.revokeSync(descriptor as Deno.PermissionDescriptor);
  }
  await using agent = startAgentHere(args, { stdin });
  if (until !== undefined) {
    await agent.line(until).catch(() => {}); // it has failed
    agent.kill("SIGINT");
  }
  ends.push(await agent.ended());
  if (made !== undefined) await Deno.remove(made, { recursive: true }).catch(() => {});
}
console.log(JSON.stringify(ends));
