/** Names that the disk of a system can't store, or resolves to another file or a device. */

/** A device of Windows, also with spaces or an extension behind it: `nul.txt` opens the device. */
const WINDOWS_DEVICE =
  /^(?:con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\.|$)/iu;

/** The second name, of at most eight characters and three, that a long name has on Windows. */
const SHORT_NAME = /^(?=[^.]{1,8}(?:\.|$))[^.]+~\d+(?:\.[^.]{0,3})?$/u;

/** Separators, the colon of drives and streams, wildcards, and characters of no name. */
// deno-lint-ignore no-control-regex
const WINDOWS_SPECIAL = /[\\/:*?"<>|\x00-\x1f]/u;

/**
 * Returns why a disk can't store a name of the other end, or would resolve the name to another
 * file, a device or another directory; `null` for a name that is safe in a path.
 *
 * @param name A name that has no slash and no NUL, and is not empty, `.` or `..`.
 * @param system The system of the disk.
 */
export function nameProblem(
  name: string,
  system: typeof Deno.build.os = Deno.build.os,
): string | null {
  if (system !== "windows") return null;
  const [special] = WINDOWS_SPECIAL.exec(name) ?? [];
  if (special !== undefined) {
    return special < " " ? "has a control character" : `has the character ${special}`;
  }
  if (/[. ]$/.test(name)) return "ends with a dot or a space";
  if (isReservedByWindows(name)) return "is reserved by Windows";
  if (SHORT_NAME.test(name)) return "has the form of a short name, such as PROGRA~1";
  return null;
}

/** Whether Windows resolves a name to a device in every directory, as `con`. */
export function isReservedByWindows(name: string): boolean {
  return WINDOWS_DEVICE.test(name);
}
