/** The line of an invitation, the messages of a pairing, and the addresses that devices exchange. */
import { PairingError, parseInvitation } from "@degu/degu/device";
import {
  decodeLine,
  encodeBase64Url,
  encodeLine,
  type InvitationLine,
} from "@degu/internal/device/pairing/invitation_line.ts";
import {
  ANSWER_FIELDS,
  decodeMessage,
  encodeMessage,
  INTRODUCTION_FIELDS,
  OFFER_FIELDS,
  PROOF_FIELDS,
  REFUSAL_FIELDS,
} from "@degu/internal/device/pairing/pairing_messages.ts";
import { patch } from "@degu/testing/patching.ts";
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { createHash } from "node:crypto";
import { setClockAhead } from "@degu/testing/clock.ts";
import { TestDevices } from "@degu/testing/device_pairs.ts";
import type { Address } from "@degu/degu/base";
import {
  listLinkLocalScopes,
  listOwnAddresses,
  makeAddressFinder,
  readAddresses,
  replaceWildcards,
  selectAddressesToSend,
  selectAddressesToStore,
} from "@degu/internal/device/pairing/pairing_addresses.ts";

const random = fc.uint8Array({ minLength: 16, maxLength: 16 });
const host = fc.oneof(fc.ipV4(), fc.constantFrom("::1", "fe80::1", "2001:db8::7", "camera.local"))
  .filter((text) => text !== "0.0.0.0" && !/^(22[4-9]|2[345]\d)\./.test(text));
const self = {
  name: fc.stringMatching(/^[0-9A-Za-z][0-9A-Za-z_-]{0,40}$/),
  addresses: fc.array(fc.tuple(host, fc.integer({ min: 1, max: 65535 })), { maxLength: 6 }),
};
const introduction = fc.record({
  secret: random,
  authority: fc.uint8Array({ maxLength: 2048 }),
  ...self,
});
const offer = {
  authority: fc.uint8Array({ maxLength: 2048 }),
  random: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  port: fc.oneof(fc.constantFrom(1, 65535), fc.integer({ min: 1, max: 65535 })),
};

Deno.test("messages are parsed into their fields, or into some of them", () => {
  const messages = [
    [INTRODUCTION_FIELDS, introduction],
    [ANSWER_FIELDS, fc.record({ value: random, ...self })],
    [PROOF_FIELDS, fc.record({ value: random })],
    [OFFER_FIELDS, fc.record({ ...offer, ...self })],
    [REFUSAL_FIELDS, fc.record({ reason: fc.constantFrom("self", "busy", "closed") })],
  ] as const;
  for (const [names, message] of messages) {
    fc.assert(fc.property(message as fc.Arbitrary<Record<string, unknown>>, (fields) => {
      const bytes = encodeMessage(fields);
      assertEquals(decodeMessage(bytes, names) as Record<string, unknown>, fields);
      const [first] = names;
      assertEquals(decodeMessage(bytes, [first], names)[first], fields[first]);
    }));
  }
});

Deno.test("an invalid message is a RangeError, which does not quote the message", () => {
  const bytes = fc.oneof(
    fc.uint8Array(),
    fc.json().map((text) => new TextEncoder().encode(text)),
    fc.tuple(introduction, fc.json(), fc.constantFrom("secret", "authority", "name", "addresses"))
      .map(([given, json, field]) => {
        const fields = JSON.parse(new TextDecoder().decode(encodeMessage(given)));
        fields[field] = { wrong: JSON.parse(json) };
        return new TextEncoder().encode(JSON.stringify(fields));
      }),
  );
  fc.assert(fc.property(bytes, (received) => {
    for (const names of [INTRODUCTION_FIELDS, ANSWER_FIELDS, PROOF_FIELDS]) {
      assertThrows(() => decodeMessage(received, names), RangeError);
    }
  }));
  for (const text of ["{}", "null", "[]", "7", '{"value":7}', '{"__proto__":{"value":"AA"}}']) {
    const received = new TextEncoder().encode(text);
    assertThrows(() => decodeMessage(received, PROOF_FIELDS), RangeError, "", text);
  }
  const received = new TextEncoder().encode('{"hunter2');
  const error = assertThrows(() => decodeMessage(received, PROOF_FIELDS), RangeError);
  assertEquals(error.message.includes("hunter2"), false);
});

