// deno run --allow-net --allow-read=. --allow-write=. --allow-sys=uid,networkInterfaces examples/viewer.ts

// Start this one first, on the machine that receives files, and then camera.ts on the other one. What a
// device has to remember is in viewer-device, and what it receives in inbox. The address is the argument.

import { accessLog } from "@degu/degu";
import { parseAddress } from "@degu/degu/base";
import { Device } from "@degu/degu/device";
import { FilesApp } from "@degu/degu/files";

// A fixed port, because the camera stores the address when the two are paired.
const address = parseAddress(Deno.args[0] ?? "0.0.0.0:7443");
const inbox = `${Deno.cwd()}/inbox`;
await Deno.mkdir(inbox, { recursive: true });
await using viewer = await Device.open(`${Deno.cwd()}/viewer-device`, { name: "viewer" });

// Serve before you invite: the invitation sends the camera to where this device serves.
const app = new FilesApp(inbox, { write: true });
const onExchange = accessLog((line) => console.log(line));
await using server = await viewer.serve(address, app, { onExchange });

if ((await viewer.peers()).length === 0) {
  const [host] = address;
  await using invitation = await viewer.invite({ listen: [[String(host), 0]] });
  console.log(`Paste this line into camera.ts within ten minutes, and keep it secret:

${invitation.line}
`);
  const peer = await invitation.paired;
  console.log(`Paired with ${peer.name} (${peer.id}).`);
}

console.log("Waiting for files; Ctrl+C ends it.");
await server.serveUntilSignal();
