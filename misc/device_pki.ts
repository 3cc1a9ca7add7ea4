/**
 * The persistent identity of a device: an authority of its own and a certificate from it, made
 * once and loaded from then on.
 *
 * @module
 */

import { isAbsolute, join, normalize } from "node:path";
import { isDnsName } from "./alternative_names.ts";
import {
  createAuthority,
  createLeaf,
  type LeafProfile,
  type PemPair,
  randomSuffix,
  renewLeaf,
} from "./certificates.ts";
import {
  checkFiles,
  exists,
  type IdentityFiles,
  identityFiles,
  removeLeftBehind,
  replaceCertificate,
  START_OVER,
  writeIdentity,
} from "./identity_files.ts";
import { PrivatePaths, WRITABLE_BY_OTHERS } from "./private_paths.ts";

/** Where the pieces of a device's identity are: plain data that can be posted to a worker. */
export interface DevicePki {
  /**
   * Absolute path of the PEM file with the device's authority. It holds no secret: its text is what
   * a peer is given when the two are paired, to trust this device and no other.
   */
  readonly caFile: string;
  /** Absolute path of the PEM file with the device's certificate, for both roles. */
  readonly certFile: string;
  /** Absolute path of the PEM file with the device's private key. */
  readonly keyFile: string;
  /** When the certificate expires; 30 days before, the next call renews it. */
  readonly validTo: Date;
  /**
   * What works, but not for long, each a text to log: a certificate that is due and could not be
   * renewed, something left behind that could not be removed. Usually empty.
   */
  readonly warnings: readonly string[];
}

/** What the files of an identity hold, as far as it is needed to renew the certificate. */
interface Identity {
  readonly authority: PemPair;
  readonly certificate: string;
  /** When the authority expires, in milliseconds since the epoch. */
  readonly authorityValidTo: number;
  /** When the certificate begins to be valid, in milliseconds since the epoch. */
  readonly certificateValidFrom: number;
  /** When the certificate expires, in milliseconds since the epoch. */
  readonly certificateValidTo: number;
}

const DAY = 24 * 60 * 60 * 1000;

/** Peers are paired with the authority, so it has to outlive the device. */
const AUTHORITY_DAYS = 20 * 365;

const CERTIFICATE_DAYS = 365;

/** A certificate that expires within this many days is replaced. */
const RENEWAL_DAYS = 30;

/** A common name has at most this many characters (RFC 5280 appendix A.1, ub-common-name). */
const MAX_NAME_LENGTH = 64;

