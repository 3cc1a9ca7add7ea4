/**
 * Small servers, as devices and programs have them: a table of the questions whose answers are the
 * same for a Degu client and for curl.
 */

import { setTimeout as delay } from "node:timers/promises";
import type { TempPKI } from "@degu/degu/misc";
import { findUnusedPort } from "../../tests/support/ports.ts";
import { MISSING_PROGRAM_CODE } from "../../tests/support/commands.ts";
import { type DeguServers, ENV, findVersion, NOT_INSTALLED, run } from "./programs.ts";
import { type FormBody, type Paths, QUESTIONS, tryQuestion } from "./questions.ts";
import { Notes, type Table } from "./tables.ts";

const DIRECTORY = import.meta.dirname ?? "";

/** The directory of a server, and its port. */
interface Site {
  /** The directory for configurations, which has the files in `www`. */
  readonly dir: string;
  readonly port: number;
  /** The port of a server behind this server. */
  readonly backendPort: number;
}

interface SmallServer {
  readonly name: string;
  /** A command that prints the version. */
  readonly version: readonly string[];
  readonly paths: Paths;
  readonly env?: Readonly<Record<string, string>>;
  readonly form?: FormBody;
  /** The name of the server behind this server. */
  readonly backend?: string;
  /** Writes the configuration, and returns the command. */
  start(site: Site): readonly string[] | Promise<readonly string[]>;
}

const FILES: Paths = {
  file: "/file.txt",
  large: "/large.bin",
  empty: "/empty.txt",
  missing: "/missing",
  directory: "/sub",
  list: "/sub/",
};
const PROGRAMS: Paths = {
  program: "/cgi-bin/program",
  cookies: "/cgi-bin/cookies",
  moved: "/cgi-bin/moved",
  echo: "/cgi-bin/echo",
};
const APP_PROGRAMS: Paths = {
  program: "/program",
  cookies: "/cookies",
  moved: "/moved",
  echo: "/echo",
};
/** The paths of `asgi.py` and `wsgi.py`. */
const APP: Paths = { file: "/file", ...APP_PROGRAMS };
/** The Python for which Debian installs libraries. */
const PYTHON = "/usr/bin/python3";

/** The attributes of a printer: an IPP request (RFC 8011), for a printer with this path. */
function makeIppRequest(printerUri: string): FormBody {
  const text = (tag: number, name: string, value: string) => [
    ...[tag, 0, name.length, ...new TextEncoder().encode(name)],
    ...[0, value.length, ...new TextEncoder().encode(value)],
  ];
  const bytes = new Uint8Array([
    ...[2, 0, 0, 0x0b, 0, 0, 0, 1, 1],
    ...text(0x47, "attributes-charset", "utf-8"),
    ...text(0x48, "attributes-natural-language", "en"),
    ...text(0x45, "printer-uri", printerUri),
    ...text(0x44, "requested-attributes", "printer-name"),
    3,
  ]);
  return { contentType: "application/ipp", bytes };
}

/** A request for the list of a media server (UPnP ContentDirectory:1). */
const BROWSE: FormBody = {
  contentType: 'text/xml; charset="utf-8"',
  headers: [["soapaction", '"urn:schemas-upnp-org:service:ContentDirectory:1#Browse"']],
  bytes: new TextEncoder().encode(
    '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" ' +
      's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body><u:Browse ' +
      'xmlns:u="urn:schemas-upnp-org:service:ContentDirectory:1"><ObjectID>0</ObjectID>' +
      "<BrowseFlag>BrowseDirectChildren</BrowseFlag><Filter>*</Filter><StartingIndex>0" +
      "</StartingIndex><RequestedCount>10</RequestedCount><SortCriteria></SortCriteria>" +
      "</u:Browse></s:Body></s:Envelope>",
  ),
};

