/**
 * Foreign servers: each serves a directory, with and without TLS, and is a proxy in front of Degu servers.
 *
 * @module
 */

import type { TempPKI } from "@degu/degu/misc";
import type { Served } from "./degu_server.ts";
import { complaintOf, delay, run } from "./programs.ts";

/** The ports on which a program listens: files, and as a proxy in front of a `Server` and an `SSLServer`. */
export interface Ports {
  readonly FILES: number;
  readonly FILES_TLS: number;
  readonly PROXY: number;
  readonly PROXY_TLS: number;
}

/** A server that runs. */
export interface ForeignServer extends AsyncDisposable {
  readonly name: string;
  readonly ports: Ports;
}

type Values = Readonly<Record<string, string | number>>;

interface Start {
  readonly name: string;
  /** Its configuration in this directory, if it has one. */
  readonly file?: string;
  command(config: string, values: Values): Promise<readonly string[]> | readonly string[];
}

const HERE = import.meta.dirname ?? "";
const asArguments = (values: Values) => Object.entries(values).map(([k, v]) => `${k}=${v}`);

/** How each one is started. */
export const STARTS: readonly Start[] = [
  { name: "nginx", file: "nginx.conf", command: (config) => ["nginx", "-c", config] },
  { name: "Apache", file: "apache.conf", command: (config) => ["apache2", "-X", "-f", config] },
  { name: "HAProxy", file: "haproxy.cfg", command: (config) => ["haproxy", "-db", "-f", config] },
  {
    name: "Caddy",
    file: "Caddyfile",
    command: (config) => ["caddy", "run", "--adapter", "caddyfile", "--config", config],
  },
  {
    name: "lighttpd",
    file: "lighttpd.conf",
    command: (config) => ["lighttpd", "-D", "-f", config],
  },
  { name: "Node", command: (_, values) => ["node", `${HERE}/server.mjs`, ...asArguments(values)] },
  {
    name: "Go",
    async command(_, values) {
      const program = `${values["DIR"]}/server`;
      const built = await run(["go", "build", "-o", program, `${HERE}/server.go`]);
      if (built !== null && !built.success) throw new Error(complaintOf(built));
      return [program, ...asArguments(values)];
    },
  },
];

/** Starts a server and waits until it listens; `null` if it isn't installed. */
export async function startServer(
  start: Start,
  served: Served,
  pki: TempPKI,
  dir: string,
): Promise<ForeignServer | null> {
  const ports = freePorts();
  const values: Values = {
    DIR: dir,
    ...ports,
    ...portsOf(served),
    ...await writeIdentities(pki, dir),
  };
  const config = `${dir}/${start.file}`;
  if (start.file !== undefined) {
    const text = await Deno.readTextFile(`${HERE}/${start.file}`);
    const filled = text.replaceAll(/\{([A-Z_]+)\}/g, (_, name) => String(values[name]));
    await Deno.writeTextFile(config, filled);
  }
  const ending = Promise.withResolvers<void>();
  // Caddy saves its configuration there.
  const env = { XDG_CONFIG_HOME: dir };
  const running = run(await start.command(config, values), ending.promise, env);
  const stop = async () => {
    ending.resolve();
    return await running;
  };
  for (let attempt = 0; attempt < 100; attempt++) {
    if (await isListening(ports.FILES) && await isListening(ports.PROXY)) {
      return {
        name: start.name,
        ports,
        async [Symbol.asyncDispose]() {
          await stop();
        },
      };
    }
    const ended = await Promise.race([running, delay(100)]);
    if (ended === null) return null;
    if (ended !== undefined) break;
  }
  const ended = await stop();
  throw new Error(`${start.name} does not listen: ${ended && complaintOf(ended)}`);
}

function portsOf(served: Served): Values {
  return { DEGU: new URL(served.http).port, DEGU_TLS: new URL(served.https).port };
}

/** Paths of certificates and keys; some programs want both in one file. */
async function writeIdentities(pki: TempPKI, dir: string): Promise<Record<string, string>> {
  const { serverSslconfig: server, clientSslconfig: client } = pki;
  const join = async (name: string, ...paths: string[]) => {
    const texts = await Promise.all(paths.map((path) => Deno.readTextFile(path)));
    await Deno.writeTextFile(`${dir}/${name}`, texts.join("\n"));
    return `${dir}/${name}`;
  };
  const { certFile = "", keyFile = "" } = client;
  return {
    SERVER_CERT: server.certFile,
    SERVER_KEY: server.keyFile,
    SERVER_BOTH: await join("server_both.pem", server.certFile, server.keyFile),
    SERVER_CA: client.caFile ?? "",
    CLIENT_CERT: certFile,
    CLIENT_KEY: keyFile,
    CLIENT_BOTH: await join("client_both.pem", certFile, keyFile),
    CLIENT_CA: server.caFile ?? "",
  };
}

/** Ports that were free a moment ago: these programs can't be asked to choose one. */
function freePorts(): Ports {
  const listeners = Array.from(
    { length: 4 },
    () => Deno.listen({ hostname: "127.0.0.1", port: 0 }),
  );
  const [FILES = 0, FILES_TLS = 0, PROXY = 0, PROXY_TLS = 0] = listeners.map((l) => l.addr.port);
  for (const listener of listeners) listener.close();
  return { FILES, FILES_TLS, PROXY, PROXY_TLS };
}

/** Whether something accepts connections on a port. */
export async function isListening(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch {
    return false;
  }
}
