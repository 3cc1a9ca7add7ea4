// deno run --allow-net=127.0.0.1 examples/api.ts

// A small JSON API for lamps, as a starting point. Its test is api_test.ts. To try it:
//   curl -T - http://127.0.0.1:8080/lamp/kitchen <<< '{"on": true}'
//   curl http://127.0.0.1:8080/lamps

import { type App, json, reply, routes, Server } from "@degu/degu";

interface Lamp {
  readonly on: boolean;
}

/** Makes the API, initially without lamps. */
export function buildApi(): App {
  const lamps = new Map<string, Lamp>();
  const noLamp = () => json({ error: "no such lamp" }, 404);
  return routes({
    "GET /lamps": () => json(Object.fromEntries(lamps)),
    "GET /lamp/{name}": ({ parameters: { name } }) =>
      lamps.has(name) ? json(lamps.get(name)) : noLamp(),
    "DELETE /lamp/{name}": ({ parameters: { name } }) => lamps.delete(name) ? reply(204) : noLamp(),
    "PUT /lamp/{name}": async (request) => {
      const { name } = request.parameters;
      const value = await request.json({ maxBytes: 1000 });
      if (!isLamp(value)) return json({ error: 'expected {"on": true} or {"on": false}' }, 400);
      const isNew = !lamps.has(name);
      lamps.set(name, { on: value.on });
      return json({ on: value.on }, isNew ? 201 : 200);
    },
  });
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
