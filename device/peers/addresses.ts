import {
  type Address,
  describeArgumentError,
  type HostAddress,
  type ScopedAddress,
} from "../../base.ts";
import { notAllowedError, wrongArgumentError, wrongTypeError } from "../../internal/checks.ts";

export function checkAddresses<Checked extends Address>(
  label: string,
  addresses: readonly Address[],
  check: (address: Address) => Checked,
): readonly Checked[] {
  if (!Array.isArray(addresses)) throw wrongTypeError(label, "an array of addresses", addresses);
  return addresses.map((address, i) => {
    try {
      return check(address);
    } catch (error) {
      const details = describeArgumentError(error);
      if (details === null) throw error;
      const item = details.argument.replace(/^address/, `${label}[${i}]`);
      throw error instanceof TypeError
        ? wrongArgumentError(item, details.problem)
        : notAllowedError(item, details.problem);
    }
  });
}

export function copyWithPort(
  [host, , flowinfo, scopeid]: HostAddress | ScopedAddress,
  port: number,
  newHost = host,
): HostAddress | ScopedAddress {
  return flowinfo === undefined
    ? Object.freeze([newHost, port] as const)
    : Object.freeze([newHost, port, flowinfo, scopeid!] as const);
}

export function isUnixAddress(address: Address): address is string | Uint8Array {
  return typeof address === "string" || address instanceof Uint8Array;
}

/** Reports whether an IPv6 address is valid only on one link (RFC 4291 §2.5.6). */
export function isLinkLocal(host: string): boolean {
  return /^fe[89ab][0-9a-f]:/i.test(host);
}
