/**
 * Clients that do their own work with a Degu server: package managers, disk images, media, copies.
 * The table has whether the work is done, by each way to the server.
 */

import { setTimeout as delay } from "node:timers/promises";
import type { TempPKI } from "@degu/degu/misc";
import { makeDenoCommand } from "../../tests/support/commands.ts";
import { type DeguServers, findVersion, NOT_INSTALLED, problemOf, run } from "./programs.ts";
import { type Front, type RealServers, startRealServers } from "./real_servers.ts";
import { Notes, type Table } from "./tables.ts";
import { ZONE_CLIENTS } from "./zone_clients.ts";

const DIRECTORY = import.meta.dirname ?? "";
const FILE_SIZE = 1_200_000;
const TIMEOUT_SECONDS = 60;

/** An error whose message is the cell's note. */
class WorkError extends Error {}

/** A way to the server, and the directories for the work of a client. */
interface Work extends Front {
  /** A directory of its own. */
  readonly dir: string;
  /** The directory that the server serves. */
  readonly source: string;
}

interface RealClient {
  readonly name: string;
  /** A command that prints the version. */
  readonly version: readonly string[];
  /** Writes files for the work into the served directory. */
  prepare?(source: string, dir: string): Promise<void>;
  /** True if the work isn't one with files. */
  readonly needsApps?: boolean;
  /** Does the work; throws if the work isn't done. */
  work(work: Work): Promise<void>;
}

const ENV = {
  HOME: "/nonexistent",
  LC_ALL: "C",
  no_proxy: "*",
};

/** Runs a program; throws if it fails. Returns its output. */
async function runTool(command: readonly string[], env: Record<string, string> = {}) {
  const limited = ["timeout", "--kill-after=5", `${TIMEOUT_SECONDS}`, ...command];
  const result = await run(limited, undefined, { ...ENV, ...env });
  if (!result?.success) throw new WorkError(problemOf(result));
  return result.stdout + result.stderr;
}

function checkText(text: string, expected: string): void {
  if (!text.includes(expected)) throw new WorkError(`printed ${text.trim().split("\n").at(-1)}`);
}

/** Waits until a file exists, for at most 20 seconds. */
async function waitForFile(file: string): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    if (await Deno.stat(file).then(() => true, () => false)) return;
    await delay(100);
  }
  throw new WorkError("the uploaded file did not arrive");
}

/** Checks that two files are the same. */
async function checkFile(file: string, source: string): Promise<void> {
  await runTool(["cmp", file, source]);
}

async function checkDownload({ dir, source }: Work, name = "large.bin"): Promise<void> {
  await checkFile(`${dir}/${name}`, `${source}/${name}`);
}

