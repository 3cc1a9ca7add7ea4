// deno run --allow-net --allow-read=/tmp --allow-write=/tmp examples/proxy.ts

import { AllowedMethods, type App, Client, ProxyApp, Router, Server } from "@degu/degu";

/** A service that only local programs can reach, over a Unix socket. */
const service = (name: string): App => async ({ method, uri, body }) => {
  const text = body === null ? "" : ` with ${(await body.bytes()).length} bytes`;
  return [200, "OK", { service: name, asked: `${method} ${uri}${text}` }, null];
};

const directory = await Deno.makeTempDir({ dir: "/tmp", prefix: "degu-" });
try {
  await using photos = await Server.start(`${directory}/photos`, service("photos"));
  await using music = await Server.start(`${directory}/music`, service("music"));

  // The gateway relays /photos to one service, and /music to the other, which is read-only. Each proxy keeps
  // its connections under its own key.
  const gateway = new Router([
    ["photos", new ProxyApp(new Client(photos.address), "photos")],
    [
      "music",
      new AllowedMethods("GET", "HEAD").wrap(new ProxyApp(new Client(music.address), "music")),
    ],
  ]);
  await using server = await Server.start(["127.0.0.1", 0], gateway);

  using conn = await new Client(server.address).connect();
  console.log(await conn.get("/photos/2024/?sort=name"));
  console.log(await conn.put("/photos/2024/new", {}, new Uint8Array(100_000)));
  console.log(await conn.get("/music/songs"));
  console.log(await conn.delete("/music/songs"));
} finally {
  await Deno.remove(directory, { recursive: true });
}
