/** What whoever has made a line, or has taken the place of that device, can do to one that joins. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { TLSSocket } from "node:tls";
import { DeguError, EmptyPreambleError, TlsError } from "@degu/degu/base";
import { JoinFailure } from "@degu/internal/device/join_failure.ts";
import { makeAuthority, makeLeaf } from "@degu/testing/authorities.ts";
import { base64url, makeDevices } from "@degu/testing/pairing.ts";
import { answerOf, DONE, startInviter, VALUE } from "@degu/testing/pairing_inviter.ts";
import { within } from "@degu/testing/raw_peer.ts";

Deno.test("the joiner shows its certificate in the second step only, and its secret in the first", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const certificates: boolean[] = [];
  await using inviter = await startInviter(camera, (_request, socket, count) => {
    certificates.push(Object.keys(socket.getPeerCertificate()).length > 0);
    return count === 0 ? answerOf({ value: VALUE, name: "camera", addresses: [] }) : DONE;
  });
  const peer = await viewer.join(inviter.line, { serving: [["10.0.0.1", 80]] });
  assertEquals(peer.name, "camera");
  const bodies = inviter.requests.map((text) => JSON.parse(text.split("\r\n\r\n")[1]!));
  assertEquals(bodies, [{
    secret: base64url(new Uint8Array(16).fill(1)),
    authority: base64url(viewer.authority.der),
    name: "viewer",
    addresses: [["10.0.0.1", 80]],
  }, { value: VALUE }]);
  assert(!inviter.requests[1]!.includes(bodies[0].secret));
  assertEquals(certificates.length, 2);
});

Deno.test("an answer that is hostile is refused, and nothing is written", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const right = { value: VALUE, name: "camera", addresses: [] };
  const table: string[] = [
    ...["", "-", "a/b", "..", "a\nb", "a".repeat(64), camera.id, null, 7].map((name) =>
      answerOf({ ...right, name })
    ),
    ...[
      "10.0.0.1:80",
      Array(7).fill(["10.0.0.1", 80]),
      ["/run/a.socket"],
      [["\0name", 80]],
      [["10.0.0.1", 0]],
      [["::", 80]],
      null,
    ].map((addresses) => answerOf({ ...right, addresses })),
    ...["", `${VALUE}A`, null].map((value) => answerOf({ ...right, value })),
    answerOf({ ...right, more: 1 }),
    answerOf("{"),
    answerOf(""),
    answerOf(JSON.stringify(right).padEnd(16_385)),
    answerOf(right).replace("content-length: ", "content-length: 99999999\r\nx-a: "),
    `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    `HTTP/1.1 200 OK\r\n\r\n`,
    `HTTP/1.1 200 OK\r\nno header\r\n\r\n`,
    "SSH-2.0-OpenSSH\r\n\r\n",
  ];
  for (const text of table) {
    await using inviter = await startInviter(camera, () => text);
    const error = await assertRejects(() => viewer.join(inviter.line), DeguError, undefined, text);
    assert(error.message.includes("against the rules"), `${error.message} for ${text}`);
    assert(error.message.includes(camera.id), error.message);
    assertEquals(inviter.requests.length, 1);
  }
  assertEquals(await viewer.written(), []);
});

Deno.test("an answer that is an error is not taken for success", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const right = { value: VALUE, name: "camera", addresses: [] };
  for (const status of ["201 Created", "403 Forbidden", "404 Not Found", "500 Error"]) {
    await using inviter = await startInviter(camera, () => answerOf(right, status));
    await assertRejects(() => viewer.join(inviter.line), DeguError, "has refused");
  }
  const seconds = ["200 OK", "403 Forbidden", "500 Error"].map((status) => answerOf("", status));
  for (const text of seconds) {
    await using inviter = await startInviter(
      camera,
      (_request, _socket, count) => count === 0 ? answerOf(right) : text,
    );
    await assertRejects(() => viewer.join(inviter.line), DeguError, "has refused");
  }
  assertEquals(await viewer.written(), []);
});

Deno.test("an inviter that hangs up is told apart by the step in which it does", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const right = answerOf({ value: VALUE, name: "camera", addresses: [] });
  const hangUp = (socket: TLSSocket) => {
    socket.end();
    return null;
  };
  {
    await using inviter = await startInviter(camera, (_request, socket) => hangUp(socket));
    await assertRejects(() => viewer.join(inviter.line), DeguError, "another device has used it");
  }
  {
    await using inviter = await startInviter(
      camera,
      (_request, socket, count) => count === 0 ? right : hangUp(socket),
    );
    await assertRejects(() => viewer.join(inviter.line), DeguError, "last answer");
  }
  assertEquals(await viewer.written(), []);
});

Deno.test("whoever does not have the key of the line's authority learns nothing", async () => {
  await using devices = await makeDevices("camera", "viewer", "impostor");
  const { camera, viewer, impostor } = devices;
  const { identity } = impostor;
  await using inviter = await startInviter(camera, () => DONE, { identity });
  await assertRejects(() => viewer.join(inviter.line), DeguError, "not open any more");
  assertEquals(inviter.requests, []);
});

Deno.test("the authority of the line has to have signed the certificate itself", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const root = await makeAuthority();
  const between = await makeAuthority({ issuer: root });
  const table = [[root, ""], [between, between.pem]] as const;
  for (const [issuer, chain] of table) {
    const { pem, keyPem } = await makeLeaf(issuer);
    const options = { authority: root.der, identity: { cert: pem + chain, key: keyPem } };
    await using inviter = await startInviter(camera, () => answerOf("", "403 Forbidden"), options);
    const wanted = chain === "" ? "has refused" : "not open any more";
    await assertRejects(() => viewer.join(inviter.line), DeguError, wanted);
    assertEquals(inviter.requests.length, chain === "" ? 1 : 0);
  }
});

Deno.test("the device of the line itself is refused where it does not speak degu-pair/1", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  for (const protocols of [[], ["h2"], ["degu-pair/2"]]) {
    await using inviter = await startInviter(camera, () => DONE, { protocols });
    await assertRejects(() => viewer.join(inviter.line), DeguError, "not open any more");
    assertEquals(inviter.requests, []);
  }
  assertEquals(await viewer.written(), []);
});

Deno.test("a device that can't be reached is told apart from one that turns this one away", async () => {
  await using devices = await makeDevices("camera");
  const { camera } = devices;
  const { NetworkUnreachable, TimedOut, ConnectionRefused } = Deno.errors;
  const unreachable = Object.assign(new Error("no route"), { code: "EHOSTUNREACH" });
  const silent = [new TimedOut("late"), new NetworkUnreachable("none"), unreachable];
  const refused = new ConnectionRefused("no");
  const impostor = new TlsError("UNTRUSTED", "somebody else");
  const table: [errors: Error[], wanted: string][] = [
    [silent, "can't be reached"],
    [[], "can't be reached"],
    [[...silent, refused], "this line is not open"],
    [[impostor, ...silent], "this line is not open"],
    [[new EmptyPreambleError()], "this line is not open"],
  ];
  for (const [errors, wanted] of table) {
    const failure = new JoinFailure(camera.authority, new AbortController().signal);
    const cause = new AggregateError(errors);
    const error = await assertRejects(() => failure.turnedAway(() => Promise.reject(cause)));
    assert(error instanceof DeguError && error.message.includes(wanted), `${error}`);
    assertEquals(error.cause, cause);
    // Whatever it is, what has to be done about a stolen line is said.
    const advice = `look at the peers of camera (${camera.id}) and forget what you do not know`;
    assert(error.message.includes(advice), error.message);
  }
});

Deno.test("a missing permission is told as such", async () => {
  await using devices = await makeDevices("camera");
  const failure = new JoinFailure(devices.camera.authority, new AbortController().signal);
  const denied = new Deno.errors.NotCapable("Requires net access");
  const cause = new AggregateError([new Deno.errors.TimedOut("late"), denied]);
  assertEquals(
    await assertRejects(() => failure.turnedAway(() => Promise.reject(cause))),
    denied,
  );
});

Deno.test("a name that this device knows the other by is used in what goes wrong", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  {
    await using invitation = await camera.invite();
    await Promise.all([
      viewer.join(invitation.line, { peerName: "garden" }),
      invitation.paired,
    ]);
  }
  await using invitation = await camera.invite();
  await invitation.close();
  await assertRejects(() => viewer.join(invitation.line), DeguError, `garden (${camera.id})`);
});

Deno.test("joining ends in the middle of a step with its signal, and a slow inviter can't stop that", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const right = answerOf({ value: VALUE, name: "camera", addresses: [] });
  for (const step of [0, 1]) {
    const controller = new AbortController();
    const reason = new Error("enough");
    await using inviter = await startInviter(camera, (_request, _socket, count) => {
      if (count < step) return right;
      controller.abort(reason);
      return right.slice(0, 20);
    });
    const joining = viewer.join(inviter.line, { signal: controller.signal });
    assertEquals(await assertRejects(() => within(joining, "it ends")), reason);
  }
  assertEquals(await viewer.written(), []);
});

Deno.test("a joiner's device that is closed ends its joining", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using inviter = await startInviter(camera, () => {
    viewer[Symbol.asyncDispose]();
    return null;
  });
  await assertRejects(() => within(viewer.join(inviter.line), "it ends"), DeguError, "was closed");
});
