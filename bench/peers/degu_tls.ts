/**
 * The encrypted half of this project's client and server, with certificates on both ends.
 *
 * @module
 */

import type { Address } from "../../base.ts";
import { SSLClient } from "../../client.ts";
import type { App, ServerOptions } from "../../server.ts";
import { SSLServer } from "../../server.ts";
import type { TlsFiles } from "../peer.ts";

/** A server that accepts only clients of the private authority. */
export function makeServer(
  tls: TlsFiles,
  address: Address,
  app: App,
  options: ServerOptions,
): SSLServer {
  return new SSLServer({ ...tls.server }, address, app, options);
}

/** A client with a certificate, that trusts the private authority only. */
export function makeClient(tls: TlsFiles, address: Address): SSLClient {
  // The authority is private: whoever has a certificate of it is the server.
  return new SSLClient({ ...tls.client, checkHostname: false }, address);
}
