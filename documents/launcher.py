"""How a program file runs where it is not: it travels on standard input."""

from __future__ import annotations

RUN_FROM_STDIN = (
    "import os,runpy,sys;i=sys.stdin.buffer;f=os.memfd_create('program');"
    "open(f,'wb',closefd=False).write(i.read(int(i.readline())));"
    "sys.argv[0]=f'/proc/self/fd/{f}';runpy.run_path(sys.argv[0],run_name='__main__')"
)


def stdin_of(program: bytes, arguments: str) -> bytes:
    """What RUN_FROM_STDIN reads: the length, the file, and what the program itself reads."""
    return b"%d\n%s%s" % (len(program), program, arguments.encode())
