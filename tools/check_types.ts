/**
 * Type-checks every module of the project, the tests against the `@std` packages that can be had.
 *
 * @module
 */

import { findStandardLibrary, runDeno } from "./standard_library.ts";

const standardLibrary = await findStandardLibrary();
console.log(standardLibrary.description);
Deno.exit(await runDeno(["check", ...standardLibrary.flags, "."]));
