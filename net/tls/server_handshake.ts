import type { Server as TlsServer } from "node:tls";
import { TlsError } from "../../base/errors.ts";
import { disablePeerCertificateObjects, loadBuiltin } from "../transport/runtime.ts";
import { checkNegotiatedParameters, type ServerMaterial } from "./context.ts";
import { tlsError } from "./errors.ts";
import { identifyClient } from "./peer.ts";
import { ignoreError, type RawStream } from "./raw_stream.ts";
import { TlsSocket } from "./socket.ts";

/**
 * The maximum number of servers of `node:tls` that are kept for the next handshake: making a server
 * takes longer than a handshake.
 */
const MAX_IDLE_SERVERS = 8;
/**
 * Disables the time-out of `node:tls`, because the caller has one. Its timer would keep a failed
 * handshake in memory until it fires.
 */
const NO_TIMEOUT = -1;

/** After a rejection the caller closes the stream. */
export type ServerHandshake = (rawStream: RawStream) => Promise<TlsSocket>;

/**
 * Makes the function for the handshakes of one listener, whose context may change during a
 * handshake. The errors of the function don't contain text from the peer.
 *
 * A server of `node:tls` emits events that don't identify the stream. So each server runs one
 * handshake at a time. A server is not reused after a failure, because the failed handshake may
 * emit another event.
 */
export function makeServerHandshake(
  context: { readonly material: ServerMaterial },
  alpnProtocol: string | null,
): ServerHandshake {
  let idleServerTrust = context.material;
  let idleServers: TlsServer[] = [];
  const handshake = (rawStream: RawStream): Promise<TlsSocket> => {
    const handshakeTrust = context.material;
    if (handshakeTrust !== idleServerTrust) [idleServerTrust, idleServers] = [handshakeTrust, []];
    const servers = idleServers;
    const server = servers.pop() ?? makeServer(handshakeTrust, alpnProtocol);
    const { promise, resolve, reject } = Promise.withResolvers<TlsSocket>();
    server.once("secureConnection", (socket) => {
      server.removeAllListeners("tlsClientError");
      if (servers.length < MAX_IDLE_SERVERS) servers.push(server);
      disablePeerCertificateObjects(socket);
      try {
        checkNegotiatedParameters(socket, alpnProtocol);
        const certificate = identifyClient(socket, handshakeTrust, context.material);
        resolve(new TlsSocket(socket, rawStream, certificate));
      } catch (error) {
        socket.on("error", ignoreError);
        socket.destroy();
        reject(error);
      }
    });
    // Emitted for every failure of the stream or of the handshake.
    server.once("tlsClientError", (error, failedSocket) => {
      server.removeAllListeners("secureConnection");
      // If a certificate was refused, the error says only that the connection was closed.
      const code: unknown = failedSocket.authorizationError;
      const certificateCode = typeof code === "string" ? code : undefined;
      reject(tlsError("client", error, handshakeTrust.authorities, certificateCode));
    });
    server.emit("connection", rawStream.stream);
    return promise;
  };
  return async (rawStream) => {
    try {
      if (!rawStream.stream.destroyed) return await handshake(rawStream);
      throw new TlsError("CLOSED", "the peer closed the connection");
    } catch (error) {
      throw error instanceof Error ? tlsError("client", error) : error;
    }
  };
}

function makeServer({ options }: ServerMaterial, alpnProtocol: string | null): TlsServer {
  return loadBuiltin("node:tls").createServer({
    ...options,
    ...(alpnProtocol === null ? {} : { ALPNProtocols: [alpnProtocol] }),
    handshakeTimeout: NO_TIMEOUT,
  });
}
