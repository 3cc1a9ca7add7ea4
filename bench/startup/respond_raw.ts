import { checkFirst, firstBody, sayReady } from "./ready.ts";

const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
const accepted = listener.accept();
const client = await Deno.connect(listener.addr as Deno.NetAddr);
const server = await accepted;
const buffer = new Uint8Array(16);

await client.write(firstBody);
await server.read(buffer);
await server.write(firstBody);
checkFirst(200, buffer.subarray(0, await client.read(buffer) ?? 0));
sayReady();
