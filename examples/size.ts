// Not a program: tutorial.ts and devices.ts import this module.

export const MEBIBYTE = 1024 * 1024;

/**
 * Parses the argument of the program, in MiB, and returns it in bytes. Ends the program if the
 * argument is invalid.
 */
export function parseSizeArgument(): number {
  const [size = "256"] = Deno.args;
  if (!/^[1-9]\d{0,3}$/.test(size)) {
    console.error(`The argument is the size in MiB, a whole number from 1 to 9999, not "${size}".`);
    Deno.exit(2);
  }
  return Number(size) * MEBIBYTE;
}
