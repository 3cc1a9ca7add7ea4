/**
 * A cable that is pulled out in the middle of a transfer and put back in. Prints how the transfers have ended as JSON.
 *
 * @module
 */

import { bytesBelow, cable, Machine, pair, slowDown, until } from "@degu/testing/agent_lab.ts";

const SIZE = 8 * 2 ** 20;
const [dir = ""] = Deno.args;
const [camera, viewer] = await Promise.all(
  ["camera", "viewer"].map((name) => Machine.make(name, dir)),
) as [
  Machine,
  Machine,
];
await cable(camera, viewer, ["fe80::1/64", "fe80::2/64"]);
await Deno.mkdir(`${camera.dir}/share`);
await Deno.mkdir(`${camera.dir}/inbox`);
await Deno.mkdir(`${viewer.dir}/files`);
const film = new Uint8Array(SIZE).map((_, i) => i * 2654435761 >>> 13);
await Deno.writeFile(`${camera.dir}/share/film`, film);
await Deno.writeFile(`${viewer.dir}/clip`, film);
const serve = ["serve", "--share", `${camera.dir}/share`, "--inbox", `${camera.dir}/inbox`];
await using serving = camera.start(serve);
await serving.line("serving on");
await pair(camera, viewer);
await slowDown(camera, viewer, "80mbit");
await slowDown(viewer, camera, "80mbit");

const plug = (state: "up" | "down") => camera.ip("link", "set", "dev", "to-viewer", state);
const there = async (below: string) => {
  const before = await bytesBelow(below);
  await until(async () => await bytesBelow(below) > before + SIZE / 16, "a part has arrived");
};

/** Pulls the cable out in the middle of a command and puts it back in; what happens in between is up to `meanwhile`. */
async function cut(
  args: string[],
  below: string,
  meanwhile: (running: ReturnType<Machine["start"]>) => Promise<unknown>,
) {
  await using running = viewer.start(args);
  await there(below);
  await plug("down");
  // A link that is down loses its addresses.
  const result = await meanwhile(running);
  await plug("up");
  await camera.ip("address", "replace", "fe80::1/64", "dev", "to-viewer", "nodad");
  return result ?? await running.ended();
}

const files = `${viewer.dir}/files`;
const got = await cut(["--json", "get", "camera:film", `${files}/one`], files, async () => {
  const stays = await bytesBelow(files);
  await new Promise((resolve) => setTimeout(resolve, 500));
  if (await bytesBelow(files) > stays + 1e6) throw new Error("the cable is not out");
});
const get = ["--json", "get", "camera:film", `${files}/two`];
const interrupted = await cut(get, files, (running) => {
  running.kill("SIGINT");
  return running.ended();
});
const again = await viewer.run(get);
const put = await cut(
  ["--json", "put", `${viewer.dir}/clip`, "camera:"],
  `${camera.dir}/inbox`,
  async () => {},
);
const same = async (path: string) => {
  const found = await Deno.readFile(path);
  return found.length === SIZE && found.every((byte, i) => byte === film[i]);
};
const whole = await Promise.all(
  [`${files}/one`, `${files}/two`, `${camera.dir}/inbox/clip`].map(same),
);
console.log(JSON.stringify({ got, interrupted, again, put, whole }));
