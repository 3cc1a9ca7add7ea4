import {
  type Address,
  describeArgumentError,
  type HostAddress,
  type ScopedAddress,
} from "../../base.ts";
import { makeTuple } from "../../base/address.ts";
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
  return makeTuple(newHost, port, flowinfo, scopeid);
}
