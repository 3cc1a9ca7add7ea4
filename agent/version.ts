/** The version in `deno.json`, which a published program doesn't load. */
export const VERSION = "0.1.0";
/** In a bundle, all modules are in one directory. */
export const MAIN_MODULE: URL = new URL("./main.ts", import.meta.url);
