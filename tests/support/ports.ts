/** Ports that were free a moment ago, and ways to listen at an address again. */

import { withTimeout } from "./raw_peer.ts";

/** The first of the ports, below the range from which systems choose ports. */
const FIRST_PORT = 20_000;
const PORT_COUNT = 12_000;

/** Finds a port without a listener, outside the range from which the system chooses ports. */
export async function findUnusedPort(): Promise<number> {
  for (;;) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORT_COUNT);
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionRefused) return port;
      throw error;
    }
  }
}

/**
 * Finds an address that stays free after its listener is closed, because the system gives its port
 * to no other program.
 */
export async function findOwnAddress(): Promise<readonly [host: string, port: number]> {
  return ["127.0.0.1", await findUnusedPort()];
}

/**
 * Listens at an address whose listener was closed, with retries until that succeeds: a program that
 * another test is starting has a copy of the listening socket for some milliseconds.
 *
 * The address must be an {@linkcode findOwnAddress} or a path. Another program could get any other
 * port that the system chose.
 */
export async function listenAgain<T>(listen: () => T | Promise<T>): Promise<T> {
  let isLate = false;
  const listenWithRetries = async () => {
    for (;;) {
      try {
        return await listen();
      } catch (error) {
        if (isLate || !(error instanceof Deno.errors.AddrInUse)) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
  try {
    return await withTimeout(listenWithRetries(), "the address is free");
  } finally {
    isLate = true;
  }
}
