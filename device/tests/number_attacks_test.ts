/** Attacks on pairing by number: by strangers at either port, and by a man in the middle. */
import {
  Device,
  type Invitation,
  type PairingError,
  type PairingQuestion,
} from "@degu/degu/device";
import type { Logger } from "@degu/degu/server";
import { formatErrorResponse } from "../../tests/net/server/error_answers.ts";
import { NumberAttempt } from "@degu/internal/device/pairing/plain_ports.ts";
import { waitForAbort } from "@degu/testing/aborts.ts";
import { makeAuthority, makeLeaf } from "../../tests/net/tls/authorities.ts";
import { makeSession } from "@degu/testing/sessions.ts";
import { speedUpTimeouts } from "@degu/testing/clock.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { needsOpenssl, OpensslPki, runWithInput } from "../../tests/net/tls/tls_openssl.ts";
import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { createPrivateKey } from "node:crypto";
import {
  addressOf,
  base64url,
  commitmentOf,
  completeSecondStep,
  countLines,
  introductionOf,
  LOOPBACK,
  makeDevices,
  makePerson,
  messageOf,
  numberOf,
  openConfirmedInvitation,
  openInvitation,
  type PairingDevice,
  plainOf,
  RawJoiner,
  requestOf,
  Stranger,
} from "./pairing.ts";

/** Asserts that the number still works. */
async function assertNumberWorks(
  invitation: Invitation,
  inviter: ReturnType<typeof makePerson>,
  viewer: PairingDevice,
): Promise<void> {
  const joining = viewer.joinByNumber(invitation, () => true);
  (await inviter.waitForQuestion()).reply(true);
  const pairing = Promise.all([joining, invitation.paired]);
  const names = (await withTimeout(pairing, "the devices are paired")).map(({ name }) => name);
  assertEquals(names, ["camera", "viewer"]);
}

// A man in the middle.

Deno.test("a man in the middle with hundreds of simultaneous sessions has one try at a time, and five in total", async () => {
  await using setup = await openConfirmedInvitation(["viewer", "stranger"]);
  const { camera, viewer, stranger, invitation, inviter } = setup;
  // No time limit may end, even on a slow machine.
  using _timeouts = speedUpTimeouts((milliseconds) => [2000, 5000].includes(milliseconds), 1 / 100);
  let isExhausted = false;
  invitation.exhausted.then(() => isExhausted = true);
  for (let round = 1; round <= 6; round++) {
    using connections = new DisposableStack();
    const fates = await Promise.all(Array.from({ length: round === 1 ? 200 : 10 }, async () => {
      try {
        const session = connections.use(await Stranger.connectPlain(plainOf(invitation)));
        const { fields, random } = commitmentOf(stranger);
        session.post("/commitment", fields);
        const text = await session.readResponseText(200);
        session.post("/random", { random: base64url(random) });
        await session.readResponseText(200);
        return numberOf(JSON.stringify(fields), text, random);
      } catch (error) {
        // Refused with 409, or closed in favor of a newer connection.
        assertMatch(String(error), /HTTP\/1.1 409|closed after ""|ECONNRESET|EPIPE/);
        return null;
      }
    }));
    const answered = fates.filter((number) => number !== null);
    assertEquals(answered.length, round <= 5 ? 1 : 0, `round ${round}`);
    if (round > 5) break;
    const question = await inviter.waitForQuestion();
    assertEquals([question.number, question.id], [answered[0], stranger.id]);
    question.reply(false);
    await camera.logger.waitFor("info", "not paired by a number", round);
    if (round < 5) assertEquals(isExhausted, false);
  }
  await withTimeout(invitation.exhausted, "the numbers are used up");
  assertEquals(inviter.questions.length, 5);
  assertEquals(countLines(camera, "warn", "5 numbers"), 1);
  const pairing = Promise.all([viewer.join(invitation.line), invitation.paired]);
  assertEquals((await withTimeout(pairing, "the line pairs"))[1].id, viewer.id);
});

