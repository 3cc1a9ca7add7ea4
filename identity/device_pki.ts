/**
 * The persistent identity of a device: an authority and a certificate, made once and loaded from
 * then on. The files are written atomically, and the leftovers of interrupted calls are removed.
 */

import { isAbsolute, join, normalize } from "node:path";
import { checkBoolean, checkString, copyOptions } from "../base/checks.ts";
import { quote } from "../base/quote.ts";
import { replacePrivateFile, writePrivateFile } from "../disk/private_files.ts";
import {
  exists,
  ifPresent,
  randomSuffix,
  removeIfPossible,
  removeIfPresent,
  syncDirectory,
} from "../disk/names.ts";
import { plainMessageOf } from "../net/thrown.ts";
import { type Certificate, validityProblem } from "../net/tls/certificate.ts";
import {
  createAuthority,
  createLeaf,
  type LeafProfile,
  type PemPair,
  renewLeaf,
} from "./certificates.ts";
import { deriveDnsName } from "./names.ts";
import { PrivatePaths, USABLE_BY_OTHERS, WRITABLE_BY_OTHERS } from "./private_paths.ts";

/** The paths of a device's identity: plain data that can be posted to a worker. */
export interface DevicePki {
  /**
   * The DNS name in the certificate, and the name of the directory: the given name, or the DNS name
   * derived from the given one. A peer that checks names expects this name.
   */
  readonly name: string;
  /**
   * Absolute path of the PEM file with the device's authority. The file holds no secret: a peer
   * gets its text during pairing, and then trusts this device and no other.
   */
  readonly caFile: string;
  /** Absolute path of the PEM file with the device's certificate, for both roles. */
  readonly certFile: string;
  /** Absolute path of the PEM file with the device's private key. */
  readonly keyFile: string;
  /** The time when the certificate expires; calls in the last 30 days before renew it. */
  readonly validTo: Date;
  /**
   * Warnings to log, about a state that works, but not for long: a certificate that is due and was
   * not renewed, an authority that expires within 30 days, a leftover file that could not be
   * removed. Usually empty.
   */
  readonly warnings: readonly string[];
}

/** Whether the files of an identity may be written. */
export interface DevicePkiOptions {
  /**
   * Whether to make missing files and to replace a certificate that is due. With `false` nothing is
   * ever written: for programs that use an identity which another program maintains.
   *
   * @default {true}
   */
  renew?: boolean | undefined;
}

/**
 * The life of a device's certificates, and the remaining time at which they are renewed, in days.
 */
export interface CertificateLife {
  readonly days: number;
  readonly renewalDays: number;
}

const DAY = 24 * 60 * 60 * 1000;

/** Peers are paired with the authority, so it must outlive the device. */
const AUTHORITY_DAYS = 20 * 365;

const AUTHORITY_WARNING_DAYS = 30;

export const CERTIFICATE_LIFE: CertificateLife = { days: 365, renewalDays: 30 };