/**
 * Makes a device's own authority and certificate the first time, and loads them afterwards.
 *
 * They are kept in `<dir>/<name>`, which has mode 0700; its files have mode 0600. The directory
 * appears complete or not at all, also when the power fails or several processes call this at once:
 * one of them makes the identity, and all return it. What a call leaves behind that is cut by a
 * crash is removed by one that comes an hour later or more.
 *
 * A certificate that has expired, or will within 30 days, is replaced when it is loaded, by one for
 * the same key; that is what the private key of the authority is kept for. So is one that is not
 * valid yet, since it was made while the clock was ahead. Where a new one can't be written, one that
 * is still valid is returned, and `warnings` says so. A process that runs for months has to call this
 * again before `validTo` and to use the new certificate. The authority lives for 20 years. The clock
 * has to be right when an identity is made, and off by less than a day at a peer.
 *
 * Everything has to belong to the user of this process or to root, and nobody else may be able to
 * change it: the directory, its files, and the directories and links that lead to it, as far as the
 * program has `--allow-read` of those. A directory above may be one for all (`/tmp`) where its sticky
 * bit keeps others from replacing what is not theirs. Nothing of this is checked on Windows.
 *
 * Two devices are paired by giving each the text of the other's `caFile`, over a channel that both
 * trust (a QR code, a cable, a comparison of fingerprints by their owner). From then on each
 * presents its own `certFile` and `keyFile`, and trusts the peer's authority alone, whichever of the
 * two is the server:
 *
 * - the server's *sslconfig* is `{ certFile, keyFile, caFile: peerCaFile }`,
 * - the client's is `{ certFile, keyFile, caFile: peerCaFile, checkHostname: false }`.
 *
 * Since the peer's authority has issued the peer's certificate and no other, a client loses nothing
 * by `checkHostname: false`; it may as well check the name with `sslHost: "<name of the peer>"`,
 * which the certificate is issued for, whatever the peer's address is.
 *
 * Needs `--allow-read` and `--allow-write` of `dir`, and `--allow-sys=uid`; not `--allow-write` where
 * nothing has to be made or renewed.
 *
 * @param dir Absolute path of a directory, made if absent (with mode 0700).
 * @param name Name of the device: a DNS name in lower case of at most 64 characters, such as
 * `camera-1` or `camera-1.local`. Another name is another identity.
 * @returns Where the pieces are.
 * @throws {TypeError} if `dir` or `name` is not a string.
 * @throws {RangeError} if `dir` is relative or `name` is not a DNS name in lower case.
 * @throws {Deno.errors.NotFound} if some of the identity's files are missing.
 * @throws {Deno.errors.PermissionDenied} if `dir`, the identity's directory, one of its files or
 * what leads to them belongs to another user, or others can write it or read one of the keys.
 * @throws {Deno.errors.NotCapable} without one of the permissions.
 * @throws {Deno.errors.InvalidData} if a file can't be parsed, the files don't belong together, the
 * authority has expired or is not valid yet, or the certificate is not valid and can't be renewed.
 *
 * @example Pair a camera with a viewer
 * ```ts
 * import { createDevicePki } from "@degu/degu/misc";
 * import { assert, assertEquals } from "@std/assert";
 * import { X509Certificate } from "node:crypto";
 *
 * const dir = await Deno.makeTempDir(); // in a device: a directory of its own, that stays
 * const camera = await createDevicePki(dir, "camera-1");
 * const viewer = await createDevicePki(dir, "viewer-1");
 *
 * // At the camera, once the text of the viewer's caFile is in a file there:
 * const { certFile, keyFile } = camera;
 * const serverSslconfig = { certFile, keyFile, caFile: viewer.caFile };
 *
 * // At the viewer, once the text of the camera's caFile is in a file there:
 * const clientSslconfig = {
 *   certFile: viewer.certFile,
 *   keyFile: viewer.keyFile,
 *   caFile: camera.caFile,
 *   checkHostname: false,
 * };
 *
 * const read = async (path: string) => new X509Certificate(await Deno.readTextFile(path));
 * const trustedByServer = await read(serverSslconfig.caFile);
 * const trustedByClient = await read(clientSslconfig.caFile);
 * assert((await read(clientSslconfig.certFile)).verify(trustedByServer.publicKey));
 * assert((await read(serverSslconfig.certFile)).verify(trustedByClient.publicKey));
 *
 * assertEquals(await createDevicePki(dir, "camera-1"), camera); // made once
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export async function createDevicePki(dir: string, name: string): Promise<DevicePki> {
  checkArguments(dir, name);
  const paths = new PrivatePaths();
  const parent = normalize(dir);
  const home = join(parent, name);
  if (!await exists(home)) await makeIdentity(parent, name, paths);
  await paths.check(parent, WRITABLE_BY_OTHERS);
  const files = identityFiles(home);
  await checkFiles(home, files, paths);

  const { identity, warnings } = await loadCurrentIdentity(files, name);
  warnings.push(...await removeLeftBehind(parent, name, paths));
  return Object.freeze({
    caFile: files.caFile,
    certFile: files.certFile,
    keyFile: files.keyFile,
    validTo: new Date(identity.certificateValidTo),
    warnings: Object.freeze(warnings),
  });
}

function checkArguments(dir: string, name: string): void {
  if (typeof dir !== "string" || typeof name !== "string") {
    throw new TypeError("Cannot make a device PKI: dir and name must be strings");
  }
  if (!isAbsolute(dir)) {
    throw new RangeError(
      `Cannot make a device PKI in ${JSON.stringify(dir)}: not an absolute path`,
    );
  }
  if (name.length > MAX_NAME_LENGTH || !isDnsName(name)) {
    throw new RangeError(
      `Cannot make a device PKI for ${JSON.stringify(name)}: ` +
        `expected a DNS name in lower case of at most ${MAX_NAME_LENGTH} characters`,
    );
  }
}

function leafProfile(name: string): LeafProfile {
  return {
    subject: { commonName: name },
    usages: ["serverAuth", "clientAuth"],
    alternativeNames: [{ type: "dns", value: name }],
    days: CERTIFICATE_DAYS,
  };
}

async function makeIdentity(dir: string, name: string, paths: PrivatePaths): Promise<void> {
  await paths.checkWay(dir);
  await Deno.mkdir(dir, { recursive: true, mode: 0o700 });
  await paths.check(dir, WRITABLE_BY_OTHERS);
  const authority = await createAuthority({
    organization: name,
    commonName: `Device CA ${randomSuffix()}`,
  }, AUTHORITY_DAYS);
  const device = await createLeaf(authority, leafProfile(name));
  await writeIdentity(dir, name, {
    caFile: authority.certificate,
    caKeyFile: authority.privateKey,
    certFile: device.certificate,
    keyFile: device.privateKey,
  });
}

/**
 * Loads an identity, and renews its certificate where that is due. Where it can't be renewed, for
 * example because the program may not write, a certificate that is valid is still as good as ever.
 */
