/** TLS with other programs: the reasons that client and server report for failed handshakes. */
import { SSLClient } from "@degu/degu/client";
import type { App, SSLServer } from "@degu/degu/server";
import { runCommand } from "@degu/testing/commands.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { startTls, type TlsEndpoint } from "@degu/testing/tls_endpoints.ts";
import {
  type IssuedCertificate,
  KEY,
  needsOpenssl,
  OpensslPki,
  runWithInput,
  ServingProgram,
} from "../../net/tls/tls_openssl.ts";
import { assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl } from "@std/path";

const SOURCES = fromFileUrl(new URL("../../programs/tls/", import.meta.url));

/** The certificates of both sides, which one authority has signed. */
interface Files {
  readonly pki: OpensslPki;
  readonly authority: IssuedCertificate;
  readonly own: IssuedCertificate;
  readonly ed25519: IssuedCertificate;
}

async function createFiles(pki: OpensslPki): Promise<Files> {
  const issuer = await pki.createAuthority("authority");
  const extensions = [
    "extendedKeyUsage=clientAuth,serverAuth",
    "subjectAltName=DNS:localhost,IP:127.0.0.1",
  ];
  return {
    pki,
    authority: issuer,
    own: await pki.createCertificate("own", { issuer, extensions }),
    ed25519: await pki.createCertificate("ed", { issuer, extensions, key: KEY.ed25519 }),
  };
}

/** Runs a command with bash, because the permission of the tests doesn't list these programs. */
const THROUGH_BASH = ["bash", "-c", 'exec "$0" "$@"'];

/** The commands that make the programs, in the directory of the certificates. */
const BUILDS = {
  go: ["go", "build", "-o", "go_peer", `${SOURCES}peer.go`],
  mbedtls: [
    "cc",
    "-o",
    "mbedtls",
    `${SOURCES}mbedtls.c`,
    "-lmbedtls",
    "-lmbedx509",
    "-lmbedcrypto",
  ],
  wolfssl: ["cc", "-o", "wolfssl", `${SOURCES}wolfssl.c`, "-lwolfssl"],
  java: ["javac", "-d", ".", `${SOURCES}Peer.java`],
  gnutls: ["gnutls-serv", "--version"],
  botan: ["botan", "version"],
  caddy: ["caddy", "version"],
  openssl: ["openssl", "version"],
} as const;

type Program = keyof typeof BUILDS;

/** Makes the programs; those that this machine lacks are skipped with a message. */
async function buildPrograms({ pki, authority, own }: Files): Promise<ReadonlySet<Program>> {
  const programs = new Set<Program>();
  const env = { GOCACHE: pki.makePath("go_cache"), GOFLAGS: "-mod=mod", HOME: pki.dir };
  for (const [program, command] of Object.entries(BUILDS)) {
    const { success, stderr } = await runCommand([...THROUGH_BASH, ...command], {
      cwd: pki.dir,
      env,
    });
    if (success) programs.add(program as Program);
    else console.warn(`${program} missing: some tests are skipped (${stderr.split("\n")[0]})`);
  }
  if (programs.has("java")) {
    const importing = ["-importcert", "-noprompt", "-alias", "ca", "-file", authority.certFile];
    const store = ["-keystore", "trust.p12", "-storetype", "PKCS12", "-storepass", "secret"];
    const { success } = await runCommand(
      [...THROUGH_BASH, "keytool", ...importing, ...store],
      { cwd: pki.dir },
    );
    if (!success) programs.delete("java");
    const identity = ["-in", own.certFile, "-inkey", own.keyFile, "-out", "own.p12"];
    await pki.run("pkcs12", "-export", ...identity, "-passout", "pass:secret", "-name", "own");
  }
  return programs;
}

/** A server that requires certificates, and how its refusal of a client without one is reported. */
type ServerRow = readonly [
  program: Program,
  version: string,
  makeCommand: (files: Files, port: number) => readonly string[] | Promise<readonly string[]>,
  listening: RegExp,
  refusal: RegExp,
];

const NO_CERTIFICATE =
  /(?:received fatal alert: \w+|the peer closed the connection|before it sent a response)$/;

const PORT = /PORT \d+\n/;

const makeOpensslServer = (version: string) => ({ own, authority }: Files) => [
  ...["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", own.certFile, "-key", own.keyFile],
  ...["-CAfile", authority.certFile, "-Verify", "1", "-verify_return_error", version],
  ...version === "-tls1_1" ? ["-cipher", "ALL@SECLEVEL=0"] : [],
];

const makeGnutlsServer = (version: string) => ({ own, authority }: Files, port: number) => [
  ...["gnutls-serv", "--port", `${port}`, "--x509certfile", own.certFile],
  ...["--x509keyfile", own.keyFile, "--x509cafile", authority.certFile, "--require-client-cert"],
  ...["--verify-client-cert", "--http", "--priority", `NORMAL:-VERS-ALL:+VERS-TLS${version}`],
];

