/** What whoever has made a line, or has taken the place of that device, can do to one that joins. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import * as tls from "node:tls";
import { DeguError } from "@degu/degu/base";
import { encodeLine } from "../../device/invitation_line.ts";
import { base64url, makeDevices, PairingDevice } from "../support/pairing.ts";
import { within } from "../support/raw_peer.ts";

/** How the connections of an inviter are answered, one after the other; the text of a request is given. */
type Answering = (request: string, socket: tls.TLSSocket, count: number) => string | null;

/** How an inviter listens. */
interface InviterOptions {
  readonly protocols?: readonly string[];
  readonly identity?: { readonly cert: string; readonly key: string };
}

/** A server that answers as it likes, and a line that leads to it. */
async function startInviter(
  device: PairingDevice,
  answer: Answering,
  { protocols = ["degu-pair/1"], identity = device.identity }: InviterOptions = {},
): Promise<{ line: string; requests: string[] } & AsyncDisposable> {
  const requests: string[] = [];
  const sockets = new Set<tls.TLSSocket>();
  const server = tls.createServer({
    ...identity,
    ...(protocols.length === 0 ? {} : { ALPNProtocols: [...protocols] }),
  });
  server.on("tlsClientError", () => {});
  let count = 0;
  server.on("secureConnection", (socket) => {
    const index = count++;
    sockets.add(socket);
    let text = "";
    socket.on("error", () => {});
    socket.on("data", (data: Uint8Array) => {
      text += new TextDecoder().decode(data);
      const [head = "", body = ""] = text.split("\r\n\r\n");
      const length = /^content-length: (\d+)$/m.exec(head)?.[1];
      if (length === undefined || body.length < Number(length)) return;
      requests.push(text);
      const answered = answer(text, socket, index);
      if (answered !== null) socket.write(answered);
    });
  });
  const listening = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", () => listening.resolve());
  await listening.promise;
  const { port } = server.address() as { port: number };
  const line = encodeLine({
    authority: device.authority.der,
    addresses: [["127.0.0.1", port]],
    secret: new Uint8Array(16).fill(1),
    expires: new Date(Date.now() + 60_000),
  });
  return {
    line,
    requests,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      await closed.promise;
    },
  };
}

const VALUE = base64url(new Uint8Array(16).fill(2));

function answerOf(fields: Record<string, unknown> | string, status = "200 OK"): string {
  const text = typeof fields === "string" ? fields : JSON.stringify(fields);
  const { length } = new TextEncoder().encode(text);
  return `HTTP/1.1 ${status}\r\ncontent-length: ${length}\r\n\r\n${text}`;
}

const DONE = "HTTP/1.1 204 No Content\r\n\r\n";

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
  const hangUp = (socket: tls.TLSSocket) => {
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

Deno.test("a device that can't be reached is not said to have turned anybody away for certain", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  const line = encodeLine({
    authority: camera.authority.der,
    // TEST-NET-1: without a route, or without an answer.
    addresses: [["127.0.0.1", 1]],
    secret: new Uint8Array(16),
    expires: new Date(),
  });
  const error = await assertRejects(() => viewer.join(line), DeguError, "not open any more");
  assert(error.message.includes(`camera (${camera.id})`), error.message);
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
