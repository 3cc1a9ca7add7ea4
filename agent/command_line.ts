/**
 * This module imports no command, and of the library only `base`, so that a help is printed, and a
 * wrong command line is refused, at once. A command is loaded before it runs.
 */

import { Argument, type Command, InvalidArgumentError, Option } from "commander";
import { DEFAULT_PORT, parseInvitationAddress, parseListenAddress } from "./machine/addresses.ts";
import { DEFAULT_INBOX, IGNORE_FILE, VERSIONS_OF_PEERS } from "./machine/context.ts";
import { AgentCommand, makeListParser, makeSecondsParser, parseKeep, type Run } from "./command.ts";
import { parseRestoreTime } from "./copy/restore_time.ts";

type AddCommand = (program: AgentCommand, args: readonly string[]) => void;
type Commands = readonly (readonly [group: string, name: string, add: AddCommand])[];

const COMMANDS: Commands = [
  ["Pairing:", "pair", addPairCommand],
  ["Pairing:", "invite", addInviteCommand],
  ["Pairing:", "join", addJoinCommand],
  ["Pairing:", "peers", addPeersCommand],
  ["Pairing:", "rename", addRenameCommand],
  ["Pairing:", "forget", addForgetCommand],
  ["Files:", "serve", addServeCommand],
  ["Files:", "ls", addLsCommand],
  ["Files:", "get", addGetCommand],
  ["Files:", "put", addPutCommand],
  ["Files:", "rm", addRmCommand],
  ["Files:", "sync", addSyncCommand],
  ["Files:", "restore", addRestoreCommand],
  ["Files:", "service", addServiceCommand],
  ["Transfers without pairing:", "send", addSendCommand],
  ["Transfers without pairing:", "receive", addReceiveCommand],
  ["This device:", "init", addInitCommand],
  ["This device:", "id", addIdCommand],
  ["This device:", "permissions", addPermissionsCommand],
  ["This device:", "completions", addCompletionsCommand],
  ["Troubleshooting:", "ping", addPingCommand],
];

/** @param args The arguments of the program; by default all commands are added. */
export function addCommands(program: AgentCommand, args: readonly string[] = []): void {
  for (const [group, , add] of selectCommands(COMMANDS, args)) {
    program.commandsGroup(group);
    add(program, args);
  }
}

/**
 * Returns only the command that the arguments name, because making all commands takes 20 ms; all
 * commands for completions, for a help and for an unknown command.
 */
function selectCommands(commands: Commands, args: readonly string[]): Commands {
  const optionPattern = /^(?:--home(?:=.*)?|--json|-q|--quiet|--flags)$/s;
  const typedName = args.find((arg, i) => !optionPattern.test(arg) && args[i - 1] !== "--home");
  const command = commands.find(([, name]) => name === typedName);
  return command === undefined || typedName === "completions" ? commands : [command];
}

function addPairCommand(program: AgentCommand): void {
  program.command("pair")
    .summary("pair with another device in this network (run it on both)")
    .description(
      "Pairs two devices in the same network permanently. Run the command on both devices: they find each other, show " +
        "a number, and ask whether both numbers are the same. Creates a missing device. For devices in different " +
        "networks, and in scripts, use degu invite and degu join.",
    )
    .addAddressOption()
    .addInvitingOptions()
    .addExample("degu pair", "pair: run this on both devices, then compare the numbers")
    .setHandler(async () => (await import("./commands/pair.ts")).runPair);
}

function addInviteCommand(program: AgentCommand): void {
  program.command("invite")
    .summary("pair with one other device by a line of text")
    .description(
      "Prints a line of text for one other device, and waits until that device has joined. Any device with the line " +
        "can pair: keep the line secret until it has been used, and don't change it. In the same network, you can run " +
        "degu pair on both devices instead.",
    )
    .option(
      "--seconds <seconds>",
      "the duration of the invitation (default: 600)",
      parseInvitationSeconds,
    )
    .addInvitingOptions()
    .addExample("degu invite", "print the line for degu join -")
    .addExample("degu invite | ssh other degu join -", "pair with a machine over ssh")
    .setHandler(async () => (await import("./commands/invite.ts")).runInvite);
}

