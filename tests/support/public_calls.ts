/**
 * Loaded before tests and programs, with `--preload`: removes the private parts of the runtime that
 * TLS uses, as if sockets of `node:net` couldn't be paused, and only public calls returned the
 * certificate of a peer.
 */

import { Socket } from "node:net";
import { TLSSocket } from "node:tls";

// Without it, the package finds no method that pauses a socket.
Object.defineProperty(globalThis.process, "binding", { value: undefined });
const socket = new TLSSocket(new Socket(), {});
const { _handle: handle } = socket as unknown as { readonly _handle: object };
Object.defineProperty(Object.getPrototypeOf(handle), "getPeerCertificateChain", {
  value: undefined,
});
socket.destroy();
