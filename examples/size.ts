// Not a program: the argument of tutorial.ts and devices.ts.

const MEBIBYTE = 1024 * 1024;

/**
 * Returns how many bytes a program sends: 256 MiB, or as many MiB as its argument says. Ends the
 * program if the argument is something else.
 */
export function bytesToSend(): number {
  const [size = "256"] = Deno.args;
  if (!/^[1-9]\d{0,3}$/.test(size)) {
    console.error(`The argument is the size in MiB, a whole number from 1 to 9999, not "${size}".`);
    Deno.exit(2);
  }
  return Number(size) * MEBIBYTE;
}
