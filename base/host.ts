import {
  bytesOfIPAddress,
  canonicalizeDnsName,
  canonicalizeIPAddress,
  isIPv4,
  isLinkLocal,
  isZone,
  removeZone,
  zoneOf,
} from "./address.ts";
import { checkString } from "../internal/checks.ts";

/** The result of {@linkcode parseHost}. */
export interface ParsedHost {
  /** The type of the host: an IP address or a DNS name. */
  readonly type: "IPv4" | "IPv6" | "name";
  /**
   * The canonical form, for comparison: an IPv6 address as in RFC 5952, without the zone; a name in
   * lower case, without the trailing dot.
   */
  readonly text: string;
  /** The name or number of an interface, the part after `%`; `null` if it is missing or `0`. */
  readonly zone: string | null;
  /** The 4 or 16 bytes of an IP address; `null` for a name. */
  readonly bytes: Uint8Array<ArrayBuffer> | null;
  /**
   * From where the host can be reached:
   *
   * - `"loopback"`, from the machine itself: `127.0.0.0/8`, `::1`, and the names `localhost` and
   *   `….localhost`
   * - `"link"`, from one link: `169.254.0.0/16` and `fe80::/10`
   * - `"any"`: every other host
   *
   * An IPv4 address that is mapped into an IPv6 address, `::ffff:127.0.0.1`, has the reach of the
   * IPv4 address. `0.0.0.0` and `::` have the reach `"any"`, because a server with such a host
   * listens at every address; a client that connects to it reaches its own machine. A name with the
   * reach `"any"` may resolve to any address, including the machine's own addresses.
   */
  readonly reach: "loopback" | "link" | "any";
}

/**
 * Parses the host of an address: its type, its canonical form, and from where it can be reached.
 * The function doesn't resolve names.
 *
 * IPv4 addresses have four decimal numbers without leading zeros. IPv6 addresses have no brackets
 * and no prefix length. A text whose last label is a number is not a name, because systems parse it
 * as an IPv4 address.
 *
 * @param text The host, the first item of an {@linkcode Address}.
 * @returns The host; `null` for any other text, as `URL.parse` does. {@linkcode checkAddress}
 * throws an error with the reason.
 * @throws {TypeError} if the text is not a string.
 *
 * @example
 * ```ts
 * import { parseHost } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * const { type, text, zone, reach } = parseHost("FE80::0001%eth0")!;
 * assertEquals([type, text, zone, reach], ["IPv6", "fe80::1", "eth0", "link"]);
 * assertEquals(parseHost("127.0.0.2")?.reach, "loopback");
 * assertEquals(parseHost("10.0.0.7")?.bytes, Uint8Array.of(10, 0, 0, 7));
 * assertEquals(parseHost("Camera.local.")?.text, "camera.local");
 * assertEquals(parseHost("10.0.0.07"), null);
 * ```
 */
export function parseHost(text: string): ParsedHost | null {
  checkString("text", text);
  const address = canonicalizeIPAddress(removeZone(text));
  if (address === null) {
    const name = canonicalizeDnsName(text);
    if (name === null) return null;
    // RFC 6761 §6.3
    const reach = /(?:^|\.)localhost$/.test(name) ? "loopback" : "any";
    return { type: "name", text: name, zone: null, bytes: null, reach };
  }
  const zone = zoneOf(text);
  const type = isIPv4(address) ? "IPv4" : "IPv6";
  if (zone !== null && (type === "IPv4" || !isZone(zone))) return null;
  const bytes = Uint8Array.from(bytesOfIPAddress(address));
  const reach = reachOf(address, bytes);
  return { type, text: address, zone: zone === "0" ? null : zone, bytes, reach };
}

/** An IPv4 address in an IPv6 address (RFC 4291 §2.5.5.2), in the form of RFC 5952. */
const MAPPED_IPV4 = /^::ffff:[0-9a-f]+:[0-9a-f]+$/;

/** Returns the reach of a canonical IP address (RFC 1122 §3.2.1.3, RFC 3927, RFC 4291 §2.5). */
function reachOf(canonical: string, bytes: Uint8Array): ParsedHost["reach"] {
  const text = MAPPED_IPV4.test(canonical) ? bytes.subarray(12).join(".") : canonical;
  if (isCanonicalLoopback(text)) return "loopback";
  return /^169\.254\./.test(text) || isLinkLocal(text) ? "link" : "any";
}

/** @param address A canonical IP address, not an IPv4 address that is mapped into IPv6. */
export function isCanonicalLoopback(address: string): boolean {
  return address === "::1" || /^127\.[\d.]+$/.test(address);
}

/** Whether a host is an IP address of this machine alone, in any form. */
export function isLoopback(host: string): boolean {
  return parseHost(host)?.reach === "loopback";
}
