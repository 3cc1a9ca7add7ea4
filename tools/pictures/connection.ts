/**
 * The life of a connection, at both ends.
 *
 * @module
 */

import { type Area, Drawing, type Kind } from "./drawing.ts";

const LEFT = 24;
const RIGHT = 566;
const WIDTH = 270;

/** Draws what each end does, from connecting to closing, and who closes when. */
export function drawConnection(): string {
  const drawing = new Drawing(
    860,
    854,
    "The life of a connection",
    "A client connects, and over TLS both do the handshake. The server waits for a free slot, and both call " +
      "their onConnect. Then requests and responses follow one another, until one end closes.",
  );
  const at = (y: number, height: number): Omit<Area, "x"> => ({ y, width: WIDTH, height });
  const client = (y: number, height: number, title: string, lines: string[], kind?: Kind) =>
    drawing.box({ x: LEFT, ...at(y, height) }, title, lines, kind);
  const server = (y: number, height: number, title: string, lines: string[], kind?: Kind) =>
    drawing.box({ x: RIGHT, ...at(y, height) }, title, lines, kind);
  const down = (y: number, to: number, x: number) => drawing.arrow([[x, y], [x, to - 3]]);
  const clientX = LEFT + WIDTH / 2;
  const serverX = RIGHT + WIDTH / 2;
  const between = [LEFT + WIDTH, RIGHT] as const;

  drawing.text([clientX, 30], "the client", { anchor: "middle", bold: true, size: 16 });
  drawing.text([serverX, 30], "the server", { anchor: "middle", bold: true, size: 16 });

  client(48, 46, "connects", ["within timeout"]);
  server(48, 46, "listens", ["the system holds new connections"]);
  drawing.arrow([[between[0], 71], [between[1] - 3, 71]], "TCP or Unix socket");

  client(124, 46, "TLS: handshake", ["verifies the server"]);
  server(124, 46, "TLS: handshake", ["verifies the client"]);
  drawing.arrow([[between[0] + 3, 147], [between[1] - 3, 147]], "over TLS only", { both: true });

  server(200, 46, "waits for a free slot", ["2 s at most; else it closes"]);
  client(276, 46, "onConnect", ["it closes unless this is true"]);
  server(276, 46, "onConnect", ["it closes unless this is true"]);

  client(352, 46, "idle", ["until the next request"], "good");
  server(352, 46, "idle", ["timeout for the next request"], "good");

  client(434, 46, "requesting", ["sends, then waits for a response"], "own");
  server(434, 46, "answering", ["the app reads the body, returns"], "own");
  drawing.arrow([[between[0], 450], [between[1] - 3, 450]], "the request");

  client(516, 46, "body", ["the program reads it to its end"], "own");
  server(516, 46, "sends the response", ["checked before its first byte"], "own");
  drawing.arrow([[between[1], 532], [between[0] + 3, 532]], "the response");

  for (const x of [clientX, serverX]) {
    down(94, 124, x);
    down(322, 352, x);
    down(398, 434, x);
    down(480, 516, x);
  }
  down(170, 276, clientX);
  down(170, 200, serverX);
  down(246, 276, serverX);
  // Back to idle, around the boxes.
  drawing.arrow([[LEFT, 539], [10, 539], [10, 375], [LEFT - 3, 375]]);
  const edge = RIGHT + WIDTH;
  drawing.arrow([[edge, 539], [edge + 14, 539], [edge + 14, 375], [edge + 3, 375]]);
  endings(drawing);
  return drawing.toString();
}

/** The three ways in which a connection ends. */
function endings(drawing: Drawing): void {
  const y = 590;
  drawing.frame({ x: 24, y, width: 398, height: 134 }, "the client closes", [
    "close(), or the end of its block with using",
    "after client.request(): once the body is read",
    "after a response with connection: close",
    "when the body of a response is abandoned",
    "when it is forgotten (garbage collected)",
  ]);
  drawing.frame({ x: 438, y, width: 398, height: 134 }, "the server closes after a response", [
    "status 400 or above, but not 404, 409, 412",
    "the request's body was left unread",
    "connection: close, maxRequests, shutdown()",
    "It ends its side and drops what arrives, for",
    "1 s or 1 MiB: the response is not lost.",
  ]);
  const wide = { x: 24, y: y + 150, width: 812, height: 98 };
  drawing.frame(wide, "either end closes at once", [
    "after any error: bytes that break the grammar, a time-out, an aborted signal, a failing app.",
    "Nothing more is sent. A mistake found before the first byte was sent leaves a client as it was.",
    "server.close() and session.close() close at once, too.",
  ], "end");
}
