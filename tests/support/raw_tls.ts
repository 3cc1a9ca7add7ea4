/** TLS without HTTP, for raw handshakes. */

import { once } from "node:events";
import type * as net from "node:net";
import * as tls from "node:tls";
import { SSLClient } from "@degu/degu/client";
import { withTimeout } from "./raw_peer.ts";
import { readTexts } from "./tls_configs.ts";
import type { Sslconfigs } from "./tls_endpoints.ts";

/** Starts a server of `node:tls`, and closes its connections with it. */
export async function serveNodeTls(
  options: tls.TlsOptions,
  handle: (socket: tls.TLSSocket) => void,
): Promise<{ readonly address: readonly [string, number] } & AsyncDisposable> {
  const server = tls.createServer(options, (socket) => {
    socket.on("error", () => {});
    handle(socket);
  });
  server.on("tlsClientError", () => {});
  const sockets = new Set<{ destroy(): void }>();
  server.on("connection", (socket) => sockets.add(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    address: ["127.0.0.1", (server.address() as net.AddressInfo).port],
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      const serverClosed = once(server, "close");
      server.close();
      await withTimeout(serverClosed, "node:tls closes");
    },
  };
}

/** Starts a server of `node:tls` with the certificates of a PKI, and makes a client for it. */
export async function serveRaw(
  pki: Sslconfigs,
  handle: (socket: tls.TLSSocket) => void,
  options: tls.TlsOptions = {},
) {
  const serverConfig = await readTexts(pki.serverSslconfig);
  const allOptions = { ...serverConfig, requestCert: true, rejectUnauthorized: true, ...options };
  const server = await serveNodeTls(allOptions, handle);
  const client = new SSLClient(pki.clientSslconfig, server.address, { timeout: 60 });
  return Object.assign(server, { client });
}

/** Reads the files of a client, for `tls.connect`. */
export async function readIdentity({ clientSslconfig }: Sslconfigs) {
  return { ...await readTexts(clientSslconfig), checkServerIdentity: () => undefined };
}
