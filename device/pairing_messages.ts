/**
 * The messages of pairing, which are JSON in the bodies of requests and responses, and the
 * commitment and the number that are computed from them.
 */

import { createHash } from "node:crypto";
import type { HostAddress } from "../base.ts";
import type { Request } from "../server.ts";
import { isDeviceName } from "./identity/names.ts";
import { decodeBase64Url, encodeBase64Url, SECRET_BYTES } from "./invitation_line.ts";
import { readAddresses } from "./pairing_addresses.ts";

/** The ALPN name of the protocol (RFC 7301), which distinguishes it from other protocols. */
export const PAIRING_PROTOCOL = "degu-pair/2";
// At the port for TLS.
export const SECRET_URI = "/secret";
export const VALUE_URI = "/value";
export const CONFIRMED_URI = "/confirmed";
// At the plain port.
export const AUTHORITY_URI = "/authority";
export const COMMITMENT_URI = "/commitment";
export const RANDOM_URI = "/random";
/** The most bytes of a message, which limits the memory that a stranger can use up. */
export const MAX_MESSAGE_BYTES = 16384;

/** The fields of all messages; bytes are sent as base64url. */
interface Fields {
  readonly secret: Uint8Array;
  /** The random value of the first response, which the second request must contain. */
  readonly value: Uint8Array;
  /** The commitment to the joiner's random value, made before the joiner gets the inviter's. */
  readonly commitment: Uint8Array;
  /** A random value on which the number depends. */
  readonly random: Uint8Array;
  /** The certificate of the sender's authority, in DER. */
  readonly authority: Uint8Array;
  readonly name: string;
  /** The addresses of that device for later connections. */
  readonly addresses: readonly HostAddress[];
  /** The port for TLS on the same host. */
  readonly port: number;
  /** The reason why the inviter refuses a commitment. */
  readonly reason: "self" | "busy" | "closed";
}

/** The fields of the first request by a line, and of its response. */
export const INTRODUCTION = ["secret", "authority", "name", "addresses"] as const;
export const ANSWER = ["value", "name", "addresses"] as const;
/** The field of the second request by a line. */
export const PROOF = ["value"] as const;
/** The fields of the first request by a number, of its response, and of its refusal. */
export const COMMITMENT = ["authority", "name", "addresses", "commitment"] as const;
export const OFFER = ["authority", "name", "addresses", "random", "port"] as const;
export const REFUSAL = ["reason"] as const;
/** The field of the request that opens the commitment. */
export const OPENING = ["random"] as const;

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
 * @param names The names of the fields to read.
 * @param requiredNames The names of all fields of the message, if only some are read.
 * @throws {RangeError} if the message is not valid. The error doesn't quote the message.
 */
export function decodeMessage<Names extends readonly (keyof Fields)[]>(
  bytes: Uint8Array,
  names: Names,
  requiredNames: readonly (keyof Fields)[] = names,
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
  if (Object.keys(fields).toSorted().join() !== requiredNames.toSorted().join()) {
    throw new RangeError(`it must have the fields ${requiredNames.join(", ")} and no others`);
  }
  const entries = names.map((name) => [name, READERS[name](fields[name])]);
  return Object.fromEntries(entries);
}

/** Reads the message of a request; `null` if the request has none, or one that is too long. */
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

/** The bytes of SHA-256, and of each random value on which a number depends. */
export const HASH_BYTES = 32;

function sha256(...parts: readonly (string | Uint8Array)[]): Uint8Array {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** Computes the commitment of a joiner to its authority, in DER, and to its random value. */
export function commitmentTo(authority: Uint8Array, random: Uint8Array): Uint8Array {
  return sha256("degu-pair commitment 2", authority, random);
}

/**
 * Computes the number of 6 digits that two people compare. The bodies are hashed as they were sent.
 * Of the last message only the random value is hashed: its sender knows all other parts of the
 * number, and could choose the number by other white space in the message.
 */
export function numberOf(request: Uint8Array, response: Uint8Array, random: Uint8Array): string {
  const hash = sha256("degu-pair number 2", sha256(request), sha256(response), random);
  const integer = new DataView(hash.buffer, hash.byteOffset).getBigUint64(0);
  return String(integer % 1_000_000n).padStart(6, "0");
}
