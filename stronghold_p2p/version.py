"""The version of the package: it stands here and nowhere else."""

from typing import Final

VERSION: Final = "0.1.0"
