"""The lines in which a command says what takes long."""


def without_waiting_lines(printed: str) -> str:
    """Leave out lines such as `reading the input ...`.

    A command prints one when a step takes more than three seconds: whether it does is the affair of
    the machine and of what else runs there.
    """
    lines = printed.splitlines(keepends=True)
    return "".join(line for line in lines if not line.rstrip("\n").endswith(" ..."))
