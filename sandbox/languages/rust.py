"""Rust: the compiler of rustup's default toolchain, or the system's."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping

from sandbox.languages import Harness, Language, LanguageUnavailable, clean_environment


def locate() -> Mapping[str, str]:
    rustc = shutil.which("rustc")
    if rustc is None:
        raise LanguageUnavailable("language rust: no rustc on this machine; install it from https://rustup.rs")
    answer = subprocess.run(
        [rustc, "--print", "sysroot"], capture_output=True, text=True, timeout=60, check=False, env=clean_environment()
    )
    root = answer.stdout.strip()
    if answer.returncode or not root:
        raise LanguageUnavailable(f"language rust: {rustc} does not work ({answer.stderr.strip()[:100]})")
    linker = shutil.which("cc")
    if linker is None:
        raise LanguageUnavailable(
            "language rust: no cc on this machine, with which rustc links; apt-get install gcc libc6-dev"
        )
    return {"rustc": f"{root}/bin/rustc", "cc": linker, "bind:sysroot": root}


LANGUAGE = Language(
    name="rust",
    aliases=("rs",),
    source="main.rs",
    compile=("rustc", "-O", "--edition", "2021", "--cap-lints", "allow", "-o", "main", "{source}"),
    products=("main",),
    run=("./main",),
    locate=locate,
    install="install it from https://rustup.rs",
    reserves_memory=True,
    hello=(
        "use std::io;\nfn main() {\n    let mut s = String::new();\n    io::stdin().read_line(&mut s).unwrap();\n"
        '    println!("{}", s.trim().to_uppercase());\n}\n'
    ),
    harness=Harness(
        end=(
            "{ use std::io::{BufRead, Write}; let mut line_ = String::new(); "
            "std::io::stdin().lock().read_line(&mut line_).unwrap(); "
            'std::io::stdout().write_all(format!("\\n{}\\n", line_).as_bytes()).unwrap(); }'
        ),
        depth=1,
        unit_mark="#[test]",
        unit_options=("--test",),
        unit_depth=2,
    ),
)