const SERVERS: readonly SmallServer[] = [
  {
    name: "nginx",
    version: ["nginx", "-v"],
    paths: FILES,
    async start({ dir, port }) {
      const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map((name) => `${name}_temp_path ${dir};`);
      await Deno.writeTextFile(
        `${dir}/nginx.conf`,
        `daemon off; user root; pid ${dir}/nginx.pid; error_log stderr; events {}
        http { access_log off; ${paths.join(" ")} types { text/plain txt; }
        server { listen 127.0.0.1:${port}; root ${dir}/www; autoindex on; } }`,
      );
      return ["nginx", "-c", `${dir}/nginx.conf`];
    },
  },
  {
    name: "Apache",
    version: ["apache2", "-v"],
    paths: { ...FILES, ...PROGRAMS },
    async start({ dir, port }) {
      const modules = ["mpm_event", "authz_core", "dir", "autoindex", "mime", "alias", "cgid"]
        .map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so\n`);
      await Deno.writeTextFile(
        `${dir}/apache.conf`,
        `${modules.join("")}ServerRoot ${dir}\nServerName localhost\nPidFile ${dir}/apache.pid
        Listen 127.0.0.1:${port}\nDocumentRoot ${dir}/www\nErrorLog /dev/stderr
        ScriptSock ${dir}/cgid\nTypesConfig /etc/mime.types\nEnableSendfile off
        ScriptAlias /cgi-bin/ ${dir}/www/cgi-bin/\n<Directory ${dir}/www>
        Options Indexes ExecCGI\nRequire all granted\n</Directory>\n`,
      );
      return ["apache2", "-X", "-f", `${dir}/apache.conf`];
    },
  },
  {
    name: "Caddy",
    version: ["caddy", "version"],
    paths: FILES,
    start: ({ dir, port }) => [
      ...["env", `XDG_CONFIG_HOME=${dir}`, `XDG_DATA_HOME=${dir}`, "caddy", "file-server"],
      ...["--browse", "--listen", `127.0.0.1:${port}`, "--root", `${dir}/www`],
    ],
  },
  {
    name: "h2o",
    version: ["h2o", "--version"],
    paths: FILES,
    async start({ dir, port }) {
      await Deno.writeTextFile(
        `${dir}/h2o.conf`,
        `listen:\n  host: 127.0.0.1\n  port: ${port}\nuser: root\nhosts:\n  default:\n` +
          `    paths:\n      /:\n        file.dir: ${dir}/www\n        file.dirlisting: ON\n`,
      );
      return ["h2o", "-c", `${dir}/h2o.conf`];
    },
  },
  {
    name: "Tomcat",
    version: ["/usr/share/tomcat10/bin/version.sh"],
    paths: {
      ...FILES,
      program: "/program.jsp",
      cookies: "/cookies.jsp",
      moved: "/moved.jsp",
      echo: "/echo.jsp",
    },
    async start({ dir, port }) {
      const base = `${dir}/tomcat`;
      for (const name of ["conf", "webapps/ROOT/sub", "logs", "work", "temp"]) {
        await Deno.mkdir(`${base}/${name}`, { recursive: true });
      }
      for (const name of ["file.txt", "large.bin", "empty.txt"]) {
        await Deno.copyFile(`${dir}/www/${name}`, `${base}/webapps/ROOT/${name}`);
      }
      await run(["cp", "/etc/tomcat10/web.xml", `${base}/conf/web.xml`]);
      const pages = {
        program: "hello<% out.flush(); %> world",
        cookies: '<% response.addHeader("Set-Cookie", "a=1"); ' +
          'response.addHeader("Set-Cookie", "b=2"); %>',
        moved: '<% response.sendRedirect("/file.txt"); %>',
        echo: "<% request.getInputStream().transferTo(response.getOutputStream()); %>",
      };
      for (const [name, page] of Object.entries(pages)) {
        await Deno.writeTextFile(
          `${base}/webapps/ROOT/${name}.jsp`,
          `<%@ page session="false" contentType="text/plain" %>${page}`,
        );
      }
      await Deno.writeTextFile(
        `${base}/conf/server.xml`,
        `<Server port="-1"><Service name="s"><Connector address="127.0.0.1" port="${port}"/>` +
          `<Engine name="e" defaultHost="h"><Host name="h" appBase="webapps"/></Engine>` +
          `</Service></Server>`,
      );
      return [
        ...["env", "CATALINA_HOME=/usr/share/tomcat10", `CATALINA_BASE=${base}`],
        ...["/usr/share/tomcat10/bin/catalina.sh", "run"],
      ];
    },
  },
  {
    name: "lighttpd, CGI",
    version: ["lighttpd", "-v"],
    paths: { ...FILES, ...PROGRAMS },
    start: ({ dir, port }) => writeLighttpd(dir, port),
  },
  {
    name: "Varnish",
    version: ["varnishd", "-V"],
    paths: { ...FILES, ...PROGRAMS },
    backend: "lighttpd, CGI",
    start: ({ dir, port, backendPort }) => [
      ...["varnishd", "-F", "-j", "none", "-n", `${dir}/varnish`, "-a", `127.0.0.1:${port}`],
      ...["-b", `127.0.0.1:${backendPort}`, "-s", "malloc,64m"],
    ],
  },
  {
    name: "mini-httpd",
    version: ["mini_httpd", "-V"],
    // Its programs get no body.
    paths: { ...FILES, ...PROGRAMS, echo: undefined },
    start: ({ dir, port }) => [
      ...["mini_httpd", "-D", "-h", "127.0.0.1", "-p", `${port}`, "-d", `${dir}/www`],
      ...["-c", "cgi-bin/*", "-u", "root"],
    ],
  },
  {
    name: "BusyBox",
    version: ["busybox"],
    paths: { ...FILES, ...PROGRAMS },
    start: ({ dir, port }) => [
      ...["busybox", "httpd", "-f", "-p", `127.0.0.1:${port}`, "-h", `${dir}/www`],
    ],
  },
  {
    name: "http.server",
    version: [PYTHON, "--version"],
    paths: { ...FILES, ...PROGRAMS },
    start: ({ dir, port }) => [
      ...[PYTHON, "-m", "http.server", "--cgi", "--bind", "127.0.0.1"],
      ...["--directory", `${dir}/www`, `${port}`],
    ],
  },
  {
    name: "micro_httpd",
    version: ["dpkg-query", "-W", "micro-httpd"],
    paths: FILES,
    // This program serves one request at its standard input.
    start: (
      { dir, port },
    ) => [PYTHON, `${DIRECTORY}/inetd.py`, `${port}`, "micro-httpd", `${dir}/www`],
  },
  {
    name: "webfs",
    version: ["dpkg-query", "-W", "webfs"],
    paths: { ...FILES, ...PROGRAMS },
    start: ({ dir, port }) => [
      ...["webfsd", "-F", "-4", "-i", "127.0.0.1", "-p", `${port}`, "-r", `${dir}/www`],
      ...["-x", "cgi-bin"],
    ],
  },
  {
    name: "libsoup",
    version: [PYTHON, `${DIRECTORY}/soup.py`],
    paths: { file: "/file.txt", large: "/large.bin", missing: "/missing" },
    start: ({ dir, port }) => [PYTHON, `${DIRECTORY}/soup.py`, `${dir}/www`, `${port}`],
  },
  {
    name: "Privoxy, full",
    version: ["privoxy", "--version"],
    paths: { file: "/" },
    start: ({ dir, port }) => [`${DIRECTORY}/full_privoxy.sh`, dir, `${port}`],
  },
  {
    name: "padded chunks",
    version: [PYTHON, "--version"],
    paths: { program: "/program", missing: "/missing" },
    start: ({ port }) => [PYTHON, `${DIRECTORY}/esp.py`, `${port}`],
  },
  {
    name: "WEBrick",
    version: ["ruby", "-rwebrick", "-e", "puts WEBrick::VERSION"],
    paths: { ...FILES, ...APP_PROGRAMS },
    start: ({ dir, port }) => ["ruby", `${DIRECTORY}/webrick.rb`, `${dir}/www`, `${port}`],
  },
  {
    name: "Starman",
    version: ["starman", "--version"],
    paths: {
      ...FILES,
      ...APP_PROGRAMS,
    },
    start: ({ dir, port }) => [
      ...["starman", "--listen", `127.0.0.1:${port}`, "--workers", "2", "--env", "deployment"],
      ...[
        "-e",
        `use Plack::App::Directory; my $files = Plack::App::Directory->new({root =>
        "${dir}/www"})->to_app; sub {
          my ($env) = @_; my $path = $env->{PATH_INFO};
          return [200, ["Content-Type", "text/plain"], ["hello", " world"]] if $path eq "/program";
          return [200, ["Set-Cookie", "a=1", "Set-Cookie", "b=2"], ["ok"]] if $path eq "/cookies";
          return [302, ["Location", "/file.txt"], []] if $path eq "/moved";
          if ($path eq "/echo") {
            my $body = ""; while ($env->{"psgi.input"}->read(my $piece, 65536)) { $body .= $piece }
            return [200, ["Content-Type", "text/plain"], [$body]];
          }
          $files->($env) }`,
      ],
    ],
  },
  {
    name: "Hypercorn",
    version: [PYTHON, "-c", "import importlib.metadata as m; print(m.version('hypercorn'))"],
    paths: APP,
    start: ({ port }) => [
      ...[PYTHON, "-m", "hypercorn", "--bind", `127.0.0.1:${port}`],
      "asgi:app",
    ],
    env: { PYTHONPATH: DIRECTORY },
  },
  {
    name: "Uvicorn",
    version: [PYTHON, "-m", "uvicorn", "--version"],
    paths: APP,
    start: ({ port }) => [
      ...[PYTHON, "-m", "uvicorn", "--app-dir", DIRECTORY, "--host", "127.0.0.1"],
      ...["--port", `${port}`, "asgi:app"],
    ],
  },
  {
    name: "Gunicorn",
    version: [PYTHON, "-m", "gunicorn", "--version"],
    paths: APP,
    start: ({ port }) => [
      ...[
        PYTHON,
        "-m",
        "gunicorn",
        "--chdir",
        DIRECTORY,
        "--bind",
        `127.0.0.1:${port}`,
        "wsgi:app",
      ],
    ],
  },
  {
    name: "Waitress",
    version: [PYTHON, "-c", "import importlib.metadata as m; print(m.version('waitress'))"],
    paths: APP,
    env: { PYTHONPATH: DIRECTORY },
    start: ({ port }) => [PYTHON, "-m", "waitress", `--listen=127.0.0.1:${port}`, "wsgi:app"],
  },
  {
    name: "PHP",
    version: ["php", "--version"],
    paths: {
      ...FILES,
      program: "/program.php",
      cookies: "/cookies.php",
      moved: "/moved.php",
      echo: "/echo.php",
    },
    async start({ dir, port }) {
      const pages = {
        program: "hello<?php flush(); ?> world",
        cookies: '<?php setcookie("a", "1"); setcookie("b", "2");',
        moved: '<?php header("Location: /file.txt");',
        echo: '<?php header("Content-Type: text/plain"); echo file_get_contents("php://input");',
      };
      for (const [name, page] of Object.entries(pages)) {
        await Deno.writeTextFile(`${dir}/www/${name}.php`, page);
      }
      return ["php", "-n", "-S", `127.0.0.1:${port}`, "-t", `${dir}/www`];
    },
  },
  {
    name: "Erlang inets",
    version: [
      ...["erl", "-noshell", "-eval"],
      "application:load(inets), {ok, V} = application:get_key(inets, vsn), io:put_chars(V), halt().",
    ],
    paths: FILES,
    start: ({ dir, port }) => [
      ...["erl", "-noshell", "-eval"],
      `inets:start(), {ok, _} = inets:start(httpd, [{port, ${port}}, {bind_address, {127,0,0,1}},
        {server_name, "localhost"}, {server_root, "${dir}"}, {document_root, "${dir}/www"},
        {directory_index, ["index.html"]}, {modules, [mod_alias, mod_range, mod_dir, mod_get, mod_head]}]).`,
    ],
  },
  {
    name: "CUPS",
    version: ["dpkg-query", "-W", "cups-daemon"],
    paths: {
      file: "/robots.txt",
      large: "/cups.css",
      missing: "/missing",
      directory: "/help",
      list: "/",
      program: "/printers/",
      echo: "/",
      form: "/",
    },
    form: makeIppRequest("ipp://localhost/printers/none"),
    async start({ dir, port }) {
      for (const name of ["root", "spool", "cache", "state"]) {
        await Deno.mkdir(`${dir}/cups/${name}`, { recursive: true });
      }
      const files = {
        ServerRoot: "root",
        RequestRoot: "spool",
        CacheDir: "cache",
        StateDir: "state",
      };
      await Deno.writeTextFile(
        `${dir}/cups-files.conf`,
        Object.entries(files).map(([name, path]) => `${name} ${dir}/cups/${path}\n`).join("") +
          `AccessLog stderr\nErrorLog stderr\nPageLog stderr\n`,
      );
      await Deno.writeTextFile(
        `${dir}/cupsd.conf`,
        `Listen 127.0.0.1:${port}\nBrowsing Off\nWebInterface Yes\n` +
          `<Location />\n  Order allow,deny\n  Allow localhost\n</Location>\n`,
      );
      return ["cupsd", "-f", "-c", `${dir}/cupsd.conf`, "-s", `${dir}/cups-files.conf`];
    },
  },
  {
    name: "MiniDLNA",
    version: ["minidlnad", "-V"],
    paths: {
      file: "/rootDesc.xml",
      large: "/icons/lrg.png",
      missing: "/missing",
      list: "/",
      directory: "/ContentDir.xml",
      form: "/ctl/ContentDir",
    },
    form: BROWSE,
    async start({ dir, port }) {
      await Deno.mkdir(`${dir}/minidlna/media`, { recursive: true });
      await Deno.writeTextFile(
        `${dir}/minidlna.conf`,
        `port=${port}\nnetwork_interface=lo\nmedia_dir=${dir}/minidlna/media\n` +
          `db_dir=${dir}/minidlna\nlog_dir=${dir}/minidlna\ninotify=no\nfriendly_name=degu\n` +
          `uuid=00000000-0000-0000-0000-000000000001\nserial=1\n`,
      );
      return ["minidlnad", "-S", "-r", "-f", `${dir}/minidlna.conf`, "-P", `${dir}/minidlna.pid`];
    },
  },
  {
    name: "Icecast",
    version: ["icecast2", "-v"],
    paths: {
      file: "/style.css",
      missing: "/missing",
      list: "/",
      program: "/status-json.xsl",
      directory: "/admin/",
    },
    async start({ dir, port }) {
      await Deno.mkdir(`${dir}/icecast`);
      await Deno.chmod(`${dir}/icecast`, 0o777);
      await Deno.writeTextFile(
        `${dir}/icecast.xml`,
        `<icecast><limits><sources>2</sources></limits>
        <authentication><source-password>s</source-password><admin-user>admin</admin-user>
        <admin-password>s</admin-password></authentication><hostname>localhost</hostname>
        <listen-socket><port>${port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
        <paths><basedir>/usr/share/icecast2</basedir><logdir>${dir}/icecast</logdir>
        <webroot>/usr/share/icecast2/web</webroot><adminroot>/usr/share/icecast2/admin</adminroot>
        </paths><security><chroot>0</chroot><changeowner><user>nobody</user><group>nogroup</group>
        </changeowner></security></icecast>`,
      );
      return ["icecast2", "-c", `${dir}/icecast.xml`];
    },
  },
];

async function writeLighttpd(dir: string, port: number): Promise<readonly string[]> {
  await Deno.writeTextFile(
    `${dir}/lighttpd.conf`,
    `server.modules = ("mod_cgi", "mod_dirlisting")
server.document-root = "${dir}/www"
server.errorlog = "${dir}/lighttpd.log"
server.bind = "127.0.0.1"
server.port = ${port}
server.stream-response-body = 1
dir-listing.activate = "enable"
mimetype.assign = (".txt" => "text/plain")
$HTTP["url"] =~ "^/cgi-bin/" { cgi.assign = ("" => "") }
`,
  );
  return ["lighttpd", "-D", "-f", `${dir}/lighttpd.conf`];
}

const CGI_PROGRAMS: Readonly<Record<string, string>> = {
  program: "printf 'Content-Type: text/plain\\r\\n\\r\\nhello'; echo ' world'",
  cookies:
    "printf 'Set-Cookie: a=1\\r\\nSet-Cookie: b=2\\r\\nContent-Type: text/plain\\r\\n\\r\\nok'",
  moved: "printf 'Status: 302 Found\\r\\nLocation: /file.txt\\r\\n\\r\\n'",
  echo: "printf 'Content-Type: text/plain\\r\\n\\r\\n'; head -c \"${CONTENT_LENGTH:-0}\"",
};

async function writeSite(dir: string): Promise<void> {
  await Deno.mkdir(`${dir}/www/sub`, { recursive: true });
  await Deno.mkdir(`${dir}/www/cgi-bin`);
  await Deno.chmod(dir, 0o755);
  await Deno.writeTextFile(`${dir}/www/file.txt`, "abcdefghijklmnopqrstuvwxyz");
  await Deno.writeTextFile(`${dir}/www/empty.txt`, "");
  await Deno.writeFile(`${dir}/www/large.bin`, Uint8Array.from({ length: 300_000 }, (_, i) => i));
  for (const [name, script] of Object.entries(CGI_PROGRAMS)) {
    await Deno.writeTextFile(`${dir}/www/cgi-bin/${name}`, `#!/bin/sh\n${script}\n`);
    await Deno.chmod(`${dir}/www/cgi-bin/${name}`, 0o755);
  }
}

interface RunningProgram {
  /** Returns the exit code, as in a shell; `null` while the program runs. */
  exitCode(): number | null;
}

/** Starts a program that ends when the result is disposed of, or five minutes later. */
export function startProgram(
  command: readonly string[],
  logFile: string,
  env: Readonly<Record<string, string>> = {},
): RunningProgram & AsyncDisposable {
  // timeout ends the processes that the program has started, also. Their output is a file, because
  // a process that stays would keep a pipe open.
  const child = new Deno.Command("timeout", {
    args: ["--kill-after=5", "300", "sh", "-c", 'exec "$@" > "$0" 2>&1', logFile, ...command],
    stdin: "null",
    stdout: "null",
    stderr: "null",
    env: { ...ENV, ...env },
  }).spawn();
  let exitCode: number | null = null;
  const ended = child.status.then(({ code }) => exitCode = code);
  return {
    exitCode: () => exitCode,
    async [Symbol.asyncDispose]() {
      if (exitCode === null) child.kill("SIGTERM");
      await ended;
    },
  };
}

async function isListening(port: number): Promise<boolean> {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port }).catch(() => null);
  conn?.close();
  return conn !== null;
}

