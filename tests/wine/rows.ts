/** The tests that can't pass under Wine, by the reason. */

export const ROWS: Readonly<Record<string, readonly string[]>> = {};
