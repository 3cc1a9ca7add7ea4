// Not a program: tutorial.ts and devices.ts import this module.

const MEBIBYTE = 1024 * 1024;

/**
 * Returns the number of bytes that a program sends: its argument in MiB, by default 256. Ends the
 * program if the argument is invalid.
 */
export function bytesToSend(): number {
  const [size = "256"] = Deno.args;
  if (!/^[1-9]\d{0,3}$/.test(size)) {
    console.error(`The argument is the size in MiB, a whole number from 1 to 9999, not "${size}".`);
    Deno.exit(2);
  }
  return Number(size) * MEBIBYTE;
}
