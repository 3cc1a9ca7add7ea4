/** Degu servers for programs that do their own work: files, routes, a proxy, and nginx before it. */

import { type App, Client, type Logger, ProxyApp, reply, routes, Server } from "@degu/degu";
import { FilesApp } from "@degu/degu/files";
import { findUnusedPort } from "../../tests/support/ports.ts";
import { run } from "./programs.ts";
import { startProgram, waitUntilListening } from "./small_servers.ts";

/** A column of the table: how a client reaches the files, and the other apps. */
export interface Front {
  readonly name: string;
  /** The URL of the directory with the files, with its slash. */
  readonly files: string;
  /** The URL of the other apps, without a slash at its end; `null` if there are none. */
  readonly apps: string | null;
}

export interface RealServers extends AsyncDisposable {
  /** The names of all columns. */
  readonly frontNames: readonly string[];
  /** Without the last one if nginx isn't installed. */
  readonly fronts: readonly Front[];
  /** The lines that the servers logged since the last call, without `debug`. */
  takeLog(): readonly string[];
}

/** An image for registry clients: its configuration, and no layer. */
async function makeRegistry(): Promise<App> {
  const digestOf = async (bytes: Uint8Array<ArrayBuffer>) => {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    return `sha256:${digest.toHex()}`;
  };
  const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const config = encode({
    architecture: "amd64",
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: [] },
  });
  const configDigest = await digestOf(config);
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = encode({
    schemaVersion: 2,
    mediaType,
    config: {
      mediaType: "application/vnd.oci.image.config.v1+json",
      digest: configDigest,
      size: config.length,
    },
    layers: [],
  });
  const manifestDigest = await digestOf(manifest);
  return (request) => {
    const path = request.path.join("/");
    if (path === "") return reply(200, "{}", { "content-type": "application/json" });
    if (path === `degu/blobs/${configDigest}`) return reply(200, config);
    if (path === "degu/manifests/1" || path === `degu/manifests/${manifestDigest}`) {
      return reply(200, manifest, {
        "content-type": mediaType,
        "docker-content-digest": manifestDigest,
      });
    }
    return reply(404);
  };
}

/** A printer that has a name and a state: IPP over HTTP (RFC 8010). */
const printer: App = async (request) => {
  const body = await request.bytes({ maxBytes: 65_536 });
  const text = (tag: number, name: string, value: string) => [
    ...[tag, 0, name.length, ...new TextEncoder().encode(name)],
    ...[0, value.length, ...new TextEncoder().encode(value)],
  ];
  const bytes = new Uint8Array([
    ...[body[0] ?? 2, body[1] ?? 0, 0, 0, ...body.subarray(4, 8), 1],
    ...text(0x47, "attributes-charset", "utf-8"),
    ...text(0x48, "attributes-natural-language", "en"),
    4,
    ...text(0x42, "printer-name", "degu"),
    3,
  ]);
  return reply(200, bytes, { "content-type": "application/ipp" });
};

/** Sends the method, the kind of the body and the body back. */
const echo: App = async (request) => {
  const { method, body } = request;
  const kind = body === null ? "none" : body.chunked ? "chunked" : "length";
  return reply(200, `${method} ${kind} ${await request.text({ maxBytes: 65_536 })}`);
};

export async function startRealServers(dir: string): Promise<RealServers> {
  let log: string[] = [];
  const addLogLine = (line: string) => void log.push(line.split("\n")[0] ?? "");
  const logger: Logger = { debug() {}, info: addLogLine, warn: addLogLine, error: addLogLine };
  const stack = new AsyncDisposableStack();
  const start = async (app: App) => {
    const server = stack.use(await Server.start(["127.0.0.1", 0], app, { logger }));
    return server.address;
  };
  const originOf = (port: unknown) => `http://127.0.0.1:${port}`;

  const files = await start(new FilesApp(`${dir}/real`, { write: true }));
  const apps = await start(routes({
    "/a/files/": new FilesApp(`${dir}/real`, { write: true }),
    "/v2/": await makeRegistry(),
    "POST /ipp/print": printer,
    "POST /echo": echo,
  }));
  const proxy = await start(stack.use(new ProxyApp(new Client(apps))));
  const fronts = [
    { name: "files", files: `${originOf(files[1])}/`, apps: null },
    { name: "routes", files: `${originOf(apps[1])}/a/files/`, apps: originOf(apps[1]) },
    { name: "proxy", files: `${originOf(proxy[1])}/a/files/`, apps: originOf(proxy[1]) },
  ];
  // With the default, HTTP/1.0, for its upstreams. FFmpeg doesn't wait for the response to an upload.
  const nginxPort = await findUnusedPort();
  await Deno.writeTextFile(
    `${dir}/nginx_default.conf`,
    `daemon off; pid ${dir}/nginx_default.pid; error_log stderr; events {}
    http { access_log off; client_body_temp_path ${dir}; proxy_temp_path ${dir};
      fastcgi_temp_path ${dir}; uwsgi_temp_path ${dir}; scgi_temp_path ${dir};
      server { listen 127.0.0.1:${nginxPort}; location / { proxy_pass ${originOf(apps[1])};
        proxy_ignore_client_abort on; } } }`,
  );
  const hasNginx = await run(["nginx", "-v"]) !== null;
  if (hasNginx) {
    const command = ["nginx", "-c", `${dir}/nginx_default.conf`];
    const nginx = stack.use(startProgram(command, `${dir}/nginx_default.out`));
    await waitUntilListening(nginxPort, nginx);
  } else console.log("nginx: not installed");
  const nginxUrl = originOf(nginxPort);
  fronts.push({ name: "nginx with HTTP/1.0", files: `${nginxUrl}/a/files/`, apps: nginxUrl });
  return {
    frontNames: fronts.map(({ name }) => name),
    fronts: hasNginx ? fronts : fronts.slice(0, -1),
    takeLog() {
      const lines = log;
      log = [];
      return lines;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
