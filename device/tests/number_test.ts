/** Pairing by number between two devices, one of which may send anything. */
import {
  type Address,
  ConnectionClosedError,
  ConnectionError,
  type HostAddress,
} from "@degu/degu/base";
import { type ConfirmNumber, DeviceError, type Invitation, PairingError } from "@degu/degu/device";
import {
  computeCommitment,
  computeNumber as libraryNumberOf,
} from "@degu/internal/device/pairing/pairing_messages.ts";
import { waitForAbort } from "@degu/testing/aborts.ts";
import { captureTimeouts, speedUpTimeouts } from "@degu/testing/clock.ts";
import { forgetIfStored } from "@degu/testing/device_pairs.ts";
import { decodeLine } from "@degu/internal/device/pairing/invitation_line.ts";
import { patch } from "@degu/testing/patching.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { serveNodeTls } from "@degu/testing/tls_endpoints.ts";
import { formatAnswer } from "./pairing_inviter.ts";
import { waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import net from "node:net";
import {
  addressOf,
  base64url,
  commitmentOf,
  completeSecondStep,
  introductionOf,
  makeDevices,
  makePerson,
  openConfirmedInvitation,
  openInvitation,
  type PairingDevice,
  plainOf,
  RawJoiner,
  Stranger,
} from "./pairing.ts";

/** A `confirm` that must not be called. */
const rejectQuestion: ConfirmNumber = () => {
  throw new Error("asked");
};
const yes: ConfirmNumber = () => true;

/** Asserts that a number ends because the camera has not confirmed it. */
async function assertNotConfirmed(joining: Promise<unknown>): Promise<void> {
  const end = () => withTimeout(joining, "it ends");
  await assertRejects(end, PairingError, "camera did not confirm");
}

/** Asserts that no peer is stored, and that the line still works. */
async function assertLineWorks(
  camera: PairingDevice,
  viewer: PairingDevice,
  invitation: Invitation,
): Promise<void> {
  assertEquals([await camera.written(), await viewer.written()], [[], []]);
  const paired = Promise.all([viewer.join(invitation.line), invitation.paired]);
  const names = (await withTimeout(paired, "the line pairs")).map(({ name }) => name);
  assertEquals(names, ["camera", "viewer"]);
}

Deno.test("two devices pair by a number, in either order of the confirmations", async (t) => {
  for (const firstConfirmer of ["inviter", "joiner"] as const) {
    await t.step(`the ${firstConfirmer} confirms first`, async () => {
      await using setup = await openConfirmedInvitation(["viewer"], {
        serving: [["127.0.0.1", 7443]],
      });
      const { camera, viewer, invitation, inviter } = setup;
      const joiner = makePerson();
      const joining = viewer.joinByNumber(invitation, joiner.confirm, {
        serving: [["::1", 7444]],
        peerName: "hall",
      });
      const questions = {
        inviter: await inviter.waitForQuestion(),
        joiner: await joiner.waitForQuestion(),
      };
      assertMatch(questions.inviter.number, /^\d{6}$/);
      assertEquals(questions.inviter.number, questions.joiner.number);
      assertEquals([questions.inviter.name, questions.inviter.id], ["viewer", viewer.id]);
      assertEquals([questions.joiner.name, questions.joiner.id], ["camera", camera.id]);
      questions[firstConfirmer].reply(true);
      // No peer is stored before both users have confirmed.
      await waitForTick();
      assertEquals([await camera.written(), await viewer.written()], [[], []]);
      questions[firstConfirmer === "inviter" ? "joiner" : "inviter"].reply(true);
      const pairing = Promise.all([joining, invitation.paired]);
      const [atJoiner, atInviter] = await withTimeout(pairing, "the devices are paired");
      assertEquals([atJoiner.name, atInviter.name], ["hall", "viewer"]);
      assertEquals([atJoiner.id, atInviter.id], [camera.id, viewer.id]);
      assertEquals([atJoiner.ca, atInviter.ca], [camera.authority.ca, viewer.authority.ca]);
      assertEquals(atJoiner.addresses, [["127.0.0.1", 7443]]);
      assertEquals(atInviter.addresses, [["::1", 7444]]);
      assertEquals([await camera.peers(), await viewer.peers()], [[atInviter], [atJoiner]]);
      for (const { signal } of Object.values(questions)) assertEquals(signal.aborted, false);
      for (const { logger } of [camera, viewer]) assertEquals(logger.messagesOf("warn"), []);
    });
  }
});

Deno.test("the number and the commitment are those of the documentation", async () => {
  const random = new Uint8Array(32).fill(7);
  const text = (value: string) => new TextEncoder().encode(value);
  // Computed with Python's hashlib.
  assertEquals(
    computeCommitment(text("authority"), random).toHex(),
    "0890ca8a099aa5cfa1434828082138e499dd37e22ef477b7f42bf1739270bfdf",
  );
  const rows = [["request 1", "450940"], ["request 2", "332419"], ["request 4", "062975"]] as const;
  for (const [request, number] of rows) {
    assertEquals(libraryNumberOf(text(request), text("response"), random), number);
  }
  await using setup = await openConfirmedInvitation(["viewer"]);
  const { viewer, invitation, inviter } = setup;
  using joiner = await RawJoiner.startQuestion(invitation, viewer);
  assertEquals((await inviter.waitForQuestion()).number, joiner.number);
});

Deno.test("a joiner that follows the documentation is stored before it is answered", async () => {
  await using setup = await openConfirmedInvitation(["viewer"]);
  const { camera, viewer, invitation, inviter } = setup;
  using joiner = await RawJoiner.startQuestion(invitation, viewer);
  {
    // The port sends the authority at any time, and doesn't limit the time after it.
    using timeouts = speedUpTimeouts(() => false);
    joiner.stranger.write("GET /authority HTTP/1.1\r\n\r\n");
    assertEquals(encodeLatin1(await joiner.stranger.readResponseText(200)), camera.authority.raw);
    assertEquals(timeouts.started.filter((each) => each === 2000), []);
  }
  (await inviter.waitForQuestion()).reply(true);
  using secure = await joiner.confirm();
  assertEquals(await secure.readResponseText(200), "{}");
  assertEquals((await camera.peers()).map(({ id }) => id), [viewer.id]);
  secure.socket.end();
  assertEquals((await withTimeout(invitation.paired, "the pairing completes")).id, viewer.id);
});

Deno.test("if the inviter's user rejects, or confirm fails, the joiner gets an error, and the line still works", async () => {
  const rows: [confirm: ConfirmNumber, level: "error" | "info", logged: string][] = [
    [() => false, "info", "not confirmed on this device"],
    [() => Promise.resolve(1 as never), "info", "not confirmed on this device"],
    [
      () => {
        throw new Error("no terminal");
      },
      "error",
      "no terminal",
    ],
  ];
  for (const [confirm, level, logged] of rows) {
    await using setup = await openInvitation(["viewer"], { confirm });
    const { camera, viewer, invitation } = setup;
    const joiner = makePerson();
    const joining = viewer.joinByNumber(invitation, joiner.confirm);
    await assertNotConfirmed(joining);
    // The number may have ended before the question.
    for (const { signal } of joiner.questions) {
      assertMatch((await waitForAbort(signal) as Error).message, /^camera did not confirm: /);
    }
    assert(camera.logger.messagesOf(level).some((line) => line.includes(logged)), logged);
    await assertLineWorks(camera, viewer, invitation);
  }
});

Deno.test("a joiner that has confirmed gets the inviter's rejection, in time or too late, and not ANSWER_LOST", async () => {
  await using setup = await openConfirmedInvitation(["viewer"]);
  const { camera, viewer, invitation, inviter } = setup;
  using joiner = await RawJoiner.startQuestion(invitation, viewer);
  const { reply } = await inviter.waitForQuestion();
  using secure = await joiner.confirm();
  // The inviter has read the confirmation, and waits for its user.
  for (let i = 0; i < 10; i++) await waitForTick();
  reply(false);
  assertEquals(await secure.readResponseText(403), "");
  using lateStranger = await joiner.confirm();
  assertEquals(await lateStranger.readResponseText(403), "");
  await Promise.all([secure.waitForEnd(), lateStranger.waitForEnd()]);
  await assertLineWorks(camera, viewer, invitation);
});

Deno.test("if the joiner's user rejects, or confirm fails, the inviter's question ends, and the line still works", async () => {
  const failure = new Error("no terminal");
  const rows: [confirm: ConfirmNumber, cause: unknown][] = [
    [() => false, undefined],
    [() => Promise.resolve(1 as never), undefined],
    [() => Promise.reject(failure), failure],
  ];
  for (const [confirm, cause] of rows) {
    await using setup = await openConfirmedInvitation(["viewer"]);
    const { camera, viewer, invitation, inviter } = setup;
    const gate = Promise.withResolvers<void>();
    const joining = viewer.joinByNumber(invitation, async (question) => {
      await gate.promise;
      return await confirm(question);
    });
    const { signal } = await inviter.waitForQuestion();
    gate.resolve();
    const error = await assertRejects(() => joining, PairingError, "not confirmed on this device");
    assertEquals(error.cause, cause);
    await waitForAbort(signal);
    await assertLineWorks(camera, viewer, invitation);
  }
});

Deno.test("if no user answers, both ends stop after 120 s, and the signals are aborted", async () => {
  await using setup = await openConfirmedInvitation(["viewer"]);
  const { camera, viewer, invitation, inviter } = setup;
  const joiner = makePerson();
  {
    using timeouts = captureTimeouts(120_000);
    const joining = viewer.joinByNumber(invitation, joiner.confirm);
    const atJoiner = await joiner.waitForQuestion();
    const atInviter = await inviter.waitForQuestion();
    assertEquals(timeouts.end(), 2);
    const end = () => withTimeout(joining, "it ends");
    await assertRejects(end, PairingError, "no answer within 120 s");
    const { message } = await waitForAbort(atJoiner.signal) as Error;
    assertMatch(message, /^no answer within 120 s$/);
    await waitForAbort(atInviter.signal);
    // The inviter's own time limit; the joiner only waits.
    using revealTimeouts = captureTimeouts(5000);
    using silent = await RawJoiner.startQuestion(invitation, viewer);
    const { signal } = await inviter.waitForQuestion();
    assertEquals(revealTimeouts.end(), 0);
    timeouts.end();
    assertMatch(String(await waitForAbort(signal)), /no answer within 120 s/);
    assertEquals(await silent.stranger.waitForEnd() === "", false);
    // A joiner that has confirmed also stops.
    using _lateJoiner = await RawJoiner.startQuestion(invitation, viewer);
    const confirmed = await inviter.waitForQuestion();
    confirmed.reply(true);
    await waitForTick();
    timeouts.end();
    assertMatch(String(await waitForAbort(confirmed.signal)), /no answer within 120 s/);
  }
  await assertLineWorks(camera, viewer, invitation);
});

Deno.test("a joiner that has confirmed waits for the inviter longer than the two seconds for its request", async () => {
  await using setup = await openConfirmedInvitation(["viewer"]);
  const { viewer, invitation, inviter } = setup;
  using timeouts = captureTimeouts(2000);
  using joiner = await RawJoiner.startQuestion(invitation, viewer);
  const { reply } = await inviter.waitForQuestion();
  using secure = await joiner.confirm();
  // A second connection is refused after the first one is accepted.
  using another = await joiner.confirm();
  assertEquals(await another.waitForEnd(), "");
  timeouts.end();
  reply(true);
  assertEquals(await secure.readResponseText(200), "{}");
  secure.socket.end();
  assertEquals((await withTimeout(invitation.paired, "the pairing completes")).id, viewer.id);
});

Deno.test("the close of either connection of the joiner ends the inviter's question", async () => {
  await using setup = await openConfirmedInvitation(["viewer"]);
  const { camera, viewer, invitation, inviter } = setup;
  {
    using joiner = await RawJoiner.startQuestion(invitation, viewer);
    const { signal } = await inviter.waitForQuestion();
    joiner.stranger.socket.end();
    await waitForAbort(signal);
  }
  using joiner = await RawJoiner.startQuestion(invitation, viewer);
  const { signal, reply } = await inviter.waitForQuestion();
  using secure = await joiner.confirm();
  secure.socket.end();
  await waitForAbort(signal);
  assertEquals((await joiner.stranger.waitForEnd()).endsWith("{}"), true);
  reply(true);
  await assertLineWorks(camera, viewer, invitation);
  // A question that ends without a reply isn't logged as a failure of `confirm`.
  assertEquals(camera.logger.messagesOf("error"), []);
});

Deno.test("closing and expiry of an invitation end the question in each phase", async (t) => {
  const assertClosed = (error: unknown) =>
    assert(error instanceof ConnectionClosedError, `${error}`);
  for (const isConfirmed of [false, true]) {
    await t.step(isConfirmed ? "confirmed at the inviter" : "asked", async () => {
      await using setup = await openConfirmedInvitation(["viewer"]);
      const { camera, viewer, invitation, inviter } = setup;
      const joining = viewer.joinByNumber(invitation, () => new Promise(() => {}));
      const { signal, reply } = await inviter.waitForQuestion();
      if (isConfirmed) reply(true);
      const closing = invitation.close();
      assertClosed(await waitForAbort(signal));
      await assertNotConfirmed(joining);
      await closing;
      await assertRejects(() => invitation.paired, ConnectionClosedError);
      assertEquals([await camera.written(), await viewer.written()], [[], []]);
    });
  }
  await t.step("confirmed at the joiner, which has reconnected", async () => {
    await using setup = await openConfirmedInvitation(["viewer"]);
    const { camera, viewer, invitation, inviter } = setup;
    using joiner = await RawJoiner.startQuestion(invitation, viewer);
    const { signal } = await inviter.waitForQuestion();
    using secure = await joiner.confirm();
    const closing = invitation.close();
    assertClosed(await waitForAbort(signal));
    assertEquals(await secure.waitForEnd(), "");
    await closing;
    assertEquals(await camera.written(), []);
  });
  await t.step("expiry", async () => {
    const devices = await makeDevices("camera", "viewer");
    await using _devices = devices;
    const { camera, viewer } = devices;
    const inviter = makePerson();
    using _timeouts = speedUpTimeouts((milliseconds) => milliseconds === 59_000, 59);
    await using invitation = await camera.invite({ confirm: inviter.confirm, seconds: 59 });
    using _joiner = await RawJoiner.startQuestion(invitation, viewer);
    const { signal } = await inviter.waitForQuestion();
    assert(await waitForAbort(signal) instanceof Deno.errors.TimedOut);
    await assertRejects(() => invitation.paired, Deno.errors.TimedOut);
  });
});

Deno.test("aborting the signal or closing the device ends joining by number at any moment", async () => {
  await using setup = await openConfirmedInvitation(["viewer", "other"]);
  const { viewer, other, invitation } = setup;
  const reason = new Error("enough");
  const abortedJoin = viewer.joinByNumber(invitation, rejectQuestion, {
    signal: AbortSignal.abort(reason),
  });
  assertEquals(await assertRejects(() => abortedJoin), reason);
  for (const device of [viewer, other]) {
    const controller = new AbortController();
    const joiner = makePerson();
    const joining = device.joinByNumber(invitation, joiner.confirm, { signal: controller.signal });
    const { signal } = await joiner.waitForQuestion();
    if (device === viewer) controller.abort(reason);
    else device[Symbol.asyncDispose]();
    const error = await assertRejects(() => withTimeout(joining, "it ends"));
    assertEquals(error, await waitForAbort(signal));
    if (device === viewer) assertEquals(error, reason);
    else assert(error instanceof DeviceError && error.code === "CLOSED");
  }
});

Deno.test("an answered commitment counts as a try even without a question; a refused commitment doesn't", async () => {
  await using setup = await openConfirmedInvitation(["viewer"]);
  const { camera, viewer, invitation, inviter } = setup;
  for (let i = 0; i < 4; i++) {
    using joiner = await RawJoiner.commit(invitation, viewer);
    // Refused as busy, and because of its own authority, however often.
    for (const [device, reason] of [[viewer, "busy"], [camera, "self"]] as const) {
      using otherStranger = await Stranger.connectPlain(plainOf(invitation));
      for (let j = 0; j < 3; j++) {
        otherStranger.post("/commitment", commitmentOf(device).fields);
        assertEquals(await otherStranger.readResponse(409), { reason });
      }
    }
    joiner.stranger.socket.end();
    await camera.logger.waitFor("info", "not paired by a number", i + 1);
  }
  {
    using timeouts = speedUpTimeouts((milliseconds) => milliseconds === 5000, 50);
    using silent = await RawJoiner.commit(invitation, viewer);
    await silent.stranger.waitForEnd();
    assert(timeouts.started.includes(5000));
  }
  using lateStranger = await Stranger.connectPlain(plainOf(invitation));
  lateStranger.post("/commitment", commitmentOf(viewer).fields);
  assertEquals(await lateStranger.readResponse(409), { reason: "closed" });
  assertEquals(inviter.questions, []);
  await assertLineWorks(camera, viewer, invitation);
});

Deno.test("a valid secret ends the question, and pairs by line; the number is closed", async () => {
  await using setup = await openConfirmedInvitation(["viewer", "other"]);
  const { camera, viewer, other, invitation, inviter } = setup;
  const joiner = makePerson();
  const joining = viewer.joinByNumber(invitation, joiner.confirm);
  const question = await inviter.waitForQuestion();
  using stranger = await Stranger.connect(addressOf(invitation));
  stranger.post("/secret", introductionOf(invitation.line, other));
  const { value } = await stranger.readResponse(200);
  const { message } = await waitForAbort(question.signal) as Error;
  assertEquals(message, "another device has used the line");
  await assertNotConfirmed(joining);
  question.reply(true);
  const joinAgain = () => viewer.joinByNumber(invitation, rejectQuestion);
  await assertRejects(joinAgain, PairingError, "no more numbers");
  assertEquals(await camera.written(), []);
  await completeSecondStep(invitation, value, other);
});

Deno.test("a secret with a hostile introduction also ends the question, and the invitation stays open", async () => {
  await using setup = await openConfirmedInvitation(["viewer"]);
  const { camera, viewer, invitation, inviter } = setup;
  using _joiner = await RawJoiner.startQuestion(invitation, viewer);
  const { signal } = await inviter.waitForQuestion();
  using stranger = await Stranger.connect(addressOf(invitation));
  stranger.post("/secret", { ...introductionOf(invitation.line, viewer), name: "-" });
  await stranger.readResponse(403);
  await waitForAbort(signal);
  await assertLineWorks(camera, viewer, invitation);
});

Deno.test("without confirm the plain port answers only requests for the authority", async () => {
  await using setup = await openInvitation(["viewer"]);
  const { camera, viewer, invitation } = setup;
  const joinByNumber = () => viewer.joinByNumber(invitation, rejectQuestion);
  await assertRejects(joinByNumber, PairingError, "no device invites");
  using stranger = await Stranger.connectPlain(plainOf(invitation));
  for (let i = 0; i < 30; i++) {
    stranger.write("GET /authority HTTP/1.1\r\n\r\n");
    const der = encodeLatin1(await stranger.readResponseText(200));
    assertEquals(der, camera.authority.raw);
  }
  stranger.post("/", {});
  assertMatch(await stranger.waitForEnd(), /^content-type: application\/pkix-cert$/m);
});

Deno.test("the addresses of an invitation are those of its line, with the plain ports", async () => {
  await using devices = await makeDevices("camera");
  const { camera } = devices;
  const port = await findFreePortPair();
  const listen: Address[] = [["127.0.0.1", port], ["127.0.0.2", 0], ["0.0.0.0", 0]];
  await using invitation = await camera.device.invite({ listen: listen as HostAddress[] });
  const { addresses } = decodeLine(invitation.line);
  assertEquals(invitation.addresses, addresses.map(([host, , plainPort]) => [host, plainPort]));
  assertEquals(addresses[0], ["127.0.0.1", port, port + 1]);
  assert(addresses.every(([host]) => host !== "0.0.0.0"));
  assert(Object.isFrozen(invitation.addresses) && Object.isFrozen(invitation.addresses[0]));
  // A wildcard address has one pair of ports for all of its addresses.
  const pairs = addresses.slice(2).map(([, ...ports]) => ports.join());
  assertEquals(new Set(pairs).size, 1);
  const inviteAtLastPort = () => camera.invite({ listen: [["127.0.0.1", 0], ["::1", 65_535]] });
  await assertRejects(inviteAtLastPort, RangeError, "listen[1][1]: must be below 65535");
  // The next port is in use.
  const inviteBefore = () => camera.invite({ listen: [["127.0.0.1", port - 1]] });
  const problem = `can't listen at 127.0.0.1:${port}`;
  await assertRejects(inviteBefore, Deno.errors.AddrInUse, problem);
});

/** Returns a free port whose neighbors are also free. */
async function findFreePortPair(): Promise<number> {
  for (;;) {
    const port = await findUnusedPort();
    try {
      for (const requestPort of [port - 1, port, port + 1]) {
        Deno.listen({ hostname: "127.0.0.1", port: requestPort }).close();
      }
      return port;
    } catch {
      continue;
    }
  }
}

Deno.test("joinByNumber rejects invalid arguments", async () => {
  await using setup = await openConfirmedInvitation(["viewer"]);
  const { camera, viewer, invitation, inviter } = setup;
  const confirm = rejectQuestion;
  const validAddresses = invitation.addresses;
  const rows: [given: unknown, options: unknown, Class: new () => Error, message: string][] = [
    [validAddresses, {}, TypeError, "confirm: must be a function; got undefined"],
    [validAddresses, { confirm, signal: {} }, TypeError, "signal"],
    [validAddresses, { confirm, peerName: "-" }, RangeError, "peerName"],
    [[], { confirm }, RangeError, "addresses: must not be empty"],
    [["/run/a"], { confirm }, RangeError, "addresses[0]: must be a host with a port"],
    [[...validAddresses, ["127.0.0.1", 0]], { confirm }, RangeError, "addresses[1][1]"],
    [invitation.line, { confirm }, TypeError, "confirm"],
  ];
  for (const [joinArguments, options, Class, message] of rows) {
    const join = viewer.device.join as (given: unknown, options: unknown) => Promise<unknown>;
    const joining = () => join.call(viewer.device, joinArguments, options);
    await assertRejects(joining, Class, message, Deno.inspect([joinArguments, options]));
  }
  await assertRejects(() => camera.invite({ confirm: 1 as never }), TypeError, "confirm: must be");
  assertEquals(inviter.questions, []);
});

/** Starts an inviter with the responses of the test, and counts the requests. */
function startHostileInviter(respond: (count: number) => string) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const conns: Deno.Conn[] = [];
  const counter = { count: 0 };
  const serveOne = async (conn: Deno.Conn) => {
    let text = "";
    for await (const bytes of conn.readable) {
      text += new TextDecoder().decode(bytes);
      const [head = "", body = ""] = text.split("\r\n\r\n");
      const length = Number(/^content-length: (\d+)$/m.exec(head)?.[1]);
      if (!(body.length >= length)) continue;
      text = "";
      await conn.write(new TextEncoder().encode(respond(counter.count++)));
    }
  };
  const running: Promise<void>[] = [];
  const acceptLoop = (async () => {
    for await (const conn of listener) {
      conns.push(conn);
      running.push(serveOne(conn).catch(() => {}));
    }
  })();
  const dispose = async () => {
    listener.close();
    await acceptLoop;
    for (const conn of conns) {
      try {
        conn.close();
      } catch {
        // The connection is already closed.
      }
    }
    await Promise.all(running);
  };
  const { port } = listener.addr as Deno.NetAddr;
  const addresses: Address[] = [["127.0.0.1", port]];
  return Object.assign(counter, { addresses, port, conns, [Symbol.asyncDispose]: dispose });
}

