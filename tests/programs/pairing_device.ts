/**
 * A device in a process of its own, that can be killed: `invite` prints a line and waits, `join` joins the
 * line that follows. `serve` invites while a server listens on every address.
 */
import { Device } from "@degu/degu/device";

const [dir = "", command, line = ""] = Deno.args;
await using device = await Device.open(dir);
if (command === "invite" || command === "serve") {
  if (command === "serve") {
    const server = device.listen(["0.0.0.0", 0], () => [204, "No Content", {}, null]);
    server.serveForever();
    await server.ready;
  }
  await using invitation = await device.invite({ listen: [["127.0.0.1", 0]] });
  console.log(invitation.line);
  console.log((await invitation.paired).name);
} else {
  console.log((await device.join(line)).name);
}
