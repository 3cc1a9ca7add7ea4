/** Names that the disk of a system can't store, or resolves to another file or a device. */

/** The name of a Windows device, also with trailing spaces or an extension, as in `nul.txt`. */
const WINDOWS_DEVICE_NAME =
  /^(?:con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\.|$)/iu;

/** The second name (8.3) that Windows gives a file with a long name: `PROGRA~1.TXT`. */
const WINDOWS_SHORT_NAME = /^(?=[^.]{1,8}(?:\.|$))[^.]+~\d+(?:\.[^.]{0,3})?$/u;

/** Separators, the colon of drives and streams, wildcards, and control characters. */
// deno-lint-ignore no-control-regex
const WINDOWS_SPECIAL_CHARACTER = /[\\/:*?"<>|\x00-\x1f]/u;

/**
 * Returns the reason why a disk can't store a name from a peer, or would resolve the name to
 * another file, a device or another directory; `null` for a name that is safe in a path.
 *
 * @param name A name that has no slash and no NUL, and is not empty, `.` or `..`.
 * @param system The system of the disk.
 */
export function findNameProblem(
  name: string,
  system: typeof Deno.build.os = Deno.build.os,
): string | null {
  if (system !== "windows") return null;
  const [special] = WINDOWS_SPECIAL_CHARACTER.exec(name) ?? [];
  if (special !== undefined) {
    return special < " " ? "has a control character" : `has the character ${special}`;
  }
  if (/[. ]$/.test(name)) return "ends with a dot or a space";
  if (isReservedByWindows(name)) return "is reserved by Windows";
  if (WINDOWS_SHORT_NAME.test(name)) return "has the form of a short name, such as PROGRA~1";
  return null;
}

/** Reports whether Windows resolves a name, such as `con`, to a device in every directory. */
export function isReservedByWindows(name: string): boolean {
  return WINDOWS_DEVICE_NAME.test(name);
}
