"""C."""

from __future__ import annotations

from sandbox.languages import Harness, Language

LANGUAGE = Language(
    name="c",
    source="main.c",
    compile=("gcc", "-O2", "-std=gnu17", "-w", "-o", "main", "{sources}", "-lm"),
    products=("main",),
    run=("./main",),
    install="apt-get install gcc libc6-dev",
    hello=(
        "#include <ctype.h>\n#include <stdio.h>\n"
        "int main(void) { int c; while ((c = getchar()) != EOF) putchar(toupper(c)); return 0; }\n"
    ),
    harness=Harness(
        head="#include <stdio.h>\n",
        end='{ char line_[256]; if (fgets(line_, 256, stdin)) printf("\\n%s\\n", line_); }',
        depth=1,
    ),
)
