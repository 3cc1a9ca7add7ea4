/** The file format of a peer. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { Address } from "@degu/degu/base";
import { readAuthorityText } from "@degu/internal/identity/authority.ts";
import {
  formatPeer,
  idOfFileName,
  makePeer,
  MAX_PEER_FILE_BYTES,
  parsePeer,
  peerFileName,
} from "@degu/internal/device/peer.ts";
import { makeAuthority } from "@degu/testing/authorities.ts";

const PAIRED_AT = new Date("2026-01-02T03:04:05.678Z");

async function newAuthority() {
  return await readAuthorityText((await makeAuthority()).pem);
}

Deno.test("parsePeer reads what formatPeer writes", async () => {
  const authority = await newAuthority();
  const table: Address[][] = [
    [],
    [["127.0.0.1", 80]],
    [["camera.local", 7443], ["::1", 1], ["fe80::1", 65535, 0, 3], "/run/a.socket"],
  ];
  for (const addresses of table) {
    const peer = makePeer(authority, "camera", addresses, PAIRED_AT);
    const text = formatPeer(peer);
    assertEquals(await parsePeer(authority.id, text), peer);
    assertEquals(formatPeer(await parsePeer(authority.id, text)), text);
    assertEquals(text.length < MAX_PEER_FILE_BYTES, true);
  }
});

Deno.test("parsePeer rejects the file of another peer", async () => {
  const [one, two] = [await newAuthority(), await newAuthority()];
  const text = formatPeer(makePeer(one, "camera", [], PAIRED_AT));
  await assertRejects(() => parsePeer(two.id, text), RangeError, "another device");
});

Deno.test("parsePeer rejects a text that is cut anywhere", async () => {
  const authority = await newAuthority();
  const text = formatPeer(makePeer(authority, "camera", [["127.0.0.1", 80]], PAIRED_AT)).trimEnd();
  for (let length = 0; length < text.length; length++) {
    await assertRejects(() => parsePeer(authority.id, text.slice(0, length)), RangeError);
  }
});

Deno.test("an error never quotes the file", async () => {
  const authority = await newAuthority();
  const text = "-----BEGIN PRIVATE KEY-----";
  const { message } = await assertRejects(() => parsePeer(authority.id, text), RangeError);
  assertEquals(message.includes("BEGIN"), false, message);
});

Deno.test("makePeer removes flow information, and rejects an address that a client can't use", async () => {
  const authority = await newAuthority();
  const make = (address: Address) => makePeer(authority, "camera", [address], PAIRED_AT);
  assertEquals(make(["fe80::1", 80, 7, 3]).addresses, [["fe80::1", 80, 0, 3]]);
  assertThrows(() => make(["127.0.0.1", 0]), RangeError);
  assertThrows(() => make(7 as unknown as Address), TypeError);
});

Deno.test("only the name of a peer's file yields an id", async () => {
  const { id } = await newAuthority();
  assertEquals(idOfFileName(peerFileName(id)), id);
  const others = ["", ".json", id, `${id}.JSON`, `${id}.json.json`, `.${id}.json`, `a${id}.json`];
  for (const name of [...others, "notes.txt", `${id.toUpperCase()}.json`]) {
    assertEquals(idOfFileName(name), null, name);
  }
});