/**
 * Makes a device's own authority and certificate the first time, and loads them afterwards.
 *
 * The files are kept in `<dir>/<name>`, which has mode 0700; the files have mode 0600. The
 * directory appears complete or not at all, even if the power fails or several processes call this
 * function at once: one process makes the identity, and all return it. Leftovers of crashes are
 * removed after an hour.
 *
 * A certificate that has expired, or will within 30 days, is replaced when it is loaded; the new
 * certificate has the same key. A certificate that is not valid yet, because the clock was ahead,
 * is replaced, too. If the new certificate can't be written and the old one is still valid, the old
 * one is returned with a warning. A process that runs for months must call this function again
 * before `validTo` and use the new certificate: a server with `setSslctx`, a client as a new one.
 * The authority lives for 20 years and is never replaced.
 *
 * To pair two devices, give each the text of the other's `caFile`, over a channel that both trust.
 * Then each device presents its own `certFile` and `keyFile`, and trusts the peer's authority
 * alone. The authority has issued a single certificate, so a client loses nothing by
 * `checkHostname: false`; a client can also check the name with `sslHost`, the `name` of the peer's
 * result.
 *
 * The directory, its files, and the directories and links on the way to them must belong to the
 * user of this process or to root, and no other user may be able to change them. The check covers
 * what the program has `--allow-read` of. A directory above may be shared by all (`/tmp`) if it is
 * sticky. On Windows none of this is checked. Needs `--allow-read` and `--allow-write` of `dir`,
 * and `--allow-sys=uid`; not `--allow-write` if nothing needs to be made or renewed, and never with
 * `renew: false`.
 *
 * @param dir Absolute path of a directory, made if absent (with mode 0700).
 * @param name Name of the device; another name is another identity. A DNS name in lower case of at
 * most 64 characters, such as `camera-1` or `camera-1.local`, is used unchanged. From any other
 * name, such as `Anna's camera`, a DNS name is derived for the directory and the certificate:
 * `anna-s-camera-ca91…`.
 * @param options Whether anything may be written.
 * @returns The paths of the files.
 * @throws {TypeError} if `dir` or `name` is not a string, or an option is unknown or of a wrong
 * type.
 * @throws {RangeError} if `dir` is relative, or `name` is empty, begins or ends with white space,
 * or has a control character, a line break or half of a surrogate pair.
 * @throws {Deno.errors.NotFound} if some of the identity's files are missing; with `renew: false`
 * also if there is no identity.
 * @throws {Deno.errors.PermissionDenied} if `dir`, the identity's directory, one of its files, or a
 * directory or link on the way to them belongs to another user, or if others can write them or read
 * a key.
 * @throws {Deno.errors.NotCapable} without one of the permissions.
 * @throws {Deno.errors.InvalidData} if a file can't be parsed, the files don't belong together, the
 * authority has expired or is not valid yet, or the certificate is not valid and can't be renewed.
 *
 * @example Pair a camera with a viewer
 * ```ts
 * import { createDevicePki } from "@degu/degu/device";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir(); // on a device: a permanent directory of its own
 * const camera = await createDevicePki(dir, "camera-1");
 * const viewer = await createDevicePki(dir, "viewer-1");
 *
 * // At the camera, once the text of the viewer's caFile is in a file there:
 * const { certFile, keyFile } = camera;
 * const serverSslconfig = { certFile, keyFile, caFile: viewer.caFile };
 *
 * // At the viewer, once the text of the camera's caFile is in a file there:
 * const identity = { certFile: viewer.certFile, keyFile: viewer.keyFile };
 * const clientSslconfig = { ...identity, caFile: camera.caFile, checkHostname: false };
 *
 * assertEquals(await createDevicePki(dir, "camera-1"), camera); // made once
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export async function createDevicePki(
  dir: string,
  name: string,
  options: DevicePkiOptions = {},
): Promise<DevicePki> {
  return await openDevicePki(dir, name, options, CERTIFICATE_LIFE);
}

/** Works like {@linkcode createDevicePki}, with another life of certificates. */
export async function openDevicePki(
  dir: string,
  name: string,
  options: DevicePkiOptions,
  life: CertificateLife,
): Promise<DevicePki> {
  checkString("dir", dir);
  checkString("name", name);
  const { renew = true } = copyOptions(options, ["renew"]);
  checkBoolean("renew", renew);
  if (!isAbsolute(dir) || dir.includes("\0")) {
    throw new RangeError(`dir: must be an absolute path; got ${quote(dir)}`);
  }
  const dnsName = await deriveDnsName(name);
  const paths = new PrivatePaths();
  const parent = normalize(dir);
  const home = join(parent, dnsName);
  const profile: LeafProfile = {
    subject: { commonName: dnsName },
    usages: ["serverAuth", "clientAuth"],
    alternativeNames: [{ type: "dns", value: dnsName }],
    days: life.days,
  };
  if (!await exists(home)) {
    if (!renew) {
      throw new Deno.errors.NotFound(
        `There is no identity in ${home}, and with renew: false none is made: call createDevicePki ` +
          "without it once, in a program that may write there, or look whether dir and name are right",
      );
    }
    await makeIdentity(parent, profile, paths);
  }
  await paths.check(parent, WRITABLE_BY_OTHERS);
  const files = filesIn(home);
  await checkFiles(home, files, paths);
  const { identity, warnings } = await loadCurrentIdentity(files, profile, life, renew);
  const authorityEnd = identity.authorityValidity.validTo;
  // A new authority would have to be trusted by every peer, so this one can't be renewed.
  if (authorityEnd.getTime() < Date.now() + AUTHORITY_WARNING_DAYS * DAY) {
    warnings.push(
      `The authority in ${files.caFile} expires at ${authorityEnd.toISOString()}, and can't be renewed: if ` +
        "the clock is right, remove the directory that it is in before then and pair the device again",
    );
  }
  if (renew) warnings.push(...await removeLeftBehind(parent, dnsName, paths));
  return Object.freeze({
    name: dnsName,
    caFile: files.caFile,
    certFile: files.certFile,
    keyFile: files.keyFile,
    validTo: identity.certificateValidity.validTo,
    warnings: Object.freeze(warnings),
  });
}