/** Waits until a port has a listener; false if the program ends first, or takes 40 seconds. */
export async function waitUntilListening(
  port: number,
  program: RunningProgram,
): Promise<boolean> {
  for (let attempt = 0; attempt < 400 && program.exitCode() === null; attempt++) {
    if (await isListening(port)) return true;
    await delay(100);
  }
  return false;
}

/** Starts a server; `null` if its program isn't installed. */
async function startServer(server: SmallServer, dir: string, attempts = 3) {
  const version = await findVersion(server.version);
  if (version === null) return null;
  const stack = new AsyncDisposableStack();
  try {
    let backendPort = 0;
    const backend = SERVERS.find(({ name }) => name === server.backend);
    if (backend !== undefined) {
      const running = await startServer(backend, dir);
      if (running === null) return null;
      backendPort = stack.use(running).port;
    }
    const port = await findUnusedPort();
    const logFile = `${dir}/${server.name.replaceAll(/\W/g, "_")}.out`;
    const command = await server.start({ dir, port, backendPort });
    const program = stack.use(startProgram(command, logFile, server.env));
    if (await waitUntilListening(port, program)) {
      const running = stack.move();
      return {
        port,
        version,
        [Symbol.asyncDispose]: () => running.disposeAsync(),
      };
    }
    if (program.exitCode() === MISSING_PROGRAM_CODE) return null;
    const log = await Deno.readTextFile(logFile).catch(() => "");
    // Another program may use the port.
    if (attempts === 1) throw new Error(`${server.name} does not listen: ${log.slice(-2000)}`);
  } finally {
    await stack.disposeAsync();
  }
  return await startServer(server, dir, attempts - 1);
}

