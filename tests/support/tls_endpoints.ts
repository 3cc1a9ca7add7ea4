/** Servers and clients over TLS, for tests. */

import { dirname } from "@std/path";
import type { Address } from "@degu/degu/base";
import { type ClientSslconfig, SSLClient, type SSLClientOptions } from "@degu/degu/client";
import {
  type App,
  type ServerSslconfig,
  SSLServer,
  type SSLServerOptions,
} from "@degu/degu/server";
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
