/**
 * The persistent identity of a device: an authority of its own and a certificate from it, made
 * once and loaded from then on.
 *
 * @module
 */

import { isAbsolute, join, normalize } from "node:path";
import { checkBoolean, checkString, copyOptions } from "../base/checks.ts";
import { quote } from "../base/errors.ts";
import { exists, randomSuffix } from "../disk/names.ts";
import { plainMessageOf } from "../net/thrown.ts";
import { createAuthority, createLeaf, type LeafProfile, renewLeaf } from "./certificates.ts";
import {
  checkFiles,
  describeValidity,
  type IdentityFiles,
  identityFiles,
  isValid,
  type LoadedIdentity,
  loadIdentity,
  removeLeftBehind,
  replaceCertificate,
  writeIdentity,
} from "./identity_files.ts";
import { deriveDnsName } from "./names.ts";
import { PrivatePaths, WRITABLE_BY_OTHERS } from "./private_paths.ts";

/** The paths of a device's identity: plain data that can be posted to a worker. */
export interface DevicePki {
  /**
   * The DNS name that the certificate is issued for, and that the directory has: the name that was
   * given, or what was derived from it. A peer that checks names checks this one.
   */
  readonly name: string;
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
   * Warnings to log, about what works, but not for long: a certificate that is due and was not renewed,
   * an authority that expires within 30 days, something left behind that could not be removed.
   * Usually empty.
   */
  readonly warnings: readonly string[];
}

/** Options of {@linkcode createDevicePki}. */
export interface DevicePkiOptions {
  /**
   * Whether to make what is missing and to replace a certificate that is due. With `false` nothing is
   * ever written: for programs that use an identity which another program maintains.
   *
   * @default {true}
   */
  renew?: boolean | undefined;
}

/** How long the certificates of a device live, in days; parts of a day count. */
export interface CertificateLife {
  /** From the moment at which one is made. */
  readonly days: number;
  /** One that has no more than this left is replaced. */
  readonly renewalDays: number;
}

const DAY = 24 * 60 * 60 * 1000;

/** Peers are paired with the authority, so it must outlive the device. */
const AUTHORITY_DAYS = 20 * 365;

/** Days before its end at which an authority causes a warning. */
const AUTHORITY_WARNING_DAYS = 30;

/** A certificate is renewed a month before it would end. */
export const CERTIFICATE_LIFE: CertificateLife = { days: 365, renewalDays: 30 };

/**
 * Makes a device's own authority and certificate the first time, and loads them afterwards.
 *
 * They are kept in `<dir>/<name>`, which has mode 0700; its files have mode 0600. The directory appears
 * complete or not at all, even if the power fails or several processes call this at once: one of them makes
 * the identity, and all return it. What a crash left behind an hour ago or more is removed.
 *
 * A certificate that has expired, or will within 30 days, is replaced when it is loaded, by one for the same key. So is
 * one that is not valid yet, since it was made while the clock was ahead. If a new one can't be written, one that
 * is still valid is returned, with a warning. A process that runs for months must call this again before
 * `validTo` and use the new certificate: a server with `setSslctx`, a client as a new one. The authority
 * lives for 20 years and is never replaced.
 *
 * Two devices are paired by giving each the text of the other's `caFile`, over a channel that both trust. From then on
 * each presents its own `certFile` and `keyFile`, and trusts the peer's authority alone. Since that has issued
 * one certificate, a client loses nothing by `checkHostname: false`; it may as well check the name
 * with `sslHost`, the `name` of the peer's result.
 *
 * Everything must belong to the user of this process or to root, and no other user may be able to
 * change it: the directory, its files, and the directories and links that lead to it, as far as the
 * program has `--allow-read` of those. A directory above may be shared by all (`/tmp`) if it is sticky. On Windows none of
 * this is checked. Needs `--allow-read` and `--allow-write` of `dir`, and `--allow-sys=uid`; not `--allow-write` if
 * nothing needs to be made or renewed, and never with `renew: false`.
 *
 * @param dir Absolute path of a directory, made if absent (with mode 0700).
 * @param name Name of the device; another name is another identity. A DNS name in lower case of at
 * most 64 characters, such as `camera-1` or `camera-1.local`, is used as it is. From every other one,
 * such as `Anna's camera`, a DNS name is derived for the directory and the certificate: `anna-s-camera-ca91…`.
 * @param options Whether anything may be written.
 * @returns Where the files are.
 * @throws {TypeError} if `dir` or `name` is not a string, or an option is unknown or of a wrong type.
 * @throws {RangeError} if `dir` is relative, or `name` is empty, begins or ends with white space, or
 * has a control character, a line break or half of a surrogate pair.
 * @throws {Deno.errors.NotFound} if some of the identity's files are missing; with `renew: false` also
 * if there is no identity.
 * @throws {Deno.errors.PermissionDenied} if `dir`, the identity's directory, one of its files or
 * what leads to them belongs to another user, or others can write it or read one of the keys.
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

/** Like {@linkcode createDevicePki}, with a different lifetime of certificates. */
export async function openDevicePki(
  dir: string,
  name: string,
  options: DevicePkiOptions,
  life: CertificateLife,
): Promise<DevicePki> {
  const renew = checkArguments(dir, name, options);
  const dnsName = await deriveDnsName(name);
  const paths = new PrivatePaths();
  const parent = normalize(dir);
  const home = join(parent, dnsName);
  if (!await exists(home)) {
    if (!renew) {
      throw new Deno.errors.NotFound(
        `There is no identity in ${home}, and with renew: false none is made: call createDevicePki ` +
          "without it once, in a program that may write there, or look whether dir and name are right",
      );
    }
    await makeIdentity(parent, dnsName, life, paths);
  }
  await paths.check(parent, WRITABLE_BY_OTHERS);
  const files = identityFiles(home);
  await checkFiles(home, files, paths);

  const { identity, warnings } = await loadCurrentIdentity(files, dnsName, life, renew);
  warnings.push(...authorityWarnings(files, identity));
  if (renew) warnings.push(...await removeLeftBehind(parent, dnsName, paths));
  return Object.freeze({
    name: dnsName,
    caFile: files.caFile,
    certFile: files.certFile,
    keyFile: files.keyFile,
    validTo: new Date(identity.certificateValidity.to),
    warnings: Object.freeze(warnings),
  });
}

