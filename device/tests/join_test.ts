/**
 * Joining a device by the line of its invitation: errors, malicious inviters, secrecy, and
 * processes with the permissions that they need.
 */
import { DeviceError, PairingError, type PairingErrorCode } from "@degu/degu/device";
import { makeAuthority, makeLeaf } from "../../tests/net/tls/authorities.ts";
import { speedUpTimeouts } from "@degu/testing/clock.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { makeProgramCommand, RunningProcess } from "@degu/testing/processes.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { readStatedNumber } from "@degu/testing/project_files.ts";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "@degu/internal/internal/paths.ts";
import { cpSync } from "node:fs";
import {
  addressOf,
  base64url,
  lineAddressOf,
  lineWith,
  makeDevices,
  openInvitation,
  PairingDevice,
  RawJoiner,
} from "./pairing.ts";
import { DONE, formatAnswer, type InviterOptions, startInviter, VALUE } from "./pairing_inviter.ts";

Deno.test("exactly one of two simultaneous joiners is paired, and the other rejects", async () => {
  await using devices = await makeDevices("camera", "one", "two");
  const { camera, one, two } = devices;
  for (let round = 0; round < 2; round++) {
    await using invitation = await camera.invite();
    const outcomes = await Promise.allSettled([one, two].map((each) => each.join(invitation.line)));
    const rejections = outcomes.filter((outcome) => outcome.status === "rejected");
    assertEquals(rejections.length, 1);
    assert(rejections[0]!.reason instanceof PairingError);
    assertEquals(rejections[0]!.reason.code, "NOT_OPEN");
    assert(rejections[0]!.reason.message.includes("no invitation is open"));
    const winner = outcomes[0]!.status === "fulfilled" ? one : two;
    const loser = winner === one ? two : one;
    assertEquals((await invitation.paired).id, winner.id);
    assertEquals((await winner.peers()).map(({ id }) => id), [camera.id]);
    assertEquals(await loser.peers(), []);
    await winner.device.forget(camera.id);
  }
});

Deno.test("a device can't join itself, or a copy of its directory, by the line or a number", async () => {
  await using devices = await makeDevices("camera");
  await using copyDir = await createTempDir();
  const { camera } = devices;
  cpSync(camera.dir, copyDir.path, { recursive: true });
  await using twin = await PairingDevice.open(copyDir.path, "camera");
  const failIfAsked = () => {
    throw new Error("confirm must not be called");
  };
  await using invitation = await camera.invite({ confirm: failIfAsked });
  for (const device of [camera, twin]) {
    const join = () => device.join(invitation.line);
    await assertRejects(join, PairingError, "paired with itself");
    const joinByNumber = () => device.joinByNumber(invitation, failIfAsked);
    await assertRejects(joinByNumber, PairingError, "paired with itself");
  }
  assertEquals([await camera.written(), await twin.written()], [[], []]);
});

/** The valid response of an inviter to the first step. */
const RIGHT = { value: VALUE, name: "hall", addresses: [] };

/** Starts a port that closes the first connections during the handshake, and relays the others. */
function startCuttingPort(
  target: readonly [string, number],
  cuts: number,
  onConnection: (count: number) => unknown = () => {},
) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const counter = { count: 0 };
  const relay = async (conn: Deno.Conn) => {
    const above = await Deno.connect({ hostname: target[0], port: target[1] });
    await Promise.allSettled([
      conn.readable.pipeTo(above.writable),
      above.readable.pipeTo(conn.writable),
    ]);
  };
  const running: Promise<void>[] = [];
  const acceptLoop = (async () => {
    for await (const conn of listener) {
      if (counter.count++ < cuts) conn.close();
      else running.push(relay(conn));
      onConnection(counter.count);
    }
    await Promise.all(running);
  })();
  const { port } = listener.addr as Deno.NetAddr;
  const dispose = async () => {
    listener.close();
    await acceptLoop;
  };
  return Object.assign(counter, { port, [Symbol.asyncDispose]: dispose });
}

Deno.test("a broken connection is retried up to ten times at either port, and its error differs from that of a used line", async (t) => {
  for (const portKind of ["TLS", "plain"] as const) {
    await t.step(portKind, () => assertTenTries(portKind));
  }
});

