"""Go."""

from __future__ import annotations

from sandbox.languages import Harness, Language

LANGUAGE = Language(
    name="go",
    aliases=("golang",),
    source="main.go",
    compile=("go", "build", "-o", "main", "{sources}"),
    products=("main",),
    run=("./main",),
    version=("version",),
    install="apt-get install golang-go",
    environment={"GOCACHE": "$TMPDIR/go", "GOPATH": "$TMPDIR/gopath", "GO111MODULE": "off", "GOFLAGS": "-p=2"},
    reserves_memory=True,
    processes=32,
    hello=(
        'package main\n\nimport (\n\t"bufio"\n\t"fmt"\n\t"os"\n\t"strings"\n)\n\nfunc main() {\n'
        "\tline, _ := bufio.NewReader(os.Stdin).ReadString('\\n')\n\tfmt.Print(strings.ToUpper(line))\n}\n"
    ),
    harness=Harness(
        end="{ line_, _ := bufio.NewReader(os.Stdin).ReadString('\\n'); fmt.Print(\"\\n\" + line_) }", depth=1
    ),
)
