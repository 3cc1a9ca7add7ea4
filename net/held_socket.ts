/**
 * Listening sockets that outlive the thread that made them.
 *
 * The threads of a process have the same file descriptors, so a thread can listen with one that another
 * thread has made. What is used of `node:net` here isn't documented, so it is looked for first; without
 * it there is nothing to hold.
 */

import type { Server as NetServer } from "node:net";
import { loadBuiltin } from "./tls/modules.ts";

/** The part of a socket's handle that is used. */
interface Handle {
  fdForIpc?(): number;
  close?(): void;
}

/** Makes a handle of a file descriptor, or returns the number of an error. */
type CreateHandle = (address: null, port: null, family: null, fd: number) => unknown;

/**
 * Duplicates the file descriptor of a listening socket; `null` if that is not possible. The number belongs to whoever
 * opens it, as {@linkcode HeldSocket} does.
 */
export function duplicateDescriptor(server: NetServer): number | null {
  // Else nobody could close the duplicate.
  if (findCreateHandle() === null) return null;
  // The property is not part of the types, but every listening server has it.
  return duplicate((server as NetServer & { readonly _handle?: Handle | null })._handle);
}

function duplicate(handle: Handle | null | undefined): number | null {
  const fd = handle?.fdForIpc?.();
  return typeof fd === "number" && fd >= 0 ? fd : null;
}

function findCreateHandle(): CreateHandle | null {
  const net: Record<string, unknown> = loadBuiltin("node:net");
  const createHandle = net["_createServerHandle"];
  // Its type is not known to be more than a function.
  return typeof createHandle === "function" ? createHandle as CreateHandle : null;
}

/** A listening socket that is kept open, accepts nothing, and can be given to a thread. */
export class HeldSocket {
  readonly #handle: Handle;

  private constructor(handle: Handle) {
    this.#handle = handle;
  }

  /** Takes over the file descriptor that {@linkcode duplicateDescriptor} returned; `null` if that is not possible. */
  static open(fd: number): HeldSocket | null {
    const handle = findCreateHandle()?.(null, null, null, fd);
    return typeof handle === "object" && handle !== null ? new HeldSocket(handle) : null;
  }

  /** Duplicates its file descriptor, for `listen({ fd })` in a thread; `null` if that is not possible. */
  duplicate(): number | null {
    return duplicate(this.#handle);
  }

  /** Closes it; the duplicates stay open. */
  close(): void {
    this.#handle.close?.();
  }
}
