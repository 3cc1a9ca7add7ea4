import { createPrivateKey, X509Certificate } from "node:crypto";
import { buildClientSslctx, type ClientSslctx } from "../../client.ts";
import type { ServerSslconfig } from "../../server.ts";
import { checkBoolean, checkOptions, checkString } from "../../internal/checks.ts";
import { checkDenoVersion } from "../../net/tls/deno_version.ts";
import { makeRandomSuffix, removeIfPossible, syncDirectory } from "./disk.ts";
import { ignoreNotFound } from "../../internal/caught_errors.ts";
import { join } from "../../internal/paths.ts";
import { type DeviceAuthority, readAuthority } from "./authority.ts";
import { createAuthority, createLeaf, type LeafProfile } from "../../certificates.ts";
import { parseDevicePath } from "./device_directory.ts";
import { checkIdentityName, DEVICE_IDENTITY_NAME } from "./names.ts";
import {
  checkPrivate,
  USABLE_BY_OTHERS,
  WRITABLE_BY_OTHERS,
  writePrivateFile,
} from "./private_files.ts";

/**
 * Creates a device's authority and certificate at the first call, and checks the existing files at
 * later calls.
 *
 * The files are in `<dir>/<name>`, which appears complete or not at all, even if the power fails or
 * several processes call this function at once. To pair two devices, copy the text of each `caFile`
 * to the other device, over a channel that both devices trust. Then each device presents its own
 * `certFile` and `keyFile`, and trusts only the peer's authority. This authority has issued
 * certificates for a single key, so `checkHostname: false` doesn't weaken a client. The
 * certificates don't expire. To end the trust in a device, remove its authority.
 *
 * `dir`, the identity's directory and its keys must belong to the user of this process or to root.
 * No other user may be able to write the directories, or to read the keys. Needs `--allow-read` and
 * `--allow-write` of `dir`, and `--allow-sys=uid`; for an existing identity no `--allow-write`.
 *
 * @param dir Absolute path of a directory, which is created with mode 0700 if it doesn't exist.
 * @param name Name of the identity, of its directory and in its certificate: a DNS name in lower
 * case of at most 64 characters, such as `camera-1` or `camera-1.local`. Another name is another
 * identity.
 * @param options The permission to create a missing identity.
 * @returns The paths of the files, which can be posted to a worker.
 * @throws {TypeError} if an argument or option has the wrong type, or an option is unknown.
 * @throws {RangeError} if `dir` is relative, or `name` is reserved or no lower-case DNS name.
 * @throws {Deno.errors.NotFound} if some of the identity's files are missing; with `create: false`
 * also if there is no identity.
 * @throws {Deno.errors.PermissionDenied} if `dir`, the identity's directory or a key belongs to
 * another user, or if other users can write a directory or use a key.
 * @throws {Deno.errors.NotCapable} without one of the permissions.
 * @throws {Deno.errors.InvalidData} if a file can't be parsed, or the files don't belong together.
 *
 * @example Pair a camera with a viewer
 * ```ts
 * import { createDevicePki } from "@degu/degu/device";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir(); // in real use: a permanent directory
 * const camera = await createDevicePki(dir, "camera-1");
 * const viewer = await createDevicePki(dir, "viewer-1");
 *
 * // At the camera, once it has a file with the text of the viewer's caFile:
 * const { certFile, keyFile } = camera;
 * const serverSslconfig = { certFile, keyFile, caFile: viewer.caFile };
 *
 * // At the viewer, once it has a file with the text of the camera's caFile:
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
  options: {
    /**
     * True to create a missing identity. Programs that use the identity of another program pass
     * `false`; then the call doesn't write to the disk.
     *
     * @default {true}
     */
    create?: boolean | undefined;
  } = {},
): Promise<{
  /**
   * Absolute path of the PEM file with the device's authority, which isn't secret. A peer receives
   * the text of this file during the pairing, and then trusts only this device.
   */
  readonly caFile: string;
  /** Absolute path of the PEM file with the device's certificate, for both roles. */
  readonly certFile: string;
  /** Absolute path of the PEM file with the device's private key. */
  readonly keyFile: string;
}> {
  checkString("dir", dir);
  checkIdentityName(name);
  const { create = true } = checkOptions(options, { create: checkBoolean });
  const parent = parseDevicePath(dir);
  const identityPath = join(parent, name);
  const profile: LeafProfile = {
    subject: { commonName: name },
    purposes: ["serverAuth", "clientAuth"],
    alternativeNames: [name],
  };
  if (!await exists(identityPath)) {
    if (!create) {
      throw new Deno.errors.NotFound(
        `There is no identity in ${identityPath}, and create: false doesn't create one: call createDevicePki ` +
          "without create: false once, in a program that can write to dir, or check dir and name",
      );
    }
    await createIdentity(parent, profile);
  }
  await checkPrivate(parent, WRITABLE_BY_OTHERS);
  const files = makeFilePaths(identityPath);
  await checkFiles(identityPath, files);
  await checkIdentity(files, name);
  const { caFile, certFile, keyFile } = files;
  return Object.freeze({ caFile, certFile, keyFile });
}

// ───────────────────────── a new identity

const FILE_NAMES = {
  caFile: "ca.pem",
  caKeyFile: "ca_key.pem",
  certFile: "cert.pem",
  keyFile: "key.pem",
} as const;

type IdentityFiles = Readonly<Record<keyof typeof FILE_NAMES, string>>;

function makeFilePaths(dir: string): IdentityFiles {
  const entries = Object.entries(FILE_NAMES).map(([key, name]) => [key, join(dir, name)]);
  return Object.fromEntries(entries);
}

