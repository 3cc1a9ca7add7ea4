/** Programs of others, as servers of files and as proxies. */

import { setTimeout as delay } from "node:timers/promises";
import type { TempPKI } from "@degu/degu/misc";
import { MISSING_PROGRAM_CODE, startCommand } from "../../tests/support/commands.ts";
import { findUnusedPort } from "../../tests/support/ports.ts";
import { build, ENV, problemOf } from "./programs.ts";

const DIRECTORY = import.meta.dirname ?? "";

/**
 * The ports of a program: as a server of files over TCP and TLS, and as a proxy in front of a
 * `Server` and an `SSLServer`.
 */
export type Ports = Readonly<Record<"FILES" | "FILES_TLS" | "PROXY" | "PROXY_TLS", number>>;

/** The ports of the servers behind a proxy. */
export type Backend = Readonly<Record<"DEGU" | "DEGU_TLS", number>>;

type Values = Readonly<Record<string, string | number>>;
const formatArguments = (values: Values) =>
  Object.entries(values).map(([name, value]) => `${name}=${value}`);

export interface ForeignServer {
  readonly name: string;
  readonly configName?: string;
  /** True if the program is a proxy, and no server of files. */
  readonly isProxyOnly?: boolean;
  command(config: string, values: Values): Promise<readonly string[]> | readonly string[];
}

export const NODE: ForeignServer = {
  name: "Node",
  command: (_, values) => ["node", `${DIRECTORY}/server.mjs`, ...formatArguments(values)],
};
export const FOREIGN_SERVERS: readonly ForeignServer[] = [
  { name: "nginx", configName: "nginx.conf", command: (config) => ["nginx", "-c", config] },
  {
    name: "Apache",
    configName: "apache.conf",
    command: (config) => ["apache2", "-X", "-f", config],
  },
  {
    name: "HAProxy",
    configName: "haproxy.cfg",
    command: (config) => ["haproxy", "-db", "-f", config],
  },
  {
    name: "Caddy",
    configName: "Caddyfile",
    command: (config) => ["caddy", "run", "--adapter", "caddyfile", "--config", config],
  },
  {
    name: "lighttpd",
    configName: "lighttpd.conf",
    command: (file) => ["lighttpd", "-D", "-f", file],
  },
  NODE,
  {
    name: "Go",
    async command(_, values) {
      const program = `${values["DIR"]}/server`;
      await build(["go", "build", "-o", program, `${DIRECTORY}/server.go`]);
      return [program, ...formatArguments(values)];
    },
  },
];

/** Further proxies and caches in front of a Degu server. */
export const PROXIES: readonly ForeignServer[] = ([
  {
    name: "nginx, cache",
    configName: "nginx_cache.conf",
    command: (config) => ["nginx", "-c", config],
  },
  {
    name: "Squid",
    configName: "squid.conf",
    command: (config) => ["squid", "-N", "-n", "degu", "-f", config],
  },
  { name: "h2o", configName: "h2o.conf", command: (config) => ["h2o", "-c", config] },
  {
    name: "nghttpx",
    command: (_, { PROXY, DEGU }) => [
      "nghttpx",
      `--frontend=127.0.0.1,${PROXY};no-tls`,
      `--backend=127.0.0.1,${DEGU}`,
      "--conf=/dev/null",
      "--workers=1",
      "--no-via",
    ],
  },
  {
    name: "Varnish",
    configName: "varnish.vcl",
    command: (config, { DIR, PROXY }) => [
      "varnishd",
      ...["-F", "-j", "none", "-n", `${DIR}/varnish`, "-a", `127.0.0.1:${PROXY}`, "-f", config],
      ...["-s", "malloc,64m"],
    ],
  },
  {
    name: "Tinyproxy",
    configName: "tinyproxy.conf",
    command: (config) => ["tinyproxy", "-d", "-c", config],
  },
  {
    name: "Traffic Server",
    configName: "remap.config",
    async command(config, { DIR, PROXY }) {
      const root = `${DIR}/trafficserver`;
      for (const name of ["cache", "log", "run"]) {
        await Deno.mkdir(`${root}/${name}`, { recursive: true });
      }
      await Deno.writeTextFile(`${root}/storage.config`, `${root}/cache 64M\n`);
      const settings = {
        HTTP_SERVER_PORTS: `${PROXY}:ip-in=127.0.0.1`,
        URL_REMAP_FILENAME: config,
        CACHE_STORAGE_FILENAME: `${root}/storage.config`,
        LOCAL_STATE_DIR: `${root}/run`,
        LOG_LOGFILE_DIR: `${root}/log`,
        ADMIN_USER_ID: "#-1",
      };
      const variables = Object.entries(settings).map(([name, value]) =>
        `PROXY_CONFIG_${name}=${value}`
      );
      return ["env", ...variables, "traffic_server"];
    },
  },
  {
    name: "Perlbal",
    configName: "perlbal.conf",
    command: (config) => ["perlbal", "-c", config],
  },
  {
    name: "mitmproxy",
    command: (_, { DIR, DEGU, PROXY }) => [
      "mitmdump",
      ...["--mode", `reverse:http://127.0.0.1:${DEGU}`, "--listen-host", "127.0.0.1"],
      ...["--listen-port", `${PROXY}`, "--set", `confdir=${DIR}/mitmproxy`, "-q"],
      ...["--set", "stream_large_bodies=1m"],
    ],
  },
  {
    name: "http-proxy",
    command: (_, values) => [
      ...["env", "NODE_PATH=/usr/share/nodejs", "node", `${DIRECTORY}/http_proxy.cjs`],
      ...formatArguments(values),
    ],
  },
  {
    name: "Deno",
    command: (_, values) => [
      Deno.execPath(),
      ...["run", "--quiet", "--no-config", "--allow-net=127.0.0.1"],
      `${DIRECTORY}/deno_proxy.ts`,
      ...formatArguments(values),
    ],
  },
] satisfies ForeignServer[]).map((proxy) => ({ ...proxy, isProxyOnly: true }));

