/** Wine and Deno for Windows, in a Debian system below /tmp, which the first run installs. */

import { OFFLINE_IMPORT_MAP, PROJECT_ROOT } from "./standard_library.ts";

const DIRECTORY = `/tmp/degu-wine-${Deno.version.deno}`;
/** Wine 8, of the previous Debian release, can't run V8. */
const SUITE = "trixie";
const PROGRAMS = ["debootstrap", "unshare", "chroot", "mount", "npm", "tar"];

/**
 * Runs Deno for Windows in new namespaces with a new Wine server. When Deno ends, the mounts and
 * all processes also end. The project is `Z:\w\degu`. If the variable WINE_HOME names a directory,
 * the directory is `Z:\w\home` and Deno's working directory, and contains the local data of the
 * profile.
 */
const SCRIPT = String.raw`#!/bin/sh
home=$WINE_HOME
exec unshare --mount --pid --fork --kill-child sh -c '
set -e
root=$0 project=$1 home=$2
shift 2
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$project" "$root/w/degu"
mount --bind "$root/../cache" "$root/w/cache"
start=/w/degu
local=$root/root/.wine/drive_c/users/root/AppData/Local
if [ -n "$home" ]; then
  start=/w/home
  mount --bind "$home" "$root/w/home"
  mkdir -p "$home/AppData/Temp"
  mount --bind "$home/AppData" "$local"
else
  mount -t tmpfs tmpfs "$local/Temp"
fi
exec chroot "$root" env -i LANG=C.UTF-8 PATH=/usr/bin:/bin HOME=/root TERM=xterm NO_COLOR=1 WINEDEBUG=-all \
  XDG_RUNTIME_DIR=/tmp DENO_DIR="Z:\\w\\cache" DENO_NO_UPDATE_CHECK=1 \
  sh -c "cd $start && exec wine /w/deno.exe \"\$@\"" sh "$@"
' "DIRECTORY/root" "PROJECT" "$home" "$@"
`;

const INSTALL = String.raw`
set -e
directory=$0 suite=$1 deno=$2
root=$directory/root
rm -rf "$root"
mkdir -p "$root"
debootstrap --variant=minbase "$suite" "$root"
mkdir -p "$root/w/degu" "$root/w/cache" "$root/w/home"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
export DEBIAN_FRONTEND=noninteractive
chroot "$root" apt-get -qq update
chroot "$root" apt-get -qq install -y --no-install-recommends wine wine64
cd "$directory"
tar -xzf "$(npm pack --silent "@deno/win32-x64@$deno")" package/deno.exe
mv package/deno.exe "$root/w/deno.exe"
rm -r package *.tgz
printf '127.0.0.1 localhost\n::1 localhost\n' > "$root/etc/hosts"
mount -t tmpfs tmpfs "$root/tmp"
chroot "$root" env HOME=/root WINEDEBUG=-all XDG_RUNTIME_DIR=/tmp \
  sh -c "wine wineboot --init && wineserver --wait"
`;

export interface Wine {
  readonly script: string;
}

export async function findWineObstacles(): Promise<string[]> {
  const { os, arch } = Deno.build;
  if (os !== "linux" || arch !== "x86_64") return ["it needs Linux on x86-64"];
  const obstacles = Deno.uid() === 0 ? [] : ["it needs root, for mounts and a chroot: use sudo"];
  for (const program of PROGRAMS) {
    const args = ["-c", 'command -v -- "$0"', program];
    const { success } = await new Deno.Command("sh", { args, stdout: "null" }).output();
    if (!success) obstacles.push(`${program} is not installed`);
  }
  return obstacles;
}

/**
 * Installs Wine and Deno for Windows if they are missing, which takes two minutes and about 2 GB.
 * Fills Deno's cache with the packages that `modules` import.
 */
export async function installWine(modules: readonly string[]): Promise<Wine> {
  const installedMarker = `${DIRECTORY}/installed`;
  if (!await exists(installedMarker)) {
    console.log(`installing Wine and Deno for Windows in ${DIRECTORY}`);
    await Deno.mkdir(`${DIRECTORY}/cache`, { recursive: true });
    const values = [DIRECTORY, SUITE, Deno.version.deno];
    await run("unshare", ["--mount", "sh", "-c", INSTALL, ...values]);
    await Deno.writeTextFile(installedMarker, "");
  }
  const installArgs = [
    "install",
    "--quiet",
    "--entrypoint",
    "--import-map",
    OFFLINE_IMPORT_MAP,
    "agent/main.ts",
    ...modules,
  ];
  await run(Deno.execPath(), installArgs, { DENO_DIR: `${DIRECTORY}/cache` });
  const script = `${DIRECTORY}/deno-${Deno.pid}.sh`;
  const project = PROJECT_ROOT.pathname.replace(/\/$/, "");
  await Deno.writeTextFile(
    script,
    SCRIPT.replaceAll("DIRECTORY", DIRECTORY).replaceAll("PROJECT", project),
  );
  return { script };
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

async function run(
  program: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<void> {
  const options: Deno.CommandOptions = { args: [...args], env, cwd: PROJECT_ROOT, stdin: "null" };
  const { success } = await new Deno.Command(program, options).spawn().status;
  if (!success) throw new Error(`${program} ${args.slice(0, 3).join(" ")} … failed`);
}
