/** TLS without HTTP, for raw handshakes. */

import type * as net from "node:net";
import * as tls from "node:tls";
import type { Address } from "@degu/degu/base";
import { SSLClient } from "@degu/degu/client";
import { within } from "./raw_peer.ts";
import { readTexts } from "./tls_configs.ts";
import type { Trust } from "./tls_endpoints.ts";

/** A server of `node:tls`, with the certificates of a PKI. */
export async function serveRaw(
  pki: Trust,
  handle: (socket: tls.TLSSocket) => void,
  options: tls.TlsOptions = {},
) {
  const server = tls.createServer({
    ...await readTexts(pki.serverSslconfig),
    requestCert: true,
    rejectUnauthorized: true,
    ...options,
  }, (socket) => {
    socket.on("error", () => {});
    handle(socket);
  });
  const sockets = new Set<{ destroy(): void }>();
  server.on("connection", (socket) => sockets.add(socket));
  const listening = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", () => listening.resolve());
  await listening.promise;
  const address: Address = ["127.0.0.1", (server.address() as net.AddressInfo).port];
  return {
    address,
    client: new SSLClient(pki.clientSslconfig, address, { timeout: 10 }),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      await within(closed.promise, "node:tls closes");
    },
  };
}

/** The files of a client, for `tls.connect`. */
export async function readIdentity({ clientSslconfig }: Trust) {
  return { ...await readTexts(clientSslconfig), checkServerIdentity: () => undefined };
}
