/** The folders of the tests that run under Wine. */
export const TEST_FOLDERS = [
  "tests/internal",
  "device/tests",
  "files/tests",
  "agent/tests",
];

/**
 * The tests of files, devices and the program that can't pass under Wine, by reason. They run
 * nevertheless, and a test that passes is reported. Tests for which Wine is too slow don't run.
 * Most tests that make links aren't in the table: `makeLinks()` ends them.
 */
export const ROWS: Readonly<Record<string, readonly string[]>> = {
  "no symbolic links: the test makes one in a call that it tests, or serves one": [
    "upload: a file is sent whole, once, if its basis file is a link when it is copied",
    "a list is cut if a directory is replaced before it is listed completely",
    "move: no file is lost if the server serves the source by a link",
  ],
  "no permission bits": [
    "a part has mode 0600, whatever mode the file gets; a new file gets the default mode",
    "Device.open does not change the mode of a directory that contains other things",
    "Device.open rejects a directory that others could have written to",
    "TempDevices are paired with each other by their names, and removed on dispose",
    "a device's directories have mode 0700 and its files 0600",
    "a link, a directory, or a file that others could write is not trusted",
    "a new file gets the default mode, and a replaced file keeps its mode without special bits",
    "an interrupted upload resumes at its offset",
    "createDevicePki makes directories of mode 0700 and files of mode 0600",
    "createDevicePki rejects directories that other users can write and keys that they can use, with advice",
    "download: a temporary file for a small file that replaces another has mode 0600",
    "each record of a bundle gets a status, and a refused record changes no file",
    "each peer has its own directory: another peer can't list, get, replace or delete its files",
    "received files are not executable; a private file stays private",
    "concurrent requests for the same name get different directories",
    "replace: false keeps an existing file, even one that was created during the download",
    "the reserved directory is created once, and is private",
  ],
  "no Unix sockets in Deno for Windows": [
    "each device receives the server addresses that the other has when it responds",
  ],
  "no syncs of directories": [
    "a resumable file with its final name is complete, even if its directory can't be synced",
  ],
  "no file has such a name on Windows": [
    "a unit has the options of the command line, and only the permissions of its row",
    "a wrong command line is an error with the words to write, and creates no file ... rm camera:a?",
    "FilesApp chooses the type by the extension",
    "put and sync: each file whose name the disk of the peer refuses has this reason, and the code BAD_NAME",
    "get and sync: each file whose name this disk refuses has this reason, and the code BAD_NAME",
    "a bundle has each requested file, or its error status, in the order of the request",
    "a repeated name in a bundle counts as an existing file, even if the server lists the directory",
    "download: files and directories may have any name",
    "local and remote file names may be in any language, and directories are created",
    "get -r keeps names, times and trees; a second run transfers no file",
    "ls lists by name, optionally with sizes and times; names are printed escaped",
    "no name that a peer chooses forges a log line",
    "a program in Python reads a bundle (needs python3)",
    "upload: files and directories may have any name",
  ],
  "Wine removes and replaces no file that is open": [
    "upload: a file that is replaced on every second request is not retried forever",
    "a download rejects if other processes keep removing its part",
    "a part is not removed by the process that has lost its lock",
    "a large file that is renamed over arrives as one version, or not at all",
    "a small file that is renamed over arrives as one version, or not at all",
    "move: a file that becomes a directory, or is removed, when the server has it is not removed ... upload: x x2* >> , move stored=remove:x,remove:x2",
    "a damaged part is detected by its digest, and not kept",
    "a directory with the name of a part keeps its entries",
    "a file that is replaced is sent in its old version",
    "an upload abandons a part that another process is writing, and starts a new part",
    "PUT responds with 409 if other processes keep removing its part",
    "move: a file that becomes a directory, or is removed, when the server has it is not removed ... upload: x x2* >> , move stored=directory:x,directory:x2",
    "move: a file that changes when the server has it is kept, and copied by the next call ... upload: x x2* >> , move stored=replace:x,replace:x2",
  ],
  "the message has a path of Windows": [
    "Device.open rejects a directory of another version, names both versions, and changes no file",
    "Device.open with create: false opens a device without writing, and rejects without a device",
  ],
  "the message has other advice on Windows": [
    "--exclude: a pattern that matches no path is refused, any other is accepted",
    "an error of the system names the user, the action and the path, with advice",
    "a reworded log line names the local path",
    "an address at which listening fails is reported, with an alternative",
    "errors of the command line have advice",
  ],
  "a path through a file is missing on Windows, and no file in place of a directory": [
    "a file instead of the device's directory is an error",
    "FilesApp rejects a directory that does not exist",
    "a target that can't be written is rejected before any request",
    "download: a file has the name of a parent directory: IN_THE_WAY",
  ],
  "Wine is too slow: it reads the whole directory for each name that is not in it": [
    "10,000 entries are listed in chunks, even if some vanish meanwhile",
  ],
  "the test locks a file that others read, which Windows forbids": [
    "a server that doesn't read the peers delays a pairing for as long as device/docs/device.md says",
    "servingAddresses returns the servers of processes that are alive",
  ],
  "the test has a path, a URL or a permission of Linux": [
    "a part that can't be synced to a full disk is truncated to its synced bytes",
    "with --json the error that ends a command is an object on stdout, with the code that agent/docs/reference.md has ... without a permission, and interrupted",
    "without --home the environment determines the directory of the device; a relative path is ignored",
    "invite, join and serve create a missing device with the name of the machine, and report it; ls does not",
    "move: without the permission to write to the source the whole call rejects, and no file is removed",
    "upload: a dry run doesn't create the target; a missing source is an error",
  ],
  "Wine keeps the case of a name that another case is given": [
    "sync from a peer: a name that the target does not list is an error, and prevents deletions in its directory: 1",
  ],
  "paths of more than 260 characters, which Deno passes on as they are": [
    "a path has at most 256 names; deeper entries are listed as not requestable, and refused",
  ],
  "no signal of another process: Windows ends a process at once": [
    "the first signal aborts the command, and the second signal ends the process",
  ],
  "no systemd on Windows": [
    "an inbox with an entry without an owner is refused, with the advice --inbox-for-all",
    "without a running systemd of the user, install and remove fail with advice",
    "the unit of a compiled program runs that program by its own path, without flags of Deno",
    "without systemd, install and remove report that",
    "a service that can't be installed, or is only printed, makes no inbox",
    "an invalid service is refused before a unit is written",
    "the timer of sync has the interval of --every, and its command does not",
  ],
  "Wine makes no junctions": [
    "a junction is a link: it is not followed, written through, or copied",
  ],
};
