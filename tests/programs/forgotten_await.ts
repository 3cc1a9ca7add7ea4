/** Forgets to await `ifTrusted()`. A request to `/forget` ends the trust before its step. */
import { reply, Server } from "@degu/degu";

let isTrusted = true;
let steps = -1;
await using server = await Server.start(["127.0.0.1", 0], {
  onConnect: () => ({ user: "anna", isTrusted: () => isTrusted }),
  async handle(request, session) {
    if (request.path[0] === "forget") isTrusted = false;
    session.ifTrusted(() => steps++);
    await new Promise((resolve) => setTimeout(resolve, 10));
    return reply(200, `${steps}`);
  },
});
console.log((server.address as readonly [string, number])[1]);
await server.serveUntilSignal();
