/** Command lines that a message shows. */

export function formatShellCommand(...words: readonly string[]): string {
  return words.map((word) =>
    /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
  )
    .join(" ");
}

/** Advice for a path that the shell has split at its spaces. */
export function formatSpaceAdvice(path: string, ...followingWords: readonly string[]): string {
  const rest = followingWords.join(" ");
  return path.endsWith(":")
    ? `write ${formatShellCommand(`${path}${rest}`)}, without a space after the colon`
    : `quote a name with spaces: ${formatShellCommand(`${path} ${rest}`)}`;
}
