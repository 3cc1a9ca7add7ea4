// deno run --allow-net=127.0.0.1 examples/api.ts

// A small JSON API, of lamps, to start from; api_test.ts is its test. To try it:
//   curl -T - http://127.0.0.1:8080/lamp/kitchen <<< '{"on": true}'
//   curl http://127.0.0.1:8080/lamps

import { AllowedMethods, type App, type BodyIn, json, reply, Router, Server } from "@degu/degu";

interface Lamp {
  readonly on: boolean;
}

/** Makes the API, with no lamp yet. */
export function buildApi(): App {
  const lamps = new Map<string, Lamp>();

  const all: App = () => json(Object.fromEntries(lamps));

  const one: App = async (request) => {
    const name = request.shiftPath();
    if (!name || request.path.length > 0) return json({ error: "no such lamp" }, 404);
    const lamp = lamps.get(name);
    if (request.method === "PUT") {
      const value = await readJson(request.body);
      if (!isLamp(value)) return json({ error: 'expected {"on": true} or {"on": false}' }, 400);
      lamps.set(name, { on: value.on });
      return json({ on: value.on }, lamp === undefined ? 201 : 200);
    }
    if (lamp === undefined) return json({ error: "no such lamp" }, 404);
    if (request.method !== "DELETE") return json(lamp);
    lamps.delete(name);
    return reply(204);
  };

  return new Router([
    ["lamps", [[null, new AllowedMethods("GET", "HEAD").wrap(all)]]],
    ["lamp", new AllowedMethods("GET", "HEAD", "PUT", "DELETE").wrap(one)],
  ]);
}

/**
 * The value in a body; `undefined` if it is not JSON. A body that is too long is answered with 413.
 */
async function readJson(body: BodyIn): Promise<unknown> {
  try {
    return await body?.json({ maxBytes: 1000 });
  } catch (error) {
    // A TypeError: it is not UTF-8.
    if (error instanceof SyntaxError || error instanceof TypeError) return undefined;
    throw error;
  }
}

function isLamp(value: unknown): value is Lamp {
  return typeof value === "object" && value !== null && "on" in value &&
    typeof value.on === "boolean";
}

if (import.meta.main) {
  const [port = "8080"] = Deno.args;
  await using server = await Server.start(["127.0.0.1", Number(port)], buildApi());
  console.log(`Serving at http://127.0.0.1:${server.port}/lamps; Ctrl+C ends it.`);
  await server.serveUntilSignal();
}
