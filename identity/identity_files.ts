/**
 * The files of a device's identity: where they are, how they are written atomically, and what an
 * interrupted call leaves behind.
 *
 * @module
 */

import { join } from "node:path";
import { replacePrivateFile, writePrivateFile } from "../disk/files.ts";
import {
  exists,
  ifPresent,
  randomSuffix,
  removeIfPossible,
  removeIfPresent,
  syncDirectory,
} from "../disk/names.ts";
import type { PemPair } from "./certificates.ts";
import { type PrivatePaths, USABLE_BY_OTHERS, WRITABLE_BY_OTHERS } from "./private_paths.ts";

/** The files of an identity, in its directory. */
export interface IdentityFiles {
  readonly caFile: string;
  readonly caKeyFile: string;
  readonly certFile: string;
  readonly keyFile: string;
}

/** What the files of a new identity hold, as PEM text. */
type IdentityTexts = Readonly<Record<keyof IdentityFiles, string>>;

/** What to do about an identity that can't be used. */
const START_OVER = "restore the directory from a backup, or remove it and pair the device again";

const NAMES: IdentityTexts = {
  caFile: "ca.pem",
  caKeyFile: "ca_key.pem",
  certFile: "cert.pem",
  keyFile: "key.pem",
};

/** The age, in milliseconds, at which a temporary file counts as left behind. */
const LEFT_BEHIND_AFTER = 60 * 60 * 1000;

/**
 * The ends of temporary names: 16 hexadecimal digits, or fewer from `Deno.makeTempDir`, which older
 * versions used. Decimal digits alone are the date in the name of a copy.
 */
const TEMPORARY_SUFFIX = /^(?!\d+$)[0-9a-f]{8,16}$/;

/** Returns the paths of the files of an identity. */
export function identityFiles(home: string): IdentityFiles {
  return {
    caFile: join(home, NAMES.caFile),
    caKeyFile: join(home, NAMES.caKeyFile),
    certFile: join(home, NAMES.certFile),
    keyFile: join(home, NAMES.keyFile),
  };
}

/**
 * Writes a new identity into a directory of another name and then renames that one. Since a
 * directory never replaces one with files in it, only the first of several processes succeeds.
 */
export async function writeIdentity(
  dir: string,
  name: string,
  texts: IdentityTexts,
): Promise<void> {
  const home = join(dir, name);
  const temporary = join(dir, `.${name}.${randomSuffix()}`);
  try {
    await Deno.mkdir(temporary, { mode: 0o700 });
    const files = identityFiles(temporary);
    await writePrivateFile(files.caFile, texts.caFile);
    await writePrivateFile(files.caKeyFile, texts.caKeyFile);
    await writePrivateFile(files.certFile, texts.certFile);
    await writePrivateFile(files.keyFile, texts.keyFile);
    await syncDirectory(temporary);
    await Deno.rename(temporary, home);
  } catch (error) {
    await removeIfPossible(temporary);
    if (!await exists(home)) throw error;
    return; // another process was first
  }
  await syncDirectory(dir);
}

/** Replaces the certificate atomically: every reader finds the old one or the new one. */
export async function replaceCertificate({ certFile }: IdentityFiles, pem: string): Promise<void> {
  await replacePrivateFile(certFile, pem, `${certFile}.${randomSuffix()}`);
}

/**
 * Makes sure that all files of an identity exist, and that no other user can access them.
 *
 * @throws {Deno.errors.NotFound} if one is missing.
 * @throws {Deno.errors.PermissionDenied} as {@linkcode PrivatePaths.check} does.
 */
export async function checkFiles(
  home: string,
  files: IdentityFiles,
  paths: PrivatePaths,
): Promise<void> {
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

/**
 * Removes what calls left behind that were interrupted by a crash or a power failure, if the program may
 * write. The identity must exist: a process that is still about to make it then finds that another was first.
 *
 * @returns A warning for each that can't be removed.
 */
export async function removeLeftBehind(
  dir: string,
  name: string,
  paths: PrivatePaths,
): Promise<string[]> {
  const leftBehind = [
    ...await findTemporary(dir, `.${name}.`),
    ...await findTemporary(join(dir, name), `${NAMES.certFile}.`),
  ];
  const warnings: string[] = [];
  for (const path of leftBehind) {
    try {
      const info = await ifPresent(Deno.lstat(path));
      if (info === null || !paths.isOwn(info) || !isOld(info) || !await isWritable(path)) continue;
      await removeIfPresent(path, { recursive: true });
    } catch (error) {
      warnings.push(
        `${path} was left behind by a call that was cut, and can't be removed: ${error}`,
      );
    }
  }
  return warnings;
}

/** Finds what has a temporary name; nothing in a directory that the program may use but not list. */
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

/** True if the program has the permission to write; never prompts for it. */
async function isWritable(path: string): Promise<boolean> {
  return (await Deno.permissions.query({ name: "write", path })).state === "granted";
}

/** A time in the future is from a clock that was ahead. */
function isOld({ mtime }: Deno.FileInfo): boolean {
  return mtime !== null && Math.abs(Date.now() - mtime.getTime()) > LEFT_BEHIND_AFTER;
}

/** How long something is valid. */
interface Validity {
  /** When that begins, in milliseconds since the epoch. */
  readonly from: number;
  /** When it ends, in milliseconds since the epoch. */
  readonly to: number;
}

/** The parts of an identity that are needed to renew its certificate. */
export interface LoadedIdentity {
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
export async function loadIdentity(files: IdentityFiles, name: string): Promise<LoadedIdentity> {
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
