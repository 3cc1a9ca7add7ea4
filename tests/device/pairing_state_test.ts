/** The states of a pairing: what the tables allow, and that an event which no state names is heard. */
import { PairingError } from "@degu/degu/device";
import { JOINER, LINE, NUMBER, PairingState } from "@degu/internal/kit/device/pairing_state.ts";
import { impossibleEvent } from "@degu/internal/net/state.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { eachRow } from "@degu/testing/rows.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { openInvitation, person } from "./pairing.ts";

type AnyTable = Readonly<Record<string, Readonly<Partial<Record<string, string>>>>>;

/** The events of each way from a state to another one that passes no state twice. */
function waysTo(
  table: AnyTable,
  from: string,
  to: string,
  passed: readonly string[] = [],
): string[][] {
  if (from === to) return [[]];
  return Object.entries(table[from]!).flatMap(([event, next]) => {
    if (passed.includes(next!) || next === from) return [];
    return waysTo(table, next!, to, [...passed, from]).map((way) => [event, ...way]);
  });
}

Deno.test("a number is stored only after the answer, the random value, a yes here and the device's return", () => {
  const ways = waysTo(NUMBER, "opened", "storing").map((way) => way.join(" ")).toSorted();
  assertEquals(ways, [
    "answered revealed accepted returned stores",
    "answered revealed returned accepted stores",
  ]);
});

Deno.test("a line stores the device with the secret and the value, or one whose number both have confirmed, and the secret goes first", () => {
  const ways = waysTo(LINE, "open", "storing").map((way) => way.join(" ")).toSorted();
  assertEquals(ways, ["confirmed", "secret answered returned"]);
  // Once the answer is out, no other device can come in.
  for (const state of ["answered", "storing", "over"]) {
    assertEquals(waysTo(LINE, state, "open"), [], state);
    assertEquals(waysTo(LINE, state, "claimed"), [], state);
  }
});

Deno.test("nothing ends what is being stored, and nothing leaves the end", async (t) => {
  const rows: [name: string, table: AnyTable][] = [
    ["line", LINE],
    ["number", NUMBER],
    ["joiner", JOINER],
  ];
  await eachRow(t, rows, (_name, table) => {
    assertEquals(Object.values(table["over"]!).filter((next) => next !== "over"), []);
    assertEquals(table["storing"]?.["ends"] ?? "storing", "storing");
  });
});

Deno.test("the joiner's question ends with its first connection, until its confirmation is sent", () => {
  const rows: [events: ("confirms" | "left" | "late")[], end: string][] = [
    [["left"], "over"],
    [["late"], "over"],
    [["confirms", "left"], "sent"],
    [["confirms", "left", "late"], "over"],
    [["left", "confirms"], "over"],
  ];
  for (const [events, end] of rows) {
    const state = new PairingState(JOINER, "asking");
    for (const event of events) state.on(event);
    assertEquals(state.now, end, events.join());
  }
});

Deno.test("an event that a state doesn't name changes nothing, is reported and thrown", () => {
  const bugs: Error[] = [];
  const state = new PairingState(NUMBER, "opened", (bug) => bugs.push(bug));
  const { message } = impossibleEvent("stores", "opened", "pairing");
  assertThrows(() => state.on("stores"), Error, message);
  assertEquals([bugs.map((each) => each.message), state.now], [[message], "opened"]);
});

Deno.test("at the device that invites, such an event is an error in the log, and nobody is stored", async () => {
  const heard = Promise.withResolvers<string>();
  const onError = (event: ErrorEvent) => {
    event.preventDefault();
    heard.resolve(event.message);
  };
  globalThis.addEventListener("error", onError);
  const { asked, returned } = NUMBER;
  // The joiner comes back before the answer here, or after it.
  const without = {
    asked: { ...asked, accepted: undefined },
    returned: { ...returned, accepted: undefined },
  };
  Object.assign(NUMBER, without);
  try {
    const inviter = person();
    await using setup = await openInvitation(["viewer"], { confirm: inviter.confirm });
    const { camera, viewer, invitation } = setup;
    const joining = assertRejects(() => viewer.joinByNumber(invitation, () => true), PairingError);
    const question = await inviter.asked();
    question.answer(true);
    await within(joining, "the joiner is refused");
    const bug = '"accepted" can\'t happen to a pairing';
    assert((await within(heard.promise, "the test is told")).includes(bug));
    assert(camera.logger.at("error")[0]!.includes(bug));
    assertEquals(await camera.written(), []);
  } finally {
    Object.assign(NUMBER, { asked, returned });
    globalThis.removeEventListener("error", onError);
  }
});
