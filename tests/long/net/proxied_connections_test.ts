/** A server with default options behind nginx, which makes a connection for each request. */
import { type Address, formatAddress } from "@degu/degu/base";
import { findObstacle } from "@degu/testing/commands.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { startNginx } from "../../integration/nginx.ts";
import { RawPeer, retryUntilInTime } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { assert } from "@std/assert";
import { setTimeout as wait } from "node:timers/promises";

/** More than the slots and the connections that can wait. */
const CLIENTS = 800;
const REQUESTS = 5;

/** The time of all requests above which the machine may be too busy for nginx. */
const MAX_MILLISECONDS = 10_000;

const NGINX_OBSTACLE = await findObstacle(["nginx", "-v"]);

async function getStatuses(address: Address): Promise<string[]> {
  const statuses = [];
  using peer = await RawPeer.connect(address);
  for (let i = 0; i < REQUESTS; i++) {
    await peer.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    statuses.push((await peer.readPreamble()).slice(0, 12));
    if (statuses.at(-1) !== "HTTP/1.1 200") break;
    await peer.readExactly(5);
  }
  return statuses;
}

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
        await retryUntilInTime("nginx keeps the server waiting", async () => {
          const start = performance.now();
          const statuses = await Promise.all(
            Array.from({ length: CLIENTS }, () => getStatuses(nginx.address)),
          );
          const isRight = statuses.flat().every((status) => status === "HTTP/1.1 200");
          // A connection that keeps the server waiting for a second gives way.
          if (performance.now() - start < MAX_MILLISECONDS) {
            assert(isRight, [...new Set(statuses.flat())].join());
          }
          return isRight;
        });
      },
    });
  }
}
