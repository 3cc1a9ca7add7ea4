/** How much is read from a connection. */
import { assertEquals } from "@std/assert";
import { addressOf, introductionOf, makeDevices, Stranger } from "@degu/testing/pairing.ts";

Deno.test("a request of 16 KiB is read, and not a byte more", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using invitation = await camera.invite();
  const body = JSON.stringify(introductionOf(invitation.line, viewer));
  const requestOfSize = (size: number) => {
    const head = `POST /secret HTTP/1.1\r\ncontent-length: 00000\r\n\r\n`;
    const length = size - head.length;
    return head.replace("00000", String(length)) + body.padEnd(length);
  };
  for (const size of [16_385, 17_000, 40_000]) {
    using stranger = await Stranger.connect(addressOf(invitation));
    stranger.write(requestOfSize(size));
    assertEquals(await stranger.end(), "", `${size}`);
  }
  using filling = await Stranger.connect(addressOf(invitation));
  filling.write(`POST /secret HTTP/1.1\r\n${"x-a: b\r\n".padStart(9_000, "y")}`.repeat(2));
  assertEquals(await filling.end(), "");
  using stranger = await Stranger.connect(addressOf(invitation));
  stranger.write(requestOfSize(16_384));
  await stranger.answer(200);
});
