/**
 * Devices in a process of its own, that can be killed; for each three arguments: its directory, what it does, and a line.
 * `invite` prints a line and waits, `join` joins the given line. `serve` invites while a server listens on every address.
 */
import { Device } from "@degu/degu/device";

async function run(dir: string, command: string, line: string): Promise<void> {
  await using device = await Device.open(dir);
  if (command === "join") {
    console.log("joining");
    console.log((await device.join(line)).name);
    return;
  }
  if (command === "serve") {
    const server = device.listen(["0.0.0.0", 0], () => [204, "No Content", {}, null]);
    server.serveForever();
    await server.ready;
  }
  await using invitation = await device.invite({ listen: [["127.0.0.1", 0]] });
  console.log(invitation.line);
  console.log((await invitation.paired).name);
}

for (let at = 0; at < Deno.args.length; at += 3) {
  const [dir = "", command = "", line = ""] = Deno.args.slice(at, at + 3);
  run(dir, command, line);
}
