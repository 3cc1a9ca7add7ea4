/**
 * The private parts of Deno's runtime that this package uses, and the modules of Node that TLS
 * needs. No other module uses a private part. If a version of Deno lacks one, connections over TLS
 * fail.
 */

import type { Server as NetServer, Socket as NetSocket } from "node:net";
import type { TLSSocket } from "node:tls";
import { releaseMemory } from "../../internal/bytes.ts";

// ───────────────────────── sockets of node:net

interface StreamHandle {
  readStop(): number;
  readStart(): number;
  listen(backlog: number): number;
  /** Called with received bytes, which TLS decrypts before the function returns. */
  onread?: (this: StreamHandle, piece: unknown) => void;
}

/** Returns the handle of a socket or a listener; `null` after its close. */
function handleOf(owner: NetSocket | NetServer): StreamHandle | null {
  return (owner as unknown as { readonly _handle: StreamHandle | null })._handle;
}

/**
 * Pausing only the `TLSSocket` has no effect: Deno decrypts and buffers all received bytes, and a
 * peer could fill the memory. So the socket below must stop reading.
 */
export function pauseReads(socket: NetSocket): void {
  handleOf(socket)?.readStop();
}

export function resumeReads(socket: NetSocket): void {
  handleOf(socket)?.readStart();
}

/** Call it once, after the handshake. */
export function freeMemoryAfterReads(socket: NetSocket): void {
  const handle = handleOf(socket);
  const onRead = handle?.onread;
  // Without this part, the garbage collector frees the memory.
  if (handle === null || typeof onRead !== "function") return;
  handle.onread = function (piece) {
    onRead.call(this, piece);
    if (piece instanceof ArrayBuffer) releaseMemory(new Uint8Array(piece));
  };
  // The handle reads `onread` only when it starts reading.
  handle.readStop();
  handle.readStart();
}

/**
 * Makes a listener of `node:net` listen again. If the process has no free file descriptors, such a
 * listener stops listening, and emits no event.
 */
export function listenAgain(server: NetServer, backlog: number): void {
  handleOf(server)?.listen(backlog);
}

// ───────────────────────── certificates

interface TlsHandle {
  getPeerCertificateChain(): { readonly certificates: readonly Uint8Array[] } | null;
}

/**
 * Reads the certificates that a peer has presented, in DER and with its own certificate first. The
 * TLS library may add a trusted certificate by its name: only signatures show which certificates
 * belong together.
 */
export function readCertificateChain(socket: TLSSocket): readonly Uint8Array[] {
  const handle = (socket as unknown as { readonly _handle: TlsHandle })._handle;
  return handle.getPeerCertificateChain()?.certificates ?? [];
}

/**
 * Makes `getPeerCertificate()` of a socket return an empty object.
 *
 * The library calls the method in the handshake, for its own check of the server's name, and
 * converts each presented and each trusted certificate to an object. Deno 2.9 loops
 * forever on two trusted certificates that have signed each other. Degu parses the bytes instead.
 */
export function disablePeerCertificateObjects(socket: TLSSocket): void {
  Object.defineProperty(socket, "getPeerCertificate", { value: makeEmptyObject });
}

function makeEmptyObject(): object {
  return {};
}

// ───────────────────────── connecting

// All signals share this function: a closure for each signal would keep its attempt in memory.
const doNothing = () => {};

/**
 * Makes a signal for `Deno.connect` ignore an abort after the connect: Deno calls
 * `throwIfAborted()` then, and a throw would leak the open socket.
 */
export function ignoreLateAbort(signal: AbortSignal): void {
  signal.throwIfAborted = doNothing;
}

// ───────────────────────── modules

interface Builtins {
  "node:crypto": typeof import("node:crypto");
  "node:net": typeof import("node:net");
  "node:stream": typeof import("node:stream");
  "node:tls": typeof import("node:tls");
}

/** Loads a module on demand: loading is slow, even accessing `process` costs ten milliseconds. */
export function loadBuiltin<Name extends keyof Builtins>(name: Name): Builtins[Name] {
  return globalThis.process.getBuiltinModule(name);
}
