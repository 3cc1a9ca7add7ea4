/**
 * The configurations of TLS, and what they allow.
 *
 * @module
 */

import { checkBoolean, checkString, copyOptions, wrongType } from "../../base/checks.ts";
import { quote } from "../../base/errors.ts";
import { type IdentitySources, pemDirectory, pemFile, type PemSource, pemText } from "./files.ts";

/** What a client trusts, and its identity: plain JSON, every path absolute. */
export interface ClientSslconfig {
  /**
   * Whether the server's certificate must be for the host that is connected to. It can be `false` only
   * together with `ca`, `caFile` or `caPath`.
   *
   * @default {true}
   */
  checkHostname?: boolean | undefined;
  /** Instead of `caFile` and `caPath`: PEM text with the authorities, in one string or in several. */
  ca?: string | readonly string[] | undefined;
  /** PEM file with the only authorities whose servers are trusted. */
  caFile?: string | undefined;
  /**
   * Directory of such files, whose names end with `.pem`, `.crt` or `.cer`, or are those that OpenSSL
   * makes from hashes. Without `ca`, `caFile` and `caPath` the default trust store of Deno is used.
   */
  caPath?: string | undefined;
  /** Instead of `certFile`, together with `key`: PEM text. */
  cert?: string | undefined;
  /** PEM file with the client's certificate, followed by those that lead to its authority. */
  certFile?: string | undefined;
  /** Instead of `keyFile`, together with `cert`: PEM text. */
  key?: string | undefined;
  /** PEM file with the private key of that certificate. */
  keyFile?: string | undefined;
}

/** Which clients a server trusts, and its identity: plain JSON, every path absolute. */
export interface ServerSslconfig {
  /** Instead of `certFile`, together with `key`: PEM text. */
  cert?: string | undefined;
  /** PEM file with the server's certificate, followed by those that lead to its authority. */
  certFile?: string | undefined;
  /** Instead of `keyFile`, together with `cert`: PEM text. */
  key?: string | undefined;
  /** PEM file with the private key of that certificate. */
  keyFile?: string | undefined;
  /**
   * Instead of `caFile` and `caPath`: PEM text with the authorities, in one string or in several. `[]`
   * is for a server that accepts no client yet.
   */
  ca?: string | readonly string[] | undefined;
  /** PEM file with the only authorities whose clients are accepted. */
  caFile?: string | undefined;
  /** Directory of such files, like {@linkcode ClientSslconfig.caPath}. */
  caPath?: string | undefined;
  /** Instead of the authorities: accepts every client, without a certificate. */
  allowUnauthenticatedClients?: true | undefined;
}

const TRUST_OPTIONS = ["ca", "caFile", "caPath"];
const IDENTITY_OPTIONS = ["cert", "certFile", "key", "keyFile"];
const CLIENT_OPTIONS = ["checkHostname", ...TRUST_OPTIONS, ...IDENTITY_OPTIONS];
const SERVER_OPTIONS = [...IDENTITY_OPTIONS, ...TRUST_OPTIONS, "allowUnauthenticatedClients"];
const ABSOLUTE_PATH = /^(?:\/|[A-Za-z]:[\\/]|\\\\)/;
const PEM_BEGIN = "-----BEGIN ";

/**
 * Checks a client's configuration, but not what is in the files and texts.
 *
 * @returns A copy, so that what was checked is what counts.
 * @throws {TypeError} if an option is unknown or has a wrong type, or text and files are given together.
 * @throws {RangeError} if a path is relative, or a combination is not allowed.
 */
export function checkClientConfig(given: ClientSslconfig): ClientSslconfig {
  const config = checkConfig(given, CLIENT_OPTIONS);
  const { checkHostname = true, ca } = config;
  checkBoolean("checkHostname", checkHostname);
  if (Array.isArray(ca) && ca.length === 0) {
    throw new RangeError("ca: must have an authority or be left out, for a client; got none");
  }
  if (!checkHostname && !namesAuthorities(config)) {
    throw new RangeError(
      "checkHostname: must be true without ca, caFile or caPath; got false: the default trust store " +
        "vouches for every server in the world, and only the name tells them apart",
    );
  }
  const isText = config.cert !== undefined || config.key !== undefined;
  const [cert, key] = isText ? ["cert", "key"] as const : ["certFile", "keyFile"] as const;
  if ((config[cert] === undefined) !== (config[key] === undefined)) {
    throw new RangeError(`${cert}, ${key}: must both be given or both be left out; got one`);
  }
  return config;
}

/**
 * Checks a server's configuration, but not what is in the files and texts.
 *
 * @returns A copy, so that what was checked is what counts.
 * @throws {TypeError} if an option is unknown or has a wrong type, text and files are given together, or
 * the certificate or the key is missing.
 * @throws {RangeError} if a path is relative, or which clients to accept is not said exactly once.
 */
