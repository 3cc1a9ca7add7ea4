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

import { runAgent } from "./program.ts";

if (import.meta.main) Deno.exit(await runAgent(Deno.args));
