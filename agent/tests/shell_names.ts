/** Names of files that a shell, a flag of Deno or a terminal could read in another way. */
export const SHELL_NAMES: readonly string[] = [
  // Words and lines. Deno drops a carriage return at the end of an argument.
  ["a b", " a", "a ", "  ", "\t", "\ra", "a\nb", "\n"],
  // Quotes and expansions.
  ["it's", '"a"', "\\", "\\n", "a\\", "$HOME", "$(id)", "`id`", "~", "!", "*", "?", "[a]", "{a,b}"],
  // Operators and options.
  ["&", ";", "|", "#", "a=b", "-n", "--", "--allow-all"],
  // Separators in flags, and characters that a terminal hides.
  [",", "a,b", "a:b", ":", "%41", "é", "👩\u200d🔬", "\u202e\x1b[2J"],
].flat();

/** Returns whether no flag of Deno, each in a line, can have a path with this name. */
export function isInexpressible(name: string): boolean {
  return /[,\n]/.test(name);
}
