/**
 * Type-checks every module of the project; the tests against the `@std` packages that are available.
 *
 * @module
 */

import { chooseStandardLibrary, runDeno } from "./standard_library.ts";

Deno.exit(await runDeno(["check", ...await chooseStandardLibrary(), "."]));
