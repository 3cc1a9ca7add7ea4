import ignore from "ignore";

/**
 * All paths are relative. Without `allowRelativePaths`, the library would reject a directory `C:`
 * of a peer as a drive.
 */
const IGNORE_OPTIONS = { ignorecase: false, allowRelativePaths: true };

/** A tree may have a million paths. */
const MAX_CACHED_PATHS = 10_000;

type Matcher = (path: string) => boolean;

export class ExcludePatterns {
  #rules = ignore(IGNORE_OPTIONS);
  #checkCount = 0;
  readonly #patterns: readonly string[];
  #matchers: readonly Matcher[] | null = null;
  /** The patterns that have had no effect yet. */
  readonly #unusedPatterns: Set<string>;
  #matchesUnused: Matcher;

  constructor(patterns: readonly string[]) {
    this.#patterns = patterns.filter((each) => !each.startsWith("#") && each.trim() !== "");
    this.#rules.add(this.#patterns);
    this.#unusedPatterns = new Set(this.#patterns);
    this.#matchesUnused = makeMatcher(this.#patterns);
  }

  /** The patterns without which the result for each path was the same. */
  get unusedPatterns(): readonly string[] {
    return [...this.#unusedPatterns];
  }

  matches(path: string): boolean {
    if (++this.#checkCount % MAX_CACHED_PATHS === 0) {
      this.#rules = ignore(IGNORE_OPTIONS).add(this.#rules);
      this.#matchers = null;
      this.#matchesUnused = makeMatcher(this.unusedPatterns);
    }
    const { ignored, unignored } = this.#rules.test(path);
    // All patterns are tested at once: a list may have hundreds.
    if ((ignored || unignored) && this.#matchesUnused(path)) this.#noteEffect(path);
    return ignored;
  }

  /** The pattern that decides is the first one after those with the opposite effect. */
  #noteEffect(path: string): void {
    this.#matchers ??= this.#patterns.map((pattern) => makeMatcher([pattern]));
    let isIgnored = false;
    let decidingPattern = "";
    for (const [index, pattern] of this.#patterns.entries()) {
      if (pattern.startsWith("!") !== isIgnored || !this.#matchers[index]!(path)) continue;
      isIgnored = !isIgnored;
      decidingPattern = pattern;
    }
    if (!this.#unusedPatterns.delete(decidingPattern)) return;
    this.#matchesUnused = makeMatcher(this.unusedPatterns);
  }
}

/** Negates each pattern, because a negation matches no path inside a directory that it matches. */
function makeMatcher(patterns: readonly string[]): Matcher {
  const rules = ignore(IGNORE_OPTIONS);
  rules.add(patterns.map((each) => each.startsWith("!") ? each : `!${each}`));
  return (path) => rules.test(path).unignored;
}

/** In a pattern, a backslash escapes the next character, and letters and digits need no escape. */
export function findPatternProblem(pattern: string): string | null {
  const escapedCharacters = pattern.matchAll(/\\(.?)/gsu).map(([, character]) => character!);
  const isSeparator = (character: string) => /^[\p{L}\p{N}_.]?$/u.test(character);
  return Deno.build.os === "windows" && escapedCharacters.some(isSeparator)
    ? `separate names by slashes, as in ${pattern.replaceAll("\\", "/")}`
    : null;
}

/**
 * Refuses a pattern of the command line that is empty, a comment, or has a name that no path has,
 * because every file would be copied.
 */
export function findExcludeProblem(pattern: string): string | null {
  const problem = findPatternProblem(pattern);
  if (problem !== null) return problem;
  const names = pattern.trim().replace(/^!/, "").split("/");
  const canMatch = !pattern.startsWith("#") && names.some((name) => name !== "") &&
    !names.some((name) => name === "." || name === "..");
  return canMatch ? null : `${JSON.stringify(pattern)} matches no path: write it as in .gitignore`;
}