Deno.test("logger.record() gets an error with a code if the numbers of an invitation are used up", async () => {
  await using dir = await createTempDir();
  await using otherDevices = await makeDevices("stranger");
  const errors: unknown[] = [];
  const fail = () => assert(false, "not by record");
  const logger: Logger = {
    ...{ debug: fail, info: fail, warn: fail, error: fail },
    record: (level, _message, { error }) => void (level === "warn" && errors.push(error)),
  };
  await using camera = await Device.open(dir.path, { name: "camera", logger });
  await using invitation = await camera.invite({ listen: LOOPBACK, confirm: () => true });
  for (let number = 1; number <= 5; number++) {
    assertEquals(errors, []);
    using joiner = await RawJoiner.commit(invitation, otherDevices.stranger);
    joiner.stranger.post("/random", {});
    await joiner.stranger.waitForEnd();
  }
  await withTimeout(invitation.exhausted, "the numbers are used up");
  assertEquals(errors.map((error) => (error as PairingError).code), ["NOT_OPEN"]);
});

Deno.test("a man in the middle can't choose the numbers by white space or field order, because both numbers depend on each byte", async () => {
  await using setup = await openConfirmedInvitation(["viewer"]);
  const { camera, viewer, invitation, inviter } = setup;
  const joiner = makePerson();
  // The joiner's commitment is relayed with the same fields in another encoding.
  const writings: ((fields: Record<string, unknown>) => string)[] = [
    (fields) => JSON.stringify(fields),
    (fields) => `${JSON.stringify(fields)} `,
    (fields) => JSON.stringify(fields, null, 1),
    (fields) => JSON.stringify(Object.fromEntries(Object.entries(fields).reverse())),
  ];
  for (const [index, write] of writings.entries()) {
    await using relay = startRelay(plainOf(invitation), (uri, body) => {
      return uri === "/commitment" ? write(JSON.parse(body)) : body;
    });
    const joining = viewer.joinByNumber(relay, joiner.confirm);
    const [atInviter, atJoiner] = [await inviter.waitForQuestion(), await joiner.waitForQuestion()];
    assertEquals(atInviter.id, viewer.id);
    // The numbers are equal by chance in one of a million cases.
    if (index === 0) assertEquals(atInviter.number, atJoiner.number);
    else assertNotEquals(atInviter.number, atJoiner.number);
    atInviter.reply(false);
    await assertRejects(() => withTimeout(joining, "it ends"));
    await camera.logger.waitFor("info", "not paired by a number", index + 1);
  }
  // The text of the last message doesn't change the number, because all inputs of the number are
  // known before.
  using last = await RawJoiner.commit(invitation, viewer);
  await last.reveal(` {\n"random" : "${base64url(last.random)}"\t} `);
  assertEquals((await inviter.waitForQuestion()).number, last.number);
});

/** Relays requests and responses between a joiner and an inviter, and can change the bodies of requests. */
function startRelay(
  target: readonly [string, number],
  change: (uri: string, body: string) => string,
) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const running: Promise<unknown>[] = [];
  const relay = async (conn: Deno.Conn) => {
    const above = await Deno.connect({ hostname: target[0], port: target[1] });
    const changeBody = new TransformStream<Uint8Array, Uint8Array>({
      transform(bytes, controller) {
        const [head = "", body = ""] = new TextDecoder().decode(bytes).split("\r\n\r\n");
        const [, uri = ""] = head.split(" ");
        controller.enqueue(new TextEncoder().encode(requestOf(uri, change(uri, body))));
      },
    });
    await Promise.allSettled([
      conn.readable.pipeThrough(changeBody).pipeTo(above.writable),
      above.readable.pipeTo(conn.writable),
    ]);
  };
  const acceptLoop = (async () => {
    for await (const conn of listener) running.push(relay(conn));
    await Promise.all(running);
  })();
  const dispose = async () => {
    listener.close();
    await acceptLoop;
  };
  const addresses = [["127.0.0.1", port]] as const;
  return { addresses, [Symbol.asyncDispose]: dispose };
}

