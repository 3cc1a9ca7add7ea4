/**
 * Apps whose requests are traced.
 *
 * @module
 */

import { context, propagation } from "npm:@opentelemetry/api@^1.9.0";
import { readAnswer } from "../base/app/answer.ts";
import type { App, AppObject, Socket } from "../base/app/app.ts";
import { readApp } from "../base/app/app_parts.ts";
import type { Session } from "../base/app/session.ts";
import { measure } from "./measure.ts";

/**
 * Makes an app that does what another does, each request in a span that continues the trace in its
 * `traceparent`; the `onConnect` of the app stays. The span ends, and
 * `http.server.request.duration` is recorded, when the app has answered; its body is sent later.
 *
 * The span has the path of the request, but neither its query nor any header. What the app throws is
 * recorded with its message.
 *
 * @param app The app that answers the requests.
 * @throws {TypeError} if `app` is not an app.
 */
export function tracedApp(app: App): AppObject {
  const { handle, onConnect } = readApp(app, "app");
  const encrypted = new WeakSet<Session>();
  return {
    async handle(request, session, api) {
      const { method, uri, headers } = request;
      const scheme = encrypted.has(session) ? "https" : "http";
      const peer = session.address;
      const { returned } = await measure({
        side: "server",
        method,
        shared: { "url.scheme": scheme },
        ofSpan: {
          "url.path": uri.split("?")[0]!,
          ...(peer === null ? {} : {
            "client.address": peer[0],
            "network.peer.address": peer[0],
            "network.peer.port": peer[1],
          }),
        },
        parent: propagation.extract(context.active(), headers),
      }, async () => {
        const returned = await handle(request, session, api);
        return { status: readAnswer(returned).status, returned };
      });
      return returned;
    },
    onConnect(session: Session, socket: Socket) {
      if (socket.protocol !== undefined) encrypted.add(session);
      return onConnect === null || onConnect(session, socket);
    },
  };
}
