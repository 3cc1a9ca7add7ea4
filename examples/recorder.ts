// deno run --allow-net --allow-read=recorder-device,recordings --allow-write=recorder-device,recordings --allow-sys=uid,statfs examples/recorder.ts

// Stores the files of paired devices, such as camera.ts and backup.ts, in a directory for each
// device below "recordings". Start this program, which creates its device. Then pair each device
// once:
//   degu --home recorder-device pair

import { accessLog } from "@degu/degu";
import { Device, perPeer } from "@degu/degu/device";
import { FilesApp } from "@degu/degu/files";

// Use a fixed port, because the other device stores the address when the devices are paired.
const [host = "0.0.0.0", port = "7443"] = Deno.args;
await using recorder = await Device.open(`${Deno.cwd()}/recorder-device`, { name: "recorder" });

const options = { create: true, list: true, write: true };
const app = perPeer(({ name }) => new FilesApp(`${Deno.cwd()}/recordings/${name}`, options));
const onExchange = accessLog({ print: console.log });
await using server = await recorder.serve([host, Number(port)], app, { onExchange });
console.log("Recording; Ctrl+C ends it.");
await server.serveUntilSignal();