async function loadCurrentIdentity(
  files: IdentityFiles,
  name: string,
): Promise<{ identity: Identity; warnings: string[] }> {
  const loaded = await loadIdentity(files, name);
  if (!needsRenewal(loaded)) return { identity: loaded, warnings: [] };
  let failure: unknown = null;
  try {
    await renewCertificate(files, loaded, name);
  } catch (error) {
    failure = error;
  }
  const identity = await loadIdentity(files, name); // another process may have renewed it
  if (failure === null || !needsRenewal(identity)) return { identity, warnings: [] };
  const problem = `The certificate in ${files.certFile} ${describeValidity(identity)}, and could ` +
    `not be renewed: ${failure instanceof Error ? failure.message : failure}`;
  if (!isValid(identity)) {
    const advice = "correct the clock if it is wrong";
    throw new Deno.errors.InvalidData(`${problem}; ${advice}`, { cause: failure });
  }
  return { identity, warnings: [problem] };
}

function isValid({ certificateValidFrom, certificateValidTo }: Identity): boolean {
  return certificateValidFrom <= Date.now() && Date.now() < certificateValidTo;
}

function describeValidity({ certificateValidFrom, certificateValidTo }: Identity): string {
  if (Date.now() < certificateValidFrom) return `is valid from ${formatTime(certificateValidFrom)}`;
  const verb = Date.now() < certificateValidTo ? "expires" : "has expired";
  return `${verb} on ${formatTime(certificateValidTo)}`;
}

function formatTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

/** A certificate that is not valid yet was made while the clock was ahead. */
function needsRenewal(
  { certificateValidFrom, certificateValidTo, authorityValidTo }: Identity,
): boolean {
  return certificateValidFrom > Date.now() ||
    certificateValidTo < Date.now() + RENEWAL_DAYS * DAY && certificateValidTo < authorityValidTo;
}

/** The key stays, so that the pair matches at every moment, for every process. */
async function renewCertificate(
  files: IdentityFiles,
  { authority, certificate }: Identity,
  name: string,
): Promise<void> {
  await replaceCertificate(files, await renewLeaf(authority, certificate, leafProfile(name)));
}

/** Reads the files and makes sure that they belong together and to the name. */
async function loadIdentity(files: IdentityFiles, name: string): Promise<Identity> {
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
  const authorityValidTo = Date.parse(ca.value.validTo);
  checkAuthorityValidity(files.caFile, Date.parse(ca.value.validFrom), authorityValidTo);
  return {
    authority: { certificate: ca.pem, privateKey: caKey.pem },
    certificate: cert.pem,
    authorityValidTo,
    certificateValidFrom: Date.parse(cert.value.validFrom),
    certificateValidTo: Date.parse(cert.value.validTo),
  };
}

/** Peers are paired with the authority, so it is not for us to make another. */
function checkAuthorityValidity(caFile: string, validFrom: number, validTo: number): void {
  if (Date.now() < validFrom) {
    throw new Deno.errors.InvalidData(
      `The authority in ${caFile} is not valid before ${
        formatTime(validFrom)
      }: correct the clock; ` +
        "if it is right, it was ahead when the authority was made, so remove the directory that it " +
        "is in and pair the device again",
    );
  }
  if (validTo <= Date.now()) {
    throw new Deno.errors.InvalidData(
      `The authority in ${caFile} has expired on ${formatTime(validTo)}: if the clock is right, ` +
        "remove the directory that it is in and pair the device again",
    );
  }
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
