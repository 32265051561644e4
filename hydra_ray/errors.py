"""The one exception for what a user can mend."""


class UserError(Exception):
    """Something the user can mend.

    The message is one line that names the key or file, the value and the way out; commands print it and exit
    with code 2.
    """
