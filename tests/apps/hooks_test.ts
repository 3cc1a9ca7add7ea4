/** The refusal of misspelled hooks of an app, such as `onConnected`. */
import { type App, reply, routes, Server, wrapApp } from "@degu/degu";
import { callApp, mkreq } from "@degu/degu/misc";
import { callWith } from "@degu/testing/expectations.ts";
import { assertRejects, assertStringIncludes } from "@std/assert";

const handle = () => reply(200);

/** The functions that take an app, and throw or reject for any other value. */
const users: Record<string, (app: App) => unknown> = {
  Server: (app) => Reflect.construct(Server, [["127.0.0.1", 0], app]),
  routes: (app) => callWith(routes, { "GET /": app }),
  wrapApp: (app) => wrapApp(app, (next) => next()),
  callApp: (app) => callApp(app, mkreq("GET", "/")),
};

const misspelled = [
  "onconnect",
  "ONCONNECT",
  "OnConnect",
  "onConnected",
  "onConnection",
  "onConnectPeer",
];
const allowed = ["onConnect", "onDisconnect", "onMessage", "on", "connect", "reOnConnect"];

for (const [name, use] of Object.entries(users)) {
  Deno.test(`${name} refuses an app with a misspelled onConnect, own or inherited, and names onConnect`, async () => {
    const attempt = (app: unknown) => Promise.resolve().then(() => use(app as App));
    for (const method of misspelled) {
      class Base {
        handle = handle;
        [method]() {
          return false;
        }
      }
      class Derived extends Base {}
      for (const app of [{ handle, [method]: () => false }, new Base(), new Derived()]) {
        const error = await assertRejects(() => attempt(app), TypeError, "", method);
        assertStringIncludes(
          error.message,
          `.${method}: is never called; the method of an app is onConnect`,
        );
      }
    }
    for (const method of allowed) {
      const result = await attempt({ handle, [method]: () => true });
      if (result instanceof Server) result.close();
    }
    const accepted = await attempt({ handle, onConnected: true });
    if (accepted instanceof Server) accepted.close();
  });
}