async function assertTenTries(portKind: "TLS" | "plain") {
  await using setup = await openInvitation(["viewer"]);
  const { camera, viewer, invitation } = setup;
  const [host, ...ports] = lineAddressOf(invitation);
  const index = ["TLS", "plain"].indexOf(portKind);
  const start = (cuts: number) => startCuttingPort([host, ports[index]!], cuts);
  const lineTo = ({ port }: { port: number }) => {
    const [encrypted, plain] = ports.with(index, port) as [number, number];
    return lineWith(invitation.line, [[host, encrypted, plain]]);
  };
  using timeouts = speedUpTimeouts((milliseconds) => milliseconds < 1000);
  // Half of each pause is random. The other timers are limits in seconds, and ticks of the event
  // loop.
  const { random } = Math;
  const pauses = () => timeouts.started.splice(0).filter((each) => each >= 25 && each < 1000);
  {
    Math.random = () => 1;
    await using cutter = start(Infinity);
    const joining = () => viewer.join(lineTo(cutter));
    const error = await assertRejects(joining, PairingError, "closes connections");
    assertEquals(error.code, "BUSY");
    assertEquals(cutter.count, 10);
    assert(timeouts.started.includes(60_000), "the limit of all of it");
    assertEquals(pauses(), [50, 100, 200, 400, 600, 600, 600, 600, 600]);
  }
  Math.random = () => 0;
  await using cutter = start(4);
  const joining = viewer.join(lineTo(cutter));
  const [peer] = await withTimeout(Promise.all([joining, invitation.paired]), "paired");
  Math.random = random;
  // A pairing has two connections over TLS.
  const count = portKind === "TLS" ? 6 : 5;
  assertEquals([peer.id, cutter.count, pauses()], [camera.id, count, [25, 50, 100, 200]]);
}

Deno.test("pairing succeeds even if one address of the line is dead and another an impostor's", async () => {
  await using setup = await openInvitation(["viewer", "impostor"]);
  const { camera, viewer, impostor, invitation } = setup;
  await using otherInvitation = await impostor.invite();
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const deadAddress = ["127.0.0.1", await findUnusedPort()] as const;
  const silentAddress = ["127.0.0.1", (silent.addr as Deno.NetAddr).port] as const;
  const line = lineWith(invitation.line, [
    [...deadAddress, deadAddress[1]],
    lineAddressOf(otherInvitation),
    [...silentAddress, silentAddress[1]],
    lineAddressOf(invitation),
  ]);
  using _timeouts = speedUpTimeouts((milliseconds) => milliseconds === 5000, 50);
  const peer = await viewer.join(line);
  assertEquals(peer.id, camera.id);
  await invitation.paired;
  assertEquals(await impostor.written(), []);
});

