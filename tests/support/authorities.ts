/** Certificates of authorities that differ from those of devices, and leaves that they sign. */

import * as x509 from "npm:@peculiar/x509@^1.14.3";

export interface Deviation {
  readonly algorithm?: EcKeyGenParams | RsaHashedKeyGenParams;
  readonly hash?: "SHA-256" | "SHA-384";
  readonly extensions?: readonly x509.Extension[];
  /** Whose key signs it, and whose name is the issuer's. */
  readonly issuer?: TestAuthority;
  /** Its name; one of its own otherwise. */
  readonly name?: string;
  /** Its keys; new ones otherwise. */
  readonly keys?: CryptoKeyPair;
  /** Days from now: its first and its last moment. */
  readonly valid?: readonly [from: number, to: number];
}

export interface TestAuthority {
  readonly name: string;
  readonly der: Uint8Array;
  readonly pem: string;
  readonly keyPem: string;
  readonly keys: CryptoKeyPair;
  readonly certificate: x509.X509Certificate;
}

const P256 = { name: "ECDSA", namedCurve: "P-256" } as const;
const DAY = 24 * 60 * 60 * 1000;
const { keyCertSign, cRLSign, digitalSignature, keyAgreement, encipherOnly } = x509.KeyUsageFlags;

/** Extensions, by what they say. */
export const EXTENSIONS = {
  authority: (pathLength?: number) => new x509.BasicConstraintsExtension(true, pathLength, true),
  noAuthority: () => new x509.BasicConstraintsExtension(false, undefined, true),
  signsCertificates: () => new x509.KeyUsagesExtension(keyCertSign | cRLSign, true),
  signsAlsoHandshakes: () => new x509.KeyUsagesExtension(keyCertSign | digitalSignature, true),
  signsLists: () => new x509.KeyUsagesExtension(cRLSign, true),
  enciphers: () => new x509.KeyUsagesExtension(keyAgreement | encipherOnly, true),
  signsHandshakes: () => new x509.KeyUsagesExtension(digitalSignature, true),
  unknown: (critical: boolean, length = 2) =>
    new x509.Extension("1.3.6.1.4.1.99999.1", critical, new Uint8Array(length)),
  nameConstraints: (critical: boolean) =>
    // permittedSubtrees: dNSName "a"
    new x509.Extension("2.5.29.30", critical, Uint8Array.fromHex("3007a0053003820161")),
  alternativeNames: (der: Uint8Array<ArrayBuffer>) => new x509.Extension("2.5.29.17", false, der),
  isFor: (...purposes: readonly (keyof typeof x509.ExtendedKeyUsage | "any")[]) =>
    new x509.ExtendedKeyUsageExtension(
      purposes.map((each) => each === "any" ? "2.5.29.37.0" : x509.ExtendedKeyUsage[each]),
    ),
} as const;

/** Makes a certificate, like a device's authority unless told otherwise. */
export async function makeAuthority(deviation: Deviation = {}): Promise<TestAuthority> {
  const { algorithm = P256, hash = "SHA-256", issuer, name = crypto.randomUUID() } = deviation;
  const [from, to] = deviation.valid ?? [-1, 1];
  const keys = deviation.keys ??
    await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: "01",
    subject: `CN=${name}`,
    issuer: issuer?.certificate.subject ?? `CN=${name}`,
    notBefore: new Date(Date.now() + from * DAY),
    notAfter: new Date(Date.now() + to * DAY),
    publicKey: keys.publicKey,
    signingKey: (issuer?.keys ?? keys).privateKey,
    signingAlgorithm: { name: algorithm.name, hash } as EcdsaParams,
    extensions: [
      ...deviation.extensions ?? [EXTENSIONS.authority(), EXTENSIONS.signsCertificates()],
    ],
  }, crypto);
  const key = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return {
    name,
    der: new Uint8Array(certificate.rawData),
    pem: `${certificate.toString("pem")}\n`,
    keyPem: x509.PemConverter.encode(key, x509.PemConverter.PrivateKeyTag),
    keys,
    certificate,
  };
}

/** Makes a certificate for a handshake that an authority signs. */
export function makeLeaf(issuer: TestAuthority, name?: string): Promise<TestAuthority> {
  const extensions = [
    EXTENSIONS.noAuthority(),
    EXTENSIONS.signsHandshakes(),
    EXTENSIONS.isFor("serverAuth", "clientAuth"),
  ];
  return makeAuthority({ issuer, extensions, ...(name === undefined ? {} : { name }) });
}
