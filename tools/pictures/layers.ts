/**
 * The public modules, and what each is built on.
 *
 * @module
 */

import { Drawing } from "./drawing.ts";

/** The modules that are built on the client and the server, in the order of the picture. */
const BUILT_ON: Record<string, string> = {
  "": "routers, proxies, fetch",
  files: "served and transferred",
  device: "pairing, peers only",
  pki: "identities in files",
  otel: "traces and metrics",
  misc: "servers, keys for tests",
  pool: "workers that serve",
  agent: "a program for devices",
};

/** The modules below those. */
const FOUNDATION = ["client", "server", "base"];

const COLUMNS = 4;
const WIDTH = 195;
const GAP = 12;
const HEIGHT = 48;
const LEFT = 24;
const FULL = COLUMNS * WIDTH + (COLUMNS - 1) * GAP;
const HALF = (FULL - GAP) / 2;

/**
 * Draws the public modules.
 *
 * @param exports The names in deno.json: `"."`, `"./client"`, …
 * @throws {Error} if one of them has no place in the picture.
 */
export function drawLayers(exports: readonly string[]): string {
  const names = exports.map((name) => name.slice(2));
  const unknown = names.filter((name) => !FOUNDATION.includes(name) && !(name in BUILT_ON));
  if (unknown.length > 0) throw new Error(`tools/pictures/layers.ts does not know ${unknown}`);
  const built = Object.keys(BUILT_ON).filter((name) => names.includes(name));
  const rows = Math.ceil(built.length / COLUMNS);
  const top = 84;
  const below = top + rows * (HEIGHT + GAP) + 14;
  const step = HEIGHT + GAP + 14;
  const drawing = new Drawing(
    2 * LEFT + FULL,
    below + 3 * step + 44,
    "The modules of Degu",
    "Your program uses modules that are built on the client and the server; those are built on the " +
      "sockets and TLS of net/, and all of them on base.",
  );
  drawing.box({ x: LEFT, y: 16, width: FULL, height: 42 }, "your program", [
    "apps that answer, and clients that ask",
  ], "frame");
  for (const [i, name] of built.entries()) {
    const area = {
      x: LEFT + (i % COLUMNS) * (WIDTH + GAP),
      y: top + Math.floor(i / COLUMNS) * (HEIGHT + GAP),
      width: WIDTH,
      height: HEIGHT,
    };
    const isCommon = name === "";
    const title = isCommon ? "@degu/degu" : `@degu/degu/${name}`;
    drawing.box(area, title, [BUILT_ON[name]!], isCommon ? "own" : "plain");
  }
  const wide = { width: HALF, height: HEIGHT };
  drawing.box(
    { x: LEFT, y: below, ...wide },
    "@degu/degu/client",
    ["connections and requests"],
    "own",
  );
  drawing.box({ x: LEFT + HALF + GAP, y: below, ...wide }, "@degu/degu/server", [
    "listening, sessions, answers",
  ], "own");
  drawing.box({ x: LEFT, y: below + step, width: FULL, height: HEIGHT }, "net/ (internal)", [
    "sockets, TLS, time limits",
  ], "frame");
  drawing.box({ x: LEFT, y: below + 2 * step, width: FULL, height: HEIGHT }, "@degu/degu/base", [
    "the grammar of HTTP/1.1, bodies, addresses, errors",
  ], "own");
  const middle = LEFT + HALF / 2;
  const right = LEFT + FULL - HALF / 2;
  for (const x of [middle, right]) {
    drawing.arrow([[x, 58], [x, top - 3]]);
    drawing.arrow([[x, below - GAP - 14], [x, below - 3]]);
    drawing.arrow([[x, below + HEIGHT], [x, below + step - 3]]);
    drawing.arrow([[x, below + step + HEIGHT], [x, below + 2 * step - 3]]);
  }
  drawing.text(
    [LEFT, below + 3 * step + 4],
    "Blue: @degu/degu exports it, too, and loads no third-party code.",
  );
  drawing.text([LEFT, below + 3 * step + 24], "An arrow leads to what a module is built on.");
  return drawing.toString();
}