Deno.test("an unreachable device and one that refuses this device cause different errors", async () => {
  await using setup = await openInvitation(["viewer"]);
  const { viewer, invitation } = setup;
  const { NetworkUnreachable, TimedOut, ConnectionRefused, NotCapable } = Deno.errors;
  const unreachable = Object.assign(new Error("no route"), { code: "EHOSTUNREACH" });
  // A link-local address, tried at an interface that has no such addresses.
  const invalid = Object.assign(new Error("invalid argument"), { code: "EINVAL" });
  const silentErrors = [new TimedOut("late"), new NetworkUnreachable("none"), unreachable, invalid];
  const refused = new ConnectionRefused("no");
  const denied = new NotCapable("Requires net access");
  const rows: [errors: Error[], code: PairingErrorCode | null, words: RegExp][] = [
    [silentErrors, "UNREACHABLE", /^the device [a-z2-7]{52} can't be reached/],
    [[], "UNREACHABLE", /^the device [a-z2-7]{52} can't be reached/],
    [[...silentErrors, refused], "NOT_OPEN", /^no invitation is open/],
    [[refused], "NOT_OPEN", /^no invitation is open/],
    [[...silentErrors, denied], null, /^Requires net access/],
  ];
  using _interfaces = patch(Deno, "networkInterfaces", () => () => []);
  for (const [errors, code, words] of rows) {
    const addresses = errors.map((_, i) => ["127.0.0.1", 1, i + 1] as const);
    // Without an interface the joiner has no address to try.
    const lineAddresses = errors.length === 0 ? [["fe80::1", 1, 1] as const] : addresses;
    const connect = ({ port }: Deno.ConnectOptions) => Promise.reject(errors[port - 1]);
    using _connect = patch(Deno, "connect", () => connect as never);
    const line = lineWith(invitation.line, lineAddresses);
    const error = await assertRejects(() => viewer.join(line), Error);
    assertMatch(error.message, words);
    if (code === null) {
      assertEquals(error, denied);
      continue;
    }
    assert(error instanceof PairingError);
    assertEquals(error.code, code);
    assert(error.cause instanceof AggregateError);
    assertEquals(error.cause.errors.length, errors.length);
  }
});

Deno.test("a hostile response is refused, and no peer is stored", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const table: string[] = [
    formatAnswer({ ...RIGHT, name: "a/b" }),
    formatAnswer({ ...RIGHT, name: camera.id }),
    formatAnswer({ ...RIGHT, addresses: Array(7).fill(["10.0.0.1", 80]) }),
    formatAnswer({ ...RIGHT, value: `${VALUE}A` }),
    formatAnswer({ ...RIGHT, more: 1 }),
    formatAnswer("{"),
    formatAnswer(JSON.stringify(RIGHT).padEnd(16_385)),
    formatAnswer(RIGHT).replace("content-length: ", "content-length: 99999999\r\nx-a: "),
    `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    `HTTP/1.1 200 OK\r\nno header\r\n\r\n`,
  ];
  for (const text of table) {
    await using inviter = await startInviter(camera, () => text);
    const join = () => viewer.join(inviter.line);
    const error = await assertRejects(join, PairingError, undefined, text);
    assertEquals(error.code, "BAD_ANSWER", text);
    assert(error.message.includes("is not valid: "), `${error.message} for ${text}`);
    assert(error.message.includes(camera.id), error.message);
    assertEquals(inviter.requests.length, 1);
  }
  assertEquals(await viewer.written(), []);
});

Deno.test("an error response is not mistaken for success", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  for (const status of [201, 404, 500]) {
    // A valid authority, with a status other than 200.
    await using inviter = await startInviter(camera, () => formatAnswer(RIGHT), { status });
    const { code } = await assertRejects(() => viewer.join(inviter.line), PairingError);
    assertEquals([code, inviter.requests], ["NOT_OPEN", []]);
  }
  const assertRefused = async (line: string, message: string) => {
    const { code } = await assertRejects(() => viewer.join(line), PairingError, message);
    assertEquals(code, "REFUSED");
  };
  for (const status of ["201 Created", "403 Forbidden", "404 Not Found", "500 Error"]) {
    await using inviter = await startInviter(camera, () => formatAnswer(RIGHT, status));
    await assertRefused(inviter.line, `the device ${camera.id} has refused`);
  }
  for (const status of ["200 OK", "403 Forbidden", "500 Error"]) {
    await using inviter = await startInviter(camera, (_request, _socket, count) => {
      return count === 0 ? formatAnswer(RIGHT) : formatAnswer("", status);
    });
    // The inviter has sent its name.
    await assertRefused(inviter.line, `hall (${camera.id}) has refused`);
  }
  assertEquals(await viewer.written(), []);
});

Deno.test("aborting the signal or closing the device ends joining at any moment, and no peer is stored", async () => {
  await using setup = await openInvitation(["viewer"]);
  const { camera, viewer, invitation } = setup;
  const reason = new Error("enough");
  const answering = async (step: number, end: () => unknown) => {
    const inviter = await startInviter(camera, (_request, _socket, count) => {
      if (count < step) return formatAnswer(RIGHT);
      end();
      return formatAnswer(RIGHT).slice(0, 20);
    });
    return [inviter.line, inviter] as const;
  };
  const cutting = (cuts: number, end: () => unknown) => {
    const onConnection = (count: number) => count === cuts && end();
    const cutter = startCuttingPort(addressOf(invitation), Infinity, onConnection);
    return [lineWith(invitation.line, [["127.0.0.1", cutter.port]]), cutter] as const;
  };
  const rows = [
    (end: () => unknown) => (end(), [invitation.line, null] as const),
    (end: () => unknown) => cutting(1, end),
    (end: () => unknown) => cutting(5, end), // during the wait before the next attempt
    (end: () => unknown) => answering(0, end),
    (end: () => unknown) => answering(1, end),
  ];
  for (const [index, start] of rows.entries()) {
    const controller = new AbortController();
    const [line, joinResult] = await start(() => controller.abort(reason));
    await using _other = joinResult;
    const joining = viewer.join(line, { signal: controller.signal });
    assertEquals(await assertRejects(() => withTimeout(joining, `${index} ends`)), reason);
  }
  assertEquals(await viewer.written(), []);
  const [line, other] = await answering(0, () => viewer[Symbol.asyncDispose]());
  await using _other = other;
  const joinAfterClose = () => withTimeout(viewer.join(line), "it ends");
  assertEquals((await assertRejects(joinAfterClose, DeviceError, "was closed")).code, "CLOSED");
});

Deno.test("a missing permission to list the interfaces is reported, unless joining was aborted before", async () => {
  await using setup = await openInvitation(["viewer"]);
  const { camera, viewer, invitation } = setup;
  const line = lineWith(invitation.line, [["fe80::1", 80]]);
  using _refusing = patch(Deno, "networkInterfaces", () => () => {
    throw new Deno.errors.NotCapable("Requires sys access");
  });
  const lineWithTwoAddresses = lineWith(invitation.line, [["fe80::1", 80], addressOf(invitation)]);
  for (const invitedLine of [line, lineWithTwoAddresses]) {
    await assertRejects(() => viewer.join(invitedLine), Deno.errors.NotCapable);
  }
  const reason = new Error("enough");
  const joining = viewer.join(line, { signal: AbortSignal.abort(reason) });
  assertEquals(await assertRejects(() => joining), reason);
  await using otherInvitation = await camera.invite();
  await viewer.join(otherInvitation.line); // the interface has none of these addresses
  // Deno doesn't prompt for the permission if the line has another address.
  using _asking = patch(Deno.permissions, "querySync", () => () => ({ state: "prompt" }) as never);
  await viewer.join(lineWithTwoAddresses);
});

Deno.test("the joiner shows its certificate only in the second step, and its secret only in the first", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const certificates: boolean[] = [];
  await using inviter = await startInviter(camera, (_request, socket, count) => {
    certificates.push(Object.keys(socket.getPeerCertificate()).length > 0);
    return count === 0 ? formatAnswer(JSON.stringify(RIGHT).padEnd(16_384)) : DONE;
  });
  const peer = await viewer.join(inviter.line, { serving: [["10.0.0.1", 80]] });
  assertEquals(peer.name, "hall");
  const bodies = inviter.requests.map((text) => JSON.parse(text.split("\r\n\r\n")[1]!));
  assertEquals(bodies, [{
    secret: base64url(new Uint8Array(16).fill(1)),
    authority: base64url(viewer.authority.raw),
    name: "viewer",
    addresses: [["10.0.0.1", 80]],
  }, { value: VALUE }]);
  assert(!inviter.requests[1]!.includes(bodies[0].secret));
  assertEquals(certificates.length, 2);
});

Deno.test("the joiner sends messages only to a server with degu-pair/2 and a certificate signed directly by the line's authority", async () => {
  await using devices = await makeDevices("camera", "viewer", "impostor");
  const { camera, viewer, impostor } = devices;
  const root = makeAuthority();
  const intermediate = makeAuthority({ issuer: root });
  const signedBy = (issuer: typeof root, chain: string) => {
    const { pem, keyPem } = makeLeaf(issuer);
    return { authority: root.der, identity: { cert: pem + chain, key: keyPem } };
  };
  const rows: (readonly [options: InviterOptions, isTold: boolean])[] = [
    [signedBy(root, ""), true],
    [signedBy(intermediate, intermediate.pem), false],
    [{ identity: impostor.identity }, false],
    ...[[], ["h2"], ["degu-pair/1"]].map((protocols) => [{ protocols }, false] as const),
  ];
  for (const [options, isTold] of rows) {
    const refusal = formatAnswer("", "403 Forbidden");
    await using inviter = await startInviter(camera, () => refusal, options);
    const message = isTold ? "has refused" : "no invitation is open";
    const error = await assertRejects(() => viewer.join(inviter.line), PairingError, message);
    // The message has no name.
    if (isTold) assertMatch(error.message, /^the device [a-z2-7]{52} has refused/);
    assertEquals(inviter.requests.length, isTold ? 1 : 0);
  }
  assertEquals(await viewer.written(), []);
});

// Pairing between processes.

/** Starts a process that invites, joins, or serves and invites, with the device of a directory. */
function start({ dir }: PairingDevice, ...args: string[]): RunningProcess {
  // --allow-sys=networkInterfaces isn't needed if the addresses are given.
  const paths = [`--allow-read=${dir}`, `--allow-write=${dir}`];
  const flags = ["--allow-net=127.0.0.1,0.0.0.0", "--allow-sys=uid", ...paths];
  const stdin = args[0] === "ask" ? "piped" : "null";
  const command = makeProgramCommand("pairing_device.ts", { flags, args: [dir, ...args] }, stdin);
  return new RunningProcess(command.spawn());
}

/** Returns the line of a process that invites, which prints it first. */
const lineOf = async (inviting: RunningProcess) =>
  (await inviting.waitForStdout(/^.*\n/)).trimEnd();

/** Makes the log line of a device without a server, whose address another device doesn't get. */
const makeAddressWarning = (peerName: string) =>
  `pairing: ${peerName} got no address of this device, because no server of this device listens ` +
  "where other machines can connect: serve before the pairing, or set `serving`; [] if this " +
  "device never serves\n";

Deno.test("two processes pair with exactly the permissions that they need", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using inviting = start(camera, "invite");
  const line = await lineOf(inviting);
  await using joining = start(viewer, "join", line);
  assertEquals(await joining.waitForEnd(), {
    success: true,
    stdout: "camera\n",
    stderr: `join: paired with camera (${camera.id})\n${makeAddressWarning("camera")}`,
  });
  assertEquals(await inviting.waitForEnd(), {
    success: true,
    stdout: `${line}\nviewer\n`,
    stderr: `invitation: paired with viewer (${viewer.id})\n${makeAddressWarning("viewer")}`,
  });
  assertEquals((await camera.peers()).map(({ id }) => id), [viewer.id]);
  assertEquals((await viewer.peers()).map(({ id }) => id), [camera.id]);
});

Deno.test("right after a pairing each device can connect to the other, even if another process serves", async () => {
  for (const confirm of [undefined, () => true]) {
    await using devices = await makeDevices("camera", "viewer");
    const { camera, viewer } = devices;
    await using atCamera = start(camera, "only-serve");
    await using atViewer = start(viewer, "only-serve");
    const portOf = async (serving: RunningProcess) => Number(await serving.waitForStdout(/^\d+\n/));
    const [toCamera, toViewer] = [await portOf(atCamera), await portOf(atViewer)];
    const isKnown = async (device: PairingDevice, peer: string, port: number) => {
      const client = await device.device.client(peer, { addresses: [["127.0.0.1", port]] });
      assertEquals((await client.request("GET", "/")).status, 204);
    };
    await using invitation = await camera.invite({ confirm });
    const joining = confirm === undefined
      ? viewer.join(invitation.line)
      : viewer.device.join(invitation.addresses, { confirm });
    const joined = joining.then(({ id }) => isKnown(viewer, id, toCamera));
    const paired = invitation.paired.then(({ id }) => isKnown(camera, id, toViewer));
    await Promise.all([joined, paired]);
  }
});

Deno.test("a server that doesn't read the peers delays a pairing for as long as device/docs/device.md says", async () => {
  const seconds = await readStatedNumber(
    "device/docs/device.md",
    /accept the new peer, for up to ([\d.]+) s/,
  );
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const path = join(camera.dir, "serving", "0123456789abcdef");
  await Deno.writeTextFile(path, "127.0.0.1:9");
  using lockedFile = await Deno.open(path, { write: true });
  await lockedFile.lock(true);
  await using invitation = await camera.invite();
  const begin = performance.now();
  await viewer.join(invitation.line);
  const took = performance.now() - begin;
  assert(took >= seconds * 1000, `${took}`);
  assertEquals((await invitation.paired).id, viewer.id);
});

Deno.test("a joiner by number gets its response before a question blocks the inviter's process", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using inviting = start(camera, "ask");
  const addresses = JSON.parse(await lineOf(inviting));
  using joiner = await RawJoiner.commit({ addresses }, viewer);
  await joiner.reveal();
  const person = inviting.child.stdin.getWriter();
  await person.write(new TextEncoder().encode("y"));
  await person.close();
  using confirmed = await joiner.confirm();
  assertEquals(await confirmed.readResponseText(200), "{}");
  await inviting.waitForEnd();
  assertEquals((await camera.peers()).map(({ id }) => id), [viewer.id]);
});
