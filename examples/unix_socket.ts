// deno run --allow-net --allow-read=/tmp --allow-write=/tmp examples/unix_socket.ts

import { type Address, Client, Server } from "@degu/degu";

/** Makes a request to the server at the address. */
async function tryAddress(address: Address): Promise<void> {
  await using server = await Server.start(address, () => [200, "OK", { hello: "world" }, null]);
  console.log("A server on", server.address);
  console.log(await new Client(server.address).request("GET", "/"));
}

// Every user who can enter the directory of a socket can connect to it. So it gets its own directory, which
// Deno makes with mode 0700. The server removes the socket when it closes.
const directory = await Deno.makeTempDir({ dir: "/tmp", prefix: "degu-" });
try {
  await tryAddress(`${directory}/socket`);
} finally {
  await Deno.remove(directory);
}

// An abstract name has no file and no mode: every process on the machine can connect.
if (Deno.build.os === "linux") {
  await tryAddress(new TextEncoder().encode(`\0degu-${Deno.pid}`));
}
