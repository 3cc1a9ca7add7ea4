import { type Bodies, checkBodies } from "../../base/body/body.ts";
import {
  checkAbsent,
  checkBoolean,
  checkFunction,
  checkOptions,
  checkSignal,
  checkString,
  makeChoiceCheck,
  notAllowedError,
  type OptionChecks,
  wrongArgumentError,
} from "../../internal/checks.ts";
import { hideSecretsIn } from "../../internal/printable.ts";
import {
  checkHeaders,
  checkNoExpect,
  formatHeaderLines,
  type HeadersToSend,
  isFramingOrRangeHeader,
} from "../../base/wire/headers.ts";
import { checkHost } from "../../base/wire/host_header.ts";
import { MAX_PREAMBLE_BYTES } from "../../base/wire/limits.ts";
import { isHeaderValue } from "../../base/wire/character_tables.ts";
import type { Address } from "../../base/address.ts";
import type { Socket } from "../../base/app/app.ts";
import type { ConnectLimits } from "../transport/connect.ts";
import type { Connection } from "./connection.ts";
import { checkTimeout } from "../transport/deadline.ts";

/** How a client connects to a server, and which headers each request has. */
export interface ClientOptions {
  /**
   * The value of the `host` header; `null` for none.
   *
   * @default {the host of the address, with its port unless that is the scheme's}
   */
  host?: string | null | undefined;
  /**
   * Seconds that connecting, the handshake and each wait may take, above 0 and at most 3600; `null`
   * for no limit. The time-out fires between 1.0 and 1.25 times its value.
   *
   * @default {90}
   */
  timeout?: number | null | undefined;
  /**
   * The classes that the bodies of responses are made from: the classes of this package, or classes
   * that extend them.
   *
   * @default {bodies}
   */
  bodies?: Bodies | null | undefined;
  /** The value of the `authorization` header; without this option, requests have no such header. */
  authorization?: string | undefined;
  /**
   * Headers of each request that doesn't have them: a header of the request replaces a header of
   * the same name, and `undefined` in the request leaves out that header. In a request that a
   * `ProxyApp` relays, these headers replace received headers. Not allowed are `host` and
   * `authorization`, which have their own options, and headers that describe one message:
   * `content-length`, `transfer-encoding`, `range`, `content-range`.
   */
  headers?: HeadersToSend | undefined;
  /**
   * Called with each new connection, which is closed unless the function returns exactly `true`. No
   * time-out bounds the call.
   */
  onConnect?: ((conn: Connection) => boolean | Promise<boolean>) | undefined;
  /**
   * Aborts connecting, the handshake, and every connection that this client made. Pending
   * operations and all later calls reject with the signal's reason.
   */
  signal?: AbortSignal | undefined;
  /**
   * Whether a body of `null` has no framing, for servers with Python Degu: requests send
   * `null` without `content-length: 0`, and a response without `content-length` and
   * `transfer-encoding` has no body. Late bytes are read as the response to the next request of a
   * {@linkcode Connection}; a `ConnectionPool`, a `ProxyApp` and `createFetch` close such a
   * connection.
   *
   * @default {false}
   */
  unframedNull?: boolean | undefined;
  /**
   * Connects to the address over another transport, such as a tunnel. The function gets the address
   * of the client, and resolves to a new socket for each call. When the signal is aborted, the call
   * of the client rejects at once, and a socket that the function returns later is closed. The
   * function itself must apply the time-out.
   *
   * The client doesn't encrypt the bytes of the socket, and uses its `peerCertificate` and
   * `trust`. An {@linkcode SSLClient} doesn't have this option.
   *
   * @default {connects with `Deno.connect`}
   */
  dial?: ((address: Address, limits: ConnectLimits) => Promise<Socket>) | undefined;
  /**
   * The scheme of the server's URIs, which is allowed only with `dial`: `"https"` if the sockets of
   * `dial` encrypt and have authenticated the server.
   *
   * @default {"http"}
   */
  scheme?: "http" | "https" | undefined;
}

const CLIENT_CHECKS: OptionChecks<ClientOptions> = {
  host: (label, host) => host === null || checkHost(label, host),
  timeout: checkTimeout,
  bodies: (_label, bodies) => bodies === null || checkBodies(bodies),
  authorization: checkAuthorization,
  headers: (_label, headers) => checkDefaultHeaders(headers),
  onConnect: checkFunction,
  signal: checkSignal,
  unframedNull: checkBoolean,
  dial: checkFunction,
  scheme: makeChoiceCheck("http", "https"),
};

/** How a client connects over TLS: the names of the server and of the protocol that it expects. */
export interface SSLClientOptions extends Omit<ClientOptions, "dial" | "scheme"> {
  /**
   * The name that the server's certificate must be for; `null` for none. A DNS name is also sent to
   * the server.
   *
   * @default {the host of the address; null for Unix sockets and abstract names}
   */
  sslHost?: string | null | undefined;
  /**
   * The name of the protocol by ALPN (RFC 7301), for a server with the option `protocol`: 1 to 255
   * visible ASCII characters. A server that doesn't select this name is refused.
   *
   * @default {none is offered}
   */
  protocol?: string | undefined;
}

const SSL_OPTIONS = ["sslHost", "protocol"];

/** `sslHost` and `protocol` are checked elsewhere. */
export function checkSslClientOptions(options: SSLClientOptions): SSLClientOptions {
  const copy = checkClientOptions(options, SSL_OPTIONS);
  checkAbsent(copy, ["dial", "scheme"], "an SSLClient");
  return copy;
}

export function checkClientOptions(
  options: ClientOptions,
  additionalNames: readonly string[] = [],
): ClientOptions {
  const copy = checkOptions(options, CLIENT_CHECKS, additionalNames);
  const { headers } = copy;
  if (headers !== undefined) copy.headers = Object.freeze(hideSecretsIn({ ...headers }));
  if (copy.scheme !== undefined && copy.dial === undefined) {
    throw wrongArgumentError(
      "scheme",
      "is allowed only with the option dial; an SSLClient has the scheme https",
    );
  }
  return copy;
}

function checkDefaultHeaders(headers: HeadersToSend): void {
  checkHeaders(headers);
  checkNoExpect(headers);
  for (const name of Object.keys(headers)) {
    if (name === "host" || name === "authorization") {
      throw notAllowedError(`headers["${name}"]`, `must be given as the option ${name}`);
    }
    if (isFramingOrRangeHeader(name)) {
      throw notAllowedError(
        `headers["${name}"]`,
        "is for one message, and can't be sent with every request",
      );
    }
  }
  const buffer = new Uint8Array(MAX_PREAMBLE_BYTES);
  const size = formatHeaderLines(buffer, 0, headers, null, undefined, "any");
  if (size > MAX_PREAMBLE_BYTES) {
    throw notAllowedError(
      "headers",
      `must fit in a preamble of ${MAX_PREAMBLE_BYTES} bytes; got ${size} bytes`,
    );
  }
}

function checkAuthorization(name: string, value: string): void {
  checkString(name, value);
  if (value === "" || !isHeaderValue(value)) {
    // The message doesn't quote the value, which may be a secret.
    throw notAllowedError(
      name,
      "must be one or more of the characters that a header may have, without a space or a tab at its ends",
    );
  }
}

export function makeBaseHeaders(
  host: string | null,
  { authorization }: ClientOptions,
): HeadersToSend | null {
  const headers: HeadersToSend = {};
  if (authorization !== undefined) headers["authorization"] = authorization;
  if (host !== null) headers["host"] = host;
  return Object.keys(headers).length === 0 ? null : Object.freeze(hideSecretsIn(headers));
}
