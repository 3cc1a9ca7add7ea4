/** Ports that were free a moment ago, and how to take an address again. */

import { within } from "./raw_peer.ts";

/** Below the ports that any system chooses itself, for listeners without a port or for connections. */
const FIRST = 20_000;
const COUNT = 12_000;

/** A port at which nobody listens, and which nobody gets who doesn't ask for it. */
export async function unusedPort(): Promise<number> {
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

/** An address that stays free once its listener was closed: the system gives its port to nobody. */
export async function ownAddress(): Promise<readonly [host: string, port: number]> {
  return ["127.0.0.1", await unusedPort()];
}

/**
 * Listens at an address whose listener was closed, until that succeeds.
 *
 * A program that another test starts at that moment has a copy of the listening socket until it runs, for some
 * milliseconds. The address must be an {@linkcode ownAddress} or have a name: anybody may get a port that the system
 * had chosen, for as long as they like.
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
    return await within(attempts(), "the address is free");
  } finally {
    isLate = true;
  }
}
