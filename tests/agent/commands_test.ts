/** What a new peer is told, seen from `degu peers` there. */
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import {
  optionMessage,
  parseAddressOption,
  parseListenAddress,
  parseOnce,
  parseSeconds,
  parseServingAddress,
} from "@degu/internal/agent/commands.ts";
import { AgentHomes } from "@degu/testing/agents.ts";

Deno.test("an address may omit the port, and IPv6 then needs no brackets", () => {
  const rows = [
    ["192.168.1.7", ["192.168.1.7", 7443]],
    ["192.168.1.7:80", ["192.168.1.7", 80]],
    ["camera.local", ["camera.local", 7443]],
    ["camera.local:0", ["camera.local", 0]],
    ["::1", ["::1", 7443]],
    ["[::1]", ["::1", 7443]],
    ["[::1]:80", ["::1", 80]],
    ["fe80::1%eth0", ["fe80::1%eth0", 7443]],
    ["[fe80::1%3]:80", ["fe80::1", 80, 0, 3]],
    ["unix:/run/degu", "/run/degu"],
  ] as const;
  for (const [text, address] of rows) {
    assertEquals(parseAddressOption(text), typeof address === "string" ? address : [...address]);
  }
});

Deno.test("an invalid address is refused with a description of what is needed", () => {
  for (
    const text of ["", "a b", "http://a/", "camera.local:x", "camera.local:99999", "1.2.3.4.5"]
  ) {
    const { message } = assertThrows(() => parseAddressOption(text), Error);
    assert(!message.startsWith("address"), message);
  }
  const { message } = assertThrows(() => parseAddressOption("fe80::1"), Error);
  assertStringIncludes(message, "write it as in fe80::1%eth0");
});

Deno.test("only an IP address of this machine can be listened at, and only a port can be found later", () => {
  for (
    const text of ["::", "0.0.0.0:0", "192.168.1.7", "fe80::1%eth0", "[fe80::1%3]:80", "unix:/x"]
  ) {
    assertEquals(parseListenAddress(text), parseAddressOption(text), text);
  }
  for (const text of ["localhost", "camera.local:80"]) {
    assertThrows(() => parseListenAddress(text), Error, "must be an IP address of this machine");
  }
  assertEquals(parseServingAddress("camera.local"), ["camera.local", 7443]);
  assertThrows(
    () => parseServingAddress("camera.local:0"),
    Error,
    "must have a port from 1 to 65535",
  );
});

Deno.test("seconds are decimal digits", () => {
  assertEquals(parseSeconds("60"), 60);
  for (const text of ["", "-1", "1.5", "1e3", "x"]) assertThrows(() => parseSeconds(text), Error);
});

Deno.test("an option that can be given once is not overwritten by a second one", () => {
  assertEquals(parseOnce("a"), "a");
  assertThrows(() => parseOnce("b", "a"), Error, 'only once, and "a" is given already');
});

Deno.test("messages name an argument as on the command line", () => {
  const rows = [
    ["peerName: is taken", "--as: is taken"],
    ["seconds: must be from 1", "--seconds: must be from 1"],
    ["line: it is garbled", "line: it is garbled"],
    ["no argument", "no argument"],
  ] as const;
  for (const [message, expected] of rows) {
    assertEquals(optionMessage(new RangeError(message)), expected);
  }
});

const INVITE = ["invite", "--listen", "127.0.0.1:0"];
const NET = ["--allow-net=127.0.0.1"];

/** Pairs the camera, that invites, in a process of its own if it is given flags, with the viewer; returns what the viewer then knows. */
async function pair(homes: AgentHomes, flags?: string[]) {
  const invite = flags === undefined
    ? homes.start("camera", INVITE)
    : homes.spawn("camera", INVITE, flags);
  const line = await invite.line("degu:");
  await homes.must("viewer", ["join", "-", "--serving", "127.0.0.1:2"], line);
  const { stderr } = await invite.ended();
  const { addresses } = JSON.parse(await homes.must("viewer", ["peers", "--json"]));
  return { addresses, stderr };
}

Deno.test("a new peer gets the address of a running degu serve", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera", "viewer");
  const { address } = await homes.serve("camera");
  assertEquals((await pair(homes)).addresses, [address]);
});

Deno.test("if degu serve is not running, a new peer gets the machine's addresses with the default port", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera", "viewer");
  const { addresses } = await pair(homes);
  assertEquals(addresses.length > 0, true);
  for (const address of addresses) assertMatch(address, /:7443$/);
});

Deno.test("without the permission to list them no address is sent, and a message says so", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera", "viewer");
  const { addresses, stderr } = await pair(homes, NET);
  assertEquals(addresses, []);
  assertStringIncludes(
    stderr,
    "--allow-sys=networkInterfaces is missing: give them with --serving",
  );
  const { code, stderr: advice } = await homes.run("viewer", ["ping", "camera"]);
  assertEquals(code, 1);
  assertStringIncludes(advice, "no address of camera is known");
});
