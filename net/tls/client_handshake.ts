import {
  type Address,
  canonicalizeDnsName,
  isUnixAddress,
  removePrefixLength,
  removeZone,
} from "../../base/address.ts";
import { notAllowedError, wrongTypeError } from "../../internal/checks.ts";
import { TlsError } from "../../base/errors.ts";
import { quote } from "../../internal/quote.ts";
import { endpointOf } from "../transport/addresses.ts";
import {
  type ConnectLimits,
  connectSocket,
  runConnectAttempt,
  runWithTimeoutAndSignal,
} from "../transport/connect.ts";
import { disablePeerCertificateObjects, loadBuiltin } from "../transport/runtime.ts";
import { checkNegotiatedParameters, clientMaterialOf, type ClientSslctx } from "./context.ts";
import { handshakeError, translateError } from "./errors.ts";
import { findHostIp, identifyServer } from "./peer.ts";
import { TlsSocket } from "./socket.ts";
import { makeDuplex, NetStream, type RawStream } from "./raw_stream.ts";

export function findSslHost(
  name: string | null | undefined,
  address: Address,
  { checkHostname }: ClientSslctx,
): string | null {
  const sslHost = name === undefined ? findNameInAddress(address) : name;
  if (sslHost === null) {
    if (!checkHostname) return null;
    throw notAllowedError(
      "sslHost",
      "must be the name to check the server's certificate against, because the address has none; " +
        "got null: give one, or checkHostname: false in the sslconfig",
    );
  }
  if (typeof sslHost !== "string") throw wrongTypeError("sslHost", "a string or null", sslHost);
  if (findHostIp(sslHost) === null && canonicalizeDnsName(sslHost) === null) {
    throw notAllowedError("sslHost", `must be a DNS name or an IP address; got ${quote(sslHost)}`);
  }
  return sslHost;
}

function findNameInAddress(address: Address): string | null {
  if (isUnixAddress(address)) return null;
  const host = removePrefixLength(address[0]);
  return findHostIp(host) === null ? host : removeZone(host);
}

export async function connectTls(
  address: Address,
  sslctx: ClientSslctx,
  sslHost: string | null,
  limits: ConnectLimits,
  alpnProtocol: string | null,
): Promise<TlsSocket> {
  const rawStream = await connectStream(address, limits);
  try {
    return await runWithTimeoutAndSignal(
      { text: "the TLS handshake with", address, isConnecting: false },
      limits,
      async () => {
        try {
          return await runHandshake(rawStream, sslctx, sslHost, alpnProtocol);
        } catch (error) {
          throw handshakeError(address, error, clientMaterialOf(sslctx).authorities);
        }
      },
    );
  } catch (error) {
    rawStream.close();
    throw error;
  }
}

/**
 * Connects the stream below TLS: with Deno for an address with an IPv6 scope; otherwise with
 * `node:net`, which is faster.
 */
async function connectStream(address: Address, limits: ConnectLimits): Promise<RawStream> {
  const endpoint = endpointOf(address);
  const isScoped = endpoint.transport === "tcp" && endpoint.hostname.includes("%");
  if (isScoped) return makeDuplex(await connectSocket(address, limits));
  const nodeOptions = endpoint.transport === "tcp"
    ? { host: endpoint.hostname, port: endpoint.port, noDelay: true }
    : { path: endpoint.path };
  return await runConnectAttempt(address, limits, async (signal) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const socket = loadBuiltin("node:net").connect(nodeOptions);
    signal.addEventListener("abort", () => socket.destroy());
    socket.on("error", (error) => reject(translateError(error)));
    socket.once("connect", resolve);
    await promise;
    return new NetStream(socket);
  });
}

async function runHandshake(
  rawStream: RawStream,
  sslctx: ClientSslctx,
  sslHost: string | null,
  alpnProtocol: string | null,
): Promise<TlsSocket> {
  const { secureContext, authorities } = clientMaterialOf(sslctx);
  const isDnsName = sslHost !== null && findHostIp(sslHost) === null;
  const socket = loadBuiltin("node:tls").connect({
    socket: rawStream.stream,
    secureContext,
    // Set the option, because an environment variable can change its default.
    rejectUnauthorized: true,
    // Only DNS names are sent (RFC 6066 §3); an empty name prevents a default of the library.
    servername: isDnsName ? canonicalizeDnsName(sslHost) ?? "" : "",
    // The names are checked below, because the library would also accept the subject.
    checkServerIdentity: () => undefined,
    ...(alpnProtocol === null ? {} : { ALPNProtocols: [alpnProtocol] }),
  });
  disablePeerCertificateObjects(socket);
  const { promise, resolve, reject } = Promise.withResolvers<TlsSocket>();
  socket.once("secureConnect", () => {
    try {
      checkNegotiatedParameters(socket, alpnProtocol);
      const host = sslctx.checkHostname ? sslHost : null;
      const certificate = identifyServer(socket, authorities, host);
      resolve(new TlsSocket(socket, rawStream, certificate));
    } catch (error) {
      reject(error);
    }
  });
  socket.on("error", reject);
  socket.on("close", () => reject(new TlsError("CLOSED", "the peer closed the connection")));
  try {
    return await promise;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}
