/** The states of a pairing: paths through the transition tables, and unknown events. */
import { PairingError } from "@degu/device";
import { LINE_TRANSITIONS, NUMBER_TRANSITIONS } from "@degu/internal/device/pairing_state.ts";
import { patch } from "@degu/testing/patching.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  addressOf,
  introductionOf,
  LOOPBACK,
  makeDevices,
  makePerson,
  openInvitation,
  RawJoiner,
  sendFirstStep,
  sendSecondStep,
  Stranger,
} from "./pairing.ts";

type AnyTable = Readonly<Record<string, Readonly<Partial<Record<string, string>>>>>;

/** Returns the events of each path from a state to another that enters no state twice. */
function findPaths(
  table: AnyTable,
  startState: string,
  endState: string,
  passed: readonly string[] = [],
): string[][] {
  if (startState === endState) return [[]];
  return Object.entries(table[startState]!).flatMap(([event, nextState]) => {
    if (passed.includes(nextState!) || nextState === startState) return [];
    return findPaths(table, nextState!, endState, [...passed, startState]).map((
      way,
    ) => [event, ...way]);
  });
}

Deno.test("a joiner by number is stored only after the response, the random value, the inviter's confirmation and the reconnect", () => {
  const ways = findPaths(NUMBER_TRANSITIONS, "opened", "storing").map((way) => way.join(" "))
    .toSorted();
  assertEquals(ways, [
    "answer reveal accept reconnect store",
    "answer reveal reconnect accept store",
  ]);
});

Deno.test("an invitation stores the device that has sent the secret and the value, or a confirmed number; the secret has precedence", () => {
  const ways = findPaths(LINE_TRANSITIONS, "open", "storing").map((way) => way.join(" "))
    .toSorted();
  assertEquals(ways, ["claim answer reconnect", "confirm"]);
  // After the response, no other device can use the line.
  for (const state of ["answered", "storing", "ended"]) {
    assertEquals(findPaths(LINE_TRANSITIONS, state, "open"), [], state);
    assertEquals(findPaths(LINE_TRANSITIONS, state, "claimed"), [], state);
  }
});

Deno.test("no event interrupts the state storing, and no event leaves the state ended", () => {
  for (const table of [LINE_TRANSITIONS, NUMBER_TRANSITIONS]) {
    assertEquals(Object.values(table.ended).filter((nextState) => nextState !== "ended"), []);
    assertEquals(table.storing.end, "storing");
  }
});

Deno.test("an unknown event is logged as an error by the inviter, and no peer is stored", async () => {
  const uncaught = Promise.withResolvers<string>();
  const onError = (event: ErrorEvent) => {
    event.preventDefault();
    uncaught.resolve(event.message);
  };
  globalThis.addEventListener("error", onError);
  const { revealed, reconnected } = NUMBER_TRANSITIONS;
  // The inviter's user may accept in either state, before or after the joiner reconnects.
  const withoutAccept = {
    revealed: { ...revealed, accept: undefined },
    reconnected: { ...reconnected, accept: undefined },
  };
  Object.assign(NUMBER_TRANSITIONS, withoutAccept);
  try {
    const inviter = makePerson();
    await using setup = await openInvitation(["viewer"], { confirm: inviter.confirm });
    const { camera, viewer, invitation } = setup;
    const joining = assertRejects(() => viewer.joinByNumber(invitation, () => true), PairingError);
    const question = await inviter.waitForQuestion();
    question.reply(true);
    await withTimeout(joining, "the joiner is refused");
    const bug = 'the event "accept" is not allowed for a pairing';
    assertStringIncludes(await withTimeout(uncaught.promise, "the error is reported"), bug);
    assertStringIncludes(camera.logger.messagesOf("error")[0]!, bug);
    assertEquals(await camera.written(), []);
  } finally {
    Object.assign(NUMBER_TRANSITIONS, { revealed, reconnected });
    globalThis.removeEventListener("error", onError);
  }
});

