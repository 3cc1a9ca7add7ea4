/**
 * How the programs of row 10 report that they are ready.
 *
 * @module
 */

/** Says that the program is ready, waits until standard input ends, and ends the program. */
export async function sayReady(): Promise<never> {
  Deno.stdout.writeSync(new TextEncoder().encode('{"ready":true}\n'));
  const buffer = new Uint8Array(64);
  while (await Deno.stdin.read(buffer) !== null);
  Deno.exit(0);
}

/** Throws unless the first response is the right one. */
export function checkFirst(status: number, body: Uint8Array): void {
  if (status !== 200 || body.length !== 1) throw new Error("the first response is wrong");
}

/** The body of the first response. */
export const firstBody: Uint8Array<ArrayBuffer> = Uint8Array.of(42);
