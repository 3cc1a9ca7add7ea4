/** Starting a server in one call. */

import type { Address } from "../base/address.ts";
import { checkServerAddress } from "./addresses.ts";
import { removeDeadSocket } from "./listener.ts";
import { checkServerOptions, type ServerOptions } from "./server_options.ts";

/** The part of a server that starting it needs. */
interface Startable {
  /** Resolves once the address is bound. */
  readonly ready: Promise<void>;
  /** Serves until the server is closed. */
  serveForever(): Promise<void>;
}

/**
 * Makes a server, and lets it serve.
 *
 * @returns When the address is bound.
 * @throws the error of `make` or of binding; the reason of the option `signal`, if it is aborted.
 */
export async function startServer<S extends Startable>(
  address: Address,
  options: ServerOptions,
  make: (options: ServerOptions) => S,
): Promise<S> {
  const { replaceSocket, ...rest } = checkServerOptions(options);
  const path = replaceSocket ? checkServerAddress(address) : null;
  using _lock = typeof path === "string" ? await removeDeadSocket(path, rest.signal) : null;
  const server = make(rest);
  server.serveForever();
  try {
    await server.ready;
  } catch (error) {
    rest.signal?.throwIfAborted();
    throw error;
  }
  rest.signal?.throwIfAborted();
  return server;
}
