/** Forgets to await `checkTrusted()`. A request to `/forget` ends the trust in every peer. */
import { reply, Server } from "@degu/degu";

let isTrusted = true;
await using server = await Server.start(["127.0.0.1", 0], {
  onConnect: () => ({ user: "anna", isTrusted: () => isTrusted }),
  handle(request, session) {
    if (request.path[0] === "forget") isTrusted = false;
    if (request.path[0] === "change") session.checkTrusted();
    return reply(200);
  },
});
console.log((server.address as readonly [string, number])[1]);
await server.serveUntilSignal();
