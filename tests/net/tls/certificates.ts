import { createAuthority, createLeaf } from "@degu/degu/certificates";
import { createHash, X509Certificate } from "node:crypto";
import { isIP } from "node:net";

/** Creates an authority and a certificate of it for servers and clients, both with a name. */
export function createIdentity(name: string): { ca: string; cert: string; key: string } {
  const authority = createAuthority({ commonName: name });
  const { certificate, privateKey } = createLeaf(authority, {
    subject: { commonName: name },
    purposes: ["serverAuth", "clientAuth"],
    alternativeNames: [name],
  });
  return { ca: authority.certificate, cert: certificate, key: privateKey };
}

export async function readCertificate(path: string): Promise<X509Certificate> {
  return new X509Certificate(await Deno.readTextFile(path));
}

/** Reports whether one of a certificate's subjectAltNames is this DNS name or IP address. */
export function hasSubjectName(certificate: X509Certificate, name: string): boolean {
  const match = isIP(name) === 0
    ? certificate.checkHost(name, { subject: "never" })
    : certificate.checkIP(name);
  return match !== undefined;
}

/** Computes the SHA-256 of the public key of a certificate in PEM, without the library. */
export function hashPublicKey(pem: string): string {
  const { publicKey } = new X509Certificate(pem);
  const der = publicKey.export({ type: "spki", format: "der" });
  const digest = createHash("sha256").update(der).digest("hex").toUpperCase();
  return digest.match(/../g)!.join(":");
}

/** Returns the first certificate of a PEM text, in DER. */
export function derOf(pem: string): Uint8Array {
  return new Uint8Array(new X509Certificate(pem).raw);
}
