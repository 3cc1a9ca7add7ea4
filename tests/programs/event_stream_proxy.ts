/** A proxy whose event streams end at SIGTERM, without a deadline. The argument is the port. */
import { Client, ProxyApp, Server, terminationSignal } from "@degu/degu";

const client = new Client(["127.0.0.1", Number(Deno.args[0])]);
await using app = new ProxyApp(client, { signal: terminationSignal() });
await using server = await Server.start(["127.0.0.1", 0], app);
console.log((server.address as readonly [string, number])[1]);
await server.serveUntilSignal({ deadline: null });
