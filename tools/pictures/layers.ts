/**
 * The public modules, and what each is built on.
 *
 * @module
 */

import { Drawing } from "./drawing.ts";

/** What a picture says of a public module. */
interface Entry {
  readonly lines: readonly string[];
  /** Whether `@degu/degu` exports it, too. */
  readonly common?: true;
}

/** The modules that are built on the client and the server, in the order of the picture. */
const BUILT_ON: Record<string, Entry> = {
  applib: { lines: ["routers, proxies, logs"], common: true },
  web: { lines: ["fetch-style handlers"], common: true },
  files: { lines: ["served and transferred"] },
  device: { lines: ["pairing, peers only"] },
  pki: { lines: ["identities in files"] },
  otel: { lines: ["traces and metrics"] },
  misc: { lines: ["servers, keys for tests"] },
  pool: { lines: ["workers that serve"] },
  agent: { lines: ["a program for devices"] },
};

/** The modules below those. */
const FOUNDATION = ["client", "server", "rgi", "base"];

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
  const names = exports.filter((name) => name !== ".").map((name) => name.slice(2));
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
      "sockets and TLS of net/ and the contract of apps; all of them on base.",
  );
  drawing.box({ x: LEFT, y: 16, width: FULL, height: 42 }, "your program", [
    "apps that answer, and clients that ask",
  ], "frame");
  for (const [i, name] of built.entries()) {
    const { lines, common = false } = BUILT_ON[name]!;
    const area = {
      x: LEFT + (i % COLUMNS) * (WIDTH + GAP),
      y: top + Math.floor(i / COLUMNS) * (HEIGHT + GAP),
      width: WIDTH,
      height: HEIGHT,
    };
    drawing.box(area, `@degu/degu/${name}`, lines, common ? "own" : "plain");
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
  drawing.box({ x: LEFT, y: below + step, ...wide }, "net/ (internal)", [
    "sockets, TLS, time limits",
  ], "frame");
  drawing.box({ x: LEFT + HALF + GAP, y: below + step, ...wide }, "@degu/degu/rgi", [
    "the contract of apps, and its checks",
  ], "own");
  drawing.box({ x: LEFT, y: below + 2 * step, width: FULL, height: HEIGHT }, "@degu/degu/base", [
    "the grammar of HTTP/1.1, bodies, addresses, errors",
  ], "own");
  const middle = LEFT + HALF / 2;
  const right = LEFT + FULL - HALF / 2;
  for (const x of [middle, right]) {
    drawing.arrow([[x, 58], [x, top - 3]]);
    drawing.arrow([[x, below - GAP - 14], [x, below - 3]]);
    drawing.arrow([[x, below + step + HEIGHT], [x, below + 2 * step - 3]]);
  }
  drawing.arrow([[middle, below + HEIGHT], [middle, below + step - 3]]);
  drawing.arrow([[right, below + HEIGHT], [middle + 60, below + step - 3]]);
  drawing.text(
    [LEFT, below + 3 * step + 4],
    "Blue: @degu/degu exports it, too, and loads no third-party code.",
  );
  drawing.text([LEFT, below + 3 * step + 24], "An arrow leads to what a module is built on.");
  return drawing.toString();
}
