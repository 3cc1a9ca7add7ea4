/**
 * Patterns of files to leave out of a tree, with the syntax of `.gitignore` (gitignore(5)).
 *
 * A peer may have chosen both the patterns and the names, and a regular expression with many stars
 * may take forever. Here a pattern takes at most as many comparisons as the product of its length
 * and the length of a path.
 */

import { Failure } from "./failure.ts";

/**
 * A `*` in a name stands for any number of characters, a `**` in a path for any number of names.
 */
const MANY = Symbol("any number");

/** A pattern for one character of a name. */
interface CharacterPattern {
  /** The number of comparisons for one character. */
  readonly work: number;
  matches(character: string): boolean;
}
/** A whole name, or a pattern for each of its characters. */
type NamePattern = string | readonly (CharacterPattern | typeof MANY)[];
type PathPattern = readonly (NamePattern | typeof MANY)[];

interface Rule {
  /** The pattern of a name anywhere, or of a whole path. */
  readonly pattern: { readonly name: NamePattern } | { readonly path: PathPattern };
  readonly ofDirectories: boolean;
  /** Whether matching paths are kept, although an earlier line leaves them out. */
  readonly isNegated: boolean;
}

/**
 * The number of comparisons that patterns may take: for each path, and in addition. A list may have
 * a million paths, and comparing them blocks the program, even Ctrl-C. A peer may have put the file
 * with the patterns into a directory of this device, too.
 */
const MAX_WORK = {
  ofPeer: { perPath: 10_000, atFirst: 10_000_000 },
  own: { perPath: 1_000_000, atFirst: 100_000_000 },
};

/** The patterns of a tree. The last pattern that matches a path decides. */
export class IgnoreRules {
  readonly #rules: readonly Rule[];
  readonly #perPath: number;
  /** The number of comparisons that are left. */
  #work: number;
  /** The characters of each name of the current path. */
  readonly #divided = new Map<string, ArrayLike<string>>();

  /** @param isOwn Whether the lines are of this device, so that they may take longer. */
  constructor(lines: readonly string[], isOwn: boolean) {
    this.#rules = lines.flatMap((line) => parseRule(line) ?? []).reverse();
    const { perPath, atFirst } = isOwn ? MAX_WORK.own : MAX_WORK.ofPeer;
    this.#perPath = perPath;
    this.#work = atFirst;
  }

  /**
   * Whether a path itself is left out. The caller doesn't ask for paths in a directory that is left
   * out.
   *
   * @throws {Failure} if the patterns take too long.
   */
  ignores(path: readonly string[], isDirectory: boolean): boolean {
    this.#work += this.#perPath;
    this.#divided.clear();
    const name = path.at(-1)!;
    for (const { pattern, ofDirectories, isNegated } of this.#rules) {
      this.#count();
      if (ofDirectories && !isDirectory) continue;
      const isMatch = "name" in pattern
        ? this.#fitsName(pattern.name, name)
        : this.#fits(pattern.path, path, (one, name) => this.#fitsName(one, name));
      if (isMatch) return !isNegated;
    }
    return false;
  }

  #fitsName(pattern: NamePattern, name: string): boolean {
    if (typeof pattern === "string") return pattern === name;
    return this.#fits(pattern, this.#charactersOf(name), (one, character) => {
      this.#count(one.work);
      return one.matches(character);
    });
  }

  #charactersOf(name: string): ArrayLike<string> {
    let characters = this.#divided.get(name);
    if (characters === undefined) {
      // Most names have no character of two code units, so their text can be indexed.
      characters = /[\ud800-\udfff]/.test(name) ? Array.from(name) : name;
      this.#divided.set(name, characters);
    }
    return characters;
  }

  /**
   * Whether items match a pattern. The items behind the last `MANY` are compared first, from the
   * end, where most patterns differ (`*.o`). Every other part matches at the first position that
   * fits, so only the latest `MANY` before an item ever needs to be extended.
   */
  #fits<Pattern, Item>(
    pattern: readonly (Pattern | typeof MANY)[],
    items: ArrayLike<Item>,
    matches: (one: Pattern, item: Item) => boolean,
  ): boolean {
    let end = items.length;
    let last = pattern.length;
    for (; last > 0; last--) {
      this.#count();
      const one = pattern[last - 1]!;
      if (one === MANY) break;
      if (end === 0 || !matches(one as Pattern, items[--end]!)) return false;
    }
    if (last === 0) return end === 0;
    let many: { readonly at: number; end: number } | null = null;
    for (let [at, item] = [0, 0]; at < last;) {
      this.#count();
      const one = pattern[at]!;
      if (one === MANY) {
        many = { at: ++at, end: item };
      } else if (item === end) {
        return false;
      } else if (matches(one as Pattern, items[item]!)) {
        at++;
        item++;
      } else if (many === null) {
        return false;
      } else {
        at = many.at;
        item = ++many.end;
      }
    }
    return true;
  }

  #count(work = 1): void {
    this.#work -= work;
    if (this.#work >= 0) return;
    throw new Failure(
      "the lines of what to leave out take too long to be compared with the names: let there be fewer of them, and fewer " +
        "stars in them",
    );
  }
}

/** A character of a line. A character behind a backslash loses its special meaning. */
interface Token {
  readonly text: string;
  readonly isLiteral: boolean;
}

function isSpecial(token: Token | undefined, text: string): boolean {
  return token !== undefined && !token.isLiteral && token.text === text;
}