Deno.test("an invitation that ends during the check of the introduction stores no peer, whatever the result", async (t) => {
  await testEachRow(t, [["answered"], ["refused"]], async (outcome) => {
    await using devices = await makeDevices("camera", "viewer");
    const { camera, viewer } = devices;
    await using invitation = await camera.device.invite({ listen: LOOPBACK });
    // The response needs the addresses of this device's servers.
    const checkStarted = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    gate.promise.catch(() => {});
    const slow = patch(Deno, "readDir", (readDir) => (path) => {
      if (!`${path}`.endsWith("serving")) return readDir(path);
      checkStarted.resolve();
      return (async function* () {
        await gate.promise;
        yield* readDir(path);
      })();
    });
    using stranger = await Stranger.connect(addressOf(invitation));
    stranger.post("/secret", introductionOf(invitation.line, viewer));
    await withTimeout(checkStarted.promise, "the message is being checked");
    const closing = invitation.close();
    if (outcome === "answered") gate.resolve();
    else gate.reject(new Error("the disk is gone"));
    assertEquals((await stranger.waitForEnd()).includes("200 OK"), false);
    await withTimeout(closing, "the invitation ends");
    slow[Symbol.dispose]();
    assertEquals([camera.logger.messagesOf("error"), await camera.written()], [[], []]);
  });
});

/** Generates numbers from 0 to 1, the same in each run. */
function* randomNumbers(seed: number): Generator<number, never> {
  for (let state = seed;;) {
    state = Math.imul(state ^ state >>> 15, state | 1) + 0x9E3779B9 | 0;
    yield (state >>> 0) / 2 ** 32;
  }
}

/** Runs an invitation with a joiner by number, and perhaps a joiner by line and an early end. */
async function race(round: number): Promise<string> {
  const random = randomNumbers(round);
  const nextRandom = () => random.next().value;
  const randomPause = () => new Promise<void>((resolve) => setTimeout(resolve, nextRandom() * 25));
  const [isYes, isByLine, isClosed] = [nextRandom() < 0.7, nextRandom() < 0.4, nextRandom() < 0.4];
  let isConfirmed = false;
  const confirm = async () => {
    await randomPause();
    return isConfirmed = isYes;
  };
  await using setup = await openInvitation(["viewer", "other"], { confirm });
  const { camera, viewer, other, invitation } = setup;
  const byNumber = async () => {
    using joiner = await RawJoiner.startQuestion(invitation, viewer);
    await randomPause();
    using secure = await joiner.confirm();
    if (nextRandom() < 0.8) await secure.readResponse(200);
  };
  const byLine = async () => {
    await randomPause();
    const value = await sendFirstStep(invitation, other);
    await randomPause();
    await sendSecondStep(invitation, value, other);
  };
  const closing = async () => {
    await randomPause();
    await randomPause();
    await invitation.close();
  };
  const parties = [byNumber(), ...(isByLine ? [byLine()] : []), ...(isClosed ? [closing()] : [])];
  await Promise.allSettled(parties);
  await invitation.close();
  const name = await invitation.paired.then(({ name }) => name, () => "nobody");
  const peerNames = (await camera.peers()).map((peer) => peer.name);
  assertEquals(peerNames, name === "nobody" ? [] : [name], `round ${round}`);
  if (name === "viewer") assert(isConfirmed, `round ${round}`);
  if (name === "other") assert(isByLine, `round ${round}`);
  assertEquals(camera.logger.messagesOf("error"), [], `round ${round}`);
  return name;
}

Deno.test("whatever the order of line, number, reply and end, at most one device is stored, and no event is unknown", async () => {
  const names = new Set<string>();
  for (let round = 1; round <= 40; round += 20) {
    const rounds = Array.from({ length: 20 }, (_, i) => race(round + i));
    for (const name of await Promise.all(rounds)) names.add(name);
  }
  assertEquals([...names].toSorted(), ["nobody", "other", "viewer"]);
});
