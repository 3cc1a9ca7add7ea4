/** Back ends behind a proxy: third-party servers, each of which reports the requests that it received, and what the proxy has sent. */

import type { Address } from "@degu/degu/base";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { obstacleTo, startCommand } from "./commands.ts";
import { passOn, Relay } from "./cutting_relay.ts";
import { unusedPort } from "./ports.ts";
import { RunningProcess } from "./processes.ts";
import { dial, isBroken, turnOfEventLoop } from "./raw_peer.ts";
import { fromLatin1 } from "./wire_grammar.ts";

/** Keeps every byte that a proxy sends to its upstream. */
export class Tap extends Relay {
  #taps: { sent: string }[] = [];

  /** Waits until every connection has ended at both ends; gives what the proxy has sent on each. */
  async takeSent(): Promise<string[]> {
    // A connection that was broken off may still wait to be accepted.
    await turnOfEventLoop();
    await this.ended();
    return this.#taps.splice(0).map(({ sent }) => sent);
  }

  protected relay(proxy: Deno.Conn, backEnd: Deno.Conn): Promise<void>[] {
    const tap = { sent: "" };
    this.#taps.push(tap);
    const both = Promise.all([
      this.#passOn(proxy, backEnd, (bytes) => tap.sent += fromLatin1(bytes)),
      this.#passOn(backEnd, proxy, () => {}),
    ]);
    return [both.then(() => [proxy, backEnd].forEach((conn) => this.close(conn)))];
  }

  /** Relays one direction up to its end, which may be a reset. */
  async #passOn(from: Deno.Conn, to: Deno.Conn, see: (bytes: Uint8Array) => void): Promise<void> {
    try {
      await passOn(from, to, see);
    } catch (error) {
      // Either end may break off; what was seen until then counts.
      if (!isBroken(error) && !(error instanceof Deno.errors.NotConnected)) throw error;
      await to.closeWrite().catch(() => {});
    }
  }
}

/** A request as a back end has seen it to its end; the body as Latin-1 text. */
export interface SeenRequest {
  readonly method: string;
  readonly uri: string;
  readonly body: string;
}

/** A back end that runs. */
export interface BackEnd extends AsyncDisposable {
  readonly address: Address;
  /** What it has seen since it was asked last. */
  take(): SeenRequest[];
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
    address: ["127.0.0.1", port],
    take: () => seen.splice(0),
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
    address: ["127.0.0.1", server.addr.port],
    take: () => seen.splice(0),
    [Symbol.asyncDispose]: () => server.shutdown(),
  });
}

const NGINX = (dir: string, port: unknown) => `
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
export function startNginx(): Promise<BackEnd> {
  return startProgram("nginx", (dir, port) => ({
    address: `${dir}/socket`,
    configuration: NGINX(dir, port),
    args: ["-c", `${dir}/configuration`, "-p", dir],
  }));
}

const APACHE_MODULES = "/usr/lib/apache2/modules";
const APACHE = (dir: string, own: number, port: unknown) => `
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
  const own = await unusedPort(); // it can't be asked to choose one
  return await startProgram("apache2", (dir, port) => ({
    address: ["127.0.0.1", own],
    configuration: APACHE(dir, own, port),
    args: ["-X", "-f", `${dir}/configuration`],
  }));
}

const MOST_ATTEMPTS = 500, PAUSE_MILLISECONDS = 10;

/** Starts a program that relays to `node:http`; `plan` is told its directory, and that server's port. */
async function startProgram(
  program: string,
  plan: (
    dir: string,
    port: unknown,
  ) => { address: Address; configuration: string; args: string[] },
): Promise<BackEnd> {
  const dir = await Deno.makeTempDir({ prefix: "degu-back-end-" });
  const last = await startNodeHttp();
  const { address, configuration, args } = plan(dir, last.address[1]);
  await Deno.writeTextFile(`${dir}/configuration`, configuration);
  const running = new RunningProcess(startCommand([program, ...args], { stdin: "null" }));
  let ended = false;
  running.child.status.then(() => ended = true);
  const stop = async () => {
    if (!ended) running.child.kill("SIGTERM");
    const { stderr } = await running.ended();
    await last[Symbol.asyncDispose]();
    await Deno.remove(dir, { recursive: true });
    return stderr;
  };
  for (let attempt = 0; !await accepts(address); attempt++) {
    if (ended || attempt === MOST_ATTEMPTS) {
      throw new Error(`${program} does not listen: ${await stop()}`);
    }
    // It tells nobody when it listens.
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MILLISECONDS));
  }
  return { address, take: last.take, [Symbol.asyncDispose]: async () => void await stop() };
}

async function accepts(address: Address): Promise<boolean> {
  return await dial(address).then((conn) => (conn.close(), true), () => false);
}

/** Why a program can't be used here, or `null`. */
export const whyNot = (program: string) => obstacleTo([program, "-v"]);
