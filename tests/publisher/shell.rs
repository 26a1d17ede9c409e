//! What a shell needs of the program. Shells and tools that are not installed are skipped.
//!
//! - completions go on after a subcommand in bash, zsh and fish
//! - completions are written for every shell
//! - the manual pages have no error, and the page of the program names those of the subcommands
//! - a folder of pages that cannot be written gives one clear line
//! - a log target that logs nothing is refused, and the close one is named

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::process::{publisher, run};

const NAME: &str = "cathedral-publisher";

/// Runs a tool. If it is not installed, prints SKIPPED and returns `None`.
fn tool(name: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(name)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
    {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Not eprintln!: the test harness hides its output if the test passes.
            let skipped =
                format!("SKIPPED: {name} is not installed, so nothing was tried with it\n");
            std::io::Write::write_all(&mut std::io::stderr(), skipped.as_bytes()).unwrap();
            None
        }
        Err(error) => panic!("{name}: {error}"),
    }
}

/// Writes the script of a shell into a folder, and returns its path.
fn script(shell: &str, folder: &Path) -> String {
    let output = run(&["completions", shell]);
    assert!(output.status.success());
    let path = folder.join(shell);
    fs::write(&path, output.stdout).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The words of a command line, the last of them unfinished, and what only it may become.
const LINES: [(&[&str], &str); 6] = [
    (&["bac"], "backup"),
    (&["serve", "--read-o"], "--read-only"),
    (
        &["serve", "--read-only", "--rate-limit-b"],
        "--rate-limit-burst",
    ),
    (&["--log-format", "text", "backup", "--over"], "--overwrite"),
    (&["sample", "bo"], "board"),
    (&["serve", "--log-format", "js"], "json"),
];

#[test]
fn completions_go_on_after_a_subcommand_in_bash() {
    let folder = TempDir::new().unwrap();
    let script = script("bash", folder.path());
    // As bash calls the function: with the name, the word and the word before.
    let complete = r#"
        source "$1" && shift || exit
        function=$(complete -p "$1" | sed 's/.* -F \([^ ]*\) .*/\1/')
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
        "$function" "$1" "${@: -1}" "${@: -2:1}"
        echo "${COMPREPLY[*]}""#;
    for (words, expected) in LINES {
        let mut arguments = vec!["--norc", "-c", complete, "bash", &script, NAME];
        arguments.extend(words);
        let Some(output) = tool("bash", &arguments) else {
            return;
        };
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.trim(), expected, "{words:?}: {:?}", output.stderr);
    }
}

#[test]
fn completions_go_on_after_a_subcommand_in_fish() {
    let folder = TempDir::new().unwrap();
    let script = script("fish", folder.path());
    for (words, expected) in LINES {
        let line = format!("{NAME} {}", words.join(" "));
        let complete = format!("source {script}; complete -C '{line}'");
        let Some(output) = tool("fish", &["--no-config", "-c", &complete]) else {
            return;
        };
        let said = String::from_utf8(output.stdout).unwrap();
        // Behind a tab stands what it means.
        let candidates: Vec<_> = said
            .lines()
            .filter_map(|line| line.split('\t').next())
            .collect();
        assert_eq!(candidates, [expected], "{line}: {:?}", output.stderr);
    }
}

#[test]
fn completions_go_on_after_a_subcommand_in_zsh() {
    let folder = TempDir::new().unwrap();
    let script = script("zsh", folder.path());
    // A terminal with zsh in it, into which the line and a tab are typed. The command prints what became of the line.
    let complete = r#"
        zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell "PS1= PS2= RPS1=; unsetopt zle_bracketed_paste; autoload -U compinit && compinit -u -D"
        zpty -w shell "cathedral-publisher() { print -r -- \"became:[\$*]\" }; source $1; print -r -- re''ady"
        while zpty -r shell line; do [[ $line != *ready* ]] || break; done
        zpty -n -w shell "$2"$'\t\r'
        while zpty -r shell line; do [[ $line != *became:* ]] || { print -r -- "$line"; break }; done
        zpty -d shell"#;
    for (words, expected) in LINES {
        let line = format!("{NAME} {}", words.join(" "));
        let Some(output) = tool("zsh", &["-f", "-c", complete, "zsh", &script, &line]) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        let whole = [&words[..words.len() - 1], &[expected]].concat().join(" ");
        assert!(
            said.contains(&format!("became:[{whole}]")),
            "{line}: {output:?}"
        );
    }
}

#[test]
fn completions_are_written_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = publisher(&["completions", shell]).output().unwrap();
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            script.contains("cathedral-publisher") && script.contains("rate-limit"),
            "{shell}"
        );
    }
}

#[test]
fn manual_pages_have_no_error_and_name_each_other() {
    let folder = TempDir::new().unwrap();
    // It is created.
    let folder = folder.path().join("man/man1");
    let output = run(&["man", "--dir", folder.to_str().unwrap()]);
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    let program = run(&["man"]).stdout;
    assert_eq!(
        fs::read(folder.join("cathedral-publisher.1")).unwrap(),
        program
    );
    let program = String::from_utf8(program).unwrap().replace("\\-", "-");
    let mut pages = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            name == NAME || program.contains(&format!("{name}(1)")),
            "{name}"
        );
        pages += 1;
        let path = path.to_str().unwrap();
        for (name, arguments) in [
            ("groff", &["-man", "-ww", "-z", "-Tutf8", path][..]),
            ("mandoc", &["-Tlint", "-Werror", path]),
        ] {
            let Some(output) = tool(name, arguments) else {
                continue;
            };
            let said = [output.stdout, output.stderr].concat();
            assert!(
                output.status.success() && said.is_empty(),
                "{name} {path}: {}",
                String::from_utf8_lossy(&said)
            );
        }
    }
    assert_eq!(program.matches("(1)\n").count() + 1, pages);
    let serve = fs::read_to_string(folder.join("cathedral-publisher-serve.1")).unwrap();
    for text in ["rate\\-limit", "PUBLISHER_RATE_LIMIT", ".SH LIMITS"] {
        assert!(serve.contains(text), "{text}");
    }
}

#[test]
fn a_folder_of_pages_that_cannot_be_written_gives_one_clear_line() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let output = run(&["man", "--dir", file.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.lines().count() == 1 && said.contains(file.to_str().unwrap()),
        "{said}"
    );
}

#[test]
fn a_log_target_that_logs_nothing_is_refused_and_the_close_one_is_named() {
    let by_option = run(&["serve", "--log-level=info,cathedral_publisher::cahce=debug"]);
    let level = "actix-server=debug";
    let by_variable = publisher(&["serve"])
        .env("PUBLISHER_LOG", level)
        .output()
        .unwrap();
    for (output, meant) in [
        (by_option, "is it cathedral_publisher::cache?"),
        (by_variable, "is it actix_server?"),
    ] {
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && said.contains(meant),
            "{said}"
        );
    }
}
