import { parseHost } from "../../base/host.ts";
import {
  checkArray,
  checkBoolean,
  checkFunction,
  checkString,
  makeIntegerCheck,
  notAllowedError,
  type OptionChecks,
} from "../../internal/checks.ts";
import { quote } from "../../internal/quote.ts";
import { checkTimeout } from "../transport/deadline.ts";
import type { Exchange } from "../../base/app/exchange_recorder.ts";
import { checkLogger, LOG_LEVELS, type Logger } from "../../base/app/logger.ts";

/** The limits and the logger of a server. */
export interface ServerOptions {
  /**
   * How many connections are served at a time, or `Infinity`. Further connections wait for
   * a slot. Meanwhile, the server ends sessions that have been idle for a second, and the peer with
   * the most slots gives way. TLS handshakes have 64 slots of their own.
   *
   * @default {50}
   */
  maxConnections?: number | undefined;
  /**
   * How many requests one connection may make, or `Infinity`.
   *
   * @default {Infinity}
   */
  maxRequests?: number | undefined;
  /**
   * Seconds that may pass: before a request's first byte, within its preamble, between two pieces
   * of its body, for a handshake; above 0 and at most 3600. `null` for no limit. The time-out fires
   * between 1.0 and 1.25 times its value. A write may take eight times as long.
   *
   * @default {30}
   */
  timeout?: number | null | undefined;
  /**
   * The logger to report to; `console` works.
   *
   * @default {writes all lines except those of level `debug` to stderr, and limits the lines that
   * peers cause}
   */
  logger?: Logger | undefined;
  /**
   * Called with the figures of each exchange of a request and its response, however the exchange
   * ended. The call must be quick, since the connection waits. An error that the function throws,
   * or its promise rejects with, is logged and ignored.
   *
   * @default {no figures are recorded}
   */
  onExchange?: ((exchange: Exchange) => void) | undefined;
  /**
   * Whether a body of `null` is sent without framing, for clients with Python Degu, which
   * treat a response without `content-length` and `transfer-encoding` as a response without a body.
   * All other clients wait for the end of the connection.
   *
   * @default {false}
   */
  unframedNull?: boolean | undefined;
  /**
   * The names of the server, or `"any"`. A request for another host, or without `host`, gets
   * `421 Misdirected Request`, so that a web page of a foreign name that leads to this server can't
   * use it (DNS rebinding). IP addresses and `localhost` are always served. Ports are not compared.
   *
   * @default {any host over TLS and on a Unix socket; otherwise requests without `host`, and hosts
   * that public DNS doesn't resolve: IP addresses, `localhost`, `….localhost`, names without a dot,
   * and for clients with an address other than loopback also names below `.local`, `.internal`,
   * `.home.arpa`, `.test`, `.lan`, `.home` and `.localdomain`}
   */
  hosts?: readonly string[] | "any" | undefined;
  /**
   * Whether a Unix socket at the server's path is replaced if no process listens at it, for example
   * after a crash. A file of another kind, and a socket at which a process listens, stay, and
   * binding fails. On macOS, a socket of another program whose queue of connections is full counts
   * as one at which no process listens. Of two servers with this option, the second one fails,
   * because the first one locks the file `<path>.lock`. The file needs `--allow-write`, and isn't
   * removed. With this option, a plain server isn't bound at once: await its `ready`, or use
   * `Server.start`.
   *
   * @default {false}
   */
  replaceStaleSocket?: boolean | undefined;
}

/** The limits and the logger of a server over TLS, and the name of its protocol. */
export interface SSLServerOptions extends ServerOptions {
  /**
   * The name of the protocol by ALPN (RFC 7301): 1 to 255 visible ASCII characters. A client that
   * doesn't offer this name is refused in its handshake. Both sides use HTTP/1.1 with any name.
   *
   * @default {none; the names that a client offers are ignored}
   */
  protocol?: string | undefined;
}

export const SERVER_CHECKS: OptionChecks<ServerOptions> = {
  maxConnections: makeIntegerCheck(1, Infinity),
  maxRequests: makeIntegerCheck(1, Infinity),
  timeout: checkTimeout,
  logger: (_label, logger) => checkLogger(logger, LOG_LEVELS),
  onExchange: checkFunction,
  unframedNull: checkBoolean,
  hosts: checkHosts,
  replaceStaleSocket: checkBoolean,
};

function checkHosts(label: string, hosts: readonly string[] | "any"): void {
  if (hosts === "any") return;
  checkArray(label, hosts);
  hosts.forEach((host, i) => {
    checkString(`${label}[${i}]`, host);
    if (parseHost(host) !== null) return;
    throw notAllowedError(`${label}[${i}]`, `must be a name without a port; got ${quote(host)}`);
  });
}

/** Returns the option `hosts` with the canonical names; `null` for the default. */
export function canonicalizeHosts(hosts: ServerOptions["hosts"]): Set<string> | "any" | null {
  if (hosts === undefined || hosts === "any") return hosts ?? null;
  return new Set(hosts.map((host) => parseHost(host)!.text));
}
