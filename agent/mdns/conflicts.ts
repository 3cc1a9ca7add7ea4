/**
 * Which device gets a name that two devices want (RFC 6762 §8 and §9).
 *
 * @module
 */

import { asciiLower, isSameName, type KnownRecord } from "./packet.ts";

const encoder = new TextEncoder();
/** The numbers of the types that can be compared. */
const TYPE_NUMBERS = { A: 1, PTR: 12, TXT: 16, AAAA: 28, SRV: 33 } as const;

/** Whether a response claims a name with other data than ours. Our own packets come back to us, too. */
export function isConflict(
  own: readonly KnownRecord[],
  received: readonly KnownRecord[],
): boolean {
  return received.some((record) => {
    const same = own.find(({ name, type }) =>
      type === record.type && isSameName(name, record.name)
    );
    return same !== undefined && record.ttl > 0 && compareData(same, record) !== 0;
  });
}

/**
 * Whether this device must yield to another one that probes for the same name at the same time: the device
 * whose records come later in byte order wins (RFC 6762 §8.2).
 *
 * @param own Our records, in the order of their types.
 * @param authorities What the other one is going to announce.
 */
export function hasToGiveWay(
  own: readonly KnownRecord[],
  authorities: readonly KnownRecord[],
): boolean {
  const theirs = authorities
    .filter(({ name }) => own.some((record) => isSameName(record.name, name)))
    .toSorted(compareRecords);
  if (theirs.length === 0) return false;
  for (const [i, record] of own.entries()) {
    const other = theirs[i];
    if (other === undefined) return false;
    const order = compareRecords(record, other);
    if (order !== 0) return order < 0;
  }
  return theirs.length > own.length;
}

function compareRecords(a: KnownRecord, b: KnownRecord): number {
  return TYPE_NUMBERS[a.type] - TYPE_NUMBERS[b.type] || compareData(a, b);
}

/** The order of the data of two records of one type. */
function compareData(a: KnownRecord, b: KnownRecord): number {
  const [left, right] = [dataBytes(a), dataBytes(b)];
  const at = left.findIndex((byte, i) => byte !== right[i]);
  if (at < 0) return left.length - right.length;
  return at < right.length ? left[at]! - right[at]! : 1;
}

/** The data as it is sent, without compression. */
function dataBytes(record: KnownRecord): number[] {
  switch (record.type) {
    case "TXT":
      return record.data.flatMap((bytes) => [bytes.length, ...bytes]);
    case "SRV": {
      const { priority, weight, port, target } = record.data;
      const numbers = [priority, weight, port].flatMap((number) => [number >> 8, number & 0xff]);
      return [...numbers, ...nameBytes(target)];
    }
    case "PTR":
      return nameBytes(record.data);
    default:
      return [...encoder.encode(record.data)];
  }
}

function nameBytes(name: string): number[] {
  const labels = asciiLower(name).split(".").filter((label) => label !== "");
  return [
    ...labels.flatMap((label) => {
      const bytes = encoder.encode(label);
      return [bytes.length, ...bytes];
    }),
    0,
  ];
}
