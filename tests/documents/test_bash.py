"""The reader of bash that the edit of pg_backup.sh stands on.

Pins a statement whose end is taken for somewhere in its middle: the edit would land inside a quotation, a heredoc or a
branch and break the operator's script, or a word that looks like a command and is not one.
"""

from __future__ import annotations

import subprocess

import pytest

from documents import bash
from documents.bash import Compound, Simple, Unreadable
from tests.documents.backup_scripts import CORPUS

ONE = {
    "quotes": "echo 'a\nb' \"c\nd $(echo \"e\nf\")\" $'it\\'s\n' `ls\n`",
    "escapes": "echo a\\\nb \\' \\\" \\#",
    "heredoc": "cat <<A; cat <<-'B'\nif then ( \"\nA\n\tx\n\tB",
    "heredoc in a substitution": "x=$(cat <<E\n)'\nE\n)",
    "here string": "cat <<< 'x\ny'",
    "if": "if a; then\n  b\nelif c; then d; else\n  e\nfi > f",
    "case": "case $x in\n  a|b) c ;;\n  (d) e ;&\n  *)\n esac",
    "case in a substitution": "x=$(case y in z) echo ')';; esac)",
    "for": "for x in a b\ndo\n  echo $x\ndone",
    "arithmetic for": "for ((i = 0; i < 3; i++)); do\n :\ndone",
    "while": "while read -r x\ndo echo $x; done < <(ls\n)",
    "function": "f() {\n  echo }\n}",
    "function keyword": "function f {\n  :\n}",
    "group and subshell": "{ a; (b\nc); } &&\n  d ||\n  e |\n  f",
    "arithmetic": "(( x = (1 + 2) * 3 ))",
    "test": '[[ a =~ ^(b|c)$ && -n "]]" ||\n d < e ]]',
    "array": "a=(1\n  # two\n  'three 4' $(echo 5))",
    "parameters": 'echo ${a:-${b:-\'}\'}} ${#c} ${d//\\}/x} "${e:-"}"}" $# $((1 + 2))',
    "redirections": "exec 2>&1 3>>x {fd}<>y &>z",
    "comment": 'a # it\'s; "one" (comment',
    "hash in a word": "echo a#b ${x#y} $#",
    "negation": "! time a |& b",
    "globbing": "ls !(a|b) @(c) [[:space:]]*",
}


@pytest.mark.parametrize("what", ONE)
def test_a_statement_ends_where_bash_ends_it(what: str) -> None:
    text = ONE[what] + "\n"
    subprocess.run(["bash", "-O", "extglob", "-n"], input=text, text=True, check=True)
    statements = bash.read(text + "echo behind\n")
    boundaries = [statement.boundary for statement in statements]
    assert boundaries[-2:] == [len(text), len(text) + len("echo behind\n")]
    last = statements[-1].parts[0][1].commands[0]
    assert isinstance(last, Simple) and [word.raw for word in last.words] == ["echo", "behind"]
    inside = [b for b in boundaries[:-2] if b is not None]
    for boundary in inside:
        subprocess.run(["bash", "-O", "extglob", "-n"], input=text[:boundary], text=True, check=True)


@pytest.mark.parametrize(
    "text",
    [
        "'",
        '"',
        "$(",
        "${x",
        "`",
        "if a; then b",
        "case x in",
        "for x in y; do",
        "{ a",
        "(a",
        "cat <<E\n",
        "a=(",
        "[[ a",
        ")",
        "a &&",
        "| a",
        "f() ",
    ],
)
def test_what_bash_refuses_is_refused(text: str) -> None:
    done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    assert done.returncode or "warning" in done.stderr
    with pytest.raises(Unreadable):
        bash.read(text)


def test_substitutions_are_seen_and_quoted_text_is_not() -> None:
    command = bash.read("echo 'pg_dump a' \"$(pg_dump b)\" $(pg_dump c) # $(pg_dump d)\n")[0].parts[0][1].commands[0]
    nested = [sub.parts[0][1].commands[0] for word in command.words for sub in word.nested]
    assert [[word.raw for word in found.words] for found in nested] == [["pg_dump", "b"], ["pg_dump", "c"]]


def test_words_assignments_and_redirections() -> None:
    command = bash.read('A=1 B+="$x" cmd "a b"c 2>/dev/null >> "$F"\n')[0].parts[0][1].commands[0]
    assert isinstance(command, Simple)
    assert [(name, word.raw) for name, word in command.assignments] == [("A", "1"), ("B", '"$x"')]
    assert [word.raw for word in command.words] == ["cmd", '"a b"c']
    assert [(r.descriptor, r.operator, r.target.raw) for r in command.redirects] == [
        ("2", ">", "/dev/null"),
        ("", ">>", '"$F"'),
    ]


def test_compound_commands_hold_their_bodies() -> None:
    command = bash.read("if a; then b; else for x in 1 2; do c; done; fi\n")[0].parts[0][1].commands[0]
    assert isinstance(command, Compound) and (command.kind, len(command.bodies)) == ("if", 3)
    loop = command.bodies[2][0].parts[0][1].commands[0]
    assert isinstance(loop, Compound)
    assert (loop.kind, loop.name, [word.raw for word in loop.words]) == ("for", "x", ["1", "2"])


@pytest.mark.parametrize(
    ("raw", "kinds"),
    [
        ('"${A}/b_$C.gz"', [("variable", "A"), ("text", "/b_"), ("variable", "C"), ("text", ".gz")]),
        ("$(date +%F)x", [("command", "date +%F"), ("text", "x")]),
        ("`date`", [("command", "date")]),
        ("${A:-/b}$1", [("variable", "A"), ("variable", "1")]),
        ("'$A'\\$B", [("text", "$A"), ("text", "$B")]),
        ("${A%/}$((1+2))", [("other", "${A%/}"), ("other", "$((1+2))")]),
    ],
)
def test_a_word_is_taken_apart(raw: str, kinds: list[tuple[str, str]]) -> None:
    found = [(part.kind, part.value) for part in bash.parts(raw)]
    texts = "".join(value for kind, value in found if kind == "text")
    assert [pair for pair in found if pair[0] != "text"] == [pair for pair in kinds if pair[0] != "text"]
    assert texts == "".join(value for kind, value in kinds if kind == "text")


@pytest.mark.parametrize("name", CORPUS)
def test_the_text_up_to_each_boundary_is_a_script_by_itself(name: str) -> None:
    text = CORPUS[name]
    for statement in bash.read(text):
        if statement.boundary is not None:
            subprocess.run(["bash", "-n"], input=text[: statement.boundary], text=True, check=True)
