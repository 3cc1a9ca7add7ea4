// Pairs two devices, and sends a request from one to the other.
import { Device, peerOf } from "@degu/degu/device";
import { assertEquals } from "@std/assert";

const dir = await Deno.makeTempDir();
await using camera = await Device.open(`${dir}/camera`, { name: "camera" });
await using viewer = await Device.open(`${dir}/viewer`, { name: "viewer" });
await using _server = await camera.serve(["127.0.0.1", 0], (_request, session) => {
  return [200, "OK", { "x-peer": peerOf(session).name }, null];
});
await using invitation = await camera.invite({ listen: [["127.0.0.1", 0]] });
await viewer.join(invitation.line);
const client = await viewer.client("camera");
assertEquals((await client.request("GET", "/")).headers["x-peer"], "viewer");
await Deno.remove(dir, { recursive: true });
console.log("two devices were paired, and one sent the other a request");
