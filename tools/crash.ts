/**
 * Runs `tests/crash/main.ts` with the `@std` packages that are available. All arguments are flags of `deno
 * run`.
 *
 * @module
 */

import { chooseStandardLibrary, runDeno } from "./standard_library.ts";

const flags = [...await chooseStandardLibrary(), `--allow-run=${Deno.execPath()}`, ...Deno.args];
Deno.exit(await runDeno(["run", ...flags, "tests/crash/main.ts"]));
