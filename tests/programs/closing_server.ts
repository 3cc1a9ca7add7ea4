/** Closes each connection 50 ms after its first response. */
import { reply, Server } from "@degu/degu";

await using server = await Server.start(["127.0.0.1", 0], (_request, session) => {
  setTimeout(() => session.close(), 50);
  return reply(200, "hello");
});
console.log((server.address as readonly [string, number])[1]);
await new Promise(() => {});