/** Checks everything but the form of the name; returns whether to renew. */
function checkArguments(dir: string, name: string, options: DevicePkiOptions): boolean {
  checkString("dir", dir);
  checkString("name", name);
  const { renew = true } = copyOptions(options, ["renew"]);
  checkBoolean("renew", renew);
  if (!isAbsolute(dir) || dir.includes("\0")) {
    throw new RangeError(`dir: must be an absolute path; got ${quote(dir)}`);
  }
  return renew;
}

function leafProfile(name: string, { days }: CertificateLife): LeafProfile {
  return {
    subject: { commonName: name },
    usages: ["serverAuth", "clientAuth"],
    alternativeNames: [{ type: "dns", value: name }],
    days,
  };
}

async function makeIdentity(
  dir: string,
  name: string,
  life: CertificateLife,
  paths: PrivatePaths,
): Promise<void> {
  await paths.checkWay(dir);
  await Deno.mkdir(dir, { recursive: true, mode: 0o700 });
  await paths.check(dir, WRITABLE_BY_OTHERS);
  const authority = await createAuthority({
    organization: name,
    commonName: `Device CA ${randomSuffix()}`,
  }, AUTHORITY_DAYS);
  const device = await createLeaf(authority, leafProfile(name, life));
  await writeIdentity(dir, name, {
    caFile: authority.certificate,
    caKeyFile: authority.privateKey,
    certFile: device.certificate,
    keyFile: device.privateKey,
  });
}

/** An identity, and the warnings about it. */
interface Loaded {
  readonly identity: LoadedIdentity;
  readonly warnings: string[];
}

/** Loads an identity, and renews its certificate if that is due and wanted. */
async function loadCurrentIdentity(
  files: IdentityFiles,
  name: string,
  life: CertificateLife,
  renew: boolean,
): Promise<Loaded> {
  const loaded = await loadIdentity(files, name);
  if (!isDue(loaded, life)) return { identity: loaded, warnings: [] };
  if (!renew) return keep(files, loaded, "is not renewed, as renew is false");
  let failure: unknown = null;
  try {
    // The key stays, so certificate and key match at every moment, for every process.
    const { authority, certificate } = loaded;
    await replaceCertificate(
      files,
      await renewLeaf(authority, certificate, leafProfile(name, life)),
    );
  } catch (error) {
    failure = error;
  }
  const identity = await loadIdentity(files, name); // another process may have renewed it
  if (failure === null || !isDue(identity, life)) return { identity, warnings: [] };
  const why = `could not be renewed: ${plainMessageOf(failure)}`;
  return keep(files, identity, why, { cause: failure });
}

/** Uses a certificate that was not renewed: it is fine as long as it is valid. */
function keep(
  { certFile }: IdentityFiles,
  identity: LoadedIdentity,
  why: string,
  options?: ErrorOptions,
): Loaded {
  const { certificateValidity } = identity;
  const problem = `The certificate in ${certFile} ${
    describeValidity(certificateValidity)
  }, and ${why}`;
  if (isValid(certificateValidity)) return { identity, warnings: [problem] };
  throw new Deno.errors.InvalidData(
    `${problem}; correct the clock if it is wrong, else have it renewed by a program that may write`,
    options,
  );
}

/** A certificate that is not valid yet was made while the clock was ahead. */
function isDue(
  { certificateValidity, authorityValidity }: LoadedIdentity,
  { renewalDays }: CertificateLife,
): boolean {
  const { from, to } = certificateValidity;
  return from > Date.now() || to < Date.now() + renewalDays * DAY && to < authorityValidity.to;
}

/** An authority can't be renewed: its peers would have to trust another one. */
function authorityWarnings(
  { caFile }: IdentityFiles,
  { authorityValidity }: LoadedIdentity,
): string[] {
  if (authorityValidity.to >= Date.now() + AUTHORITY_WARNING_DAYS * DAY) return [];
  return [
    `The authority in ${caFile} ${describeValidity(authorityValidity)}, and can't be renewed: if ` +
    "the clock is right, remove the directory that it is in before then and pair the device again",
  ];
}
