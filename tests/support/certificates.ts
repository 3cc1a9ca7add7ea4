import { assert } from "@std/assert";
import { createHash, X509Certificate } from "node:crypto";
import { type AddressInfo, isIP } from "node:net";
import * as tls from "node:tls";

/** PEM files that a server uses; without a `caFile` it asks for no client certificate. */
export interface ServerFiles {
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly caFile?: string;
}

/** PEM files that a client uses, and whether it checks the name of the server. */
export interface ClientFiles extends ServerFiles {
  readonly checkHostname: boolean;
}

/** The certificate and key of a configuration, without whom it trusts. */
export function keyPair({ certFile, keyFile }: ServerFiles): ServerFiles {
  return { certFile, keyFile };
}

/**
 * One TLS connection over loopback, in which the server says hello. Resolves to what the client
 * read; rejects where one of them refused the other.
 */
export async function exchangeOverTls(
  serverFiles: ServerFiles,
  clientFiles: ClientFiles,
  host: string | null,
): Promise<string> {
  const server = tls.createServer({
    ...await readFiles(serverFiles),
    requestCert: serverFiles.caFile !== undefined,
    rejectUnauthorized: serverFiles.caFile !== undefined,
  }, (socket) => {
    socket.on("error", () => {});
    socket.end("hello");
  });
  server.on("tlsClientError", () => {});
  const closed = Promise.withResolvers<void>();
  const listening = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", () => listening.resolve());
  await listening.promise;
  try {
    const options = {
      ...await readFiles(clientFiles),
      host: "127.0.0.1",
      port: (server.address() as AddressInfo).port,
      ...(host === null ? {} : { servername: host }),
      ...(clientFiles.checkHostname ? {} : { checkServerIdentity: () => undefined }),
    };
    return await readUntilClosed(tls.connect(options));
  } finally {
    server.close(() => closed.resolve());
    await closed.promise;
  }
}

export async function readCertificate(path: string): Promise<X509Certificate> {
  return new X509Certificate(await Deno.readTextFile(path));
}

/** Tells whether one of a certificate's subjectAltNames is this DNS name or IP address. */
export function covers(certificate: X509Certificate, name: string): boolean {
  const match = isIP(name) === 0
    ? certificate.checkHost(name, { subject: "never" })
    : certificate.checkIP(name);
  return match !== undefined;
}

/** Asserts that two times, in milliseconds, are at most a minute apart. */
export function assertNear(actual: number, expected: number): void {
  assert(
    Math.abs(actual - expected) < 60_000,
    `${new Date(actual)} is not near ${new Date(expected)}`,
  );
}

async function readUntilClosed(socket: tls.TLSSocket): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let text = "";
  let failure: Error | null = null;
  socket.setEncoding("utf8");
  socket.on("data", (data) => text += data);
  socket.on("error", (error) => failure = error);
  socket.on("close", () => {
    if (failure !== null) reject(failure);
    else if (text === "") reject(new Error("the server closed without a word"));
    else resolve(text);
  });
  return await promise;
}

async function readFiles(
  { certFile, keyFile, caFile }: ServerFiles,
): Promise<{ cert?: string; key?: string; ca?: string }> {
  return {
    ...(certFile === undefined ? {} : { cert: await Deno.readTextFile(certFile) }),
    ...(keyFile === undefined ? {} : { key: await Deno.readTextFile(keyFile) }),
    ...(caFile === undefined ? {} : { ca: await Deno.readTextFile(caFile) }),
  };
}

/** The SHA-256 of the public key of a certificate in PEM, found without the library. */
export function publicKey256(pem: string): string {
  const { publicKey } = new X509Certificate(pem);
  const der = publicKey.export({ type: "spki", format: "der" });
  const digest = createHash("sha256").update(der).digest("hex").toUpperCase();
  return digest.match(/../g)!.join(":");
}

/** The first certificate of a PEM text, in DER. */
export function derOf(pem: string): Uint8Array {
  return new Uint8Array(new X509Certificate(pem).raw);
}
