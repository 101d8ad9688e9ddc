"""What can go wrong while an archive is built."""


class BuildError(Exception):
    """The archive cannot be built; the message is one sentence for the person who ran the command."""
