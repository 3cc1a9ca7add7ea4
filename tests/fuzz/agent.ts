/** Fuzz targets for the mDNS packets that the agent receives from strangers. */

import { AddressHints } from "@degu/internal/device/discovery/mdns.ts";
import type { DnsRecord } from "@degu/internal/device/discovery/mdns_links.ts";
import { Buffer } from "node:buffer";
import { formatAddress, parseAddress } from "@degu/degu/base";
import { decodeLatin1, encodeLatin1 } from "../support/wire_grammar.ts";
import { demand, type Fuzzer, type Outcome } from "./fuzzer.ts";
import type { Random } from "./random.ts";
import coder from "npm:dns-packet@5.6.1";

interface Packet {
  readonly answers: readonly DnsRecord[];
  readonly additionals: readonly DnsRecord[];
}

// The package has no types.
const dnsPacket = coder as unknown as {
  encode(packet: Packet & { readonly type: "query" | "response" }): Uint8Array;
  decode(bytes: Uint8Array): Packet;
};

const ID = "a".repeat(52);
const SHORT = ID.slice(0, 16);
// deno-fmt-ignore
const NAMES = [
  "_degu._tcp.local", `camera-${SHORT}._degu._tcp.local`, "x.local", "local", "degu-aaaa.local",
  `CAMERA-${SHORT}._degu._tcp.local`, "camera._degu._tcp.local", `degu-${SHORT}.local`, "",
  "a".repeat(63), "b._http._tcp.local", "é\n._degu._tcp.local",
];
// deno-fmt-ignore
const HOSTS = [
  "192.168.1.7", "0.0.0.0", "224.0.0.1", "127.0.0.1", "169.254.3.4", "255.255.255.255",
];
const HOSTS6 = ["fe80::1", "::1", "::", "ff02::fb", "2001:db8::7", "::ffff:10.0.0.1", "fc00::9"];

function makeRecord(random: Random): DnsRecord {
  const [name, target] = [random.pick(NAMES), random.pick(NAMES)];
  const data = random.pick(
    [
      { type: "PTR", data: target },
      { type: "SRV", data: { port: random.pick([0, 1, 7443, 65535]), target } },
      { type: "TXT", data: [Buffer.from(`id=${random.pick([SHORT, ID, ""])}`), Buffer.from("x")] },
      { type: "A", data: random.pick(HOSTS) },
      { type: "AAAA", data: random.pick(HOSTS6) },
    ] as const,
  );
  return { name, ttl: random.pick([0, 1, 120, 2 ** 31 - 1]), ...data };
}

/** `AddressHints`: every address from a packet can be connected to. */
export const mdnsPackets: Fuzzer = {
  name: "mdns-packet",
  grammar(random) {
    const responses = Array.from({ length: 1 + random.below(8) }, () => makeRecord(random));
    const type = random.pick(["response", "query"] as const);
    const packet = { type, answers: responses, additionals: [makeRecord(random)] };
    return decodeLatin1(dnsPacket.encode(packet));
  },
  check(input): Outcome {
    let packet: Packet;
    try {
      packet = dnsPacket.decode(Buffer.from(encodeLatin1(input)));
    } catch {
      return "rejected"; // The library also ignores the packet, and logs a warning.
    }
    const hints = new AddressHints(ID, `-${SHORT}._degu._tcp.local`);
    for (let attempt = 0; attempt < 2; attempt++) {
      hints.add([...packet.answers, ...packet.additionals], []);
    }
    const addresses = hints.listAddresses();
    demand(addresses.length <= 16, "more addresses than are tried");
    for (const address of addresses) {
      demand(
        formatAddress(parseAddress(formatAddress(address))) === formatAddress(address),
        `${Deno.inspect(address)} is no address`,
      );
      demand(
        !/^(127|224|0|255)\.|^(::|::1|fe80|ff.*)$/.test(`${address[0]}`),
        `tries ${address[0]}`,
      );
    }
    return "accepted";
  },
};
