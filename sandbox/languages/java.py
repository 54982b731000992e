"""Java: the file is called like its public class; what starts is the class with `main`."""

from __future__ import annotations

import re

from sandbox.languages import Harness, Language, Prebuilt

_PUBLIC = re.compile(r"^\s*public\s+(?:(?:final|abstract|strictfp)\s+)*(?:class|interface|enum|record)\s+(\w+)", re.M)
_CLASS = re.compile(r"\bclass\s+(\w+)")
_MAIN = re.compile(r"\bstatic\s+(?:final\s+)?void\s+main\s*\(")


def layout(source: str) -> tuple[str, str]:
    public = _PUBLIC.search(source)
    main = _MAIN.search(source)
    before = [match for match in _CLASS.finditer(source) if main and match.start() < main.start()]
    around = [match[1] for match in before if main and _open(source[match.end() : main.start()])]
    name = public.group(1) if public else "Main"
    entry = around[-1] if around else before[-1][1] if before else name
    return f"{name}.java", entry


def _open(text: str) -> bool:
    """Is a brace of it still open at its end? As good as it gets without reading strings and comments."""
    return text.count("{") > text.count("}")


JAVAC = ("javac", "-J-Xmx512m", "-J-XX:+UseSerialGC", "-J-XX:TieredStopAtLevel=1")

LANGUAGE = Language(
    name="java",
    source="Main.java",
    compile=(*JAVAC, "-nowarn", "-d", ".", "{sources}"),
    prebuilt=Prebuilt(  # class-data sharing: the classes of the compiler, as they lie in memory (JEP 350)
        mark="",
        source="Any.java",
        text=(
            "import java.util.*;\nimport java.io.*;\npublic class Any {\n    record Pair(int a, String b) {}\n"
            "    public static void main(String[] args) throws IOException {\n"
            "        Map<String, List<Integer>> map = new TreeMap<>();\n"
            "        for (String word : args) map.computeIfAbsent(word, key -> new ArrayList<>()).add(word.length());\n"
            '        map.forEach((key, value) -> System.out.println(key + " " + new Pair(value.size(), key)));\n    }\n}\n'
        ),
        compile=(*JAVAC, "-J-XX:ArchiveClassesAtExit=javac.jsa", "-nowarn", "-d", ".", "Any.java"),
        product="javac.jsa",
        name="javac.jsa",
        option="-J-XX:SharedArchiveFile={folder}/javac.jsa",
    ),
    products=("*.class",),
    run=("java", "-Xmx{memory_mb}m", "-Xss{stack_mb}m", "-XX:+UseSerialGC", "-Xshare:auto", "-cp", ".", "{entry}"),
    version=("-version",),
    install="apt-get install default-jdk-headless",
    binds=("/etc/java-*",),
    layout=layout,
    time_factor=2.0,
    reserves_memory=True,
    processes=40,
    hello=(
        "import java.util.Scanner;\npublic class Main {\n    public static void main(String[] a) {\n"
        "        System.out.println(new Scanner(System.in).nextLine().toUpperCase());\n    }\n}\n"
    ),
    harness=Harness(
        end=(
            'try { System.out.println("\\n" + new java.io.BufferedReader(new java.io.InputStreamReader(System.in))'
            ".readLine()); } catch (java.io.IOException e_) { throw new RuntimeException(e_); }"
        ),
        depth=2,
    ),
)