Deno.test("a replayed session has another number, and its random value fits only its own commitment", async () => {
  await using setup = await openConfirmedInvitation(["viewer"]);
  const { camera, viewer, invitation, inviter } = setup;
  const { fields, random } = commitmentOf(viewer);
  const replay = async (session: Stranger) => {
    session.post("/commitment", fields);
    const response = await session.readResponseText(200);
    session.post("/random", { random: base64url(random) });
    await session.readResponseText(200);
    return response;
  };
  const numbers: string[] = [];
  for (let i = 0; i < 2; i++) {
    using session = await Stranger.connectPlain(plainOf(invitation));
    const response = await replay(session);
    const { number, reply } = await inviter.waitForQuestion();
    assertEquals(number, numberOf(JSON.stringify(fields), response, random));
    numbers.push(number);
    reply(false);
    await camera.logger.waitFor("info", "not paired by a number", i + 1);
  }
  assertNotEquals(numbers[0], numbers[1]);
  // The attacker lacks the key, so it is not paired even if a person confirms.
  using session = await Stranger.connectPlain(plainOf(invitation));
  await replay(session);
  (await inviter.waitForQuestion()).reply(true);
  using secure = await Stranger.connect(addressOf(invitation));
  secure.post("/confirmed", {});
  assertEquals(await secure.waitForEnd(), "");
  assertEquals(await camera.written(), []);
});

// Attacks at the plain port.

Deno.test("a random value without its commitment, sent twice, or sent over another connection closes the connection", async () => {
  await using setup = await openConfirmedInvitation(["viewer"]);
  const { camera, viewer, invitation, inviter } = setup;
  {
    using joiner = await RawJoiner.commit(invitation, viewer);
    using otherStranger = await Stranger.connectPlain(plainOf(invitation));
    otherStranger.post("/random", { random: base64url(joiner.random) });
    assertEquals(await otherStranger.waitForEnd(), "");
    await joiner.reveal();
    const { signal } = await inviter.waitForQuestion();
    using secondStranger = await Stranger.connectPlain(plainOf(invitation));
    secondStranger.post("/random", { random: base64url(joiner.random) });
    assertEquals(await secondStranger.waitForEnd(), "");
    assertEquals(signal.aborted, false);
    joiner.stranger.post("/random", { random: base64url(joiner.random) });
    assertEquals((await joiner.stranger.waitForEnd()).endsWith("\r\n\r\n{}"), true);
    await waitForAbort(signal);
  }
  const invalidBodies = [
    { random: base64url(new Uint8Array(32)) },
    { random: base64url(new Uint8Array(31)) },
    { random: null },
    {},
  ];
  for (const [index, body] of invalidBodies.entries()) {
    using joiner = await RawJoiner.commit(invitation, viewer);
    const receivedBefore = joiner.stranger.received;
    joiner.stranger.post("/random", body);
    assertEquals(await joiner.stranger.waitForEnd(), receivedBefore);
    await camera.logger.waitFor("info", "not paired by a number", index + 2);
  }
  assertEquals(inviter.questions.length, 1);
});

Deno.test("no question is asked about a joiner that has left before it", async () => {
  let isLateQuestion = false;
  const confirm = ({ signal }: PairingQuestion) => {
    isLateQuestion ||= signal.aborted;
    return new Promise<boolean>(() => {});
  };
  await using setup = await openInvitation(["viewer"], { confirm });
  const { camera, viewer, invitation } = setup;
  for (let count = 1; count <= 5; count++) {
    using joiner = await RawJoiner.commit(invitation, viewer);
    const request = requestOf("/random", { random: base64url(joiner.random) });
    // The second request, which is invalid, ends the connection right after the first response.
    joiner.stranger.write(`${request}\0 nonsense\r\n\r\n`);
    await joiner.stranger.waitForEnd();
    await camera.logger.waitFor("info", "not paired by a number", count);
  }
  assertEquals(isLateQuestion, false);
});