export function checkServerConfig(given: ServerSslconfig): ServerSslconfig {
  const config = checkConfig(given, SERVER_OPTIONS);
  const isText = config.cert !== undefined || config.key !== undefined;
  for (const name of isText ? ["cert", "key"] as const : ["certFile", "keyFile"] as const) {
    if (config[name] === undefined) throw wrongType(name, "a string for a server", undefined);
  }
  const allow: unknown = config.allowUnauthenticatedClients;
  if (allow !== undefined && typeof allow !== "boolean") {
    throw wrongType("allowUnauthenticatedClients", "true", allow);
  }
  if (allow === false) {
    throw new RangeError("allowUnauthenticatedClients: must be true or left out; got false");
  }
  if (namesAuthorities(config) !== (allow === true)) return config;
  throw new RangeError(
    "sslconfig: must have either ca, caFile or caPath, to accept the clients of those authorities only, " +
      `or allowUnauthenticatedClients: true; got ${allow === true ? "both" : "neither"}`,
  );
}

/** The sources of the authorities; `null` if the configuration names none. */
export function authoritySources(
  { ca, caFile, caPath }: ClientSslconfig | ServerSslconfig,
): PemSource[] | null {
  if (typeof ca === "string") return [pemText("ca", ca)];
  if (ca !== undefined) return ca.map((text, index) => pemText("ca", text, `text ${index + 1}`));
  if (caFile === undefined && caPath === undefined) return null;
  return [
    ...(caFile === undefined ? [] : [pemFile("caFile", caFile)]),
    ...(caPath === undefined ? [] : pemDirectory("caPath", caPath)),
  ];
}

/** The sources of the certificate and its key; `null` if the configuration names none. */
export function identitySources(
  { cert, certFile, key, keyFile }: ClientSslconfig | ServerSslconfig,
): IdentitySources | null {
  if (cert !== undefined && key !== undefined) {
    return { certificates: pemText("cert", cert), privateKey: pemText("key", key) };
  }
  if (certFile === undefined || keyFile === undefined) return null;
  return { certificates: pemFile("certFile", certFile), privateKey: pemFile("keyFile", keyFile) };
}

function namesAuthorities({ ca, caFile, caPath }: ClientSslconfig | ServerSslconfig): boolean {
  return ca !== undefined || caFile !== undefined || caPath !== undefined;
}

function checkConfig<Config extends ClientSslconfig | ServerSslconfig>(
  given: Config,
  known: readonly string[],
): Config {
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw wrongType("sslconfig", "an object or an sslctx", given);
  }
  const config = copyOptions(given, known, "sslconfig");
  if (Array.isArray(config.ca)) config.ca = Array.from(config.ca);
  for (const [name, value] of Object.entries(config)) {
    if (value === undefined) continue;
    if (/(?:File|Path)$/.test(name)) checkPath(name, value);
    else if (name === "ca" && Array.isArray(value)) checkTexts(name, value);
    else if (/^(?:ca|cert|key)$/.test(name)) checkText(name, value);
  }
  const { ca, caFile, caPath, cert, certFile, key, keyFile } = config;
  checkNotBoth({ ca }, { caFile, caPath });
  checkNotBoth({ cert, key }, { certFile, keyFile });
  return config;
}

/** Text and file could belong to two identities. */
function checkNotBoth(texts: Record<string, unknown>, files: Record<string, unknown>): void {
  const given = (options: Record<string, unknown>) =>
    Object.keys(options).filter((name) => options[name] !== undefined);
  const [text] = given(texts);
  const [file] = given(files);
  if (text === undefined || file === undefined) return;
  throw new TypeError(
    `${text}, ${file}: must be text or files; got both: give ${
      Object.keys(texts).join(" and ")
    }, ` +
      `or ${Object.keys(files).join(" and ")}`,
  );
}

function checkText(name: string, value: unknown): void {
  if (typeof value === "string") return;
  throw wrongType(
    name,
    `${name === "ca" ? "a string or an array of strings" : "a string"}, PEM text`,
    value,
  );
}

function checkTexts(name: string, values: readonly unknown[]): void {
  // Not forEach(), which skips the gaps of an array.
  for (const value of values) {
    if (typeof value === "string") continue;
    throw wrongType(name, "an array of strings, PEM texts", value);
  }
}

function checkPath(name: string, value: unknown): void {
  checkString(name, value);
  if (ABSOLUTE_PATH.test(value) && !value.includes("\0")) return;
  // The value given as a path may be a key.
  const got = value.includes(PEM_BEGIN)
    ? `PEM text, which belongs in ${name.replace(/(?:File|Path)$/, "")}`
    : name === "keyFile"
    ? "other text, not shown because it may be a key"
    : quote(value);
  throw new RangeError(`${name}: must be an absolute path; got ${got}`);
}
