/**
 * Listening sockets that outlive the thread that made them.
 *
 * The threads of a process have the same file descriptors, so a thread can listen with one that
 * another thread has made. `node:net` doesn't document the properties that are used here, so their
 * presence is checked first; without them no socket can be held.
 */

import type { Server as NetServer } from "node:net";
import { loadBuiltin } from "./tls/modules.ts";

/** The members of a socket's handle that are used here. */
interface Handle {
  fdForIpc?(): number;
  close?(): void;
}

/** Makes a handle of a file descriptor, or returns the number of an error. */
type CreateHandle = (address: null, port: null, family: null, fd: number) => unknown;

/**
 * Duplicates the file descriptor of a listening socket; `null` if that is not possible. The caller
 * has to pass the number on to an owner, such as a {@linkcode HeldSocket}.
 */
export function duplicateDescriptor(server: NetServer): number | null {
  // Without this function nobody could close the duplicate.
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
  // The types know nothing of this property but that it is a function.
  return typeof createHandle === "function" ? createHandle as CreateHandle : null;
}

/** A listening socket that is kept open, accepts nothing, and can be given to a thread. */
export class HeldSocket {
  readonly #handle: Handle;

  private constructor(handle: Handle) {
    this.#handle = handle;
  }

  /**
   * Takes over a file descriptor of {@linkcode duplicateDescriptor}; `null` if that is not
   * possible.
   */
  static open(fd: number): HeldSocket | null {
    const handle = findCreateHandle()?.(null, null, null, fd);
    return typeof handle === "object" && handle !== null ? new HeldSocket(handle) : null;
  }

  /**
   * Duplicates the file descriptor, for `listen({ fd })` in a thread; `null` if that is not
   * possible.
   */
  duplicate(): number | null {
    return duplicate(this.#handle);
  }

  /** Closes this socket; its duplicates stay open. */
  close(): void {
    this.#handle.close?.();
  }
}
