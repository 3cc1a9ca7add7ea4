/**
 * Every kind of address over which both ends can connect, as a list: a test that iterates over it
 * covers them all.
 */

import type { Address } from "@degu/degu/base";
import { Client, type ClientOptions } from "@degu/degu/client";
import type { App, ServerOptions } from "@degu/degu/server";
import { createTempDir } from "./directories.ts";
import { serve, type Serving } from "./serving.ts";
import { openSharedPki, startTls } from "./tls_endpoints.ts";

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

/** An address to listen on, or a function that makes it and its cleanup. */
type Place = Address | ((stack: AsyncDisposableStack) => Promise<Address>);

interface Ends extends Pick<Serving, "server" | "logger">, AsyncDisposable {
  readonly client?: Client;
}

function kind(
  name: string,
  place: Place,
  { available = true, isSecure = false, translate = (address: Address) => address } = {},
) {
  return {
    name,
    /** False if this machine lacks the address family or the program. */
    available,
    /** Starts a server; it is closed on dispose. */
    async start(
      app: App,
      { server, client }: {
        server?: ServerOptions | undefined;
        client?: ClientOptions | undefined;
      } = {},
    ) {
      await using making = new AsyncDisposableStack();
      const address = typeof place === "function" ? await place(making) : place;
      const ends: Ends = isSecure
        ? making.use(
          await startTls(await openSharedPki(), app, { server, client }, address, translate),
        )
        : making.use(serve(app, server, address));
      const stack = making.move();
      const { server: made, logger } = ends;
      return {
        server: made,
        logger,
        client: ends.client ?? new Client(translate(made.address), { timeout: 60, ...client }),
        [Symbol.asyncDispose]: () => stack.disposeAsync(),
      };
    },
  };
}

/** The same port at another host. */
function atHost(host: string) {
  return (address: Address): Address => [host, Number(address[1])];
}

async function socketPath(stack: AsyncDisposableStack): Promise<Address> {
  return `${stack.use(await createTempDir()).path}/socket`;
}

function abstractName(): Promise<Address> {
  return Promise.resolve(new TextEncoder().encode(`\0degu-test-${crypto.randomUUID()}`));
}

/** Every kind of address that needs no set-up of the machine, without encryption. */
export const plainKinds = [
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

/** The same kinds with certificates at both ends. */
const tlsKinds = [
  kind("TLS over IPv4", ["127.0.0.1", 0], { isSecure: true }),
  kind("TLS over IPv6 in four parts", ["::1", 0, 0, 0], { isSecure: true, available: hasIPv6 }),
  kind("TLS over a Unix path", socketPath, { isSecure: true }),
  kind("TLS over an abstract name", abstractName, { isSecure: true }),
];

export const endpointKinds = [...plainKinds, ...tlsKinds];
