/**
 * The public key of a certificate, by which peers are identified.
 *
 * @module
 */

import { checkString } from "../../base/checks.ts";
import { fingerprint256, parseCertificate } from "./certificate.ts";
import { loadBuiltin } from "./modules.ts";

/**
 * Computes the SHA-256 of the public key of a certificate, `AB:CD:…`, of its SubjectPublicKeyInfo (RFC 5280
 * §4.1.2.7), to compare with the `publicKey256` of a peer or of its authority.
 *
 * @param pem The text of a PEM file; if it has several certificates, the first one is used.
 * @throws {TypeError} if it is not a string.
 * @throws {RangeError} if it holds no certificate.
 *
 * @example Know a client by its authority
 * ```ts
 * import { publicKey256, SSLClient, SSLServer } from "@degu/degu";
 * import { TempPKI } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * await using pki = await TempPKI.create();
 * const known = publicKey256(await Deno.readTextFile(pki.serverSslconfig.caFile!));
 * await using server = new SSLServer(pki.serverSslconfig, ["127.0.0.1", 0], (_request, session) => {
 *   const isKnown = session.peerCertificate?.authority?.publicKey256 === known;
 *   return [200, "OK", { known: `${isKnown}` }, null];
 * });
 * server.serveForever();
 * await server.ready;
 * const client = new SSLClient(pki.clientSslconfig, server.address);
 * assertEquals((await client.request("GET", "/")).headers["known"], "true");
 * ```
 */
export function publicKey256(pem: string): string {
  checkString("pem", pem);
  const { X509Certificate } = loadBuiltin("node:crypto");
  let der;
  try {
    der = new X509Certificate(pem).raw;
  } catch {
    throw new RangeError(
      'pem: must be a certificate in PEM form, which begins with "-----BEGIN CERTIFICATE-----"',
    );
  }
  return fingerprint256(parseCertificate(der).publicKey);
}
