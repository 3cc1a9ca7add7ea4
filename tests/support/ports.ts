/** Ports that were free a moment ago, and ways to listen at an address again. */

import { withTimeout } from "./raw_peer.ts";

/** The first port, below those that any system chooses itself for listeners or connections. */
const FIRST = 20_000;
const COUNT = 12_000;

/** A port without a listener, which only a program that asks for it can get. */
export async function findUnusedPort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionRefused) return port;
      throw error;
    }
  }
}

/**
 * An address that stays free after its listener is closed: the system gives its port to no other
 * program.
 */
export async function findOwnAddress(): Promise<readonly [host: string, port: number]> {
  return ["127.0.0.1", await findUnusedPort()];
}

/**
 * Listens at an address whose listener was closed, until that succeeds.
 *
 * A program that another test is starting has a copy of the listening socket for some milliseconds.
 * The address must be an {@linkcode findOwnAddress} or have a name: any program may get a port that the
 * system had chosen, for as long as it likes.
 */
export async function listenAgain<T>(listen: () => T | Promise<T>): Promise<T> {
  let isLate = false;
  const attempts = async () => {
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
    return await withTimeout(attempts(), "the address is free");
  } finally {
    isLate = true;
  }
}