/** Reads a line; `null` for an empty line, a comment and an invalid pattern. */
function parseRule(line: string): Rule | null {
  const tokens = tokensOf(line);
  while (isSpecial(tokens?.at(-1), " ")) tokens!.pop();
  if (tokens === null || tokens.length === 0 || isSpecial(tokens[0], "#")) return null;
  const isNegated = isSpecial(tokens[0], "!");
  if (isNegated) tokens.shift();
  const ofDirectories = isSpecial(tokens.at(-1), "/");
  if (ofDirectories) tokens.pop();
  const isAnywhere = !tokens.some(({ text }) => text === "/");
  if (isSpecial(tokens[0], "/")) tokens.shift();
  if (tokens.length === 0) return null;
  const path = pathPattern(tokens);
  if (path === null) return null;
  const [first = MANY] = path;
  const isName = isAnywhere && path.length === 1 && first !== MANY;
  const pattern = isName ? { name: first } : { path };
  return { pattern, ofDirectories, isNegated };
}

/** The characters of a line; `null` if the last one is a lone backslash. */
function tokensOf(line: string): Token[] | null {
  const tokens: Token[] = [];
  let isLiteral = false;
  for (const text of line) {
    if (text === "\\" && !isLiteral) {
      isLiteral = true;
      continue;
    }
    tokens.push({ text, isLiteral });
    isLiteral = false;
  }
  return isLiteral ? null : tokens;
}

function pathPattern(tokens: readonly Token[]): PathPattern | null {
  const path: (NamePattern | typeof MANY)[] = [];
  for (let start = 0; start <= tokens.length;) {
    let end = start;
    while (end < tokens.length && tokens[end]!.text !== "/") end++;
    const part = tokens.slice(start, end);
    start = end + 1;
    if (part.length > 1 && part.every((token) => isSpecial(token, "*"))) {
      path.push(MANY);
      // A final `/**` matches the paths in the directory, not the directory itself.
      if (end === tokens.length) path.push([MANY]);
      continue;
    }
    const name = namePattern(part);
    if (name === null) return null;
    path.push(name);
  }
  return path;
}

function namePattern(tokens: readonly Token[]): NamePattern | null {
  if (!tokens.some((token) => ["*", "?", "["].some((text) => isSpecial(token, text)))) {
    return tokens.map(({ text }) => text).join("");
  }
  const pattern: (CharacterPattern | typeof MANY)[] = [];
  for (let at = 0; at < tokens.length; at++) {
    const token = tokens[at]!;
    if (isSpecial(token, "*")) {
      pattern.push(MANY);
    } else if (isSpecial(token, "?")) {
      pattern.push({ work: 0, matches: () => true });
    } else if (isSpecial(token, "[")) {
      const set = setPattern(tokens, at + 1);
      if (set === null) return null;
      pattern.push(set.pattern);
      at = set.end;
    } else {
      pattern.push({ work: 0, matches: (character) => character === token.text });
    }
  }
  return pattern;
}

/** The named sets of characters of POSIX, for use inside brackets. */
const NAMED_SETS: Readonly<Record<string, RegExp>> = {
  alnum: /^[A-Za-z0-9]$/,
  alpha: /^[A-Za-z]$/,
  blank: /^[ \t]$/,
  // deno-lint-ignore no-control-regex -- the set has these characters
  cntrl: /^[\x00-\x1f\x7f]$/,
  digit: /^[0-9]$/,
  graph: /^[!-~]$/,
  lower: /^[a-z]$/,
  print: /^[ -~]$/,
  punct: /^[!-/:-@[-`{-~]$/,
  space: /^[ \t-\r]$/,
  upper: /^[A-Z]$/,
  xdigit: /^[A-Fa-f0-9]$/,
};

/**
 * Reads a set of characters, such as `[a-z]`, from behind its opening bracket; `null` for a set
 * without an end or with an unknown name.
 */
function setPattern(
  tokens: readonly Token[],
  start: number,
): { readonly pattern: CharacterPattern; readonly end: number } | null {
  const isNegated = isSpecial(tokens[start], "!") || isSpecial(tokens[start], "^");
  const first = isNegated ? start + 1 : start;
  const parts: ((character: string) => boolean)[] = [];
  for (let at = first; at < tokens.length; at++) {
    const token = tokens[at]!;
    // The first character of a set may be the closing bracket itself.
    if (isSpecial(token, "]") && at > first) {
      const matches = (character: string) => parts.some((part) => part(character)) !== isNegated;
      return { pattern: { work: parts.length, matches }, end: at };
    }
    const named = isSpecial(token, "[") ? namedSet(tokens, at) : null;
    if (named !== null) {
      const { set, end } = named;
      if (set === undefined) return null;
      parts.push((character) => set.test(character));
      at = end;
      continue;
    }
    const low = codeOf(token);
    const last = tokens[at + 2];
    const isRange = isSpecial(tokens[at + 1], "-") && last !== undefined && !isSpecial(last, "]");
    const high = isRange ? codeOf(last) : low;
    if (isRange) at += 2;
    parts.push((character) => {
      const code = character.codePointAt(0)!;
      // Git matches the first character of a range even if the range is empty.
      return code === low || low <= code && code <= high;
    });
  }
  return null;
}

function codeOf({ text }: Token): number {
  return text.codePointAt(0)!;
}

/**
 * Reads the name of a set, such as `[:digit:]`, from its opening bracket; `null` for other text.
 */
function namedSet(
  tokens: readonly Token[],
  start: number,
): { readonly set: RegExp | undefined; readonly end: number } | null {
  // No name of a set is longer.
  const text = tokens.slice(start, start + 10).map(({ text }) => text).join("");
  const [whole, name] = /^\[:([a-z]+):\]/.exec(text) ?? [];
  if (whole === undefined) return null;
  return { set: NAMED_SETS[name!], end: start + whole.length - 1 };
}
