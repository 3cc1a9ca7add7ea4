/** Back ends behind a proxy: third-party servers, each of which reports the requests that it received. */

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fromLatin1 } from "./wire_grammar.ts";
import type { Endpoint } from "./smuggling_tap.ts";

/** A request as a back end has seen it to its end; the body as Latin-1 text. */
export interface SeenRequest {
  readonly method: string;
  readonly uri: string;
  readonly body: string;
}

/** A back end that runs. */
export interface BackEnd extends AsyncDisposable {
  readonly endpoint: Endpoint;
  /** What it has seen since it was asked last. */
  take(): SeenRequest[];
}

/** Takes the items out of an array. */
function taking<T>(items: T[]): () => T[] {
  return () => items.splice(0);
}

/** The server of `node:http`. */
export async function startNodeHttp(): Promise<BackEnd> {
  const seen: SeenRequest[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (bytes: Uint8Array) => body += fromLatin1(bytes));
    request.on("error", () => {});
    request.on("end", () => {
      if (!request.complete) return;
      seen.push({ method: request.method ?? "", uri: request.url ?? "", body });
      response.end("seen");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: { hostname: "127.0.0.1", port },
    take: taking(seen),
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** The server of Deno. */
export function startDenoServe(): Promise<BackEnd> {
  const seen: SeenRequest[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    let body;
    try {
      body = fromLatin1(await request.bytes());
    } catch {
      return new Response("cut", { status: 400 });
    }
    const { pathname, search } = new URL(request.url);
    // A URL does not tell an empty query from none.
    const mark = search === "" && request.url.endsWith("?") ? "?" : search;
    seen.push({ method: request.method, uri: pathname + mark, body });
    return new Response("seen");
  });
  return Promise.resolve({
    endpoint: { hostname: "127.0.0.1", port: server.addr.port },
    take: taking(seen),
    [Symbol.asyncDispose]: () => server.shutdown(),
  });
}

const NGINX = (dir: string, port: number) => `
daemon off;
master_process off;
pid ${dir}/pid;
error_log ${dir}/error.log;
events {}
http {
  access_log off;
  lingering_timeout 100ms;
  client_body_temp_path ${dir}/body;
  proxy_temp_path ${dir}/proxy;
  fastcgi_temp_path ${dir}/fastcgi;
  uwsgi_temp_path ${dir}/uwsgi;
  scgi_temp_path ${dir}/scgi;
  server {
    listen unix:${dir}/socket;
    location / {
      proxy_pass http://127.0.0.1:${port};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
    }
  }
}
`;

/** nginx, which relays to `node:http`: what comes out of two proxies counts. */
export async function startNginx(): Promise<BackEnd> {
  const dir = await Deno.makeTempDir({ prefix: "degu-nginx-" });
  const last = await startNodeHttp();
  const { port } = last.endpoint as { port: number };
  await Deno.writeTextFile(`${dir}/nginx.conf`, NGINX(dir, port));
  return await startProgram("nginx", ["-c", `${dir}/nginx.conf`, "-p", dir], dir, last, {
    transport: "unix",
    path: `${dir}/socket`,
  });
}

const APACHE_MODULES = "/usr/lib/apache2/modules";
const APACHE = (dir: string, own: number, port: number) => `
ServerName a
ServerRoot ${dir}
DefaultRuntimeDir ${dir}
PidFile ${dir}/pid
ErrorLog ${dir}/error.log
Listen 127.0.0.1:${own}
User www-data
Group www-data
LoadModule mpm_event_module ${APACHE_MODULES}/mod_mpm_event.so
LoadModule authz_core_module ${APACHE_MODULES}/mod_authz_core.so
LoadModule proxy_module ${APACHE_MODULES}/mod_proxy.so
LoadModule proxy_http_module ${APACHE_MODULES}/mod_proxy_http.so
ProxyPreserveHost On
ProxyPass "/" "http://127.0.0.1:${port}/" nocanon
`;

/** Apache, which relays to `node:http`. */
export async function startApache(): Promise<BackEnd> {
  const dir = await Deno.makeTempDir({ prefix: "degu-apache-" });
  const last = await startNodeHttp();
  const { port } = last.endpoint as { port: number };
  const own = freePort();
  await Deno.writeTextFile(`${dir}/apache.conf`, APACHE(dir, own, port));
  return await startProgram("apache2", ["-X", "-f", `${dir}/apache.conf`], dir, last, {
    hostname: "127.0.0.1",
    port: own,
  });
}

/** A port that was free a moment ago: Apache can't be asked to choose one. */
function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  listener.close();
  return listener.addr.port;
}

const MOST_ATTEMPTS = 500, PAUSE_MILLISECONDS = 10;

async function startProgram(
  program: string,
  args: string[],
  dir: string,
  last: BackEnd,
  endpoint: Endpoint,
): Promise<BackEnd> {
  const child = new Deno.Command(program, { args, stdin: "null", stdout: "null", stderr: "piped" })
    .spawn();
  const errors = new Response(child.stderr).text();
  let ended = false;
  child.status.then(() => ended = true);
  const stop = async () => {
    if (!ended) child.kill("SIGTERM");
    await child.status;
    await last[Symbol.asyncDispose]();
    await Deno.remove(dir, { recursive: true });
    return await errors;
  };
  for (let attempt = 0; !await accepts(endpoint); attempt++) {
    if (ended || attempt === MOST_ATTEMPTS) {
      throw new Error(`${program} does not listen: ${await stop()}`);
    }
    // It tells nobody when it listens.
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MILLISECONDS));
  }
  return {
    endpoint,
    take: last.take,
    async [Symbol.asyncDispose]() {
      await stop();
    },
  };
}

async function accepts(endpoint: Endpoint): Promise<boolean> {
  try {
    const conn = await ("path" in endpoint ? Deno.connect(endpoint) : Deno.connect(endpoint));
    conn.close();
    return true;
  } catch {
    return false;
  }
}

/** Why a program can't be used here, or `null`. */
export async function whyNot(program: string): Promise<string | null> {
  try {
    await new Deno.Command(program, { args: ["-v"], stdin: "null", stderr: "null", stdout: "null" })
      .output();
    return null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return `${program} is not installed`;
    if (error instanceof Deno.errors.NotCapable) return `--allow-run does not name ${program}`;
    throw error;
  }
}
