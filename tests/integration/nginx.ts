/** nginx in front of a server, as the user of the tests. */

import { startCommand } from "@degu/testing/commands.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { dial } from "@degu/testing/raw_peer.ts";

/**
 * Starts nginx on a Unix socket.
 *
 * @param server The lines of its server.
 * @param http Lines outside of its server.
 */
export async function startNginx(
  server: string,
  http = "",
): Promise<AsyncDisposable & { readonly address: string }> {
  await using openStack = new AsyncDisposableStack();
  const { path: dir } = openStack.use(await createTempDir());
  const temporaryPaths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${dir}/${name};`).join("\n");
  await Deno.writeTextFile(
    `${dir}/nginx.conf`,
    `daemon off;
master_process off;
pid ${dir}/pid;
error_log ${dir}/error.log;
events { worker_connections 4000; }
http {
  access_log off;
  ${temporaryPaths}
  ${http}
  server {
    listen unix:${dir}/socket backlog=2048;
    ${server}
  }
}
`,
  );
  const command = ["nginx", "-e", `${dir}/error.log`, "-c", `${dir}/nginx.conf`, "-p", dir];
  const running = openStack.use(new RunningProcess(startCommand(command, { stdin: "null" })));
  const address = `${dir}/socket`;
  let hasEnded = false;
  running.child.status.then(() => hasEnded = true);
  // nginx doesn't report when it listens.
  while (!await dial(address).then((conn) => (conn.close(), true), () => false)) {
    if (hasEnded) throw new Error(`nginx: ${(await running.waitForEnd()).stderr}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const stack = openStack.move();
  return { address, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}
