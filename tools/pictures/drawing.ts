/**
 * Pictures of boxes, arrows and text as SVG. Text stays text. They have a background of their own, so they can be read
 * on a light page and on a dark one.
 *
 * @module
 */

/** A point, in pixels from the upper left corner. */
export type Point = readonly [x: number, y: number];

/** The place of a box. */
export interface Area {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** What a box stands for, which decides its colors. */
export type Kind = "plain" | "own" | "good" | "end" | "frame";

/** How text is drawn. */
export interface TextStyle {
  readonly anchor?: "start" | "middle" | "end";
  readonly size?: number;
  readonly bold?: boolean;
  readonly color?: string;
}

const COLORS: Record<Kind, readonly [fill: string, stroke: string]> = {
  plain: ["#f6f8fa", "#57606a"],
  own: ["#ddf4ff", "#0969da"],
  good: ["#dafbe1", "#1a7f37"],
  end: ["#ffebe9", "#cf222e"],
  frame: ["#ffffff", "#8c959f"],
};

const INK = "#1f2328";
const FONT_SIZE = 13;
const LINE_HEIGHT = 17;
/** The mean width of a character in a wide sans-serif font, as a part of its size. */
const CHARACTER_WIDTH = 0.6;
const PADDING = 6;

/** A picture that is being drawn. It refuses text that does not fit, and boxes that overlap. */
export class Drawing {
  readonly #width: number;
  readonly #height: number;
  readonly #title: string;
  readonly #description: string;
  readonly #shapes: string[] = [];
  readonly #boxes: (Area & { readonly title: string })[] = [];

  /**
   * Begins a picture.
   *
   * @param description What it shows, in words: for those who can't see it.
   */
  constructor(width: number, height: number, title: string, description: string) {
    this.#width = width;
    this.#height = height;
    this.#title = title;
    this.#description = description;
  }

  /** Draws an area with a title in its upper left corner, for lines of text or for boxes. */
  frame(area: Area, title: string, lines: readonly string[] = [], kind: Kind = "frame"): void {
    this.#rectangle(area, kind);
    this.text([area.x + 12, area.y + 21], title, { bold: true });
    for (const [i, line] of lines.entries()) {
      const y = area.y + 44 + i * (LINE_HEIGHT + 1);
      if (widthOf(line) + 24 > area.width || y + PADDING > area.y + area.height) {
        throw new Error(`${JSON.stringify(line)} leaves its frame`);
      }
      this.text([area.x + 12, y], line);
    }
  }

  /** Draws a box with a title in bold, and lines below it. */
  box(area: Area, title: string, lines: readonly string[] = [], kind: Kind = "plain"): void {
    for (const other of this.#boxes) {
      if (overlap(area, other)) throw new Error(`"${title}" overlaps with "${other.title}"`);
    }
    const texts = [title, ...lines];
    if (texts.length * LINE_HEIGHT + PADDING > area.height) {
      throw new Error(`"${title}" has too many lines for its height`);
    }
    for (const [i, text] of texts.entries()) {
      if (widthOf(text, i === 0) + 2 * PADDING > area.width) {
        throw new Error(`${JSON.stringify(text)} is too wide for its box`);
      }
    }
    this.#boxes.push({ ...area, title });
    this.#rectangle(area, kind);
    const first = area.y + (area.height - texts.length * LINE_HEIGHT) / 2 + FONT_SIZE;
    for (const [i, text] of texts.entries()) {
      const at: Point = [area.x + area.width / 2, first + i * LINE_HEIGHT];
      this.text(at, text, { anchor: "middle", bold: i === 0 });
    }
  }

  /** Draws a line with a head at its end, and text above its middle. */
  arrow(
    points: readonly Point[],
    label = "",
    { dashed = false, both = false }: { dashed?: boolean; both?: boolean } = {},
  ): void {
    const path = points.map(([x, y], i) => `${i === 0 ? "M" : "L"}${x} ${y}`).join(" ");
    const dash = dashed ? ' stroke-dasharray="5 4"' : "";
    const start = both ? ' marker-start="url(#head)"' : "";
    this.#shapes.push(
      `<path d="${path}" fill="none" stroke="${INK}"${dash}${start} marker-end="url(#head)"/>`,
    );
    if (label === "") return;
    const [[x1, y1], [x2, y2]] = [points[0]!, points.at(-1)!];
    if (y1 === y2 && widthOf(label) > Math.abs(x2 - x1)) {
      throw new Error(`${JSON.stringify(label)} is longer than its arrow`);
    }
    if (y1 === y2) this.text([(x1 + x2) / 2, y1 - 6], label, { anchor: "middle" });
    else this.text([Math.max(x1, x2) + 8, (y1 + y2) / 2 + 4], label);
  }

  /** Draws a line without a head. */
  line([x1, y1]: Point, [x2, y2]: Point): void {
    this.#shapes.push(
      `<path d="M${x1} ${y1} L${x2} ${y2}" stroke="#8c959f" stroke-dasharray="2 3"/>`,
    );
  }

  /** Draws text; `at` is on its baseline. */
  text([x, y]: Point, text: string, style: TextStyle = {}): void {
    const { anchor = "start", size = FONT_SIZE, bold = false, color = INK } = style;
    const width = widthOf(text, bold, size);
    const left = anchor === "start" ? x : anchor === "middle" ? x - width / 2 : x - width;
    if (left < 0 || left + width > this.#width || y > this.#height) {
      throw new Error(`${JSON.stringify(text)} leaves the picture`);
    }
    const weight = bold ? ' font-weight="bold"' : "";
    this.#shapes.push(
      `<text x="${x}" y="${y}" font-size="${size}"${weight} text-anchor="${anchor}" fill="${color}">` +
        `${escape(text)}</text>`,
    );
  }

  #rectangle({ x, y, width, height }: Area, kind: Kind): void {
    const [fill, stroke] = COLORS[kind];
    this.#shapes.push(
      `<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="6" fill="${fill}" stroke="${stroke}"/>`,
    );
  }

  /** The whole picture. */
  toString(): string {
    const [width, height] = [this.#width, this.#height];
    return [
      `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
      `viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="title description" ` +
      'font-family="system-ui, sans-serif">',
      `<title id="title">${escape(this.#title)}</title>`,
      `<desc id="description">${escape(this.#description)}</desc>`,
      '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" ' +
      `orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z" fill="${INK}"/></marker></defs>`,
      `<rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8" fill="#ffffff" ` +
      'stroke="#d0d7de"/>',
      ...this.#shapes,
      "</svg>",
      "",
    ].join("\n");
  }
}

function widthOf(text: string, bold = false, size = FONT_SIZE): number {
  return text.length * size * (bold ? CHARACTER_WIDTH * 1.08 : CHARACTER_WIDTH);
}

function overlap(a: Area, b: Area): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
