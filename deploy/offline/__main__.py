"""`python -m deploy.offline`: build the offline archive."""

import argparse
import sys
from pathlib import Path

from deploy.offline.build import REPOSITORY, build_archive
from deploy.offline.errors import BuildError
from deploy.offline.targets import EVERY, Target


def main() -> int:
    """Build one archive as the command line says; 1 with one sentence if that cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.offline", description="Build the offline archive."
    )
    parser.add_argument(
        "--tree", type=Path, default=REPOSITORY, help="source tree to pack (default: this one)"
    )
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY / "dist", help="where it is put (default: dist)"
    )
    parser.add_argument("--only", metavar="TARGETS", help=f"of {','.join(target.name for target in EVERY)}")
    parser.add_argument("--unpacked", action="store_true", help="make the folder, not the archive")
    chosen = parser.parse_args()
    try:
        targets = [Target.parse(name) for name in chosen.only.split(",")] if chosen.only else EVERY
        build_archive(
            chosen.tree.resolve(), chosen.output.resolve(), targets, unpacked=chosen.unpacked, say=_say
        )
    except BuildError as error:
        _say(f"error: {error}")
        return 1
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
