/**
 * The program `degu`: files between a person's own devices, over mutual TLS, without a third party.
 *
 * The module exports nothing, and importing it does nothing. Run or install it;
 * docs/permissions.md has the exact permissions of each command:
 *
 * ```sh
 * deno run jsr:@degu/agent --help
 * ```
 *
 * @module
 */

import { writeToStdout } from "./terminal/output_stream.ts";
import { VERSION } from "./version.ts";

/** Prints the version without loading the program. */
function printVersion([option, ...others]: readonly string[]): boolean {
  if (others.length > 0 || option !== "--version" && option !== "-V") return false;
  try {
    writeToStdout(Deno, `${VERSION}\n`);
    return true;
  } catch {
    // The program reports the error.
    return false;
  }
}

if (import.meta.main && !printVersion(Deno.args)) {
  const { runAgent } = await import("./program.ts");
  Deno.exit(await runAgent(Deno.args));
}
