/** What the client of a pairing reveals, and to whom. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { DeguError } from "@degu/degu/base";
import { makeAuthority, makeLeaf } from "@degu/testing/authorities.ts";
import { base64url, makeDevices } from "@degu/testing/pairing.ts";
import { answerOf, DONE, startInviter, VALUE } from "@degu/testing/pairing_inviter.ts";

Deno.test("the joiner shows its certificate only in the second step, and its secret only in the first", async () => {
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

Deno.test("a server without the key of the line's authority learns nothing", async () => {
  await using devices = await makeDevices("camera", "viewer", "impostor");
  const { camera, viewer, impostor } = devices;
  const { identity } = impostor;
  await using inviter = await startInviter(camera, () => DONE, { identity });
  await assertRejects(() => viewer.join(inviter.line), DeguError, "not open any more");
  assertEquals(inviter.requests, []);
});

Deno.test("the authority of the line must have signed the certificate directly", async () => {
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

Deno.test("the right device is refused if it does not negotiate degu-pair/1", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  for (const protocols of [[], ["h2"], ["degu-pair/2"]]) {
    await using inviter = await startInviter(camera, () => DONE, { protocols });
    await assertRejects(() => viewer.join(inviter.line), DeguError, "not open any more");
    assertEquals(inviter.requests, []);
  }
  assertEquals(await viewer.written(), []);
});
