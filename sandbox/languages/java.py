"""Java: the file is called like its public class; what starts is the class with `main`, in its package."""

from __future__ import annotations

import re

from sandbox.languages import Harness, Language, Prebuilt

_HIDDEN = re.compile(  # comments, text blocks, strings and characters; to the end where they have none
    r"""//[^\n]*|/\*.*?(?:\*/|\Z)|"{3}(?:\\.|.)*?(?:"{3}|\Z)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?""", re.S
)
_KINDS = r"(?:class|interface|enum|record)\s+"
_PARTS = re.compile(
    r"\bpackage\s+(?P<package>[\w.]+)\s*;|(?P<open>\{)|(?P<close>\})"
    rf"|\bpublic\s+(?:(?:final|abstract|strictfp)\s+)*{_KINDS}(?P<public>\w+)"
    rf"|(?<![.\w]){_KINDS}(?P<type>\w+)"
    r"|\bstatic\s+(?:(?:final|public|synchronized)\s+)*void\s+(?P<main>main)\s*\("
)


def layout(source: str) -> tuple[str, str]:
    """In one pass: a program may be any text of a megabyte."""
    public = entry = declared = package = ""
    around: list[str] = []  # the types whose braces are open; "" for other braces
    for part in _PARTS.finditer(_HIDDEN.sub(" ", source)):
        if part["package"]:
            package = f"{part['package']}."
        elif part["open"]:
            around.append(declared)
            declared = ""
        elif part["close"]:
            del around[-1:]
        elif part["main"]:
            entry = entry or "$".join(filter(None, around))
        else:
            declared = part["public"] or part["type"]
            if part["public"] and not around:
                public = public or declared
    name = public or "Main"
    return f"{name}.java", package + (entry or name)


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
