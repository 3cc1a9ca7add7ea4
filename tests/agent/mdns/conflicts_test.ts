import { assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { hasToGiveWay, isConflict } from "@degu/internal/agent/mdns/conflicts.ts";
import type { KnownRecord } from "@degu/internal/agent/mdns/packet.ts";
import { type Service, uniqueRecords } from "@degu/internal/agent/mdns/service.ts";

const CAMERA: Service = { name: "camera", id: "bbbbbbbbbbbbbbbb", port: 7443 };
const OWN = uniqueRecords(CAMERA);
const [TEXT, SERVER] = OWN as [KnownRecord & { type: "TXT" }, KnownRecord & { type: "SRV" }];
const text = (id: string): KnownRecord => ({ ...TEXT, data: [Buffer.from(`id=${id}`)] });
const server = (data: object): KnownRecord => ({ ...SERVER, data: { ...SERVER.data, ...data } });

Deno.test("a response conflicts if it has other data for one of our names", () => {
  const cases: [KnownRecord[], boolean][] = [
    [OWN, false],
    [[], false],
    [OWN.map((record) => ({ ...record, name: record.name.toUpperCase() })), false],
    [[server({ target: SERVER.data.target.toUpperCase() })], false],
    [[text("bbbbbbbbbbbbbbbc")], true],
    [[text("")], true],
    [[{ ...TEXT, data: [] }], true],
    [[server({ port: 7444 })], true],
    [[server({ port: 7443 + 256 })], true],
    [[server({ priority: 1 })], true],
    [[server({ target: "elsewhere.local" })], true],
    [[{ ...text("cccccccccccccccc"), ttl: 0 }], false], // it is gone
    [[{ ...text("cccccccccccccccc"), name: "camera-2._degu._tcp.local" }], false],
    [[{ name: TEXT.name, type: "A", ttl: 1, data: "192.0.2.1" }], false], // not one of ours
  ];
  for (const [received, expected] of cases) assertEquals(isConflict(OWN, received), expected);
});

Deno.test("the device whose records come first in byte order gives way", () => {
  const other: KnownRecord = { name: TEXT.name, type: "A", ttl: 1, data: "192.0.2.1" };
  const later: KnownRecord = { name: TEXT.name, type: "AAAA", ttl: 1, data: "::1" };
  const cases: [string, KnownRecord[], boolean][] = [
    ["our own", OWN, false],
    ["nobody's", [], false],
    ["for another name", [{ ...text("z".repeat(16)), name: "z._degu._tcp.local" }], false],
    ["a later text", [text("c".repeat(16)), SERVER], true],
    ["an earlier text", [text("a".repeat(16)), SERVER], false],
    ["in any order", [SERVER, text("c".repeat(16))], true],
    ["a longer text: its length comes first", [text("aaaaaaaaaaaaaaaaa")], true],
    ["a shorter text", [text("ccccccccccccccc")], false],
    ["a later port", [TEXT, server({ port: 7444 })], true],
    ["an earlier port", [TEXT, server({ port: 80 })], false],
    ["a later target", [TEXT, server({ target: "degu-cbbbbbbbbbbbbbbb.local" })], true],
    ["fewer records", [TEXT], false],
    ["more records", [...OWN, { ...SERVER, name: SERVER.name }], true],
    ["an earlier type", [other, text("c".repeat(16))], false],
    ["a later type", [later], true],
  ];
  for (const [what, theirs, expected] of cases) {
    assertEquals(hasToGiveWay(OWN, theirs), expected, what);
  }
});
