/** A client's connection to a raw peer. */

import {
  Client,
  type ClientOptions,
  type Connection,
  type RequestOptions,
} from "@degu/degu/client";
import { RawServer } from "@degu/testing/raw_peer.ts";

export type ConnectedClient = Awaited<ReturnType<typeof connect>>;

/**
 * Connects a client to a raw peer. Sends `host` only if the options have it.
 *
 * @param path The path of a Unix socket, whose buffer doesn't grow; by default TCP.
 */
export async function connect(options: ClientOptions = {}, path?: string) {
  const server = new RawServer(path);
  const conn = await new Client(server.address, { host: null, timeout: 60, ...options }).connect();
  const peer = await server.accept();
  return {
    conn,
    peer,
    /** Makes a GET request, responds with these bytes, and returns the response. */
    async answer(bytes: string | Uint8Array, options?: RequestOptions) {
      const [response] = await Promise.all([
        conn.get("/", {}, options),
        peer.respond(bytes),
      ]);
      return response;
    },
    [Symbol.dispose]() {
      conn.close();
      server[Symbol.dispose]();
    },
  };
}

/** Calls `request` with arguments that its signature does not allow. */
export function requestWith(conn: Connection, ...args: readonly unknown[]): Promise<unknown> {
  return Reflect.apply(conn.request, conn, args);
}

/** Reads a request, responds with an empty response, and returns the bytes of the request. */
export async function readSentRequest(
  pair: ConnectedClient,
  request: Promise<unknown>,
): Promise<string> {
  const preamble = await pair.peer.readPreamble();
  await pair.peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  await request;
  return preamble;
}