Deno.test("an invalid message to the plain port closes its connection, and doesn't count as a try", async () => {
  await using setup = await openConfirmedInvitation(["viewer"]);
  const { camera, viewer, invitation, inviter } = setup;
  const { fields } = commitmentOf(viewer);
  const { authority, ...without } = fields;
  const text = JSON.stringify(fields);
  const hostile = makeAuthority({ extensions: [] });
  const intermediate = makeAuthority({ issuer: makeAuthority() });
  const bodies: unknown[] = [
    { ...fields, authority: base64url(hostile.der) },
    { ...fields, authority: base64url(intermediate.der) },
    { ...fields, authority: base64url(new Uint8Array(3000)) },
    { ...fields, authority: [authority] },
    { ...fields, name: "a/b" },
    { ...fields, name: viewer.id },
    { ...fields, name: 7 },
    { ...fields, addresses: [["10.0.0.1", 80], "/run/a.socket"] },
    { ...fields, addresses: Array(7).fill(["10.0.0.1", 80]) },
    { ...fields, addresses: {} },
    { ...fields, commitment: base64url(new Uint8Array(31)) },
    { ...fields, commitment: `${fields.commitment}=` },
    { ...fields, commitment: null },
    { ...fields, more: 1 },
    without,
    [fields],
    "null",
    "{",
    "",
    text.padEnd(16_385),
  ];
  const head = `content-length: ${text.length}\r\n`;
  const requests = [
    ...bodies.map((body) => requestOf("/commitment", body)),
    ...["/", "/commitment/", "/commitment?", "/Commitment", "/random", "/secret", "/confirmed"]
      .map((uri) => requestOf(uri, fields)),
    ...["PUT", "DELETE", "HEAD"].map((method) => `${method} /authority HTTP/1.1\r\n\r\n`),
    "GET /commitment HTTP/1.1\r\n\r\n",
    "GET /authority? HTTP/1.1\r\n\r\n",
    messageOf("GET /authority HTTP/1.1", "{}"),
    messageOf("PUT /commitment HTTP/1.1", text),
    `POST /commitment HTTP/1.1\r\n\r\n${text}`,
    `POST /commitment HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n` +
    `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`,
    // Requests as sent by a web page.
    `POST /commitment HTTP/1.1\r\norigin: null\r\n${head}\r\n${text}`,
    `POST /commitment HTTP/1.1\r\norigin: http://a.example\r\n${head}\r\n${text}`,
    "GET /authority HTTP/1.1\r\norigin: http://a.example\r\n\r\n",
    "OPTIONS /commitment HTTP/1.1\r\norigin: http://a.example\r\n\r\n",
  ];
  for (const request of requests) {
    using stranger = await Stranger.connectPlain(plainOf(invitation));
    stranger.write(request);
    // Bytes that aren't HTTP/1.1 get the same response as from every server.
    const received = await stranger.waitForEnd();
    const errorResponses = ["", formatErrorResponse(400), formatErrorResponse(501)];
    assert(errorResponses.includes(received), `${request.slice(0, 300)}: ${received}`);
  }
  assertEquals(inviter.questions, []);
  // A second commitment, and one of 16 KiB.
  const write = (body: object) => JSON.stringify(body).padEnd(16_384);
  using joiner = await RawJoiner.commit(invitation, viewer, write);
  const receivedBefore = joiner.stranger.received;
  joiner.stranger.post("/commitment", fields);
  assertEquals(await joiner.stranger.waitForEnd(), receivedBefore);
  // The only try is used up.
  for (let tries = 1; tries < 5; tries++) {
    await camera.logger.waitFor("info", "not paired by a number", tries);
    using another = await RawJoiner.commit(invitation, viewer);
    another.stranger.socket.end();
  }
  assertEquals(inviter.questions, []);
});