/** Asks each server each question. */
export async function trySmallServers(
  _deguServers: DeguServers,
  _pki: TempPKI,
  dir: string,
): Promise<Table[]> {
  const notes = new Notes();
  const columns = Object.keys(QUESTIONS);
  const rows: string[][] = [];
  const header = ["small server", ...columns];
  if (await findVersion(["curl", "--version"]) === null) {
    console.log(`curl: ${NOT_INSTALLED}`);
    return [{ header, rows: SERVERS.map(({ name }) => [name]), notes: [] }];
  }
  for (const server of SERVERS) {
    const siteDir = await Deno.makeTempDir({ dir });
    await writeSite(siteDir);
    const result = await startServer(server, siteDir).catch((error: Error) => error);
    if (result instanceof Error) {
      console.log(result.message);
      rows.push([server.name, ...columns.map(() => "does not start")]);
      continue;
    }
    await using running = result;
    if (running === null) {
      console.log(`${server.name}: ${NOT_INSTALLED}`);
      rows.push([server.name]);
      continue;
    }
    console.log(`${server.name}: ${running.version}`);
    const cells = [];
    for (const question of Object.values(QUESTIONS)) {
      const { paths, form } = server;
      const problem = await tryQuestion(running.port, question, paths, siteDir, form);
      cells.push(problem === "–" ? "–" : notes.formatCell(problem));
    }
    rows.push([server.name, ...cells]);
  }
  return [{ header, rows, notes: notes.texts }];
}
