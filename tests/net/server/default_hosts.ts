/** The hosts that a server without TLS and without the option `hosts` serves. */

type Status = 200 | 400 | 421;

/** The host of a request, and the response to a client on this machine and to any other client. */
export const DEFAULT_HOSTS: readonly (readonly [
  host: string | null,
  loopback: Status,
  other: Status,
])[] = [
  // No browser sends these.
  [null, 200, 200],
  ["", 200, 200],
  ...[
    // IP addresses.
    ...["127.0.0.1", "127.0.0.1:8080", "127.0.0.1:", "192.168.1.7:80", "0.0.0.0", "8.8.8.8"],
    ...["[::1]", "[::1]:80", "[0:0::1]", "[2001:DB8::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"],
    ...["[fe80::1%eth0]:80", "[fe80::1%25eth0]", "fe80::1%eth0"],
    // Names of this machine.
    ...[
      "localhost",
      "localhost:8080",
      "LOCALHOST",
      "LocalHost.",
      "a.localhost",
      "a.b.localhost.:1",
    ],
    "evil.localhost",
    // Names without a dot.
    ...["nas", "nas:8080", "NAS.", "my_host", "a-b", "xn--bcher-kva", "evil", "local", "lan"],
  ].map((host) => [host, 200, 200] as const),
  // Names of a local network.
  ...[
    ...["camera.local", "Camera.LOCAL.:80", "a.b.local", "db.internal", "nas.home.arpa"],
    ...["a.test", "nas.lan", "nas.home", "a.localdomain", "evil.local", "my_host.lan"],
  ].map((host) => [host, 421, 200] as const),
  ...[
    // Names that public DNS can resolve.
    ...["evil.example", "evil.example:8080", "EVIL.Example.", "camera.local.evil.example"],
    ...["127.0.0.1.evil.example", "localhost.evil.example", "evil-localhost.example"],
    ...[
      "evil.xlocalhost",
      "evil.xlocal",
      "home.arpa",
      "evil.arpa",
      "evil.xhome.arpa",
      "a.internals",
    ],
    ...["nas.fritz.box", "x.ts.net", "api.default", "a_b.example", "xn--bcher-kva.example"],
    // Other spellings of IP addresses.
    ...["0x7f.1", "0x7f000001", "2130706433", "127.1", "127.0.0.1.", "127.0.0.01", "010.0.0.1"],
    ...["1.2.3.256", "1.2.3.4.5", "0"],
    // Names that DNS doesn't have.
    ...["localhost..", ".localhost", "a..localhost", "local%68ost", "127.0.0.1%2eevil.example"],
    ...[
      "evil!localhost",
      "~",
      "a~b",
      "a!b",
      "a;b:80",
      "nas%2e",
      "a~b.local",
      `${"a".repeat(64)}.localhost`,
    ],
  ].map((host) => [host, 421, 421] as const),
  // Values that aren't a host and a port.
  ...[
    ...["::1", "[::1", "[::1]evil.example", "[127.0.0.1]", "localhost:80:80", "localhost:a", ":80"],
    ...[
      "evil.example@localhost",
      "localhost@evil.example",
      "localhost, evil.example",
      "local host",
    ],
    ...["localhost/", "localhost#", "http://localhost", "[fe80::1%eth0", "[::1%eth0]"],
    ...["b\xfccher.example", "loca\xb9host"],
  ].map((host) => [host, 400, 400] as const),
];

/** Returns the bytes of a request without a body. */
export function formatHostRequest(method: string, host: string | null): string {
  return `${method} / HTTP/1.1\r\n${host === null ? "" : `host: ${host}\r\n`}\r\n`;
}

/** Returns the status of a response. */
export function statusOf(received: string): number {
  return Number(/^HTTP\/1\.1 (\d{3}) /.exec(received)?.[1]);
}
