"""The exceptions that commands turn into one line: what a user can mend, what failed all the same, an end asked for."""


class OneLineError(Exception):
    """Its message is one line, whatever names of files and columns and texts of libraries stand in it."""

    def __init__(self, message: str) -> None:
        super().__init__(in_one_line(message))


def in_one_line(text: str) -> str:
    """A text with a space for every break between lines."""
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


class UserError(OneLineError):
    """Something the user can mend.

    The message is one line that names the key or file, the value and the way out; commands print it and exit
    with code 2.
    """


class StorageError(UserError):
    """A place that cannot be read or written: no room, no right, no answer."""


class DivergedError(UserError):
    """A fit whose losses, weights or figures are no finite numbers any more; in a search, a failed trial."""


class StageError(OneLineError):
    """A stage that failed in a worker, e.g. in a network of the user's own.

    The message is one line that says what and where; commands print it and exit with code 1.
    """


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, whose name is the message: the command ends in order, as with Ctrl-C.

    Commands exit with code 128 + the signal's number.
    """
