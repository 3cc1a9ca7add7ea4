/**
 * The version of the program.
 *
 * @module
 */

/** The version, as in `deno.json`, which is not part of what a program loads. */
export const VERSION = "0.1.0";