Deno.test("a connection to the plain port has two seconds, and the oldest of 64 is closed for a new one", async () => {
  await using setup = await openConfirmedInvitation(["viewer"]);
  const { camera, viewer, invitation, inviter } = setup;
  {
    using timeouts = speedUpTimeouts((milliseconds) => milliseconds === 2000);
    const request = requestOf("/commitment", commitmentOf(viewer).fields);
    await Promise.all(["", request.slice(0, 20), request.slice(0, -1)].map(async (text) => {
      using stranger = await Stranger.connectPlain(plainOf(invitation));
      stranger.write(text);
      assertEquals(await stranger.waitForEnd(), "");
    }));
    // A response doesn't extend the time limit.
    using stranger = await Stranger.connectPlain(plainOf(invitation));
    stranger.write("GET /authority HTTP/1.1\r\n\r\n");
    await stranger.readResponseText(200);
    await stranger.waitForEnd();
    assertEquals(timeouts.started.filter((each) => each === 2000).length, 4);
    assertEquals(countLines(camera, "debug", "took too long"), 4);
  }
  using strangers = new DisposableStack();
  const connections: Stranger[] = [];
  using _timeouts = speedUpTimeouts((milliseconds) => milliseconds === 2000, 1 / 100);
  {
    // Connections that have left don't count.
    using _silent = await Stranger.connectPlain(plainOf(invitation));
    for (let i = 0; i < 70; i++) {
      using stranger = await Stranger.connectPlain(plainOf(invitation));
      stranger.socket.end();
      await stranger.waitForEnd();
    }
    assertEquals(countLines(camera, "debug", "newer"), 0);
  }
  for (let i = 0; i < 65; i++) {
    connections.push(strangers.use(await Stranger.connectPlain(plainOf(invitation))));
  }
  await connections[0]!.waitForEnd();
  assertEquals(countLines(camera, "debug", "newer"), 1);
  assert(connections.slice(1).every(({ socket }) => !socket.destroyed));
  // A joiner commits immediately.
  await assertNumberWorks(invitation, inviter, viewer);
});

Deno.test("an attempt whose joiner has left before its start ends at once, so the number isn't busy for others", async () => {
  await using devices = await makeDevices("viewer");
  const { authority, name } = devices.viewer;
  const introduction = { authority: authority.raw, name, addresses: [], commitment: authority.raw };
  const session = makeSession();
  const reason = new Error("it has left");
  session.close(reason);
  const attempt = new NumberAttempt(authority, introduction, authority.raw, devices.viewer.logger);
  attempt.addSession(session);
  assertEquals([attempt.state, attempt.abortController.signal.reason], ["ended", reason]);
});

// Attacks at the TLS port.

/** Sends `/confirmed`, and asserts that the connection is closed without an answer. */
async function assertRefused(joiner: RawJoiner, options: object, body: unknown = {}) {
  using stranger = await joiner.confirm(options, body);
  assertEquals(await stranger.waitForEnd(), "", Deno.inspect(options));
}

Deno.test("only the certificate of the device in the question can confirm, over a separate connection", async () => {
  await using setup = await openConfirmedInvitation(["viewer", "other"]);
  const { camera, viewer, other, invitation, inviter } = setup;
  using joiner = await RawJoiner.commit(invitation, viewer);
  // Too early, before the random value.
  await assertRefused(joiner, viewer);
  await joiner.reveal();
  const { reply, signal } = await inviter.waitForQuestion();
  for (const options of [{}, other, camera]) await assertRefused(joiner, options);
  for (const body of [{ more: 1 }, "[]", "null", "", "{"]) {
    await assertRefused(joiner, viewer, body);
  }
  using wrongUri = await Stranger.connect(joiner.address, viewer);
  wrongUri.post("/", {});
  assertEquals(await wrongUri.waitForEnd(), "");
  // A joiner by the line still needs no certificate, but can't confirm.
  using stranger = await Stranger.connect(addressOf(invitation), other);
  stranger.post("/value", { value: base64url(new Uint8Array(16)) });
  assertEquals(await stranger.waitForEnd(), "");
  assertEquals([signal.aborted, await camera.written()], [false, []]);
  using secure = await joiner.confirm();
  secure.write("");
  // A second request while the first one waits.
  await assertRefused(joiner, viewer);
  reply(true);
  assertEquals(await secure.readResponseText(200), "{}");
  secure.socket.end();
  assertEquals((await withTimeout(invitation.paired, "the pairing completes")).id, viewer.id);
});

