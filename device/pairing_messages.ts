/**
 * The messages of pairing: JSON in the bodies of two requests and of the first response.
 *
 * @module
 */

import type { HostAddress } from "../base/address_rules.ts";
import { isDeviceName } from "../identity/names.ts";
import { loadBuiltin } from "../net/tls/modules.ts";
import { decodeBase64Url, encodeBase64Url, SECRET_BYTES } from "./invitation_line.ts";
import { readAddresses } from "./pairing_addresses.ts";

/** The protocol's ALPN name (RFC 7301), so that no other protocol is mistaken for it. */
export const PAIRING_PROTOCOL = "degu-pair/1";
/** The target of the first request. */
export const SECRET_URI = "/secret";
/** The target of the second request. */
export const VALUE_URI = "/value";
/** Bytes of a request or of an answer: bounds what a stranger can make a device hold. */
export const MAX_MESSAGE_BYTES = 16384;

/** What each device sends about itself. */
interface Self {
  /** The name of the device. */
  readonly name: string;
  /** Where it can be reached later. */
  readonly addresses: readonly HostAddress[];
}

/** The first request, from the device that joins. */
export interface Introduction extends Self {
  /** The secret of the line. */
  readonly secret: Uint8Array;
  /** The certificate of the joiner's authority, in DER. */
  readonly authority: Uint8Array;
}

/** The answer to it. */
export interface Answer extends Self {
  /** The value that the second request must carry. */
  readonly value: Uint8Array;
}

/** Writes the first request. */
export function encodeIntroduction(introduction: Introduction): Uint8Array {
  const { secret, authority, ...self } = introduction;
  return encode({
    secret: encodeBase64Url(secret),
    authority: encodeBase64Url(authority),
    ...self,
  });
}

/**
 * Reads the secret of the first request; `null` if it has none. The rest is not looked at before the secret
 * was compared.
 */
export function decodeSecret(bytes: Uint8Array): Uint8Array | null {
  try {
    return readRandom(readFields(bytes, ["secret", "authority", "name", "addresses"])["secret"]);
  } catch {
    return null;
  }
}

/**
 * Reads the first request.
 *
 * @throws {RangeError} if it is not valid.
 */
export function decodeIntroduction(bytes: Uint8Array): Introduction {
  const fields = readFields(bytes, ["secret", "authority", "name", "addresses"]);
  const { secret, authority } = fields;
  const der = typeof authority === "string" ? decodeBase64Url(authority) : null;
  if (der === null) throw new RangeError("its authority is not base64url");
  return { secret: readRandom(secret), authority: der, ...readSelf(fields) };
}

/** Writes the answer to the first request. */
export function encodeAnswer({ value, name, addresses }: Answer): Uint8Array {
  return encode({ value: encodeBase64Url(value), name, addresses });
}

/**
 * Reads the answer to the first request.
 *
 * @throws {RangeError} if it is not valid.
 */
export function decodeAnswer(bytes: Uint8Array): Answer {
  const fields = readFields(bytes, ["value", "name", "addresses"]);
  return { value: readRandom(fields["value"]), ...readSelf(fields) };
}

/** Writes the second request. */
export function encodeValue(value: Uint8Array): Uint8Array {
  return encode({ value: encodeBase64Url(value) });
}

/** Reads the second request; `null` if it is not valid. */
export function decodeValue(bytes: Uint8Array): Uint8Array | null {
  try {
    return readRandom(readFields(bytes, ["value"])["value"]);
  } catch {
    return null;
  }
}

/** Creates a secret, or the value for the second request. */
export function makeRandom(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(SECRET_BYTES));
}

/** Compares secrets in constant time. */
export function isSameSecret(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && loadBuiltin("node:crypto").timingSafeEqual(a, b);
}

function encode(fields: Record<string, unknown>): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(fields));
}

function readFields(bytes: Uint8Array, names: readonly string[]): Record<string, unknown> {
  let fields: unknown;
  try {
    fields = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    // The error of the parser quotes what was sent.
    throw new RangeError("it is not JSON");
  }
  if (typeof fields !== "object" || fields === null) throw new RangeError("it is not an object");
  if (Object.keys(fields).toSorted().join() !== names.toSorted().join()) {
    throw new RangeError(`it must have the fields ${names.join(", ")} and no others`);
  }
  return fields as Record<string, unknown>;
}

function readSelf({ name, addresses }: Record<string, unknown>): Self {
  if (typeof name !== "string" || !isDeviceName(name)) {
    throw new RangeError("its name is not valid");
  }
  return { name, addresses: readAddresses(addresses) };
}

function readRandom(text: unknown): Uint8Array {
  const bytes = typeof text === "string" ? decodeBase64Url(text) : null;
  if (bytes?.length !== SECRET_BYTES) throw new RangeError("its random value is not valid");
  return bytes;
}
