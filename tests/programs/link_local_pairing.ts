/**
 * Pairs two devices over link-local addresses, in a network namespace that it configures; run it
 * through `unshare -rn`, with a separate directory. Prints the findings as JSON.
 */

import { Device } from "@degu/degu/device";
import { decodeLine } from "@degu/internal/device/pairing/invitation_line.ts";
import { createCable, runIp, scopeOf } from "@degu/testing/namespaces.ts";

// The first pair is a decoy: its interfaces are tried, but lead to no device.
await runIp("link", "add", "decoy", "type", "veth", "peer", "name", "end");
await runIp("address", "add", "fe80::9/64", "dev", "decoy", "nodad");
await createCable();
await runIp("link", "set", "decoy", "up");
const leftScope = scopeOf("left");
const rightScope = scopeOf("right");

const [dir] = Deno.args;
await using camera = await Device.open(`${dir}/camera`, { name: "camera" });
await using viewer = await Device.open(`${dir}/viewer`, { name: "viewer" });
await using invitation = await camera.invite({
  listen: [["fe80::1", 0, 0, leftScope]],
  serving: [["fe80::1", 7443, 0, leftScope], ["10.0.0.1", 80]],
});
const { addresses } = decodeLine(invitation.line);
const serving: [string, number, number, number][] = [["fe80::1", 7444, 0, leftScope]];
const atViewer = await viewer.join(invitation.line, { serving });
const atCamera = await invitation.paired;

await using ownInvitation = await camera.invite({ serving: [] });
const inOwn = decodeLine(ownInvitation.line).addresses.map(([host]) => host);
await viewer.join(ownInvitation.line, { serving: [] });
console.log(JSON.stringify({
  left: leftScope,
  right: rightScope,
  inLine: addresses.map(([host]) => host),
  atViewer: atViewer.addresses,
  atCamera: atCamera.addresses,
  inOwn,
  paired: (await ownInvitation.paired).name,
}));
