/** Parsing the line of an invitation without joining. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { PairingError, parseInvitation } from "@degu/device";
import { setClockAhead } from "@degu/testing/clock.ts";
import { TestDevices } from "@degu/testing/device_pairs.ts";

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
  assertEquals(codeOf("hello"), "NOT_A_LINE");
  assertEquals(codeOf(""), "NOT_A_LINE");
  for (let length = "degu:".length; length < line.length; length++) {
    assertEquals(codeOf(line.slice(0, length)), "GARBLED");
  }
  assertEquals(codeOf(`${line}a`), "GARBLED");
  using _ = setClockAhead(2 * 24 * 60 * 60 * 1000);
  assertEquals(codeOf(line), "EXPIRED");
  assertThrows(() => Reflect.apply(parseInvitation, null, [null]), TypeError, "line: must be");
});
