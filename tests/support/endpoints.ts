/**
 * Every kind of address over which both ends can connect, as one list: a test that iterates over it covers
 * them all.
 *
 * @module
 */

import type { Address } from "@degu/degu/base";
import { Client, type ClientOptions } from "@degu/degu/client";
import type { App, Server, ServerOptions } from "@degu/degu/server";
import { TempPKI } from "@degu/degu/misc";
import { tempDir } from "./directories.ts";
import { type RecordingLogger, serve } from "./serving.ts";
import { startTls } from "./tls_endpoints.ts";

/** The options of both ends. */
export interface EndpointOptions {
  readonly server?: ServerOptions;
  readonly client?: ClientOptions;
}

/** A server while it serves, and a client of it. */
export interface Endpoint extends AsyncDisposable {
  readonly server: Server;
  readonly client: Client;
  readonly logger: RecordingLogger;
}

/** One kind of address. */
export interface EndpointKind {
  readonly name: string;
  /** False where this machine lacks what the kind needs. */
  readonly available: boolean;
  /** Starts a server; it is closed on dispose. */
  start(app: App, options?: EndpointOptions): Promise<Endpoint>;
}

/** Whether this machine has IPv6. */
export const hasIPv6: boolean = canListen("::1");

function canListen(hostname: string): boolean {
  try {
    Deno.listen({ hostname, port: 0 }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrNotAvailable || error instanceof TypeError) return false;
    // A kernel without IPv6 answers EAFNOSUPPORT, for which Deno has no class.
    if (error instanceof Error && error.message.includes("os error 97")) return false;
    throw error;
  }
}

/** Makes an address to listen on, and what is to be removed afterwards. */
type MakeAddress = () => Promise<{ address: Address; directory?: AsyncDisposable }>;

function kind(
  name: string,
  makeAddress: MakeAddress | Address,
  { available = true, translate = (address: Address) => address } = {},
): EndpointKind {
  return {
    name,
    available,
    async start(app, options = {}) {
      const place = typeof makeAddress === "function"
        ? await makeAddress()
        : { address: makeAddress };
      const serving = serve(app, options.server, place.address);
      return {
        server: serving.server,
        logger: serving.logger,
        client: new Client(translate(serving.address), { timeout: 10, ...options.client }),
        async [Symbol.asyncDispose]() {
          await serving[Symbol.asyncDispose]();
          await place.directory?.[Symbol.asyncDispose]();
        },
      };
    },
  };
}

/** The same port at another host. */
function atHost(host: string) {
  return (address: Address): Address => [host, Number(address[1])];
}

async function socketPath() {
  const directory = await tempDir();
  return { address: `${directory.path}/socket`, directory };
}

function abstractName() {
  const name = `\0degu-test-${crypto.randomUUID()}`;
  return Promise.resolve({ address: new TextEncoder().encode(name) });
}

/** Every kind of address that needs no set-up of the machine, without encryption. */
export const plainKinds: readonly EndpointKind[] = [
  kind("IPv4", ["127.0.0.1", 0]),
  kind("IPv4 by a DNS name", ["127.0.0.1", 0], { translate: atHost("localhost") }),
  kind("every IPv4 address", ["0.0.0.0", 0]),
  kind("IPv6", ["::1", 0], { available: hasIPv6 }),
  kind("IPv6 in four parts", ["::1", 0, 0, 0], { available: hasIPv6 }),
  kind("every IPv6 address", ["::", 0], { available: hasIPv6 }),
  kind("every IPv6 address, reached over IPv4", ["::", 0], {
    available: hasIPv6,
    translate: atHost("127.0.0.1"),
  }),
  kind("Unix path", socketPath),
  kind("abstract name", abstractName),
  kind("abstract name that is free", new Uint8Array(0)),
];

function tlsKind(name: string, makeAddress: MakeAddress, available = true): EndpointKind {
  return {
    name: `TLS over ${name}`,
    available,
    async start(app, options = {}) {
      const pki = await TempPKI.create();
      const { address, directory } = await makeAddress();
      const endpoint = await startTls(pki, app, options, address);
      const { server, client, logger } = endpoint;
      return {
        server,
        client,
        logger,
        async [Symbol.asyncDispose]() {
          await endpoint[Symbol.asyncDispose]();
          await directory?.[Symbol.asyncDispose]();
          await pki[Symbol.asyncDispose]();
        },
      };
    },
  };
}

/** The same with certificates at both ends. */
const tlsKinds: readonly EndpointKind[] = [
  tlsKind("IPv4", () => Promise.resolve({ address: ["127.0.0.1", 0] })),
  tlsKind("IPv6 in four parts", () => Promise.resolve({ address: ["::1", 0, 0, 0] }), hasIPv6),
  tlsKind("a Unix path", socketPath),
  tlsKind("an abstract name", abstractName),
];

/** Everything over which two ends can meet. */
export const endpointKinds: readonly EndpointKind[] = [...plainKinds, ...tlsKinds];
