export function isWindows(): boolean {
  return Deno.build.os === "windows";
}

/** The name of a Windows device, also with trailing spaces or an extension, as in `nul.txt`. */
const WINDOWS_DEVICE_NAME =
  /^(?:con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\.|$)/iu;

export function isReservedByWindows(name: string): boolean {
  return WINDOWS_DEVICE_NAME.test(name);
}
