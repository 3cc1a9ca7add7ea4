/** Starting a server in one call. */

/** The part of a server that starting it needs. */
interface Startable {
  /** Resolves once the address is bound. */
  readonly ready: Promise<void>;
  /** Serves until the server is closed. */
  serveForever(): Promise<void>;
}

/** Lets a server serve, and resolves once its address is bound. */
export async function startServer<S extends Startable>(server: S): Promise<S> {
  server.serveForever();
  await server.ready;
  return server;
}
