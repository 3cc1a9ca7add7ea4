/** Prints the names of the tests in modules as JSON, and runs no test. The arguments are paths. */

import { patchTests } from "./patch_tests.ts";

const nameOf = (argument: unknown): unknown =>
  typeof argument === "string" ? argument : (argument as { readonly name?: unknown }).name;

const names: unknown[] = [];
patchTests((_test, args) => {
  names.push(args.map(nameOf).find((name) => typeof name === "string" && name !== ""));
});
for (const path of Deno.args) await import(new URL(`../../${path}`, import.meta.url).href);
console.log(JSON.stringify(names));
