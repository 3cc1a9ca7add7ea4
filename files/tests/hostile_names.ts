/** Names that are harmless on the wire, and that Windows takes for something else. */
export const HOSTILE_NAMES: readonly string[] = [
  // Paths.
  ["..\\x", "..\\..\\x", "a\\b", "\\x", "\\\\host\\x", "\\\\?\\C:\\x", "a\\..\\..\\x", ".\\x"],
  // Drives, and streams of other files.
  ["C:x", "C:\\x", "C:", "a:b", "a::$DATA", ".degu-files:x", ".degu-files::$INDEX_ALLOCATION"],
  // Devices.
  ["nul", "nul.txt", "NUL .txt", "con", "aux.tar.gz", "com1", "COM².x", "lpt9.", "CONOUT$"],
  // Short names (8.3) of other files.
  ["PROGRA~1", "DEGU-F~1", "a~1", "A~12.TXT", "B1234~1.B"],
  // Windows removes the end of these names.
  ["a.", "a ", "...", ".. ", ".degu-files.", ". .", "a. ."],
  // Names that no file can have on Windows.
  ["a?b", "a*", 'a"b', "a<b", "a>b", "a|b", "a\nb", "a\x01", "\x1f", "a\tb"],
].flat();