/**
 * Writes a new identity into a temporary directory, and then renames this directory. A rename never
 * replaces a directory that has files, so only the first of several processes succeeds.
 */
async function createIdentity(dir: string, profile: LeafProfile): Promise<void> {
  await Deno.mkdir(dir, { recursive: true, mode: 0o700 });
  await checkPrivate(dir, WRITABLE_BY_OTHERS);
  const name = profile.subject.commonName;
  const commonName = `Device CA ${makeRandomSuffix()}`;
  const authority = createAuthority({ organization: name, commonName });
  const leaf = createLeaf(authority, profile);
  const identityPath = join(dir, name);
  const temporaryPath = join(dir, `.${name}.${makeRandomSuffix()}`);
  try {
    await Deno.mkdir(temporaryPath, { mode: 0o700 });
    const { caFile, caKeyFile, certFile, keyFile } = makeFilePaths(temporaryPath);
    await writePrivateFile(caFile, authority.certificate);
    await writePrivateFile(caKeyFile, authority.privateKey);
    await writePrivateFile(certFile, leaf.certificate);
    await writePrivateFile(keyFile, leaf.privateKey);
    await syncDirectory(temporaryPath);
    await Deno.rename(temporaryPath, identityPath);
  } catch (error) {
    await removeIfPossible(temporaryPath, { recursive: true });
    if (!await exists(identityPath)) throw error;
    return; // another process was faster
  }
  await syncDirectory(dir);
}

// ───────────────────────── an existing identity

async function checkFiles(identityPath: string, files: IdentityFiles): Promise<void> {
  await checkPrivate(identityPath, WRITABLE_BY_OTHERS);
  const paths = Object.values(files);
  const fileExistence = await Promise.all(paths.map(exists));
  const missingPaths = paths.filter((_, index) => !fileExistence[index]);
  if (missingPaths.length > 0) {
    throw new Deno.errors.NotFound(`Missing ${missingPaths.join(", ")}`);
  }
  await checkPrivate(files.caKeyFile, USABLE_BY_OTHERS);
  await checkPrivate(files.keyFile, USABLE_BY_OTHERS);
}

async function checkIdentity(files: IdentityFiles, name: string): Promise<void> {
  const ca = await parseFile(files.caFile, (pem) => new X509Certificate(pem));
  const caKey = await parseFile(files.caKeyFile, (pem) => createPrivateKey(pem));
  const cert = await parseFile(files.certFile, (pem) => new X509Certificate(pem));
  const key = await parseFile(files.keyFile, (pem) => createPrivateKey(pem));

  checkMatch(ca.checkPrivateKey(caKey), files.caKeyFile, files.caFile);
  checkMatch(cert.checkPrivateKey(key), files.keyFile, files.certFile);
  checkMatch(cert.verify(ca.publicKey), files.certFile, files.caFile);
  if (cert.checkHost(name) !== undefined) return;
  throw new Deno.errors.InvalidData(
    `The certificate in ${files.certFile} is not for ${name}`,
  );
}

async function parseFile<T>(path: string, parse: (pem: string) => T): Promise<T> {
  const pem = await Deno.readTextFile(path);
  try {
    return parse(pem);
  } catch {
    // The message of the parser may quote the file, which may be a private key.
    throw new Deno.errors.InvalidData(`Cannot parse ${path} as PEM`);
  }
}

function checkMatch(isMatch: boolean, path: string, otherPath: string): void {
  if (isMatch) return;
  throw new Deno.errors.InvalidData(
    `${path} does not belong to ${otherPath}`,
  );
}

// ───────────────────────── the identity of an open device

type TrustedAuthority = Readonly<{ ca: string }>;

export class DeviceIdentity {
  readonly authority: DeviceAuthority;
  readonly #leafPem: Readonly<{ cert: string; key: string }>;
  /**
   * The contexts of clients by peer, because building a context is slow. The store returns the same
   * object for a peer until the file of the peer changes.
   */
  readonly #clientContextCache = new WeakMap<TrustedAuthority, ClientSslctx>();

  private constructor(
    authority: DeviceAuthority,
    certificate: Readonly<{ cert: string; key: string }>,
  ) {
    this.authority = authority;
    this.#leafPem = certificate;
  }

  static async open(
    dir: string,
    options?: { create?: boolean | undefined },
  ): Promise<DeviceIdentity> {
    checkDenoVersion();
    const { caFile, certFile, keyFile } = await createDevicePki(dir, DEVICE_IDENTITY_NAME, options);
    const authority = readAuthority(await Deno.readTextFile(caFile));
    const cert = await Deno.readTextFile(certFile);
    return new DeviceIdentity(authority, { cert, key: await Deno.readTextFile(keyFile) });
  }

  makeServerConfig(trustedAuthorities: readonly TrustedAuthority[]): ServerSslconfig {
    return { ...this.#leafPem, ca: trustedAuthorities.map(({ ca }) => ca) };
  }

  /** @param trustedAuthority The authority whose certificates the server requests. */
  makeOpenServerConfig(trustedAuthority?: TrustedAuthority): ServerSslconfig {
    return { ...this.#leafPem, ca: trustedAuthority?.ca, allowUnauthenticatedClients: true };
  }

  buildClientContext(trustedAuthority: TrustedAuthority): ClientSslctx {
    return this.#clientContextCache.getOrInsertComputed(
      trustedAuthority,
      ({ ca }) => buildClientSslctx({ ...this.#leafPem, ca, checkHostname: false }),
    );
  }
}

async function exists(path: string): Promise<boolean> {
  return await ignoreNotFound(Deno.stat(path)) !== null;
}
