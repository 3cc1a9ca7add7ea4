/**
 * `degu completions`: scripts for shells.
 *
 * @module
 */

import { Argument, type Command } from "npm:commander@^15.1.0";
import { addExamples, type Run } from "../commands.ts";
import { bashScript } from "../completions/bash.ts";
import { fishScript } from "../completions/fish.ts";
import { type Words, wordsOf } from "../completions/words.ts";
import { zshScript } from "../completions/zsh.ts";

const SCRIPTS: Readonly<Record<string, (words: Words) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

/** Adds `degu completions`. */
export function addCompletions(program: Command, run: Run): void {
  const command = program.command("completions")
    .summary("print a script that completes commands in a shell")
    .description("Prints a script with which a shell completes commands, options, files and peers.")
    .addArgument(new Argument("<shell>", "which one").choices(Object.keys(SCRIPTS)))
    .action((shell: string, _options: unknown, command: Command) =>
      run(command, ({ output }) => {
        const script = SCRIPTS[shell]!(wordsOf(program));
        output.result(script.trimEnd().split("\n"), { shell, script });
        return Promise.resolve();
      })
    );
  addExamples(command, [
    ['echo "source <(degu completions bash)" >> ~/.bashrc', "bash"],
    ['echo "source <(degu completions zsh)" >> ~/.zshrc', "zsh, after compinit"],
    ["degu completions fish > ~/.config/fish/completions/degu.fish", "fish"],
  ]);
}
