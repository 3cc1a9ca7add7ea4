/**
 * A device in a process that can be killed. `invite` prints a line and waits; `join` joins the line
 * in the next argument. `only-serve` prints the address of a server, and serves until it is killed.
 * `serve` invites while a server listens on every address. `ask` prints its addresses for a joiner,
 * and asks its user with a blocking read from the standard input.
 */
import { Device } from "@degu/degu/device";

const [dir = "", command, line = ""] = Deno.args;
await using device = await Device.open(dir);
if (command === "only-serve") {
  const server = await device.serve(["127.0.0.1", 0], () => [204, "No Content", {}, null]);
  console.log(server.port);
  await server.serveForever();
} else if (command === "invite" || command === "serve") {
  if (command === "serve") {
    await device.serve(["0.0.0.0", 0], () => [204, "No Content", {}, null]);
  }
  await using invitation = await device.invite({ listen: [["127.0.0.1", 0]] });
  console.log(invitation.line);
  console.log((await invitation.paired).name);
} else if (command === "ask") {
  const confirm = () => Deno.stdin.readSync(new Uint8Array(1)) === 1;
  await using invitation = await device.invite({ listen: [["127.0.0.1", 0]], confirm });
  console.log(JSON.stringify(invitation.addresses));
  console.log((await invitation.paired).name);
} else {
  console.log((await device.join(line)).name);
}