Deno.test("a certificate issued by an intermediate of the authority can't confirm", async () => {
  await using setup = await openConfirmedInvitation(["viewer"]);
  const { camera, viewer, invitation, inviter } = setup;
  const root = makeAuthority();
  const intermediate = makeAuthority({ issuer: root });
  const below = makeLeaf(intermediate);
  const chain = { cert: below.pem + intermediate.pem, key: below.keyPem };
  const device = { ...viewer, authority: { ...viewer.authority, raw: root.der } };
  using joiner = await RawJoiner.startQuestion(invitation, device);
  await inviter.waitForQuestion();
  await assertRefused(joiner, { identity: chain });
  assertEquals(await camera.written(), []);
});

/** Requests the confirmation with `openssl s_client`; returns its output. */
async function confirmWithOpenssl(invitation: Invitation, ...args: string[]): Promise<string> {
  const [host, port] = addressOf(invitation);
  const { stdout } = await runWithInput(
    "openssl",
    ["s_client", "-connect", `${host}:${port}`, "-alpn", "degu-pair/2", "-ign_eof", ...args],
    requestOf("/confirmed", {}),
  );
  return stdout;
}

Deno.test(
  "a resumed session has a certificate only if that was verified",
  needsOpenssl,
  async () => {
    await using pki = await OpensslPki.create();
    await using setup = await openConfirmedInvitation(["viewer", "other"]);
    const { camera, viewer, other, invitation, inviter } = setup;
    // A device whose certificate this process has not seen in another test.
    const authority = makeAuthority();
    const leaf = makeLeaf(authority);
    const device = { ...viewer, authority: { ...viewer.authority, raw: authority.der } };
    await Deno.writeTextFile(pki.makePath("cert.pem"), leaf.pem);
    await Deno.writeTextFile(pki.makePath("key.pem"), leaf.keyPem);
    const certificateArgs = ["-cert", pki.makePath("cert.pem"), "-key", pki.makePath("key.pem")];
    for (const version of ["-tls1_2", "-tls1_3"]) {
      // The session has no certificate if no question is open.
      const ticket = pki.makePath("without.ticket");
      await confirmWithOpenssl(invitation, version, ...certificateArgs, "-sess_out", ticket);
      using joiner = await RawJoiner.startQuestion(invitation, device);
      const { signal } = await inviter.waitForQuestion();
      const resumeArgs = [...certificateArgs, "-sess_in", ticket];
      const resumed = await confirmWithOpenssl(invitation, version, ...resumeArgs);
      assertMatch(resumed, /\nReused, TLSv1/, version);
      assert(!resumed.includes("HTTP/1.1"), version);
      assertEquals(signal.aborted, false);
      joiner.stranger.socket.end();
      await waitForAbort(signal);
    }
    // The certificate is presented while the question is about another device, so it is not verified.
    const unverified = pki.makePath("unverified.ticket");
    {
      using joiner = await RawJoiner.startQuestion(invitation, other);
      const { signal } = await inviter.waitForQuestion();
      await confirmWithOpenssl(invitation, "-tls1_3", ...certificateArgs, "-sess_out", unverified);
      joiner.stranger.socket.end();
      await waitForAbort(signal);
    }
    using _joiner = await RawJoiner.startQuestion(invitation, device);
    const { reply } = await inviter.waitForQuestion();
    const resumed = await confirmWithOpenssl(invitation, "-tls1_3", "-sess_in", unverified);
    assertMatch(resumed, /\nReused, TLSv1/);
    assert(!resumed.includes("HTTP/1.1"));
    assertEquals(await camera.written(), []);
    reply(true);
    const confirmed = await confirmWithOpenssl(invitation, "-tls1_3", ...certificateArgs);
    assertMatch(confirmed, /HTTP\/1.1 200 OK/);
    assertEquals((await withTimeout(invitation.paired, "the pairing completes")).name, "viewer");
  },
);

