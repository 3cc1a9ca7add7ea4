/** Whether tests can make links; without `@std`, because programs run without its import map. */

/**
 * Whether tests can make links. Windows requires a privilege, and Wine doesn't support links.
 */
export const HAS_LINKS = Deno.build.os !== "windows";

/** Ends a test that needs what the system doesn't have; `tests/wine/preload.ts` expects it. */
export class MissingFeatureError extends Error {}
