/**
 * Peers with every kind of certificate, and the expected outcome for each.
 *
 * @module
 */

import { type Issued, KEY, type OpensslPki, timeFromNow } from "./tls_openssl.ts";

/** Accepted, or refused with this code and for this reason. */
export type Verdict = "accepted" | RegExp;

/** What lets openssl use what is too weak. */
export const WEAK = ["-cipher", "ALL@SECLEVEL=0"];

/** What the TLS library says of a certificate that does not lead to the authority, or not now. */
export const UNVERIFIED =
  /^UNTRUSTED: the (?:client|server)'s certificate was refused \(UNABLE_TO_VERIFY_LEAF_SIGNATURE\): .*missing intermediate, .* expired or is not valid yet, .*version 1.*weak key.*extendedKeyUsage/;

const SELF_SIGNED =
  /^UNTRUSTED: .*certificate was refused \([A-Z_]*(SELF_SIGNED|VERIFY_LEAF)[A-Z_]*\)/;

const IS_AUTHORITY = /^WRONG_PURPOSE: .*certificate is the certificate of an authority/;

/** What all rows of one role need. */
export interface Certificates {
  readonly pki: OpensslPki;
  /** The authority that is trusted. */
  readonly trusted: Issued;
  /** The authority of the other role. */
  readonly ownAuthority: Issued;
  readonly own: Issued;
}

/** A certificate that a peer shows, and how openssl is to be told. */
export type Peer = readonly [name: string, verdict: Verdict, args: readonly string[]];

/** The rows that are the same in both roles: a peer that shows a certificate of this kind. */
export async function makePeers(
  { pki, trusted, ownAuthority }: Certificates,
  role: "client" | "server",
): Promise<Peer[]> {
  const make = pki[role].bind(pki);
  const other = await pki.authority("other");
  const intermediate = await pki.authority("intermediate", { issuer: trusted });
  const leaf = await make("leaf", { issuer: trusted });
  const wrongUsage = role === "client" ? "serverAuth" : "clientAuth";
  const names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
  const below = await make("below", { issuer: intermediate });
  const belowLeaf = await make("below_leaf", { issuer: leaf });
  return [
    ["the right authority, ECDSA P-256", "accepted", show(leaf)],
    ["ECDSA P-384", "accepted", show(await make("p384", { issuer: trusted, key: KEY.p384 }))],
    ["RSA 2048", "accepted", show(await make("rsa", { issuer: trusted, key: KEY.rsa2048 }))],
    ["Ed25519", "accepted", show(await make("ed25519", { issuer: trusted, key: KEY.ed25519 }))],
    ["an intermediate authority", "accepted", show(below, intermediate)],
    ["an intermediate authority that is missing", UNVERIFIED, show(below)],
    ["an intermediate that is no authority", UNVERIFIED, show(belowLeaf, leaf)],
    ["another authority", UNVERIFIED, show(await make("stranger", { issuer: other }))],
    ["another authority, which is shown too", SELF_SIGNED, [
      ...show(await make("stranger2", { issuer: other }), other),
    ]],
    [
      "the authority of the other role",
      UNVERIFIED,
      show(await make("swapped", { issuer: ownAuthority })),
    ],
    ["a certificate that signed itself", SELF_SIGNED, show(await make("self", {}))],
    [
      "a certificate that has expired",
      UNVERIFIED,
      show(await make("expired", { issuer: trusted, to: timeFromNow(-1) })),
    ],
    [
      "a certificate that is not valid yet",
      UNVERIFIED,
      show(await make("early", { issuer: trusted, from: timeFromNow(1) })),
    ],
    [
      "an extendedKeyUsage for the other role",
      UNVERIFIED,
      show(
        await make("usage", {
          issuer: trusted,
          extensions: [`extendedKeyUsage=${wrongUsage}`, names],
        }),
      ),
    ],
    [
      "a keyUsage without digitalSignature",
      /^WRONG_PURPOSE: .*keyUsage without digitalSignature|^REFUSED_BY_PEER: .*alert: HandshakeFailure/,
      show(
        await make("key_usage", { issuer: trusted, extensions: ["keyUsage=keyAgreement", names] }),
      ),
    ],
    ["the authority itself", IS_AUTHORITY, show(trusted)],
    [
      "a certificate that is an authority too",
      SELF_SIGNED,
      show(await make("sub_authority", { issuer: trusted, isAuthority: true })),
    ],
    [
      "a certificate of version 1",
      role === "client" ? UNVERIFIED : /^UNTRUSTED: .* has version 1 instead of 3/,
      show(await pki.version1("version1", trusted)),
    ],
    [
      "an extension that can't be read",
      /^UNTRUSTED: the .*certificate can't be read$|^REFUSED_BY_PEER: .*alert: HandshakeFailure$/,
      show(
        await make("unreadable", {
          issuer: trusted,
          extensions: [names, "2.5.29.35=DER:01:01:ff"],
        }),
      ),
    ],
    ["a signature with SHA-1", UNVERIFIED, [
      ...show(await make("sha1", { issuer: trusted, signing: ["-md", "sha1"] })),
      ...WEAK,
    ]],
    ["RSA 1024", UNVERIFIED, [
      ...show(await make("short", { issuer: trusted, key: KEY.rsa1024 })),
      ...WEAK,
    ]],
  ];
}

/** The word for a verdict in the name of a step. */
export function outcome(verdict: Verdict): string {
  return verdict === "accepted" ? ": accepted" : ": refused";
}

/** The arguments with which openssl shows a certificate and those between it and the authority. */
export function show({ certFile, keyFile }: Issued, ...chain: readonly Issued[]): string[] {
  const [first] = chain;
  const more = first === undefined ? [] : ["-cert_chain", first.certFile];
  return ["-cert", certFile, "-key", keyFile, ...more];
}

/** Certificates for one role, right and wrong. */
export async function makeCertificates(pki: OpensslPki, role: "client" | "server") {
  const trusted = await pki.authority("trusted");
  const ownAuthority = await pki.authority("own_authority");
  const own = await pki[role]("own", { issuer: ownAuthority });
  return { pki, trusted, ownAuthority, own };
}
