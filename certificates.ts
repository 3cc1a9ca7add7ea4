/**
 * Certificates for TLS without `openssl`: {@linkcode createAuthority} creates an authority,
 * {@linkcode createLeaf} the certificate of a server or a client, and
 * {@linkcode findAuthorityFormProblem} checks an authority that a peer has sent. The functions need
 * no permission, and store nothing. Keys are ECDSA with P-256; certificates don't expire.
 *
 * For an identity in files, see `createDevicePki` of `@degu/degu/device`; for tests, see `TempPKI`
 * of `@degu/degu/misc`.
 *
 * @example
 * ```ts
 * import { createAuthority, createLeaf } from "@degu/degu/certificates";
 * import { buildServerSslctx } from "@degu/degu/server";
 * import { assertEquals } from "@std/assert";
 *
 * const authority = createAuthority({ commonName: "camera authority" });
 * const { certificate, privateKey } = createLeaf(authority, {
 *   subject: { commonName: "camera" },
 *   purposes: ["serverAuth", "clientAuth"],
 *   alternativeNames: ["camera.local"],
 * });
 * const sslctx = buildServerSslctx({ cert: certificate, key: privateKey, ca: [] });
 * assertEquals(sslctx.warnings.length, 1); // no client is trusted yet
 * ```
 *
 * @module
 */

export {
  type CertificateSubject,
  createAuthority,
  createLeaf,
  findAuthorityFormProblem,
  type LeafProfile,
  type PemPair,
} from "./net/tls/certificate_writer.ts";