const makeGoServer = (version: string) => ({ pki, own, authority }: Files) => [
  pki.makePath("go_peer"),
  ...["server", "0", authority.certFile, version, own.certFile, own.keyFile],
];

const makeCaddyServer = async ({ pki, own, authority }: Files, port: number) => {
  const config = `{
	admin off
	auto_https off
}
https://localhost:${port} {
	bind 127.0.0.1
	tls ${own.certFile} ${own.keyFile} {
		client_auth {
			mode require_and_verify
			trusted_ca_cert_file ${authority.certFile}
		}
	}
	respond "hello"
}
`;
  const path = pki.makePath("Caddyfile");
  await Deno.writeTextFile(path, config);
  return ["caddy", "run", "--config", path, "--adapter", "caddyfile"];
};

const serverRows: readonly ServerRow[] = [
  ["openssl", "1.3", makeOpensslServer("-tls1_3"), /ACCEPT .*:\d+\n/, NO_CERTIFICATE],
  ["openssl", "1.2", makeOpensslServer("-tls1_2"), /ACCEPT .*:\d+\n/, NO_CERTIFICATE],
  [
    "openssl",
    "1.1",
    makeOpensslServer("-tls1_1"),
    /ACCEPT .*:\d+\n/,
    /ProtocolVersion; the peer may support only TLS 1\.1 or older$/,
  ],
  ["gnutls", "1.3", makeGnutlsServer("1.3"), /listening on IPv4 .*done/, NO_CERTIFICATE],
  ["gnutls", "1.2", makeGnutlsServer("1.2"), /listening on IPv4 .*done/, NO_CERTIFICATE],
  ["go", "1.3", makeGoServer("1.3"), PORT, NO_CERTIFICATE],
  ["go", "1.2", makeGoServer("1.2"), PORT, NO_CERTIFICATE],
  ["go", "1.1", makeGoServer("1.1"), PORT, /; the peer may support only TLS 1\.1 or older$/],
  ["caddy", "1.3", makeCaddyServer, /serving initial configuration/, NO_CERTIFICATE],
  [
    "mbedtls",
    "1.2",
    ({ pki, own, authority }) => [
      pki.makePath("mbedtls"),
      ...["server", "0", authority.certFile, own.certFile, own.keyFile],
    ],
    PORT,
    NO_CERTIFICATE,
  ],
  ...["1.3", "1.2"].map((version): ServerRow => [
    "wolfssl",
    version,
    ({ pki, own, authority }) => [
      pki.makePath("wolfssl"),
      ...["server", "0", authority.certFile, version, own.certFile, own.keyFile],
    ],
    PORT,
    NO_CERTIFICATE,
  ]),
  ...["1.3", "1.2"].map((version): ServerRow => [
    "java",
    version,
    ({ pki }) => [
      ...["java", "-cp", pki.dir, "Peer"],
      ...[pki.makePath("trust.p12"), version, pki.makePath("own.p12")],
    ],
    PORT,
    NO_CERTIFICATE,
  ]),
];

/** A client, the version of TLS, and the server's log; `null` if the client gets a response. */
type ClientRow = readonly [
  program: Program,
  name: string,
  makeCommand: (files: Files, port: number) => readonly string[],
  logLine: RegExp | null,
  key?: "ed25519",
];

const makeOpensslClient =
  (...args: string[]) => ({ own, authority }: Files, port: number): readonly string[] => [
    ...["openssl", "s_client", "-connect", `127.0.0.1:${port}`, "-CAfile", authority.certFile],
    ...["-cert", own.certFile, "-key", own.keyFile, "-quiet", ...args],
  ];

const makeGoClient = (version: string) => ({ pki, own, authority }: Files, port: number) => [
  pki.makePath("go_peer"),
  ...["client", `${port}`, authority.certFile, version, own.certFile, own.keyFile],
];

const makeMbedtlsClient = ({ pki, own, authority }: Files, port: number) => [
  pki.makePath("mbedtls"),
  ...["client", `${port}`, authority.certFile, own.certFile, own.keyFile],
];

const makeWolfsslClient = (version: string) => ({ pki, own, authority }: Files, port: number) => [
  pki.makePath("wolfssl"),
  ...["client", `${port}`, authority.certFile, version, own.certFile, own.keyFile],
];

const OLD_VERSION = /: POLICY: .*; the peer may support only TLS 1\.1 or older$/;
const INCOMPATIBLE_KEY =
  /: POLICY: .*incompatible signing key; the peer doesn't support the kind of the local key$/;

