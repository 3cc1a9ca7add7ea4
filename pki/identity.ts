/**
 * Checks whether the files of an identity belong together, and how long they are valid.
 *
 * @module
 */

import type { PemPair } from "./certificates.ts";
import { type IdentityFiles, START_OVER } from "./identity_files.ts";

/** How long something is valid. */
export interface Validity {
  /** When that begins, in milliseconds since the epoch. */
  readonly from: number;
  /** When it ends, in milliseconds since the epoch. */
  readonly to: number;
}

/** The parts of an identity that are needed to renew its certificate. */
export interface DeviceIdentity {
  /** The authority, with its key. */
  readonly authority: PemPair;
  /** How long the authority is valid; it is now. */
  readonly authorityValidity: Validity;
  /** The certificate, as PEM text. */
  readonly certificate: string;
  /** How long the certificate is valid, which it need not be now. */
  readonly certificateValidity: Validity;
}

/** True if something is valid now. */
export function isValid({ from, to }: Validity): boolean {
  return from <= Date.now() && Date.now() < to;
}

/** Describes from or until when something is valid, as the end of a sentence. */
export function describeValidity({ from, to }: Validity): string {
  if (Date.now() < from) return `is not valid before ${formatTime(from)}`;
  return `${Date.now() < to ? "expires" : "has expired"} on ${formatTime(to)}`;
}

/**
 * Reads the files and makes sure that they belong together and to the name.
 *
 * @throws {Deno.errors.InvalidData} if they don't, or can't be parsed, or the authority is not valid.
 */
export async function loadIdentity(files: IdentityFiles, name: string): Promise<DeviceIdentity> {
  const { createPrivateKey, X509Certificate } = await import("node:crypto");
  const ca = await parseFile(files.caFile, (pem) => new X509Certificate(pem));
  const caKey = await parseFile(files.caKeyFile, (pem) => createPrivateKey(pem));
  const cert = await parseFile(files.certFile, (pem) => new X509Certificate(pem));
  const key = await parseFile(files.keyFile, (pem) => createPrivateKey(pem));

  checkMatch(ca.value.checkPrivateKey(caKey.value), files.caKeyFile, files.caFile);
  checkMatch(cert.value.checkPrivateKey(key.value), files.keyFile, files.certFile);
  checkMatch(cert.value.verify(ca.value.publicKey), files.certFile, files.caFile);
  if (cert.value.checkHost(name) === undefined) {
    throw new Deno.errors.InvalidData(
      `The certificate in ${files.certFile} is not for ${name}: ${START_OVER}`,
    );
  }
  const authorityValidity = validityOf(ca.value);
  checkAuthorityValidity(files.caFile, authorityValidity);
  return {
    authority: { certificate: ca.pem, privateKey: caKey.pem },
    authorityValidity,
    certificate: cert.pem,
    certificateValidity: validityOf(cert.value),
  };
}

function validityOf({ validFrom, validTo }: { validFrom: string; validTo: string }): Validity {
  return { from: Date.parse(validFrom), to: Date.parse(validTo) };
}

function formatTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

/** Peers are paired with the authority, so it must not be replaced by another. */
function checkAuthorityValidity(caFile: string, validity: Validity): void {
  if (isValid(validity)) return;
  const advice = Date.now() < validity.from
    ? "correct the clock; if it is right, it was ahead when the authority was made, so remove the " +
      "directory that it is in and pair the device again"
    : "if the clock is right, remove the directory that it is in and pair the device again";
  throw new Deno.errors.InvalidData(
    `The authority in ${caFile} ${describeValidity(validity)}: ${advice}`,
  );
}

async function parseFile<T>(
  path: string,
  parse: (pem: string) => T,
): Promise<{ pem: string; value: T }> {
  const pem = await Deno.readTextFile(path);
  try {
    return { pem, value: parse(pem) };
  } catch {
    // The parser's own message may quote the file, which may be a key.
    throw new Deno.errors.InvalidData(`Cannot parse ${path} as PEM: ${START_OVER}`);
  }
}

function checkMatch(matches: boolean, path: string, otherPath: string): void {
  if (matches) return;
  throw new Deno.errors.InvalidData(`${path} does not belong to ${otherPath}: ${START_OVER}`);
}
