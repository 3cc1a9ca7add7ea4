/**
 * The server's side of handshakes, and the only place where a client is found good enough.
 *
 * @module
 */

import type { Duplex } from "node:stream";
import type { Server as TlsServer, TLSSocket } from "node:tls";
import { TlsError } from "../base/errors.ts";
import type { PeerCertificate } from "../base/session.ts";
import { describeCertificate, fingerprint256, parseCertificate } from "./tls_certificate.ts";
import { presentedChain } from "./tls_chain.ts";
import type { ServerMaterial } from "./tls_context.ts";
import { tlsErrorOf } from "./tls_errors.ts";
import { loadBuiltin } from "./tls_modules.ts";
import { checkPeer, noAuthority } from "./tls_peer.ts";
import { checkNegotiated } from "./tls_policy.ts";

/** Servers that are kept for the next handshake; making one takes longer than a handshake. */
const MAX_IDLE = 8;
/** Certificates that are remembered for resumed sessions, so that strangers can't fill the memory. */
const MAX_VERIFIED = 10_000;
/**
 * `node:tls` has no time-out of its own then, as the caller has one. The timer would keep what belongs
 * to a handshake until it fires, also where that has failed.
 */
const NO_TIMEOUT = -1;

/** A connection that is encrypted, and the verified certificate of its client. */
export interface Shaken {
  readonly socket: TLSSocket;
  readonly peerCertificate: PeerCertificate | null;
}

/** Does the handshakes of one context. */
export class Handshakes {
  readonly #material: ServerMaterial;
  readonly #idle: TlsServer[] = [];

  /** Makes handshakes with what belongs to a context. */
  constructor(material: ServerMaterial) {
    this.#material = material;
  }

  /** Does a handshake over a stream, which it destroys where it rejects. */
  async shake(stream: Duplex): Promise<Shaken> {
    try {
      const socket = await this.#run(stream);
      try {
        return { socket, peerCertificate: this.#checkClient(socket) };
      } catch (error) {
        socket.destroy();
        throw error;
      }
    } catch (error) {
      stream.destroy();
      throw error;
    }
  }

  /**
   * The events of `node:tls` come from a server, and don't say which stream they are about. So a
   * server has one handshake at a time; where that has failed another event may still come, and the
   * server is not used again.
   */
  async #run(stream: Duplex): Promise<TLSSocket> {
    if (stream.destroyed) throw new TlsError("CLOSED", "the peer closed the connection");
    const server = this.#idle.pop() ?? this.#makeServer();
    const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>();
    server.once("secureConnection", resolve);
    // This comes however the stream or the handshake ends.
    server.once("tlsClientError", (error, failed) => reject(findReason(error, failed)));
    server.emit("connection", stream);
    const socket = await promise;
    server.removeAllListeners("secureConnection");
    server.removeAllListeners("tlsClientError");
    socket.on("error", () => {});
    if (this.#idle.length < MAX_IDLE) this.#idle.push(server);
    return socket;
  }

  #makeServer(): TlsServer {
    const { ca, ...options } = this.#material.options;
    return loadBuiltin("node:tls").createServer({
      ...options,
      ...(ca === undefined ? {} : { ca: [...ca] }),
      handshakeTimeout: NO_TIMEOUT,
    });
  }

  /** Verifies what the library leaves open, and tells what the client's certificate says. */
  #checkClient(socket: TLSSocket): PeerCertificate | null {
    checkNegotiated(socket);
    if (!this.#material.options.requestCert) return null;
    // A resumed session may come without a certificate, and the library lets it pass.
    if (!socket.authorized) {
      throw new TlsError("UNTRUSTED", "the client's certificate was not verified");
    }
    const chain = presentedChain(socket);
    if (chain === null) throw new TlsError("NO_CERTIFICATE", "the client sent no certificate");
    const certificate = parseCertificate(chain[0]);
    checkPeer("client", certificate);
    this.#checkVerified(socket.isSessionReused(), fingerprint256(certificate.raw));
    const authority = this.#material.authorities.find(chain, "clientAuth");
    if (authority === null) throw noAuthority("client");
    return describeCertificate(certificate, authority);
  }

  /**
   * The tickets of all TLS servers in a process are sealed with one key, and a resumed session brings
   * along its certificate without it being verified again. So what another server has let in, with
   * other authorities or with none, would be let in here. A session is resumed only where this
   * context has verified the same certificate before.
   */
  #checkVerified(resumed: boolean, fingerprint: string): void {
    const { verified } = this.#material;
    if (resumed && !verified.has(fingerprint)) {
      throw new TlsError(
        "POLICY",
        "the client resumed a session that this server has not begun",
      );
    }
    verified.delete(fingerprint);
    verified.add(fingerprint);
    if (verified.size > MAX_VERIFIED) {
      for (const oldest of verified) {
        verified.delete(oldest);
        break;
      }
    }
  }
}

/** Where a certificate was refused the library's own error says only that the connection is gone. */
function findReason(error: Error, socket: TLSSocket): TlsError {
  const code: unknown = socket.authorizationError;
  return tlsErrorOf("client", error, typeof code === "string" ? code : undefined);
}