function addJoinCommand(program: AgentCommand): void {
  program.command("join")
    .summary("pair with a device that has printed an invitation line")
    .description(
      "Pairs with the device that has printed the line. You don't have to compare numbers. White space in the line is " +
        "ignored. Use - to read the line from stdin, so that process lists and the shell's history don't contain it. " +
        "In the same network, you can run degu pair on both devices instead.",
    )
    .usage("[OPTION]... LINE|-")
    .argument("[line]", 'the line that "degu invite" has printed, or - to read it from stdin')
    .addPairingOptions()
    .addExample("degu join -", "paste the line into the terminal")
    .setHandler(async () => (await import("./commands/join.ts")).join);
}

function addPeersCommand(program: AgentCommand): void {
  program.command("peers")
    .summary("list the peers, which are the paired devices")
    .description(
      "Lists the devices that are paired with this device: name, id and addresses. Only these devices can connect to " +
        '"degu serve" on this device.',
    )
    .addExample("degu peers", "print a line for each peer")
    .setHandler(async () => (await import("./commands/peers.ts")).listPeers);
}

function addRenameCommand(program: AgentCommand): void {
  program.command("rename")
    .summary("rename a peer")
    .description(
      "Changes the name of a peer on this device only. In the inbox, the peer gets a directory with the new name; its " +
        "existing files stay in the directory with the old name.",
    )
    .argument("<peer>", "the name or id of the peer")
    .argument("<name>", "the new name: 1 to 63 letters, digits, - and _")
    .addExample("degu rename localhost-2 phone", "rename a peer; then use it as phone:")
    .setHandler(async () => (await import("./commands/peers.ts")).rename);
}

function addForgetCommand(program: AgentCommand): void {
  program.command("forget")
    .summary("stop trusting a peer")
    .description(
      "Stops trusting a peer. Its connections to this device are closed within a second, and it can't connect again. " +
        "The other device is not notified, and trusts this device until you also run degu forget on it.",
    )
    .argument("<peer>", "the name or id of the peer")
    .addExample("degu forget old-phone", "forget a device that was lost, sold or stolen")
    .setHandler(async () => (await import("./commands/peers.ts")).forget);
}

function addIdCommand(program: AgentCommand): void {
  program.command("id")
    .summary("print the name and the id of this device")
    .description(
      "Prints the name and the id of this device. Compare them with the name and the id that the other device shows.",
    )
    .addExample("degu id", "print the name and the id")
    .setHandler(async () => (await import("./commands/id.ts")).printId);
}

function addServeCommand(program: AgentCommand): void {
  program.command("serve")
    .summary("share a directory with peers, and receive files from them")
    .description(
      "Serves paired devices, and no other devices, until SIGINT, SIGTERM or SIGHUP. After the first signal, running transfers " +
        "finish; a second signal ends them. Devices that are paired while the command runs can connect at once.",
    )
    .option("--share <dir>", "a directory that peers can read (ls, get, sync)", parseOnce)
    .addOption(
      new Option(
        "--inbox [dir]",
        `the inbox, in which each peer can read, write and delete files in its own directory (put, rm, sync); created if missing (without DIR: ${DEFAULT_INBOX})`,
      ).preset(DEFAULT_INBOX).argParser(parseOnce),
    )
    .addOption(
      new Option(
        "--inbox-for-all <dir>",
        "an inbox that all peers share: each peer can read, replace and delete the files of the others",
      ).argParser(parseOnce).conflicts("inbox"),
    )
    .option("--new-only", "let peers only add files to the inbox, but not replace or delete files")
    .option(
      "--keep <days>",
      `keep ${VERSIONS_OF_PEERS}: for at least this many days, and until this many later days had changes`,
      parseKeep,
    )
    .option(
      "--listen <address>",
      `an address to listen on; can be repeated (default: port ${DEFAULT_PORT} of every address)`,
      makeListParser(parseListenAddress),
    )
    .option(
      "--no-create",
      "create neither a missing inbox nor a device: their disk may not be mounted",
    )
    .option("--no-announce", "don't announce this device on the local network (mDNS)")
    .addExample("degu serve --share ~/Pictures", "let peers read a directory")
    .addExample("degu serve --inbox", "let each peer write to its own directory in ~/Inbox")
    .addExample("degu serve --inbox --keep 30", "also keep earlier versions, for 30 days")
    .addExample(
      "degu serve --share ~/Shared --inbox-for-all ~/Shared",
      "let peers read and write the same directory",
    )
    .setHandler(async () => (await import("./commands/serve.ts")).serve);
}

