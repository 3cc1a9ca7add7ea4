// deno run --allow-net=0.0.0.0:7443,0.0.0.0:7444,0.0.0.0:7445,0.0.0.0:5353,224.0.0.251:5353,192.168.1.0/24 --allow-sys=networkInterfaces,uid --allow-read=agent,photos --allow-write=agent examples/agent.ts
// A whole agent, which device/docs/local_network.md describes: agent.ts NAME [photos]
import { repeat, runUntilSignal } from "@degu/degu";
import { Device, perPeer } from "@degu/degu/device";
import { announce, find, nearby, pair } from "@degu/degu/device/discovery";
import { type FileEvent, FilesApp, type TreeEvent, uploadTree } from "@degu/degu/files";

const [name = "camera", directory] = Deno.args;
const dir = `${Deno.cwd()}/agent`;

// What was typed before a question is no reply to it.
let onLine = (_line: string) => {};
const ask = (question: string) => {
  console.log(question);
  return new Promise<string>((resolve) => onLine = resolve);
};
const readLines = () =>
  Deno.stdin.readable.pipeThrough(new TextDecoderStream())
    .pipeTo(new WritableStream({ write: (line) => onLine(line.trim()) }));

async function main(signal: AbortSignal): Promise<void> {
  await using device = await Device.open(`${dir}/device`, { name });
  const onFile = ({ session, action, path }: FileEvent) => console.log(session?.user, action, path);
  const options = { create: true, list: true, write: true, onFile };
  const app = perPeer((peer) => new FilesApp(`${dir}/inbox/${peer.name}`, options));
  await using server = await device.serve(["0.0.0.0", 7443], app);
  await using _announcement = announce(device, server.port);
  console.log(`${device.name} serves its peers at port ${server.port}`);
  const [storedPeer] = await device.peers();
  if (storedPeer === undefined) readLines();
  const peer = storedPeer ?? await pair(device, {
    listen: [["0.0.0.0", 7444]],
    signal,
    confirm: async ({ number, name }) => {
      const groups = `${number.slice(0, 3)} ${number.slice(3)}`;
      const reply = await ask(`Does ${name} show ${groups}? If so, type this number:`);
      return reply.replace(" ", "") === number;
    },
    choose: async (list) => {
      for (let devices = list();; devices = list()) {
        const names = devices.map(({ name, id }, i) => `\n${i + 1} ${name} (${id.slice(0, 8)}…)`);
        const chosen = devices[Number(await ask(`Type a number, or Enter to list:${names}`)) - 1];
        if (chosen !== undefined) return chosen.id;
      }
    },
  });
  console.log(`paired with ${peer.name}`);
  console.log(`nearby: ${(await nearby(device, { signal })).map(({ name }) => name).join(", ")}`);
  if (directory === undefined) return await server.serveUntilSignal();
  const client = await device.client(peer, { find, maxSilence: 10, connectTimeout: 5, signal });
  const onEvent = (event: TreeEvent) =>
    event.type === "retry" && console.log(`retry: ${event.error}`);
  const treeOptions = { delete: true, retries: 20, signal, onEvent };
  await repeat(async () => {
    const { files, bytes } = await uploadTree(client, directory, [], treeOptions);
    if (files > 0) console.log(`mirrored ${files} files, ${bytes} bytes to ${peer.name}`);
  }, { seconds: 5, signal });
}

if (import.meta.main) await runUntilSignal(main);