// ───────────────────────── a new identity

const FILES = {
  caFile: "ca.pem",
  caKeyFile: "ca_key.pem",
  certFile: "cert.pem",
  keyFile: "key.pem",
} as const;

type IdentityFiles = Readonly<Record<keyof typeof FILES, string>>;

function filesIn(home: string): IdentityFiles {
  const entries = Object.entries(FILES).map(([key, name]) => [key, join(home, name)]);
  return Object.fromEntries(entries);
}

/**
 * Writes a new identity into a temporary directory and then renames that. A directory never
 * replaces one with files in it, so only the first of several processes succeeds.
 */
async function makeIdentity(dir: string, profile: LeafProfile, paths: PrivatePaths): Promise<void> {
  await paths.checkWay(dir);
  await Deno.mkdir(dir, { recursive: true, mode: 0o700 });
  await paths.check(dir, WRITABLE_BY_OTHERS);
  const name = profile.subject.commonName;
  const commonName = `Device CA ${randomSuffix()}`;
  const authority = await createAuthority({ organization: name, commonName }, AUTHORITY_DAYS);
  const device = await createLeaf(authority, profile);
  const home = join(dir, name);
  const temporary = join(dir, `.${name}.${randomSuffix()}`);
  try {
    await Deno.mkdir(temporary, { mode: 0o700 });
    const { caFile, caKeyFile, certFile, keyFile } = filesIn(temporary);
    await writePrivateFile(caFile, authority.certificate);
    await writePrivateFile(caKeyFile, authority.privateKey);
    await writePrivateFile(certFile, device.certificate);
    await writePrivateFile(keyFile, device.privateKey);
    await syncDirectory(temporary);
    await Deno.rename(temporary, home);
  } catch (error) {
    await removeIfPossible(temporary, { recursive: true });
    if (!await exists(home)) throw error;
    return; // another process was faster
  }
  await syncDirectory(dir);
}

// ───────────────────────── an existing identity

const START_OVER = "restore the directory from a backup, or remove it and pair the device again";

/** Makes sure that all files of an identity exist, and that no other user can access them. */
async function checkFiles(home: string, files: IdentityFiles, paths: PrivatePaths): Promise<void> {
  await paths.check(home, WRITABLE_BY_OTHERS);
  const all = Object.values(files);
  const found = await Promise.all(all.map(exists));
  const missing = all.filter((_, index) => !found[index]);
  if (missing.length > 0) {
    throw new Deno.errors.NotFound(`Missing ${missing.join(", ")}: ${START_OVER}`);
  }
  await paths.check(files.caFile, WRITABLE_BY_OTHERS);
  await paths.check(files.certFile, WRITABLE_BY_OTHERS);
  await paths.check(files.caKeyFile, USABLE_BY_OTHERS);
  await paths.check(files.keyFile, USABLE_BY_OTHERS);
}

type Validity = Pick<Certificate, "validFrom" | "validTo">;

/** The parts of an identity that its renewal needs. */
interface LoadedIdentity {
  /** The authority with its key, valid now. */
  readonly authority: PemPair;
  readonly authorityValidity: Validity;
  /** The certificate as PEM text, perhaps expired or not yet valid. */
  readonly certificate: string;
  readonly certificateValidity: Validity;
}

/** Loads an identity, renews a certificate that is due, and warns if the renewal fails. */
async function loadCurrentIdentity(
  files: IdentityFiles,
  profile: LeafProfile,
  { renewalDays }: CertificateLife,
  renew: boolean,
): Promise<{ identity: LoadedIdentity; warnings: string[] }> {
  const name = profile.subject.commonName;
  // A certificate that is not valid yet was made while the clock was ahead.
  const isDue = ({ certificateValidity, authorityValidity }: LoadedIdentity) => {
    const to = certificateValidity.validTo.getTime();
    return certificateValidity.validFrom.getTime() > Date.now() ||
      to < Date.now() + renewalDays * DAY && to < authorityValidity.validTo.getTime();
  };
  let identity = await loadIdentity(files, name);
  if (!isDue(identity)) return { identity, warnings: [] };
  let why = "is not renewed, as renew is false";
  let options: ErrorOptions | undefined;
  if (renew) {
    try {
      // The key stays, so certificate and key match at every moment, for every process.
      const pem = await renewLeaf(identity.authority, identity.certificate, profile);
      await replacePrivateFile(files.certFile, pem, `${files.certFile}.${randomSuffix()}`);
    } catch (cause) {
      why = `could not be renewed: ${plainMessageOf(cause)}`;
      options = { cause };
    }
    identity = await loadIdentity(files, name); // another process may have renewed the certificate
    if (options === undefined || !isDue(identity)) return { identity, warnings: [] };
  }
  // A certificate that was not renewed serves as long as it is valid.
  const { certificateValidity } = identity;
  const invalid = validityProblem(certificateValidity, Date.now());
  const validity = invalid ?? `expires at ${certificateValidity.validTo.toISOString()}`;
  const problem = `The certificate in ${files.certFile} ${validity}, and ${why}`;
  if (invalid === null) return { identity, warnings: [problem] };
  throw new Deno.errors.InvalidData(
    `${problem}; correct the clock if it is wrong, else have it renewed by a program that may write`,
    options,
  );
}

