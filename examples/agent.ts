// deno run --allow-net=0.0.0.0:7443,0.0.0.0:7444,0.0.0.0:7445,0.0.0.0:5353,224.0.0.251:5353,192.168.1.0/24 --allow-sys=networkInterfaces,uid --allow-read=agent,photos --allow-write=agent examples/agent.ts
// A whole agent, which device/docs/local_network.md describes: agent.ts NAME [photos]
import { repeat, runUntilSignal } from "@degu/degu";
import { Device, type Peer, perPeer } from "@degu/degu/device";
import { announce, find, nearby, pair } from "@degu/degu/device/discovery";
import { openTerminal } from "@degu/degu/device/terminal";
import { type FileEvent, FilesApp, type TreeEvent, uploadTree } from "@degu/degu/files";

const [name = "camera", directory] = Deno.args;
const dir = `${Deno.cwd()}/agent`;

async function pairAtTerminal(device: Device, signal: AbortSignal): Promise<Peer> {
  using terminal = openTerminal();
  if (terminal === null) throw new Error("start the program at a terminal");
  return await pair(device, {
    listen: [["0.0.0.0", 7444]],
    signal,
    confirm: terminal.confirm,
    async choose(list, closeSignal) {
      const makeList = () =>
        new Map(list().map(({ id, name }) => [id, `${name} ${id.slice(0, 8)}…`]));
      const id = await terminal.choose(makeList, "which device do you mean?", closeSignal);
      if (id === null) throw new Error("no device was chosen");
      return id;
    },
  });
}

async function main(signal: AbortSignal): Promise<void> {
  await using device = await Device.open(`${dir}/device`, { name });
  const onFile = ({ session, action, path }: FileEvent) => console.log(session?.user, action, path);
  const options = { create: true, list: true, write: true, onFile };
  const app = perPeer((peer) => new FilesApp(`${dir}/inbox/${peer.name}`, options));
  await using server = await device.serve(["0.0.0.0", 7443], app);
  await using _announcement = announce(device, server.port);
  console.log(`${device.name} serves its peers at port ${server.port}`);
  const [storedPeer] = await device.peers();
  const peer = storedPeer ?? await pairAtTerminal(device, signal);
  console.log(`paired with ${peer.name}`);
  console.log(`nearby: ${(await nearby(device, { signal })).map(({ name }) => name).join(", ")}`);
  if (directory === undefined) return await server.serveUntilSignal();
  const client = await device.client(peer, { find, timeout: 20, connectTimeout: 5, signal });
  const onEvent = (event: TreeEvent) =>
    event.type === "retry" && console.log(`retry: ${event.error}`);
  const treeOptions = { delete: true, retries: 20, signal, onEvent };
  await repeat(async () => {
    const { files, bytes } = await uploadTree(client, directory, [], treeOptions);
    if (files > 0) console.log(`mirrored ${files} files, ${bytes} bytes to ${peer.name}`);
  }, { seconds: 5, signal });
}

if (import.meta.main) await runUntilSignal(main);