Deno.test("a message with an invalid field is refused", () => {
  const random = encodeBase64Url(new Uint8Array(16));
  const randomFields = { secret: random, value: random };
  const otherFields = { authority: "", name: "camera", addresses: [], port: 80, reason: "busy" };
  const validFields = { ...randomFields, ...otherFields };
  const fieldNames = Object.keys(validFields) as (keyof typeof validFields)[];
  const randoms = ["", "AA", `${random}A`, `${random}==`, null, 7, [random]];
  const names = ["", "-", "-a", "a b", "a/b", "..", "../a", "a\nb", "é", "a".repeat(64)];
  const invalidFields: Record<keyof typeof validFields, unknown[]> = {
    secret: randoms,
    value: randoms,
    authority: ["=", "AB", "-----BEGIN CERTIFICATE-----", null, 7],
    name: [...names, "a".repeat(52), null, 7, ["camera"], { toString: "camera" }],
    addresses: ["10.0.0.1:80", null, Array(7).fill(["10.0.0.1", 80]), [["/run/a.socket", 80]]],
    port: [0, -1, 65536, 1.5, "80", null],
    reason: ["", "open", null, ["busy"]],
  };
  for (const field of fieldNames) {
    for (const value of invalidFields[field]) {
      const received = new TextEncoder().encode(JSON.stringify({ ...validFields, [field]: value }));
      const decode = () => decodeMessage(received, [field], fieldNames);
      assertThrows(decode, RangeError, "", `${field}: ${Deno.inspect(value)}`);
    }
  }
});

const DAY = 24 * 60 * 60 * 1000;

const bytes = (min: number, max: number) => fc.uint8Array({ minLength: min, maxLength: max });
const port = fc.integer({ min: 1, max: 65535 });
const lineHost = fc.oneof(
  fc.ipV4(),
  fc.ipV6().map((text) => new URL(`http://[${text}]/`).hostname.slice(1, -1)),
);
const content: fc.Arbitrary<InvitationLine> = fc.record({
  keyHash: bytes(32, 32),
  addresses: fc.array(fc.tuple(lineHost, port, port), { minLength: 1, maxLength: 6 }),
  secret: bytes(16, 16),
  expires: fc.date({ min: new Date(), max: new Date(Date.now() + DAY), noInvalidDate: true }),
});

const sample: InvitationLine = {
  keyHash: new Uint8Array(32).map((_, index) => index),
  addresses: [["192.0.2.7", 7443, 7444], ["2001:db8::1", 1, 2], ["fe80::1:2", 65535, 3]],
  secret: new Uint8Array(16).fill(7),
  expires: new Date(Date.now() + 600_000),
};

/** Makes a line from any bytes, with a valid checksum. */
function lineOf(version: number, payload: Uint8Array): string {
  const digest = createHash("sha256").update(Uint8Array.of(version)).update(payload).digest();
  const lineBytes = Uint8Array.from([version, ...digest.subarray(0, 4), ...payload]);
  return `degu:${lineBytes.toBase64({ alphabet: "base64url", omitPadding: true })}`;
}

/** Returns the bytes of a line after the checksum. */
function payloadOf(line: string): Uint8Array {
  return Uint8Array.fromBase64(line.slice("degu:".length), { alphabet: "base64url" }).slice(5);
}

Deno.test("a line is parsed into its fields", () => {
  fc.assert(fc.property(content, (given) => {
    const line = encodeLine(given);
    assertMatch(line, /^degu:[A-Za-z0-9_-]+$/);
    assertEquals(decodeLine(line), given);
  }));
});

