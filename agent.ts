/**
 * The program `degu`: files between one's own devices, over mutual TLS, without a third party.
 *
 * Run it with `deno run jsr:@degu/degu/agent --help`. Importing it does nothing.
 *
 * @module
 */

import { runAgent } from "./agent/program.ts";

if (import.meta.main) Deno.exit(await runAgent(Deno.args));
