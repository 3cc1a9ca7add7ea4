/** Clients that get a file from a link-local IPv6 address with its zone. */

const urlOf = (host: string, port: number, path = "file.txt") => `http://[${host}]:${port}/${path}`;

/** The commands of the clients by their names; each prints the file. */
export const ZONE_CLIENTS: Readonly<
  Record<string, (host: string, port: number) => readonly string[]>
> = {
  curl: (host, port) => ["curl", "-sS", "--fail", urlOf(host, port)],
  "curl, %25": (host, port) => ["curl", "-sS", "--fail", urlOf(host.replace("%", "%25"), port)],
  "BusyBox wget": (host, port) => ["busybox", "wget", "-q", "-O", "-", urlOf(host, port)],
  aria2: (host, port) => [
    ...[
      "sh",
      "-c",
      'd=$(mktemp -d); trap "rm -r $d" EXIT; aria2c -q -d "$d" -o f "$0" && cat "$d/f"',
    ],
    urlOf(host, port),
  ],
  FFmpeg: (host, port) => [
    ...["ffmpeg", "-v", "error", "-f", "data", "-i", urlOf(host, port)],
    ...["-map", "0:0", "-c", "copy", "-f", "data", "-"],
  ],
  Lynx: (host, port) => ["lynx", "-source", urlOf(host, port)],
  Git: (host, port) => ["git", "ls-remote", urlOf(host, port, "degu.git")],
  "node:http": (host, port) => [
    ...["node", "-e"],
    `require("http").get({ host: "${host}", port: ${port}, path: "/file.txt" },
      (response) => response.pipe(process.stdout))`,
  ],
  "http.client": (host, port) => [
    ...["/usr/bin/python3", "-c"],
    `import http.client; c = http.client.HTTPConnection("${host}", ${port}); ` +
    `c.request("GET", "/file.txt"); print(c.getresponse().read().decode())`,
  ],
  PHP: (host, port) => ["php", "-n", "-r", `echo file_get_contents("${urlOf(host, port)}");`],
};
