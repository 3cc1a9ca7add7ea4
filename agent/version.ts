/** The version in `deno.json`, which a published program doesn't load. */
export const VERSION = "0.1.0";