function addLsCommand(program: AgentCommand): void {
  program.command("ls")
    .summary("list files of a peer")
    .description(
      "Lists a directory in the share of a peer, sorted by name, or prints the name of a file. Directories end with a " +
        "slash. If the peer has no share, lists its inbox.",
    )
    .argument("<peer:path>", "the directory or file; PEER: is the whole share")
    .option("--inbox", "list the inbox of the peer instead of its share")
    .option("-l, --long", "also print sizes and modification times")
    // `ls -lh` of other programs: sizes always have units.
    .helpOption("--help", "print this help")
    .addOption(new Option("-h, --human-readable").hideHelp())
    .addPeerOptions()
    .addExample("degu ls laptop:", "list the share of the peer")
    .setHandler(async () => (await import("./commands/ls.ts")).ls);
}

function addGetCommand(program: AgentCommand): void {
  program.command("get")
    .summary("copy files from a peer")
    .description(
      `Copies files, and with -r directories, from the share of a peer, or from its inbox if the peer has no share.

If TARGET is a directory or ends with a slash, files are copied into it; otherwise TARGET is the new name of the file. A \
directory is always copied into TARGET, and keeps its name. The default TARGET is the current directory. A different file \
of the same name is not replaced without --force. To continue an interrupted copy, run the same command again.

If TARGET is -, a single file is written to stdout, and everything else is printed to stderr. The file is verified after its \
last byte, so the exit code shows whether it is complete.`,
    )
    .usage("[OPTION]... PEER:PATH... [TARGET]")
    .argument(
      "<path...>",
      "PEER:PATH of each file or directory to copy; the last argument may be TARGET, or - for stdout",
    )
    .option("-r, --recursive", "copy directories with all their contents")
    .option("--force", "replace different files of the same name")
    .option("--inbox", "copy from the inbox of the peer instead of its share")
    .addCopyOptions()
    .addExample("degu get laptop:report.pdf", "copy a file into the current directory")
    .addExample("degu get -r laptop:photos/2025 pictures", "copy a directory to pictures/2025")
    .addExample("degu get laptop:db.sql - | psql db", "write a file to another program")
    .setHandler(async () => (await import("./commands/get.ts")).runGet);
}

function addPutCommand(program: AgentCommand): void {
  program.command("put")
    .summary("copy files to the inbox of a peer")
    .description(
      `Copies files, and with -r directories, into the inbox of a peer.

If PATH is a directory or ends with a slash, files are copied into it; otherwise PATH is the new name of a single file. A directory \
is always copied into PATH, and keeps its name. Without PATH, files are copied into the inbox itself. A different file of the \
same name is not replaced without --force. To continue an interrupted copy, run the same command again.

If the only FILE is -, or a FIFO, its bytes are sent to PEER:PATH until its end. They get their name after the last byte, and \
are not continued after an interruption.`,
    )
    .usage("[OPTION]... FILE... PEER:[PATH]")
    .argument(
      "<path...>",
      "the files and directories to copy, or - for stdin; the last argument is PEER:[PATH]",
    )
    .option("-r, --recursive", "copy directories with all their contents")
    .option("--force", "replace different files of the same name")
    .addCopyOptions()
    .addExample("degu put report.pdf laptop:", "copy a file into the inbox")
    .addExample("degu put -r photos laptop:", "copy a directory")
    .addExample("pg_dump db | degu put - laptop:db.sql", "copy the output of a program")
    .setHandler(async () => (await import("./commands/put.ts")).runPut);
}

function addRmCommand(program: AgentCommand): void {
  program.command("rm")
    .summary("remove files from the inbox of a peer")
    .description(
      "Removes files and empty directories from the inbox of a peer. With -r, removes directories with all their contents.",
    )
    .argument("<peer:path...>", "the files and directories to remove")
    .option("-r, --recursive", "remove directories with all their contents")
    .addPeerOptions()
    .addExample("degu rm laptop:report.pdf", "remove a file")
    .addExample("degu rm -r laptop:photos", "remove a directory with all its contents")
    .setHandler(async () => (await import("./commands/rm.ts")).rm);
}