Deno.test("a line has the documented bytes", () => {
  const [first, second] = sample.addresses;
  const fields = { ...sample, expires: new Date(0x0102030405) };
  const begin = sample.keyHash.toHex() + "07".repeat(16) + "0000000102030405";
  const addressBytes = "04c00002071d131d14" + "1020010db800000000000000000000000100010002";
  const line = encodeLine({ ...fields, addresses: [first!, second!] });
  assertEquals(payloadOf(line).toHex(), begin + addressBytes);
  assertEquals(line, lineOf(2, Uint8Array.fromHex(begin + addressBytes)));
});

Deno.test("a line with one IPv4 and one IPv6 host has at most 128 characters", () => {
  const { length } = encodeLine({ ...sample, addresses: sample.addresses.slice(0, 2) });
  assert(length <= 128, `${length}`);
});

Deno.test("a line that is changed, truncated or extended is reported as garbled", () => {
  const line = encodeLine(sample);
  fc.assert(fc.property(
    fc.integer({ min: "degu:".length, max: line.length - 1 }),
    fc.constantFrom(..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=.é"),
    (index, character) => {
      fc.pre(line[index] !== character);
      const changedLine = line.slice(0, index) + character + line.slice(index + 1);
      assertThrows(() => decodeLine(changedLine), PairingError, "garbled");
      assertThrows(() => decodeLine(line.slice(0, index)), PairingError, "garbled");
      assertThrows(() => decodeLine(line + character), PairingError, "garbled");
    },
  ));
});

Deno.test("a line of another version is reported as such", () => {
  const content = payloadOf(encodeLine(sample));
  assertEquals(decodeLine(lineOf(2, content)).secret, sample.secret);
  for (const version of [0, 1, 3, 255]) {
    for (const otherContent of [content, Uint8Array.of(1), new Uint8Array(500)]) {
      const decode = () => decodeLine(lineOf(version, otherContent));
      const message = `has version ${version}, and this program reads version 2`;
      assertThrows(decode, PairingError, message);
    }
  }
});

Deno.test("a text that is not a line is reported as such, and not quoted", () => {
  const texts = ["", "hello", "DEGU:abc", "https://example.com/degu:abc", "degu", "\u200bdegu:"];
  for (const text of [...texts, "-----BEGIN EC PRIVATE KEY-----"]) {
    const error = assertThrows(() => decodeLine(text), PairingError, 'begins with "degu:"');
    if (text.length > 6) assertEquals(error.message.includes(text), false);
  }
  assertThrows(() => decodeLine(7 as unknown as string), TypeError, "number");
});

Deno.test("an invitation line is refused if it expired more than a day ago, to the millisecond, and no earlier", () => {
  const { expires } = sample;
  const line = encodeLine(sample);
  const lastTime = expires.getTime() + DAY;
  {
    using _ = patch(Date, "now", () => () => lastTime);
    assertEquals(decodeLine(line).expires, expires);
  }
  {
    using _ = patch(Date, "now", () => () => lastTime + 1);
    assertThrows(() => decodeLine(line), PairingError, `expired at ${expires.toISOString()}`);
  }
  // A slow clock has no effect.
  using _ = patch(Date, "now", () => () => 0);
  assertEquals(decodeLine(line).expires, expires);
});

Deno.test("an intact line with invalid content is refused", () => {
  const timeOf = (time: bigint) => new Uint8Array(new BigUint64Array([time]).buffer).toReversed();
  const keyHashAndSecret = new Uint8Array(48);
  const begin = [...keyHashAndSecret, ...timeOf(8_640_000_000_000_000n)];
  const ports = [1, 0, 2, 0];
  const address = [4, 192, 0, 2, 7, ...ports];
  const table: [string, number[]][] = [
    ["nothing", []],
    ["a truncated hash", [...new Uint8Array(31)]],
    ["an invalid time", [...keyHashAndSecret, ...timeOf(8_640_000_000_000_001n), ...address]],
    ["no address", begin],
    ["the port 0 of TLS", [...begin, 4, 192, 0, 2, 7, 0, 0, 2, 0]],
    ["the plain port 0", [...begin, 4, 192, 0, 2, 7, 1, 0, 0, 0]],
    ["seven addresses", [...begin, ...Array(7).fill(address).flat()]],
    ["an address of an unknown family", [...begin, 5, 192, 0, 2, 7, 1, ...ports]],
    ["a byte after the end", [...begin, ...address, 0]],
    ["a missing byte", [...begin, ...address.slice(0, -1)]],
    ["a truncated host", [...begin, 16, ...new Uint8Array(15)]],
  ];
  const sixAddresses = [...begin, ...Array(6).fill(address).flat()];
  const { addresses } = decodeLine(lineOf(2, Uint8Array.from(sixAddresses)));
  assertEquals(addresses, Array(6).fill(["192.0.2.7", 256, 512]));
  for (const [label, payload] of table) {
    const line = lineOf(2, Uint8Array.from(payload));
    assertThrows(() => decodeLine(line), PairingError, "garbled", label);
  }
});

Deno.test("parsing any text as a line fails only with these errors", () => {
  fc.assert(fc.property(fc.string(), (text) => {
    assertThrows(() => decodeLine(`degu:${text}`), PairingError);
  }));
  fc.assert(fc.property(fc.constantFrom(1, 2, 3), bytes(0, 3000), (version, payload) => {
    assertThrows(() => decodeLine(lineOf(version, payload)), PairingError);
  }));
});

// The parsed line of an invitation.

const LISTEN = { listen: [["127.0.0.1", 0], ["::1", 0]] } as const;

Deno.test("parseInvitation returns the id, the addresses and the time of an invitation, but not its secret", async () => {
  await using devices = await TestDevices.create();
  const camera = await devices.open("camera");
  await using invitation = await camera.invite(LISTEN);
  const { line, addresses, expires } = invitation;
  const parsed = parseInvitation(line);
  assertEquals(parsed, { id: camera.id, addresses: addresses as typeof parsed.addresses, expires });
  // White space in a wrapped line is ignored.
  assertEquals(parseInvitation(` ${line.replaceAll(/.{20}/g, "$&\r\n")}`), parsed);
  assert(Object.isFrozen(parsed.addresses));
});

Deno.test("parseInvitation rejects an invalid line with a code, and doesn't quote the line", async () => {
  await using devices = await TestDevices.create();
  await using invitation = await (await devices.open("camera")).invite(LISTEN);
  const { line } = invitation;
  const codeOf = (text: string) => {
    const { code, message } = assertThrows(() => parseInvitation(text), PairingError);
    assert(text.length < 20 || !message.includes(text.slice(5, 20)), message);
    return code;
  };
  assertEquals(codeOf("hello"), "NOT_AN_INVITATION");
  assertEquals(codeOf(""), "NOT_AN_INVITATION");
  for (let length = "degu:".length; length < line.length; length++) {
    assertEquals(codeOf(line.slice(0, length)), "GARBLED");
  }
  assertEquals(codeOf(`${line}a`), "GARBLED");
  using _ = setClockAhead(2 * 24 * 60 * 60 * 1000);
  assertEquals(codeOf(line), "EXPIRED");
  assertThrows(() => Reflect.apply(parseInvitation, null, [null]), TypeError, "line: must be");
});

const never = () => {
  throw new Error("asked");
};

const NO_IO = { read: never, write: never, close: never };

/** Calls a function on a machine with these interfaces. */
function withInterfaces<T>(interfaces: () => Deno.NetworkInterfaceInfo[], call: () => T): T {
  using _found = patch(Deno, "networkInterfaces", () => interfaces);
  return call();
}

Deno.test("addresses from another device are IP addresses or DNS names, each with a port", () => {
  const allowed = [
    [],
    [["192.0.2.1", 1], ["2001:db8::1", 65535], ["fe80::1", 80], ["127.0.0.1", 80], ["::1", 80]],
    [["camera.local", 80], ["a", 1], ["my_camera-1.example.com", 443], ["10.0.0.1", 80]],
    Array(6).fill(["10.0.0.1", 80]),
  ];
  for (const addresses of allowed) assertEquals(readAddresses(addresses) as unknown, addresses);
  const list: unknown[] = [null, {}, "10.0.0.1:80", 7, { length: 1, 0: ["10.0.0.1", 80] }];
  for (const value of list) assertThrows(() => readAddresses(value), RangeError, "not a list");
  assertThrows(() => readAddresses(Array(7).fill(["10.0.0.1", 80])), RangeError, "7 addresses");
  const ports = [0, -1, 65536, 1.5, "80", null, NaN, Infinity, [80]];
  const invalidHosts = [
    "/run/a.socket,\0name,unix:/run/a.socket,unix:@name,@name,,.,..,a..b,a b,a/b,a:1,a%,%",
    "0.0.0.0,::,0:0::0,224.0.0.1,239.255.255.255,255.255.255.255,ff02::1,1.2.3,1.2.3.4.5",
    "01.2.3.4,1.2.3.04,0x7f.1,127.1,[::1],::1%1,fe80::1%eth0,FE80::1,2001:db8:0::1,a.",
    "http://a,user@a,a#b,a?b,unix,é.example,\u212a.local,a\nb",
  ];
  const hosts = [
    ...invalidHosts.flatMap((line) => line.split(",")),
    "a".repeat(64),
    "a.".repeat(127) + "a",
    null,
    7,
    ["10.0.0.1"],
  ];
  const items: unknown[] = [
    ...ports.map((port) => ["10.0.0.1", port]),
    ...hosts.map((host) => [host, 80]),
    ["10.0.0.1"],
    ["10.0.0.1", 80, 0, 0],
    ["fe80::1", 80, 0, 3],
    "10.0.0.1:80",
    { host: "10.0.0.1", port: 80 },
    null,
    [],
  ];
  for (const item of items) {
    assertThrows(() => readAddresses([item]), RangeError, "IP address", Deno.inspect(item));
  }
});

Deno.test("link-local addresses get the interface of the pairing, and are omitted without one", () => {
  const denied = () => {
    throw new Deno.errors.NotCapable("no");
  };
  const home = () => HOME;
  const twice = () => [...HOME, makeEntry("eth1", "192.168.1.7")];
  const rows: [
    remote: Address | null,
    local: string | null,
    find: () => Deno.NetworkInterfaceInfo[],
    scope: number | null,
  ][] = [
    [["fe80::9", 1, 0, 5], null, never, 5],
    [["fe80::9%4", 1], null, never, 4],
    [["192.168.1.9", 1], "192.168.1.7", home, 2],
    [["::1", 1], "::ffff:192.168.1.8", home, 2],
    [["fe80::9%eth0", 1], "fe80::1%eth0", home, 2],
    [null, "127.0.0.1", home, null], // lo has no link-local address
    [null, "192.168.1.9", home, null],
    [null, "192.168.1.7", twice, null],
    [null, "192.168.1.7", denied, null],
    [null, null, never, null],
  ];
  for (const [remote, hostname, find, scope] of rows) {
    const localAddr = hostname === null ? undefined : { transport: "tcp", hostname, port: 1 };
    const socket = { localAddr, ...NO_IO };
    const local = scope === null ? [] : [["fe80::1", 80, 0, scope]];
    const received = [["fe80::1", 80], ["10.0.0.1", 80]] as const;
    const scoped = withInterfaces(find, () => selectAddressesToStore(received, remote, socket));
    assertEquals(scoped as unknown, [...local, ["10.0.0.1", 80]]);
    const unscopedAddresses = [["169.254.1.1", 80], ["a", 80]] as const;
    const select = () => selectAddressesToStore(unscopedAddresses, remote, socket);
    assertEquals(withInterfaces(never, select) as unknown, unscopedAddresses);
  }
  const localAddr = { transport: "tcp", hostname: "192.168.1.7", port: 1 } as const;
  const socket = { localAddr, ...NO_IO };
  const store = () => selectAddressesToStore([["fe80::1", 80]], null, socket);
  assertThrows(() => withInterfaces(never, store), Error, "asked"); // an error other than a missing permission
});

Deno.test("an address of this machine is stored only for a device on this machine", () => {
  const received = [
    ...["127.0.0.1", "127.9.9.9", "::1", "::ffff:7f00:1", "localhost", "LocalHost", "a.localhost"],
    ...["10.0.0.1", "localhost.example", "notlocalhost", "::ffff:a00:1"],
  ].map((host) => [host, 22] as const);
  const rows: [local: string | null, remote: string, kept: number][] = [
    ["192.168.1.7", "192.168.1.9", 4],
    ["::ffff:192.168.1.7", "::ffff:192.168.1.9", 4],
    [null, "192.168.1.9", 4],
    ["192.168.1.7", "192.168.1.7", 11],
    ["127.0.0.1", "127.0.0.2", 11],
    ["::ffff:127.0.0.1", "::ffff:127.0.0.1", 11],
    ["::1", "::1", 11],
  ];
  for (const [local, remote, storedCount] of rows) {
    const addrOf = (hostname: string) => ({ transport: "tcp", hostname, port: 1 });
    const localAddr = local === null ? undefined : addrOf(local);
    const socket = { localAddr, remoteAddr: addrOf(remote), ...NO_IO };
    const stored = selectAddressesToStore(received, [remote, 1], socket);
    assertEquals(stored, received.slice(-storedCount), `${local}`);
  }
});

Deno.test("announced addresses have no scope, no Unix socket, no wildcard and no duplicates", () => {
  const addresses: Address[] = [
    ["fe80::7", 80, 0, 2],
    ["fe80::7%eth0", 80],
    ["0.0.0.0", 7443],
    ["192.168.1.7", 7443],
    "/run/a.socket",
    new Uint8Array([0, 97]),
    ["unix", 80],
    ["Camera.local", 80],
    ["2001:DB8:0::7", 80],
  ];
  const interfaces = [makeEntry("eth0", "192.168.1.7"), makeEntry("eth0", "fe80::7", 2)];
  const sent = withInterfaces(() => interfaces, () => selectAddressesToSend(addresses));
  const otherHosts = [["Camera.local", 80], ["2001:db8::7", 80]] as const;
  assertEquals(sent, [["fe80::7", 80], ["192.168.1.7", 7443], ...otherHosts]);
  assertEquals(readAddresses(sent), sent);
  const many = [1, 2, 3, 4, 5, 6, 7].map((port): Address => ["10.0.0.1", port]);
  assertEquals(withInterfaces(never, () => selectAddressesToSend(many)).length, 6);
});

Deno.test("the addresses of serving are sent without scopes, and a wildcard is replaced by the machine's addresses", async () => {
  // Of a machine with more than six addresses, some are left out with a warning.
  const services = { logger: { warn() {} } } as never;
  const find = (serving: Address[]) => makeAddressFinder(services, serving).findAddresses();
  const addresses: Address[] = [["10.0.0.1", 80], ["a.local", 80], ["fe80::1", 80, 0, 2]];
  assertEquals(await find(addresses), [["10.0.0.1", 80], ["a.local", 80], ["fe80::1", 80]]);
  assertEquals((await find([["::", 80]])).length > 0, true);
  assertEquals(await find([]), []);
  const make = () => makeAddressFinder({} as never, [["::", 80]]);
  assertThrows(() => withInterfaces(never, make), Error, "asked"); // immediately
  // For servers that listen later, an error other than a missing permission is also an error.
  const servingRecords = { listAddresses: () => Promise.resolve([["::", 80]]) };
  using _never = patch(Deno, "networkInterfaces", () => never);
  const { findAddresses } = makeAddressFinder({ servingRecords } as never, undefined);
  await assertRejects(findAddresses, Error, "asked");
});

Deno.test("without the permission to list the interfaces, the addresses of wildcards are not sent, with a warning", async () => {
  const listening = [["::", 80], ["10.0.0.1", 81]];
  const servingRecords = { listAddresses: () => Promise.resolve(listening) };
  const warnings: string[] = [];
  const logger = { warn: (text: string) => warnings.push(text) };
  using _denied = patch(Deno, "networkInterfaces", () => () => {
    throw new Deno.errors.NotCapable("no");
  });
  const finder = makeAddressFinder({ servingRecords, logger } as never, undefined);
  assertEquals(await finder.findAddresses(), [["10.0.0.1", 81]]);
  assertEquals(warnings.length, 1);
  assertMatch(warnings[0]!, /--allow-sys=networkInterfaces, so its addresses were not sent/);
});

function makeEntry(name: string, address: string, scopeid: number | null = null) {
  const family = address.includes(":") ? "IPv6" : "IPv4";
  return { name, address, scopeid, family, netmask: "", cidr: "", mac: "" } as const;
}

const ownOf = (interfaces: Deno.NetworkInterfaceInfo[]) =>
  withInterfaces(() => interfaces, listOwnAddresses);

const LOOPBACK = [makeEntry("lo", "127.0.0.1"), makeEntry("lo", "::1", 0)];
const HOME = [
  ...LOOPBACK,
  makeEntry("eth0", "169.254.3.4"),
  makeEntry("eth0", "fe80::1", 2),
  makeEntry("eth0", "2001:db8::1", 0),
  makeEntry("eth0", "192.168.1.7"),
  makeEntry("eth0", "192.168.1.8"),
  makeEntry("eth0", "2001:db8::2", 0),
];

Deno.test("own addresses are sorted by usefulness: network cards first, with one per interface before a second of any", () => {
  const [v4, other4] = [["192.168.1.7", 0], ["192.168.1.8", 0]];
  const [v6, other6] = [["2001:db8::1", 0], ["2001:db8::2", 0]];
  const [link4, link6] = [["169.254.3.4", 0], ["fe80::1", 0, 0, 2]];
  const bridges = ["172.17.1.1", "172.17.2.1", "172.17.3.1"];
  const bridgeEntries = bridges.map((address, i) => makeEntry(`br${i}`, address));
  const cable = ["fe80::2", 0, 0, 9];
  const ofBridges = bridges.map((host) => [host, 0]);
  const rows: [interfaces: Deno.NetworkInterfaceInfo[], addresses: unknown[]][] = [
    [HOME, [v4, other4, v6, other6, link6, link4]],
    [HOME.toReversed(), [other4, v4, other6, v6, link6, link4]],
    // A link without other addresses, such as a cable between two devices, is near the top.
    [
      [makeEntry("eth1", "fe80::2", 9), ...HOME, ...bridgeEntries],
      [v4, cable, other4, v6, ...ofBridges, other6, link6, link4],
    ],
    // Addresses of the loopback interface are listed only if there are no others.
    [LOOPBACK, [["127.0.0.1", 0], ["::1", 0]]],
    [[...LOOPBACK, makeEntry("eth0", "fe80::1")], [["fe80::1", 0, 0, 0]]],
    [[], []],
  ];
  for (const [interfaces, addresses] of rows) assertEquals(ownOf(interfaces), addresses);
});

/** The interfaces of a machine with containers, a virtual machine and a tunnel. */
const CONTAINERS = [
  "docker0",
  "br-0a1b2c3d4e5f",
  "veth12ab",
  "virbr0",
  "wg0",
  "tailscale0",
  "lxcbr0",
]
  .map((name, index) => makeEntry(name, `172.17.${index}.1`));

Deno.test("the first addresses of a machine with bridges and tunnels are those of its network cards, in any order of the system", () => {
  for (const name of ["eth0", "wlp2s0", "Wi-Fi"]) {
    const card = makeEntry(name, "192.168.1.7");
    for (const interfaces of [[...CONTAINERS, card], [card, ...CONTAINERS]]) {
      assertEquals(ownOf([...LOOPBACK, ...interfaces])[0], ["192.168.1.7", 0], name);
    }
  }
  // A bridge of the real network comes before those of containers, as does an unknown name.
  for (const name of ["br0", "bond0", "lan", "vlan3"]) {
    const unknown = makeEntry(name, "192.168.1.7");
    assertEquals(ownOf([...CONTAINERS, unknown])[0], ["192.168.1.7", 0], name);
  }
  // A tunnel isn't crowded out by the addresses of a single card.
  const cardAddresses = [1, 2, 3, 4, 5, 6, 7].map((n) => makeEntry("eth0", `2001:db8::${n}`, 0));
  const first = ownOf([...cardAddresses, makeEntry("wg0", "10.9.0.2")]).slice(0, 6);
  assertEquals(first.filter(([host]) => host === "10.9.0.2").length, 1);
});

Deno.test("addresses that are left out are reported", () => {
  const messages: string[] = [];
  const report = (message: string) => void messages.push(message);
  const interfaces = [makeEntry("eth0", "192.168.1.7"), ...CONTAINERS];
  const sent = withInterfaces(
    () => interfaces,
    () => selectAddressesToSend([["::", 7443]], report),
  );
  assertEquals(sent.length, 6);
  assertEquals(sent[0], ["192.168.1.7", 7443]);
  assertEquals(messages, [
    "pairing: 2 addresses of this machine are left out: 172.17.5.1:7443, 172.17.6.1:7443; if " +
    "another machine reaches this one only there, set the option serving",
  ]);
  withInterfaces(() => interfaces.slice(0, 6), () => selectAddressesToSend([["::", 1]], report));
  assertEquals(messages.length, 1);
});

Deno.test("a wildcard is replaced by the addresses of this machine, with its port", () => {
  const otherAddresses: Address[] = [["10.0.0.1", 5], "/run/a.socket"];
  const resolve = (...addresses: Address[]) =>
    withInterfaces(() => HOME, () => replaceWildcards(addresses));
  assertEquals(resolve(["0.0.0.0", 7443], ...otherAddresses), [
    ["192.168.1.7", 7443],
    ["192.168.1.8", 7443],
    ["169.254.3.4", 7443],
    ...otherAddresses,
  ]);
  for (const wildcard of [["::", 1], ["0::0", 1], ["::", 1, 0, 0]] as const) {
    assertEquals(
      resolve(wildcard as Address),
      ownOf(HOME).map(([host, , ...scope]) => [host, 1, ...scope] as unknown as Address),
    );
  }
});

Deno.test("the interfaces are read only if there is a wildcard", () => {
  const addresses: Address[] = [["127.0.0.1", 0], ["::1", 0], "/run/a.socket", new Uint8Array(0)];
  assertEquals(withInterfaces(never, () => replaceWildcards(addresses)), addresses);
});

Deno.test("link-local peers are searched for once on each interface with a link-local address", () => {
  const interfaces = [...HOME, makeEntry("eth1", "fe80::1", 9), makeEntry("eth1", "fe80::2", 9)];
  const otherEntries = [makeEntry("eth2", "fe80::3"), makeEntry("eth3", "2001:db8::3", 7)];
  assertEquals(listLinkLocalScopes([...interfaces, ...otherEntries]), [2, 9]);
});

Deno.test("the best address of each network precedes the second of any network of the same interface", () => {
  const entriesOf = (netmask: string, ...hosts: string[]) =>
    hosts.map((host) => ({ ...makeEntry("eth0", host), netmask }));
  const entries = [
    ...entriesOf("255.255.255.0", "192.168.1.7", "192.168.1.8", "10.0.0.7", "10.0.0.8"),
    ...entriesOf("ffff:ffff:ffff:ffff::", "2001:db8::1", "2001:db8::2"),
  ];
  assertEquals(
    ownOf(entries).map(([host]) => host),
    ["192.168.1.7", "10.0.0.7", "2001:db8::1", "192.168.1.8", "10.0.0.8", "2001:db8::2"],
  );
});
