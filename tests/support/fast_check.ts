/** The package fast-check. `deno task` downloads each npm package that a deno.json imports. */
export * from "npm:fast-check@4.10.2";
export { default } from "npm:fast-check@4.10.2";
