/** What strangers send to the agent by mDNS, and paths on its command line. */

import { Failure } from "@degu/internal/agent/failure.ts";
import { Hints } from "@degu/internal/agent/mdns/find.ts";
import type { Incoming } from "@degu/internal/agent/mdns/packet.ts";
import { formatRemotePath, parseRemotePath } from "@degu/internal/agent/remote_files.ts";
import { formatAddress, parseAddress } from "@degu/degu/base";
import { escapeName } from "@degu/degu/files";
import { fromLatin1, latin1 } from "../support/wire_grammar.ts";
import { demand, type Fuzzer, type Outcome } from "./fuzzer.ts";
import type { Random } from "./random.ts";

/** The library that codes packets. */
interface DnsPacket {
  encode(packet: unknown): Uint8Array;
  decode(bytes: Uint8Array): Incoming;
}

const { default: dnsPacket } = await import("npm:dns-packet@^5.6.1") as { default: DnsPacket };
const { Buffer } = await import("node:buffer");

const ID = "a".repeat(52);
const NAMES = [
  ...["_degu._tcp.local", `camera-${ID.slice(0, 16)}._degu._tcp.local`, "x.local", "local"],
  ...[`CAMERA-${ID.slice(0, 16)}._degu._tcp.local`, "camera._degu._tcp.local"],
  ...[
    `degu-${ID.slice(0, 16)}.local`,
    "degu-aaaa.local",
    "a".repeat(63),
    "b._http._tcp.local",
    "é\n._degu._tcp.local",
    "",
  ],
];
const HOSTS = [
  "192.168.1.7",
  "0.0.0.0",
  "224.0.0.1",
  "127.0.0.1",
  "169.254.3.4",
  "255.255.255.255",
];
const HOSTS6 = ["fe80::1", "::1", "::", "ff02::fb", "2001:db8::7", "::ffff:10.0.0.1", "fc00::9"];

function makeRecord(random: Random): unknown {
  const head = { name: random.pick(NAMES), ttl: random.pick([0, 1, 120, 2 ** 31 - 1]) };
  switch (random.below(5)) {
    case 0:
      return { ...head, type: "PTR", data: random.pick(NAMES) };
    case 1: {
      const target = random.pick(NAMES);
      const port = random.pick([0, 1, 7443, 65535]);
      return { ...head, type: "SRV", data: { port, target, priority: 0, weight: 0 } };
    }
    case 2: {
      const id = random.pick([ID.slice(0, 16), ID, "", "b".repeat(16)]);
      return { ...head, type: "TXT", data: [Buffer.from(`id=${id}`), Buffer.from("x")] };
    }
    case 3:
      return { ...head, type: "A", data: random.pick(HOSTS) };
    default:
      return { ...head, type: "AAAA", data: random.pick(HOSTS6) };
  }
}

/** `Hints`: whatever a packet says, what comes of it can be connected to. */
export const mdnsPackets: Fuzzer = {
  name: "mdns-packet",
  grammar(random) {
    const answers = Array.from({ length: 1 + random.below(8) }, () => makeRecord(random));
    const type = random.pick(["response", "query"]);
    return fromLatin1(dnsPacket.encode({ type, answers, additionals: [makeRecord(random)] }));
  },
  check(input): Outcome {
    let packet: Incoming;
    try {
      packet = dnsPacket.decode(Buffer.from(latin1(input)));
    } catch {
      return "rejected"; // as the library does, which reports a warning then
    }
    for (const scope of [0, 3]) {
      const hints = new Hints(ID);
      for (let again = 0; again < 2; again++) {
        hints.add([...packet.answers, ...packet.additionals], scope);
      }
      const addresses = hints.addresses();
      demand(addresses.length <= 16, "more addresses than are tried");
      for (const address of addresses) {
        demand(
          formatAddress(parseAddress(formatAddress(address))) === formatAddress(address),
          `${Deno.inspect(address)} is no address`,
        );
        demand(!/^(127|224|0|255)\.|^(::|::1|ff.*)$/.test(`${address[0]}`), `tries ${address[0]}`);
        demand(!`${address[0]}`.startsWith("fe80") || scope !== 0, "link-local without a scope");
      }
    }
    return "accepted";
  },
};

/** `parseRemotePath`: refused, or names that stay below the shared directory, and that are written again. */
export const remotePaths: Fuzzer = {
  name: "remote-path",
  grammar(random) {
    const parts = Array.from(
      { length: random.below(6) },
      () => random.pick(["a", "..", ".", "", "a b", "~2F", "\x00", "%2e%2e", "x".repeat(256)]),
    );
    return `${random.pick(["camera", "", "a:b", "c/d"])}${random.pick([":", ""])}${
      parts.join("/")
    }`;
  },
  check(input): Outcome {
    let path;
    try {
      path = parseRemotePath(input);
    } catch (error) {
      demand(error instanceof Failure && error.exitCode === 2, `threw ${error}`);
      return "rejected";
    }
    for (const name of path.names) {
      demand(!["", ".", ".."].includes(name) && !/[/\0]/.test(name), `the name ${name}`);
      demand(escapeName(name) !== "", "a name that can't be asked for");
    }
    const again = parseRemotePath(formatRemotePath(path.peer, path.names, path.directory));
    demand(Deno.inspect(again.names) === Deno.inspect(path.names), "comes back as another path");
    return "accepted";
  },
};