/** Starts an inviter that sends these responses. */
const startInviterWith = (...responses: string[]) => startHostileInviter((i) => responses[i]!);

/** The response of an inviter that follows the documentation, with changed fields. */
function makeOffer(device: PairingDevice, changes: object = {}): string {
  return formatAnswer({
    authority: base64url(device.authority.raw),
    name: device.name,
    addresses: [],
    random: base64url(new Uint8Array(32)),
    port: 1,
    ...changes,
  });
}

Deno.test("after an inviter has answered a commitment, the joiner sends no other, to any address", async () => {
  await using setup = await openConfirmedInvitation(["viewer"]);
  const { camera, viewer, invitation, inviter } = setup;
  const { raw: der } = viewer.authority;
  const rows: [answer: string, message: RegExp][] = [
    [makeOffer(camera, { authority: base64url(new Uint8Array(300)) }), /is not valid/],
    [makeOffer(camera, { authority: base64url(der) }), /can't be paired with itself/],
    [makeOffer(camera, { name: "a/b" }), /is not valid: its name/],
    [makeOffer(camera, { random: base64url(new Uint8Array(31)) }), /is not valid/],
    [makeOffer(camera, { port: 0 }), /is not valid: its port/],
    [makeOffer(camera, { more: 1 }), /is not valid: it must have the fields/],
    [formatAnswer("{"), /is not valid/],
    [formatAnswer("x".repeat(16_385)), /is not valid/],
    ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", /is not valid/],
    [formatAnswer({ reason: "busy" }, "409 Conflict"), /is asking about another device/],
    [formatAnswer({ reason: "closed" }, "409 Conflict"), /takes no more numbers/],
    [formatAnswer({ reason: "tired" }, "409 Conflict"), /is not valid/],
  ];
  for (const [response, message] of rows) {
    await using hostile = startHostileInviter(() => response);
    const addresses = [...hostile.addresses, ...invitation.addresses];
    const joining = viewer.joinByNumber({ addresses }, rejectQuestion);
    const error = await assertRejects(() => joining, PairingError, undefined, response);
    assertMatch(error.message, message, response);
    assertEquals(hostile.count, 1);
  }
  assertEquals([await viewer.written(), inviter.questions], [[], []]);
});

Deno.test("the joiner tries the next address if one doesn't answer the commitment", async () => {
  await using setup = await openInvitation(["viewer"], { confirm: yes });
  const { viewer, invitation } = setup;
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using refusing = startHostileInviter(() => formatAnswer("", "403 Forbidden"));
  await using otherInviter = startHostileInviter(() => "SSH-2.0-OpenSSH\r\n\r\n");
  const addresses: Address[] = [
    ["127.0.0.1", await findUnusedPort()],
    ["127.0.0.1", (silent.addr as Deno.NetAddr).port],
    ...refusing.addresses,
    ...otherInviter.addresses,
    ["localhost", plainOf(invitation)[1]],
  ];
  {
    using timeouts = speedUpTimeouts((milliseconds) => milliseconds === 5000, 50);
    const nobody = viewer.joinByNumber({ addresses: addresses.slice(0, 4) }, rejectQuestion);
    const { cause } = await assertRejects(() => nobody, PairingError, "no device invites at these");
    const errors: unknown[] = (cause as AggregateError).errors;
    const faults = errors.map((error) => error instanceof ConnectionError ? error.fault : null);
    assertEquals(faults.slice(0, 2), ["refused", "timed out"]);
    assertEquals((errors[1] as ConnectionError).isConnecting, false);
    assertMatch(String(errors[1]), /127\.0\.0\.1:\d+ has not answered in 5 s/);
    assertEquals(errors.length, 4);
    assert(timeouts.started.includes(5000));
    const hang = async ({ signal }: { readonly signal: AbortSignal }) => {
      await waitForAbort(signal);
      throw signal.reason;
    };
    using _connecting = patch(Deno, "connect", () => hang as never);
    const unconnected = viewer.joinByNumber({ addresses: [addresses[1]!] }, rejectQuestion);
    const error = await assertRejects(() => unconnected, PairingError);
    const [connectError] = (error.cause as AggregateError).errors;
    assertEquals([connectError.fault, connectError.isConnecting], ["timed out", true]);
  }
  // An address that responds has the full time limit, even on a slow machine.
  const answering = { addresses: addresses.toSpliced(1, 1) };
  const pairing = Promise.all([viewer.joinByNumber(answering, yes), invitation.paired]);
  await withTimeout(pairing, "the devices are paired");
  assertEquals([refusing.count, otherInviter.count], [2, 2]);
});

Deno.test("a joiner by host name sends all requests to the address that answered first, even if the name resolves differently later", async () => {
  await using setup = await openInvitation(["viewer"], { confirm: yes });
  const { camera, viewer, invitation } = setup;
  const hosts: unknown[] = [];
  using _connecting = patch(net, "connect", (connect) =>
    ((options: net.TcpNetConnectOpts) => {
      hosts.push(options.host);
      return connect(options);
    }) as typeof connect);
  const [, port] = plainOf(invitation);
  const peer = await viewer.joinByNumber({ addresses: [["localhost", port]] }, yes);
  assertEquals([peer.id, hosts], [camera.id, ["127.0.0.1"]]);
  await withTimeout(invitation.paired, "the pairing completes");
});

Deno.test("an inviter that violates the protocol, or closes its connection, counts as not confirmed", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const rows = [
    formatAnswer({}, "403 Forbidden"),
    formatAnswer({ more: 1 }),
    formatAnswer("[]"),
    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
  ];
  for (const response of rows) {
    await using hostile = startInviterWith(makeOffer(camera), response);
    await assertNotConfirmed(viewer.joinByNumber(hostile, rejectQuestion));
  }
  const closings: ((conn: Deno.Conn) => unknown)[] = [
    (conn) => conn.close(),
    (conn) => conn.write(new Uint8Array(1)),
  ];
  for (const closeConnection of closings) {
    const joiner = makePerson();
    await using hostile = startInviterWith(makeOffer(camera), formatAnswer({}));
    const joining = viewer.joinByNumber(hostile, joiner.confirm);
    const { signal } = await joiner.waitForQuestion();
    await closeConnection(hostile.conns[0]!);
    await waitForAbort(signal);
    await assertNotConfirmed(joining);
  }
  assertEquals(await viewer.written(), []);
});