Deno.test(
  "a client with the certificate of a device, but without its key, can't confirm",
  needsOpenssl,
  async () => {
    await using pki = await OpensslPki.create();
    await using setup = await openConfirmedInvitation(["viewer"]);
    const { camera, viewer, invitation, inviter } = setup;
    using _joiner = await RawJoiner.startQuestion(invitation, viewer);
    (await inviter.waitForQuestion()).reply(true);
    const { cert, key } = viewer.identity;
    const jwkOf = (pem: string) => createPrivateKey(pem).export({ format: "jwk" });
    const bytes = (text: unknown) => Uint8Array.fromBase64(String(text), { alphabet: "base64url" });
    const jwk = jwkOf(key);
    // A key (RFC 5915) with the public half of the device's key, and the private half of another
    // key.
    const der = Uint8Array.from([
      ...Uint8Array.fromHex("30770201010420"),
      ...bytes(jwkOf(makeAuthority().keyPem)["d"]),
      ...Uint8Array.fromHex("a00a06082a8648ce3d030107a14403420004"),
      ...bytes(jwk["x"]),
      ...bytes(jwk["y"]),
    ]);
    const lines = der.toBase64().replaceAll(/(.{64})/g, "$1\n");
    const mixed = `-----BEGIN EC PRIVATE KEY-----\n${lines}\n-----END EC PRIVATE KEY-----\n`;
    await Deno.writeTextFile(pki.makePath("cert.pem"), cert);
    await Deno.writeTextFile(pki.makePath("mixed.pem"), mixed);
    await Deno.writeTextFile(pki.makePath("key.pem"), key);
    const certificate = ["-cert", pki.makePath("cert.pem")];
    const ask = (version: string, name: string) =>
      confirmWithOpenssl(invitation, version, ...certificate, "-key", pki.makePath(name));
    for (const version of ["-tls1_2", "-tls1_3"]) {
      const output = await ask(version, "mixed.pem");
      // The handshake has begun, so the key was loaded.
      assertMatch(output, /CONNECTED/);
      assert(!output.includes("HTTP/1.1"), version);
    }
    assertEquals(await camera.written(), []);
    assertMatch(await ask("-tls1_3", "key.pem"), /HTTP\/1.1 200 OK/);
    assertEquals((await withTimeout(invitation.paired, "the pairing completes")).id, viewer.id);
  },
);

Deno.test("no number can be confirmed while a valid secret is processed, because an invitation is for one pairing", async () => {
  await using devices = await makeDevices("camera", "viewer", "other");
  const { camera, viewer, other } = devices;
  const options = { listen: LOOPBACK, confirm: () => true };
  await using invitation = await camera.device.invite(options);
  using thief = await Stranger.connect(addressOf(invitation));
  const checkStarted = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  // The response needs the addresses of this device's servers, which may take long.
  const slow = patch(Deno, "readDir", (readDir) => (path) => {
    slow[Symbol.dispose]();
    checkStarted.resolve();
    return (async function* () {
      await gate.promise;
      yield* readDir(path);
    })();
  });
  using _slow = slow;
  thief.post("/secret", introductionOf(invitation.line, other));
  await withTimeout(checkStarted.promise, "the secret is being checked");
  using joiner = await RawJoiner.startQuestion(invitation, viewer);
  using secure = await joiner.confirm();
  assertEquals(await secure.waitForEnd(), "");
  gate.resolve();
  const { value } = await thief.readResponse(200);
  // The number that was opened meanwhile has ended.
  assertEquals((await joiner.stranger.waitForEnd()).endsWith("{}"), true);
  await completeSecondStep(invitation, value, other);
  assertEquals((await camera.peers()).map(({ id }) => id), [other.id]);
});