function addSyncCommand(program: AgentCommand): void {
  program.command("sync")
    .summary("copy new and changed files of a directory, from or to a peer")
    .description(
      `Copies new and changed files from the share of a peer to a local directory, or from a local \
directory to the inbox of a peer. The contents of the first directory are copied into the second directory; different files are replaced.`,
    )
    .usage("[OPTION]... PEER:DIR DIR | DIR PEER:DIR")
    .argument("<from>", "the first directory, which is copied: PEER:DIR or DIR")
    .argument("<to>", "the second directory, which is updated: DIR or PEER:DIR")
    .option(
      "--checksum",
      "compare files of the same size by SHA-256, not by time",
    )
    .option("--delete", "delete files and directories that the first directory doesn't have")
    .option(
      "--delete-all",
      "with --delete: delete even if most files would be deleted, the first directory has no files, or the second is a whole inbox",
    )
    .option(
      "--exclude <glob>",
      `skip files that match this pattern of .gitignore, in both directories; can be repeated; the file ${IGNORE_FILE} in the local directory can contain more patterns`,
      makeListParser(String),
    )
    .option(
      "--keep <days>",
      "keep each local file that is replaced or deleted; with --every, one to twelve versions an hour of each replaced file: for at least this many days, and until this many later days had changes",
      parseKeep,
    )
    .option("--no-create", "don't create a missing local directory: its disk may not be mounted")
    .option("--move", "remove each local file after the peer has verified and stored it")
    .option("--inbox", "copy from the inbox of the peer instead of its share")
    .option(
      "--every <seconds>",
      "repeat the run, this many seconds after each run, or a time such as 5m, 2h or 1d after it",
      parseEvery,
    )
    .option("-n, --dry-run", "print the changes without making them")
    .addCopyOptions()
    .addIgnoredOptions("-r, --recursive", "-P, --partial")
    .addExample("degu sync laptop:photos photos", "update a local directory from a peer")
    .addExample("degu sync --every 60 photos laptop:photos", "copy changes every minute")
    .addExample(
      "degu sync --dry-run --delete photos laptop:photos",
      "print the files that would be copied and deleted on the peer",
    )
    .addExample(
      'degu sync --exclude "*.tmp" --exclude /build/ project laptop:project',
      "copy a directory without the files that match the patterns",
    )
    .addExample("degu sync --every 10 --move outbox laptop:", "move new files to the peer")
    .setHandler(async () => (await import("./commands/sync.ts")).sync);
}

function addRestoreCommand(program: AgentCommand): void {
  program.command("restore")
    .usage("[OPTION]... DIR [NEW]")
    .summary("restore a directory of the inbox as it was at a time")
    .description(
      `Copies the files that were in DIR at a time into the new directory NEW. Run the command on the device that keeps the \
versions: DIR is a directory of the inbox of "degu serve --keep", or the copy of "degu sync --keep", or a directory in it. DIR is \
not changed, and may be deleted. To continue after an interruption, run the same command again. Without --at, restores nothing, \
and lists earlier states with the command that restores each, or the versions of a file. The list and --dry-run need no NEW.

What peers changed with --keep since then is undone. What another program changed, or peers while --keep was off, stays changed.`,
    )
    .argument("<dir>", "the directory in the inbox")
    .argument("[new]", "the new directory, not in DIR, nor directly in an inbox")
    .option(
      "--at <time>",
      "the local hour, as 2026-01-31T14:00, or a directory in .degu-kept",
      parseRestoreTime,
    )
    .option("-n, --dry-run", "print the files without restoring them")
    .option("-v, --verbose", "also print the files that are left out, because they were not there")
    .addExample("degu restore ~/Inbox/laptop/Documents", "list earlier states")
    .addExample(
      "degu restore --at 2026-01-31T14:00 ~/Inbox/laptop ~/Inbox/laptop-2/restored",
      "restore all files of a lost device for its successor",
    )
    .setHandler(async () => (await import("./commands/restore.ts")).restore);
}