Deno.test("after the joiner has confirmed, only the response counts; without a response in time the error is ANSWER_LOST", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const rows = [
    ["the plain connection closes first", "camera"],
    ["the response is lost", "the last answer of camera did not arrive"],
    ["the response is late", "no answer within 120 s"],
  ] as const;
  for (const [loss, expected] of rows) {
    using _timeouts = speedUpTimeouts(
      (milliseconds) => milliseconds === 120_000 && loss === "the response is late",
      200,
    );
    const tlsOptions = { ...camera.identity, ALPNProtocols: ["degu-pair/2"] };
    await using secure = await serveNodeTls(tlsOptions, (socket) => {
      socket.on("data", async () => {
        if (loss === "the response is late") return;
        hostile.conns[0]!.close();
        for (let i = 0; i < 10; i++) await waitForTick();
        if (loss === "the response is lost") socket.destroy();
        else socket.write(formatAnswer({}));
      });
    });
    const [, port] = secure.address;
    await using hostile = startInviterWith(makeOffer(camera, { port }), formatAnswer({}));
    const joining = withTimeout(viewer.joinByNumber(hostile, yes), "it ends");
    const message = await joining.then(({ name }) => name, (error) => {
      assertEquals(error.code, "ANSWER_LOST");
      return String(error.message);
    });
    assertEquals(message.slice(0, expected.length), expected, loss);
    assertEquals((await viewer.peers()).length, expected === "camera" ? 1 : 0);
    await forgetIfStored(viewer.device, camera.id);
  }
});

