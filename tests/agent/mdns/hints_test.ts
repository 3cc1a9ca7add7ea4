import { assertEquals } from "@std/assert";
import { Hints } from "@degu/internal/agent/mdns/hints.ts";
import type { KnownRecord } from "@degu/internal/agent/mdns/packet.ts";
import { allRecords, SERVICE, type Service } from "@degu/internal/agent/mdns/service.ts";
import { interfaceOf } from "@degu/testing/mdns.ts";

const CAMERA: Service = { name: "camera", id: "b".repeat(52), port: 7443 };
const HOST = "degu-bbbbbbbbbbbbbbbb.local";

const on = (...addresses: string[]) => interfaceOf(7, ...addresses);

const heard = (records: readonly KnownRecord[], scope: number): Hints => {
  const hints = new Hints(CAMERA.id);
  hints.add(records, scope);
  return hints;
};

Deno.test("a link-local address has the scope of the interface on which it was received", () => {
  const addresses = on("169.254.1.1", "fe80::1", "192.0.2.1", "2001:db8::1");
  assertEquals(heard(allRecords(CAMERA, addresses), 3).addresses(), [
    ["192.0.2.1", 7443],
    ["2001:db8::1", 7443],
    ["fe80::1", 7443, 0, 3],
    ["169.254.1.1", 7443],
  ]);
});

Deno.test("a link-local address that was received over IPv4 is not a hint, because its interface is unknown", () => {
  const addresses = on("fe80::1", "192.0.2.1");
  assertEquals(heard(allRecords(CAMERA, addresses), 0).addresses(), [["192.0.2.1", 7443]]);
});

Deno.test("only the first 16 characters of the id are compared, and those exactly", () => {
  const found = (id: string) =>
    heard(allRecords({ ...CAMERA, id }, on("192.0.2.1")), 0).addresses().length;
  assertEquals(found("b".repeat(16)), 1);
  assertEquals(found("b".repeat(16) + "c"), 1);
  assertEquals(found("b".repeat(15)), 0);
  assertEquals(found("B".repeat(16)), 0);
  assertEquals(found("b".repeat(15) + "c"), 0);
});

Deno.test("port 0 is not a hint, and neither is an instance with an unknown host", () => {
  assertEquals(heard(allRecords({ ...CAMERA, port: 0 }, on("192.0.2.1")), 0).addresses(), []);
  const hints = heard(allRecords(CAMERA, []), 0);
  assertEquals(hints.addresses(), []);
  assertEquals(hints.questions(), [
    { name: SERVICE, type: "PTR" },
    { name: HOST, type: "ANY" },
  ]);
});

Deno.test("however much is received, little is kept and little is queried", () => {
  const hints = new Hints(CAMERA.id);
  for (let i = 0; i < 500; i++) {
    hints.add([
      { name: SERVICE, type: "PTR", ttl: 1, data: `n${i}.${SERVICE}` },
      { name: `h${i}.local`, type: "A", ttl: 1, data: `192.0.2.${i % 256}` },
      { name: HOST, type: "A", ttl: 1, data: `198.51.100.${i % 256}` },
    ], 0);
  }
  assertEquals(hints.questions().length, 8);
  hints.add(allRecords(CAMERA, on("192.0.2.1")), 0);
  const found = hints.addresses();
  assertEquals(found.length, 16);
  assertEquals(found.at(-1), ["192.0.2.1", 7443]);
});

Deno.test("names that no device has are neither kept nor queried", () => {
  const hints = new Hints(CAMERA.id);
  const odd = [
    "a b",
    "caf\u00e9",
    "\ufffd".repeat(63),
    "a.",
    "",
    "x".repeat(64),
    "\0",
    "a.b.c.".repeat(60),
  ];
  for (const name of odd) {
    const records = allRecords({ ...CAMERA, name }, on("192.0.2.1"));
    hints.add(records.map((record) => ({ ...record, ttl: 9 })), 0);
    hints.add([
      { name: SERVICE, type: "PTR", ttl: 9, data: `${name}.${SERVICE}` },
      { name: `${name}.local`, type: "A", ttl: 9, data: "192.0.2.1" },
    ], 0);
  }
  assertEquals(hints.addresses(), []);
  assertEquals(hints.questions(), [{ name: SERVICE, type: "PTR" }]);
  const [, , , service] = allRecords(CAMERA, []);
  const data = { priority: 0, weight: 0, port: 1, target: "\ufffd.local" };
  hints.add([{ ...service!, data } as KnownRecord], 0);
  assertEquals(hints.addresses(), []);
});
