/** Every kind of address that both sides of a connection can use. */

import type { Address } from "@degu/degu/base";
import { Client, type ClientOptions } from "@degu/degu/client";
import type { App, ServerOptions } from "@degu/degu/server";
import { createTempDir } from "@degu/testing/directories.ts";
import { serve, type Serving } from "@degu/testing/serving.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";

export const hasIPv6: boolean = canListen("::1");

function canListen(hostname: string): boolean {
  try {
    Deno.listen({ hostname, port: 0 }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrNotAvailable || error instanceof TypeError) return false;
    // A kernel without IPv6 returns EAFNOSUPPORT, for which Deno has no class.
    if (error instanceof Error && error.message.includes("os error 97")) return false;
    throw error;
  }
}

/** An address to listen on, or a function that makes it and its cleanup. */
type AddressSource = Address | ((stack: AsyncDisposableStack) => Promise<Address>);

interface StartedEndpoints extends Pick<Serving, "server" | "logger">, AsyncDisposable {
  readonly client?: Client;
}

function makeKind(
  name: string,
  source: AddressSource,
  { available = true, isSecure = false, translate = (address: Address) => address } = {},
) {
  return {
    name,
    /** False if this machine lacks the address family. */
    available,
    /** Starts a server; it is closed on dispose. */
    async start(
      app: App,
      { server, client }: {
        server?: ServerOptions | undefined;
        client?: ClientOptions | undefined;
      } = {},
    ) {
      await using openStack = new AsyncDisposableStack();
      const address = typeof source === "function" ? await source(openStack) : source;
      const endpoints: StartedEndpoints = isSecure
        ? openStack.use(
          await startTls(await openSharedPki(), app, { server, client }, address, translate),
        )
        : openStack.use(serve(app, server, address));
      const stack = openStack.move();
      const { server: startedServer, logger } = endpoints;
      return {
        server: startedServer,
        logger,
        client: endpoints.client ??
          new Client(translate(startedServer.address), { timeout: 60, ...client }),
        [Symbol.asyncDispose]: () => stack.disposeAsync(),
      };
    },
  };
}

/** Makes a function that replaces the host of an address, and keeps its port. */
function makeHostTranslation(host: string) {
  return (address: Address): Address => [host, Number(address[1])];
}

async function makeSocketPath(stack: AsyncDisposableStack): Promise<Address> {
  return `${stack.use(await createTempDir()).path}/socket`;
}

function makeAbstractName(): Promise<Address> {
  return Promise.resolve(new TextEncoder().encode(`\0degu-test-${crypto.randomUUID()}`));
}

/** Every kind of address that doesn't require set-up of the machine, without encryption. */
export const plainKinds = [
  makeKind("IPv4", ["127.0.0.1", 0]),
  makeKind("IPv4 by a DNS name", ["127.0.0.1", 0], { translate: makeHostTranslation("localhost") }),
  makeKind("every IPv4 address", ["0.0.0.0", 0]),
  makeKind("IPv6", ["::1", 0], { available: hasIPv6 }),
  makeKind("IPv6 in four parts", ["::1", 0, 0, 0], { available: hasIPv6 }),
  makeKind("every IPv6 address", ["::", 0], { available: hasIPv6 }),
  makeKind("every IPv6 address, reached over IPv4", ["::", 0], {
    available: hasIPv6,
    translate: makeHostTranslation("127.0.0.1"),
  }),
  makeKind("Unix path", makeSocketPath),
  makeKind("abstract name", makeAbstractName),
  makeKind("abstract name that is free", new Uint8Array(0)),
];

/** The plain kinds, with certificates on both sides. */
const tlsKinds = [
  makeKind("TLS over IPv4", ["127.0.0.1", 0], { isSecure: true }),
  makeKind("TLS over IPv6 in four parts", ["::1", 0, 0, 0], { isSecure: true, available: hasIPv6 }),
  makeKind("TLS over a Unix path", makeSocketPath, { isSecure: true }),
  makeKind("TLS over an abstract name", makeAbstractName, { isSecure: true }),
];

export const endpointKinds = [...plainKinds, ...tlsKinds];
