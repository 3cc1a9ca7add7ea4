/** Changes to the identity of a device. */

import { createDevicePki } from "@degu/degu/device";
import { assertRejects } from "@std/assert";
import { join } from "@std/path";
import { generateKeyPairSync } from "node:crypto";
import * as x509 from "npm:@peculiar/x509@^1.14.3";

/** Asserts that the identity of a camera is refused, for example because something in its directory is open to others. */
export async function assertRefused(
  dir: string,
  name: "InvalidData" | "NotFound" | "PermissionDenied",
  words = "",
): Promise<Error> {
  return await assertRejects(() => createDevicePki(dir, "camera-1"), Deno.errors[name], words);
}

/** The permissions of a program that may only use what is there. */
export function readOnly(dir: string): string[] {
  return [`--allow-read=${dir}`, "--allow-sys=uid"];
}

const DAY = 24 * 60 * 60 * 1000;
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/**
 * Writes an identity as earlier versions made them: the authority has an end in 20 years, and the certificate in a year, or
 * after so many days.
 */
export async function writeEarlierIdentity(home: string, days = 365): Promise<void> {
  const name = home.replace(/^.*\//, "");
  const keysOf = async () => {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const pem = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
    const spki = Uint8Array.from(publicKey.export({ type: "spki", format: "der" }));
    const pkcs8 = Uint8Array.from(privateKey.export({ type: "pkcs8", format: "der" }));
    return {
      pem,
      publicKey: await crypto.subtle.importKey("spki", spki, ALGORITHM, true, ["verify"]),
      privateKey: await crypto.subtle.importKey("pkcs8", pkcs8, ALGORITHM, false, ["sign"]),
    };
  };
  const [caKeys, keys] = [await keysOf(), await keysOf()];
  const notBefore = new Date(Date.now() - DAY);
  const subject = [{ O: [name] }, { CN: ["Device CA 0123456789abcdef"] }];
  const { keyCertSign, cRLSign, digitalSignature } = x509.KeyUsageFlags;
  const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: "40".repeat(16),
    name: subject,
    notBefore,
    notAfter: new Date(Date.now() + 20 * 365 * DAY),
    keys: caKeys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(keyCertSign | cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(caKeys.publicKey, false, crypto),
    ],
  }, crypto);
  const leaf = await x509.X509CertificateGenerator.create({
    serialNumber: "41".repeat(16),
    subject: [{ CN: [name] }],
    issuer: ca.subjectName,
    notBefore: new Date(Math.min(notBefore.getTime(), Date.now() + (days - 1) * DAY)),
    notAfter: new Date(Date.now() + days * DAY),
    publicKey: keys.publicKey,
    signingKey: caKeys.privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([serverAuth, clientAuth]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, crypto),
      await x509.AuthorityKeyIdentifierExtension.create(caKeys.publicKey, false, crypto),
      new x509.SubjectAlternativeNameExtension([{ type: "dns", value: name }]),
    ],
  }, crypto);
  await Deno.mkdir(home, { recursive: true, mode: 0o700 });
  const files = {
    "ca.pem": `${ca.toString("pem")}\n`,
    "ca_key.pem": caKeys.pem,
    "cert.pem": `${leaf.toString("pem")}\n`,
    "key.pem": keys.pem,
  };
  for (const [file, text] of Object.entries(files)) {
    await Deno.writeTextFile(join(home, file), text, { mode: 0o600 });
  }
}
