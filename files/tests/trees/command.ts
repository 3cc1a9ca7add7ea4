/**
 * The command that runs random transfers of trees, in a process that may create links and mount
 * disks.
 */

import { findObstacle } from "@degu/testing/commands.ts";
import { fileURLToPath } from "node:url";

/** Namespaces in which disks can be mounted. The first needs root, and allows all file systems. */
const NAMESPACES = [["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]];
/** Without these capabilities, even root can't bypass file modes. */
const OVERRIDES = "-dac_override,-dac_read_search";
const WITHOUT_OVERRIDES = ["setpriv", `--bounding-set=${OVERRIDES}`, `--inh-caps=${OVERRIDES}`];

/**
 * Returns the command, with the arguments of `files/tests/trees/main.ts`. If possible, it runs in a
 * mount namespace, so that a disk can become full, and without the capability to read all files.
 */
export async function treesCommand(...args: string[]): Promise<Deno.Command> {
  const main = fileURLToPath(import.meta.resolve("./main.ts"));
  const flags = ["run", "--quiet", "--no-prompt", "--no-check", "-A"];
  const command = [Deno.execPath(), ...flags, main, ...args];
  for (const namespace of NAMESPACES) {
    const mount = [...namespace, "mount", "-t", "tmpfs", "tmpfs", "/tmp"];
    if (await findObstacle(mount) !== null) continue;
    const dropObstacle = await findObstacle([...namespace, ...WITHOUT_OVERRIDES, "true"]);
    command.unshift(...namespace, ...(dropObstacle === null ? WITHOUT_OVERRIDES : []));
    break;
  }
  const [program = "", ...rest] = command;
  return new Deno.Command(program, { args: rest, stdin: "null", stdout: "piped", stderr: "piped" });
}
