/**
 * How two devices are paired.
 *
 * @module
 */

import { Drawing, type Point } from "./drawing.ts";

const INVITER = 150;
const PERSON = 430;
const JOINER = 710;

/** Draws the two connections of a pairing. */
export function drawPairing(): string {
  const drawing = new Drawing(
    860,
    650,
    "Pairing",
    "A person carries the line of an invitation from one device to the other. The joining device connects " +
      "twice: first it shows the secret of the line, then its certificate. Then each stores the other.",
  );
  const head = { y: 16, width: 220, height: 42 };
  drawing.box({ x: INVITER - 110, ...head }, "the device that invites", [], "own");
  drawing.box({ x: PERSON - 60, ...head, width: 120 }, "a person", [], "frame");
  drawing.box({ x: JOINER - 110, ...head }, "the device that joins", [], "own");
  for (const x of [INVITER, JOINER]) drawing.line([x, 58], [x, 640]);
  drawing.line([PERSON, 58], [PERSON, 176]);

  const act = (x: number, y: number, title: string, lines: string[] = []) => {
    const height = 24 + 17 * lines.length;
    drawing.box({ x: x - 125, y, width: 250, height }, title, lines, "frame");
  };
  const send = (y: number, from: number, to: number, labels: readonly string[]) => {
    const direction = Math.sign(to - from);
    const points: Point[] = [[from, y], [to - 3 * direction, y]];
    drawing.arrow(points, labels[0]);
    for (const [i, label] of labels.slice(1).entries()) {
      drawing.text([(from + to) / 2, y + 18 + 17 * i], label, { anchor: "middle" });
    }
  };
  act(INVITER, 74, "invite()", ["makes a line: authority,", "addresses, one-time secret"]);
  send(158, INVITER, PERSON, ["the line, kept secret"]);
  send(158, PERSON, JOINER, ["the same line"]);
  act(JOINER, 170, "join(line)");

  drawing.text([PERSON, 222], "first connection", { anchor: "middle", bold: true });
  drawing.text([PERSON, 240], "TLS; the joiner trusts exactly the authority in the line", {
    anchor: "middle",
  });
  send(272, JOINER, INVITER, ["the secret, its authority,", "its name, where it serves"]);
  act(INVITER, 302, "compares the secret", [
    "closes all other connections;",
    "accepts that authority only",
  ]);
  send(386, INVITER, JOINER, ["its name, where it serves,", "a random value"]);

  drawing.text([PERSON, 440], "second connection", { anchor: "middle", bold: true });
  drawing.text([PERSON, 458], "TLS; the joiner shows its certificate", { anchor: "middle" });
  send(490, JOINER, INVITER, ["the random value"]);
  act(INVITER, 502, "stores the joiner", ["as a peer"]);
  send(568, INVITER, JOINER, ["done"]);
  act(JOINER, 580, "stores the inviter", ["as a peer"]);
  return drawing.toString();
}