Deno.test("the joiner stores only the device of the number, and only after its valid responses", async () => {
  await using devices = await makeDevices("camera", "viewer", "impostor");
  const { camera, viewer, impostor } = devices;
  const table: [by: PairingDevice, protocol: string, answer: string | null, message: RegExp][] = [
    [camera, "degu-pair/2", formatAnswer({}), /^$/],
    [camera, "degu-pair/2", formatAnswer({ more: 1 }), /camera did not confirm/],
    [camera, "degu-pair/2", formatAnswer({}, "403 Forbidden"), /camera did not confirm/],
    [camera, "degu-pair/2", null, /the last answer of camera did not arrive/],
    [camera, "degu-pair/1", formatAnswer({}), /can't be reached at 127.0.0.1/],
    [impostor, "degu-pair/2", formatAnswer({}), /can't be reached at 127.0.0.1/],
  ];
  for (const [inviterKind, protocol, response, pattern] of table) {
    const requests: string[] = [];
    const tlsOptions = { ALPNProtocols: [protocol], requestCert: true, rejectUnauthorized: false };
    const { identity } = inviterKind;
    await using secure = await serveNodeTls({ ...identity, ...tlsOptions }, (socket) => {
      socket.on("data", (bytes: Uint8Array) => {
        requests.push(new TextDecoder().decode(bytes));
        if (response === null) socket.end();
        else socket.write(response);
      });
    });
    const [, port] = secure.address;
    await using hostile = startInviterWith(makeOffer(camera, { port }), formatAnswer({}));
    const joining = viewer.joinByNumber(hostile, yes);
    const message = await withTimeout(joining, "it ends").then(() => "", (error) => error.message);
    assertMatch(message, pattern);
    assertEquals(requests.length, message.includes("reached") ? 0 : 1);
    for (const request of requests) assertMatch(request, /^POST \/confirmed [^{]*\{\}$/);
    assertEquals((await viewer.peers()).map(({ id }) => id), message === "" ? [camera.id] : []);
    await forgetIfStored(viewer.device, camera.id);
  }
});
