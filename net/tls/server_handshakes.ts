/**
 * The server's side of handshakes.
 *
 * @module
 */

import type { Duplex } from "node:stream";
import type { Server as TlsServer, TLSSocket } from "node:tls";
import { TlsError } from "../../base/errors.ts";
import type { PeerCertificate } from "../../base/app/session.ts";
import { checkClient } from "./client_checks.ts";
import type { ContextInForce, ServerMaterial } from "./context.ts";
import { skipDescriptions } from "./descriptions.ts";
import { tlsErrorOf } from "./errors.ts";
import { loadBuiltin } from "./modules.ts";
import { checkProtocol } from "./policy.ts";

/** Servers that are kept for the next handshake; making one takes longer than a handshake. */
const MAX_IDLE = 8;
/**
 * Switches off the time-out of `node:tls`, because the caller has one. Its timer would keep a handshake
 * in memory until it fires, even after the handshake has failed.
 */
const NO_TIMEOUT = -1;

/** An encrypted connection, and the verified certificate of its client. */
export interface HandshakeResult {
  readonly socket: TLSSocket;
  readonly peerCertificate: PeerCertificate | null;
}

/** Does the handshakes of one listener. */
export class Handshakes {
  readonly #context: ContextInForce;
  readonly #protocol: string | null;
  /** The context that the idle servers were made with. */
  #material: ServerMaterial;
  #idle: TlsServer[] = [];

  /**
   * Makes the handshakes for a context, which may have changed when a handshake is over.
   *
   * @param protocol The name by ALPN that both ends must give, or `null` for none.
   */
  constructor(context: ContextInForce, protocol: string | null) {
    this.#context = context;
    this.#protocol = protocol;
    this.#material = context.material;
  }

  /**
   * Does a handshake over a stream, which it destroys if it rejects.
   *
   * @param take Takes over the connection, synchronously in the event that ends its handshake.
   */
  async handshake<T>(stream: Duplex, take: (result: HandshakeResult) => T): Promise<T> {
    try {
      const begun = this.#context.material;
      return await this.#run(stream, begun, (socket) => {
        checkProtocol(socket, this.#protocol);
        return take({ socket, peerCertificate: checkClient(socket, begun, this.#context.material) });
      });
    } catch (error) {
      stream.destroy();
      throw error;
    }
  }

  /**
   * The events of `node:tls` come from a server, and don't identify the stream. So a server does one
   * handshake at a time; after a failed one another event may still follow, so it is not reused.
   */
  async #run<T>(
    stream: Duplex,
    material: ServerMaterial,
    take: (socket: TLSSocket) => T,
  ): Promise<T> {
    if (stream.destroyed) throw new TlsError("CLOSED", "the peer closed the connection");
    const idle = this.#idleFor(material);
    const server = idle.pop() ?? makeServer(material, this.#protocol);
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    server.once("secureConnection", (socket) => {
      server.removeAllListeners("tlsClientError");
      if (idle.length < MAX_IDLE) idle.push(server);
      socket.on("error", () => {});
      // Deno 2.9 never ends describing certificates of which two that are trusted have signed each other.
      skipDescriptions(socket);
      try {
        resolve(take(socket));
      } catch (error) {
        socket.destroy();
        reject(error);
      }
    });
    // Emitted however the stream or the handshake ends.
    server.once("tlsClientError", (error, failed) => {
      server.removeAllListeners("secureConnection");
      reject(findReason(error, failed));
    });
    server.emit("connection", stream);
    return await promise;
  }

  /** The idle servers made with this; those of another context are dropped. */
  #idleFor(material: ServerMaterial): TlsServer[] {
    if (material !== this.#material) {
      this.#material = material;
      this.#idle = [];
    }
    return this.#idle;
  }
}

function makeServer(
  { options: { ca, ...options } }: ServerMaterial,
  protocol: string | null,
): TlsServer {
  return loadBuiltin("node:tls").createServer({
    ...options,
    ...(ca === undefined ? {} : { ca: [...ca] }),
    ...(protocol === null ? {} : { ALPNProtocols: [protocol] }),
    handshakeTimeout: NO_TIMEOUT,
  });
}

/** If a certificate was refused, the library's own error says only that the connection is gone. */
function findReason(error: Error, socket: TLSSocket): TlsError {
  const code: unknown = socket.authorizationError;
  return tlsErrorOf("client", error, typeof code === "string" ? code : undefined);
}
