/** The errors of joining: what failed, and what to do. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { TLSSocket } from "node:tls";
import { DeguError, EmptyPreambleError, TlsError } from "@degu/degu/base";
import { JoinFailure } from "@degu/internal/device/join.ts";
import { makeDevices } from "@degu/testing/pairing.ts";
import { answerOf, startInviter, VALUE } from "@degu/testing/pairing_inviter.ts";

Deno.test("the error for an inviter that disconnects depends on the step", async () => {
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

Deno.test("an unreachable device and one that refuses this device cause different errors", async () => {
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
    const advice =
      `check the peers of camera (${camera.id}), and forget any that you don't recognize`;
    assert(error.message.includes(advice), error.message);
  }
});

Deno.test("a missing permission is reported as such", async () => {
  await using devices = await makeDevices("camera");
  const failure = new JoinFailure(devices.camera.authority, new AbortController().signal);
  const denied = new Deno.errors.NotCapable("Requires net access");
  const cause = new AggregateError([new Deno.errors.TimedOut("late"), denied]);
  assertEquals(
    await assertRejects(() => failure.turnedAway(() => Promise.reject(cause))),
    denied,
  );
});

Deno.test("an error message uses this device's name for the other", async () => {
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
