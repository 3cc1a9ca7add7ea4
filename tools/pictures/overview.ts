/**
 * Who talks to whom.
 *
 * @module
 */

import { Drawing } from "./drawing.ts";

/** Draws two devices with servers and clients on both, and the programs around them. */
export function drawOverview(): string {
  const drawing = new Drawing(
    840,
    330,
    "Who talks to whom",
    "Two devices in one network. Each runs a program with a server and a client. They talk over mutual " +
      "TLS: each accepts only the device that it is paired with. On one machine, other programs talk to " +
      "the program over a Unix socket. A stranger in the network is refused.",
  );
  const width = 220;
  drawing.frame({ x: 24, y: 16, width: 268, height: 226 }, "a camera");
  drawing.frame({ x: 548, y: 16, width: 268, height: 226 }, "a recorder");
  const app = { y: 52, width, height: 52 };
  const server = { y: 118, width, height: 40 };
  const client = { y: 182, width, height: 40 };
  drawing.box({ x: 48, ...app }, "your program", ["answers requests"]);
  drawing.box({ x: 48, ...server }, "Degu: server", [], "own");
  drawing.box({ x: 48, ...client }, "Degu: client", [], "own");
  drawing.box({ x: 572, ...app }, "your program, or degu", ["answers requests"]);
  drawing.box({ x: 572, y: 118, width, height: 40 }, "Degu: client", [], "own");
  drawing.box({ x: 572, y: 182, width, height: 40 }, "Degu: server", [], "own");

  drawing.arrow([[569, 138], [271, 138]], "requests, over mutual TLS");
  drawing.arrow([[271, 202], [569, 202]], "files, over mutual TLS");
  drawing.text([420, 66], "one local network", { anchor: "middle", bold: true });
  drawing.text([420, 86], "no cloud, no public authority", { anchor: "middle" });

  drawing.box(
    { x: 24, y: 262, width: 268, height: 50 },
    "other programs on the machine",
    ["over a Unix socket"],
  );
  drawing.arrow([[158, 262], [158, 245]]);
  drawing.box(
    { x: 548, y: 262, width: 268, height: 50 },
    "a stranger in the network",
    ["gets no byte of HTTP"],
    "end",
  );
  return drawing.toString();
}