const CLIENTS: readonly RealClient[] = [
  {
    name: "curl --http1.0",
    version: ["curl", "--version"],
    async work({ dir, source, files }) {
      const part = `${dir}/large.bin`;
      const args = ["-sS", "--fail", "-L", "--http1.0", "-o", part];
      await runTool(["curl", ...args, "-r", "0-99999", `${files}large.bin`]);
      await runTool(["curl", ...args, "-C", "-", `${files}large.bin`]);
      await checkFile(part, `${source}/large.bin`);
      checkText(await runTool(["curl", ...args.slice(0, 4), `${files}sub`]), "index of sub");
    },
  },
  {
    name: "curl -x",
    version: ["curl", "--version"],
    // The request has an absolute target.
    async work({ dir, source, files }) {
      const proxy = new URL(files).origin;
      await runTool([
        ...["curl", "-sS", "--fail", "--noproxy", "", "-x", proxy, "-o", `${dir}/large.bin`],
        `${files}large.bin`,
      ]);
      await checkFile(`${dir}/large.bin`, `${source}/large.bin`);
    },
  },
  {
    name: "Wget",
    version: ["wget", "--version"],
    async work(work) {
      await runTool(["wget", "-q", "-P", work.dir, `${work.files}large.bin`]);
      await checkDownload(work);
      await Deno.truncate(`${work.dir}/large.bin`, 1000);
      await runTool(["wget", "-q", "-c", "-P", work.dir, `${work.files}large.bin`]);
      await checkDownload(work);
      // The site is read through the links of its pages; no page is loaded twice.
      await runTool([
        "wget",
        "-q",
        "-r",
        "-np",
        "-nH",
        "-N",
        "-P",
        `${work.dir}/m`,
        `${work.files}sub`,
      ]);
      await runTool([
        "wget",
        "-q",
        "-r",
        "-np",
        "-nH",
        "-N",
        "-P",
        `${work.dir}/m`,
        `${work.files}sub`,
      ]);
    },
  },
  {
    name: "BusyBox wget",
    version: ["busybox"],
    async work(work) {
      await runTool([
        "busybox",
        "wget",
        "-q",
        "-O",
        `${work.dir}/large.bin`,
        `${work.files}large.bin`,
      ]);
      await checkDownload(work);
      await Deno.truncate(`${work.dir}/large.bin`, 1000);
      await runTool([
        ...["busybox", "wget", "-q", "-c", "-O", `${work.dir}/large.bin`],
        `${work.files}large.bin`,
      ]);
      await checkDownload(work);
      checkText(
        await runTool(["busybox", "wget", "-q", "-O", "-", `${work.files}sub`]),
        "index of sub",
      );
      if (work.apps === null) return;
      const post = ["--post-data", "hello", `${work.apps}/echo`];
      checkText(await runTool(["busybox", "wget", "-q", "-O", "-", ...post]), "POST length hello");
    },
  },
  {
    name: "aria2",
    version: ["aria2c", "--version"],
    async work(work) {
      await runTool([
        ...["aria2c", "--no-conf", "-q", "-x4", "-s4", "-k1M", "--min-split-size=1M"],
        ...["-d", work.dir, `${work.files}large.bin`],
      ]);
      await checkDownload(work);
    },
  },
  {
    name: "Axel",
    version: ["axel", "--version"],
    async work(work) {
      await runTool([
        "axel",
        "-q",
        "-n",
        "4",
        "-o",
        `${work.dir}/large.bin`,
        `${work.files}large.bin`,
      ]);
      await checkDownload(work);
    },
  },
  {
    name: "LFTP",
    version: ["lftp", "--version"],
    async work(work) {
      const commands = [
        "set net:max-retries 2; set net:timeout 20; set cmd:fail-exit yes; set xfer:use-temp-file no",
        `pget -n 3 ${work.files}large.bin -o ${work.dir}/large.bin`,
        `cat ${work.files}sub`,
        `put ${work.source}/file.txt -o ${work.files}lftp.txt`,
      ];
      checkText(await runTool(["lftp", "-c", commands.join("; ")]), "index of sub");
      await checkDownload(work);
      await checkFile(`${work.source}/lftp.txt`, `${work.source}/file.txt`);
      await Deno.remove(`${work.source}/lftp.txt`);
    },
  },
  {
    name: "Lynx",
    version: ["lynx", "-version"],
    async work({ files, apps }) {
      checkText(await runTool(["lynx", "-dump", `${files}sub`]), "index of sub");
      checkText(await runTool(["lynx", "-source", `${files}file.txt`]), "abc");
      if (apps === null) return;
      const command = `printf 'q=hello\\n---\\n' | lynx -dump -post_data ${apps}/echo`;
      checkText(await runTool(["sh", "-c", command]), "POST length q=hello");
    },
  },
  {
    name: "w3m",
    version: ["w3m", "-version"],
    async work({ files }) {
      checkText(await runTool(["w3m", "-dump", `${files}sub`]), "index of sub");
    },
  },
  {
    name: "ELinks",
    version: ["elinks", "-version"],
    async work({ dir, files }) {
      checkText(await runTool(["elinks", "-dump", `${files}sub`], { HOME: dir }), "index of sub");
    },
  },
  {
    name: "APT",
    version: ["apt-get", "--version"],
    async prepare(source, dir) {
      await Deno.mkdir(`${dir}/deb/DEBIAN`, { recursive: true });
      await Deno.mkdir(`${source}/apt`);
      const control = "Package: degu-test\nVersion: 1.0\nArchitecture: all\n" +
        "Maintainer: degu <degu@localhost>\nDescription: test\n";
      await Deno.writeTextFile(`${dir}/deb/DEBIAN/control`, control);
      const file = `${source}/apt/degu-test_1.0_all.deb`;
      await runTool(["dpkg-deb", "--root-owner-group", "-b", `${dir}/deb`, file]);
      const [sum = ""] = (await runTool(["sha256sum", file])).split(" ");
      const { size } = await Deno.stat(file);
      const index = `${control}Filename: ./degu-test_1.0_all.deb\nSize: ${size}\nSHA256: ${sum}\n`;
      await Deno.writeTextFile(`${source}/apt/Packages`, index);
    },
    async work({ dir, source, files }) {
      for (const name of ["lists/partial", "cache/archives/partial"]) {
        await Deno.mkdir(`${dir}/${name}`, { recursive: true });
      }
      // A flat repository: APT requests `…/apt/./Packages`.
      await Deno.writeTextFile(`${dir}/sources.list`, `deb [trusted=yes] ${files}apt ./\n`);
      await Deno.writeTextFile(`${dir}/status`, "");
      const options = {
        "Dir::Etc::SourceList": `${dir}/sources.list`,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": `${dir}/lists`,
        "Dir::State::Status": `${dir}/status`,
        "Dir::Cache": `${dir}/cache`,
        "APT::Sandbox::User": "root",
        "Acquire::http::Proxy": "DIRECT",
        "Acquire::Retries": "0",
      };
      const args = Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
      for (let i = 0; i < 2; i++) {
        await runTool(["apt-get", ...args, "update"]);
      }
      await runTool(["env", "-C", dir, "apt-get", ...args, "download", "degu-test"]);
      await checkFile(`${dir}/degu-test_1.0_all.deb`, `${source}/apt/degu-test_1.0_all.deb`);
    },
  },
  {
    name: "Zypper",
    version: ["zypper", "--version"],
    async prepare(source) {
      await Deno.mkdir(`${source}/rpm`);
      await runTool(["createrepo_c", "-q", `${source}/rpm`]);
    },
    async work({ dir, files }) {
      const zypper = ["zypper", "--root", `${dir}/root`, "--non-interactive"];
      await Deno.mkdir(`${dir}/root`);
      await runTool([...zypper, "addrepo", "--no-gpgcheck", `${files}rpm`, "degu"]);
      checkText(
        await runTool([...zypper, "refresh", "--force", "degu"]),
        "repositories have been refreshed",
      );
    },
  },
  {
    name: "zckdl",
    version: ["zck", "--version"],
    async prepare(source) {
      await makeVersions(source);
      for (const name of ["old", "new"]) {
        await runTool(["zck", "-o", `${source}/${name}.zck`, `${source}/${name}.txt`]);
      }
    },
    async work(work) {
      await runTool([
        ...["env", "-C", work.dir, "zckdl", "-s", `${work.source}/old.zck`],
        `${work.files}new.zck`,
      ]);
      await checkDownload(work, "new.zck");
    },
  },
  {
    name: "zsync",
    version: ["zsync", "-V"],
    async prepare(source) {
      await makeVersions(source);
      await runTool([
        ...["zsyncmake", "-u", "new.txt", "-o", `${source}/new.txt.zsync`, `${source}/new.txt`],
      ]);
    },
    async work(work) {
      await runTool([
        ...["env", "-C", work.dir, "zsync", "-q", "-i", `${work.source}/old.txt`],
        `${work.files}new.txt.zsync`,
      ]);
      await checkDownload(work, "new.txt");
    },
  },
  {
    name: "qemu-img",
    version: ["qemu-img", "--version"],
    async prepare(source) {
      await runTool(["qemu-img", "create", "-q", "-f", "qcow2", `${source}/disk.qcow2`, "4M"]);
      await runTool([
        "qemu-img",
        "convert",
        "-O",
        "raw",
        `${source}/disk.qcow2`,
        `${source}/disk.raw`,
      ]);
      await Deno.copyFile(`${source}/large.bin`, `${source}/disk.raw`);
      await Deno.truncate(`${source}/disk.raw`, 4 << 20);
      await runTool([
        "qemu-img",
        "convert",
        "-O",
        "qcow2",
        `${source}/disk.raw`,
        `${source}/disk.qcow2`,
      ]);
    },
    async work({ dir, source, files }) {
      await runTool(["qemu-img", "convert", "-O", "raw", `${files}disk.qcow2`, `${dir}/disk.raw`]);
      await checkFile(`${dir}/disk.raw`, `${source}/disk.raw`);
    },
  },
  {
    name: "nbdkit",
    version: ["nbdkit", "--version"],
    async prepare(source) {
      await Deno.copyFile(`${source}/large.bin`, `${source}/nbd.raw`);
      await Deno.truncate(`${source}/nbd.raw`, 4 << 20);
    },
    async work({ dir, source, files }) {
      await runTool([
        ...["nbdkit", "-U", "-", "-r", "curl", `url=${files}nbd.raw`],
        ...["--run", `qemu-img convert -f raw -O raw "$uri" ${dir}/nbd.raw`],
      ]);
      await checkFile(`${dir}/nbd.raw`, `${source}/nbd.raw`);
    },
  },
  {
    name: "FFmpeg",
    version: ["ffmpeg", "-version"],
    async prepare(source) {
      await runTool([
        ...["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "sine=duration=3"],
        ...["-c:a", "aac", `${source}/sine.mp4`],
      ]);
    },
    async work({ dir, source, files }) {
      const url = `${files}sine.mp4`;
      const entries = ["-show_entries", "format=duration", "-of", "csv=p=0"];
      checkText(await runTool(["ffprobe", "-v", "error", ...entries, url]), "3.");
      // The index of the file is at its end, so FFmpeg makes requests with ranges.
      await runTool([
        "ffmpeg",
        "-v",
        "error",
        "-xerror",
        "-i",
        url,
        "-c",
        "copy",
        `${dir}/copy.mp4`,
      ]);
      await runTool([
        ...[
          "ffmpeg",
          "-v",
          "error",
          "-xerror",
          "-i",
          `${source}/sine.mp4`,
          "-c",
          "copy",
          "-f",
          "adts",
        ],
        ...["-method", "PUT", `${files}ffmpeg.aac`],
      ]);
      // FFmpeg ends without reading the response.
      await waitForFile(`${source}/ffmpeg.aac`);
      await runTool(["ffprobe", "-v", "error", `${source}/ffmpeg.aac`]);
      await Deno.remove(`${source}/ffmpeg.aac`);
    },
  },
  {
    name: "Git",
    version: ["git", "--version"],
    async prepare(source, dir) {
      const git = [
        "git",
        "-c",
        "user.name=degu",
        "-c",
        "user.email=degu@localhost",
        "-C",
        `${dir}/checkout`,
      ];
      await runTool(["git", "init", "-q", "-b", "main", `${dir}/checkout`]);
      for (const text of ["one", "two"]) {
        await Deno.writeTextFile(`${dir}/checkout/file`, text);
        await runTool([...git, "add", "file"]);
        await runTool([...git, "commit", "-q", "-m", text]);
      }
      await runTool(["git", "clone", "-q", "--bare", `${dir}/checkout`, `${source}/degu.git`]);
      await runTool(["git", "-C", `${source}/degu.git`, "gc", "-q"]);
      await runTool(["git", "-C", `${source}/degu.git`, "update-server-info"]);
    },
    async work({ dir, files }) {
      // The "dumb" protocol: files, no program at the server.
      await runTool(["git", "clone", "-q", `${files}degu.git`, `${dir}/clone`]);
      checkText(await runTool(["git", "-C", `${dir}/clone`, "log", "--format=%s"]), "two\none");
      await runTool(["git", "-C", `${dir}/clone`, "fsck"]);
    },
  },
  {
    name: "Skopeo",
    version: ["skopeo", "--version"],
    needsApps: true,
    async work({ dir, apps }) {
      const { host } = new URL(`${apps}`);
      await Deno.writeTextFile(
        `${dir}/policy.json`,
        '{"default":[{"type":"insecureAcceptAnything"}]}',
      );
      await runTool([
        ...["skopeo", "--policy", `${dir}/policy.json`, "copy", "--src-tls-verify=false"],
        ...[`docker://${host}/degu:1`, `dir:${dir}/image`],
      ]);
      await Deno.stat(`${dir}/image/manifest.json`);
    },
  },
  {
    name: "Erlang httpc",
    version: [
      ...["erl", "-noshell", "-eval"],
      "application:load(inets), {ok, V} = application:get_key(inets, vsn), io:put_chars(V), halt().",
    ],
    async work({ dir, source, files, apps }) {
      const erl = (expression: string) =>
        runTool(["erl", "-noshell", "-eval", `inets:start(), ${expression}, halt().`], {
          HOME: dir,
        });
      await erl(
        `{ok, {{_, 200, _}, _, B}} = httpc:request(get, {"${files}large.bin", []}, [], ` +
          `[{body_format, binary}]), ok = file:write_file("${dir}/large.bin", B)`,
      );
      await checkFile(`${dir}/large.bin`, `${source}/large.bin`);
      checkText(
        await erl(`{ok, {{_, 200, _}, _, B}} = httpc:request("${files}sub"), io:put_chars(B)`),
        "index of sub",
      );
      checkText(
        await erl(
          `{ok, {{_, 206, _}, _, B}} = httpc:request(get, {"${files}file.txt", ` +
            `[{"range", "bytes=2-4"}]}, [], []), io:put_chars(B)`,
        ),
        "cde",
      );
      if (apps === null) return;
      checkText(
        await erl(
          `{ok, {{_, 200, _}, _, B}} = httpc:request(post, {"${apps}/echo", [], "text/plain", ` +
            `"hello"}, [], []), io:put_chars(B)`,
        ),
        "POST length hello",
      );
    },
  },
  {
    name: "PHP",
    version: ["php", "--version"],
    async work({ dir, source, files, apps }) {
      const php = (code: string) => runTool(["php", "-n", "-r", code]);
      for (const version of ["1.0", "1.1"]) {
        const context = `stream_context_create(["http" => ["protocol_version" => ${version}]])`;
        await php(
          `copy("${files}large.bin", "${dir}/large.bin", ${context}) or exit(1);`,
        );
        await checkFile(`${dir}/large.bin`, `${source}/large.bin`);
        checkText(
          await php(`echo file_get_contents("${files}sub", false, ${context});`),
          "index of sub",
        );
      }
      if (apps === null) return;
      checkText(
        await php(
          `echo file_get_contents("${apps}/echo", false, stream_context_create(["http" => ` +
            `["method" => "POST", "content" => "hello", "header" => "Content-Type: text/plain"]]));`,
        ),
        "POST length hello",
      );
    },
  },
  {
    name: "HTTP::Tiny",
    version: ["perl", "-MHTTP::Tiny", "-e", "print HTTP::Tiny->VERSION"],
    async work({ name, dir, source, files, apps }) {
      const perl = (code: string) => runTool(["perl", "-MHTTP::Tiny", "-e", code]);
      await perl(
        `HTTP::Tiny->new->mirror("${files}large.bin", "${dir}/large.bin")->{success} or exit 1`,
      );
      await checkFile(`${dir}/large.bin`, `${source}/large.bin`);
      // The second time, the status is 304.
      checkText(
        await perl(
          `print HTTP::Tiny->new->mirror("${files}large.bin", "${dir}/large.bin")->{status}`,
        ),
        "304",
      );
      checkText(await perl(`print HTTP::Tiny->new->get("${files}sub")->{content}`), "index of sub");
      if (apps === null) return;
      checkText(
        await perl(
          `my @pieces = ("hel", "lo"); print HTTP::Tiny->new->post("${apps}/echo", ` +
            `{content => sub { shift @pieces }})->{content}`,
        ),
        // nginx forwards a request with HTTP/1.0 with a length.
        name.startsWith("nginx") ? "POST length hello" : "POST chunked hello",
      );
    },
  },
  {
    name: "ApacheBench",
    version: ["ab", "-V"],
    // HTTP/1.0 with `Connection: Keep-Alive`.
    async work({ files }) {
      const text = await runTool(["ab", "-q", "-k", "-n", "20", "-c", "2", `${files}file.txt`]);
      checkText(text, "Complete requests:      20");
      if (/Non-2xx/.test(text)) throw new WorkError("responses other than 2xx");
      checkText(text, "Failed requests:        0");
    },
  },
  {
    name: "ipptool",
    version: ["dpkg-query", "-W", "cups-ipp-utils"],
    needsApps: true,
    async work({ apps }) {
      const uri = `${`${apps}`.replace("http:", "ipp:")}/ipp/print`;
      // With chunks, and with a length.
      for (const option of ["-C", "-L"]) {
        await runTool(["ipptool", "-q", option, uri, `${DIRECTORY}/printer.test`]);
      }
    },
  },
];

/** Writes two versions of a file, which differ in the middle. */
async function makeVersions(source: string): Promise<void> {
  const lines = Array.from({ length: 40_000 }, (_, i) => `line ${i} ${i * i * 7919}\n`);
  await Deno.writeTextFile(`${source}/old.txt`, lines.join(""));
  for (const i of [100, 20_000, 20_001, 39_000]) lines[i] = `changed ${i}\n`;
  await Deno.writeTextFile(`${source}/new.txt`, lines.join(""));
}

async function tryWork(
  client: RealClient,
  work: Work,
  servers: RealServers,
  notes: Notes,
): Promise<string> {
  if (client.needsApps && work.apps === null) return "–";
  servers.takeLog();
  try {
    await client.work(work);
    return notes.formatCell(null);
  } catch (error) {
    if (!(error instanceof WorkError)) throw error;
    const log = servers.takeLog();
    console.log(`${client.name}, ${work.name}: ${error.message}`);
    for (const line of log.slice(0, 5)) console.log(`  ${line}`);
    return notes.formatCell(log[0]?.replace(/^\S+: /, "") ?? error.message);
  }
}

/** Lets each client do its work by each way to the server. */
export async function tryRealClients(
  _deguServers: DeguServers,
  _pki: TempPKI,
  dir: string,
): Promise<Table[]> {
  const source = `${dir}/real`;
  await Deno.mkdir(`${source}/sub`, { recursive: true });
  await Deno.writeTextFile(`${source}/file.txt`, "abcdefghijklmnopqrstuvwxyz");
  await Deno.writeTextFile(`${source}/sub/index.html`, "<title>t</title><p>index of sub</p>");
  const bytes = Uint8Array.from({ length: FILE_SIZE }, (_, i) => i % 251);
  await Deno.writeFile(`${source}/large.bin`, bytes);
  await using servers = await startRealServers(dir);
  const notes = new Notes();
  const rows: string[][] = [];
  for (const client of CLIENTS) {
    const version = await findVersion(client.version);
    if (version === null) {
      console.log(`${client.name}: ${NOT_INSTALLED}`);
      rows.push([client.name]);
      continue;
    }
    console.log(`${client.name}: ${version}`);
    await client.prepare?.(source, await Deno.makeTempDir({ dir }));
    const cells = [];
    for (const front of servers.fronts) {
      const work = { ...front, source, dir: await Deno.makeTempDir({ dir }) };
      cells.push(await tryWork(client, work, servers, notes));
    }
    rows.push([client.name, ...cells]);
  }
  const header = ["client at work", ...servers.frontNames];
  return [{ header, rows, notes: notes.texts }, await tryZones(source)];
}

/** Clients of a server at a link-local IPv6 address, in a network namespace. */
async function tryZones(source: string): Promise<Table> {
  const permissions = ["--allow-net", "--allow-read=.,/tmp", "--allow-run"];
  const deno = makeDenoCommand(permissions, `${DIRECTORY}/zone.ts`, source);
  const result = await run(["unshare", "--map-root-user", "--net", ...deno]);
  const lines = result?.success ? result.stdout.trimEnd().split("\n") : [];
  const obstacle = lines.length === 0 ? problemOf(result) : /^obstacle\t(.*)/.exec(lines[0]!)?.[1];
  if (obstacle !== undefined) console.log(`no network namespace: ${obstacle}`);
  const notes = new Notes();
  const rows = Object.keys(ZONE_CLIENTS).map((name) => {
    const line = lines.find((line) => line.startsWith(`${name}\t`));
    const outcome = line?.slice(name.length + 1);
    if (outcome === NOT_INSTALLED) console.log(`${name}: ${NOT_INSTALLED}`);
    if (outcome === undefined || outcome === NOT_INSTALLED) return [name];
    return [name, notes.formatCell(outcome === "yes" ? null : outcome)];
  });
  return { header: ["client with a zone", "get"], rows, notes: notes.texts };
}