function addServiceCommand(program: AgentCommand): void {
  const service = program.command("service")
    .summary("run serve or sync permanently, with systemd")
    .description(
      "Writes, enables and starts a systemd service of this user, with only the permissions that it needs.",
    )
    .addExample(
      "degu service install --share ~/Pictures --inbox ~/Inbox",
      "run degu serve permanently",
    )
    .addExample(
      "degu service install sync --delete ~/Documents desk:Documents",
      "run degu sync every minute",
    )
    .addExample("degu service list", "list these services, with their last and next runs");
  const runInstall: Run = () =>
    program.run(async (context, ...args: unknown[]) => {
      const { installUnits } = await import("./commands/service.ts");
      return await installUnits(context, args.at(-1) as Command, program.version()!);
    });
  const installableCommands = new AgentCommand("both", runInstall).copyInheritedSettings(program);
  addServeCommand(installableCommands);
  addSyncCommand(installableCommands);
  const [serve, sync] = installableCommands.commands;
  service.command("install")
    .summary("write, enable and start a service")
    .usage("[OPTION of serve]... | sync [OPTION]... PEER:DIR DIR | sync [OPTION]... DIR PEER:DIR")
    .description(
      `Installs a service that runs "degu serve" with these options, or that runs "degu sync" again a minute after each \
run, or after the seconds of --every. Prints the paths of the files that it writes. With --print, prints the files \
instead, and writes none.`,
    )
    .option("--print", "print the files of the service instead of installing it")
    .addCommand(serve!, { isDefault: true, hidden: true })
    .addCommand(sync!);
  service.command("list")
    .summary("list the installed services")
    .description("Lists the installed services, with their commands and their last and next runs.")
    .setHandler(async () => (await import("./commands/service.ts")).listServices);
  service.command("remove")
    .summary("stop and remove the installed services, or one of them")
    .description("Stops and removes all installed services, or only the service NAME.")
    .argument("[name]", "the name of a service, as degu service list prints it")
    .setHandler(async () => (await import("./commands/service.ts")).removeUnits);
}

function addSendCommand(program: AgentCommand): void {
  program.command("send")
    .summary("send files to one other device, once")
    .description(
      "Sends files, and directories with all their contents, to one other device, on which you run degu receive. Both " +
        "devices show a number, and ask whether both numbers are the same. The command ends when all files have arrived, " +
        "or if no device joins within ten minutes. The two devices are not paired.",
    )
    .argument("<file...>", "the files and directories to send")
    .option(
      "--seconds <seconds>",
      "the longest wait for the other device (default: 600)",
      parseInvitationSeconds,
    )
    .option(
      "--listen <address>",
      "the address to listen on (default: every address, with free ports)",
      parseInvitationAddress,
    )
    .option(
      "--line",
      "print the line for other networks at once (default: after ten seconds without another device)",
    )
    .addIgnoredOptions("-r, --recursive")
    .addExample("degu send report.pdf", "send a file; then run degu receive on the other device")
    .addExample("degu send photos notes.txt", "send a directory and a file")
    .setHandler(async () => (await import("./commands/send.ts")).send);
}

function addReceiveCommand(program: AgentCommand): void {
  program.command("receive")
    .summary("receive files from one other device, once")
    .description(
      "Receives files from another device in this network, on which you run degu send. Both devices show a number, and " +
        "ask whether both numbers are the same. Copies the files into DIR. With the " +
        "line that degu send prints, you don't have to compare numbers, and the devices can be in different networks; " +
        "use - to read the line from stdin. To continue an interrupted transfer, run both commands again. Without " +
        "--force, names that begin with a dot and directories that already exist are refused.",
    )
    .usage("[OPTION]... [LINE|-] [DIR]")
    .argument("[line]", "the line that degu send has printed, or - to read it from stdin")
    .argument("[dir]", "the directory for the files (default: the current directory)")
    .option(
      "--from <name>",
      "the name of the sending device, or the first characters of its id, if several devices send",
      parseNameOrId,
    )
    .option(
      "--force",
      "replace different files of the same name, add to existing directories, and accept names that begin with a dot",
    )
    .addVerboseOption()
    .addAddressOption()
    .addExample("degu receive", "receive files into the current directory")
    .addExample("degu receive --from laptop ~/Downloads", "if several devices send")
    .addExample("degu receive -", "paste the line into the terminal")
    .setHandler(async () => (await import("./commands/receive.ts")).runReceive);
}

