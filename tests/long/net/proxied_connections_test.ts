/** A server with default options behind nginx, which makes a connection for each request. */
import { formatAddress } from "@degu/degu/base";
import { findObstacle } from "@degu/testing/commands.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { startNginx } from "@degu/testing/nginx.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { assertEquals } from "@std/assert";
import { setTimeout as wait } from "node:timers/promises";

/** More than the slots and the connections that can wait. */
const CLIENTS = 800;
const REQUESTS = 5;

const NGINX_OBSTACLE = await findObstacle(["nginx", "-v"]);

for (const kind of ["TCP", "a Unix socket"]) {
  for (const milliseconds of [0, 50]) {
    Deno.test({
      name:
        `each request of ${CLIENTS} clients of nginx is answered over ${kind} by an app that takes ${milliseconds} ms`,
      ignore: NGINX_OBSTACLE !== null,
      async fn() {
        await using dir = await createTempDir();
        const app = async () => {
          if (milliseconds > 0) await wait(milliseconds);
          return [200, "OK", {}, "hello"] as const;
        };
        const address = kind === "TCP" ? ["127.0.0.1", 0] as const : `${dir.path}/socket`;
        await using serving = serve(app, {}, address);
        const upstream = kind === "TCP"
          ? formatAddress(serving.address)
          : `unix:${dir.path}/socket`;
        await using nginx = await startNginx(
          "location / { proxy_pass http://upstream; }",
          `upstream upstream { server ${upstream}; }`,
        );
        const statuses = await Promise.all(
          Array.from({ length: CLIENTS }, async () => {
            const statusLines = [];
            using peer = await RawPeer.connect(nginx.address);
            for (let i = 0; i < REQUESTS; i++) {
              await peer.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
              statusLines.push((await peer.readPreamble()).slice(0, 12));
              await peer.readExactly(5);
            }
            return statusLines;
          }),
        );
        assertEquals(new Set(statuses.flat()), new Set(["HTTP/1.1 200"]));
      },
    });
  }
}
