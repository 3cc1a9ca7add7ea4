/**
 * The messages of pairing, JSON in the bodies of requests and responses, with the commitment and
 * the number that are computed from them.
 */

import { createHash } from "node:crypto";
import type { HostAddress } from "../base.ts";
import type { Request } from "../server.ts";
import { isDeviceName } from "./identity/names.ts";
import { decodeBase64Url, encodeBase64Url, SECRET_BYTES } from "./invitation_line.ts";
import { readAddresses } from "./pairing_addresses.ts";

/** The protocol's ALPN name (RFC 7301), so that no other protocol is mistaken for it. */
export const PAIRING_PROTOCOL = "degu-pair/2";
// At the port of TLS.
export const SECRET_URI = "/secret";
export const VALUE_URI = "/value";
export const CONFIRMED_URI = "/confirmed";
// At the plain port.
export const AUTHORITY_URI = "/authority";
export const COMMITMENT_URI = "/commitment";
export const RANDOM_URI = "/random";
/** The most bytes of a request or an answer: a stranger can't make a device hold more. */
export const MAX_MESSAGE_BYTES = 16384;

/** The fields of all messages; bytes are sent as base64url. */
interface Fields {
  readonly secret: Uint8Array;
  /** The random value of the answer, which the second request must carry. */
  readonly value: Uint8Array;
  /** The commitment to the joiner's random value, made before the inviter's value is known. */
  readonly commitment: Uint8Array;
  /** A value that the number depends on. */
  readonly random: Uint8Array;
  /** The certificate of the sender's authority, in DER. */
  readonly authority: Uint8Array;
  readonly name: string;
  /** Where that device can be reached later. */
  readonly addresses: readonly HostAddress[];
  /** The port of TLS on the same host. */
  readonly port: number;
  /** Why a commitment is refused. */
  readonly reason: "self" | "busy" | "closed";
}

/** The fields of the first request, from the device that joins. */
export const INTRODUCTION = ["secret", "authority", "name", "addresses"] as const;
export const ANSWER = ["value", "name", "addresses"] as const;
/** The field of the second request. */
export const PROOF = ["value"] as const;
/** The fields of the request for a number, of its response, and of the response that refuses it. */
export const COMMITMENT = ["authority", "name", "addresses", "commitment"] as const;
export const OFFER = ["authority", "name", "addresses", "random", "port"] as const;
export const REFUSAL = ["reason"] as const;
/** The field with which the joiner reveals its random value. */
export const REVEALED = ["random"] as const;

export type Message<Names extends readonly (keyof Fields)[]> = Pick<Fields, Names[number]>;

const READERS: { [Name in keyof Fields]: (field: unknown) => Fields[Name] } = {
  secret: (field) => readBytes(field, SECRET_BYTES),
  value: (field) => readBytes(field, SECRET_BYTES),
  commitment: (field) => readBytes(field, HASH_BYTES),
  random: (field) => readBytes(field, HASH_BYTES),
  authority(field) {
    const bytes = decodeBase64Url(field);
    if (bytes === null) throw new RangeError("its authority is not base64url");
    return bytes;
  },
  name(field) {
    if (typeof field === "string" && isDeviceName(field)) return field;
    throw new RangeError("its name is not valid");
  },
  addresses: readAddresses,
  port(field) {
    if (Number.isInteger(field) && Number(field) >= 1 && Number(field) <= 65535) {
      return Number(field);
    }
    throw new RangeError("its port is not valid");
  },
  reason(field) {
    if (field === "self" || field === "busy" || field === "closed") return field;
    throw new RangeError("its reason is not valid");
  },
};

export function encodeMessage(message: Partial<Fields>): Uint8Array {
  const fields = Object.entries(message).map(([name, field]) =>
    [name, field instanceof Uint8Array ? encodeBase64Url(field) : field] as const
  );
  return new TextEncoder().encode(JSON.stringify(Object.fromEntries(fields)));
}

/**
 * Reads a message.
 *
 * @param wanted The names of the fields that are read.
 * @param all Those of all fields that it must have, if only some are read.
 * @throws {RangeError} if it is not valid; the message quotes nothing of it.
 */
export function decodeMessage<Names extends readonly (keyof Fields)[]>(
  bytes: Uint8Array,
  wanted: Names,
  all: readonly (keyof Fields)[] = wanted,
): Message<Names> {
  let fields;
  try {
    fields = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new RangeError("it is not JSON");
  }
  if (typeof fields !== "object" || fields === null || Array.isArray(fields)) {
    throw new RangeError("it is not an object");
  }
  if (Object.keys(fields).toSorted().join() !== all.toSorted().join()) {
    throw new RangeError(`it must have the fields ${all.join(", ")} and no others`);
  }
  const read = wanted.map((name) => [name, READERS[name](fields[name])]);
  return Object.fromEntries(read);
}

/** Reads the message in a request; `null` if it can't have one. */
export async function readMessage({ method, body, headers }: Request): Promise<Uint8Array | null> {
  if (method !== "POST" || body === null) return null;
  return Number(headers["content-length"]) <= MAX_MESSAGE_BYTES ? await body.bytes() : null;
}

/** Whether a message is valid and has no fields. */
export function isEmptyMessage(bytes: Uint8Array): boolean {
  try {
    decodeMessage(bytes, []);
    return true;
  } catch {
    return false;
  }
}

export function makeRandom(length: number = SECRET_BYTES): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(length));
}

function readBytes(field: unknown, length: number): Uint8Array {
  const bytes = decodeBase64Url(field);
  if (bytes?.length !== length) throw new RangeError("its random value is not valid");
  return bytes;
}

/** Bytes of a random value of a number, and of SHA-256. */
export const HASH_BYTES = 32;

function sha256(...parts: readonly (string | Uint8Array)[]): Uint8Array {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** The joiner is bound by it to its authority, in DER, and to its random value. */
export function commitmentTo(authority: Uint8Array, random: Uint8Array): Uint8Array {
  return sha256("degu-pair commitment 2", authority, random);
}

/**
 * The number that two people compare, 6 digits. The bodies are hashed as they were sent. The last
 * message is not, since other white space in it would be a choice that is made when all else is
 * known.
 */
export function numberOf(request: Uint8Array, response: Uint8Array, random: Uint8Array): string {
  const hash = sha256("degu-pair number 2", sha256(request), sha256(response), random);
  const first = new DataView(hash.buffer, hash.byteOffset).getBigUint64(0);
  return String(first % 1_000_000n).padStart(6, "0");
}
