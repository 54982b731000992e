"""C++."""

from __future__ import annotations

from sandbox.languages import Harness, Language, Prebuilt

FLAGS = ("-O2", "-std=gnu++17", "-w")

LANGUAGE = Language(
    name="cpp",
    aliases=("c++", "cc", "cxx", "C"),
    source="main.cpp",
    compile=("g++", *FLAGS, "-o", "main", "{sources}"),
    prebuilt=Prebuilt(
        mark="bits/stdc++.h",
        source="header.hpp",
        text="#include <bits/stdc++.h>\n",
        compile=("g++", *FLAGS, "-x", "c++-header", "header.hpp", "-o", "header.gch"),
        product="header.gch",
        name="bits/stdc++.h.gch",
        option="-I{folder}",
    ),
    products=("main",),
    run=("./main",),
    install="apt-get install g++",
    hello=(
        "#include <bits/stdc++.h>\nusing namespace std;\n"
        "int main() { string s; getline(cin, s); for (char &c : s) c = toupper(c); cout << s << endl; }\n"
    ),
    harness=Harness(
        head="#include <cstdio>\n",
        end='{ char line_[256]; if (fgets(line_, 256, stdin)) printf("\\n%s\\n", line_); }',
        depth=1,
    ),
)
