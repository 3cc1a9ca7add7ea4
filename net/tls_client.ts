/**
 * The client's side of a handshake.
 *
 * @module
 */

import type { Duplex } from "node:stream";
import type { SecureContext, TLSSocket } from "node:tls";
import { addressText } from "../base/address.ts";
import { DeguError, quote, typeName } from "../base/errors.ts";
import type { Address } from "../base/session.ts";
import { endpointOf } from "./addresses.ts";
import { bounded, type ConnectBounds, connectSocket } from "./connect.ts";
import {
  describeCertificate,
  parseCertificate,
  usageProblem,
  validityProblem,
} from "./tls_certificate.ts";
import { clientMaterialOf, type ClientSslctx } from "./tls_context.ts";
import { makeDuplex } from "./tls_duplex.ts";
import { handshakeError, translateError } from "./tls_errors.ts";
import { loadBuiltin } from "./tls_modules.ts";
import { nameProblem, normaliseDnsName, normaliseIpAddress } from "./tls_names.ts";
import { checkNegotiated } from "./tls_policy.ts";
import { TlsSocket } from "./tls_socket.ts";
import { makeNetStream, type TlsStream } from "./tls_stream.ts";

/** The name that a server's certificate is checked against; `null` where the address has none. */
export function sslHostOf(address: Address): string | null {
  if (typeof address === "string" || address instanceof Uint8Array) return null;
  const [host] = address;
  return normaliseIpAddress(host) === null ? host : host.split("%")[0] ?? host;
}

/**
 * Checks the name that a server's certificate is checked against.
 *
 * @throws {TypeError} for a wrong type.
 * @throws {RangeError} where it is neither a DNS name nor an IP address, or missing but needed.
 */
export function checkSslHost(sslHost: string | null, sslctx: ClientSslctx): void {
  if (sslHost === null) {
    if (!sslctx.checkHostname) return;
    throw new RangeError(
      "sslHost: need a name to check the server's certificate against, as the address has none; " +
        "or checkHostname: false in the sslconfig",
    );
  }
  if (typeof sslHost !== "string") {
    throw new TypeError(`sslHost: need a string or null; got ${typeName(sslHost)}`);
  }
  if (normaliseIpAddress(sslHost) === null && normaliseDnsName(sslHost) === null) {
    throw new RangeError(`sslHost: need a DNS name or an IP address; got ${quote(sslHost)}`);
  }
}

/** Connects to a checked address, does the handshake, and verifies the server. */
export async function connectTls(
  address: Address,
  sslctx: ClientSslctx,
  sslHost: string | null,
  bounds: ConnectBounds,
): Promise<TlsSocket> {
  const below = await connectStream(address, bounds);
  const who = addressText(address);
  try {
    return await bounded(`the TLS handshake with ${who}`, bounds, async () => {
      try {
        return await shakeHands(below, sslctx, sslHost);
      } catch (error) {
        throw handshakeError(who, error);
      }
    });
  } catch (error) {
    below.close();
    throw error;
  }
}

/** `node:net` can't reach an address with a scope. */
async function connectStream(address: Address, bounds: ConnectBounds): Promise<TlsStream> {
  const endpoint = endpointOf(address);
  if (endpoint.transport === "tcp" && endpoint.hostname.includes("%")) {
    return makeDuplex(await connectSocket(address, bounds));
  }
  const where = endpoint.transport === "tcp"
    ? { host: endpoint.hostname, port: endpoint.port, noDelay: true }
    : { path: endpoint.path };
  return await bounded(`connecting to ${addressText(address)}`, bounds, async (signal) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const socket = loadBuiltin("node:net").connect(where);
    signal.addEventListener("abort", () => socket.destroy());
    socket.on("error", (error) => reject(translateError(error)));
    socket.once("connect", resolve);
    await promise;
    return makeNetStream(socket);
  });
}

async function shakeHands(
  below: TlsStream,
  sslctx: ClientSslctx,
  sslHost: string | null,
): Promise<TlsSocket> {
  const socket = startTls(below.stream, clientMaterialOf(sslctx), sslHost);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.once("secureConnect", resolve);
  socket.on("error", reject);
  socket.once("close", () => reject(new DeguError("the peer closed the connection")));
  try {
    await promise;
    const peerCertificate = checkServer(socket, sslctx.checkHostname ? sslHost : null);
    return new TlsSocket(socket, below, peerCertificate);
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

function startTls(
  stream: Duplex,
  secureContext: SecureContext,
  sslHost: string | null,
): TLSSocket {
  const isName = sslHost !== null && normaliseIpAddress(sslHost) === null;
  return loadBuiltin("node:tls").connect({
    socket: stream,
    secureContext,
    // Said aloud, as the default can be changed by an environment variable.
    rejectUnauthorized: true,
    // Only DNS names are sent (RFC 6066 §3); the empty one stops the library from guessing.
    servername: isName ? normaliseDnsName(sslHost) ?? "" : "",
    // The names are checked below: the library falls back to the subject.
    checkServerIdentity: () => undefined,
  });
}

/** Verifies what the library leaves open, and tells what the server's certificate says. */
function checkServer(socket: TLSSocket, host: string | null) {
  checkNegotiated(socket);
  if (!socket.authorized) throw new DeguError("the server's certificate was not verified");
  if (socket.isSessionReused()) throw new DeguError("the session was resumed");
  const der = socket.getPeerX509Certificate()?.raw;
  if (der === undefined) throw new DeguError("the server sent no certificate");
  const certificate = parseCertificate(der);
  const problem = usageProblem(certificate, "serverAuth") ??
    validityProblem(certificate, Date.now()) ??
    (host === null ? null : nameProblem(certificate, host));
  if (problem !== null) throw new DeguError(`the server's certificate ${problem}`);
  return describeCertificate(certificate);
}
