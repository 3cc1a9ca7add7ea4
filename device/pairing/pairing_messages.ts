import { createHash } from "node:crypto";
import type { HostAddress } from "../../base.ts";
import type { Request } from "../../server.ts";
import { isDeviceName } from "../identity/names.ts";
import { decodeBase64Url, encodeBase64Url, SECRET_BYTES } from "./invitation_line.ts";
import { readAddresses } from "./pairing_addresses.ts";

/** The ALPN name of the protocol (RFC 7301), which distinguishes it from other protocols. */
export const PAIRING_PROTOCOL = "degu-pair/2";
// The paths at the port for TLS.
export const SECRET_URI = "/secret";
export const VALUE_URI = "/value";
export const CONFIRMED_URI = "/confirmed";
// The paths at the plain port.
export const AUTHORITY_URI = "/authority";
export const COMMITMENT_URI = "/commitment";
export const RANDOM_URI = "/random";
/** This limit bounds the memory that a stranger can use. */
export const MAX_MESSAGE_BYTES = 16384;

/** Bytes are sent as base64url. */
interface MessageFields {
  readonly secret: Uint8Array;
  /** The random value of the first response, which the second request must contain. */
  readonly value: Uint8Array;
  /**
   * The commitment to the joiner's random value, made before the joiner receives the inviter's
   * random value.
   */
  readonly commitment: Uint8Array;
  readonly random: Uint8Array;
  /** The certificate of the sender's authority, in DER. */
  readonly authority: Uint8Array;
  readonly name: string;
  readonly addresses: readonly HostAddress[];
  readonly port: number;
  readonly reason: "self" | "busy" | "closed";
}

/** The first request of a pairing by a line. */
export const INTRODUCTION_FIELDS = ["secret", "authority", "name", "addresses"] as const;
/** The response to the introduction. */
export const ANSWER_FIELDS = ["value", "name", "addresses"] as const;
/** The second request of a pairing by a line. */
export const PROOF_FIELDS = ["value"] as const;
/** The first request of a pairing by a number. */
export const COMMITMENT_FIELDS = ["authority", "name", "addresses", "commitment"] as const;
/** The response to the commitment. */
export const OFFER_FIELDS = ["authority", "name", "addresses", "random", "port"] as const;
export const REFUSAL_FIELDS = ["reason"] as const;
/** The second request of a pairing by a number, which opens the commitment. */
export const OPENING_FIELDS = ["random"] as const;

export type Message<Names extends readonly (keyof MessageFields)[]> = Pick<
  MessageFields,
  Names[number]
>;

const FIELD_READERS: { [Name in keyof MessageFields]: (field: unknown) => MessageFields[Name] } = {
  secret: (field) => readRandomValue(field, SECRET_BYTES),
  value: (field) => readRandomValue(field, SECRET_BYTES),
  commitment: (field) => readRandomValue(field, HASH_BYTES),
  random: (field) => readRandomValue(field, HASH_BYTES),
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

export function encodeMessage(message: Partial<MessageFields>): Uint8Array {
  const fields = Object.entries(message).map(([name, field]) =>
    [name, field instanceof Uint8Array ? encodeBase64Url(field) : field] as const
  );
  return new TextEncoder().encode(JSON.stringify(Object.fromEntries(fields)));
}

/**
 * @param requiredNames The names of all fields of the message, if only some are read.
 * @throws {RangeError} if the message is not valid. The error doesn't quote the message.
 */
export function decodeMessage<Names extends readonly (keyof MessageFields)[]>(
  bytes: Uint8Array,
  names: Names,
  requiredNames: readonly (keyof MessageFields)[] = names,
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
  const entries = names.map((name) => [name, FIELD_READERS[name](fields[name])]);
  return Object.fromEntries(entries);
}

export async function readMessage({ method, body, headers }: Request): Promise<Uint8Array | null> {
  if (method !== "POST" || body === null) return null;
  return Number(headers["content-length"]) <= MAX_MESSAGE_BYTES ? await body.bytes() : null;
}

export function isEmptyMessage(bytes: Uint8Array): boolean {
  try {
    decodeMessage(bytes, []);
    return true;
  } catch {
    return false;
  }
}

export function makeRandomValue(length: number = SECRET_BYTES): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(length));
}

function readRandomValue(field: unknown, length: number): Uint8Array {
  const bytes = decodeBase64Url(field);
  if (bytes?.length !== length) throw new RangeError("its random value is not valid");
  return bytes;
}

/** The bytes of a SHA-256 hash, and of each random value on which a number depends. */
export const HASH_BYTES = 32;

function computeSha256(...parts: readonly (string | Uint8Array)[]): Uint8Array {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

export function computeCommitment(authority: Uint8Array, random: Uint8Array): Uint8Array {
  return computeSha256("degu-pair commitment 2", authority, random);
}

/**
 * Computes the number of 6 digits that two people compare. The first two bodies are hashed as they
 * were sent. Only the random value of the last message is hashed: its sender already knows the
 * other inputs, and could otherwise choose the number by white space in the message.
 */
export function computeNumber(
  request: Uint8Array,
  response: Uint8Array,
  random: Uint8Array,
): string {
  const hash = computeSha256(
    "degu-pair number 2",
    computeSha256(request),
    computeSha256(response),
    random,
  );
  const integer = new DataView(hash.buffer, hash.byteOffset).getBigUint64(0);
  return String(integer % 1_000_000n).padStart(6, "0");
}