function addInitCommand(program: AgentCommand): void {
  program.command("init")
    .summary("create or rename this device")
    .description(
      "Creates this device: its name, its keys, and a directory for them. Prints the name and the id of the device. " +
        "The commands pair, invite, join and serve also create a missing device, with the name of this machine. With " +
        "--name, renames an existing device. send and receive always use the name of this machine.",
    )
    .option(
      "--name <name>",
      "the name of this device (default: the name of this machine)",
    )
    .addExample("degu init", "create a device with the name of this machine")
    .setHandler(async () => (await import("./commands/init.ts")).init);
}

function addPermissionsCommand(program: AgentCommand, args: readonly string[]): void {
  const permissions = program.command("permissions")
    .summary("print the line that runs a command with only its permissions")
    .usage("COMMAND [OPTION]... [ARGUMENT]...")
    .description(
      "Prints the line with which Deno runs the command with only the permissions that it needs with these arguments. Runs " +
        "nothing. A command that may search for a peer needs every address: with --no-find or --address, the line has " +
        "only the addresses of the peer.",
    )
    .option("--flags", "print only the flags of Deno, one in each line, for a script")
    .addExample("degu permissions get laptop:report.pdf", "print the line that copies this file");
  const index = args.indexOf("permissions");
  // Behind "permissions", the option is of the command whose line is printed.
  const isJson = args.slice(0, index).includes("--json");
  const runPrint: Run = () =>
    program.run(async (context, ...args: unknown[]) => {
      const { printPermissions } = await import("./commands/permissions.ts");
      await printPermissions(context, args.at(-1) as Command, program.version()!, isJson);
    });
  const commands = new AgentCommand("all", runPrint).copyInheritedSettings(program);
  const permitted = COMMANDS.filter(([, name]) => name !== "service" && name !== "permissions");
  for (const [, , add] of selectCommands(permitted, args.slice(index + 1))) add(commands, args);
  for (const command of commands.commands) permissions.addCommand(command);
}

function addCompletionsCommand(program: AgentCommand): void {
  program.command("completions")
    .summary("print a completion script for a shell")
    .description(
      "Prints a script with which a shell completes commands, options, names of peers and local files.",
    )
    .addArgument(
      new Argument("<shell>", "the name of the shell").choices(["bash", "zsh", "fish"]),
    )
    .addExample('echo "source <(degu completions bash)" >> ~/.bashrc', "enable completion in bash")
    .addExample(
      'echo "source <(degu completions zsh)" >> ~/.zshrc',
      "enable completion in zsh, in a line after compinit",
    )
    .addExample(
      "degu completions fish > ~/.config/fish/completions/degu.fish",
      "enable completion in fish",
    )
    .setHandler(async () => {
      const { makeCompletionsPrinter } = await import("./commands/completions.ts");
      return makeCompletionsPrinter(program);
    });
}

function addPingCommand(program: AgentCommand): void {
  program.command("ping")
    .summary("check the connection to a peer")
    .description(
      "Connects to a peer, and prints the address, the time to connect and to respond, and the directories that the peer serves.",
    )
    .argument("<peer>", "the name or id of the peer")
    .addPeerOptions()
    .addExample("degu ping laptop", "connect to the stored addresses")
    .addExample("degu ping --address 192.168.1.9 laptop", "connect to another address")
    .setHandler(async () => (await import("./commands/ping.ts")).ping);
}

const parseEvery = makeSecondsParser(
  "above 0, or a time such as 5m, 2h or 1d",
  (seconds) => seconds > 0,
);

function parseNameOrId(text: string): string {
  if (/^[a-z0-9][a-z0-9_-]{0,62}…?$/i.test(text)) return text;
  throw new InvalidArgumentError(
    `must be the name of a device, or the first characters of its id; got ${JSON.stringify(text)}`,
  );
}

/** Commander would ignore the first of two values silently. */
function parseOnce(text: string, previous?: string): string {
  if (previous === undefined) return text;
  throw new InvalidArgumentError(
    `it can be given only once, and ${JSON.stringify(previous)} is given already`,
  );
}

const parseInvitationSeconds = makeSecondsParser(
  "1 to 86400, or a time up to 1d, such as 5m",
  (seconds) => seconds >= 1 && seconds <= 86_400,
);