export interface RunningServer extends AsyncDisposable {
  readonly ports: Ports;
  /** Kills the program and its children, as a power failure would. */
  kill(): Promise<void>;
}

/** @returns `null` if the program is not installed. */
export async function startServer(
  foreignServer: ForeignServer,
  backend: Backend,
  pki: TempPKI,
  dir: string,
  attempts = 5,
): Promise<RunningServer | null> {
  const { name, configName, isProxyOnly = false } = foreignServer;
  const ports = await findFreePorts();
  const values: Values = { DIR: dir, ...ports, ...backend, ...await writeIdentities(pki, dir) };
  const config = `${dir}/${configName}`;
  if (configName !== undefined) {
    const text = await Deno.readTextFile(`${DIRECTORY}/${configName}`);
    const configText = text.replaceAll(/\{([A-Z_]+)\}/g, (_, key) => String(values[key]));
    await Deno.writeTextFile(config, configText);
  }
  const command = await foreignServer.command(config, values);
  const child = startGroup(command, dir);
  if (child === null) return null;
  const output = child.output();
  const kill = async () => {
    try {
      Deno.kill(-child.pid, "SIGKILL");
    } catch {
      // The program has ended.
    }
    await output;
  };
  let hasEnded = false;
  output.then(() => hasEnded = true);
  for (let attempt = 0; attempt < 100 && !hasEnded; attempt++) {
    if (await isListening(ports.PROXY) && (isProxyOnly || await isListening(ports.FILES))) {
      return { ports, kill, [Symbol.asyncDispose]: kill };
    }
    await Promise.race([output, delay(50)]);
  }
  await kill();
  const { code, success, stdout, stderr } = await output;
  if (code === MISSING_PROGRAM_CODE) return null;
  // Another program may use one of the ports.
  if (attempts > 1) return await startServer(foreignServer, backend, pki, dir, attempts - 1);
  const [out = "", err = ""] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  const problem = problemOf({ success, code, stdout: out, stderr: err });
  throw new Error(`${name} does not listen: ${problem}`);
}

/** Starts a program in a process group of its own; returns `null` if it isn't installed. */
function startGroup(command: readonly string[], dir: string): Deno.ChildProcess | null {
  try {
    // Caddy writes its configuration to this directory.
    const env = { ...ENV, XDG_CONFIG_HOME: dir };
    return startCommand(command, { stdin: "null", env, detached: true });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

async function writeIdentities(pki: TempPKI, dir: string): Promise<Record<string, string>> {
  const { serverSslconfig: server, clientSslconfig: client } = pki;
  const concatenate = async (name: string, ...paths: string[]) => {
    const texts = await Promise.all(paths.map((path) => Deno.readTextFile(path)));
    await Deno.writeTextFile(`${dir}/${name}`, texts.join("\n"));
    return `${dir}/${name}`;
  };
  const { certFile = "", keyFile = "" } = client;
  return {
    SERVER_CERT: server.certFile,
    SERVER_KEY: server.keyFile,
    SERVER_BOTH: await concatenate("server_both.pem", server.certFile, server.keyFile),
    SERVER_CA: client.caFile ?? "",
    CLIENT_CERT: certFile,
    CLIENT_KEY: keyFile,
    CLIENT_BOTH: await concatenate("client_both.pem", certFile, keyFile),
    CLIENT_CA: server.caFile ?? "",
  };
}

/**
 * Finds free ports, because these programs can't choose a free port. The ports are outside the
 * range from which the system chooses ports, so no other program is likely to get them.
 */
async function findFreePorts(): Promise<Ports> {
  const ports = new Set<number>();
  while (ports.size < 4) ports.add(await findUnusedPort());
  const [FILES = 0, FILES_TLS = 0, PROXY = 0, PROXY_TLS = 0] = ports;
  return { FILES, FILES_TLS, PROXY, PROXY_TLS };
}

export async function isListening(port: number): Promise<boolean> {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port }).catch(() => null);
  conn?.close();
  return conn !== null;
}
