/** The program over cables and switches, in network namespaces that the tests make. */
import { labTest } from "@degu/testing/agent_lab.ts";
import type { AgentEnd } from "@degu/testing/agents.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";

// Three devices on two cables, in network namespaces that the test makes.

await labTest<{ pings: AgentEnd[]; unknown: AgentEnd; forgotten: AgentEnd; other: AgentEnd }>({
  name:
    "devices on cables with link-local addresses find each other, except strangers and forgotten peers",
  program: "agent_three_devices.ts",
  check: ({ pings, unknown, forgotten, other }) => {
    assertEquals(pings.map(({ code }) => code), [0, 0]);
    const addresses = pings.map(({ stdout }) => JSON.parse(stdout).address);
    assertMatch(addresses[0], /^\[fe80::2%\d+\]:7443$/);
    assertMatch(addresses[1], /^\[fe80::3%\d+\]:7443$/);
    // Each of the two is paired with the one in the middle, but not with the other one.
    assertEquals(unknown.code, 3);
    assertMatch(
      unknown.stderr,
      /there is no peer "right": "degu peers" lists those that there are/,
    );
    assertEquals(forgotten.code, 3);
    assertMatch(forgotten.stderr, /it does not trust this device any more/);
    assertEquals(other.code, 0);
  },
});

// Looking for a device on a link without a route to anywhere, in network namespaces that the test
// makes.

await labTest<Record<"known" | "found" | "alone", AgentEnd> & { as: string; despite: AgentEnd[] }>({
  name: "a device is found with link-local addresses only, even if others claim to be it",
  program: "agent_found.ts",
  check: ({ known, found, as, despite, alone }) => {
    assertEquals(known.code, 1);
    assertMatch(known.stderr, /no address answers: /);
    for (const { stdout } of [found, ...despite]) {
      assertEquals(JSON.parse(stdout).address, "[fe80::1]:7555");
    }
    // It claims to be the camera, with its name and its id: only the certificate tells.
    assertMatch(as, /^impostor as camera-[a-z2-7]{16}\n$/);
    assertEquals(alone.code, 3);
    assertMatch(alone.stderr, /another device answers there, or the peer has a new identity/);
  },
});

// A device whose address changes, and a stranger at the old one, in network namespaces that the
// test makes.

const STRANGER = /another device answers there, or the peer has a new identity/;

await labTest<Record<"first" | "atStranger" | "given" | "found" | "peers" | "gone", AgentEnd>>({
  name:
    "a device with a new address is found there, and never mistaken for the one at its old address",
  program: "agent_changed_address.ts",
  check: ({ first, atStranger, given, found, peers, gone }) => {
    const addressIn = ({ stdout }: AgentEnd) => JSON.parse(stdout).address;
    assertEquals(addressIn(first), "10.7.0.1:7443");
    assertEquals(atStranger.code, 3);
    assertMatch(atStranger.stderr, STRANGER);
    assertEquals(addressIn(given), "10.7.0.9:7443");
    assertEquals(addressIn(found), "10.7.0.9:7443");
    // Announcing makes nobody a peer.
    assertEquals(peers.stdout, "");
    assertEquals(gone.code, 3);
    assertMatch(gone.stderr, /camera was not found in the local network/);
  },
});

// A cable that is pulled out in the middle of a transfer, in network namespaces that the test
// makes.

await labTest<Record<"got" | "interrupted" | "again" | "put", AgentEnd> & { whole: boolean[] }>({
  name: "a transfer survives a brief cable outage, and an interrupted one is resumed",
  program: "agent_cut_cable.ts",
  check: ({ got, interrupted, again, put, whole }) => {
    assertEquals(got.code, 0, got.stderr);
    assertEquals(put.code, 0, put.stderr);
    assertEquals(interrupted.code, 130);
    assertEquals(again.code, 0, again.stderr);
    const { bytes, total, resumedFrom } = JSON.parse(again.stdout);
    assert(resumedFrom > 0, again.stdout);
    assertEquals(bytes, total - resumedFrom);
    assertEquals(whole, [true, true, true]);
  },
});

// A service that dies, and a peer that is forgotten, in the middle of a transfer, in network
// namespaces that the test makes.

await labTest<Record<"got" | "put", AgentEnd> & { inbox: string[]; whole: boolean }>({
  name:
    "a transfer continues by itself after its service was restarted, and ends for peers that it has forgotten",
  program: "agent_ended_service.ts",
  check: ({ got, put, inbox, whole }) => {
    assertEquals(got.code, 0, got.stderr);
    assertMatch(got.stderr, /trying again in/);
    assert(whole);
    assertEquals(put.code, 3, put.stderr);
    // Nothing half-written is seen.
    assert(!inbox.includes("clip"), inbox.join());
  },
});