const clientRows: readonly ClientRow[] = [
  ["openssl", "TLS 1.3", makeOpensslClient("-tls1_3"), null],
  ["openssl", "TLS 1.1", makeOpensslClient("-tls1_1", "-cipher", "ALL@SECLEVEL=0"), OLD_VERSION],
  ["openssl", "TLS 1.0", makeOpensslClient("-tls1", "-cipher", "ALL@SECLEVEL=0"), OLD_VERSION],
  ["go", "TLS 1.3", makeGoClient("1.3"), null],
  ["go", "TLS 1.1", makeGoClient("1.1"), OLD_VERSION],
  ["mbedtls", "TLS 1.2", makeMbedtlsClient, null],
  ["mbedtls", "a server with Ed25519", makeMbedtlsClient, INCOMPATIBLE_KEY, "ed25519"],
  [
    "botan",
    "a server with Ed25519",
    ({ authority }, port) => [
      ...["botan", "tls_client", "localhost", `--port=${port}`],
      ...[`--trusted-cas=${authority.certFile}`, "--skip-system-cert-store"],
    ],
    INCOMPATIBLE_KEY,
    "ed25519",
  ],
  ["wolfssl", "TLS 1.2", makeWolfsslClient("1.2"), null],
];

const app: App = () => [200, "OK", {}, "hello"];

Deno.test(
  "client and server name the reason of a failed handshake with other programs",
  needsOpenssl,
  async (t) => {
    await using pki = await OpensslPki.create();
    const files = await createFiles(pki);
    const programs = await buildPrograms(files);
    for (const [program, version, makeCommand, listening, refusal] of serverRows) {
      if (!programs.has(program)) continue;
      await t.step(
        `a client without a certificate, the server is ${program}, TLS ${version}`,
        () => assertRefusal(files, { makeCommand, listening, refusal, version }),
      );
    }
    for (const [program, name, makeCommand, logLine, key = "own"] of clientRows) {
      if (!programs.has(program)) continue;
      await t.step(`the client is ${program}: ${name}`, async () => {
        await using endpoint = await startFor(files, files[key]);
        const output = await runClient(makeCommand(files, portOf(endpoint.server)));
        assertEquals(output.includes("hello"), logLine === null, output);
        if (logLine === null) return assertEquals(endpoint.logger.messagesOf("info"), []);
        const lines = await endpoint.logger.waitFor("info");
        assertEquals(lines.length, 1, lines.join("\n"));
        assertMatch(lines[0]!, logLine);
      });
    }
    if (!programs.has("wolfssl")) return;
    await t.step("an accepted client sends a fatal alert: wolfSSL 5.5", async () => {
      await using endpoint = await startFor(files, files.own);
      const output = await runClient(makeWolfsslClient("1.3")(files, portOf(endpoint.server)));
      // Version 5.5 can't read the session tickets of rustls.
      if (output.includes("hello")) return assertEquals(endpoint.logger.messagesOf("info"), []);
      const [line] = await endpoint.logger.waitFor("any");
      // The alert may arrive after the response, which ends the session.
      const end =
        /TlsError: received fatal alert: IllegalParameter|ended after the limit of 1 requests$/;
      assertMatch(line!, end);
    });
  },
);

function portOf({ address }: SSLServer): number {
  return address[1] as number;
}

function startFor(
  { own: client, authority }: Files,
  server: IssuedCertificate,
): Promise<TlsEndpoint> {
  const trust = {
    serverSslconfig: { ...server, caFile: authority.certFile },
    clientSslconfig: { ...client, caFile: authority.certFile },
  };
  return startTls(trust, app, { server: { maxRequests: 1 } });
}

async function runClient(command: readonly string[]): Promise<string> {
  const [program = "", ...args] = [...THROUGH_BASH, ...command];
  const { stdout } = await runWithInput(program, args, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  return stdout;
}

interface Refusal {
  readonly makeCommand: ServerRow[2];
  readonly listening: RegExp;
  readonly refusal: RegExp;
  readonly version: string;
}

/** Connects to a program without a certificate and, if its version is supported, with one. */
async function assertRefusal(
  files: Files,
  { makeCommand, listening, refusal, version }: Refusal,
): Promise<void> {
  const unusedPort = await findUnusedPort();
  const command = await makeCommand(files, unusedPort);
  const [program = "", ...args] = [...THROUGH_BASH, ...command];
  await using serving = new ServingProgram(program, args);
  // Caddy and gnutls-serv print to the standard error.
  const printed = await Promise.any([
    serving.waitForStdout(listening),
    serving.waitForStderr(listening),
  ]);
  const port = Number(/:(\d+)\n$|PORT (\d+)\n$/.exec(printed)?.slice(1).join("") ?? unusedPort);
  const connect = (identity: object) => {
    const sslconfig = { ...identity, caFile: files.authority.certFile };
    const host = `localhost:${port}`;
    return new SSLClient(sslconfig, ["127.0.0.1", port], { sslHost: "localhost", host });
  };
  const { message } = await catchRejection(connect({}).request("GET", "/"), "without") as Error;
  assertMatch(message, refusal);
  if (version === "1.1") return;
  using conn = await connect(files.own).connect();
  assertEquals(conn.sock.protocol, `TLSv${version}`);
}
