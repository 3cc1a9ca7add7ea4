/**
 * How the programs of row 10 say that they are ready.
 *
 * @module
 */

/** Says that the program is ready. It then waits to be ended. */
export function sayReady(): void {
  Deno.stdout.writeSync(new TextEncoder().encode('{"ready":true}\n'));
}

/** Throws unless the first response is the right one. */
export function checkFirst(status: number, body: Uint8Array): void {
  if (status !== 200 || body.length !== 1) throw new Error("the first response is wrong");
}

/** The body of the first response. */
export const firstBody: Uint8Array<ArrayBuffer> = Uint8Array.of(42);
