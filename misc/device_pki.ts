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
}

/** The files of an identity, in its directory. */
interface IdentityFiles {
  readonly caFile: string;
  readonly caKeyFile: string;
  readonly certFile: string;
  readonly keyFile: string;
}

/** What the files of an identity hold, as far as it is needed to renew the certificate. */
interface Identity {
  readonly authority: PemPair;
  readonly certificate: string;
  /** When the authority expires, in milliseconds since the epoch. */
  readonly authorityValidTo: number;
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

/** Who can write a certificate, or a directory, can put something else into its place. */
const WRITABLE_BY_OTHERS = 0o022;
const USABLE_BY_OTHERS = 0o077;

const START_OVER = "restore the directory from a backup, or remove it and pair the device again";

/**
 * Makes a device's own authority and certificate the first time, and loads them afterwards.
 *
 * They are kept in `<dir>/<name>`, which has mode 0700; its files have mode 0600. The directory
 * appears complete or not at all, also when the power fails or several processes call this at once:
 * one of them makes the identity, and all return it. A certificate that has expired, or will within
 * 30 days, is replaced when it is loaded, by one for the same key; that is what the private key of
 * the authority is kept for. A process that runs for months has to call this again before `validTo`
 * and to use the new certificate. The authority lives for 20 years. The clock has to be right when
 * an identity is made, and off by less than a day at a peer.
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
 * Needs `--allow-read` and `--allow-write` of `dir`.
 *
 * @param dir Absolute path of a directory, made if absent (with mode 0700).
 * @param name Name of the device: a DNS name in lower case of at most 64 characters, such as
 * `camera-1` or `camera-1.local`. Another name is another identity.
 * @returns Where the pieces are.
 * @throws {TypeError} if `dir` or `name` is not a string.
 * @throws {RangeError} if `dir` is relative or `name` is not a DNS name in lower case.
 * @throws {Deno.errors.NotFound} if some of the identity's files are missing.
 * @throws {Deno.errors.PermissionDenied} if other users can write `dir` or the identity's
 * directory or files, or read one of its keys (not checked on Windows).
 * @throws {Deno.errors.InvalidData} if a file can't be parsed, the files don't belong together, or
 * the authority has expired.
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
  const parent = normalize(dir);
  const home = join(parent, name);
  if (!await exists(home)) await makeIdentity(parent, name);
  await checkMode(parent, WRITABLE_BY_OTHERS);
  const files = identityFiles(home);
  await checkFiles(home, files);

  let identity = await loadIdentity(files, name);
  if (needsRenewal(identity)) {
    await renewCertificate(files, identity, name);
    identity = await loadIdentity(files, name);
  }
  return Object.freeze({
    caFile: files.caFile,
    certFile: files.certFile,
    keyFile: files.keyFile,
    validTo: new Date(identity.certificateValidTo),
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

function identityFiles(home: string): IdentityFiles {
  return {
    caFile: join(home, "ca.pem"),
    caKeyFile: join(home, "ca_key.pem"),
    certFile: join(home, "cert.pem"),
    keyFile: join(home, "key.pem"),
  };
}

function leafProfile(name: string): LeafProfile {
  return {
    subject: { commonName: name },
    usages: ["serverAuth", "clientAuth"],
    alternativeNames: [{ type: "dns", value: name }],
    days: CERTIFICATE_DAYS,
  };
}

/**
 * Makes the identity in a directory of another name and then renames that one. Since a directory
 * never replaces one with files in it, only the first of several processes succeeds.
 */
async function makeIdentity(dir: string, name: string): Promise<void> {
  await Deno.mkdir(dir, { recursive: true, mode: 0o700 });
  await checkMode(dir, WRITABLE_BY_OTHERS);
  const authority = await createAuthority({
    organization: name,
    commonName: `Device CA ${randomSuffix()}`,
  }, AUTHORITY_DAYS);
  const device = await createLeaf(authority, leafProfile(name));

  const home = join(dir, name);
  const temporary = await Deno.makeTempDir({ dir, prefix: `.${name}.` });
  try {
    const files = identityFiles(temporary);
    await writePrivateFile(files.caFile, authority.certificate);
    await writePrivateFile(files.caKeyFile, authority.privateKey);
    await writePrivateFile(files.certFile, device.certificate);
    await writePrivateFile(files.keyFile, device.privateKey);
    await syncDirectory(temporary);
    await Deno.rename(temporary, home);
  } catch (error) {
    await Deno.remove(temporary, { recursive: true });
    if (!await exists(home)) throw error;
    return; // another process was first
  }
  await syncDirectory(dir);
}

function needsRenewal({ certificateValidTo, authorityValidTo }: Identity): boolean {
  return certificateValidTo < Date.now() + RENEWAL_DAYS * DAY &&
    certificateValidTo < authorityValidTo;
}

/** The key stays, so that the pair matches at every moment, for every process. */
async function renewCertificate(
  files: IdentityFiles,
  { authority, certificate }: Identity,
  name: string,
): Promise<void> {
  const renewed = await renewLeaf(authority, certificate, leafProfile(name));
  const temporary = `${files.certFile}.${randomSuffix()}`;
  try {
    await writePrivateFile(temporary, renewed);
    await Deno.rename(temporary, files.certFile);
  } catch (error) {
    await removeIfPresent(temporary);
    throw error;
  }
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
  if (authorityValidTo <= Date.now()) {
    throw new Deno.errors.InvalidData(
      `The authority in ${files.caFile} has expired on ${ca.value.validTo}: if the clock is right, ` +
        "remove the directory that it is in and pair the device again",
    );
  }
  return {
    authority: { certificate: ca.pem, privateKey: caKey.pem },
    certificate: cert.pem,
    authorityValidTo,
    certificateValidTo: Date.parse(cert.value.validTo),
  };
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

async function checkFiles(home: string, files: IdentityFiles): Promise<void> {
  const paths = Object.values(files);
  const found = await Promise.all(paths.map(exists));
  const missing = paths.filter((_, index) => !found[index]);
  if (missing.length > 0) {
    throw new Deno.errors.NotFound(`Missing ${missing.join(", ")}: ${START_OVER}`);
  }
  await checkMode(home, WRITABLE_BY_OTHERS);
  await checkMode(files.caFile, WRITABLE_BY_OTHERS);
  await checkMode(files.certFile, WRITABLE_BY_OTHERS);
  await checkMode(files.caKeyFile, USABLE_BY_OTHERS);
  await checkMode(files.keyFile, USABLE_BY_OTHERS);
}

async function checkMode(path: string, forbidden: number): Promise<void> {
  const { mode, isDirectory } = await Deno.stat(path);
  if (mode === null || (mode & forbidden) === 0) return; // null on Windows
  throw new Deno.errors.PermissionDenied(
    `${path} is open to other users (mode ${(mode & 0o777).toString(8)}): ` +
      `run chmod ${isDirectory ? "700" : "600"} on it, and if any of them may have used that, ` +
      "remove the identity and pair the device again",
  );
}

/** Writes a new file that is on the disk when this returns. */
async function writePrivateFile(path: string, text: string): Promise<void> {
  await Deno.writeTextFile(path, text, { createNew: true, mode: 0o600 });
  using file = await Deno.open(path, { write: true });
  await file.sync();
}

/** Makes the names in a directory durable, where the system can open directories. */
async function syncDirectory(dir: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  using handle = await Deno.open(dir, { read: true });
  await handle.sync();
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function removeIfPresent(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
