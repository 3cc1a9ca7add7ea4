/** Programs and tests on a machine without a network. */
import { runOrThrow } from "@degu/testing/commands.ts";
import { findNetworkObstacle, THROUGH_NAMESPACE } from "@degu/testing/namespaces.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { ROOT } from "@degu/testing/tree.ts";
import { assertStringIncludes } from "@std/assert";

const WITHOUT_NETWORK = [...THROUGH_NAMESPACE, "sh", "-c", 'ip link set lo up && exec "$@"', "sh"];

const rows: [task: string[], printed: string][] = [
  [["demo", "1"], "Both ends agree on the SHA-256: true"],
  [["agent", "--help"], "files between your own devices"],
];
const obstacle = await findNetworkObstacle();
for (const [task, printed] of rows) {
  Deno.test(
    `deno task ${task.join(" ")} needs no network when its modules are in the cache`,
    ignoreIf(obstacle),
    async () => {
      const command = [...WITHOUT_NETWORK, Deno.execPath(), "task", ...task];
      const output = await runOrThrow(command, { cwd: ROOT, env: { NO_COLOR: "1" } });
      assertStringIncludes(output, printed);
    },
  );
}
