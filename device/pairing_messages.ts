/** The messages of pairing: JSON in the bodies of two requests and of the first response. */

import type { HostAddress } from "../base/address.ts";
import { isDeviceName } from "../identity/names.ts";
import { decodeBase64Url, encodeBase64Url, SECRET_BYTES } from "./invitation_line.ts";
import { readAddresses } from "./pairing_addresses.ts";

/** The protocol's ALPN name (RFC 7301), so that no other protocol is mistaken for it. */
export const PAIRING_PROTOCOL = "degu-pair/1";
export const SECRET_URI = "/secret";
export const VALUE_URI = "/value";
/** Bytes of a request or of an answer: bounds what a stranger can make a device hold. */
export const MAX_MESSAGE_BYTES = 16384;

/** The fields of all messages; bytes are sent as base64url. */
interface Fields {
  readonly secret: Uint8Array;
  /** The random value of the answer, which the second request must carry. */
  readonly value: Uint8Array;
  /** The certificate of the joiner's authority, in DER. */
  readonly authority: Uint8Array;
  readonly name: string;
  /** Where that device can be reached later. */
  readonly addresses: readonly HostAddress[];
}

/** The fields of the first request, from the device that joins. */
export const INTRODUCTION = ["secret", "authority", "name", "addresses"] as const;
export const ANSWER = ["value", "name", "addresses"] as const;
/** The field of the second request. */
export const PROOF = ["value"] as const;

export type Message<Names extends readonly (keyof Fields)[]> = Pick<Fields, Names[number]>;

const READERS: { [Name in keyof Fields]: (field: unknown) => Fields[Name] } = {
  secret: readRandom,
  value: readRandom,
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
};

export function encodeMessage(message: Partial<Fields>): Uint8Array {
  const fields = Object.entries(message).map(([name, field]) =>
    [name, field instanceof Uint8Array ? encodeBase64Url(field) : field] as const
  );
  return new TextEncoder().encode(JSON.stringify(Object.fromEntries(fields)));
}

/**
 * Reads a message, or only some of its fields.
 *
 * @param all The names of all fields that it must have.
 * @param wanted Those that are read.
 * @throws {RangeError} if it is not valid; the message quotes nothing of it.
 */
export function decodeMessage<Names extends readonly (keyof Fields)[]>(
  bytes: Uint8Array,
  all: readonly (keyof Fields)[],
  wanted: Names,
): Message<Names> {
  let fields;
  try {
    fields = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new RangeError("it is not JSON");
  }
  if (typeof fields !== "object" || fields === null) throw new RangeError("it is not an object");
  if (Object.keys(fields).toSorted().join() !== all.toSorted().join()) {
    throw new RangeError(`it must have the fields ${all.join(", ")} and no others`);
  }
  const read = wanted.map((name) => [name, READERS[name](fields[name])]);
  return Object.fromEntries(read);
}

export function makeRandom(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(SECRET_BYTES));
}

function readRandom(field: unknown): Uint8Array {
  const bytes = decodeBase64Url(field);
  if (bytes?.length !== SECRET_BYTES) throw new RangeError("its random value is not valid");
  return bytes;
}
