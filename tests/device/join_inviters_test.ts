/** Attacks on a joiner by whoever made the line, or impersonates that device. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { DeguError } from "@degu/degu/base";
import { makeDevices } from "@degu/testing/pairing.ts";
import { answerOf, startInviter, VALUE } from "@degu/testing/pairing_inviter.ts";
import { within } from "@degu/testing/raw_peer.ts";

Deno.test("a hostile answer is refused, and nothing is stored", async () => {
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
    assert(error.message.includes("is not valid"), `${error.message} for ${text}`);
    assert(error.message.includes(camera.id), error.message);
    assertEquals(inviter.requests.length, 1);
  }
  assertEquals(await viewer.written(), []);
});

Deno.test("an error response is not mistaken for success", async () => {
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

Deno.test("the signal aborts joining in the middle of a step, even with a slow inviter", async () => {
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

Deno.test("closing the joiner's device ends its joining", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using inviter = await startInviter(camera, () => {
    viewer[Symbol.asyncDispose]();
    return null;
  });
  await assertRejects(() => within(viewer.join(inviter.line), "it ends"), DeguError, "was closed");
});
