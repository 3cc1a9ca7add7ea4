/**
 * Apps whose requests are traced.
 *
 * @module
 */

import { type Context, context, propagation } from "npm:@opentelemetry/api@^1.9.0";
import { readAnswer } from "../base/app/message.ts";
import { type App, type AppObject, readApp, type Socket } from "../base/app/app.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import type { Session } from "../base/app/session.ts";
import { attempt, measure, pathOf } from "./measure.ts";

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
          "url.path": pathOf(uri),
          ...(peer === null ? {} : {
            "client.address": peer[0],
            "network.peer.address": peer[0],
            "network.peer.port": peer[1],
          }),
        },
        parent: attempt(() => readParent(headers), context.active()),
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

/** The context that a request was sent in, as its headers say. */
function readParent(headers: HeaderDict): Context {
  const { baggage } = headers;
  return propagation.extract(
    context.active(),
    // For each that can't be decoded, Deno's own propagator would print a stack.
    baggage === undefined || isDecodable(`${baggage}`) ? headers : { ...headers, baggage: "" },
  );
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}
