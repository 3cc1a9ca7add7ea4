/** The records of a device, and how names and questions are compared. */
import { assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import {
  allRecords,
  goodbyes,
  instanceName,
  isAsked,
  isKnown,
  isSameName,
  knownRecords,
  SERVICE,
  type Service,
} from "@degu/internal/agent/mdns/packet.ts";
import { interfaceOf } from "@degu/testing/mdns.ts";

const CAMERA: Service = { name: "camera", id: "abcdefghijklmnopqrstuv", port: 7443 };
const INSTANCE = "camera-abcdefghijklmnop._degu._tcp.local";
const HOST = "degu-abcdefghijklmnop.local";

const on = (...addresses: string[]) => interfaceOf(7, ...addresses);

Deno.test("the records of a device have 16 characters of its id, its port and its addresses", () => {
  const records = allRecords(CAMERA, on("127.0.0.1", "fe80::9%eth0", "192.0.2.1", "fe80::1"));
  assertEquals(records.map(({ name, type, data }) => [name, type, data]), [
    [SERVICE, "PTR", INSTANCE],
    ["_services._dns-sd._udp.local", "PTR", SERVICE],
    [INSTANCE, "TXT", [Buffer.from("id=abcdefghijklmnop")]],
    [INSTANCE, "SRV", { priority: 0, weight: 0, port: 7443, target: HOST }],
    [HOST, "A", "192.0.2.1"],
    [HOST, "AAAA", "fe80::1"],
  ]);
});

Deno.test("at most 8 addresses of an interface are announced", () => {
  const many = Array.from({ length: 20 }, (_, i) => `192.0.2.${i}`);
  assertEquals(allRecords(CAMERA, on(...many)).filter(({ type }) => type === "A").length, 8);
});

Deno.test("a goodbye withdraws the service, but not the addresses", () => {
  const types = goodbyes(CAMERA).map(({ type, ttl }) => [type, ttl]);
  assertEquals(types, [["PTR", 0], ["TXT", 0], ["SRV", 0]]);
});

Deno.test("a query matches a record by its name, and by its type or any type", () => {
  const records = allRecords(CAMERA, on("192.0.2.1"));
  const asked = (name: string, type: string) => isAsked([{ name, type }], records);
  assertEquals(asked(SERVICE, "PTR"), true);
  assertEquals(asked("_DEGU._tcp.LOCAL", "PTR"), true);
  assertEquals(asked(INSTANCE, "ANY"), true);
  assertEquals(asked(HOST, "A"), true);
  assertEquals(asked(HOST, "AAAA"), false);
  assertEquals(asked(SERVICE, "SRV"), false);
  assertEquals(asked("other._degu._tcp.local", "ANY"), false);
  assertEquals(isAsked([], records), false);
});

Deno.test("a known answer with at least half of its lifetime suppresses the response", () => {
  const pointer = { name: SERVICE, type: "PTR", ttl: 2250, data: INSTANCE } as const;
  assertEquals(isKnown([pointer], CAMERA), true);
  assertEquals(isKnown([{ ...pointer, ttl: 2249 }], CAMERA), false);
  assertEquals(isKnown([{ ...pointer, data: "other._degu._tcp.local" }], CAMERA), false);
  assertEquals(isKnown([], CAMERA), false);
});

Deno.test("the name of an instance fits into a label, with the id", () => {
  const [label = ""] = instanceName({ ...CAMERA, name: "x".repeat(63) }).split(".");
  assertEquals(label, `${"x".repeat(46)}-abcdefghijklmnop`);
});

Deno.test("names are compared ignoring the case of ASCII letters only", () => {
  assertEquals(isSameName("Camera._DEGU._tcp.local", "camera._degu._TCP.local"), true);
  assertEquals(isSameName("camera.local", "camera-2.local"), false);
  assertEquals(isSameName("\u212aamera.local", "kamera.local"), false); // the Kelvin sign
  assertEquals(isSameName("É.local", "é.local"), false);
});

Deno.test("records of other types are omitted", () => {
  const records = ["A", "NSEC", "OPT", "TXT", "UNKNOWN_999", "SRV", "PTR", "AAAA", "HINFO"];
  const known = knownRecords(records.map((type) => ({ type }))).map(({ type }) => type as string);
  assertEquals(known, ["A", "TXT", "SRV", "PTR", "AAAA"]);
});
