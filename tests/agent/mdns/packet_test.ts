import { assertEquals } from "@std/assert";
import { isSameName, knownRecords } from "@degu/internal/agent/mdns/packet.ts";

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
