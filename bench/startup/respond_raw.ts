import { checkFirst, firstBody, sayReady } from "./ready.ts";

const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
const accepted = listener.accept();
const { port } = listener.addr;
const client = await Deno.connect({ hostname: "127.0.0.1", port });
const server = await accepted;
const buffer = new Uint8Array(16);

await client.write(firstBody);
await server.read(buffer);
await server.write(firstBody);
checkFirst(200, buffer.subarray(0, await client.read(buffer) ?? 0));
await sayReady();
