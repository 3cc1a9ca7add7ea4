/** Servers and clients over TLS, and servers of `node:tls` for raw handshakes. */

import { once } from "node:events";
import type * as net from "node:net";
import * as tls from "node:tls";
import type { Address } from "@degu/degu/base";
import { type ClientSslconfig, SSLClient, type SSLClientOptions } from "@degu/degu/client";
import {
  type App,
  type ServerSslconfig,
  SSLServer,
  type SSLServerOptions,
} from "@degu/degu/server";
import { dirname } from "@degu/internal/internal/paths.ts";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import { withTimeout } from "./raw_peer.ts";
import { RecordingLogger, runServer } from "./serving.ts";

/** The configurations of both sides, such as a `TempPKI`. */
export interface Sslconfigs {
  readonly serverSslconfig: ServerSslconfig;
  readonly clientSslconfig: ClientSslconfig;
}

let sharedPki: Promise<TempPKI> | undefined;

/**
 * Opens a PKI for all modules of a worker, because creating keys takes time. No test changes its
 * files, which are removed with the worker.
 */
export function openSharedPki(): Promise<TempPKI> {
  sharedPki ??= TempPKI.create().then((pki) => {
    const dir = dirname(pki.serverSslconfig.certFile);
    globalThis.addEventListener("unload", () => Deno.removeSync(dir, { recursive: true }));
    return pki;
  });
  return sharedPki;
}

/**
 * Starts a server over TLS, on a free port of 127.0.0.1 by default; it is closed on dispose.
 *
 * @param translate Returns the address for the client, given the server's address.
 */
export async function startTls(
  sslconfigs: Sslconfigs,
  app: App,
  options: { server?: SSLServerOptions | undefined; client?: SSLClientOptions | undefined } = {},
  address: Address = ["127.0.0.1", 0],
  translate: (address: Address) => Address = (bound) => bound,
) {
  const logger = new RecordingLogger();
  const server = new SSLServer(sslconfigs.serverSslconfig, address, app, {
    logger,
    ...options.server,
  });
  const serving = runServer(server, logger);
  await withTimeout(server.ready, "the server is bound");
  const clientOptions = { timeout: 60, ...options.client };
  const client = new SSLClient(
    sslconfigs.clientSslconfig,
    translate(server.address),
    clientOptions,
  );
  return { ...serving, client };
}

export type TlsEndpoint = Awaited<ReturnType<typeof startTls>>;

/** Reads the files of a configuration. */
export async function readTexts(files: ClientSslconfig | ServerSslconfig) {
  const [cert, key, ca] = await Promise.all(
    [files.certFile, files.keyFile, files.caFile].map((path) => Deno.readTextFile(path!)),
  );
  return { cert: cert!, key: key!, ca: ca! };
}

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