/**
 * Reads the files and makes sure that they belong to each other and to the name.
 *
 * @throws {Deno.errors.InvalidData} if the files don't match or can't be parsed, or the authority
 * is not valid.
 */
async function loadIdentity(files: IdentityFiles, name: string): Promise<LoadedIdentity> {
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
  const invalid = validityProblem(authorityValidity, Date.now());
  if (invalid !== null) {
    const isEarly = Date.now() < authorityValidity.validFrom.getTime();
    const advice = isEarly
      ? "correct the clock; if it is right, it was ahead when the authority was made, so"
      : "if the clock is right,";
    // Peers trust this authority, so no other may replace it.
    throw new Deno.errors.InvalidData(
      `The authority in ${files.caFile} ${invalid}: ${advice} remove the directory that it is in and pair the ` +
        "device again",
    );
  }
  return {
    authority: { certificate: ca.pem, privateKey: caKey.pem },
    authorityValidity,
    certificate: cert.pem,
    certificateValidity: validityOf(cert.value),
  };
}

function validityOf({ validFrom, validTo }: { validFrom: string; validTo: string }): Validity {
  return { validFrom: new Date(validFrom), validTo: new Date(validTo) };
}

async function parseFile<T>(
  path: string,
  parse: (pem: string) => T,
): Promise<{ pem: string; value: T }> {
  const pem = await Deno.readTextFile(path);
  try {
    return { pem, value: parse(pem) };
  } catch {
    // The parser's message may quote the file, which may be a key.
    throw new Deno.errors.InvalidData(`Cannot parse ${path} as PEM: ${START_OVER}`);
  }
}

function checkMatch(matches: boolean, path: string, otherPath: string): void {
  if (matches) return;
  throw new Deno.errors.InvalidData(`${path} does not belong to ${otherPath}: ${START_OVER}`);
}

// ───────────────────────── leftovers of interrupted calls

/** The age in milliseconds of a temporary file that its call must have left behind. */
const LEFT_BEHIND_AFTER = 60 * 60 * 1000;

/** The ends of temporary names. Decimal digits alone are the time in the name of a copy. */
const TEMPORARY_SUFFIX = /^(?!\d+$)[0-9a-f]{16}$/;

/**
 * Removes temporary files of calls that a crash or a power failure has interrupted, if the program
 * may write. The identity must exist: then a process that is about to make it finds that another
 * was faster.
 *
 * @returns A warning for each file that can't be removed.
 */
async function removeLeftBehind(
  dir: string,
  name: string,
  paths: PrivatePaths,
): Promise<string[]> {
  const leftBehind = [
    ...await findTemporary(dir, `.${name}.`),
    ...await findTemporary(join(dir, name), `${FILES.certFile}.`),
  ];
  const warnings: string[] = [];
  for (const path of leftBehind) {
    try {
      const info = await ifPresent(Deno.lstat(path));
      if (info === null || !paths.isOwn(info)) continue;
      // A time in the future is from a clock that was ahead.
      const age = Math.abs(Date.now() - (info.mtime?.getTime() ?? NaN));
      // Querying never prompts.
      const { state } = await Deno.permissions.query({ name: "write", path });
      if (age > LEFT_BEHIND_AFTER && state === "granted") {
        await removeIfPresent(path, { recursive: true });
      }
    } catch (error) {
      warnings.push(
        `${path} was left behind by a call that was cut, and can't be removed: ${error}`,
      );
    }
  }
  return warnings;
}

/** Finds files with a temporary name; none in a directory that the program may not list. */
async function findTemporary(dir: string, prefix: string): Promise<string[]> {
  const found: string[] = [];
  try {
    for await (const { name } of Deno.readDir(dir)) {
      if (!name.startsWith(prefix) || !TEMPORARY_SUFFIX.test(name.slice(prefix.length))) continue;
      found.push(join(dir, name));
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
  }
  return found;
}
