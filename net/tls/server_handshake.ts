/** The server's side of a handshake, and every decision about the certificate of a client. */

import type { Server as TlsServer, TLSSocket } from "node:tls";
import type { PeerAuthority, PeerCertificate } from "../../base/app/session.ts";
import { TlsError } from "../../base/errors.ts";
import { forgetOldest } from "../../base/forget_oldest.ts";
import { type Certificate, describeCertificate } from "./certificate.ts";
import type { ServerMaterial } from "./context.ts";
import { tlsErrorOf } from "./errors.ts";
import { loadBuiltin } from "./modules.ts";
import { type Chain, findIssuingAuthority, skipDescriptions, verifyPeer } from "./peer.ts";
import { checkNegotiated, checkProtocol } from "./policy.ts";
import type { RawStream } from "./raw_stream.ts";
import { TlsSocket } from "./socket.ts";

/** Servers that are kept for the next handshake; making one takes longer than a handshake. */
const MAX_IDLE = 8;
/**
 * Switches off the time-out of `node:tls`, because the caller has one. Its timer would keep a handshake
 * in memory until it fires, even after the handshake has failed.
 */
// mutant `1` → `2`: any number below 0 does
const NO_TIMEOUT = -1;
/** How many verified certificates are remembered; resuming a session with any other one is refused. */
const MAX_VERIFIED = 10_000;

/** Does a handshake over a stream, which it closes if it rejects. */
export type ServerHandshake = (rawStream: RawStream) => Promise<TlsSocket>;

/**
 * Makes what does the handshakes of one listener, for a context that may have changed when one of them is over. None of
 * its errors contains text chosen by the peer.
 *
 * The events of `node:tls` come from a server, and don't identify the stream. So a server does one handshake at a time;
 * after a failed one another event may still follow, so it is not reused.
 *
 * @param protocol The name by ALPN that both ends must give, or `null` for none.
 */
export function makeServerHandshake(
  context: { readonly material: ServerMaterial },
  protocol: string | null,
): ServerHandshake {
  // The idle servers, and what they were made with.
  let material = context.material;
  let idle: TlsServer[] = [];
  const handshake = (rawStream: RawStream): Promise<TlsSocket> => {
    const begun = context.material;
    if (begun !== material) [material, idle] = [begun, []];
    const own = idle;
    const server = own.pop() ?? makeServer(begun, protocol);
    const { promise, resolve, reject } = Promise.withResolvers<TlsSocket>();
    server.once("secureConnection", (socket) => {
      server.removeAllListeners("tlsClientError");
      if (own.length < MAX_IDLE) own.push(server);
      socket.on("error", () => {});
      // Deno 2.9 never ends describing certificates of which two that are trusted have signed each other.
      skipDescriptions(socket);
      try {
        checkProtocol(socket, protocol);
        resolve(new TlsSocket(socket, rawStream, checkClient(socket, begun, context.material)));
      } catch (error) {
        socket.destroy();
        reject(error);
      }
    });
    // Emitted however the stream or the handshake ends.
    server.once("tlsClientError", (error, failed) => {
      server.removeAllListeners("secureConnection");
      // If a certificate was refused, the error says only that the connection is gone.
      const code: unknown = failed.authorizationError;
      reject(tlsErrorOf("client", error, typeof code === "string" ? code : undefined));
    });
    server.emit("connection", rawStream.stream);
    return promise;
  };
  return async (rawStream) => {
    try {
      if (!rawStream.stream.destroyed) return await handshake(rawStream);
      throw new TlsError("CLOSED", "the peer closed the connection");
    } catch (error) {
      rawStream.close();
      throw error instanceof Error ? tlsErrorOf("client", error) : error;
    }
  };
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

/** Whether a client that was accepted is trusted by what is in force. */
export function isStillTrusted(
  certificate: PeerCertificate | null,
  inForce: ServerMaterial,
): boolean {
  if (!inForce.options.requestCert) return true;
  const authority = certificate?.authority ?? null;
  return authority !== null && inForce.authorities.trusts(authority.publicKey256);
}

/**
 * Makes the checks that the TLS library leaves to us, and describes the client's certificate; `null` if none is
 * requested.
 *
 * @param begun What the handshake began with, and the library has verified the certificate with.
 * @param inForce What is in force now, and decides.
 */
function checkClient(
  socket: TLSSocket,
  begun: ServerMaterial,
  inForce: ServerMaterial,
): PeerCertificate | null {
  checkNegotiated(socket);
  if (!inForce.options.requestCert) return null;
  if (!begun.options.requestCert) {
    throw new TlsError("NO_CERTIFICATE", "the client was not asked for a certificate");
  }
  const { chain, leaf } = verifyPeer("client", socket);
  const authority = socket.isSessionReused()
    ? recallAuthority(chain, leaf, inForce)
    : verifyAuthority(chain, leaf, begun, inForce);
  return describeCertificate(leaf, authority);
}

/** The authority that vouched for a certificate which the library has just verified. */
function verifyAuthority(
  chain: Chain,
  leaf: Certificate,
  begun: ServerMaterial,
  inForce: ServerMaterial,
): PeerAuthority {
  const verified = findIssuingAuthority("client", begun.authorities, chain);
  rememberVerified(leaf.certificate256, verified.publicKey256);
  if (begun === inForce) return verified;
  const authority = inForce.authorities.find(chain, "clientAuth");
  if (authority !== null) return authority;
  throw new TlsError("UNTRUSTED", "the client's authority is not trusted any more");
}

/**
 * The authority of a resumed session: the library has not verified its certificate, so it must have been
 * verified before, by an authority that is trusted now.
 */
function recallAuthority(
  chain: Chain,
  leaf: Certificate,
  inForce: ServerMaterial,
): PeerAuthority {
  const keys = recallVerified(leaf.certificate256);
  if (keys.values().some((publicKey256) => inForce.authorities.trusts(publicKey256))) {
    const authority = inForce.authorities.find(chain, "clientAuth");
    if (authority !== null) return authority;
  }
  if (keys.size > 0) {
    throw new TlsError("UNTRUSTED", "the client resumed a session, whose authority is not trusted");
  }
  throw new TlsError(
    "POLICY",
    "the client resumed a session whose certificate was not verified by this process",
  );
}

/**
 * The certificates of clients that were verified in this process, by their SHA-256, each with the SHA-256 of the keys of
 * the authorities that vouched for it; the most recently used last. What was verified outlives the context that it was
 * verified with.
 *
 * The tickets of all TLS servers in a process are encrypted with one key, and a resumed session brings its
 * certificate along, which is not verified again. So a client that another server has accepted, with other
 * authorities or with none, would be accepted everywhere, and one that was accepted once, forever.
 */
const verifiedClients = new Map<string, Set<string>>();

/** Remembers that the authority with this key was found to have vouched for a certificate. */
export function rememberVerified(certificate256: string, publicKey256: string): void {
  verifiedClients.set(certificate256, recallVerified(certificate256).add(publicKey256));
  forgetOldest(verifiedClients, MAX_VERIFIED);
}

/** The keys of the authorities that vouched for a certificate; none if it was never verified. */
export function recallVerified(certificate256: string): Set<string> {
  const keys = verifiedClients.get(certificate256);
  if (keys === undefined) return new Set();
  // Re-inserted as the most recently used.
  verifiedClients.delete(certificate256);
  verifiedClients.set(certificate256, keys);
  return keys;
}
