// deno run --allow-net --allow-read=. --allow-write=camera-device --allow-sys=uid examples/camera.ts

// Sends the file that is its argument to the device that runs viewer.ts. The first time it asks for the line
// that viewer.ts shows; what it has to remember of that is in camera-device.

import { Device } from "@degu/degu/device";
import { upload } from "@degu/degu/files";

const [file] = Deno.args;
if (file === undefined) {
  console.error("Usage: camera.ts FILE");
  Deno.exit(2);
}

await using camera = await Device.open(`${Deno.cwd()}/camera-device`, { name: "camera" });
let [viewer] = await camera.peers();
if (viewer === undefined) {
  console.log("Paste the line that viewer.ts shows:");
  viewer = await camera.join(await readLine());
  console.log(`Paired with ${viewer.name} (${viewer.id}).`);
}

// A transfer that was cut is resumed when the program runs again.
const client = await camera.client(viewer);
const name = file.slice(file.lastIndexOf("/") + 1);
const { total, sha256 } = await upload(client, file, [name]);
console.log(`${viewer.name} has ${name}: ${total} bytes, SHA-256 ${sha256}`);

/** Reads up to the end of a line. */
async function readLine(): Promise<string> {
  let text = "";
  for await (const piece of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    text += piece;
    if (text.includes("\n")) break;
  }
  return text;
}
